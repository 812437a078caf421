//! Which packets are kept, and when their name is known.

use alloc::vec::Vec;
use core::iter;
use core::sync::atomic::{AtomicU64, Ordering};

use sluice_core::stream::{Beginning, read_crypto, read_handshake, read_stream};
use sluice_core::{CapturedPacket, NameText, parse_headers_into, protocol};
use sluice_npi::{Flow, flags};

use crate::hash::{HashKey, StreamId};
use crate::stream::{Bytes, LENGTH, MEMORY, Progress, Stream};
use crate::try_lock::TryLock;

/// How many streams share a group, in which the oldest makes room.
pub const WAYS: usize = 4;

/// How much memory an assembler takes unless it is told otherwise: about 800 streams.
pub const DEFAULT_MEMORY: usize = 4 << 20;

/// What a group takes: its bytes in whole pages, and what is known of its streams.
pub const GROUP_MEMORY: usize = (5 << 12) + size_of::<TryLock<Group>>();

const _: () = assert!(WAYS * MEMORY <= 5 << 12);

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Streams that have the same hash, as far as that says where they lie.
struct Group {
    streams: [Stream; WAYS],
    /// How many have come.
    clock: u32,
    memory: Vec<u8>,
}

/// The names that are spread over packets.
///
/// ```
/// use sluice_assembler::{Assembler, DEFAULT_MEMORY, HashKey};
///
/// let assembler = Assembler::try_new(DEFAULT_MEMORY, HashKey::new(0x5EED)).ok_or("no memory")?;
/// assert!(assembler.capacity() > 700);
/// # Ok::<(), &str>(())
/// ```
pub struct Assembler {
    key: HashKey,
    /// For each group 16 bits of the hash of each of its streams, to be looked at without using the group.
    tags: Vec<AtomicU64>,
    groups: Vec<TryLock<Group>>,
}

impl Assembler {
    /// An assembler of up to `memory` bytes: as many whole groups ([`GROUP_MEMORY`]) as fit. With none, it does
    /// nothing. `None` if there is not as much memory. PASSIVE_LEVEL in a kernel.
    #[must_use]
    pub fn try_new(memory: usize, key: HashKey) -> Option<Self> {
        let count = memory.checked_div(GROUP_MEMORY)?;
        let (mut tags, mut groups) = (Vec::new(), Vec::new());
        tags.try_reserve_exact(count).ok()?;
        tags.extend(iter::repeat_with(AtomicU64::default).take(count));
        groups.try_reserve_exact(count).ok()?;
        // Not by pushing: that would bring along the code, and the panic, of a vector that has to grow.
        let empty = || TryLock::new(Group { streams: [Stream::default(); WAYS], clock: 0, memory: Vec::new() });
        groups.extend(iter::repeat_with(empty).take(count));
        for group in &groups {
            let mut memory = Vec::new();
            memory.try_reserve_exact(const { WAYS * MEMORY }).ok()?;
            memory.extend(iter::repeat_n(0, const { WAYS * MEMORY }));
            group.try_with(|group| group.memory = memory)?;
        }
        Some(Self { key, tags, groups })
    }

