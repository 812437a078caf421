//! What is counted for each client and for each rule, without two processors writing to one cache line.
//!
//! Most calls are alone on their processor: nobody else counts in their [`Place`] meanwhile, so they add to its
//! counters without a locked instruction, which would take longer than all the rest of counting. A call that is not
//! alone adds to counters that others may add to.

use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use sluice_npi::{Header, Statistics, Verdict, action, flags};
use sluice_swap::OwnPlace;

/// Where a call counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The processor that it runs on, or did a moment ago.
    pub(crate) processor: usize,
    /// A place that is the call's own while it reads a policy.
    pub(crate) own: Option<OwnPlace>,
}

/// Adds to a counter: without a locked instruction where nobody else adds to it.
#[inline]
fn add(counter: &AtomicU64, count: u64, is_own: bool) {
    if is_own {
        counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
    } else {
        counter.fetch_add(count, Relaxed);
    }
}

/// The counters of one client: a set for each processor to which all add, and one for each [`Place`].
pub(crate) struct Counters {
    shared: Vec<CounterShard>,
    own: Vec<CounterShard>,
}

/// One set. What follows the counters keeps the next set's out of their cache lines; an alignment would not do, since
/// the pool ignores it.
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
        let processors = processors.max(1);
        let sets = |count: usize| {
            let mut sets = Vec::new();
            sets.try_reserve_exact(count).ok()?;
            sets.extend(core::iter::repeat_with(CounterShard::default).take(count));
            Some(sets)
        };
        Some(Self { shared: sets(processors)?, own: sets(processors.saturating_mul(4))? })
    }

    fn shared(&self, processor: usize) -> Option<&CounterShard> {
        self.shared.get(processor.checked_rem(self.shared.len())?)
    }

    /// Starts counting the verdicts of one call.
    pub(crate) fn start_call(&self) -> CallCounts<'_> {
        CallCounts { counters: self, packets: 0, blocked: 0, malformed: 0, truncated: 0 }
    }

    /// Counts a call that was refused.
    pub(crate) fn count_rejected_call(&self, processor: usize) {
        if let Some(shard) = self.shared(processor) {
            shard.rejected_calls.fetch_add(1, Relaxed);
        }
    }

    /// The sums over all processors. Calls in progress may be in some of them and not yet in others.
    pub(crate) fn sum(&self) -> Statistics {
        let sum = |field: fn(&CounterShard) -> &AtomicU64| {
            let sets = self.shared.iter().chain(&self.own);
            sets.fold(0_u64, |sum, shard| sum.wrapping_add(field(shard).load(Relaxed)))
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

    /// Adds everything to the counters.
    #[inline]
    pub(crate) fn finish(self, place: Place) {
        let own = place.own.and_then(|own| self.counters.own.get(own.of_all()));
        let Some(shard) = own.or_else(|| self.counters.shared(place.processor)) else { return };
        // In this order, so that no sum has more blocked packets than packets.
        add(&shard.packets, self.packets, own.is_some());
        for (counter, count) in
            [(&shard.blocked, self.blocked), (&shard.malformed, self.malformed), (&shard.truncated, self.truncated)]
        {
            if count != 0 {
                add(counter, count, own.is_some());
            }
        }
    }
}

/// The most memory that the counters of a policy take, in bytes, unless one set of them takes more.
pub(crate) const MOST_RULE_COUNTERS: usize = 16 << 20;

/// What keeps the counters of one set out of the cache lines of the next, in counters.
const APART: usize = 16;

/// The counters of a list: of the rules of a policy with its default, for one.
///
/// There are two sets for each processor, at DISPATCH_LEVEL and below, and one for all calls that are not alone there.
/// Where that would take more than [`MOST_RULE_COUNTERS`], there are as many sets as fit, and processors share them.
#[derive(Default)]
pub(crate) struct RuleCounters {
    counters: Vec<AtomicU64>,
    length: usize,
    /// How many sets belong to a processor at one level each; the others are shared.
    own_sets: usize,
    shared_sets: usize,
}

impl RuleCounters {
    /// `length` counters, for that many processors; `None` if there is no memory for them.
    pub(crate) fn try_new(length: usize, processors: usize) -> Option<Self> {
        let processors = processors.max(1);
        let most_sets = MOST_RULE_COUNTERS / Self::stride(length).saturating_mul(size_of::<AtomicU64>()).max(1);
        let (own_sets, shared_sets) = match processors.saturating_mul(2) {
            own_sets if own_sets < most_sets => (own_sets, 1),
            _ => (0, most_sets.clamp(1, processors)),
        };
        let count = Self::stride(length).checked_mul(own_sets.checked_add(shared_sets)?)?;
        let mut counters = Vec::new();
        counters.try_reserve_exact(count).ok()?;
        counters.extend(core::iter::repeat_with(AtomicU64::default).take(count));
        Some(Self { counters, length, own_sets, shared_sets })
    }

    /// How many counters a set takes, with those that are not used.
    const fn stride(length: usize) -> usize {
        length.saturating_add(APART)
    }

    fn set(&self, index: usize) -> &[AtomicU64] {
        let start = index.saturating_mul(Self::stride(self.length));
        self.counters.get(start..).and_then(|sets| sets.get(..self.length)).unwrap_or_default()
    }

    /// The counters that a call at `place` adds to.
    #[inline]
    pub(crate) fn at(&self, place: Place) -> Tally<'_> {
        match place.own.map(OwnPlace::of_value).filter(|own| *own < self.own_sets) {
            Some(own) => Tally { counters: self.set(own), is_own: true },
            None => {
                let shared = place.processor.checked_rem(self.shared_sets).unwrap_or(0);
                Tally { counters: self.set(self.own_sets.saturating_add(shared)), is_own: false }
            }
        }
    }

    /// The sum of counter `index` over all sets; 0 if there is none.
    pub(crate) fn sum(&self, index: usize) -> u64 {
        let sets = 0..self.own_sets.saturating_add(self.shared_sets);
        sets.filter_map(|set| self.set(set).get(index)).fold(0, |sum, counter| sum.wrapping_add(counter.load(Relaxed)))
    }

    /// Starts anew.
    pub(crate) fn reset(&mut self) {
        self.counters.iter_mut().for_each(|counter| *counter.get_mut() = 0);
    }
}

