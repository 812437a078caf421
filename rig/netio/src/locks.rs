//! Locks of drivers: who holds which, and in which order they are taken.
//!
//! Two locks that are taken in both orders are a mistake also where no two threads have met in them yet, and a lock
//! that is taken twice is one before its thread waits for itself
//! (<https://learn.microsoft.com/windows-hardware/drivers/devtest/deadlock-detection>).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ops::Range;

use crate::bugcheck::{bug_check, bug_check_call, code};
use crate::drivers::{self, DriverId};
use crate::gate::{self, Call};
use crate::irql::{self, APC_LEVEL, DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::lock::Lock;
use crate::{critical, teb, thunk};

/// The locks that are known here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Spin,
    FastMutex,
    Mutex,
    Resource,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin lock",
            Self::FastMutex => "fast mutex",
            Self::Mutex => "mutex",
            Self::Resource => "resource",
        }
    }

    /// Whether a thread that holds it may take it again.
    fn is_recursive(self) -> bool {
        matches!(self, Self::Mutex | Self::Resource)
    }
}

/// A lock that a thread holds.
#[derive(Clone, Copy)]
struct Held {
    lock: usize,
    kind: Kind,
    /// How often it was taken.
    count: u32,
    /// The IRQL before it was.
    irql: u8,
    call: Option<Call>,
}

struct Locks {
    /// By thread, in the order in which they were taken.
    held: BTreeMap<usize, Vec<Held>>,
    /// For each lock, those that were taken while it was held, and by which call.
    followers: BTreeMap<usize, BTreeMap<usize, Option<Call>>>,
}

impl Locks {
    /// The call by which `first` came to be taken before `last`, if it ever was, directly or with others in between.
    fn taken_before(&self, first: usize, last: usize) -> Option<Option<Call>> {
        let mut seen = Vec::from([first]);
        let mut next = 0;
        while let Some(&lock) = seen.get(next) {
            next += 1;
            for (&follower, &call) in self.followers.get(&lock).into_iter().flatten() {
                if follower == last {
                    return Some(call);
                }
                if !seen.contains(&follower) {
                    seen.push(follower);
                }
            }
        }
        None
    }
}

static LOCKS: Lock<Locks> = Lock::new(Locks { held: BTreeMap::new(), followers: BTreeMap::new() });

/// A lock is about to be waited for.
pub(crate) fn taking(driver: DriverId, kind: Kind, lock: usize) {
    enum Mistake {
        Twice,
        Order(usize, Option<Call>),
    }
    let (thread, call, name) = (teb::thread(), gate::last_call(driver), kind.name());
    let mistake = LOCKS.with(|locks| {
        let held = locks.held.get(&thread)?;
        if held.iter().any(|held| held.lock == lock) {
            return (!kind.is_recursive()).then_some(Mistake::Twice);
        }
        let reverse = held.iter().find_map(|held| Some((held.lock, locks.taken_before(lock, held.lock)?)));
        if let Some((held, call)) = reverse {
            return Some(Mistake::Order(held, call));
        }
        for held in held {
            locks.followers.entry(held.lock).or_default().entry(lock).or_insert(call);
        }
        None
    });
    match mistake {
        Some(Mistake::Twice) => {
            bug_check(driver, code::VERIFIER, format_args!("the {name} {lock:#x} taken by the thread that holds it"));
        }
        Some(Mistake::Order(held, Some(other))) => {
            let (place, function) = (drivers::Place(other.driver, other.site), other.function);
            let other = drivers::name(other.driver);
            let why = format_args!(
                "the {name} {lock:#x} taken while {held:#x} is held; {function} at {place} of {other} took them in the \
                 other order"
            );
            bug_check(driver, code::VERIFIER, why);
        }
        Some(Mistake::Order(held, None)) => {
            let why = format_args!(
                "the {name} {lock:#x} taken while {held:#x} is held; they were taken in the other order before"
            );
            bug_check(driver, code::VERIFIER, why);
        }
        None => {}
    }
}

