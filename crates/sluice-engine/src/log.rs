//! The packets that rules log: which are reported, and where those who watch find them.
//!
//! The log is a ring that lies in memory from the start, so that nothing is allocated while packets are classified. Any
//! processor writes to it without waiting for another. Those who watch ask for what has come since they asked last; who
//! asks too seldom is told how much was overwritten. Which packets are reported is limited, so that a rule which
//! matches everything neither floods a trace nor hides what others log.

use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, fence};

use sluice_control::List;
use sluice_control::message::{MAX_RECORDED_NAME, ModuleId, PacketRecord};
use sluice_control::wire::Wire;
use sluice_core::{CapturedPacket, Decision, Policy, RuleAction};
use sluice_npi::Flow;

use crate::event::{Limiter, Rate};

/// How many packets the log has room for: a quarter of what [`OF_ALL`] lets in within a second.
const RECORDS: usize = 256;

/// How many packets of one rule are reported.
const OF_RULE: Rate = Rate { interval_ms: 100, burst: 10 };

/// How many packets are reported in all.
const OF_ALL: Rate = Rate { interval_ms: 1, burst: 1000 };

/// How often a reader waits for a writer that is writing.
const PATIENCE: u32 = 3;

const WORDS: usize = PacketRecord::SIZE / size_of::<u64>();

const _: () = assert!(WORDS * size_of::<u64>() == PacketRecord::SIZE);

/// The log.
pub(crate) struct Log {
    /// How many records have been written, or begun.
    count: AtomicU64,
    records: Vec<Slot>,
    limiter: Limiter,
}

impl Log {
    /// An empty log; `None` if there is no memory for it.
    #[inline(never)]
    pub(crate) fn try_new() -> Option<Self> {
        Some(Self { count: AtomicU64::new(0), records: slots(RECORDS)?, limiter: Limiter::default() })
    }

    /// Whether one more packet is reported at `now`.
    pub(crate) fn allows(&self, now: u64) -> bool {
        self.limiter.allows(now, OF_ALL)
    }

    /// Appends a record. Up to DISPATCH_LEVEL, without waiting.
    #[inline(never)]
    pub(crate) fn append(&self, record: &PacketRecord) {
        let number = self.count.fetch_add(1, Relaxed);
        if let Some(slot) = self.slot(number) {
            slot.write(number, record);
        }
    }

    /// Appends the records from number `from` on to `list`, as many as it has room for. Returns the number of the next
    /// one, and how many have been overwritten. A number beyond the last record gets none. PASSIVE_LEVEL; `pause` lets
    /// other threads run for a moment.
    #[inline(never)]
    pub(crate) fn read(&self, from: u64, list: &mut List<'_, PacketRecord>, pause: impl Fn()) -> (u64, u64) {
        let count = self.count.load(Relaxed);
        let from = from.min(count);
        let mut next = from.max(count.saturating_sub(self.records.len() as u64));
        let mut lost = next.saturating_sub(from);
        while next < count && list.has_room() {
            match self.slot(next).and_then(|slot| slot.read_when_written(next, &pause)) {
                Some(record) => list.push(&record),
                None => lost = lost.saturating_add(1),
            }
            next = next.saturating_add(1);
        }
        (next, lost)
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        let index = number.checked_rem(self.records.len() as u64)?;
        self.records.get(usize::try_from(index).ok()?)
    }
}

fn slots(count: usize) -> Option<Vec<Slot>> {
    let mut slots = Vec::new();
    slots.try_reserve_exact(count).ok()?;
    slots.extend(core::iter::repeat_with(Slot::default).take(count));
    Some(slots)
}

/// A record that one writes while others may read: a sequence lock. All words are atomic, so that a reader who comes at
/// the wrong time reads something old or new, and then sees that it has to be thrown away.
struct Slot {
    /// 0: never written. An odd number: record `state / 2` is being written. An even one: record `state / 2 - 1` is
    /// there.
    state: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Default for Slot {
    fn default() -> Self {
        Self { state: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; WORDS] }
    }
}

impl Slot {
    const fn being_written(number: u64) -> u64 {
        number.wrapping_mul(2).wrapping_add(1)
    }

    const fn written(number: u64) -> u64 {
        number.wrapping_mul(2).wrapping_add(2)
    }

