//! The policy in force, and how another one takes its place while packets are being classified.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use sluice_control::NTSTATUS;
use sluice_control::status::{
    STATUS_FILE_CORRUPT_ERROR, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_QUOTA_EXCEEDED,
};
use sluice_core::Policy;
use sluice_swap::Swap;

use crate::{Event, Machine, Storage, storage};

/// The largest table, in bytes of non-paged pool, unless the driver is told otherwise.
pub const DEFAULT_TABLE_LIMIT: usize = 64 << 20;

/// How many groups of processors read without sharing a cache line. Each takes 128 bytes, also of DriverEntry's stack,
/// on which the engine is made.
const SHARDS: usize = 16;

/// A policy and its generation, which are read together.
pub(crate) struct InstalledPolicy {
    pub(crate) generation: u64,
    pub(crate) policy: Policy<Vec<u8>>,
    /// Whether the driver starts with it the next time.
    pub(crate) persisted: bool,
}

/// The policy in force, and how it is replaced.
pub(crate) struct CurrentPolicy {
    current: Swap<InstalledPolicy, SHARDS>,
    /// Set while a thread derives a generation from the last one, or changes what is persisted.
    replacing: AtomicBool,
    /// What was persisted could not be used when the driver started, and nothing has taken its place since.
    persisted_is_damaged: AtomicBool,
    table_limit: usize,
}

impl CurrentPolicy {
    /// Generation 0, which has no table and permits everything.
    pub(crate) const fn new(table_limit: usize) -> Self {
        let first = InstalledPolicy { generation: 0, policy: Policy::permit_everything(Vec::new()), persisted: false };
        Self {
            current: Swap::new(first),
            replacing: AtomicBool::new(false),
            persisted_is_damaged: AtomicBool::new(false),
            table_limit,
        }
    }

    /// Calls `reader` with the policy in force. Up to DISPATCH_LEVEL; without a lock.
    #[inline]
    pub(crate) fn read<R>(&self, processor: usize, reader: impl FnOnce(&InstalledPolicy) -> R) -> R {
        self.current.read(processor, reader)
    }

    /// Whether what was persisted could not be used.
    pub(crate) fn persisted_is_damaged(&self) -> bool {
        self.persisted_is_damaged.load(Ordering::Relaxed)
    }

    /// Puts the persisted policy in force. If it is damaged, that is reported and remembered, and there is none.
    /// PASSIVE_LEVEL.
    pub(crate) fn restore(&self, machine: &impl Machine) {
        let restored = storage::persisted(machine.storage(), self.table_limit).and_then(|table| {
            let Some(table) = table else { return Ok(()) };
            let policy = Policy::new(table).map_err(|_| STATUS_FILE_CORRUPT_ERROR)?;
            self.replace(InstalledPolicy { generation: 0, policy, persisted: true }, |_| Ok(()), machine).map(drop)
        });
        if let Err(status) = restored {
            self.persisted_is_damaged.store(true, Ordering::Relaxed);
            machine.report(&Event::PersistedPolicyDamaged { status });
        }
    }

    /// Copies and validates `table` and puts it in force; if `persist`, persists it first. PASSIVE_LEVEL. Returns its
    /// generation.
    ///
    /// # Errors
    ///
    /// STATUS_QUOTA_EXCEEDED: the table is larger than the limit. STATUS_INSUFFICIENT_RESOURCES: no memory for the
    /// copy. STATUS_INVALID_PARAMETER: it is not a policy table. Others: it could not be persisted. What was in force
    /// stays in force, and what was persisted stays persisted.
    pub(crate) fn load<M: Machine>(&self, table: &[u8], persist: bool, machine: &M) -> Result<u64, NTSTATUS> {
        if table.len() > self.table_limit {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(table.len()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        copy.extend_from_slice(table);
        // The copy is validated: nobody else can change it.
        let policy = Policy::new(copy).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let first = |next: &InstalledPolicy| {
            if persist { self.settled(storage::persist(machine.storage(), next.policy.bytes())) } else { Ok(()) }
        };
        self.replace(InstalledPolicy { generation: 0, policy, persisted: persist }, first, machine)
    }

    /// Goes back to no table; if `persist`, removes what is persisted first. PASSIVE_LEVEL. Returns the new generation.
    ///
    /// # Errors
    ///
    /// What is persisted could not be removed. What was in force stays in force.
    pub(crate) fn clear<M: Machine>(&self, persist: bool, machine: &M) -> Result<u64, NTSTATUS> {
        let policy = Policy::permit_everything(Vec::new());
        let first = |_: &InstalledPolicy| if persist { self.settled(machine.storage().remove()) } else { Ok(()) };
        self.replace(InstalledPolicy { generation: 0, policy, persisted: false }, first, machine)
    }

    /// What is persisted has been replaced or removed, if `outcome` says so: it is not damaged any more.
    fn settled(&self, outcome: Result<(), NTSTATUS>) -> Result<(), NTSTATUS> {
        outcome.inspect(|()| self.persisted_is_damaged.store(false, Ordering::Relaxed))
    }

    /// Does what has to succeed `first`, then puts `next` in force under a generation of its own. Who comes in between
    /// waits, so that what is persisted belongs to what is in force. Returns when nobody reads the policy that was in
    /// force any more, and it is gone.
    fn replace(
        &self,
        mut next: InstalledPolicy,
        first: impl FnOnce(&InstalledPolicy) -> Result<(), NTSTATUS>,
        machine: &impl Machine,
    ) -> Result<u64, NTSTATUS> {
        while self.replacing.swap(true, Ordering::Acquire) {
            machine.pause();
        }
        let replaced = first(&next).map(|()| {
            let generation = self.read(machine.processor(), |current| current.generation).wrapping_add(1);
            next.generation = generation;
            let event = Event::PolicyChanged {
                generation,
                rules: next.policy.rule_count(),
                table_length: next.policy.bytes().len(),
                default: next.policy.default_action(),
                persisted: next.persisted,
            };
            let old = self.current.replace(next, || machine.pause());
            machine.report(&event);
            (generation, old)
        });
        self.replacing.store(false, Ordering::Release);
        replaced.map(|(generation, _old)| generation)
    }
}