/// A lock was got, by a thread that was at that IRQL before.
pub(crate) fn taken(driver: DriverId, kind: Kind, lock: usize, irql: u8) {
    let (thread, call) = (teb::thread(), gate::last_call(driver));
    LOCKS.with(|locks| {
        let held = locks.held.entry(thread).or_default();
        match held.iter_mut().find(|held| held.lock == lock) {
            Some(held) => held.count += 1,
            None => held.push(Held { lock, kind, count: 1, irql, call }),
        }
    });
}

/// A lock is about to be released. Returns the IRQL before it was taken.
pub(crate) fn released(driver: DriverId, kind: Kind, lock: usize) -> u8 {
    let thread = teb::thread();
    let irql = LOCKS.with(|locks| {
        let held = locks.held.get_mut(&thread)?;
        let place = held.iter().rposition(|held| held.lock == lock && held.kind == kind)?;
        let found = held.get_mut(place)?;
        found.count -= 1;
        let (count, irql) = (found.count, found.irql);
        if count == 0 {
            held.remove(place);
        }
        if held.is_empty() {
            locks.held.remove(&thread);
        }
        Some(irql)
    });
    irql.unwrap_or_else(|| {
        let name = kind.name();
        bug_check(
            driver,
            code::VERIFIER,
            format_args!("the {name} {lock:#x} released by a thread that does not hold it"),
        )
    })
}

/// How many locks the calling thread holds.
pub(crate) fn count() -> usize {
    let thread = teb::thread();
    LOCKS.with(|locks| locks.held.get(&thread).map_or(0, Vec::len))
}

/// Whether the calling thread holds a spin lock of a driver's own.
pub(crate) fn holds_spin() -> bool {
    holds(|held| held.kind == Kind::Spin && held.lock != CANCEL)
}

fn holds(wanted: impl Fn(&Held) -> bool) -> bool {
    let thread = teb::thread();
    LOCKS.with(|locks| locks.held.get(&thread).is_some_and(|held| held.iter().any(wanted)))
}

/// Whether the calling thread holds a mutex, which keeps normal kernel APCs away as a critical region does.
pub(crate) fn holds_mutex() -> bool {
    holds(|held| held.kind == Kind::Mutex)
}

/// Forgets the locks in memory that is about to go. One that is held is a mistake of whoever took it.
pub(crate) fn forget(memory: Range<usize>) {
    let held = LOCKS.with(|locks| {
        locks.followers.retain(|lock, _| !memory.contains(lock));
        for followers in locks.followers.values_mut() {
            followers.retain(|lock, _| !memory.contains(lock));
        }
        locks.held.values().flatten().find(|held| memory.contains(&held.lock)).copied()
    });
    if let Some(Held { lock, kind, call: Some(call), .. }) = held {
        let name = kind.name();
        let why = format_args!("the memory of the {name} {lock:#x} given back while it is held");
        bug_check_call(call, code::VERIFIER, why);
    }
}

/// In the place of an address: the cancel spin lock, of which there is one.
const CANCEL: usize = 1;

/// A cancel routine of the driver is about to be called with the cancel spin lock, on a thread that was at that IRQL.
pub(crate) fn begin_of_cancel(driver: DriverId, irql: u8) {
    taken(driver, Kind::Spin, CANCEL, irql);
}

/// Whether the calling thread holds the cancel spin lock.
pub(crate) fn holds_cancel() -> bool {
    holds(|held| held.lock == CANCEL)
}

/// No driver wants to know of the cancellation: the cancel spin lock is released.
pub(crate) fn end_of_cancel(irql: u8) {
    // SAFETY: the I/O manager has acquired it.
    unsafe { IoReleaseCancelSpinLock(irql) };
}

/// IoAcquireCancelSpinLock.
pub(crate) unsafe extern "system" fn acquire_cancel(irql: *mut u8) {
    let caller = thunk::caller();
    taking(caller, Kind::Spin, CANCEL);
    let before = irql::raise_for(DISPATCH_LEVEL, caller);
    // SAFETY: the driver's own argument.
    unsafe { IoAcquireCancelSpinLock(irql) };
    // SAFETY: the driver passes a place for the level.
    unsafe { irql.write(before) };
    taken(caller, Kind::Spin, CANCEL, before);
}