    /// How many streams it holds at once.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.groups.len().wrapping_mul(WAYS)
    }

    /// Looks at a packet of which `flow` was read. If it makes a name known that is spread over packets, that is
    /// written to `name`, and `flow` says so. If a later packet will, `flow` says that it is pending; if it contradicts
    /// an earlier one, `flow` says that.
    ///
    /// `now` gives the time in milliseconds, from any start on. It is called for few packets.
    ///
    /// Up to DISPATCH_LEVEL, on any number of processors at once.
    #[inline]
    pub fn follow(
        &self,
        packet: &CapturedPacket<'_>,
        flow: &mut Flow,
        name: &mut Option<NameText>,
        now: impl FnOnce() -> u64,
    ) {
        if let Some((index, tag)) = self.place_of(flow) {
            self.look(index, &mut Looked { tag, now: now(), packet, flow, name });
        }
    }

    /// Whether [`follow`](Self::follow) would look at the payload of a packet with this flow. If not, it does nothing
    /// for the packet.
    #[inline]
    #[must_use]
    pub fn follows(&self, flow: &Flow) -> bool {
        self.place_of(flow).is_some()
    }

    /// The index of the group and the tag of the stream that a packet with this flow belongs to, or begins.
    #[inline]
    fn place_of(&self, flow: &Flow) -> Option<(usize, u16)> {
        if self.tags.is_empty() || !flow.has(flags::PORTS) || flow.has(flags::FRAGMENT) {
            return None;
        }
        let begins = match flow.protocol {
            protocol::TCP => {
                let opens = flow.tcp_flags & (SYN | ACK) == SYN;
                if !opens && flow.payload_length == 0 {
                    return None;
                }
                opens || flow.has(flags::NAME_MISSING)
            }
            protocol::UDP if flow.has(flags::QUIC) => flow.has(flags::NAME_MISSING),
            _ => return None,
        };
        let hash = self.key.hash(flow);
        let index = (u128::from(hash).wrapping_mul(self.tags.len() as u128) >> 64) as usize;
        // No stream has 0.
        let tag = hash as u16 | 1;
        let tags = self.tags.get(index)?;
        (begins || has_tag(tags.load(Ordering::Relaxed), tag)).then_some((index, tag))
    }

    #[cold]
    #[inline(never)]
    fn look(&self, index: usize, looked: &mut Looked<'_, '_>) {
        let (Some(tags), Some(group)) = (self.tags.get(index), self.groups.get(index)) else {
            return;
        };
        let answer = group.try_with(|group| {
            if looked.flow.protocol == protocol::TCP {
                group.segment(looked);
            } else {
                group.datagram(looked);
            }
            tags.store(group.tags(), Ordering::Relaxed);
        });
        if answer.is_none() && looked.flow.payload_length != 0 {
            looked.flow.flags |= flags::NAME_MISSING;
        }
    }
}

/// A packet that is looked at, and what is said of it.
struct Looked<'a, 'packet> {
    tag: u16,
    now: u64,
    packet: &'a CapturedPacket<'packet>,
    flow: &'a mut Flow,
    name: &'a mut Option<NameText>,
}

impl<'packet> Looked<'_, 'packet> {
    fn payload(&self) -> &'packet [u8] {
        let start = self.flow.payload_offset as usize;
        let end = start.wrapping_add(self.flow.payload_length as usize);
        self.packet.bytes.get(start..end).unwrap_or_default()
    }

    /// Whether a part of the packet was not captured, so that it is not known.
    fn is_cut(&self) -> bool {
        (self.packet.wire_length as usize) > self.packet.bytes.len()
    }

    fn say(&mut self, bits: u32) {
        self.flow.flags |= bits;
    }
}

/// Whether one of four tags is this one.
#[inline]
fn has_tag(tags: u64, tag: u16) -> bool {
    const ONES: u64 = 0x0001_0001_0001_0001;
    let differences = tags ^ u64::from(tag).wrapping_mul(ONES);
    // A difference of 0 borrows from its highest bit.
    differences.wrapping_sub(ONES) & !differences & ONES << 15 != 0
}

/// Where a stream lies.
enum Where {
    Nowhere,
    At(usize),
    /// There is more than one.
    Several,
}

impl Group {
    fn tags(&self) -> u64 {
        self.streams.iter().fold(0, |tags, stream| tags << 16 | u64::from(stream.tag))
    }

    /// Where the stream lies for which `is_it` holds.
    fn find(&self, is_it: impl Fn(&Stream) -> bool) -> Where {
        let mut places = (0..).zip(&self.streams).filter(|(_, stream)| stream.tag != 0 && is_it(stream));
        match (places.next(), places.next()) {
            (None, _) => Where::Nowhere,
            (Some((at, _)), None) => Where::At(at),
            (Some(_), Some(_)) => Where::Several,
        }
    }

    /// Makes room for a stream: in the place of the oldest, if there is no other and none has to be kept.
    fn admit(&mut self, stream: Stream) -> Option<usize> {
        self.clock = self.clock.wrapping_add(1);
        let age = |stream: &Stream| if stream.tag == 0 { u32::MAX } else { self.clock.wrapping_sub(stream.came) };
        let free = self.streams.iter().enumerate().filter(|(_, other)| other.tag == 0 || !other.is_kept(stream.seen));
        let (at, _) = free.max_by_key(|(_, other)| age(other))?;
        let came = self.clock;
        let (place, mut bytes) = self.at(at)?;
        *place = Stream { came, ..stream };
        bytes.clear();
        Some(at)
    }

