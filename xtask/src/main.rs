//! The one tool of this repository, for hosts that are not Windows: `cargo xtask <command>`.
//!
//! A command is a module. What they share is in [`layout`] (where things lie), [`run`] (other programs) and [`setup`]
//! (the programs that must be there); every command that needs more than Rust gets it from [`setup::ensure`].

mod build;
mod content_root;
mod layout;
mod run;
mod setup;

use std::process::ExitCode;

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
    Setup,
    /// Build the drivers into target/drivers/<arch>/
    Build(build::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup => setup::run(),
        Command::Build(arguments) => build::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
