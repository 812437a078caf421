//! `cargo xtask bench`: the benchmarks, each beside those that it is compared with, in one run.
//!
//! What they measure is kept in a file, docs/figures.txt for one, from which the tables of docs/performance.md are
//! made.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};

use crate::figures::Figures;
use crate::layout;
use crate::run::{cargo, git, output};

/// The figures that the page shows.
const FIGURES: &str = "docs/figures.txt";

/// The page that shows them.
const PAGE: &str = "docs/performance.md";

/// The arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Write what is measured to this file, in place of the tables of the same names
    #[arg(long, value_name = "FILE", requires = "what")]
    write: Option<PathBuf>,
    /// Compare what two files say, and measure nothing
    #[arg(long, num_args = 2, value_names = ["FIRST", "SECOND"], conflicts_with_all = ["what", "pages"])]
    compare: Option<Vec<PathBuf>>,
    /// Make the tables of docs/performance.md from docs/figures.txt
    #[arg(long, conflicts_with = "what")]
    pages: bool,
    /// What is measured
    #[arg(value_enum)]
    what: Option<What>,
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
/// The benchmark does not build or fails, or a file cannot be read or written.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some([first, second]) = arguments.compare.as_deref() {
        print!("{}", read(first)?.compare(&read(second)?));
        return Ok(());
    }
    if arguments.pages {
        let page = layout::root().join(PAGE);
        let text = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
        let filled = read(&layout::root().join(FIGURES))?.fill(&text);
        return fs::write(&page, filled.map_err(|why| anyhow::anyhow!("{PAGE}: {why}"))?)
            .with_context(|| format!("cannot write {PAGE}"));
    }
    let Some(what) = arguments.what else { return Ok(()) };
    // Of before: what is measured is a load as well.
    let about = about()?;
    let printed = measure(what, &arguments.rest)?;
    let figures = Figures::of_output(&printed, &about).map_err(anyhow::Error::msg)?;
    println!("\n{}", figures.shown());
    let Some(file) = &arguments.write else { return Ok(()) };
    ensure!(!figures.is_empty(), "nothing was measured that {} could have", file.display());
    let mut all = if file.exists() { read(file)? } else { Figures::default() };
    all.replace(figures);
    fs::write(file, all.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

fn read(file: &Path) -> Result<Figures> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Figures::read(&text).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))
}

/// Runs a benchmark. What it prints is shown at once, and given back.
fn measure(what: What, arguments: &[OsString]) -> Result<String> {
    let [package, benchmark] = what.target();
    let mut command = cargo(&["bench", "--package", package, "--bench", benchmark, "--"]);
    let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let mut printed = String::new();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let line = line.context("cannot read what the benchmark prints")?;
        println!("{line}");
        printed.push_str(&line);
        printed.push('\n');
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("the benchmark failed: {status}");
    }
    Ok(printed)
}

/// What is to be known of a run from now on: when, of which commit, where, and what else the machine does.
fn about() -> Result<Vec<(String, String)>> {
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let processor = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        line.split_once(':').map(|(_, name)| name.trim().to_owned())
    });
    let processor = processor.unwrap_or_else(|| env::consts::ARCH.into());
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut about = vec![
        ("date", output(Command::new("date").args(["--utc", "+%F"]))?.trim_end().to_owned()),
        ("commit", if changed { format!("{commit} with changes") } else { commit }),
        ("machine", format!("{processor}, {processors} processors")),
    ];
    if let Ok(load) = fs::read_to_string("/proc/loadavg") {
        about.push(("load", load.split(' ').next().unwrap_or_default().into()));
    }
    Ok(about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
