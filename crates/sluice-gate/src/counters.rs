//! What was counted.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sluice_control::gate::GateCounters;

/// What became of one list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) permitted: u64,
    pub(crate) blocked: u64,
    pub(crate) malformed: u64,
    pub(crate) unanswered: u64,
}

/// The counters of one of several users, so far from the next ones that they share no cache line.
#[derive(Default)]
struct Own {
    lists: AtomicU64,
    blocked_lists: AtomicU64,
    mixed_lists: AtomicU64,
    permitted: AtomicU64,
    blocked: AtomicU64,
    malformed: AtomicU64,
    unanswered: AtomicU64,
    _apart: [u64; 16],
}

/// The counters, for users that each count for themselves.
pub(crate) struct Counters {
    own: Vec<Own>,
    without_memory: AtomicU64,
}

impl Counters {
    /// For that many users. `None` if there is no memory.
    pub(crate) fn new(users: usize) -> Option<Self> {
        let mut own = Vec::new();
        own.try_reserve_exact(users).ok()?;
        // Not by pushing: that would bring along the code, and the panic, of a vector that has to grow.
        own.extend(core::iter::repeat_with(Own::default).take(users));
        Some(Self { own, without_memory: AtomicU64::new(0) })
    }

    /// Counts a list, by the user of that number.
    pub(crate) fn add(&self, user: usize, tally: &Tally, is_blocked: bool) {
        let Some(own) = self.own.get(user) else { return };
        let add = |counter: &AtomicU64, count: u64| {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(&own.lists, 1);
        add(&own.blocked_lists, is_blocked.into());
        add(&own.mixed_lists, (is_blocked && tally.permitted > 0).into());
        add(&own.permitted, tally.permitted);
        add(&own.blocked, tally.blocked);
        add(&own.malformed, tally.malformed);
        add(&own.unanswered, tally.unanswered);
    }

    /// Counts a list for which there was no memory.
    pub(crate) fn add_without_memory(&self) {
        self.without_memory.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them together.
    pub(crate) fn sum(&self) -> GateCounters {
        let without_memory = self.without_memory.load(Ordering::Relaxed);
        self.own.iter().fold(GateCounters { without_memory, ..GateCounters::default() }, |sum, own| {
            let plus = |sum: u64, counter: &AtomicU64| sum.wrapping_add(counter.load(Ordering::Relaxed));
            GateCounters {
                lists: plus(sum.lists, &own.lists),
                blocked_lists: plus(sum.blocked_lists, &own.blocked_lists),
                mixed_lists: plus(sum.mixed_lists, &own.mixed_lists),
                permitted: plus(sum.permitted, &own.permitted),
                blocked: plus(sum.blocked, &own.blocked),
                malformed: plus(sum.malformed, &own.malformed),
                unanswered: plus(sum.unanswered, &own.unanswered),
                without_memory: sum.without_memory,
            }
        })
    }
}
