//! What the engine needs from the machine it runs on.

use sluice_swap::Processors;
use wdk_nmr::CriticalRegion;

use crate::{Event, Storage};

/// Processors, time, storage and a listener. A driver asks the kernel; a test answers what it likes.
pub trait Machine: Send + Sync + 'static {
    /// Where a policy is persisted.
    type Storage: Storage;
    /// How a thread keeps itself from being suspended.
    type Region: CriticalRegion;
    /// How it reads a policy that may be replaced meanwhile.
    type Processors: Processors;

    /// How many processors there are; at least 1. PASSIVE_LEVEL.
    fn processors(&self) -> usize;

    /// The number of the processor that runs this code. It only spreads counters over cache lines, so a wrong or
    /// outdated one costs time and nothing else. Up to DISPATCH_LEVEL.
    fn processor(&self) -> usize;

    /// Time since some moment in the past, in milliseconds. Up to DISPATCH_LEVEL.
    fn uptime_ms(&self) -> u64;

    /// Lets other threads run for a moment. PASSIVE_LEVEL.
    fn pause(&self);

    /// Where a policy is persisted.
    fn storage(&self) -> &Self::Storage;

    /// Passes on what has happened to the listeners. Up to DISPATCH_LEVEL: it neither waits nor allocates.
    fn report(&self, event: &Event<'_>);

    /// Does the same with an event that administrators have to know of, and writes it to their log if there is one.
    /// PASSIVE_LEVEL. It is not [`report`](Self::report), since that is called where there is little stack.
    fn record(&self, event: &Event<'_>) {
        self.report(event);
    }
}
