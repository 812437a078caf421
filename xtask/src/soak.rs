//! `cargo xtask soak`: the long form of the system test that lets everything happen at once (tests/common/storm.rs).

use anyhow::Result;

use crate::build;
use crate::layout::Arch;
use crate::run::{cargo, run as run_command};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// For how long
    #[arg(long, value_name = "MINUTES", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
}

/// `cargo xtask soak`.
///
/// # Errors
/// Something does not build, or a driver broke a rule, does not work any more, or left something behind.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build::build(Arch::X64)?;
    let soak = ["test", "--package", "system-tests", "--test", "soak", "--", "--ignored", "--nocapture"];
    run_command(cargo(&soak).env("SLUICE_SOAK_MINUTES", arguments.minutes.to_string()))
}
