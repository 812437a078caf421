//! The machine that the engine runs on: this one.

use sluice_engine::Machine;

/// Processors and time, as the kernel tells them.
pub(crate) struct Kernel;

impl Machine for Kernel {
    fn processors(&self) -> usize {
        sluice_wdm::processors()
    }

    fn processor(&self) -> usize {
        sluice_wdm::processor()
    }

    fn uptime_ms(&self) -> u64 {
        sluice_wdm::uptime_ms()
    }

    fn pause(&self) {
        sluice_wdm::pause();
    }
}
