//! The policy in force, and how another one takes its place while packets are being classified.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sluice_control::settings::OnPolicyError;
use sluice_control::status::{
    STATUS_FILE_CORRUPT_ERROR, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND,
    STATUS_QUOTA_EXCEEDED,
};
use sluice_control::{NTSTATUS, SharedBytes};
use sluice_core::Policy;
use sluice_swap::{Processors, Swap};
use wdk_nmr::Region;

use crate::counters::{Place, RuleCounters};
use crate::dry_run::DryRun;
use crate::log::RuleLimits;
use crate::{Event, Machine, storage};

/// The largest table, in bytes of non-paged pool, unless the driver is told otherwise.
pub const DEFAULT_TABLE_LIMIT: usize = 64 << 20;

/// How many groups of processors read without sharing a cache line, and count without a locked instruction. Each takes
/// 128 bytes.
const SHARDS: usize = 64;

/// A policy and its generation, which are read together.
pub(crate) struct InstalledPolicy {
    pub(crate) generation: u64,
    pub(crate) policy: Policy<Vec<u8>>,
    /// Whether the driver starts with it the next time.
    pub(crate) persisted: bool,
    /// The packets of each rule, and behind these those of the default; none without a table.
    pub(crate) counters: RuleCounters,
    pub(crate) limits: RuleLimits,
}

impl InstalledPolicy {
    /// A policy that has a table.
    #[inline(never)]
    fn try_new<M: Machine>(policy: Policy<Vec<u8>>, persisted: bool, machine: &M) -> Result<Self, NTSTATUS> {
        let mut installed = Self::without_counters(policy, persisted);
        let parts = || {
            let counters = RuleCounters::try_new(installed.counter_count(), machine.processors())?;
            Some((counters, RuleLimits::try_new(&installed.policy)?))
        };
        (installed.counters, installed.limits) = parts().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(installed)
    }

    /// A policy that has no table, for which no memory is needed.
    fn without_counters(policy: Policy<Vec<u8>>, persisted: bool) -> Self {
        Self { generation: 0, policy, persisted, counters: RuleCounters::default(), limits: RuleLimits::default() }
    }

    /// How many counters there are: one for each rule and one for the default.
    pub(crate) fn counter_count(&self) -> usize {
        (self.policy.rule_count() as usize).saturating_add(1)
    }
}

/// The policy in force, and how it is replaced; and the one that is being tried beside it.
pub(crate) struct CurrentPolicy<P> {
    /// In memory of its own: DriverEntry's stack is too small for it.
    current: Box<Swap<InstalledPolicy, P, SHARDS>>,
    /// The policy that is being tried.
    dry_run: Box<Swap<Option<Box<DryRun>>, P, SHARDS>>,
    /// Whether there may be one: all that packets cost while there is none.
    is_trying: AtomicBool,
    /// How many have been tried.
    dry_runs: AtomicU64,
    /// Set while a thread derives a generation from the last one, or changes what is persisted or tried. That thread is
    /// in a critical region: suspended, it would hold up all others.
    changing: AtomicBool,
    /// What was persisted could not be used when the driver started, and nothing has taken its place since.
    persisted_is_damaged: AtomicBool,
    table_limit: usize,
}

impl<P: Processors> CurrentPolicy<P> {
    /// Generation 0, which has no table and permits everything. `None` if there is no memory.
    pub(crate) fn try_new(table_limit: usize) -> Option<Self> {
        let first = InstalledPolicy::without_counters(Policy::permit_everything(Vec::new()), false);
        Some(Self {
            current: Swap::try_boxed(first)?,
            dry_run: Swap::try_boxed(None)?,
            is_trying: AtomicBool::new(false),
            dry_runs: AtomicU64::new(0),
            changing: AtomicBool::new(false),
            persisted_is_damaged: AtomicBool::new(false),
            table_limit,
        })
    }

    /// Calls `reader` with the policy in force, and tells it where to count what it does. Up to DISPATCH_LEVEL, without
    /// a lock. The thread cannot be suspended meanwhile, since a replacement waits for it.
    #[inline]
    pub(crate) fn read<M: Machine, R>(&self, machine: &M, reader: impl FnOnce(Place, &InstalledPolicy) -> R) -> R {
        let processor = machine.processor();
        self.current.read_in_place(processor, |own, installed| reader(Place { processor, own }, installed))
    }

    /// Whether what was persisted could not be used.
    pub(crate) fn persisted_is_damaged(&self) -> bool {
        self.persisted_is_damaged.load(Ordering::Relaxed)
    }

