//! The functions of ntoskrnl.exe that this crate calls, under their C names. What links a driver has the import
//! library.
#![allow(non_snake_case, reason = "the names are those of the C headers")]

use core::ffi::c_void;

pub(crate) type Irql = u8;
pub(crate) const APC_LEVEL: Irql = 1;

unsafe extern "C" {
    pub(crate) fn ObfReferenceObject(object: *mut c_void) -> isize;
    pub(crate) fn ObfDereferenceObject(object: *mut c_void) -> isize;
    pub(crate) safe fn KeGetCurrentIrql() -> Irql;
    pub(crate) fn KeEnterCriticalRegion();
    pub(crate) fn KeLeaveCriticalRegion();
    pub(crate) fn KeGetCurrentProcessorNumberEx(number: *mut c_void) -> u32;
    pub(crate) fn KeIpiGenericCall(function: unsafe extern "C" fn(usize) -> usize, context: usize) -> usize;
    pub(crate) fn KeAcquireSpinLockRaiseToDpc(lock: *mut usize) -> Irql;
    pub(crate) fn KeReleaseSpinLock(lock: *mut usize, irql: Irql);
}
