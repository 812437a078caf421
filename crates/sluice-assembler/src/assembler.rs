//! Which packets are kept, and when their name is known.

use alloc::vec::Vec;
use core::iter;
use core::sync::atomic::{AtomicU64, Ordering};

use sluice_core::stream::{Beginning, read_crypto, read_handshake, read_stream};
use sluice_core::{CapturedPacket, NameText, parse_headers_into, protocol};
use sluice_npi::{Flow, flags};

use crate::hash::{HashKey, StreamId};
use crate::stream::{Bytes, LENGTH, MEMORY, Stream};
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
    /// written to `name`, and `flow` says so; if it contradicts an earlier one, `flow` says that.
    ///
    /// Up to DISPATCH_LEVEL, on any number of processors at once.
    #[inline]
    pub fn follow(&self, packet: &CapturedPacket<'_>, flow: &mut Flow, name: &mut Option<NameText>) {
        if self.tags.is_empty() || !flow.has(flags::PORTS) || flow.has(flags::FRAGMENT) {
            return;
        }
        let begins = match flow.protocol {
            protocol::TCP => {
                let opens = flow.tcp_flags & (SYN | ACK) == SYN;
                if !opens && flow.payload_length == 0 {
                    return;
                }
                opens || flow.has(flags::NAME_MISSING)
            }
            protocol::UDP if flow.has(flags::QUIC) => flow.has(flags::NAME_MISSING),
            _ => return,
        };
        let hash = self.key.hash(flow);
        let index = (u128::from(hash).wrapping_mul(self.tags.len() as u128) >> 64) as usize;
        // No stream has 0.
        let tag = hash as u16 | 1;
        let Some(tags) = self.tags.get(index) else {
            return;
        };
        if begins || has_tag(tags.load(Ordering::Relaxed), tag) {
            self.look(index, tag, packet, flow, name);
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&self, index: usize, tag: u16, packet: &CapturedPacket<'_>, flow: &mut Flow, name: &mut Option<NameText>) {
        let (Some(tags), Some(group)) = (self.tags.get(index), self.groups.get(index)) else {
            return;
        };
        let looked = group.try_with(|group| {
            if flow.protocol == protocol::TCP {
                group.segment(tag, packet, flow, name);
            } else {
                group.datagram(tag, packet, flow, name);
            }
            tags.store(group.tags(), Ordering::Relaxed);
        });
        if looked.is_none() && flow.payload_length != 0 {
            flow.flags |= flags::NAME_MISSING;
        }
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

impl Group {
    fn tags(&self) -> u64 {
        self.streams.iter().fold(0, |tags, stream| tags << 16 | u64::from(stream.tag))
    }

    /// Where the stream of this flow lies.
    fn find(&self, id: &StreamId) -> Option<usize> {
        self.streams.iter().position(|stream| stream.tag != 0 && stream.id == *id)
    }

    /// Makes room for a stream, in the place of the oldest if there is no other.
    fn admit(&mut self, stream: Stream) -> usize {
        self.clock = self.clock.wrapping_add(1);
        let age = |stream: &Stream| if stream.tag == 0 { u32::MAX } else { self.clock.wrapping_sub(stream.came) };
        let oldest = self.streams.iter().enumerate().max_by_key(|(_, stream)| age(stream));
        let at = oldest.map_or(0, |(at, _)| at);
        let came = self.clock;
        if let Some((place, mut bytes)) = self.at(at) {
            *place = Stream { came, ..stream };
            bytes.clear();
        }
        at
    }

    fn at(&mut self, at: usize) -> Option<(&mut Stream, Bytes<'_>)> {
        let memory = self.memory.chunks_exact_mut(MEMORY).nth(at)?;
        Some((self.streams.get_mut(at)?, Bytes::new(memory)?))
    }

    /// A segment of TCP, which has bytes or opens a connection.
    fn segment(&mut self, tag: u16, packet: &CapturedPacket<'_>, flow: &mut Flow, name: &mut Option<NameText>) {
        let id = StreamId::of(flow);
        let number = packet.bytes.get((flow.transport_offset as usize).wrapping_add(4)..).and_then(<[u8]>::first_chunk);
        let Some(number) = number.copied().map(u32::from_be_bytes) else {
            return;
        };
        let start = flow.payload_offset as usize;
        let payload = packet.bytes.get(start..start.wrapping_add(flow.payload_length as usize)).unwrap_or_default();
        let opens = flow.tcp_flags & (SYN | ACK) == SYN;
        // SYN takes a number of its own (RFC 9293, 3.4).
        let number = number.wrapping_add(opens.into());
        let stream = Stream { id, first: number, tag, ..Stream::default() };
        let at = match self.find(&id) {
            // A connection that takes the place of one with the same ports.
            Some(at) if opens && self.streams.get(at).is_some_and(|stream| stream.first != number) => {
                self.end(at);
                self.admit(stream)
            }
            Some(at) => at,
            None if opens => self.admit(stream),
            // A segment whose name is missing for another reason than its end is a matter of its own.
            None if read_stream(payload, &mut { *flow }, name) == Beginning::Short => self.admit(stream),
            None => return,
        };
        let Some((stream, mut bytes)) = self.at(at) else {
            return;
        };
        let offset = number.wrapping_sub(stream.first);
        // In front of the first byte, if it is more than half of all numbers away (RFC 9293, 3.4).
        let (skipped, offset) = if offset >> 31 == 0 { (0, offset) } else { (offset.wrapping_neg(), 0) };
        let payload = payload.get(skipped as usize..).unwrap_or_default();
        let agrees = put(&mut bytes, offset as usize, payload);
        // It names a host all by itself.
        if offset == 0 && !stream.is_read && flow.name_kind != 0 && !flow.has(flags::NAME_MISSING) {
            return self.end(at);
        }
        let outcome = outcome(stream, &bytes, agrees, packet, flow, name, read_stream);
        if outcome == Outcome::Useless {
            self.end(at);
        }
    }

    /// A datagram of QUIC.
    fn datagram(&mut self, tag: u16, packet: &CapturedPacket<'_>, flow: &mut Flow, name: &mut Option<NameText>) {
        let id = StreamId::of(flow);
        let start = flow.payload_offset as usize;
        let payload = packet.bytes.get(start..start.wrapping_add(flow.payload_length as usize)).unwrap_or_default();
        let known = self.find(&id);
        let mut at = known;
        if let Some((stream, mut bytes)) = known.and_then(|at| self.at(at)) {
            let mut agrees = true;
            let mut each = |at: usize, byte: u8| agrees &= bytes.put(at, byte);
            if read_crypto(payload, stream.connection.as_ref(), &mut each).is_some() {
                outcome(stream, &bytes, agrees, packet, flow, name, read_handshake);
                return;
            }
            // Another connection between the same ports.
            at = None;
        }
        if at.is_none() && flow.has(flags::NAME_MISSING) {
            let Some(connection) = read_crypto(payload, None, &mut |_, _| {}) else {
                return;
            };
            if let Some(at) = known {
                self.end(at);
            }
            let stream = Stream { id, tag, connection: Some(connection), ..Stream::default() };
            let at = self.admit(stream);
            if let Some((_, mut bytes)) = self.at(at) {
                read_crypto(payload, None, &mut |at, byte| {
                    // Nothing is there that it could contradict.
                    let _ = bytes.put(at, byte);
                });
            }
        }
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
    /// It stays: its name is to come, or it was in several packets and may yet be contradicted.
    Stays,
    /// It does not name a host, or does so in one packet.
    Useless,
}

fn outcome(
    stream: &mut Stream,
    bytes: &Bytes<'_>,
    agrees: bool,
    packet: &CapturedPacket<'_>,
    flow: &mut Flow,
    name: &mut Option<NameText>,
    read: fn(&[u8], &mut Flow, &mut Option<NameText>) -> Beginning,
) -> Outcome {
    if !agrees {
        flow.flags |= flags::MALFORMED | flags::NAME_MISSING;
        return Outcome::Stays;
    }
    let beginning = bytes.beginning();
    // A packet with a name that was put together keeps it.
    if stream.is_read || beginning.is_empty() || flow.has(flags::NAME_ASSEMBLED) {
        return Outcome::Stays;
    }
    // What the payload says by itself does not count: it is the middle of something.
    let mut whole = Flow::default();
    if parse_headers_into(packet.link_type, packet.bytes, packet.wire_length, &mut whole).is_err() {
        return Outcome::Stays;
    }
    whole.flags |= flow.flags & flags::QUIC;
    whole.quic_version = flow.quic_version;
    match read(beginning, &mut whole, name) {
        Beginning::Read => {
            *flow = whole;
            stream.is_read = true;
            Outcome::Stays
        }
        Beginning::Short if beginning.len() < LENGTH => Outcome::Stays,
        Beginning::Short => {
            stream.is_read = true;
            flow.flags |= flags::NAME_MISSING;
            Outcome::Stays
        }
        Beginning::Other => Outcome::Useless,
    }
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
        let packet = CapturedPacket { direction, link_type: 101, wire_length: 0, bytes: &[] };
        assembler.groups[0].try_with(|_| assembler.look(0, 1, &packet, &mut flow, &mut None));
        assert!(flow.has(flags::NAME_MISSING));
    }
}