    /// Puts the persisted policy in force, if there is one. If that fails, it is reported and remembered, and
    /// `reaction` says what comes of it. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// The driver must not start, for this reason.
    #[inline(never)]
    pub(crate) fn restore<M: Machine>(&self, reaction: OnPolicyError, machine: &M) -> Result<(), NTSTATUS> {
        let restored = storage::persisted(machine.storage(), self.table_limit).and_then(|table| {
            let Some(table) = table else { return Ok(()) };
            let policy = Policy::new(table).map_err(|_| STATUS_FILE_CORRUPT_ERROR)?;
            self.put_in_force_at_start(InstalledPolicy::try_new(policy, true, machine)?, machine);
            Ok(())
        });
        let Err(status) = restored else { return Ok(()) };
        self.persisted_is_damaged.store(true, Ordering::Relaxed);
        machine.record(&Event::PolicyError { status, reaction });
        match reaction {
            OnPolicyError::DoNotStart => Err(status),
            OnPolicyError::Permit => Ok(()),
            OnPolicyError::Block => {
                let policy = Policy::block_everything(Vec::new());
                self.put_in_force_at_start(InstalledPolicy::without_counters(policy, false), machine);
                Ok(())
            }
        }
    }

    /// Puts `next` in force while the driver starts: nobody has asked for it, and nobody reads what was there.
    #[inline(never)]
    fn put_in_force_at_start<M: Machine>(&self, next: InstalledPolicy, machine: &M) {
        let requested = false;
        drop(self.in_turn(machine, || self.put_in_force(next, requested, machine)));
    }

    /// Copies and validates `table` and puts it in force; if `persist`, persists it first. PASSIVE_LEVEL. Returns its
    /// generation.
    ///
    /// # Errors
    ///
    /// STATUS_QUOTA_EXCEEDED: the table is larger than the limit. STATUS_INSUFFICIENT_RESOURCES: no memory for the copy
    /// or the counters. STATUS_INVALID_PARAMETER: it is not a policy table. Others: it could not be persisted. What was
    /// in force stays in force, and what was persisted stays persisted.
    #[inline(never)]
    pub(crate) fn load<M: Machine>(
        &self,
        table: &SharedBytes<'_>,
        persist: bool,
        machine: &M,
    ) -> Result<u64, NTSTATUS> {
        let next = self.checked(table, persist, machine)?;
        let first = |next: &InstalledPolicy| {
            if persist { self.settled(storage::persist(machine.storage(), next.policy.bytes())) } else { Ok(()) }
        };
        self.replace(next, first, machine)
    }