    /// Writes record `number`, unless another one that belongs here is being written: one of the two is lost then.
    fn write(&self, number: u64, record: &PacketRecord) {
        let state = self.state.load(Relaxed);
        let is_free = state & 1 == 0 && state < Self::being_written(number);
        if !is_free || self.state.compare_exchange(state, Self::being_written(number), Acquire, Relaxed).is_err() {
            return;
        }
        // Who reads one of the words below sees that the record is being written.
        fence(Release);
        let mut bytes = [0; PacketRecord::SIZE];
        if record.write(&mut bytes.as_mut_slice()).is_some() {
            for (word, bytes) in self.words.iter().zip(bytes.as_chunks().0) {
                word.store(u64::from_le_bytes(*bytes), Relaxed);
            }
        }
        self.state.store(Self::written(number), Release);
    }

    /// Record `number`, if it is there.
    #[inline(never)]
    fn read(&self, number: u64) -> Option<PacketRecord> {
        if self.state.load(Acquire) != Self::written(number) {
            return None;
        }
        let mut bytes = [0; PacketRecord::SIZE];
        for (word, bytes) in self.words.iter().zip(bytes.as_chunks_mut().0) {
            *bytes = word.load(Relaxed).to_le_bytes();
        }
        // Before the second look at the state come the words.
        fence(Acquire);
        let is_whole = self.state.load(Relaxed) == Self::written(number);
        if is_whole { PacketRecord::read(&mut bytes.as_slice()) } else { None }
    }

    /// Record `number`; waits a little if it is about to be written.
    fn read_when_written(&self, number: u64, pause: &impl Fn()) -> Option<PacketRecord> {
        for _ in 0..PATIENCE {
            let record = self.read(number);
            if record.is_some() || self.state.load(Relaxed) > Self::written(number) {
                return record;
            }
            pause();
        }
        self.read(number)
    }
}

/// Which packets of each logging rule of a policy are reported.
#[derive(Default)]
pub(crate) struct RuleLimits {
    /// The index of each rule that logs, in order.
    limits: Vec<(u32, Limiter)>,
}

impl RuleLimits {
    /// Those of a policy; `None` if there is no memory for them.
    pub(crate) fn try_new(policy: &Policy<Vec<u8>>) -> Option<Self> {
        let logging = || (0..).zip(policy.rules()).filter(|(_, (_, action))| *action == RuleAction::Log);
        let mut limits = Vec::new();
        let count = logging().count();
        limits.try_reserve_exact(count).ok()?;
        // In two steps: an iterator whose length is not known makes room as it goes, which cannot fail.
        limits.extend(core::iter::repeat_with(|| (0, Limiter::default())).take(count));
        limits.iter_mut().zip(logging()).for_each(|((rule, _), (index, _))| *rule = index);
        Some(Self { limits })
    }

    /// Whether a packet that the rule at `index` matches at `now` is reported. A rule that does not log has none.
    pub(crate) fn allows(&self, index: u32, now: u64) -> bool {
        let found = self.limits.binary_search_by_key(&index, |(rule, _)| *rule).ok();
        found.and_then(|found| self.limits.get(found)).is_some_and(|(_, limiter)| limiter.allows(now, OF_RULE))
    }
}

/// Packets to show, the first of as many kinds as there is room for.
pub(crate) struct Samples(Vec<Slot>);

impl Samples {
    const COUNT: usize = 32;

    /// None yet; `None` if there is no memory for them.
    pub(crate) fn try_new() -> Option<Self> {
        slots(Self::COUNT).map(Self)
    }

    /// The place for a packet of the kind that two rules make up, if there is none yet.
    fn slot(&self, kind: (u32, u32)) -> Option<&Slot> {
        // Multiplied by an odd number without a pattern, of which the high bits count.
        let mixed = u64::from(kind.0) << 32 | u64::from(kind.1);
        let hash = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let slot = self.0.get(usize::try_from(hash).ok()?.checked_rem(self.0.len())?)?;
        (slot.state.load(Relaxed) == 0).then_some(slot)
    }

    /// Keeps the packet that `record` gives, unless there is one of its kind. Up to DISPATCH_LEVEL, without waiting.
    pub(crate) fn offer(&self, kind: (u32, u32), record: impl FnOnce() -> PacketRecord) {
        if let Some(slot) = self.slot(kind) {
            slot.write(0, &record());
        }
    }

