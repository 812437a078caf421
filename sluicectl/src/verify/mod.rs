//! `sluicectl verify`: puts the drivers through everything that they have to bear, again and again, and reports.
//!
//! A round is four lives, one for each order in which the two drivers can start and stop. In a life the drivers attach,
//! classify a capture as this program does in process, with and without a policy; policies are swapped while several
//! threads classify; the provider stops under its attached client and comes back, once in peace and several times under
//! load; and the counters are compared with what was asked. The first failure ends it. Then everything that was done is
//! undone.
//!
//! Nothing in here knows whether it runs on Windows or, in the system tests, in Wine.

mod drivers;
mod environment;
mod expected;
mod interrupt;
mod load;
mod report;
mod sequence;
mod services;

use std::io::Write;
use std::ops::RangeInclusive;
use std::thread::available_parallelism;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::drivers::Drivers;
use self::environment::Environment;
use self::expected::{Policies, Workload};
use self::report::{Ended, Report, Step};
use self::sequence::{ORDERS, Sequence};
use self::services::Manager;
use crate::args::VerifyArgs;
use crate::failure::Failure;
use crate::policy;

/// The name of the service of sluice.sys.
const SERVICE: &str = "sluice";

/// How many threads classify at once, unless it is said.
const THREADS: RangeInclusive<usize> = 2..=8;

pub(crate) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    // What is wrong with the files is said before anything is done to the machine.
    let workload = Workload::read(&args.capture)?;
    let policies = Policies::new(&workload, policy::load(&args.policy)?)?;
    let environment = Environment::look(args.drivers.as_deref(), &args.client)?;
    let manager = Manager::open()?;
    interrupt::watch()?;
    let drivers = match &args.drivers {
        Some(folder) => Drivers::install(manager, folder, &args.client)?,
        None => Drivers::existing(manager, &args.client)?,
    };

    let mut report = Report::new(environment, args.rounds, args.low_resources);
    let threads = args.threads.map_or_else(usual_threads, usize::from);
    repeat(
        &Sequence { drivers: &drivers, workload: &workload, policies: &policies, threads },
        args.rounds,
        &mut report,
    );
    report.after_the_rounds();
    // What cannot be stopped cannot be deleted either; the report says so.
    if drivers.stop_all(&mut report).is_ok() {
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

/// Lives all rounds, up to the first failure.
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
            // One that a simulated lack of memory has cut short is over, and the next one may begin.
            let stopped = sequence.live(order, report).or_else(|Ended| sequence.drivers.stop_all(report));
            if stopped.is_err() || report.has_failed() {
                break 'rounds;
            }
        }
        report.round_done();
        progress.inc(1);
    }
    progress.finish_and_clear();
}