/// The counters that one call adds to.
#[derive(Clone, Copy)]
pub(crate) struct Tally<'a> {
    counters: &'a [AtomicU64],
    is_own: bool,
}

impl Tally<'_> {
    /// Adds 1 to counter `index`, if there is one.
    #[inline]
    pub(crate) fn add(self, index: usize) {
        if let Some(counter) = self.counters.get(index) {
            add(counter, 1, self.is_own);
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_swap::{AllCounted, Swap};

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

    /// A place of that processor, below DISPATCH_LEVEL.
    fn own(processor: usize) -> Option<OwnPlace> {
        Swap::<(), AllCounted, 64>::new(()).read_in_place(processor, |own, ()| own)
    }

    #[test]
    fn sums_run_over_all_processors_and_beyond() {
        let counters = Counters::try_new(2).unwrap();
        let count = |processor, own, verdicts: &[Verdict]| {
            let mut counts = counters.start_call();
            verdicts.iter().for_each(|verdict| counts.add(verdict));
            counts.finish(Place { processor, own });
        };
        count(0, own(0), &[verdict(action::PERMIT, 0), verdict(action::BLOCK, flags::MALFORMED)]);
        count(1, None, &[verdict(action::BLOCK, flags::TRUNCATED)]);
        count(7, own(7), &[verdict(action::PERMIT, 0)]);
        counters.count_rejected_call(usize::MAX);
        let sum = counters.sum();
        assert_eq!((sum.packets, sum.permitted, sum.blocked), (4, 2, 2));
        assert_eq!((sum.malformed, sum.truncated, sum.rejected_calls), (1, 1, 1));
    }

    #[test]
    fn rules_are_counted_wherever_a_call_is() {
        let mut counters = RuleCounters::try_new(3, 2).unwrap();
        for (processor, own) in [(0, own(0)), (0, None), (1, own(1)), (5, own(5)), (usize::MAX, None)] {
            let tally = counters.at(Place { processor, own });
            assert_eq!(tally.is_own, own.is_some() && processor < 2, "{processor}, {own:?}");
            tally.add(0);
            tally.add(2);
            tally.add(3);
        }
        assert_eq!([0, 1, 2, 3].map(|index| counters.sum(index)), [5, 0, 5, 0]);
        counters.reset();
        assert_eq!(counters.sum(0), 0);
        // The place of number 5 is the first that has no set of its own.
        let five = RuleCounters { own_sets: 5, ..RuleCounters::try_new(3, 3).unwrap() };
        assert_eq!(own(2).map(OwnPlace::of_value), Some(5));
        assert!(!five.at(Place { processor: 2, own: own(2) }).is_own);
        assert!(five.at(Place { processor: 1, own: own(1) }).is_own);
        let none = RuleCounters::default();
        none.at(Place { processor: 0, own: own(0) }).add(0);
        assert_eq!(none.sum(0), 0);
    }

    #[test]
    fn counters_of_many_rules_are_shared_by_many_processors() {
        // Eight sets of this many rules take all of the memory, and leave none for the shared one.
        let eighth = MOST_RULE_COUNTERS / 8 / 8 - APART;
        for (rules, processors, sets) in [
            (200_001, 4, (8, 1)),
            (200_001, 64, (0, 10)),
            (16_000, 64, (128, 1)),
            (MOST_RULE_COUNTERS, 2, (0, 1)),
            (eighth - 1, 4, (0, 4)),
            (eighth, 4, (0, 4)),
        ] {
            let counters = RuleCounters::try_new(rules, processors).unwrap();
            assert_eq!((counters.own_sets, counters.shared_sets), sets, "{rules} rules, {processors} processors");
            assert!(counters.counters.len() * 8 <= MOST_RULE_COUNTERS.max((rules + APART) * 8));
            counters.at(Place { processor: processors - 1, own: own(processors - 1) }).add(rules - 1);
            assert_eq!(counters.sum(rules - 1), 1);
        }
    }
}
