//! Waits of drivers: at which IRQL they may wait, and where for how long.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::time::Duration;

use crate::bugcheck::{bug_check, code};
use crate::drivers::DriverId;
use crate::irql::{self, APC_LEVEL, DISPATCH_LEVEL};
use crate::lock::Lock;
use crate::locks::{self, Kind};
use crate::{control, sys, teb, thunk};

/// The mutex was got, though the thread that held it has ended.
const STATUS_ABANDONED: sys::NtStatus = 0x80;
const STATUS_TIMEOUT: sys::NtStatus = 0x102;
/// `DISPATCHER_HEADER.Type` of a mutex.
const MUTANT: u8 = 2;
/// How long a wait without a timeout may last in a callback of NMR, on the machine that limits are written down for.
const LONGEST_IN_CALLBACK: Duration = Duration::from_secs(5);

/// The callbacks of NMR that each thread is in.
static CALLBACKS: Lock<BTreeMap<usize, Vec<&'static str>>> = Lock::new(BTreeMap::new());

/// The calling thread is about to run a callback of NMR.
pub(crate) fn enter_callback(name: &'static str) {
    let thread = teb::thread();
    CALLBACKS.with(|callbacks| callbacks.entry(thread).or_default().push(name));
}

/// The callback has returned.
pub(crate) fn leave_callback() {
    let thread = teb::thread();
    CALLBACKS.with(|callbacks| {
        let mine = callbacks.entry(thread).or_default();
        mine.pop();
        if mine.is_empty() {
            callbacks.remove(&thread);
        }
    });
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn KeWaitForSingleObject(
        object: *mut c_void,
        reason: i32,
        mode: i8,
        alertable: u8,
        timeout: *const i64,
    ) -> sys::NtStatus;
    fn KeSetEvent(event: *mut c_void, increment: i32, wait: u8) -> i32;
    fn KeWaitForMultipleObjects(
        count: u32,
        objects: *const *mut c_void,
        kind: i32,
        reason: i32,
        mode: i8,
        alertable: u8,
        timeout: *const i64,
        blocks: *mut c_void,
    ) -> sys::NtStatus;
}

/// At DISPATCH_LEVEL nothing waits: the timeout is there, and 0.
///
/// # Safety
///
/// `timeout` is NULL or points to one.
unsafe fn check_level(driver: DriverId, timeout: *const i64) {
    // SAFETY: the caller guarantees it.
    let waits = timeout.is_null() || unsafe { timeout.read() } != 0;
    if waits && irql::current() >= DISPATCH_LEVEL {
        let level = irql::current();
        bug_check(driver, code::VERIFIER, format_args!("a wait at IRQL {level}; with a timeout of 0 it would be none"));
    }
}

/// KeSetEvent. With `wait`, it returns at DISPATCH_LEVEL, for a wait that follows at once.
pub(crate) unsafe extern "system" fn set_event(event: *mut c_void, increment: i32, wait: u8) -> i32 {
    if wait != 0 {
        irql::up_to(APC_LEVEL, "Wait", thunk::caller());
    }
    // SAFETY: the driver's own arguments.
    unsafe { KeSetEvent(event, increment, wait) }
}

/// KeWaitForSingleObject, which KeWaitForMutexObject is as well.
pub(crate) unsafe extern "system" fn for_one(
    object: *mut c_void,
    reason: i32,
    mode: i8,
    alertable: u8,
    timeout: *const i64,
) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own argument.
    unsafe { check_level(caller, timeout) };
    // SAFETY: the driver passes an object with a dispatcher header, which begins with its type.
    let is_mutex = unsafe { object.cast::<u8>().read() } & 0x7F == MUTANT;
    if is_mutex {
        locks::taking(caller, Kind::Mutex, object as usize);
    }
    let thread = teb::thread();
    let callback = CALLBACKS.with(|callbacks| callbacks.get(&thread).and_then(|mine| mine.last().copied()));
    let limited = callback.filter(|_| timeout.is_null());
    let longest = control::scaled(LONGEST_IN_CALLBACK);
    // Relative times are negative, in units of 100 ns.
    let relative = -((longest.as_micros() * 10) as i64);
    let timeout = if limited.is_some() { &relative } else { timeout };
    // SAFETY: the driver's own arguments, but for the timeout, which is a local then.
    let status = unsafe { KeWaitForSingleObject(object, reason, mode, alertable, timeout) };
    if let (Some(callback), STATUS_TIMEOUT) = (limited, status) {
        let seconds = longest.as_secs();
        let why =
            format_args!("a wait in {callback} lasts {seconds} s; a callback of NMR returns STATUS_PENDING instead");
        bug_check(caller, code::VERIFIER, why);
    }
    if is_mutex && matches!(status, sys::STATUS_SUCCESS | STATUS_ABANDONED) {
        locks::taken(caller, Kind::Mutex, object as usize, irql::current());
    }
    status
}

/// KeWaitForMultipleObjects.
#[allow(clippy::too_many_arguments, reason = "the kernel's function has them")]
pub(crate) unsafe extern "system" fn for_several(
    count: u32,
    objects: *const *mut c_void,
    kind: i32,
    reason: i32,
    mode: i8,
    alertable: u8,
    timeout: *const i64,
    blocks: *mut c_void,
) -> sys::NtStatus {
    // SAFETY: the driver's own argument.
    unsafe { check_level(thunk::caller(), timeout) };
    // SAFETY: the driver's own arguments.
    unsafe { KeWaitForMultipleObjects(count, objects, kind, reason, mode, alertable, timeout, blocks) }
}
