//! One life of the drivers.

use super::counts::VerdictCounts;
use super::drivers::Drivers;
use super::expected::{Generations, Policies, Workload};
use super::load::Load;
use super::plan::{Driver, Order, Step};
use super::report::{Ended, Report};
use super::services::State;
use crate::failure::Failure;

/// How often the policy is changed under load.
const SWAPS: u32 = 8;
/// How often the provider is stopped and started under load.
const RESTARTS: u32 = 2;

/// What every life of the drivers needs.
pub(super) struct Sequence<'a> {
    pub(super) drivers: &'a Drivers,
    pub(super) workload: &'a Workload,
    pub(super) policies: &'a Policies,
    /// How many threads classify at once.
    pub(super) threads: usize,
}

impl Sequence<'_> {
    /// From the start of the drivers to their end.
    pub(super) fn live(&self, order: Order, report: &mut Report) -> Result<(), Ended> {
        let generations = Generations::new(self.workload, self.policies);
        if order.starts_with_gate() {
            self.start_gate(report)?;
        }
        for driver in order.start {
            report.step(Step::start(driver), || self.drivers.start(driver))?;
        }
        report.step(Step::Attach, || self.drivers.attached())?;
        if !order.starts_with_gate() {
            self.start_gate(report)?;
        }
        let generation = self.change_policies(&generations, report)?;
        self.gate_filters(report)?;
        self.lose_provider(&generations, generation, report)?;
        self.gate_filters(report)?;
        if order.stops_with_gate() {
            self.stop_gate(order, report)?;
        }
        self.stop(order.stop, report)?;
        if !order.stops_with_gate() {
            self.stop_gate(order, report)?;
        }
        report.step(Step::Stopped, || {
            self.drivers.all().try_for_each(|driver| self.drivers.must_be(driver, State::Stopped))
        })
    }

    /// Has gate.sys filter packets, if it is verified.
    fn start_gate(&self, report: &mut Report) -> Result<(), Ended> {
        if !self.drivers.have_gate() {
            return Ok(());
        }
        report.step(Step::start(Driver::Gate), || self.drivers.start(Driver::Gate))?;
        report.step(Step::Filter, || self.drivers.filter())
    }

    /// gate.sys filters and is attached, if it is verified.
    fn gate_filters(&self, report: &mut Report) -> Result<(), Ended> {
        if self.drivers.have_gate() { report.step(Step::Attach, || self.drivers.gate_filters()) } else { Ok(()) }
    }

    /// Stops gate.sys, if it is verified: in half of the lives while it filters.
    fn stop_gate(&self, order: Order, report: &mut Report) -> Result<(), Ended> {
        let drivers = self.drivers;
        if !drivers.have_gate() {
            return Ok(());
        }
        if !order.stops_with_gate() {
            report.step(Step::Alone, || drivers.is_alone(Driver::Gate, &[]))?;
        }
        if order.starts_with_gate() {
            report.step(Step::LetPass, || drivers.let_pass())?;
        }
        report.step(Step::stop(Driver::Gate), || drivers.stop(Driver::Gate))
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
        let mut counts = report.classified(Step::Classify, || self.classify(generations, first))?;
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
        counts += report.classified(Step::Classify, || self.classify(generations, generation))?;
        counts += report.classified(Step::SwapPolicies, || {
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
        report.step(Step::Count, || drivers.counted(&counts))?;
        Ok(generation)
    }

    /// The provider stops under its client, comes back, and is attached to it again: first while several threads
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
        let counts = report.classified(Step::Classify, || self.classify(generations, 0))?;
        report.step(Step::Count, || drivers.counted(&counts))
    }

    /// Stops whichever driver runs, clients first.
    pub(super) fn stop_all(&self, report: &mut Report) -> Result<(), Ended> {
        self.drivers
            .all()
            .try_for_each(|driver| report.step(Step::stop(driver), || self.drivers.stop_if_running(driver)))
    }

    fn stop(&self, [first, second]: [Driver; 2], report: &mut Report) -> Result<(), Ended> {
        let drivers = self.drivers;
        report.step(Step::stop(first), || drivers.stop(first))?;
        report.step(Step::Alone, || drivers.is_alone(second, &self.workload.batches[0]))?;
        report.step(Step::stop(second), || drivers.stop(second))
    }

    /// Classifies in several threads for as long as `disturb` runs.
    fn under_load<'a>(
        &'a self,
        generations: &'a Generations<'a>,
        generation: u64,
        disturb: impl FnOnce(&Load<'a>) -> Result<(), Failure>,
    ) -> Result<VerdictCounts, Failure> {
        Load::run(self.drivers.client(), self.workload, generations, self.threads, generation, disturb)
    }

    /// Classifies the whole capture once.
    fn classify(&self, generations: &Generations<'_>, at_least: u64) -> Result<VerdictCounts, Failure> {
        let mut counts = VerdictCounts::default();
        for (batch, packets) in self.workload.batches.iter().enumerate() {
            let verdicts = self.drivers.classify(packets)?;
            generations.check(batch, &verdicts, at_least)?;
            counts.add(&verdicts);
        }
        Ok(counts)
    }
}
