//! From the packets of a list to one answer.

use alloc::vec::Vec;

use sluice_npi::{CallSluice, PacketRef, Verdict, action, direction, link_type};
use wdk_wfp::{Answer, Classification, Layer, Packets, Scratch};

use crate::client::Registered;
use crate::counters::{Counters, Tally};
use crate::{Platform, Settings, Treatment};

/// How many packets are shown to Sluice in one call. A list with more takes several calls.
pub const PACKETS: usize = 32;
/// How many bytes of a packet are brought together, if they do not lie together: more than any frame that has not been
/// joined from several has, and all that Sluice reads of one that has.
pub const GATHERED: usize = 2048;
/// How many bytes of all packets of a call are brought together.
const ROOM: usize = 8 * GATHERED;
/// How many packets of a list are looked at. One that has more is malformed: its buffers lead back into themselves.
const MAX_PACKETS: usize = 1 << 16;

/// What a classification needs memory for.
pub(crate) struct Batch {
    gather: Vec<u8>,
    /// Its capacity is the room for verdicts.
    verdicts: Vec<Verdict>,
}

impl Batch {
    /// `None` if there is no memory.
    pub(crate) fn new() -> Option<Self> {
        let (mut gather, mut verdicts) = (Vec::new(), Vec::new());
        gather.try_reserve_exact(ROOM).ok()?;
        gather.extend(core::iter::repeat_n(0, ROOM));
        verdicts.try_reserve_exact(PACKETS).ok()?;
        Some(Self { gather, verdicts })
    }
}

/// Who decides about lists.
pub(crate) struct Judge<'a, P: Platform> {
    pub(crate) sluices: &'a Registered<P>,
    pub(crate) batches: &'a Scratch<Batch>,
    pub(crate) counters: &'a Counters,
    pub(crate) settings: &'a Settings,
}

impl<P: Platform> Judge<'_, P> {
    /// Decides about all packets that a callout is shown. At DISPATCH_LEVEL.
    pub(crate) fn judge(&self, shown: &Classification<'_>) -> Answer {
        let Some(mut batch) = self.batches.take() else {
            self.counters.add_without_memory();
            let without = Tally { malformed: 1, ..Tally::default() };
            return self.answer(&without).1;
        };
        let mut tally = Tally::default();
        match shown.packets() {
            Ok(packets) => self.judge_packets(shown.layer(), packets, &mut batch, &mut tally),
            Err(_) => tally.malformed = 1,
        }
        let (is_blocked, answer) = self.answer(&tally);
        self.counters.add(batch.index(), &tally, is_blocked);
        answer
    }

    fn judge_packets(&self, layer: Layer, mut packets: Packets<'_>, batch: &mut Batch, tally: &mut Tally) {
        if packets.clone().nth(1).is_none() {
            // Most lists: without the places of the others, which would have to be filled.
            self.judge_some::<1>(layer, &mut packets, batch, tally);
            return;
        }
        let mut packets = packets.take(MAX_PACKETS).peekable();
        let mut looked_at: usize = 0;
        while packets.peek().is_some() {
            looked_at = looked_at.saturating_add(self.judge_some::<PACKETS>(layer, &mut packets, batch, tally));
        }
        if looked_at >= MAX_PACKETS {
            tally.malformed = tally.malformed.saturating_add(1);
        }
    }

    /// Has Sluice judge as many packets as one call has room for, at most `MOST`. Returns how many were looked at, one
    /// at least.
    #[inline(never)]
    fn judge_some<'a, const MOST: usize>(
        &self,
        layer: Layer,
        packets: &mut impl Iterator<Item = wdk_wfp::Packet<'a>>,
        batch: &mut Batch,
        tally: &mut Tally,
    ) -> usize {
        let (link_type, direction) = kind_of(layer);
        let Batch { gather, verdicts } = batch;
        let mut room = gather.as_mut_slice();
        let Some(nothing) = PacketRef::new(link_type, direction, &[], 0) else { return 1 };
        let mut shown = [nothing; MOST];
        let (mut count, mut looked_at) = (0_usize, 0_usize);
        for place in &mut shown {
            // One that is looked at has to have room, so it is not taken from the list without.
            if room.len() < GATHERED {
                break;
            }
            let Some(packet) = packets.next() else { break };
            looked_at = looked_at.saturating_add(1);
            let bytes = packet.bytes_sharing(&mut room, GATHERED).ok();
            let found = bytes.and_then(|bytes| PacketRef::new(link_type, direction, bytes.data(), bytes.wire_length()));
            match found {
                Some(found) => {
                    *place = found;
                    count = count.saturating_add(1);
                }
                None => {
                    tally.malformed = tally.malformed.saturating_add(1);
                    break;
                }
            }
        }
        let shown = shown.get(..count).unwrap_or_default();
        if !shown.is_empty() {
            let sluice = self.sluices.providers().next();
            let answered = sluice.and_then(|sluice| {
                let verdicts = sluice.classify(shown, verdicts.spare_capacity_mut()).ok()?;
                let permitted = verdicts.iter().filter(|verdict| verdict.action == action::PERMIT).count();
                Some((permitted as u64, verdicts.len() as u64))
            });
            match answered {
                Some((permitted, all)) => {
                    tally.permitted = tally.permitted.saturating_add(permitted);
                    tally.blocked = tally.blocked.saturating_add(all.saturating_sub(permitted));
                }
                None => tally.unanswered = tally.unanswered.saturating_add(count as u64),
            }
        }
        looked_at
    }

    /// What becomes of a list: one packet that is blocked takes the others with it.
    fn answer(&self, tally: &Tally) -> (bool, Answer) {
        let by_setting = |count, treatment| count > 0 && treatment == Treatment::Block;
        let is_blocked = tally.blocked > 0
            || by_setting(tally.malformed, self.settings.on_malformed)
            || by_setting(tally.unanswered, self.settings.when_no_sluice);
        let answer = if is_blocked {
            Answer::Block { silently: !self.settings.reports_blocked }
        } else if tally.permitted > 0 {
            Answer::Permit
        } else {
            Answer::Continue
        };
        (is_blocked, answer)
    }
}

/// What the packets of a layer begin with, and which way they go. One that is forwarded goes neither to this machine
/// nor away from it, so that only rules without a direction are about it.
fn kind_of(layer: Layer) -> (u16, u16) {
    match layer {
        Layer::InboundIpV4 => (link_type::IPV4, direction::INBOUND),
        Layer::InboundIpV6 => (link_type::IPV6, direction::INBOUND),
        Layer::OutboundIpV4 => (link_type::IPV4, direction::OUTBOUND),
        Layer::OutboundIpV6 => (link_type::IPV6, direction::OUTBOUND),
        Layer::ForwardIpV4 => (link_type::IPV4, direction::UNSPECIFIED),
        Layer::ForwardIpV6 => (link_type::IPV6, direction::UNSPECIFIED),
        Layer::InboundEthernet => (link_type::ETHERNET, direction::INBOUND),
        Layer::OutboundEthernet => (link_type::ETHERNET, direction::OUTBOUND),
    }
}
