//! The processors, as a swap and a guard see them.

use core::ptr;
use core::sync::atomic::{Ordering, fence};

use sluice_swap::Processors;
use wdk_nmr::{Dispatch, Region, ShardIndex};
use wdk_sys::ntddk::{
    KeAcquireSpinLockRaiseToDpc, KeGetCurrentIrql, KeGetProcessorNumberFromIndex, KeIpiGenericCall,
    KeQueryActiveProcessorCountEx, KeReleaseSpinLock, KeRevertToUserGroupAffinityThread,
    KeSetSystemGroupAffinityThread,
};
use wdk_sys::{ALL_PROCESSOR_GROUPS, APC_LEVEL, GROUP_AFFINITY, KAFFINITY, KSPIN_LOCK, PROCESSOR_NUMBER, ULONG_PTR};

use super::KernelRegion;
use super::system::processor;

/// The processors of this machine. The thread that replaces a value runs on each of them in turn, below DISPATCH_LEVEL;
/// a detach interrupts them all.
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

impl ShardIndex for KernelProcessors {
    #[inline]
    fn current() -> usize {
        processor()
    }
}

// SAFETY: the index of a processor is its own, and a thread at DISPATCH_LEVEL keeps the processor; both is the kernel's
// word. All processors have run `interrupted` before KeIpiGenericCall returns, and its fence puts what they do before
// and after it in order (learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keipigenericcall).
unsafe impl wdk_nmr::Processors for KernelProcessors {
    fn barrier() {
        // SAFETY: below IPI_LEVEL, and the function may run at that level.
        unsafe { KeIpiGenericCall(Some(interrupted), 0) };
    }
}

/// What each processor runs at IPI_LEVEL.
unsafe extern "C" fn interrupted(_: ULONG_PTR) -> ULONG_PTR {
    fence(Ordering::SeqCst);
    0
}

/// Calls `work` at DISPATCH_LEVEL. At up to DISPATCH_LEVEL. `work` touches no pageable memory and does not wait.
///
/// By a spin lock that nobody else knows, since KeRaiseIrql is another function on each kind of processor.
pub fn at_dispatch_level<R>(work: impl FnOnce(Dispatch<'_>) -> R) -> R {
    let mut lock: KSPIN_LOCK = 0;
    // SAFETY: a spin lock of this thread, released below.
    let irql = unsafe { KeAcquireSpinLockRaiseToDpc(&raw mut lock) };
    // SAFETY: at DISPATCH_LEVEL until the lock is released.
    let result = work(unsafe { Dispatch::new() });
    // SAFETY: acquired above, at this level.
    unsafe { KeReleaseSpinLock(&raw mut lock, irql) };
    result
}
