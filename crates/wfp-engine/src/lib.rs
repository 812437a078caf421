//! A strict filter engine of the Windows Filtering Platform (WFP) for testing callout drivers on any host.
//!
//! Linking this crate defines the functions that `wdk-wfp-sys` declares. A test begins with [`Engine::start`], which
//! waits for other tests to end; when the value is dropped, rules that were broken and callouts and sessions that were
//! left behind are a panic. [`Engine::classify`] sends a packet through the filters of a layer; [`PacketList`] makes
//! one as NDIS would, cut into MDLs at will.
//!
//! The rules, W1 and so on, are in `docs/wfp-rules.md`, each with its source and how sure it is.

mod filters;
mod notices;
mod packets;
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
mod state;
mod symbols;

#[cfg(feature = "host")]
#[path = "host.rs"]
mod world;
#[cfg(all(windows, not(feature = "host")))]
#[path = "kernel.rs"]
mod world;
#[cfg(not(any(windows, feature = "host")))]
compile_error!("without the feature `host` the engine is for a kernel, which only Windows targets have");

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use filters::{Indication, Verdict};
/// The level of a thread, as for NMR: `irql::raise(DISPATCH_LEVEL)`.
#[cfg(feature = "host")]
pub use nmr_registrar::{APC_LEVEL, DISPATCH_LEVEL, PASSIVE_LEVEL, irql};
pub use packets::{PacketList, Piece};
#[cfg(feature = "host")]
pub use world::{set_mapping_fails, set_processor};

/// A rule that a driver has broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: 7 is W7.
    pub rule: u8,
    /// What happened.
    pub what: String,
    /// The file of the driver that broke it, in a process in which drivers run.
    pub driver: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W{} broken", self.rule)?;
        if let Some(driver) = &self.driver {
            write!(f, " by {driver}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// The engine of this process.
pub struct Engine {
    /// For one test. Without it the engine stays.
    alone: Option<MutexGuard<'static, ()>>,
}

impl Engine {
    /// An engine with nothing in it, for one test. Others wait until it is dropped.
    #[must_use]
    pub fn start() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        *state::lock() = state::State::default();
        Self { alone: Some(alone) }
    }

    /// The engine of a process in which drivers run: it has what is in it already, and keeps it when this is dropped.
    #[must_use]
    pub fn resident() -> Self {
        Self { alone: None }
    }

    /// The next `times` attempts to unregister a callout are answered with `STATUS_DEVICE_BUSY` (W8).
    pub fn busy(&self, times: usize) {
        state::lock().busy = times;
    }

    /// The next call of the function of this name fails with `status`.
    pub fn fail(&self, function: &'static str, status: i32) {
        state::lock().fault = Some((function, status));
    }

    /// The call with this number, counted from 0 and from here on, of the functions that need memory fails with
    /// `status`.
    pub fn fail_call(&self, number: usize, status: i32) {
        state::lock().failing_call = Some((number, status));
    }

    /// Whether a [failure](Self::fail_call) that was asked for is still to come. It does not come any more then.
    pub fn forget_failing_call(&self) -> bool {
        state::lock().failing_call.take().is_some()
    }

    /// An image, in the file of this name, is gone: callouts whose functions lay in it must not be registered any more
    /// (W9).
    pub fn image_unloaded(&self, image: Range<usize>, name: &str) {
        let mut state = state::lock();
        let is_gone = |callout: &state::Registered| {
            callout.functions.classifyFn.is_some_and(|function| image.contains(&(function as usize)))
        };
        let gone: Vec<u128> =
            state.registered.iter().filter(|callout| is_gone(callout)).map(|callout| callout.key).collect();
        for key in gone {
            let what = format!("callout {key:032x} is still registered, and its driver is gone");
            state.violation_of(Some(name.to_owned()), 9, what);
        }
    }

    /// How many callouts are registered.
    #[must_use]
    pub fn registered(&self) -> usize {
        state::lock().registered.len()
    }

    /// How many objects there are: providers, sublayers, callouts, filters.
    #[must_use]
    pub fn objects(&self) -> [usize; 4] {
        let state = state::lock();
        let objects = &state.objects;
        [objects.providers.len(), objects.sublayers.len(), objects.callouts.len(), objects.filters.len()]
    }

    /// The end of a boot: objects that are not persistent are gone. Sessions have to be closed.
    pub fn reboot(&self) {
        state::lock().objects.retain(|life| life.persistent);
    }

    /// Takes the violations so far, so that they do not fail the test.
    #[must_use]
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut state::lock().violations)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.alone.is_none() {
            return;
        }
        let mut state = state::lock();
        let mut found: Vec<String> = state.violations.drain(..).map(|violation| violation.to_string()).collect();
        found.extend(state.registered.iter().map(|callout| {
            format!("W9 broken: callout {:032x} is still registered, and its driver is gone", callout.key)
        }));
        found.extend(state.sessions.iter().map(|session| format!("session {} is still open", session.handle)));
        *state = state::State::default();
        drop(state);
        assert!(found.is_empty() || std::thread::panicking(), "{}", found.join("\n"));
    }
}
