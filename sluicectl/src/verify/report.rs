//! The outcome of every step, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::counts::VerdictCounts;
use super::environment::Environment;
use super::plan::{Order, Step};
use crate::failure::Failure;
use crate::table::{align_right, lines, table};

/// The errors of Windows for a lack of memory: ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_NO_SYSTEM_RESOURCES,
/// ERROR_COMMITMENT_LIMIT.
const LACK_OF_MEMORY: [u32; 4] = [8, 14, 1450, 1455];

/// A life has ended early. The report has the reason.
#[derive(Debug)]
pub(super) struct Ended;

/// How often a step was done, and its outcomes.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    done: u64,
    failed: u64,
    refused: u64,
    longest: Duration,
}

/// Collects the outcomes.
pub(super) struct Report {
    environment: Environment,
    rounds_wanted: u32,
    low_resources: bool,
    rounds: u32,
    verdicts: u64,
    place: Option<(u32, Order)>,
    counts: BTreeMap<Step, Count>,
    failures: Vec<FailureRecord>,
    started: Instant,
}

impl Report {
    pub(super) fn new(environment: Environment, rounds_wanted: u32, low_resources: bool) -> Self {
        Self {
            environment,
            rounds_wanted,
            low_resources,
            rounds: 0,
            verdicts: 0,
            place: None,
            counts: BTreeMap::new(),
            failures: Vec::new(),
            started: Instant::now(),
        }
    }

    /// The steps from here on belong to this round and life.
    pub(super) fn at(&mut self, round: u32, order: Order) {
        self.place = Some((round, order));
    }

    pub(super) fn round_done(&mut self) {
        self.rounds += 1;
    }

    /// The steps from here on come after the last round.
    pub(super) fn after_the_rounds(&mut self) {
        self.place = None;
        self.environment.ask_driver_verifier();
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Does a step and records its outcome.
    pub(super) fn step<T>(&mut self, step: Step, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Ended> {
        let started = Instant::now();
        let outcome = run();
        let count = self.counts.entry(step).or_default();
        count.longest = count.longest.max(started.elapsed());
        match outcome {
            Ok(value) => {
                count.done += 1;
                Ok(value)
            }
            // NMR may lack the memory to attach the two as well, and has no way to report it.
            Err(failure) if self.low_resources && (step == Step::Attach || lacks_memory(&failure)) => {
                count.refused += 1;
                Err(Ended)
            }
            Err(failure) => {
                count.failed += 1;
                self.failures.push(FailureRecord {
                    round: self.place.map(|(round, _)| round),
                    order: self.place.map(|(_, order)| order.to_string()),
                    step: step.name(),
                    message: failure.to_string(),
                });
                Err(Ended)
            }
        }
    }

    /// Like [`Self::step`], for a step that classifies.
    pub(super) fn classified(
        &mut self,
        step: Step,
        run: impl FnOnce() -> Result<VerdictCounts, Failure>,
    ) -> Result<VerdictCounts, Ended> {
        let counts = self.step(step, run)?;
        self.verdicts += counts.packets;
        Ok(counts)
    }

    pub(super) fn finish(self) -> Finished {
        let whole = self.rounds > 0 && self.rounds == self.rounds_wanted;
        // A simulated lack of memory may cut most lives short, but not all of them.
        let stops = self.counts.get(&Step::Stopped).is_some_and(|count| count.done > 0);
        let result = match () {
            () if !self.failures.is_empty() => "fail",
            () if !whole => "interrupted",
            () if !stops => "fail",
            () => "pass",
        };
        Finished {
            result,
            rounds: self.rounds,
            rounds_wanted: self.rounds_wanted,
            low_resources: self.low_resources,
            seconds: self.started.elapsed().as_secs_f64(),
            verdicts: self.verdicts,
            steps: self.counts.iter().map(|(step, count)| StepRecord::new(*step, count)).collect(),
            failures: self.failures,
            environment: self.environment,
        }
    }
}

fn lacks_memory(failure: &Failure) -> bool {
    matches!(failure, Failure::Windows { code, .. } if LACK_OF_MEMORY.contains(code))
}

/// The report, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Finished {
    /// `pass`, `fail` or `interrupted`.
    result: &'static str,
    rounds: u32,
    rounds_wanted: u32,
    low_resources: bool,
    seconds: f64,
    /// How many verdicts of the drivers were compared with those of this program and found equal.
    verdicts: u64,
    steps: Vec<StepRecord>,
    failures: Vec<FailureRecord>,
    environment: Environment,
}

#[derive(Debug, Serialize)]
struct StepRecord {
    step: &'static str,
    done: u64,
    failed: u64,
    /// For lack of memory, which does not count as a failure.
    refused: u64,
    longest_seconds: f64,
}

#[derive(Debug, Serialize)]
struct FailureRecord {
    /// Counted from 1; `None` after the last round.
    round: Option<u32>,
    order: Option<String>,
    step: &'static str,
    message: String,
}

impl StepRecord {
    fn new(step: Step, count: &Count) -> Self {
        let Count { done, failed, refused, longest } = *count;
        Self { step: step.name(), done, failed, refused, longest_seconds: longest.as_secs_f64() }
    }
}

impl fmt::Display for FailureRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(round), Some(order)) = (self.round, &self.order) {
            write!(f, "round {round} ({order}), ")?;
        }
        write!(f, "{}: {}", self.step, self.message)
    }
}

