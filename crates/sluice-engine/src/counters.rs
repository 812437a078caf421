//! What is counted for each client, without two processors writing to one cache line.

use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use sluice_npi::{Header, Statistics, Verdict, action, flags};

/// The counters of one client, one set per processor.
pub(crate) struct Counters {
    shards: Vec<CounterShard>,
}

/// One processor's set. What follows the counters keeps the next set's out of their cache lines; an alignment would not
/// do, since the pool ignores it.
#[derive(Default)]
struct CounterShard {
    packets: AtomicU64,
    blocked: AtomicU64,
    malformed: AtomicU64,
    truncated: AtomicU64,
    rejected_calls: AtomicU64,
    _apart: [u64; 11],
}

impl Counters {
    /// Counters for that many processors, or `None` if there is no memory for them.
    pub(crate) fn try_new(processors: usize) -> Option<Self> {
        let count = processors.max(1);
        let mut shards = Vec::new();
        shards.try_reserve_exact(count).ok()?;
        shards.extend(core::iter::repeat_with(CounterShard::default).take(count));
        Some(Self { shards })
    }

    fn shard(&self, processor: usize) -> Option<&CounterShard> {
        self.shards.get(processor.checked_rem(self.shards.len())?)
    }

    /// Starts counting the verdicts of one call.
    pub(crate) fn start_call(&self) -> CallCounts<'_> {
        CallCounts { counters: self, packets: 0, blocked: 0, malformed: 0, truncated: 0 }
    }

    /// Counts a call that was refused.
    pub(crate) fn count_rejected_call(&self, processor: usize) {
        if let Some(shard) = self.shard(processor) {
            shard.rejected_calls.fetch_add(1, Relaxed);
        }
    }

    /// The sums over all processors. Calls in progress may be in some of them and not yet in others.
    pub(crate) fn sum(&self) -> Statistics {
        let sum = |field: fn(&CounterShard) -> &AtomicU64| {
            self.shards.iter().fold(0_u64, |sum, shard| sum.wrapping_add(field(shard).load(Relaxed)))
        };
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

/// The counts of one call's verdicts, which reach the counters together.
pub(crate) struct CallCounts<'a> {
    counters: &'a Counters,
    packets: u64,
    blocked: u64,
    malformed: u64,
    truncated: u64,
}

impl CallCounts<'_> {
    /// Counts one verdict.
    #[inline]
    pub(crate) fn add(&mut self, verdict: &Verdict) {
        self.packets += 1;
        self.blocked += u64::from(verdict.action == action::BLOCK);
        self.malformed += u64::from(verdict.flow.has(flags::MALFORMED));
        self.truncated += u64::from(verdict.flow.has(flags::TRUNCATED));
    }

    /// Adds everything to the counters of `processor`.
    #[inline]
    pub(crate) fn finish(self, processor: usize) {
        let Some(shard) = self.counters.shard(processor) else { return };
        // In this order, so that no sum has more blocked packets than packets.
        shard.packets.fetch_add(self.packets, Relaxed);
        for (counter, count) in
            [(&shard.blocked, self.blocked), (&shard.malformed, self.malformed), (&shard.truncated, self.truncated)]
        {
            if count != 0 {
                counter.fetch_add(count, Relaxed);
            }
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
        let count = |processor, verdicts: &[Verdict]| {
            let mut counts = counters.start_call();
            verdicts.iter().for_each(|verdict| counts.add(verdict));
            counts.finish(processor);
        };
        count(0, &[verdict(action::PERMIT, 0), verdict(action::BLOCK, flags::MALFORMED)]);
        count(1, &[verdict(action::BLOCK, flags::TRUNCATED)]);
        count(7, &[verdict(action::PERMIT, 0)]);
        counters.count_rejected_call(usize::MAX);
        let sum = counters.sum();
        assert_eq!((sum.packets, sum.permitted, sum.blocked), (4, 2, 2));
        assert_eq!((sum.malformed, sum.truncated, sum.rejected_calls), (1, 1, 1));
    }
}
