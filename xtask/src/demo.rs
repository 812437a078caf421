//! `cargo xtask demo`: the whole way through, from building the drivers to unloading them, as a person would go it.
//!
//! Every command is shown as it is typed on Windows, with what it printed and what it made the drivers do. What has to
//! hold is checked on the way; the demo fails if any of it does not.

mod network;

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cargo_wdk_linux::emulator;
use cargo_wdk_linux::told::told;
use serde_json::Value;
use sluice_rig::{Left, Outcome, Rig, State};

use crate::build;
use crate::layout::{self, Arch};

/// The arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The packets to classify: a pcap or pcapng file
    #[arg(default_value_os_t = layout::root().join("tests/data/demo.pcapng"))]
    capture: PathBuf,
    /// The policy to classify them by
    #[arg(long, value_name = "FILE", default_value_os_t = layout::root().join("tests/data/demo.toml"))]
    policy: PathBuf,
    /// The processor architecture of the machine: arm64 runs in an emulator, and takes some minutes
    #[arg(long, value_enum, default_value_t = Arch::X64)]
    arch: Arch,
}

/// How long sluicectl may work on a capture.
const CLASSIFY_LIMIT: Duration = Duration::from_secs(300);
/// How many lines of a long output are shown at its start.
const LINES: usize = 24;

/// `cargo xtask demo`.
///
/// # Errors
/// Something does not build, does not run, or is not as it should be.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for file in [&arguments.capture, &arguments.policy] {
        ensure!(file.is_file(), "there is no file {}", file.display());
    }
    let arch = arguments.arch;
    emulator::ensure(&layout::kit(), arch)?;
    build::build(arch)?;
    let rig = Rig::new(arch.into(), "demo")?;
    let demo = Demo { rig: &rig, shown: Cell::new(0), wrong: Cell::new(0), colours: io::stdout().is_terminal() };
    demo.play(arguments)?;
    ensure!(demo.wrong.get() == 0, "{} of what should hold does not (marked with \u{2717} above)", demo.wrong.get());
    println!("\nEverything is as it should be.");
    Ok(())
}

struct Demo<'a> {
    rig: &'a Rig,
    /// How many events have been shown.
    shown: Cell<usize>,
    /// How many checks have failed.
    wrong: Cell<usize>,
    colours: bool,
}

