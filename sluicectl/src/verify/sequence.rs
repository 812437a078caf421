//! One life of the drivers.

use std::fmt;

use super::SERVICE;
use super::drivers::{Driver, Drivers};
use super::expected::{Generations, Policies, Tally, Workload};
use super::load::Load;
use super::report::{Ended, Report, Step};
use super::services::State;
use crate::failure::Failure;

/// How often the policy is changed under load.
const SWAPS: u32 = 8;
/// How often the provider is stopped and started under load.
const RESTARTS: u32 = 2;

/// Which driver starts first, and which stops first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    start: [Driver; 2],
    stop: [Driver; 2],
}

const PROVIDER_FIRST: [Driver; 2] = [Driver::Provider, Driver::Client];
const CLIENT_FIRST: [Driver; 2] = [Driver::Client, Driver::Provider];

/// All that there are.
pub(super) const ORDERS: [Order; 4] = [
    Order { start: PROVIDER_FIRST, stop: PROVIDER_FIRST },
    Order { start: PROVIDER_FIRST, stop: CLIENT_FIRST },
    Order { start: CLIENT_FIRST, stop: PROVIDER_FIRST },
    Order { start: CLIENT_FIRST, stop: CLIENT_FIRST },
];

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |drivers: [Driver; 2]| if drivers == PROVIDER_FIRST { SERVICE } else { "the client" };
        write!(f, "{} starts first, {} stops first", first(self.start), first(self.stop))
    }
}

/// What every life of the drivers is made of.
pub(super) struct Sequence<'a> {
    pub(super) drivers: &'a Drivers,
    pub(super) workload: &'a Workload,
    pub(super) policies: &'a Policies,
    /// How many threads classify at once.
    pub(super) threads: usize,
}

impl Sequence<'_> {
    /// From the start of both drivers to their end.
    pub(super) fn live(&self, order: Order, report: &mut Report) -> Result<(), Ended> {
        let generations = Generations::new(self.workload, self.policies);
        for driver in order.start {
            report.step(Step::start(driver), || self.drivers.start(driver))?;
        }
        report.step(Step::Attach, || self.drivers.attached())?;
        let generation = self.change_policies(&generations, report)?;
        self.lose_provider(&generations, generation, report)?;
        self.stop(order.stop, report)
    }

    /// Classifies as the driver starts, with a policy, and while several are put in force one after the other. Returns
    /// the generation of the last.
    fn change_policies(&self, generations: &Generations<'_>, report: &mut Report) -> Result<u64, Ended> {
        let Self { drivers, policies, .. } = *self;
        // No policy is in force, unless one was persisted.
        let first = report.step(Step::ReadPolicy, || {
            let (generation, table) = drivers.policy()?;
            generations.add_table(generation, table)?;
            Ok(generation)
        })?;
        let mut tally = report.classified(Step::Classify, || self.classify(generations, first))?;
        let mut generation = report.step(Step::ChangePolicy, || {
            generations.add(first + 1, &policies.loaded);
            drivers.change_policy(&policies.loaded.table)
        })?;
        report.step(Step::ReadPolicy, || {
            let (read, table) = drivers.policy()?;
            if read == generation && table == policies.loaded.table {
                return Ok(());
            }
            let what = format!("generation {generation} was loaded; generation {read} is read, or another table");
            Err(Failure::State(what))
        })?;
        tally += report.classified(Step::Classify, || self.classify(generations, generation))?;
        tally += report.classified(Step::SwapPolicies, || {
            self.under_load(generations, generation, |load| {
                for swap in 0..SWAPS {
                    load.goes_on(self.threads)?;
                    let policy = if swap % 2 == 0 { &policies.none } else { &policies.loaded };
                    generations.add(generation + 1, policy);
                    generation = drivers.change_policy(&policy.table)?;
                    load.in_force(generation);
                }
                load.goes_on(self.threads)
            })
        })?;
        report.step(Step::Count, || drivers.counted(&tally))?;
        Ok(generation)
    }

    /// The provider goes away under its client and comes back, which is attached to it again: first while several threads
    /// classify, then while nothing happens.
    fn lose_provider(&self, generations: &Generations<'_>, generation: u64, report: &mut Report) -> Result<(), Ended> {
        let drivers = self.drivers;
        report.classified(Step::RestartUnderLoad, || {
            self.under_load(generations, generation, |load| {
                for _ in 0..RESTARTS {
                    load.goes_on(self.threads)?;
                    load.provider_may_be_away(true);
                    load.in_force(0);
                    drivers.stop(Driver::Provider)?;
                    // It starts with the generation and the policy that it started with before.
                    drivers.start(Driver::Provider)?;
                    drivers.attached()?;
                    load.provider_may_be_away(false);
                }
                load.goes_on(self.threads)
            })
        })?;
        report.step(Step::stop(Driver::Provider), || drivers.stop(Driver::Provider))?;
        report.step(Step::Alone, || drivers.is_alone(Driver::Client, &self.workload.batches[0]))?;
        report.step(Step::start(Driver::Provider), || drivers.start(Driver::Provider))?;
        report.step(Step::Attach, || drivers.attached())?;
        let tally = report.classified(Step::Classify, || self.classify(generations, 0))?;
        report.step(Step::Count, || drivers.counted(&tally))
    }

    fn stop(&self, [first, second]: [Driver; 2], report: &mut Report) -> Result<(), Ended> {
        let drivers = self.drivers;
        report.step(Step::stop(first), || drivers.stop(first))?;
        report.step(Step::Alone, || drivers.is_alone(second, &self.workload.batches[0]))?;
        report.step(Step::stop(second), || drivers.stop(second))?;
        report.step(Step::Stopped, || {
            [first, second].into_iter().try_for_each(|driver| drivers.must_be(driver, State::Stopped))
        })
    }

    /// Classifies in several threads for as long as `disturb` runs.
    fn under_load<'a>(
        &'a self,
        generations: &'a Generations<'a>,
        generation: u64,
        disturb: impl FnOnce(&Load<'a>) -> Result<(), Failure>,
    ) -> Result<Tally, Failure> {
        Load::run(self.drivers.client(), self.workload, generations, self.threads, generation, disturb)
    }

    /// Classifies the whole capture once.
    fn classify(&self, generations: &Generations<'_>, at_least: u64) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        for (batch, packets) in self.workload.batches.iter().enumerate() {
            let verdicts = self.drivers.classify(packets)?;
            generations.check(batch, &verdicts, at_least)?;
            tally.add(&verdicts);
        }
        Ok(tally)
    }
}
