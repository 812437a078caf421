//! The user-mode tool of the Sluice driver.

mod args;
mod capture;
mod classify;
mod device;
#[cfg(test)]
mod documentation;
mod failure;
mod gate;
mod offline;
mod policy;
mod record;
mod remote;
mod status;
mod table;
mod terms;
mod verify;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::{CommandFactory, Parser};

use self::args::{Cli, ColorChoice, Command};
use self::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let color = match cli.color {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    };
    color.write_global();
    // Whether colours are shown is decided by anstream alone, which knows of --color as well as of NO_COLOR.
    crossterm::style::force_color_output(true);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() && failure.exit_code() != 0 {
                let error = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
                anstream::eprintln!("{error}error{error:#}: {message}");
            }
            failure.exit_code().into()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Status(args) => status::status(&args),
        Command::Stats(args) => status::stats(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Policy(command) => policy::commands::run(command),
        Command::Classify(args) => classify::run(&args),
        Command::Gate(command) => gate::run(command),
        Command::Verify(args) => verify::run(&args),
        Command::Man { folder } => {
            let unwritable = |error| Failure::Input(format!("cannot write to {}: {error}", folder.display()));
            clap_mangen::generate_to(Cli::command(), &folder).map_err(unwritable)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sluicectl", &mut script);
            Ok(io::stdout().write_all(&script)?)
        }
    }
}
