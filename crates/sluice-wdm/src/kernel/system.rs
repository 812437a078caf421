//! Processors and time.

use wdk_sys::ntddk::{
    KeDelayExecutionThread, KeGetCurrentProcessorNumberEx, KeQueryActiveProcessorCountEx, KeQueryUnbiasedInterruptTime,
};
use wdk_sys::{ALL_PROCESSOR_GROUPS, LARGE_INTEGER};

/// `_MODE::KernelMode`: the wait is the kernel's own.
const KERNEL_MODE: i8 = 0;

/// One millisecond in the units of a time-out, which is relative if it is negative.
const MILLISECOND: i64 = -10_000;

/// The number of the processor that runs this code, from 0. At any IRQL; below DISPATCH_LEVEL it may be out of date as
/// soon as it is returned, so it may choose between equals and nothing else.
#[must_use]
pub fn processor() -> usize {
    // SAFETY: NULL says that group and number within it are not asked for.
    let number = unsafe { KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) };
    number as usize
}

/// How many processors are active, in all groups: one at least. Up to DISPATCH_LEVEL.
#[must_use]
pub fn processors() -> usize {
    // SAFETY: the function takes a number and touches no memory of ours.
    let count = unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS as u16) };
    count as usize
}

/// How long the system has been running, without the time that it slept, in milliseconds. At any IRQL.
#[must_use]
pub fn uptime_ms() -> u64 {
    // SAFETY: the function has no arguments and no conditions.
    let units_of_100ns = unsafe { KeQueryUnbiasedInterruptTime() };
    units_of_100ns / 10_000
}

/// The time since the system was started, as precisely as an interrupt tells it, in units of 100 nanoseconds. At any
/// IRQL.
#[must_use]
pub fn moment() -> u64 {
    // SAFETY: the function has no arguments and no conditions.
    unsafe { KeQueryUnbiasedInterruptTime() }
}

/// Lets other threads run for about a millisecond. At PASSIVE_LEVEL.
pub fn pause() {
    wait(1);
}

/// Lets other threads run for about that many milliseconds. At PASSIVE_LEVEL.
pub(crate) fn wait(milliseconds: u32) {
    let mut interval = LARGE_INTEGER { QuadPart: MILLISECOND.saturating_mul(milliseconds.into()) };
    // SAFETY: the interval is ours for the duration of the call.
    let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
}
