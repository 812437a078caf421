//! Critical regions, and what happens outside of them: a thread of a program can be suspended there, in the middle of a
//! driver, since suspension is a normal kernel APC and takes effect at PASSIVE_LEVEL
//! (<https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-keentercriticalregion>).
//!
//! When the harness wants it, a request is suspended at a call out of its driver, until the harness lets it go on. What
//! waits for a registration to end meanwhile has to come to its end: if it does not, the driver that is suspended holds
//! something that others wait for.

use alloc::collections::BTreeMap;
use core::sync::atomic::Ordering;

use crate::bugcheck::{bug_check, bug_check_call, code};
use crate::control::{self, Word};
use crate::drivers;
use crate::gate::Call;
use crate::lock::Lock;
use crate::{irql, locks, log, teb, thunk};

/// How many critical regions each thread is in.
static DEPTHS: Lock<BTreeMap<usize, u32>> = Lock::new(BTreeMap::new());

/// The calls at which threads are suspended.
static SUSPENDED: Lock<BTreeMap<usize, Call>> = Lock::new(BTreeMap::new());

/// How many critical regions the calling thread is in.
pub(crate) fn depth() -> u32 {
    let thread = teb::thread();
    DEPTHS.with(|depths| depths.get(&thread).copied().unwrap_or(0))
}

/// KeEnterCriticalRegion.
pub(crate) extern "system" fn enter() {
    let thread = teb::thread();
    DEPTHS.with(|depths| *depths.entry(thread).or_default() += 1);
}

/// The calling thread is about to end; another may get its number.
pub(crate) fn forget_thread() {
    let thread = teb::thread();
    DEPTHS.with(|depths| depths.remove(&thread));
}

/// KeLeaveCriticalRegion.
pub(crate) extern "system" fn leave() {
    let (caller, thread) = (thunk::caller(), teb::thread());
    let left = DEPTHS.with(|depths| match depths.remove(&thread) {
        Some(depth @ 2..) => depths.insert(thread, depth - 1).is_none(),
        found => found.is_some(),
    });
    if !left {
        bug_check(caller, code::VERIFIER, format_args!("a critical region left that the thread is not in"));
    }
}

/// Suspends the calling thread, if the harness wants it at this call of a request.
pub(crate) fn suspend(call: Call) {
    let words = (control::word(Word::SuspendCall), control::word(Word::RequestCalls));
    let (Some(which), Some(calls)) = words else { return };
    let wanted = which.load(Ordering::Acquire);
    if wanted == 0 || irql::current() != irql::PASSIVE_LEVEL || depth() != 0 || locks::holds_mutex() {
        return;
    }
    let name = drivers::name(call.driver);
    if !control::concerns(&name) || calls.fetch_add(1, Ordering::AcqRel) + 1 != wanted {
        return;
    }
    let thread = teb::thread();
    let place = drivers::Place(call.driver, call.site);
    SUSPENDED.with(|suspended| suspended.insert(thread, call));
    log::event(&name, "suspended", format_args!("function={} offset={place}", call.function));
    while which.load(Ordering::Acquire) == wanted {
        irql::pause();
    }
    SUSPENDED.with(|suspended| suspended.remove(&thread));
}

/// A wait for the end of a registration has lasted long: a bug check of a driver that is suspended meanwhile.
pub(crate) fn blame() {
    if let Some(call) = SUSPENDED.with(|suspended| suspended.values().next().copied()) {
        let why = format_args!("others wait for a thread that was suspended outside of a critical region");
        bug_check_call(call, code::VERIFIER, why);
    }
}
