//! Runs other programs, and says which one failed.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

pub(crate) use cargo_wdk_linux::run::*;

use crate::layout;

/// The cargo that runs this program, in the root of the repository and with target/ there for what it builds, since one
/// that checkouts share may hold what was built from the files of another.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(arguments).current_dir(layout::root()).env("CARGO_TARGET_DIR", layout::root().join("target"));
    command
}

/// What git says in the repository, without blanks at the end.
///
/// # Errors
/// As [`output`].
pub(crate) fn git(arguments: &[&str]) -> Result<String> {
    let mut text = output(Command::new("git").args(arguments).current_dir(layout::root()))?;
    text.truncate(text.trim_end().len());
    Ok(text)
}