    /// The policy of a table that comes from outside.
    fn checked<M: Machine>(
        &self,
        table: &SharedBytes<'_>,
        persisted: bool,
        machine: &M,
    ) -> Result<InstalledPolicy, NTSTATUS> {
        if table.len() > self.table_limit {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        // The copy is validated: nobody else can change it.
        let policy = Policy::new(table.to_vec()?).map_err(|_| STATUS_INVALID_PARAMETER)?;
        InstalledPolicy::try_new(policy, persisted, machine)
    }

    /// Goes back to no table; if `persist`, persists that first. PASSIVE_LEVEL. Returns the new generation.
    ///
    /// # Errors
    ///
    /// It could not be persisted. What was in force stays in force, and what was persisted stays persisted.
    #[inline(never)]
    pub(crate) fn clear<M: Machine>(&self, persist: bool, machine: &M) -> Result<u64, NTSTATUS> {
        let policy = Policy::permit_everything(Vec::new());
        let first =
            |_: &InstalledPolicy| if persist { self.settled(storage::persist(machine.storage(), &[])) } else { Ok(()) };
        self.replace(InstalledPolicy::without_counters(policy, false), first, machine)
    }

    /// What is persisted has been replaced, if `outcome` says so: it is not damaged any more.
    fn settled(&self, outcome: Result<(), NTSTATUS>) -> Result<(), NTSTATUS> {
        outcome.inspect(|()| self.persisted_is_damaged.store(false, Ordering::Relaxed))
    }

    /// Does what has to succeed `first`, then puts `next` in force under a generation of its own. Who comes in between
    /// waits, so that what is persisted belongs to what is in force. Returns when nobody reads the policy that was in
    /// force any more, and it is gone.
    #[inline(never)]
    fn replace<M: Machine>(
        &self,
        next: InstalledPolicy,
        first: impl FnOnce(&InstalledPolicy) -> Result<(), NTSTATUS>,
        machine: &M,
    ) -> Result<u64, NTSTATUS> {
        let replaced = self.in_turn(machine, || {
            first(&next)?;
            Ok(self.put_in_force(next, true, machine))
        });
        replaced.map(|(generation, _old)| generation)
    }

    /// Puts `next` in force, as somebody has `requested` or not. Returns its generation, and what was in force. It is
    /// called in turn.
    #[inline(never)]
    fn put_in_force<M: Machine>(
        &self,
        mut next: InstalledPolicy,
        requested: bool,
        machine: &M,
    ) -> (u64, InstalledPolicy) {
        let generation = self.generation(machine).wrapping_add(1);
        next.generation = generation;
        let event = Event::PolicyChanged {
            generation,
            rules: next.policy.rule_count(),
            table_length: next.policy.bytes().len(),
            default: next.policy.default_action(),
            persisted: next.persisted,
            requested,
        };
        let old = self.current.replace(next, || machine.pause());
        machine.record(&event);
        (generation, old)
    }

    fn generation<M: Machine>(&self, machine: &M) -> u64 {
        self.read(machine, |_, current| current.generation)
    }

    /// Calls `change` while no other thread is in a call of this. PASSIVE_LEVEL.
    ///
    /// What counts of a KMUTEX is here: whoever has it is in a critical region, and cannot be suspended with it. What
    /// a KMUTEX has besides (it may be taken again, and is waited for in line) nobody needs: administrators change
    /// policies, and who has to wait looks again each millisecond. So it is host code, which tests run.
    fn in_turn<M: Machine, R>(&self, machine: &M, change: impl FnOnce() -> R) -> R {
        let _region = Region::<M::Region>::enter();
        while self.changing.swap(true, Ordering::Acquire) {
            machine.pause();
        }
        let changed = change();
        self.changing.store(false, Ordering::Release);
        changed
    }

    /// Calls `reader` with the policy that is being tried, if there is one, and the place where it counts. It is called
    /// while a policy is read, so that the thread cannot be suspended. Up to DISPATCH_LEVEL.
    #[inline]
    pub(crate) fn read_dry_run(&self, processor: usize, reader: impl FnOnce(Place, &DryRun)) {
        if self.is_trying.load(Ordering::Relaxed) {
            self.dry_run.read_in_place(processor, |own, dry_run| {
                if let Some(dry_run) = dry_run {
                    reader(Place { processor, own }, dry_run);
                }
            });
        }
    }

    /// Calls `reader` with the policy that is being tried. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// STATUS_NOT_FOUND: there is none.
    pub(crate) fn dry_run<M: Machine, R>(&self, machine: &M, reader: impl FnOnce(&DryRun) -> R) -> Result<R, NTSTATUS> {
        self.dry_run.read(machine.processor(), |dry_run| dry_run.as_deref().map(reader).ok_or(STATUS_NOT_FOUND))
    }

    /// Copies and validates `table` and tries it beside the policy in force, in place of what was being tried.
    /// PASSIVE_LEVEL. Returns the generation of the policy in force.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load). What was being tried goes on being tried.
    #[inline(never)]
    pub(crate) fn start_dry_run<M: Machine>(&self, table: &SharedBytes<'_>, machine: &M) -> Result<u64, NTSTATUS> {
        let tried = self.checked(table, false, machine)?;
        let replaced = self.in_turn(machine, || {
            let number = self.dry_runs.load(Ordering::Relaxed).wrapping_add(1);
            let generation = self.generation(machine);
            let dry_run = DryRun::try_new(tried, number, generation, machine)?;
            self.dry_runs.store(number, Ordering::Relaxed);
            Ok((generation, self.replace_dry_run(Some(dry_run), machine)))
        });
        replaced.map(|(generation, _old)| generation)
    }

    /// Stops trying a policy. PASSIVE_LEVEL. Returns the generation of the policy in force.
    ///
    /// # Errors
    ///
    /// STATUS_NOT_FOUND: there is none.
    #[inline(never)]
    pub(crate) fn stop_dry_run<M: Machine>(&self, machine: &M) -> Result<u64, NTSTATUS> {
        let stopped =
            self.in_turn(machine, || self.replace_dry_run(None, machine).map(|old| (old, self.generation(machine))));
        stopped.map(|(_old, generation)| generation).ok_or(STATUS_NOT_FOUND)
    }

    /// Puts the policy that is being tried in force, with counters that start anew; if `persist`, persists it first.
    /// PASSIVE_LEVEL. Returns its generation and the length of its table.
    ///
    /// # Errors
    ///
    /// STATUS_NOT_FOUND: there is none. Others: it could not be persisted. Nothing has changed.
    #[inline(never)]
    pub(crate) fn load_dry_run<M: Machine>(&self, persist: bool, machine: &M) -> Result<(u64, usize), NTSTATUS> {
        let replaced = self.in_turn(machine, || {
            if persist {
                let persisted = self.dry_run.read(machine.processor(), |dry_run| {
                    let DryRun { tried, .. } = dry_run.as_deref().ok_or(STATUS_NOT_FOUND)?;
                    storage::persist(machine.storage(), tried.policy.bytes())
                });
                self.settled(persisted)?;
            }
            let DryRun { mut tried, .. } = *self.replace_dry_run(None, machine).ok_or(STATUS_NOT_FOUND)?;
            tried.counters.reset();
            tried.persisted = persist;
            let table_length = tried.policy.bytes().len();
            Ok((self.put_in_force(tried, true, machine), table_length))
        });
        replaced.map(|((generation, _old), table_length)| (generation, table_length))
    }

    /// Tries `next` from now on, or nothing. Returns what was being tried, which nobody reads any more. It is called in
    /// turn.
    fn replace_dry_run<M: Machine>(&self, next: Option<Box<DryRun>>, machine: &M) -> Option<Box<DryRun>> {
        let is_trying = next.is_some();
        let old = self.dry_run.replace(next, || machine.pause());
        self.is_trying.store(is_trying, Ordering::Relaxed);
        old
    }
}
