//! `sluicectl verify`: exercises the drivers, round after round, and reports.
//!
//! A round has four lives, one for each order in which the two drivers can start and stop. In a life the drivers attach
//! and classify a capture with and without a policy, and the verdicts are compared with those of this program; policies
//! are swapped while several threads classify; the provider stops under its attached client and comes back, once while
//! nothing happens and several times under load; and the counters are compared with the packets sent. With `--gate`,
//! gate.sys filters the packets of the machine all the while, and its filters, too, come and go before and after the
//! others. The first failure ends it. Then everything that was done is undone.
//!
//! Nothing here knows whether it runs on Windows or, in the system tests, in Wine.
//!
//! The modules depend on each other in one direction: `plan` has the words that all share; `services`, `stopping` and
//! `drivers` act, `expected` and `counts` say what is right, `report` records what happened, `load` and `sequence`
//! combine them.

mod counts;
mod drivers;
mod environment;
mod expected;
mod interrupt;
mod load;
mod plan;
mod report;
mod sequence;
mod services;
mod stopping;

use std::io::Write;
use std::ops::RangeInclusive;
use std::thread::available_parallelism;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::drivers::Drivers;
use self::environment::Environment;
use self::expected::{Policies, Workload};
use self::plan::{ORDERS, Step};
use self::report::Report;
use self::sequence::Sequence;
use self::services::Manager;
use crate::args::VerifyArgs;
use crate::failure::Failure;
use crate::policy;

/// How many threads classify at once by default.
const THREADS: RangeInclusive<usize> = 2..=8;

pub(crate) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    // Errors in the files come before anything is done to the machine.
    let workload = Workload::read(&args.capture)?;
    let policies = Policies::new(&workload, policy::load(&args.policy)?)?;
    let environment = Environment::look(args.drivers.as_deref(), &args.client, args.gate)?;
    let manager = Manager::open()?;
    interrupt::watch()?;
    let drivers = match &args.drivers {
        Some(folder) => Drivers::install(manager, folder, &args.client, args.gate)?,
        None => Drivers::existing(manager, &args.client, args.gate)?,
    };

    let mut report = Report::new(environment, args.rounds, args.low_resources);
    let threads = args.threads.map_or_else(usual_threads, usize::from);
    let sequence = Sequence { drivers: &drivers, workload: &workload, policies: &policies, threads };
    repeat(&sequence, args.rounds, &mut report);
    report.after_the_rounds();
    // A driver that does not stop cannot be deleted; the report says so.
    if !drivers.hang() && sequence.stop_all(&mut report).is_ok() {
        let _ = report.step(Step::Undo, || drivers.uninstall());
    }
    let report = report.finish();

    let mut output = anstream::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut output, &report)?;
        writeln!(output)?;
    } else {
        report.lines().iter().try_for_each(|line| writeln!(output, "{line}"))?;
    }
    output.flush()?;
    report.verdict().map_err(Failure::State)
}

fn usual_threads() -> usize {
    let (least, most) = THREADS.into_inner();
    available_parallelism().map_or(least, usize::from).clamp(least, most)
}

/// Runs all rounds, up to the first failure.
fn repeat(sequence: &Sequence<'_>, rounds: u32, report: &mut Report) {
    let progress = ProgressBar::with_draw_target(Some(rounds.into()), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{wide_bar} round {pos} of {len}, {eta} left");
    progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    'rounds: for round in 1..=rounds {
        for order in ORDERS {
            if interrupt::happened() {
                break 'rounds;
            }
            report.at(round, order);
            // A life that a simulated lack of memory cut short is over, and the next may begin.
            let lived = sequence.live(order, report);
            if lived.is_err() && !sequence.drivers.hang() {
                let _ = sequence.stop_all(report);
            }
            if report.has_failed() {
                break 'rounds;
            }
        }
        report.round_done();
        progress.inc(1);
    }
    progress.finish_and_clear();
}
