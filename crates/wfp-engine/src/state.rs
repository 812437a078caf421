//! What the engine has: callouts that drivers have registered, sessions, and the objects of the management side.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use wdk_wfp_sys::{FWPS_CALLOUT2, GUID};

use crate::{Violation, world};

/// A GUID as a number, to be compared.
pub(crate) fn number(guid: &GUID) -> u128 {
    let tail = guid.data4.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    u128::from(guid.data1) << 96 | u128::from(guid.data2) << 80 | u128::from(guid.data3) << 64 | u128::from(tail)
}

/// A callout that a driver has registered.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) key: u128,
    pub(crate) id: u32,
    pub(crate) functions: FWPS_CALLOUT2,
    /// How many calls of it are in progress.
    pub(crate) calls: Arc<AtomicUsize>,
}

/// A number that a callout has associated with a data flow.
#[derive(Clone, Copy)]
pub(crate) struct FlowContext {
    pub(crate) flow: u64,
    pub(crate) layer: u16,
    pub(crate) callout: u32,
    pub(crate) context: u64,
}

/// How long an object lives.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    /// The dynamic session with which it ends.
    pub(crate) session: Option<usize>,
    pub(crate) persistent: bool,
}

#[derive(Clone)]
pub(crate) struct Filter {
    pub(crate) key: u128,
    pub(crate) id: u64,
    pub(crate) layer: u128,
    pub(crate) sublayer: u128,
    pub(crate) weight: u64,
    /// `FWPS_FILTER_FLAG_...`.
    pub(crate) flags: u16,
    pub(crate) action: u32,
    /// The callout, for an action with one.
    pub(crate) callout: u128,
    pub(crate) context: u64,
    /// What the flags of the packet have to be: a match type and its value.
    pub(crate) conditions: Vec<(i32, u32)>,
    pub(crate) life: Life,
}

/// The objects of the management side: a key each, and what else is needed of it.
#[derive(Clone, Default)]
pub(crate) struct Objects {
    pub(crate) providers: Vec<(u128, Life)>,
    /// With its weight.
    pub(crate) sublayers: Vec<(u128, u16, Life)>,
    /// With its layer.
    pub(crate) callouts: Vec<(u128, u128, Life)>,
    pub(crate) filters: Vec<Filter>,
}

impl Objects {
    pub(crate) fn retain(&mut self, stays: impl Fn(&Life) -> bool) {
        self.providers.retain(|(_, life)| stays(life));
        self.sublayers.retain(|(_, _, life)| stays(life));
        self.callouts.retain(|(_, _, life)| stays(life));
        self.filters.retain(|filter| stays(&filter.life));
    }
}

pub(crate) struct Session {
    pub(crate) handle: usize,
    pub(crate) is_dynamic: bool,
    /// The objects as the transaction that is open would leave them.
    pub(crate) transaction: Option<Objects>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) registered: Vec<Registered>,
    pub(crate) flows: Vec<FlowContext>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) objects: Objects,
    pub(crate) violations: Vec<Violation>,
    pub(crate) busy: usize,
    pub(crate) fault: Option<(&'static str, i32)>,
    /// How many calls are still to succeed before one fails, and with what.
    pub(crate) failing_call: Option<(usize, i32)>,
    pub(crate) last: usize,
}

impl State {
    /// A number that no other call has got.
    pub(crate) fn next(&mut self) -> usize {
        self.last += 1;
        self.last
    }

    /// The filters that are in force, and those of transactions that are open.
    pub(crate) fn all_filters(&self) -> Vec<Filter> {
        let open = self.sessions.iter().filter_map(|session| session.transaction.as_ref());
        let mut filters: Vec<Filter> =
            std::iter::once(&self.objects).chain(open).flat_map(|objects| objects.filters.iter().cloned()).collect();
        filters.sort_by_key(|filter| filter.id);
        filters.dedup_by_key(|filter| filter.id);
        filters
    }

    /// Removes a filter from wherever it was added.
    pub(crate) fn forget_filter(&mut self, id: u64) {
        let open = self.sessions.iter_mut().filter_map(|session| session.transaction.as_mut());
        for objects in std::iter::once(&mut self.objects).chain(open) {
            objects.filters.retain(|filter| filter.id != id);
        }
    }

    /// The driver that has called the engine has broken a rule.
    pub(crate) fn violation(&mut self, rule: u8, what: impl Into<String>) {
        self.violation_of(world::calling_driver(), rule, what);
    }

    /// A driver, by the name of its file, has broken a rule.
    pub(crate) fn violation_of(&mut self, driver: Option<String>, rule: u8, what: impl Into<String>) {
        let violation = Violation { rule, what: what.into(), driver };
        world::broken(&violation);
        self.violations.push(violation);
    }
}

// SAFETY: the pointers among the functions of a callout are those of functions.
unsafe impl Send for Registered {}

pub(crate) fn lock() -> MutexGuard<'static, State> {
    static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
