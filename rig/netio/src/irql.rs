//! The interrupt request level, which Wine does not model: one number a thread, kept by the functions that change it.
//!
//! It does what a driver can see of it: what KeGetCurrentIrql answers, at which level a callback runs, which calls are
//! mistakes there, and that a thread at DISPATCH_LEVEL has a processor to itself. It does not keep threads at lower
//! levels away, so code that relies on that alone is not protected.

use alloc::collections::BTreeMap;

use crate::bugcheck::{bug_check, code};
use crate::drivers::DriverId;
use crate::lock::Lock;
use crate::{paging, pool, processors, sys, teb, thunk};

pub(crate) const PASSIVE_LEVEL: u8 = 0;
pub(crate) const APC_LEVEL: u8 = 1;
pub(crate) const DISPATCH_LEVEL: u8 = 2;
/// On x64 and on ARM64.
pub(crate) const IPI_LEVEL: u8 = 14;
pub(crate) const HIGH_LEVEL: u8 = 15;

/// Threads that are above PASSIVE_LEVEL.
static RAISED: Lock<BTreeMap<usize, u8>> = Lock::new(BTreeMap::new());

/// The level of the calling thread.
pub(crate) fn current() -> u8 {
    let thread = teb::thread();
    RAISED.with(|raised| raised.get(&thread).copied().unwrap_or(PASSIVE_LEVEL))
}

/// Sets the level of the calling thread and returns the one before. To reach DISPATCH_LEVEL, it waits for a processor.
pub(crate) fn set(irql: u8) -> u8 {
    let thread = teb::thread();
    let old = RAISED
        .with(|raised| if irql == PASSIVE_LEVEL { raised.remove(&thread) } else { raised.insert(thread, irql) })
        .unwrap_or(PASSIVE_LEVEL);
    match (old >= DISPATCH_LEVEL, irql >= DISPATCH_LEVEL) {
        (false, true) => {
            processors::take();
            pool::page_out(true);
            paging::page_out(true);
        }
        (true, false) => {
            if RAISED.with(|raised| raised.values().all(|level| *level < DISPATCH_LEVEL)) {
                pool::page_out(false);
                paging::page_out(false);
            }
            processors::give_back();
        }
        _ => {}
    }
    old
}

/// Checks the call that a driver is making, which is allowed from a level on alone.
pub(crate) fn from(lowest: u8, driver: DriverId) {
    let level = current();
    if level < lowest {
        bug_check(driver, code::VERIFIER, format_args!("called at IRQL {level}; it may be called from {lowest}"));
    }
}

/// Checks the call that a driver is making, which is allowed up to a lower level than others of its function, because
/// of what is passed.
pub(crate) fn up_to(highest: u8, with: &str, driver: DriverId) {
    let level = current();
    if level > highest {
        let why = format_args!("called with {with} at IRQL {level}; with that it may be called up to {highest}");
        bug_check(driver, code::VERIFIER, why);
    }
}

/// Lets other threads run for a millisecond.
pub(crate) fn pause() {
    sleep(-10_000);
}

/// Lets other threads run. A relative time is negative, in units of 100 ns.
pub(crate) fn sleep(interval: i64) {
    // SAFETY: the interval is a local.
    unsafe { sys::NtDelayExecution(0, &interval) };
}

/// KeGetCurrentIrql.
pub(crate) extern "system" fn get_current() -> u8 {
    current()
}

/// KfRaiseIrql.
pub(crate) extern "system" fn raise(irql: u8) -> u8 {
    raise_for(irql, thunk::caller())
}

/// Raises for a driver, which may not lower by that.
pub(crate) fn raise_for(irql: u8, caller: DriverId) -> u8 {
    let old = current();
    if irql < old {
        bug_check(caller, code::IRQL, format_args!("IRQL raised from {old} to {irql}"));
    }
    set(irql)
}

/// KeRaiseIrqlToDpcLevel.
pub(crate) extern "system" fn raise_to_dpc() -> u8 {
    raise_for(DISPATCH_LEVEL, thunk::caller())
}

/// KeLowerIrql.
pub(crate) extern "system" fn lower(irql: u8) {
    lower_for(irql, thunk::caller());
}

/// Lowers for a driver, which may not raise by that.
pub(crate) fn lower_for(irql: u8, caller: DriverId) {
    let old = set(irql);
    if irql > old {
        bug_check(caller, code::IRQL, format_args!("IRQL lowered from {old} to {irql}"));
    }
}
