//! The policy in force, and how another one takes its place while packets are being classified.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use sluice_control::{
    NTSTATUS,
    status::{STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_QUOTA_EXCEEDED},
};
use sluice_core::Policy;
use sluice_swap::Swap;

use crate::Machine;

/// The largest table, in bytes of non-paged pool, unless the driver is told otherwise.
pub(crate) const DEFAULT_TABLE_LIMIT: usize = 64 << 20;

/// How many groups of processors read without sharing a cache line. Each takes 128 bytes, also of DriverEntry's stack, on
/// which the engine is made.
const SHARDS: usize = 16;

/// A policy and its number. Who reads one gets the other with it.
pub(crate) struct InForce {
    pub(crate) generation: u64,
    pub(crate) policy: Policy<Vec<u8>>,
}

/// The policy in force and those who replace it.
pub(crate) struct PolicyInForce {
    current: Swap<InForce, SHARDS>,
    /// Set while somebody makes a generation out of the last one.
    replacing: AtomicBool,
    table_limit: usize,
}

impl PolicyInForce {
    /// Generation 0, which has no table and permits everything.
    pub(crate) const fn new(table_limit: usize) -> Self {
        let first = InForce { generation: 0, policy: Policy::permit_everything(Vec::new()) };
        Self { current: Swap::new(first), replacing: AtomicBool::new(false), table_limit }
    }

    /// Calls `reader` with the policy in force. Up to DISPATCH_LEVEL; without a lock.
    #[inline]
    pub(crate) fn read<R>(&self, processor: usize, reader: impl FnOnce(&InForce) -> R) -> R {
        self.current.read(processor, reader)
    }

    /// Copies and checks `table` and puts it in force. PASSIVE_LEVEL. Returns its generation.
    ///
    /// # Errors
    ///
    /// STATUS_QUOTA_EXCEEDED: the table is larger than the limit. STATUS_INSUFFICIENT_RESOURCES: no memory for the copy.
    /// STATUS_INVALID_PARAMETER: it is no policy table. What was in force stays in force.
    pub(crate) fn load(&self, table: &[u8], machine: &impl Machine) -> Result<u64, NTSTATUS> {
        if table.len() > self.table_limit {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(table.len()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        copy.extend_from_slice(table);
        // What is checked is the copy, which nobody else can change.
        let policy = Policy::new(copy).map_err(|_| STATUS_INVALID_PARAMETER)?;
        Ok(self.replace(policy, machine))
    }

    /// Goes back to no table. PASSIVE_LEVEL. Returns the new generation.
    pub(crate) fn clear(&self, machine: &impl Machine) -> u64 {
        self.replace(Policy::permit_everything(Vec::new()), machine)
    }

    /// Returns when nobody reads the policy that was in force any more, and it is gone.
    fn replace(&self, policy: Policy<Vec<u8>>, machine: &impl Machine) -> u64 {
        while self.replacing.swap(true, Ordering::Acquire) {
            machine.pause();
        }
        let generation = self.read(machine.processor(), |current| current.generation).wrapping_add(1);
        let old = self.current.replace(InForce { generation, policy }, || machine.pause());
        self.replacing.store(false, Ordering::Release);
        drop(old);
        generation
    }
}
