//! Several threads that classify without a pause while the drivers are disturbed.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::counts::VerdictCounts;
use super::drivers::within;
use super::expected::{Generations, Workload};
use crate::device::{ERROR_NOT_READY, Probe};
use crate::failure::Failure;

/// How long the threads may take to make progress.
const LIMIT: Duration = Duration::from_secs(60);

/// What the threads and the disturbance know of each other.
pub(super) struct Load<'a> {
    /// The name of the client driver's device.
    client: &'a str,
    workload: &'a Workload,
    generations: &'a Generations<'a>,
    done: AtomicBool,
    /// The provider may be away, so that a request may be refused.
    provider_may_be_away: AtomicBool,
    /// No request sent from now on may be answered by an older generation.
    at_least: AtomicU64,
    /// How many requests were answered with verdicts, all of them right.
    answered: AtomicU64,
    /// The first failure of a thread.
    failure: Mutex<Option<Failure>>,
}

impl<'a> Load<'a> {
    /// Classifies in `threads` threads for as long as `disturb` runs. Returns what they counted.
    pub(super) fn run(
        client: &'a str,
        workload: &'a Workload,
        generations: &'a Generations<'a>,
        threads: usize,
        at_least: u64,
        disturb: impl FnOnce(&Self) -> Result<(), Failure>,
    ) -> Result<VerdictCounts, Failure> {
        let load = Self {
            client,
            workload,
            generations,
            done: AtomicBool::new(false),
            provider_may_be_away: AtomicBool::new(false),
            at_least: AtomicU64::new(at_least),
            answered: AtomicU64::new(0),
            failure: Mutex::new(None),
        };
        let (disturbed, counts) = thread::scope(|scope| {
            let started: Vec<_> = (0..threads)
                .map(|thread| {
                    thread::Builder::new().spawn_scoped(scope, {
                        let load = &load;
                        move || load.thread(thread)
                    })
                })
                .collect();
            let disturbed = disturb(&load);
            load.done.store(true, SeqCst);
            let mut counts = VerdictCounts::default();
            for thread in started {
                match thread {
                    Ok(thread) => counts += thread.join().unwrap_or_default(),
                    Err(error) => load.fail(Failure::State(format!("cannot start a thread: {error}"))),
                }
            }
            (disturbed, counts)
        });
        // The failure of a thread is the likely cause of the other one.
        match load.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(failure),
            None => disturbed.map(|()| counts),
        }
    }

    /// Waits until one more request per thread was answered.
    pub(super) fn goes_on(&self, threads: usize) -> Result<(), Failure> {
        let before = self.answered.load(SeqCst);
        let more = within(LIMIT, || {
            let ended = self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            Ok(ended || self.answered.load(SeqCst) >= before + threads as u64)
        })?;
        if more { Ok(()) } else { Err(Failure::State(format!("no packet was classified for {} s", LIMIT.as_secs()))) }
    }

    pub(super) fn in_force(&self, generation: u64) {
        self.at_least.store(generation, SeqCst);
    }

    pub(super) fn provider_may_be_away(&self, may: bool) {
        self.provider_may_be_away.store(may, SeqCst);
    }

    fn fail(&self, failure: Failure) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
    }

    /// Classifies batch after batch, each thread from a different one on, and checks every verdict.
    fn thread(&self, number: usize) -> VerdictCounts {
        let mut counts = VerdictCounts::default();
        let classified = Probe::open(self.client).and_then(|probe| {
            for batch in (0..self.workload.batches.len()).cycle().skip(number) {
                if self.done.load(SeqCst) {
                    break;
                }
                let may_be_refused = self.provider_may_be_away.load(SeqCst);
                let at_least = self.at_least.load(SeqCst);
                match probe.classify(&self.workload.batches[batch]) {
                    Ok(verdicts) => {
                        // A provider that was restarted in the meantime counts from the start again.
                        let at_least = at_least.min(self.at_least.load(SeqCst));
                        self.generations.check(batch, &verdicts, at_least)?;
                        counts.add(&verdicts);
                        self.answered.fetch_add(1, SeqCst);
                    }
                    Err(Failure::Windows { code: ERROR_NOT_READY, .. })
                        if may_be_refused || self.provider_may_be_away.load(SeqCst) => {}
                    Err(failure) => return Err(failure),
                }
            }
            Ok(())
        });
        if let Err(failure) = classified {
            self.fail(failure);
        }
        counts
    }
}
