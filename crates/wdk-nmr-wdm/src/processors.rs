//! The processors, as a guard sees them.

use core::ptr;
use core::sync::atomic::{Ordering, fence};

use wdk_nmr::{Dispatch, Processors, ShardIndex};

use crate::kernel::{KeAcquireSpinLockRaiseToDpc, KeGetCurrentProcessorNumberEx, KeIpiGenericCall, KeReleaseSpinLock};

/// The processors of this machine, for [`Sharded`](wdk_nmr::Sharded) and [`PerProcessor`](wdk_nmr::PerProcessor).
#[derive(Debug)]
pub enum KernelProcessors {}

impl ShardIndex for KernelProcessors {
    #[inline]
    fn current() -> usize {
        // SAFETY: NULL says that group and number within it are not asked for. At any IRQL.
        unsafe { KeGetCurrentProcessorNumberEx(ptr::null_mut()) as usize }
    }
}

// SAFETY: the index of a processor is its own, and a thread at DISPATCH_LEVEL keeps the processor; both is the kernel's
// word. All processors have run `interrupted` before KeIpiGenericCall returns, and its fence puts what they do before
// and after it in order (learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keipigenericcall).
unsafe impl Processors for KernelProcessors {
    fn barrier() {
        // SAFETY: below IPI_LEVEL, and the function may run at that level.
        unsafe { KeIpiGenericCall(interrupted, 0) };
    }
}

/// What each processor runs at IPI_LEVEL.
unsafe extern "C" fn interrupted(_: usize) -> usize {
    fence(Ordering::SeqCst);
    0
}

/// Calls `work` at DISPATCH_LEVEL. At up to DISPATCH_LEVEL. `work` touches no pageable memory and does not wait.
///
/// By a spin lock that nobody else knows, since KeRaiseIrql is another function on each kind of processor.
pub fn at_dispatch_level<R>(work: impl FnOnce(Dispatch<'_>) -> R) -> R {
    let mut lock = 0;
    // SAFETY: a spin lock of this thread, released below.
    let irql = unsafe { KeAcquireSpinLockRaiseToDpc(&raw mut lock) };
    // SAFETY: at DISPATCH_LEVEL until the lock is released.
    let result = work(unsafe { Dispatch::new() });
    // SAFETY: acquired above, at this level.
    unsafe { KeReleaseSpinLock(&raw mut lock, irql) };
    result
}
