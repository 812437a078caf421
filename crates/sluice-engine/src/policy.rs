//! The policy in force, and how another one takes its place while packets are being classified.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use sluice_control::settings::OnPolicyError;
use sluice_control::status::{STATUS_FILE_CORRUPT_ERROR, STATUS_INVALID_PARAMETER, STATUS_QUOTA_EXCEEDED};
use sluice_control::{NTSTATUS, SharedBytes};
use sluice_core::Policy;
use sluice_swap::{Processors, Swap};
use wdk_nmr::Region;

use crate::{Event, Machine, storage};

/// The largest table, in bytes of non-paged pool, unless the driver is told otherwise.
pub const DEFAULT_TABLE_LIMIT: usize = 64 << 20;

/// How many groups of processors read without sharing a cache line. Each takes 128 bytes.
const SHARDS: usize = 16;

/// A policy and its generation, which are read together.
pub(crate) struct InstalledPolicy {
    pub(crate) generation: u64,
    pub(crate) policy: Policy<Vec<u8>>,
    /// Whether the driver starts with it the next time.
    pub(crate) persisted: bool,
}

/// The policy in force, and how it is replaced.
pub(crate) struct CurrentPolicy<P> {
    /// In memory of its own: DriverEntry's stack is too small for it.
    current: Box<Swap<InstalledPolicy, P, SHARDS>>,
    /// Set while a thread derives a generation from the last one, or changes what is persisted. That thread is in a
    /// critical region: suspended, it would hold up all others.
    replacing: AtomicBool,
    /// What was persisted could not be used when the driver started, and nothing has taken its place since.
    persisted_is_damaged: AtomicBool,
    table_limit: usize,
}

impl<P: Processors> CurrentPolicy<P> {
    /// Generation 0, which has no table and permits everything. `None` if there is no memory.
    pub(crate) fn try_new(table_limit: usize) -> Option<Self> {
        let first = InstalledPolicy { generation: 0, policy: Policy::permit_everything(Vec::new()), persisted: false };
        Some(Self {
            current: Swap::try_boxed(first)?,
            replacing: AtomicBool::new(false),
            persisted_is_damaged: AtomicBool::new(false),
            table_limit,
        })
    }

    /// Calls `reader` with the policy in force, and tells it on which processor that is done. Up to DISPATCH_LEVEL,
    /// without a lock. The thread cannot be suspended meanwhile, since a replacement waits for it.
    #[inline]
    pub(crate) fn read<M: Machine, R>(&self, machine: &M, reader: impl FnOnce(usize, &InstalledPolicy) -> R) -> R {
        let processor = machine.processor();
        self.current.read(processor, |installed| reader(processor, installed))
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
    pub(crate) fn restore<M: Machine>(&self, reaction: OnPolicyError, machine: &M) -> Result<(), NTSTATUS> {
        let restored = storage::persisted(machine.storage(), self.table_limit).and_then(|table| {
            let Some(table) = table else { return Ok(()) };
            let policy = Policy::new(table).map_err(|_| STATUS_FILE_CORRUPT_ERROR)?;
            self.replace(InstalledPolicy { generation: 0, policy, persisted: true }, |_| Ok(()), machine).map(drop)
        });
        let Err(status) = restored else { return Ok(()) };
        self.persisted_is_damaged.store(true, Ordering::Relaxed);
        machine.report(&Event::PolicyError { status, reaction });
        match reaction {
            OnPolicyError::DoNotStart => Err(status),
            OnPolicyError::Permit => Ok(()),
            OnPolicyError::Block => {
                let policy = Policy::block_everything(Vec::new());
                self.replace(InstalledPolicy { generation: 0, policy, persisted: false }, |_| Ok(()), machine).map(drop)
            }
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
    pub(crate) fn load<M: Machine>(
        &self,
        table: &SharedBytes<'_>,
        persist: bool,
        machine: &M,
    ) -> Result<u64, NTSTATUS> {
        if table.len() > self.table_limit {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        // The copy is validated: nobody else can change it.
        let policy = Policy::new(table.to_vec()?).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let first = |next: &InstalledPolicy| {
            if persist { self.settled(storage::persist(machine.storage(), next.policy.bytes())) } else { Ok(()) }
        };
        self.replace(InstalledPolicy { generation: 0, policy, persisted: persist }, first, machine)
    }

    /// Goes back to no table; if `persist`, persists that first. PASSIVE_LEVEL. Returns the new generation.
    ///
    /// # Errors
    ///
    /// It could not be persisted. What was in force stays in force, and what was persisted stays persisted.
    pub(crate) fn clear<M: Machine>(&self, persist: bool, machine: &M) -> Result<u64, NTSTATUS> {
        let policy = Policy::permit_everything(Vec::new());
        let first =
            |_: &InstalledPolicy| if persist { self.settled(storage::persist(machine.storage(), &[])) } else { Ok(()) };
        self.replace(InstalledPolicy { generation: 0, policy, persisted: false }, first, machine)
    }

    /// What is persisted has been replaced, if `outcome` says so: it is not damaged any more.
    fn settled(&self, outcome: Result<(), NTSTATUS>) -> Result<(), NTSTATUS> {
        outcome.inspect(|()| self.persisted_is_damaged.store(false, Ordering::Relaxed))
    }

    /// Does what has to succeed `first`, then puts `next` in force under a generation of its own. Who comes in between
    /// waits, so that what is persisted belongs to what is in force. Returns when nobody reads the policy that was in
    /// force any more, and it is gone.
    fn replace<M: Machine>(
        &self,
        mut next: InstalledPolicy,
        first: impl FnOnce(&InstalledPolicy) -> Result<(), NTSTATUS>,
        machine: &M,
    ) -> Result<u64, NTSTATUS> {
        let _region = Region::<M::Region>::enter();
        while self.replacing.swap(true, Ordering::Acquire) {
            machine.pause();
        }
        let replaced = first(&next).map(|()| {
            let generation = self.read(machine, |_, current| current.generation).wrapping_add(1);
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
