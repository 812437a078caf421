//! From the packets of a list to one answer.

use alloc::vec::Vec;
use core::slice;

use sluice_npi::{CallSluice, PacketRef, Verdict, action, direction, flags, link_type};
use wdk_wfp::{Answer, Classification, Layer, Packet, Packets, Scratch};

use crate::client::Registered;
use crate::counters::{Counters, Tally};
use crate::{Platform, Settings, Treatment};

/// How many packets are shown to Sluice in one call. A list with more takes several calls.
pub const PACKETS: usize = 32;
/// How many bytes of a packet are brought together, if they do not lie together: more than any frame that has not been
/// joined from several has, and all that Sluice reads of one that has.
pub const GATHERED: usize = 2048;
/// How many bytes of a packet are brought together at first, if it is longer than [`SHORT`] and has to be brought
/// together at all. The others follow if Sluice would look at them.
pub const HEAD: usize = 96;
/// How long a packet is at most that is brought together at once: as long as many a message of DNS, which is read to
/// its end.
pub const SHORT: usize = 256;
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
        let mut rest = packets.clone();
        if let (Some(packet), None) = (rest.next(), rest.next()) {
            // Most lists: without the places of the others, which would have to be filled.
            self.judge_one(layer, &packet, &packets, batch, tally);
            return;
        }
        let mut looked_at = 0_usize;
        loop {
            let more = self.judge_some(layer, &mut packets, batch, tally);
            if more == 0 {
                return;
            }
            looked_at = looked_at.saturating_add(more);
            if looked_at >= MAX_PACKETS {
                tally.malformed = tally.malformed.saturating_add(1);
                return;
            }
        }
    }

    /// Has Sluice judge `packet`, the only one of `packets`.
    #[inline(never)]
    fn judge_one(
        &self,
        layer: Layer,
        packet: &Packet<'_>,
        packets: &Packets<'_>,
        batch: &mut Batch,
        tally: &mut Tally,
    ) {
        let kind = kind_of(layer);
        let Batch { gather, verdicts } = batch;
        let mut room = gather.as_mut_slice();
        let Some(mut shown) = PacketRef::new(kind.0, kind.1, &[], 0) else { return };
        if bring_together(packet, Extent::Head, kind, &mut room, &mut shown).is_none() {
            tally.malformed = 1;
            return;
        }
        let sluice = self.sluices.providers().next();
        let decided = ask(sluice.as_ref(), slice::from_ref(&shown), verdicts, tally);
        if decided == 0 {
            let shown = slice::from_mut(&mut shown);
            show_more(sluice.as_ref(), packets, kind, Room { shown, room, verdicts }, 0, tally);
        }
    }

    /// Has Sluice judge as many packets as there is room for. Returns how many were looked at, at least one if there is
    /// one; `packets` is behind them then.
    #[inline(never)]
    fn judge_some(&self, layer: Layer, packets: &mut Packets<'_>, batch: &mut Batch, tally: &mut Tally) -> usize {
        let kind = kind_of(layer);
        let Batch { gather, verdicts } = batch;
        let mut room = gather.as_mut_slice();
        let Some(nothing) = PacketRef::new(kind.0, kind.1, &[], 0) else { return 0 };
        let mut shown = [nothing; PACKETS];
        let start = packets.clone();
        let (count, is_malformed) = bring_heads(packets, kind, &mut room, &mut shown);
        let shown = shown.get_mut(..count).unwrap_or_default();
        let done = self.judge_shown(&start, kind, Room { shown, room, verdicts }, tally);
        if done < count {
            // The room is free again in the next call.
            *packets = start;
            if let Some(last) = done.checked_sub(1) {
                packets.nth(last);
            }
            return done;
        }
        tally.malformed = tally.malformed.saturating_add(is_malformed.into());
        count.saturating_add(is_malformed.into())
    }

    /// Has Sluice judge packets, the first of `packets`. Returns how many are done: fewer than all if there is no more
    /// room.
    // In a frame of its own: that of the caller has the packets.
    #[inline(never)]
    fn judge_shown<'g>(&self, packets: &Packets<'g>, kind: (u16, u16), with: Room<'_, 'g>, tally: &mut Tally) -> usize {
        if with.shown.is_empty() {
            return 0;
        }
        let sluice = self.sluices.providers().next();
        let decided = ask(sluice.as_ref(), with.shown, with.verdicts, tally);
        if decided < with.shown.len() {
            return show_more(sluice.as_ref(), packets, kind, with, decided, tally);
        }
        decided
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

/// Writes packets to places, as many as there are and as there is room for, in pieces by their heads. Returns how many
/// these are, and whether one that is malformed comes behind them; `packets` is behind that.
#[inline(never)]
fn bring_heads<'a: 'g, 'g>(
    packets: &mut Packets<'a>,
    kind: (u16, u16),
    room: &mut &'g mut [u8],
    places: &mut [PacketRef<'g>],
) -> (usize, bool) {
    let mut count = 0_usize;
    for place in places {
        // One that is looked at has to have room, so it is not taken from the list without. And one of them may have to
        // be brought together a second time.
        if room.len() < 2 * GATHERED {
            break;
        }
        let Some(packet) = packets.next() else { break };
        if bring_together(&packet, Extent::Head, kind, room, place).is_none() {
            return (count, true);
        }
        count = count.saturating_add(1);
    }
    (count, false)
}

/// Asks Sluice about packets. Returns how many are done: those before the first that is undecided.
#[inline]
fn ask(
    sluice: Option<&impl CallSluice>,
    shown: &[PacketRef<'_>],
    verdicts: &mut Vec<Verdict>,
    tally: &mut Tally,
) -> usize {
    let answered = sluice.and_then(|sluice| sluice.classify(shown, verdicts.spare_capacity_mut()).ok());
    let Some(verdicts) = answered else {
        tally.unanswered = tally.unanswered.saturating_add(shown.len() as u64);
        return shown.len();
    };
    let permitted = verdicts.iter().filter(|verdict| verdict.action == action::PERMIT).count();
    // What is undecided is not permitted, so there is nothing to look for in most calls.
    let decided = if permitted == shown.len() {
        permitted
    } else {
        verdicts.iter().take_while(|verdict| !verdict.flow.has(flags::UNDECIDED)).count()
    };
    tally.permitted = tally.permitted.saturating_add(permitted as u64);
    tally.blocked = tally.blocked.saturating_add(decided.saturating_sub(permitted) as u64);
    decided
}

/// What a call of Sluice takes.
struct Room<'r, 'g> {
    shown: &'r mut [PacketRef<'g>],
    room: &'g mut [u8],
    verdicts: &'r mut Vec<Verdict>,
}

/// Goes on where the first `done` packets are decided and the next is to be shown whole: shows it so, and asks again
/// about it and those behind it, as often as it takes. Returns how many are done then: fewer than all if there is no
/// more room.
#[cold]
#[inline(never)]
fn show_more<'g>(
    sluice: Option<&impl CallSluice>,
    packets: &Packets<'g>,
    kind: (u16, u16),
    with: Room<'_, 'g>,
    mut done: usize,
    tally: &mut Tally,
) -> usize {
    let Room { shown, mut room, verdicts } = with;
    while let Some(to_do) = shown.get_mut(done..).filter(|to_do| !to_do.is_empty()) {
        let Some((first, behind)) = to_do.split_first_mut() else { break };
        if !first.is_head() {
            // All of it was shown. What is said of it nevertheless is that it is blocked.
            tally.blocked = tally.blocked.saturating_add(behind.len() as u64).saturating_add(1);
            return shown.len();
        }
        if room.len() < GATHERED {
            break;
        }
        let packet = packets.clone().nth(done);
        if packet.and_then(|packet| bring_together(&packet, Extent::Whole, kind, &mut room, first)).is_none() {
            tally.malformed = tally.malformed.saturating_add(1);
            done = done.saturating_add(1);
            continue;
        }
        done = done.saturating_add(ask(sluice, to_do, verdicts, tally));
    }
    done
}

/// How much of a packet is brought together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// As much as decides about most packets.
    Head,
    /// As much as there is room for.
    Whole,
}

/// Writes to `place` a packet, with the link type and the direction of its `kind`, as far as it is to be shown. What
/// does not lie together is put at the start of `room`. `None` if it is malformed.
// To its place, field by field: a value that is returned is read in other pieces than it was written in, and a
// processor waits until all of them are in its cache.
#[inline]
fn bring_together<'g>(
    packet: &Packet<'g>,
    extent: Extent,
    kind: (u16, u16),
    room: &mut &'g mut [u8],
    place: &mut PacketRef<'g>,
) -> Option<()> {
    // One that is longer cannot be shown whole.
    let may_be_head = extent == Extent::Head && (SHORT + 1..=GATHERED).contains(&(packet.wire_length().ok()? as usize));
    let bytes = packet.bytes_sharing(room, if may_be_head { HEAD } else { GATHERED }).ok()?;
    *place = PacketRef::new(kind.0, kind.1, bytes.data(), bytes.wire_length())?;
    if may_be_head && bytes.is_truncated() {
        *place = place.as_head();
    }
    Some(())
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