    fn at(&mut self, at: usize) -> Option<(&mut Stream, Bytes<'_>)> {
        let memory = self.memory.chunks_exact_mut(MEMORY).nth(at)?;
        Some((self.streams.get_mut(at)?, Bytes::new(memory)?))
    }

    /// A segment of TCP, which has bytes or opens a connection.
    fn segment(&mut self, looked: &mut Looked<'_, '_>) {
        let start = (looked.flow.transport_offset as usize).wrapping_add(4);
        let number = looked.packet.bytes.get(start..).and_then(<[u8]>::first_chunk).copied();
        let Some(number) = number.map(u32::from_be_bytes) else {
            return;
        };
        let payload = looked.payload();
        let opens = looked.flow.tcp_flags & (SYN | ACK) == SYN;
        // SYN takes a number of its own (RFC 9293, 3.4).
        let number = number.wrapping_add(opens.into());
        let id = StreamId::of(looked.flow);
        let stream =
            Stream { id, first: number, tag: looked.tag, seen: looked.now, is_gapless: opens, ..Stream::default() };
        let has = |stream: &Stream| if opens { stream.first == number } else { stream.has(number, payload.len()) };
        let at = match self.find(|stream| stream.id == id && has(stream)) {
            Where::At(at) => Some(at),
            // Of which of two connections it is nobody can tell.
            Where::Several => return looked.say(flags::NAME_MISSING),
            Where::Nowhere if opens => self.admit(stream),
            // A segment whose name is missing for another reason than its end is a matter of its own.
            Where::Nowhere
                if looked.flow.has(flags::NAME_MISSING)
                    && read_stream(payload, &mut { *looked.flow }, looked.name) == Beginning::Short =>
            {
                self.admit(stream)
            }
            Where::Nowhere => None,
        };
        let Some((at, (stream, mut bytes))) = at.and_then(|at| Some((at, self.at(at)?))) else {
            return;
        };
        let offset = number.wrapping_sub(stream.first);
        let (skipped, offset) = if offset >> 31 == 0 { (0, offset) } else { (offset.wrapping_neg(), 0) };
        let payload = payload.get(skipped as usize..).unwrap_or_default();
        let agrees = put(&mut bytes, offset as usize, payload);
        // It names a host all by itself.
        let is_alone = agrees && offset == 0 && stream.progress == Progress::Opened && looked.flow.name_kind != 0;
        if is_alone && !looked.flow.has(flags::NAME_MISSING) {
            return self.end(at);
        }
        if outcome(stream, &bytes, offset as usize, agrees, looked, read_stream) == Outcome::Useless {
            self.end(at);
        }
    }

    /// A datagram of QUIC.
    fn datagram(&mut self, looked: &mut Looked<'_, '_>) {
        let id = StreamId::of(looked.flow);
        let payload = looked.payload();
        // There may be several connections between two ports, one behind the other. Each has its keys.
        for at in 0..WAYS {
            let Some((stream, mut bytes)) = self.at(at) else {
                return;
            };
            if stream.tag == 0 || stream.id != id {
                continue;
            }
            let (mut agrees, mut first) = (true, usize::MAX);
            let mut each = |at: usize, byte: u8| {
                agrees &= bytes.put(at, byte);
                first = first.min(at);
            };
            if let Some(opened) = read_crypto(payload, stream.connection.as_ref(), &mut each) {
                stream.is_gapless &= opened.is_whole;
                outcome(stream, &bytes, first, agrees, looked, read_handshake);
                return;
            }
        }
        if !looked.flow.has(flags::NAME_MISSING) {
            return;
        }
        let Some(opened) = read_crypto(payload, None, &mut |_, _| {}) else {
            return;
        };
        let (tag, seen, connection, is_gapless) = (looked.tag, looked.now, Some(opened.connection), opened.is_whole);
        let stream = Stream { id, tag, seen, connection, is_gapless, ..Stream::default() };
        let Some((stream, mut bytes)) = self.admit(stream).and_then(|at| self.at(at)) else {
            return;
        };
        let mut agrees = true;
        read_crypto(payload, None, &mut |at, byte| agrees &= bytes.put(at, byte));
        outcome(stream, &bytes, 0, agrees, looked, read_handshake);
    }

