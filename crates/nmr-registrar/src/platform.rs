//! What the registrar needs from the world that it runs in: a lock, an event, and a few facts and hooks. The host
//! platform of this crate, netio.sys and the shuttle tests each supply their own.

use alloc::string::String;
use core::time::Duration;

use wdk_nmr_sys::NTSTATUS;

use crate::report::SlowWait;
use crate::violation::{Callback, Function, Violation};

/// PASSIVE_LEVEL, the interrupt request level at which code may wait.
pub const PASSIVE_LEVEL: u8 = 0;
/// APC_LEVEL.
pub const APC_LEVEL: u8 = 1;
/// DISPATCH_LEVEL, at which code may neither wait nor touch pageable memory.
pub const DISPATCH_LEVEL: u8 = 2;

/// Mutual exclusion, usable at DISPATCH_LEVEL. It is never held across a callback or a wait. Memory is allocated while
/// it is held, so a kernel's allocator has to work at the level that the lock raises to.
pub trait Lock<T>: Send + Sync {
    /// A lock around `value`.
    fn new(value: T) -> Self;
    /// Runs `f` while nobody else is inside.
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;
}

/// A notification event: once set it stays set.
pub trait Event: Send + Sync {
    /// An event that is not set.
    fn new() -> Self;
    /// Sets it. Up to DISPATCH_LEVEL.
    fn set(&self);
    /// Waits until it is set, or until `timeout` has passed. Returns whether it is set.
    fn wait(&self, timeout: Option<Duration>) -> bool;
}

/// A place at the boundary of a callback. No lock is held there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PausePoint {
    /// Which callback.
    pub callback: Callback,
    /// Before it is called, or after it has returned and before the registrar acts on that.
    pub when: When,
    /// The binding's handle as a number.
    pub binding: usize,
    /// The handle, as a number, of the registration whose callback it is.
    pub registration: usize,
}

/// Which side of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing of the module has run yet.
    Before,
    /// The callback has returned.
    After,
}

/// The world that a [`Registrar`](crate::Registrar) runs in.
pub trait Platform: Sync {
    /// The lock around each part of the tables.
    type Lock<T: Send>: Lock<T>;
    /// What a wait for the end of a registration waits for.
    type Event: Event;

    /// The current interrupt request level of this thread.
    fn irql(&self) -> u8;
    /// A number that tells the running threads apart.
    fn thread(&self) -> u64;
    /// The time since some fixed point.
    fn now(&self) -> Duration;
    /// A module broke a rule. What happens to it is for the platform to decide; if this returns, the registrar goes on
    /// as Windows is known or thought to.
    fn violation(&self, violation: &Violation);

    /// A wait has lasted for [`Registrar::set_slow_wait`](crate::Registrar::set_slow_wait), and again for each time
    /// that it goes on.
    fn slow_wait(&self, wait: &SlowWait) {
        let _ = wait;
    }
    /// Called at the start of each of the nine functions, with no lock held; may park the thread.
    fn enter(&self, function: Function) {
        let _ = function;
    }
    /// What a function is to fail with, instead of doing anything.
    fn fault(&self, function: Function) -> Option<NTSTATUS> {
        let _ = function;
        None
    }
    /// Called at every callback boundary; may park the thread.
    fn pause(&self, point: &PausePoint) {
        let _ = point;
    }
    /// A callback of a module begins to run on this thread; [`Self::returned`] follows when it has returned.
    fn calls(&self, callback: Callback) {
        let _ = callback;
    }
    /// The callback that began last on this thread has returned.
    fn returned(&self) {}
    /// Runs `job` to its end on another thread, at the same level, if there is one to be had. Asked for only while the
    /// order is drawn from a seed: no module may depend on the thread of a cleanup (R56).
    fn elsewhere(&self, job: &mut (dyn FnMut() + Send)) {
        job();
    }
    /// A Complete function has ended a detach, and its cleanup callbacks are due. If true, they do not run in that
    /// call: the platform owes exactly one call of [`Registrar::clean_up`](crate::Registrar::clean_up). No module may
    /// depend on when they run (R53, R56).
    fn delays_cleanup(&self, function: Function, binding: usize) -> bool {
        let _ = (function, binding);
        false
    }
    /// The name of the image that contains a callback, to tell people whose module this is.
    fn image(&self, address: usize) -> Option<String> {
        let _ = address;
        None
    }
    /// Whether memory may be read. Asked before the registrar looks at a module's structures again.
    fn readable(&self, address: usize, length: usize) -> bool {
        let _ = (address, length);
        true
    }
    /// Puts the level back to `irql` after a callback has returned at another one.
    fn restore_irql(&self, irql: u8) {
        let _ = irql;
    }
}
