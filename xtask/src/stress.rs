//! `cargo xtask stress`: the guards and the policy swap under many threads, compiled for the target of the drivers
//! (rig/stress).

use std::time::Duration;

use anyhow::{Result, ensure};
use cargo_wdk_linux::emulator;
use sluice_rig::Rig;

use crate::build;
use crate::layout::{self, Arch};

/// The arguments of `cargo xtask stress`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// For how long
    #[arg(long, value_name = "MINUTES", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// The processor architecture
    #[arg(long, value_enum, default_value_t = Arch::X64)]
    arch: Arch,
}

/// How much longer than it was asked to the program may take to start and to end.
const GRACE: Duration = Duration::from_secs(60);

/// `cargo xtask stress`.
///
/// # Errors
/// Something does not build, or a guard or the swap broke a promise.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let arch = arguments.arch;
    emulator::ensure(&layout::kit(), arch)?;
    build::build(arch)?;
    let rig = Rig::new(arch.into(), "stress")?;
    let program = rig.copy_file(&layout::rig(arch).join("stress.exe"))?;
    let time = Duration::from_secs(60 * arguments.minutes);
    println!("For {} minutes on {arch}:", arguments.minutes);
    let outcome = rig.run(&program, &[&time.as_secs().to_string()], time + rig.scaled(GRACE))?;
    print!("{}{}", outcome.stdout, outcome.stderr);
    ensure!(outcome.succeeded(), "`{}` ended with {:?}", outcome.line, outcome.code);
    Ok(())
}
