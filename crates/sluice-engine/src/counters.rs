//! What is counted for each client, without two processors writing to one cache line.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sluice_npi::{Header, Statistics, Verdict, action, flags};

/// The counters of one client, a set for every processor.
pub(crate) struct Counters {
    shards: Vec<Shard>,
}

/// One processor's set, alone in its cache lines (two of them: processors fetch lines in pairs).
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    packets: AtomicU64,
    blocked: AtomicU64,
    malformed: AtomicU64,
    truncated: AtomicU64,
    rejected_calls: AtomicU64,
}

impl Counters {
    /// Counters for so many processors, or `None` if there is no memory for them.
    pub(crate) fn try_new(processors: usize) -> Option<Self> {
        let count = processors.max(1);
        let mut shards = Vec::new();
        shards.try_reserve_exact(count).ok()?;
        shards.extend(core::iter::repeat_with(Shard::default).take(count));
        Some(Self { shards })
    }

    fn shard(&self, processor: usize) -> Option<&Shard> {
        self.shards.get(processor.checked_rem(self.shards.len())?)
    }

    /// Counts a call that was answered with these verdicts.
    pub(crate) fn count_verdicts(&self, processor: usize, verdicts: &[Verdict]) {
        let Some(shard) = self.shard(processor) else { return };
        let (mut blocked, mut malformed, mut truncated) = (0, 0, 0);
        for verdict in verdicts {
            blocked += u64::from(verdict.action == action::BLOCK);
            malformed += u64::from(verdict.flow.has(flags::MALFORMED));
            truncated += u64::from(verdict.flow.has(flags::TRUNCATED));
        }
        shard.packets.fetch_add(verdicts.len() as u64, Relaxed);
        for (counter, count) in
            [(&shard.blocked, blocked), (&shard.malformed, malformed), (&shard.truncated, truncated)]
        {
            if count != 0 {
                counter.fetch_add(count, Relaxed);
            }
        }
    }

    /// Counts a call that was refused.
    pub(crate) fn count_rejected_call(&self, processor: usize) {
        if let Some(shard) = self.shard(processor) {
            shard.rejected_calls.fetch_add(1, Relaxed);
        }
    }

    /// The sums over all processors. Calls in progress may be in some of them and not yet in others.
    pub(crate) fn sum(&self) -> Statistics {
        let sum = |field: fn(&Shard) -> &AtomicU64| {
            self.shards.iter().fold(0_u64, |sum, shard| sum.wrapping_add(field(shard).load(Relaxed)))
        };
        // A verdict is counted as blocked after it is counted as a packet, so this order keeps the difference positive.
        let blocked = sum(|shard| &shard.blocked);
        let packets = sum(|shard| &shard.packets);
        Statistics {
            header: Header::of::<Statistics>(),
            reserved: 0,
            packets,
            permitted: packets.saturating_sub(blocked),
            blocked,
            malformed: sum(|shard| &shard.malformed),
            truncated: sum(|shard| &shard.truncated),
            rejected_calls: sum(|shard| &shard.rejected_calls),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(action: u16, flags: u32) -> Verdict {
        Verdict {
            header: Header::of::<Verdict>(),
            action,
            reserved: [0; 3],
            rule_id: 0,
            generation: 0,
            flow: sluice_npi::Flow { flags, ..Default::default() },
        }
    }

    #[test]
    fn sums_run_over_all_processors_and_beyond() {
        let counters = Counters::try_new(2).unwrap();
        counters.count_verdicts(0, &[verdict(action::PERMIT, 0), verdict(action::BLOCK, flags::MALFORMED)]);
        counters.count_verdicts(1, &[verdict(action::BLOCK, flags::TRUNCATED)]);
        counters.count_verdicts(7, &[verdict(action::PERMIT, 0)]);
        counters.count_rejected_call(usize::MAX);
        let sum = counters.sum();
        assert_eq!((sum.packets, sum.permitted, sum.blocked), (4, 2, 2));
        assert_eq!((sum.malformed, sum.truncated, sum.rejected_calls), (1, 1, 1));
    }
}
