//! The one tool of this repository, for hosts that are not Windows: `cargo xtask <command>`.
//!
//! A command is a module. What they share is in [`layout`] (where things lie), [`mod@run`] (other programs) and
//! [`setup`] (the programs that must be there); every command that needs more than Rust gets it from [`setup::ensure`].

mod bench;
mod build;
mod check;
mod check_image;
mod check_inf;
mod clean;
mod coverage;
mod demo;
mod dist;
mod figures;
mod hooks;
mod layout;
mod machines;
mod models;
mod mutants;
mod probe_c;
mod run;
mod sanitize;
mod sign;
mod soak;
mod sources;
mod stress;
mod style;
mod test;
mod verify_rig;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use cargo_wdk_linux::{Arch, setup};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and running the drivers needs
    Setup(SetupArguments),
    /// Build the drivers into target/drivers/ARCH/
    Build(build::Arguments),
    /// Check that everything compiles, drivers included
    Check(check::Arguments),
    /// Lint what `cargo clippy` does not see on this host: drivers, and programs for Windows
    Clippy,
    /// Check that Windows accepts driver images, and that nothing is in them that should not be
    CheckImage(check_image::Arguments),
    /// Check INF files for what InfVerif would reject
    CheckInf(check_inf::Arguments),
    /// Sign the drivers with a test certificate
    Sign(sign::Arguments),
    /// Make the zip that users download
    Dist(dist::Arguments),
    /// Show the whole way through: build, load, attach, classify, unload
    Demo(demo::Arguments),
    /// Run the host tests, then the system tests in Wine
    Test(test::Arguments),
    /// Run everything that the rig checks of drivers, with calls that fail by chance
    VerifyRig(verify_rig::Arguments),
    /// Send the drivers arbitrary requests in Wine for minutes, while policies and clients come and go
    Soak(soak::Arguments),
    /// Let many threads use the guards and the policy swap for minutes, on the memory model of a processor
    Stress(stress::Arguments),
    /// Run the tests of wdk-nmr under AddressSanitizer and ThreadSanitizer
    Sanitize(sanitize::Arguments),
    /// Run the models of everything that is done without a lock through every interleaving
    Models,
    /// Change the code, one place at a time, and show which changes no test notices
    Mutants(mutants::Arguments),
    /// Show what the host tests reach
    Coverage(coverage::Arguments),
    /// Check the width of lines and the form of imports
    Style(style::Arguments),
    /// Install a hook that looks at what is committed
    Hooks,
    /// What that hook does
    #[command(hide = true)]
    PreCommit,
    /// Type the commands of the README on new machines with Debian 12, 13 and sid
    Machines(machines::Arguments),
    /// Remove what was built and is not needed to go on
    Clean(clean::Arguments),
    /// Measure, beside what others reach
    Bench(bench::Arguments),
}

/// The arguments of `cargo xtask setup`.
#[derive(Debug, clap::Args)]
struct SetupArguments {
    /// The processor architecture of the drivers; for arm64 also an emulator and a Wine to run them, in this checkout
    #[arg(long, value_enum, default_value_t = Arch::X64)]
    arch: Arch,
}

fn main() -> ExitCode {
    // Before the arguments, whose default values are files of the checkout.
    let outcome = sluice_rig::find_root().and_then(|root| is_of(&root)).and_then(|()| run(Arguments::parse().command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether this program is the one of that checkout.
fn is_of(root: &Path) -> Result<()> {
    let now = sources::fingerprint(root).context("cannot read the sources of xtask")?;
    ensure!(
        now.to_string() == env!("SOURCES"),
        "expected the xtask of {}, found one that was built in another checkout, with which this one shares its target \
         directory; `cargo clean --package xtask` has it built again, and without CARGO_TARGET_DIR each has its own",
        root.display()
    );
    Ok(())
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup(arguments) => setup::run(&layout::kit(), arguments.arch).map(drop),
        Command::Build(arguments) => build::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Clippy => build::lint(),
        Command::CheckImage(arguments) => check_image::run(&arguments),
        Command::CheckInf(arguments) => check_inf::run(&arguments),
        Command::Sign(arguments) => sign::run(&arguments),
        Command::Dist(arguments) => dist::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::VerifyRig(arguments) => verify_rig::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Stress(arguments) => stress::run(&arguments),
        Command::Sanitize(arguments) => sanitize::run(&arguments),
        Command::Models => models::run(),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::Coverage(arguments) => coverage::run(&arguments),
        Command::Style(arguments) => style::run(&arguments),
        Command::Hooks => hooks::install(),
        Command::PreCommit => hooks::pre_commit(),
        Command::Machines(arguments) => machines::run(&arguments),
        Command::Clean(arguments) => clean::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    }
}
