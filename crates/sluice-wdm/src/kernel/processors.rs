//! The processors, as a swap sees them.

use core::ptr;

use sluice_swap::Processors;
use wdk_nmr::Region;
use wdk_nmr_wdm::KernelRegion;
use wdk_sys::ntddk::{
    KeGetCurrentIrql, KeGetProcessorNumberFromIndex, KeQueryActiveProcessorCountEx, KeRevertToUserGroupAffinityThread,
    KeSetSystemGroupAffinityThread,
};
use wdk_sys::{ALL_PROCESSOR_GROUPS, APC_LEVEL, GROUP_AFFINITY, KAFFINITY, PROCESSOR_NUMBER};

/// The processors of this machine. The thread that replaces a value runs on each of them in turn, below DISPATCH_LEVEL.
#[derive(Debug)]
pub enum KernelProcessors {}

// SAFETY:
// - The kernel tells the level. At DISPATCH_LEVEL and above a processor runs one thread until that lowers the level
//   ("Managing Hardware Priorities", learn.microsoft.com/windows-hardware/drivers/kernel/managing-hardware-priorities).
// - When KeSetSystemGroupAffinityThread, called at up to APC_LEVEL, returns, the calling thread already runs on that
//   processor (learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetsystemaffinitythread, of both). So the
//   processor is below DISPATCH_LEVEL then, and the scheduler, which gave it from one thread to the other, has put what
//   they do in order. A processor that is added meanwhile has not read before the call.
unsafe impl Processors for KernelProcessors {
    type Region = Region<KernelRegion>;

    #[inline]
    fn enter() -> Option<Region<KernelRegion>> {
        // SAFETY: at any IRQL.
        let irql = unsafe { KeGetCurrentIrql() };
        (u32::from(irql) <= APC_LEVEL).then(Region::enter)
    }

    fn visit_each() {
        let mut before = None;
        // SAFETY: the function takes a number and touches no memory of ours.
        let count = unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS as u16) };
        for index in 0..count {
            let mut processor = PROCESSOR_NUMBER::default();
            // SAFETY: the number is ours to write.
            let status = unsafe { KeGetProcessorNumberFromIndex(index, &raw mut processor) };
            let Some(mask) = KAFFINITY::from(1_u8).checked_shl(processor.Number.into()).filter(|_| status >= 0) else {
                continue;
            };
            let mut affinity = GROUP_AFFINITY { Mask: mask, Group: processor.Group, ..GROUP_AFFINITY::default() };
            let mut previous = GROUP_AFFINITY::default();
            // SAFETY: an active processor, at PASSIVE_LEVEL; both structures are ours.
            unsafe { KeSetSystemGroupAffinityThread(&raw mut affinity, &raw mut previous) };
            // Of the first call alone: it tells what the thread had before all this.
            before.get_or_insert(previous);
        }
        if let Some(mut before) = before {
            // SAFETY: as the first call wrote it.
            unsafe { KeRevertToUserGroupAffinityThread(ptr::from_mut(&mut before)) };
        }
    }
}