impl Finished {
    /// An error that says what failed, unless all rounds passed.
    pub(super) fn verdict(&self) -> Result<(), String> {
        match (self.result, self.failures.first()) {
            ("pass", _) => Ok(()),
            (_, Some(first)) => Err(format!("verification failed in {first}")),
            ("interrupted", None) => Err("verification was interrupted; nothing had failed".into()),
            (_, None) => Err("verification failed: every life of the drivers ended for lack of memory".into()),
        }
    }

    /// The report, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let Environment { sluicectl, windows, processor, processors, drivers, driver_verifier } = &self.environment;
        let mut text = vec![format!("sluicectl {sluicectl}, Windows {windows}, {processors} x {processor}")];
        text.extend(
            drivers.iter().map(|file| format!("{}, {} bytes, SHA-256 {}", file.name, file.length, file.sha256)),
        );
        text.push(String::new());

        let mut table = table(&["Step", "Done", "Failed", "Refused", "Longest"]);
        for step in &self.steps {
            let longest = format!("{:.1} ms", step.longest_seconds * 1000.0);
            table.add_row([
                step.step.to_owned(),
                step.done.to_string(),
                step.failed.to_string(),
                step.refused.to_string(),
                longest,
            ]);
        }
        align_right(&mut table, &[1, 2, 3, 4]);
        text.extend(lines(&table));
        text.push(String::new());
        match driver_verifier {
            Some(answers) => {
                for (title, answer) in [("settings", &answers.settings), ("counters", &answers.counters)] {
                    text.push(format!("Driver Verifier, {title}:"));
                    text.extend(answer.lines().map(|line| format!("    {line}")));
                }
            }
            None => text.push("Driver Verifier: not found".to_owned()),
        }
        text.push(String::new());

        text.extend(self.failures.iter().map(|failure| format!("failed: {failure}")));
        let Self { result, rounds, rounds_wanted, seconds, verdicts, .. } = self;
        text.push(format!(
            "{}: {rounds} of {rounds_wanted} rounds in {seconds:.0} s; {verdicts} verdicts as expected",
            result.to_uppercase()
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::assert_documented;
    use crate::verify::plan::ORDERS;

    fn report(rounds: u32, low_resources: bool) -> Report {
        Report::new(Environment::look(None, "probe", false).unwrap(), rounds, low_resources)
    }

    fn no_memory() -> Failure {
        Failure::Windows { message: "no memory".to_owned(), code: 1450 }
    }

    fn result(report: Report) -> (&'static str, Result<(), String>) {
        let finished = report.finish();
        (finished.result, finished.verdict())
    }

    #[test]
    fn all_rounds_without_a_failure_pass() {
        let mut report = report(1, false);
        report.at(1, ORDERS[0]);
        report.step(Step::Stopped, || Ok(())).unwrap();
        report.round_done();
        assert_eq!(result(report), ("pass", Ok(())));
    }

    #[test]
    fn a_failure_is_reported_with_its_place_and_its_words() {
        let mut report = report(2, false);
        report.at(2, ORDERS[1]);
        report.step(Step::Count, || Ok(())).unwrap();
        let outcome = report.step(Step::Count, || Err::<(), _>(Failure::State("counts 3 packets".to_owned())));
        assert!(outcome.is_err() && report.has_failed());
        let finished = report.finish();
        let record = serde_json::to_value(&finished).unwrap();
        assert_documented("verify", &record);
        assert_eq!(record["result"], "fail");
        assert_eq!(record["failures"][0]["round"], 2);
        assert_eq!((&record["steps"][0]["done"], &record["steps"][0]["failed"]), (&1.into(), &1.into()));
        let expected = "verification failed in round 2 (sluice starts first, the client stops first), compare the \
                        counters: counts 3 packets";
        assert_eq!(finished.verdict().unwrap_err(), expected);
        let text = finished.lines().join("\n");
        assert!(text.contains("failed: round 2") && text.contains("FAIL: 0 of 2 rounds"), "{text}");
    }

    #[test]
    fn lack_of_memory_is_a_failure_unless_it_was_simulated() {
        let mut report = report(1, false);
        let outcome = report.step(Step::StartProvider, || Err::<(), _>(no_memory()));
        assert!(outcome.is_err() && report.has_failed());
    }

    #[test]
    fn a_simulated_lack_of_memory_ends_a_life_without_a_failure() {
        let mut report = report(1, true);
        assert!(report.step(Step::StartProvider, || Err::<(), _>(no_memory())).is_err());
        let unattached = || Err::<(), _>(Failure::State("they have not attached".to_owned()));
        assert!(report.step(Step::Attach, unattached).is_err());
        assert!(!report.has_failed());
        report.step(Step::Stopped, || Ok(())).unwrap();
        report.round_done();
        assert_eq!(result(report).0, "pass");
    }

    #[test]
    fn lives_that_were_all_cut_short_prove_nothing() {
        let mut report = report(1, true);
        assert!(report.step(Step::StartProvider, || Err::<(), _>(no_memory())).is_err());
        report.round_done();
        let (result, verdict) = result(report);
        assert_eq!(result, "fail");
        assert!(verdict.unwrap_err().contains("for lack of memory"));
    }

    #[test]
    fn fewer_rounds_than_wanted_do_not_pass() {
        let mut report = report(3, false);
        report.step(Step::Stopped, || Ok(())).unwrap();
        report.round_done();
        let (result, verdict) = result(report);
        assert_eq!(result, "interrupted");
        assert!(verdict.is_err());
    }
}
