//! `cargo xtask verify-rig`: everything that the rig checks of drivers, as Driver Verifier does on Windows.

use anyhow::Result;

use crate::layout::Arch;
use crate::run::{cargo, run as run_command};
use crate::test::{RIG, SYSTEM, built_for, on};

/// The arguments of `cargo xtask verify-rig`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often the drivers live with calls that fail or take longer by chance, each time with another seed
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// The seed of the first round: the same one fails and delays the same calls
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The processor architecture of the drivers
    #[arg(long, value_enum, default_value_t = Arch::X64)]
    arch: Arch,
}

/// `cargo xtask verify-rig`: the checks on the driver that breaks them, then all system tests under them.
///
/// # Errors
/// Something does not build, or a test fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    built_for(arguments.arch)?;
    for tests in [RIG, SYSTEM] {
        let mut command = cargo(&["test"]);
        command.env("SLUICE_RIG_SEED", arguments.seed.to_string());
        command.env("SLUICE_RIG_ROUNDS", arguments.rounds.to_string());
        // They print how many calls they have failed, delayed or suspended.
        run_command(on(arguments.arch, &mut command).args(tests).args(["--", "--show-output"]))?;
    }
    Ok(())
}
