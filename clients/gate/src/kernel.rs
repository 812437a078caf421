//! The machine that the gate runs on: this one.

use sluice_gate::Platform;
use wdk_nmr::{InCriticalRegion, PerProcessor};
use wdk_nmr_wdm::{DriverImage, KernelProcessors, KernelRegion, at_dispatch_level};

/// Processors and time, as the kernel tells them.
pub(crate) enum Kernel {}

impl Platform for Kernel {
    type Image = DriverImage;
    // Packets come on many processors at once. They are judged at DISPATCH_LEVEL, where a critical region costs
    // nothing; control requests ask below it.
    type Guard = InCriticalRegion<KernelRegion, PerProcessor<KernelProcessors, 64>>;

    fn at_dispatch_level<R>(work: impl FnOnce() -> R) -> R {
        at_dispatch_level(|_| work())
    }

    fn uptime_ms() -> u64 {
        sluice_wdm::uptime_ms()
    }

    fn processors() -> usize {
        sluice_wdm::processors()
    }
}
