//! The processors. At DISPATCH_LEVEL a thread has one to itself, as on Windows; at lower levels threads share what Wine
//! has.
//!
//! So code that relies on its processor at DISPATCH_LEVEL is protected here as well, from threads that are also there.
//! There are as many processors as Wine says, and a thread that raises its level waits until one is free.

#![allow(non_snake_case, reason = "the names are those of the C headers")]

use alloc::collections::BTreeMap;

use crate::lock::Lock;
use crate::sys::{NtStatus, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use crate::{irql, teb};

/// Processors of a group.
const GROUP: u32 = 64;
const ALL_PROCESSOR_GROUPS: u16 = 0xFFFF;

#[repr(C)]
pub(crate) struct PROCESSOR_NUMBER {
    Group: u16,
    Number: u8,
    Reserved: u8,
}

#[repr(C)]
pub(crate) struct GROUP_AFFINITY {
    Mask: usize,
    Group: u16,
    Reserved: [u16; 3],
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn KeGetCurrentProcessorNumberEx(number: *mut PROCESSOR_NUMBER) -> u32;
    fn KeQueryActiveProcessorCountEx(group: u16) -> u32;
}

#[cfg_attr(windows, link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn NtFlushProcessWriteBuffers();
    fn NtYieldExecution() -> NtStatus;
}

/// The processors that a thread at DISPATCH_LEVEL has, by thread.
static TAKEN: Lock<BTreeMap<usize, u32>> = Lock::new(BTreeMap::new());

/// Wine counts none where there is no /sys.
fn count() -> u32 {
    // SAFETY: takes a number and touches no memory of ours.
    unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS) }.max(1)
}

/// KeQueryActiveProcessorCountEx. Who waits for all processors has to see those that threads are given here.
pub(crate) extern "system" fn active_count(group: u16) -> u32 {
    let count = count();
    match group {
        ALL_PROCESSOR_GROUPS => count,
        _ => count.saturating_sub(u32::from(group) * GROUP).min(GROUP),
    }
}

/// Tries again and again, while other threads run.
fn wait_for<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        // SAFETY: no arguments, no conditions.
        unsafe { NtYieldExecution() };
    }
}

fn is_free(taken: &BTreeMap<usize, u32>, processor: u32) -> bool {
    taken.values().all(|other| *other != processor)
}

/// Gives the calling thread a processor to itself, when there is one.
pub(crate) fn take() {
    let (thread, count) = (teb::thread(), count());
    wait_for(|| {
        TAKEN.with(|taken| {
            let free = (0..count).find(|processor| is_free(taken, *processor))?;
            taken.insert(thread, free);
            Some(())
        })
    });
}

/// Takes the processor of the calling thread away.
pub(crate) fn give_back() {
    let thread = teb::thread();
    TAKEN.with(|taken| taken.remove(&thread));
}

/// KeGetCurrentProcessorNumberEx.
pub(crate) unsafe extern "system" fn current(number: *mut PROCESSOR_NUMBER) -> u32 {
    let thread = teb::thread();
    let own = TAKEN.with(|taken| taken.get(&thread).copied());
    // SAFETY: without a place for group and number it returns the index alone.
    let of_wine = || unsafe { KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) };
    // That may be one that Wine has not counted.
    let index = own.unwrap_or_else(|| of_wine() % count());
    if !number.is_null() {
        // SAFETY: the driver passes NULL or a place for one.
        unsafe { number.write(number_of(index)) };
    }
    index
}

fn number_of(index: u32) -> PROCESSOR_NUMBER {
    PROCESSOR_NUMBER { Group: (index / GROUP) as u16, Number: (index % GROUP) as u8, Reserved: 0 }
}

/// KeGetProcessorNumberFromIndex.
pub(crate) unsafe extern "system" fn from_index(index: u32, number: *mut PROCESSOR_NUMBER) -> NtStatus {
    if index >= count() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the driver passes a place for one.
    unsafe { number.write(number_of(index)) };
    STATUS_SUCCESS
}

/// KeSetSystemGroupAffinityThread: returns when the thread could have run on a processor of the mask, that is, when no
/// thread at DISPATCH_LEVEL had one of them. Where it runs afterwards is Wine's choice.
pub(crate) unsafe extern "system" fn set_affinity(affinity: *mut GROUP_AFFINITY, previous: *mut GROUP_AFFINITY) {
    // SAFETY: the driver passes an affinity.
    let GROUP_AFFINITY { Mask: mask, Group: group, .. } = unsafe { affinity.read() };
    let first = u32::from(group) * GROUP;
    let (thread, end) = (teb::thread(), count().min(first.saturating_add(GROUP)));
    let wanted = (first..end).filter(|processor| mask >> (processor - first) & 1 == 1);
    if wanted.clone().next().is_some() {
        wait_for(|| {
            TAKEN.with(|taken| {
                // At DISPATCH_LEVEL, the thread would move when it leaves that level.
                let could_run =
                    taken.contains_key(&thread) || wanted.clone().any(|processor| is_free(taken, processor));
                could_run.then_some(())
            })
        });
    }
    if !previous.is_null() {
        // SAFETY: the driver passes NULL or a place for one. Zeros: there was no affinity of the system's.
        unsafe { previous.write(GROUP_AFFINITY { Mask: 0, Group: 0, Reserved: [0; 3] }) };
    }
}

/// KeRevertToUserGroupAffinityThread: there is nothing to go back from.
pub(crate) extern "system" fn revert_affinity(_previous: *mut GROUP_AFFINITY) {}

/// KeIpiGenericCall: a memory barrier on whatever runs a thread of this process, which is what an interrupt of all
/// processors does to their order of memory accesses, and the worker once for each processor, here.
pub(crate) unsafe extern "system" fn interrupt_each(
    worker: unsafe extern "system" fn(argument: usize) -> usize,
    argument: usize,
) -> usize {
    // SAFETY: no arguments, no conditions.
    unsafe { NtFlushProcessWriteBuffers() };
    let mut result = 0;
    let irql = irql::set(irql::IPI_LEVEL);
    for _ in 0..count() {
        // SAFETY: the driver passes a function for that argument.
        result = unsafe { worker(argument) };
    }
    irql::set(irql);
    result
}
