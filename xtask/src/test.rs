//! `cargo xtask test`: the tests of the host, then the system tests, which run the real drivers in Wine.

use anyhow::Result;

use crate::layout::Arch;
use crate::run::{cargo, run as run_command};
use crate::{build, check_image};

/// `cargo xtask test`.
///
/// # Errors
/// Something does not build, or a test fails.
pub(crate) fn run() -> Result<()> {
    heading("Host tests");
    run_command(&mut cargo(&["test"]))?;
    heading("Fuzzing, for a minute");
    // Three targets, 20 seconds each; without a fuzzer, which takes a C++ compiler.
    run_command(cargo(&["test", "--package", "sluice-core", "--test", "fuzz"]).env("FUZZ_SECONDS", "20"))?;
    heading("Drivers");
    build::build(Arch::X64)?;
    heading("Driver images");
    check_image::check_drivers(Arch::X64)?;
    heading("The rig");
    run_command(&mut cargo(&["test", "--package", "sluice-rig", "--test", "rig"]))?;
    heading("System tests");
    run_command(&mut cargo(&["test", "--package", "system-tests", "--package", "hostile"]))
}

fn heading(text: &str) {
    println!("\n== {text} ==");
}