/// IoReleaseCancelSpinLock.
pub(crate) unsafe extern "system" fn release_cancel(irql: u8) {
    let caller = thunk::caller();
    irql::from(DISPATCH_LEVEL, caller);
    let before = released(caller, Kind::Spin, CANCEL);
    if irql != before {
        let why = format_args!("the cancel spin lock released to IRQL {irql}; it was taken at {before}");
        bug_check(caller, code::VERIFIER, why);
    }
    // SAFETY: the driver holds it.
    unsafe { IoReleaseCancelSpinLock(PASSIVE_LEVEL) };
    irql::lower_for(irql, caller);
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn KeAcquireSpinLockRaiseToDpc(lock: *mut usize) -> u8;
    fn KeReleaseSpinLock(lock: *mut usize, irql: u8);
    fn IoAcquireCancelSpinLock(irql: *mut u8);
    fn IoReleaseCancelSpinLock(irql: u8);
    fn KeReleaseMutex(mutex: *mut c_void, wait: u8) -> i32;
    fn ExAcquireFastMutexUnsafe(mutex: *mut c_void);
    fn ExReleaseFastMutexUnsafe(mutex: *mut c_void);
    fn ExAcquireResourceExclusiveLite(resource: *mut c_void, wait: u8) -> u8;
    fn ExAcquireResourceSharedLite(resource: *mut c_void, wait: u8) -> u8;
    fn ExReleaseResourceLite(resource: *mut c_void);
    fn ExDeleteResourceLite(resource: *mut c_void) -> i32;
}

/// KeAcquireSpinLockRaiseToDpc.
pub(crate) unsafe extern "system" fn acquire_spin(lock: *mut usize) -> u8 {
    let caller = thunk::caller();
    taking(caller, Kind::Spin, lock as usize);
    let irql = irql::raise_for(DISPATCH_LEVEL, caller);
    // SAFETY: the driver passes a spin lock of its own. What Wine returns is a constant; the level is kept here.
    unsafe { KeAcquireSpinLockRaiseToDpc(lock) };
    taken(caller, Kind::Spin, lock as usize, irql);
    irql
}

/// KeReleaseSpinLock.
pub(crate) unsafe extern "system" fn release_spin(lock: *mut usize, irql: u8) {
    let caller = thunk::caller();
    irql::from(DISPATCH_LEVEL, caller);
    let before = released(caller, Kind::Spin, lock as usize);
    if irql != before {
        let why = format_args!("the spin lock {lock:p} released to IRQL {irql}; it was taken at {before}");
        bug_check(caller, code::VERIFIER, why);
    }
    // SAFETY: the driver passes the spin lock that it holds.
    unsafe { KeReleaseSpinLock(lock, PASSIVE_LEVEL) };
    irql::lower_for(irql, caller);
}

/// KeAcquireSpinLockAtDpcLevel.
pub(crate) unsafe extern "system" fn acquire_spin_at_dpc(lock: *mut usize) {
    let caller = thunk::caller();
    irql::from(DISPATCH_LEVEL, caller);
    taking(caller, Kind::Spin, lock as usize);
    // SAFETY: the driver passes a spin lock of its own. The level is kept here.
    unsafe { KeAcquireSpinLockRaiseToDpc(lock) };
    taken(caller, Kind::Spin, lock as usize, irql::current());
}

/// KeReleaseSpinLockFromDpcLevel.
pub(crate) unsafe extern "system" fn release_spin_from_dpc(lock: *mut usize) {
    let caller = thunk::caller();
    irql::from(DISPATCH_LEVEL, caller);
    released(caller, Kind::Spin, lock as usize);
    // SAFETY: the driver passes the spin lock that it holds.
    unsafe { KeReleaseSpinLock(lock, PASSIVE_LEVEL) };
}

/// KeReleaseMutex. Its mutex is taken by a wait.
pub(crate) unsafe extern "system" fn release_mutex(mutex: *mut c_void, wait: u8) -> i32 {
    let caller = thunk::caller();
    released(caller, Kind::Mutex, mutex as usize);
    // SAFETY: the driver passes the mutex that it holds.
    unsafe { KeReleaseMutex(mutex, wait) }
}

