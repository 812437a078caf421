//! The machine that the engine runs on: this one.

use sluice_engine::{Event, Machine};
use sluice_wdm::KernelProcessors;
use wdk_nmr_wdm::KernelRegion;

use crate::policy_file::PolicyFile;
use crate::{event_log, trace};

/// Processors and time, as the kernel tells them, a file, Event Tracing for Windows, and the System log.
pub(crate) struct Kernel {
    pub(crate) policy_file: PolicyFile,
}

impl Machine for Kernel {
    type Storage = PolicyFile;
    type Region = KernelRegion;
    type Processors = KernelProcessors;

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

    fn storage(&self) -> &PolicyFile {
        &self.policy_file
    }

    fn report(&self, event: &Event<'_>) {
        trace::write(event);
    }

    fn record(&self, event: &Event<'_>) {
        trace::write(event);
        event_log::write(event);
    }
}
