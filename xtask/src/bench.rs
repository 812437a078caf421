//! `cargo xtask bench`: the benchmarks, each beside those that it is compared with, in one run.

use std::ffi::OsString;

use anyhow::Result;

use crate::run::{cargo, run as run_command};

/// The arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What is measured
    #[arg(value_enum)]
    what: What,
    /// What the benchmark itself takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// Parsing and classification, beside other parsers and classifiers
    Core,
    /// What names cost that are encrypted or spread over packets, and what the assembler costs other packets
    Assembler,
    /// A callout of gate.sys, beside one that permits everything and beside Sluice alone
    Gate,
    /// A guarded call into a peer, beside the usual ways to guard one
    Guard,
    /// Registrations and bindings, beside a registrar with one lock and a scan
    Registrar,
}

impl What {
    /// The package and its benchmark.
    fn target(self) -> [&'static str; 2] {
        match self {
            Self::Core => ["sluice-core", "core"],
            Self::Assembler => ["sluice-assembler", "assembler"],
            Self::Gate => ["sluice-gate", "judge"],
            Self::Guard => ["wdk-nmr", "guard"],
            Self::Registrar => ["nmr-registrar", "scale"],
        }
    }
}

/// `cargo xtask bench`.
///
/// # Errors
/// The benchmark does not build or fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let [package, benchmark] = arguments.what.target();
    let mut command = cargo(&["bench", "--package", package, "--bench", benchmark, "--"]);
    run_command(command.args(&arguments.rest))
}