/// ExAcquireFastMutex, which raises to APC_LEVEL.
pub(crate) unsafe extern "system" fn acquire_fast(mutex: *mut c_void) {
    let caller = thunk::caller();
    taking(caller, Kind::FastMutex, mutex as usize);
    let irql = irql::raise_for(APC_LEVEL, caller);
    // SAFETY: the driver passes a fast mutex of its own.
    unsafe { ExAcquireFastMutexUnsafe(mutex) };
    taken(caller, Kind::FastMutex, mutex as usize, irql);
}

/// ExReleaseFastMutex.
pub(crate) unsafe extern "system" fn release_fast(mutex: *mut c_void) {
    let caller = thunk::caller();
    irql::from(APC_LEVEL, caller);
    let irql = released(caller, Kind::FastMutex, mutex as usize);
    // SAFETY: the driver passes the fast mutex that it holds.
    unsafe { ExReleaseFastMutexUnsafe(mutex) };
    irql::lower_for(irql, caller);
}

/// ExAcquireFastMutexUnsafe.
pub(crate) unsafe extern "system" fn acquire_fast_unsafe(mutex: *mut c_void) {
    let caller = thunk::caller();
    without_apcs(caller);
    taking(caller, Kind::FastMutex, mutex as usize);
    // SAFETY: the driver passes a fast mutex of its own.
    unsafe { ExAcquireFastMutexUnsafe(mutex) };
    taken(caller, Kind::FastMutex, mutex as usize, irql::current());
}

/// ExReleaseFastMutexUnsafe.
pub(crate) unsafe extern "system" fn release_fast_unsafe(mutex: *mut c_void) {
    released(thunk::caller(), Kind::FastMutex, mutex as usize);
    // SAFETY: the driver passes the fast mutex that it holds.
    unsafe { ExReleaseFastMutexUnsafe(mutex) };
}

/// Normal kernel APCs may not suspend a thread that takes or releases such a lock.
fn without_apcs(driver: DriverId) {
    if irql::current() == PASSIVE_LEVEL && critical::depth() == 0 && !holds_mutex() {
        bug_check(driver, code::VERIFIER, format_args!("called outside of critical regions, and below APC_LEVEL"));
    }
}

/// ExAcquireResourceExclusiveLite.
pub(crate) unsafe extern "system" fn acquire_exclusive(resource: *mut c_void, wait: u8) -> u8 {
    // SAFETY: the driver's own arguments.
    acquire_resource(resource, wait, |resource, wait| unsafe { ExAcquireResourceExclusiveLite(resource, wait) })
}

/// ExAcquireResourceSharedLite.
pub(crate) unsafe extern "system" fn acquire_shared(resource: *mut c_void, wait: u8) -> u8 {
    // SAFETY: the driver's own arguments.
    acquire_resource(resource, wait, |resource, wait| unsafe { ExAcquireResourceSharedLite(resource, wait) })
}

fn acquire_resource(resource: *mut c_void, wait: u8, acquire: impl FnOnce(*mut c_void, u8) -> u8) -> u8 {
    let caller = thunk::caller();
    without_apcs(caller);
    if wait != 0 {
        taking(caller, Kind::Resource, resource as usize);
    }
    let got = acquire(resource, wait);
    if got != 0 {
        taken(caller, Kind::Resource, resource as usize, irql::current());
    }
    got
}

/// ExReleaseResourceLite.
pub(crate) unsafe extern "system" fn release_resource(resource: *mut c_void) {
    let caller = thunk::caller();
    without_apcs(caller);
    released(caller, Kind::Resource, resource as usize);
    // SAFETY: the driver passes the resource that it holds.
    unsafe { ExReleaseResourceLite(resource) };
}

/// ExDeleteResourceLite.
pub(crate) unsafe extern "system" fn delete_resource(resource: *mut c_void) -> i32 {
    forget(resource as usize..resource as usize + 1);
    // SAFETY: the driver's own argument.
    unsafe { ExDeleteResourceLite(resource) }
}
