//! The archive of Debian that this machine uses.

use std::process::Command;

use anyhow::{Context, Result};

use crate::run::output;

/// Where apt gets the packages of Debian from on this machine.
///
/// # Errors
/// There is no apt, or it has no archive of Debian among its sources.
pub fn mirror() -> Result<String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI)"]);
    command.args(["Origin: Debian", "Label: Debian", "Component: main", "Identifier: Packages"]);
    let found = output(&mut command)?;
    let first = found.lines().next().map(str::to_owned);
    first.context("expected an archive of Debian among apt's sources (after `apt-get update`), found none")
}