impl Demo<'_> {
    fn play(&self, arguments: &Arguments) -> Result<()> {
        let rig = self.rig;
        let capture = rig.copy_file(&arguments.capture)?;
        let policy = rig.copy_file(&arguments.policy)?;
        rig.copy_file(&layout::drivers(arguments.arch).join("sluicectl.exe"))?;

        self.title("A machine with NMR");
        self.say("netio.sys stands in for the file of that name that every Windows has.");
        self.sc(rig.create_service("netio"))?;
        self.sc(rig.start("netio"))?;

        self.title("Install the driver and its client");
        for driver in ["sluice", "probe"] {
            rig.copy_driver(&layout::drivers(arguments.arch).join(format!("{driver}.sys")), driver)?;
            self.sc(rig.create_service(driver))?;
        }

        self.title("Start them: sluice registers with NMR as a provider, probe as a client, and they attach");
        self.sc(rig.start("sluice"))?;
        self.sc(rig.start("probe"))?;
        self.check("sluice is running", rig.state("sluice")? == State::Running);
        self.check("probe is running", rig.state("probe")? == State::Running);
        let bindings = rig.alive()?.bindings;
        self.check("they are attached to each other", bindings == 1);
        self.shown.set(rig.events()?.len());

        self.title("Load a policy");
        self.succeeds(&self.sluicectl(&["policy", "load", &policy])?)?;

        self.title("Classify packets: sluicectl hands them to probe, probe asks sluice through its dispatch table");
        let table = self.sluicectl(&["classify", &capture])?;
        self.succeeds(&table)?;
        let online = self.quietly(&["classify", "--json", &capture])?;
        let offline = self.quietly(&["classify", "--json", "--offline", "--policy", &policy, &capture])?;
        let packets = u64::try_from(online.stdout.lines().count()).context("a capture of that length")?;
        self.check(
            &format!("the driver's {packets} verdicts are those of the same code outside the kernel"),
            online.succeeded() && online.stdout == offline.stdout,
        );

        self.title("Look at the counters");
        self.succeeds(&self.sluicectl(&["status"])?)?;
        // The capture went through twice: as a table, and to be compared.
        self.check_counters(packets * 2)?;

        self.filter_the_network(arguments, &policy)?;

        self.title("Stop sluice while its client is attached");
        let left = self.stop("sluice")?;
        self.check_left("sluice", left);
        self.check("probe is still running", rig.state("probe")? == State::Running);
        let refused = self.sluicectl(&["classify", &capture])?;
        self.check("without sluice, classify ends with exit code 1 and says why", refused.code == Some(1));

        self.title("Stop probe");
        let left = self.stop("probe")?;
        self.check_left("probe", left);
        for driver in ["probe", "sluice"] {
            self.sc(rig.delete(driver))?;
        }

        self.title("What is left");
        let left = rig.alive()?;
        self.shown.set(rig.events()?.len());
        self.check_left("all of it together", left);
        self.check("no driver broke a rule or crashed", rig.bug_check()?.is_none());
        Ok(())
    }

    /// Stops a driver; returns what it has left behind.
    fn stop(&self, driver: &str) -> Result<Left> {
        let (outcome, left) = self.rig.stop_with_output(driver)?;
        self.sc(Ok(outcome))?;
        Ok(left)
    }

    fn check_left(&self, who: &str, left: Left) {
        self.check(&format!("{who} has left behind {left}"), left.is_nothing());
    }

    /// The counters of sluice add up to the packets that went through.
    fn check_counters(&self, packets: u64) -> Result<()> {
        let status = self.quietly(&["status", "--json"])?;
        let status: Value = serde_json::from_str(&status.stdout).context("`sluicectl status --json` is no JSON")?;
        let client = &status["clients"][0];
        let count = |key: &str| client[key].as_u64().unwrap_or(0);
        self.check(&format!("probe's packets were counted: {packets}"), count("packets") == packets);
        self.check("each was permitted or blocked", count("permitted") + count("blocked") == packets);
        Ok(())
    }

    fn sc(&self, outcome: Result<Outcome>) -> Result<()> {
        let outcome = outcome?;
        self.prompt(&outcome.line);
        if let Some(state) = outcome.stdout.lines().find(|line| line.trim().starts_with("STATE")) {
            println!("  {}", state.trim());
        }
        self.events()
    }

    /// Runs sluicectl and shows what it printed.
    fn sluicectl(&self, arguments: &[&str]) -> Result<Outcome> {
        let outcome = self.rig.run("sluicectl.exe", arguments, self.rig.scaled(CLASSIFY_LIMIT))?;
        self.prompt(&outcome.line);
        let lines: Vec<&str> = outcome.stdout.trim_end().lines().collect();
        // Of a long table the start, and the line with the sum at its end.
        let hidden = lines.len().saturating_sub(LINES + 2);
        for (index, line) in lines.iter().enumerate() {
            if hidden == 0 || index < LINES || index + 1 == lines.len() {
                println!("  {line}");
            } else if index == LINES {
                println!("  {}", self.dim(&format!("... {} more lines ...", hidden + 1)));
            }
        }
        outcome.stderr.trim_end().lines().for_each(|line| println!("  {line}"));
        self.events()?;
        Ok(outcome)
    }

    fn succeeds(&self, outcome: &Outcome) -> Result<()> {
        let code = outcome.code.map_or("a signal".to_string(), |code| format!("exit code {code}"));
        ensure!(outcome.succeeded(), "`{}` ended with {code}", outcome.line);
        Ok(())
    }

    /// Runs sluicectl for a check.
    fn quietly(&self, arguments: &[&str]) -> Result<Outcome> {
        let outcome = self.rig.run("sluicectl.exe", arguments, self.rig.scaled(CLASSIFY_LIMIT))?;
        self.succeeds(&outcome).with_context(|| outcome.stderr.clone())?;
        self.shown.set(self.rig.events()?.len());
        Ok(outcome)
    }

    /// Shows what the drivers have done since the last command.
    fn events(&self) -> Result<()> {
        let events = self.rig.events()?;
        for event in events.iter().skip(self.shown.replace(events.len())) {
            if let Some(text) = told(event) {
                println!("  {}", self.dim(&format!("{:>8} | {text}", event.driver)));
            }
        }
        Ok(())
    }

    fn title(&self, text: &str) {
        println!("\n{}", self.style("1", text));
    }

    fn say(&self, text: &str) {
        println!("{text}");
    }

    fn prompt(&self, line: &str) {
        println!("{} {}", self.style("36", ">"), self.style("1", line));
    }

    /// Shows whether something holds, and remembers if it does not.
    fn check(&self, what: &str, holds: bool) {
        if holds {
            println!("  {} {what}", self.style("32", "\u{2713}"));
        } else {
            println!("  {} {what}", self.style("31", "\u{2717}"));
            self.wrong.set(self.wrong.get() + 1);
        }
    }

    fn dim(&self, text: &str) -> String {
        self.style("2", text)
    }

    /// Text in an SGR style, on a terminal.
    fn style(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