    fn end(&mut self, at: usize) {
        if let Some(stream) = self.streams.get_mut(at) {
            stream.tag = 0;
        }
    }
}

/// Puts the bytes of a segment in their places. `false` if others are there already.
fn put(bytes: &mut Bytes<'_>, offset: usize, payload: &[u8]) -> bool {
    let mut agrees = true;
    for (at, byte) in (offset..LENGTH).zip(payload) {
        agrees &= bytes.put(at, *byte);
    }
    agrees
}

/// What comes of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It stays: its name is to come, or it was in several packets and may be sent again or be contradicted.
    Stays,
    /// It does not name a host, or does so in one packet.
    Useless,
}

/// Says of a packet, which has bytes of `stream` from `offset` on, what is known with it.
fn outcome(
    stream: &mut Stream,
    bytes: &Bytes<'_>,
    offset: usize,
    agrees: bool,
    looked: &mut Looked<'_, '_>,
    read: fn(&[u8], &mut Flow, &mut Option<NameText>) -> Beginning,
) -> Outcome {
    stream.seen = looked.now;
    // What was not captured is never seen.
    stream.is_gapless &= !looked.is_cut();
    if !agrees {
        looked.say(flags::MALFORMED | flags::NAME_MISSING);
        return Outcome::Stays;
    }
    let beginning = bytes.beginning();
    let is_quic = looked.flow.has(flags::QUIC);
    let is_behind = matches!(stream.progress, Progress::Read(end) if offset >= usize::from(end));
    // In QUIC, a packet that contradicts itself has said enough.
    if is_behind || is_quic && looked.flow.has(flags::MALFORMED) {
        return Outcome::Stays;
    }
    if beginning.is_empty() {
        // A packet of QUIC that belongs to a handshake shows that, whatever part of it it has.
        if is_quic && stream.is_gapless {
            stream.progress = Progress::Pending;
            looked.flow.flags = looked.flow.flags & !flags::NAME_MISSING | flags::NAME_PENDING;
        }
        return Outcome::Stays;
    }
    // What the payload says by itself does not count: it is the middle of something.
    let CapturedPacket { link_type, bytes: packet, wire_length, .. } = *looked.packet;
    let mut whole = Flow::default();
    if parse_headers_into(link_type, packet, wire_length, &mut whole).is_err() {
        return Outcome::Stays;
    }
    whole.flags |= looked.flow.flags & (flags::QUIC | flags::TRUNCATED);
    whole.quic_version = looked.flow.quic_version;
    match read(beginning, &mut whole, looked.name) {
        Beginning::Read => {
            if !matches!(stream.progress, Progress::Read(_)) {
                stream.progress = Progress::Read(beginning.len() as u16);
            }
        }
        Beginning::Short if beginning.len() < LENGTH => {
            stream.progress = Progress::Pending;
            whole.flags |= if stream.is_gapless { flags::NAME_PENDING } else { flags::NAME_MISSING };
        }
        Beginning::Short => {
            stream.progress = Progress::Read(LENGTH as u16);
            whole.flags |= flags::NAME_MISSING;
        }
        Beginning::Other => return Outcome::Useless,
    }
    *looked.flow = whole;
    Outcome::Stays
}

impl core::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Assembler").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_seen_in_each_of_four_places() {
        for place in 0..4 {
            for tag in [1_u16, 3, 0x7FFF, 0x8001, 0xFFFF] {
                let tags = u64::from(tag) << (place * 16);
                assert!(has_tag(tags, tag) && !has_tag(tags, tag ^ 2) && !has_tag(0, tag));
            }
        }
    }

    #[test]
    fn a_packet_whose_group_is_in_use_says_that_its_name_is_missing() {
        let assembler = Assembler::try_new(GROUP_MEMORY, HashKey::new(1)).unwrap();
        let mut flow = Flow { flags: flags::PORTS, protocol: protocol::TCP, payload_length: 1, ..Flow::default() };
        let direction = sluice_core::Direction::Unspecified;
        let packet = CapturedPacket { direction, link_type: 101, wire_length: 0, bytes: &[], is_head: false };
        let mut looked = Looked { tag: 1, now: 0, packet: &packet, flow: &mut flow, name: &mut None };
        assembler.groups[0].try_with(|_| assembler.look(0, &mut looked));
        assert!(flow.has(flags::NAME_MISSING));
    }
}
