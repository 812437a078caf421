//! The platform for tests on a host: locks and events of std, an IRQL per thread, and one registrar for the process,
//! which the nine functions use and a [`Session`](session::Session) configures.

pub mod irql;
mod memory;
mod panics;
pub(crate) mod schedule;
pub(crate) mod session;
#[cfg(feature = "symbols")]
mod symbols;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io::Write;
use std::string::{String, ToString};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread_local;
use std::time::Instant;

use schedule::Point;
use session::Control;
use spin::mutex::SpinMutex;
use spin::relax::Yield;
use wdk_nmr_sys::NTSTATUS;

use crate::platform::{Event, Lock, PausePoint, Platform};
use crate::registrar::Registrar;
use crate::report::SlowWait;
use crate::violation::{Callback, Function, Violation};

/// The registrar behind the nine functions of this process.
pub fn registrar() -> &'static Registrar<Host> {
    static REGISTRAR: LazyLock<Registrar<Host>> = LazyLock::new(|| {
        let host = Host { began: Instant::now(), control: Mutex::new(None), has_control: AtomicBool::new(false) };
        let registrar = Registrar::new(host);
        registrar.set_slow_wait(Some(session::SLOW_WAIT));
        registrar
    });
    &REGISTRAR
}

/// A host, as the registrar sees it.
pub struct Host {
    began: Instant,
    /// What the session that is running wants, if one is.
    control: Mutex<Option<Arc<Control>>>,
    /// Whether there is one: most calls need not take the lock to know that there is none.
    has_control: AtomicBool,
}

impl Host {
    fn control(&self) -> Option<Arc<Control>> {
        if self.has_control.load(Ordering::Acquire) { locked(&self.control).clone() } else { None }
    }

    fn set_control(&self, control: Option<Arc<Control>>) {
        let mut current = locked(&self.control);
        self.has_control.store(control.is_some(), Ordering::Release);
        *current = control;
    }
}

/// Locks a mutex whether or not a test has panicked while it held it: no state of ours is left half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line to stderr itself, not to what a test harness has put in its place: the process may be about to end, or
/// the test to hang, and what the harness keeps until a test has failed would be lost.
fn say(line: core::fmt::Arguments<'_>) {
    // Nobody is left to tell if that fails.
    let _ = writeln!(std::io::stderr(), "nmr-registrar: {line}");
}

/// A spin lock, as it would be in a kernel: what happens under it is short. A thread that finds it taken yields. It
/// lies on cache lines of its own, so that interfaces in different shards do not slow each other down.
#[repr(align(128))]
pub struct HostLock<T>(SpinMutex<T, Yield>);

impl<T: Send> Lock<T> for HostLock<T> {
    fn new(value: T) -> Self {
        Self(SpinMutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock())
    }
}

/// A flag and a condition variable.
pub struct HostEvent {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Event for HostEvent {
    fn new() -> Self {
        Self { is_set: Mutex::new(false), changed: Condvar::new() }
    }

    fn set(&self) {
        *locked(&self.is_set) = true;
        self.changed.notify_all();
        schedule::wake(core::ptr::from_ref(self).addr());
    }

    fn wait(&self, timeout: Option<Duration>) -> bool {
        if schedule::wait(core::ptr::from_ref(self).addr(), || *locked(&self.is_set)) {
            return true;
        }
        let is_set = locked(&self.is_set);
        match timeout {
            None => *self.changed.wait_while(is_set, |is_set| !*is_set).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                let waited = self.changed.wait_timeout_while(is_set, timeout, |is_set| !*is_set);
                *waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

impl Platform for Host {
    type Lock<T: Send> = HostLock<T>;
    type Event = HostEvent;

    #[inline]
    fn irql(&self) -> u8 {
        irql::current()
    }

    fn thread(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
        NUMBER.with(|number| *number)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn violation(&self, violation: &Violation) {
        match self.control() {
            Some(control) => control.record(violation),
            None => {
                say(format_args!("{violation}"));
                // A callback of C cannot be unwound through, and no session knows which test this is.
                std::process::abort();
            }
        }
    }

    fn slow_wait(&self, wait: &SlowWait) {
        match self.control() {
            Some(control) => control.slow_wait(wait),
            None => say(format_args!("{wait}")),
        }
    }

    #[inline]
    fn enter(&self, function: Function) {
        schedule::reach(Point::Function(function));
    }

    #[inline]
    fn fault(&self, function: Function) -> Option<NTSTATUS> {
        if self.has_control.load(Ordering::Relaxed) { self.control()?.fault(function) } else { None }
    }

    #[inline]
    fn pause(&self, point: &PausePoint) {
        if self.has_control.load(Ordering::Relaxed)
            && let Some(control) = self.control()
        {
            control.pause(point);
        }
        schedule::reach(Point::Callback(point.when, point.callback));
    }

    #[inline]
    fn calls(&self, callback: Callback) {
        panics::CALLBACKS.with_borrow_mut(|callbacks| callbacks.push(callback));
    }

    #[inline]
    fn returned(&self) {
        panics::CALLBACKS.with_borrow_mut(|callbacks| _ = callbacks.pop());
    }

    fn delays_cleanup(&self, function: Function, binding: usize) -> bool {
        self.control().is_some_and(|control| control.delays(function, binding))
    }

    fn elsewhere(&self, job: &mut (dyn FnMut() + Send)) {
        let (level, place) = (irql::current(), schedule::place());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                irql::set(level);
                schedule::take(place);
                job();
            });
        });
    }

    fn image(&self, address: usize) -> Option<String> {
        self.control()?.image(address).map(|name| name.to_string())
    }

    /// Only sessions ask the system: it is a system call. Without one, memory that is gone ends the process by itself.
    #[inline]
    fn readable(&self, address: usize, length: usize) -> bool {
        !self.has_control.load(Ordering::Acquire) || memory::is_mapped(address, length)
    }

    fn restore_irql(&self, level: u8) {
        irql::set(level);
    }
}