    /// Appends all that there are.
    #[inline(never)]
    pub(crate) fn list(&self, list: &mut List<'_, PacketRecord>) {
        self.0.iter().filter_map(|slot| slot.read(0)).for_each(|record| list.push(&record));
    }
}

/// What is told of a packet besides itself and its flow.
#[derive(Clone, Copy)]
pub(crate) struct Circumstances {
    pub(crate) time: u64,
    pub(crate) generation: u64,
    pub(crate) module_id: ModuleId,
    pub(crate) decision: Decision,
}

/// The record of a packet, which rule `rule_id` has matched as its `matched`th.
#[inline(never)]
pub(crate) fn record(
    of: Circumstances,
    rule_id: u32,
    matched: u64,
    packet: &CapturedPacket<'_>,
    flow: &Flow,
) -> PacketRecord {
    let mut name = [0; MAX_RECORDED_NAME];
    let bytes = usize::try_from(flow.name_offset).ok().and_then(|start| packet.bytes.get(start..)).unwrap_or_default();
    let length = usize::from(flow.name_length);
    name.iter_mut().zip(bytes.iter().take(length)).for_each(|(to, from)| *to = *from);
    PacketRecord {
        time: of.time,
        generation: of.generation,
        matched,
        rule_id,
        decided_by: of.decision.rule_id,
        action: of.decision.action.number(),
        dry_run_action: 0,
        link_type: packet.link_type,
        direction: packet.direction.number(),
        wire_length: packet.wire_length,
        reserved: 0,
        module_id: of.module_id,
        flow: *flow,
        name,
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use sluice_control::message::module_id_kind;
    use sluice_npi::{action, direction, link_type};

    use super::*;

    fn packet(matched: u64) -> PacketRecord {
        PacketRecord {
            time: 1,
            generation: 2,
            matched,
            rule_id: 3,
            decided_by: 4,
            action: action::BLOCK,
            dry_run_action: action::PERMIT,
            link_type: link_type::RAW,
            direction: direction::INBOUND,
            wire_length: 60,
            reserved: 0,
            module_id: ModuleId { kind: module_id_kind::GUID, value: [5; 16] },
            flow: Flow::default(),
            name: [0; MAX_RECORDED_NAME],
        }
    }

    #[test]
    fn a_record_gives_way_to_later_ones_alone_and_to_none_while_it_is_written() {
        let slot = Slot::default();
        slot.write(7, &packet(7));
        slot.write(3, &packet(3));
        assert_eq!((slot.read(7), slot.read(3)), (Some(packet(7)), None), "a writer that comes late");
        slot.write(8, &packet(8));
        assert_eq!((slot.read(7), slot.read(8)), (None, Some(packet(8))));

        slot.state.store(Slot::being_written(9), Relaxed);
        slot.write(10, &packet(10));
        assert_eq!(slot.state.load(Relaxed), Slot::being_written(9), "the writer of 9 has not come to its end");
        assert_eq!((slot.read(9), slot.read(10)), (None, None));
    }

    #[test]
    fn a_reader_waits_only_for_what_may_still_come() {
        let slot = Slot::default();
        let waits = Cell::new(0);
        let read = |number| {
            waits.set(0);
            let record = slot.read_when_written(number, &|| waits.set(waits.get() + 1));
            (record, waits.get())
        };
        slot.write(7, &packet(7));
        assert_eq!(read(7), (Some(packet(7)), 0), "it is there");
        assert_eq!(read(6), (None, 0), "it was there, or never will be");
        assert_eq!(read(8), (None, PATIENCE), "it may be on its way");
        let pause = || slot.write(8, &packet(8));
        assert_eq!(slot.read_when_written(8, &pause), Some(packet(8)), "it comes");
    }

    #[test]
    fn a_packet_of_each_pair_of_rules_is_kept_and_only_the_first() {
        let samples = Samples::try_new().unwrap();
        for (kind, matched) in [((1, 9), 1), ((2, 9), 2), ((1, 8), 3), ((1, 9), 4), ((2, 9), 5)] {
            samples.offer(kind, || packet(matched));
        }
        let mut kept: Vec<u64> =
            samples.0.iter().filter_map(|slot| slot.read(0)).map(|record| record.matched).collect();
        kept.sort_unstable();
        assert_eq!(kept, [1, 2, 3]);
    }
}
