//! What was counted.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sluice_control::gate::GateCounters;

/// What became of the packets of one list.
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
    counts: [AtomicU64; GateCounters::NAMES.len()],
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

    /// Counts a list, by the user of that number. Nobody else counts for that user at the same time.
    pub(crate) fn add(&self, user: usize, tally: &Tally, is_blocked: bool) {
        let Some(own) = self.own.get(user) else { return };
        let Tally { permitted, blocked, malformed, unanswered } = *tally;
        let list = GateCounters {
            lists: 1,
            blocked_lists: is_blocked.into(),
            mixed_lists: (is_blocked && permitted > 0).into(),
            permitted,
            blocked,
            malformed,
            unanswered,
            without_memory: 0,
        };
        for (count, more) in own.counts.iter().zip(list.to_array()) {
            // Not in one step, which would cost a locked instruction: only this user writes.
            count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        }
    }

    /// Counts a list for which there was no memory.
    pub(crate) fn add_without_memory(&self) {
        self.without_memory.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them together.
    pub(crate) fn sum(&self) -> GateCounters {
        let without_memory = self.without_memory.load(Ordering::Relaxed);
        let mut sum = GateCounters { without_memory, ..GateCounters::default() }.to_array();
        for own in &self.own {
            for (sum, count) in sum.iter_mut().zip(&own.counts) {
                *sum = sum.wrapping_add(count.load(Ordering::Relaxed));
            }
        }
        GateCounters::from_array(sum)
    }
}
