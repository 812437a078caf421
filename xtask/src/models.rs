//! `cargo xtask models`: the models that loom runs through every interleaving, with the bounds that they state.

use anyhow::Result;

use crate::layout;
use crate::run::{cargo, run as run_command};

/// `cargo xtask models`.
///
/// # Errors
/// A model does not build or fails.
pub(crate) fn run() -> Result<()> {
    run_command(&mut cargo(&["test", "--profile", "models", "--package", "wdk-nmr", "--test", "loom"]))?;
    // Here loom takes the place of the atomics in the libraries themselves; so nothing else of this build can be used
    // again.
    let mut others = cargo(&["test", "--profile", "models", "--test", "loom"]);
    others.args(["--package", "sluice-swap", "--package", "sluice-assembler", "--target-dir"]);
    run_command(others.arg(layout::root().join("target/loom")).env("RUSTFLAGS", "--cfg loom"))
}
