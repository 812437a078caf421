//! The parts of a packet that a policy depends on, in a form that is quick to compare.

use sluice_npi::Flow;

use super::node::{Tuple, Window};
use crate::Direction;

/// Which word of a [`Key`] holds what.
pub(crate) mod word {
    /// Source port in the high half, destination port in the low one; or ICMP type and code in their places.
    pub(crate) const PORTS: usize = 0;
    /// See [`super::meta`].
    pub(crate) const META: usize = 1;
    /// IPv4: the source.
    pub(crate) const SOURCE4: usize = 2;
    /// IPv4: the destination.
    pub(crate) const DESTINATION4: usize = 3;
    /// IPv6: the source, in four words.
    pub(crate) const SOURCE6: usize = 2;
    /// IPv6: the destination, in four words.
    pub(crate) const DESTINATION6: usize = 6;
}

/// The bits of the word of a packet's properties: the low half of [`sluice_npi::Flow::flags`] with a few changes.
pub(crate) mod meta {
    use sluice_npi::flags;

    /// The flags of a flow that a rule can depend on.
    pub(crate) const FLOW_FLAGS: u32 = flags::ADDRESSES
        | flags::PROTOCOL
        | flags::PORTS
        | flags::ICMP
        | flags::FRAGMENT
        | flags::LATER_FRAGMENT
        | flags::TRUNCATED
        | flags::MALFORMED
        | flags::QUIC;
    /// There is a VLAN tag. No rule depends on the flag whose bit this is, but by an extra condition.
    pub(crate) const TAGGED: u32 = flags::TCP_FLAGS;
    /// Flags whose bits are taken by the direction and by TCP. They move to bits of flags that no rule has.
    pub(crate) const MOVED: u32 = flags::NAME_MISSING | flags::ECH | flags::NAME_PENDING | flags::INNER;
    /// How many bits they move down.
    pub(crate) const MOVED_BY: u32 = 5;
    #[cfg(feature = "compile")]
    pub(crate) const NAME_MISSING: u32 = flags::NAME_MISSING >> MOVED_BY;
    #[cfg(feature = "compile")]
    pub(crate) const NAME_PENDING: u32 = flags::NAME_PENDING >> MOVED_BY;
    #[cfg(feature = "compile")]
    pub(crate) const ECH: u32 = flags::ECH >> MOVED_BY;
    /// The packet is one in a tunnel.
    pub(crate) const INNER: u32 = flags::INNER >> MOVED_BY;
    /// Where the two bits of the direction are.
    pub(crate) const DIRECTION_SHIFT: u32 = 14;
    #[cfg(feature = "compile")]
    pub(crate) const DIRECTION: u32 = 3 << DIRECTION_SHIFT;
    /// Where the TCP flags are.
    pub(crate) const TCP_FLAGS_SHIFT: u32 = 16;
    /// Where the protocol is.
    pub(crate) const PROTOCOL_SHIFT: u32 = 24;
    #[cfg(feature = "compile")]
    pub(crate) const PROTOCOL: u32 = 0xFF << PROTOCOL_SHIFT;

    const _: () = assert!(FLOW_FLAGS & (TAGGED | MOVED >> MOVED_BY) == 0 && MOVED >> MOVED_BY & TAGGED == 0);
    const _: () = assert!((FLOW_FLAGS | TAGGED | MOVED >> MOVED_BY) & !((1 << DIRECTION_SHIFT) - 1) == 0);
}

/// The words of [`word`], with zeros for what the packet does not have.
pub(crate) trait Key: Copy {
    const ZERO: Self;
    /// How many words there are: a power of two.
    const WORDS: usize;
    /// A mask for the index of a byte: an index cut down to it needs no check.
    const INDEX: usize = Self::WORDS.wrapping_mul(4).wrapping_sub(1);

    fn new(direction: Direction, flow: &Flow) -> Self;
    /// The key of these words; those that are not given are 0.
    #[cfg(feature = "compile")]
    fn of_words(words: &[u32]) -> Self;
    /// The words, least significant byte first.
    fn bytes(&self) -> &[u8];
    /// The parts of source and destination that `tuple` hashes.
    fn prefixes(&self, tuple: Tuple) -> [u64; 2];

    /// One of the words.
    #[inline]
    fn word(&self, index: usize) -> u32 {
        chunk(self.bytes(), index.wrapping_mul(4) & Self::INDEX).map_or(0, u32::from_le_bytes)
    }

    /// One of the bytes.
    #[inline]
    fn byte(&self, index: u8) -> u8 {
        self.bytes().get(usize::from(index) & Self::INDEX).copied().unwrap_or(0)
    }

    #[inline]
    fn ports(&self) -> u32 {
        self.word(word::PORTS)
    }

    #[inline]
    fn properties(&self) -> u32 {
        self.word(word::META)
    }

    /// The child that `tuple` picks.
    #[inline]
    fn child(&self, tuple: Tuple) -> u32 {
        let [source, destination] = self.prefixes(tuple);
        tuple.child(source, destination, self.ports(), self.properties() >> meta::PROTOCOL_SHIFT)
    }

    /// The bits of `window`.
    #[inline]
    fn window(&self, window: Window) -> u32 {
        self.word(window.word()) >> window.shift() & window.mask()
    }
}

#[inline]
fn chunk<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<[u8; SIZE]> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied()
}

/// The bytes of a key of these words.
#[inline]
fn bytes_of<const WORDS: usize, const BYTES: usize>(words: [u32; WORDS]) -> [u8; BYTES] {
    const { assert!(BYTES == WORDS * 4 && WORDS.is_power_of_two()) };
    let mut bytes = [0; BYTES];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The same for words that are counted only now.
#[cfg(feature = "compile")]
fn bytes_of_some<const BYTES: usize>(words: &[u32]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The key of a packet that is not IPv6.
#[derive(Clone, Copy)]
pub(crate) struct Key4([u8; 16]);

/// The key of an IPv6 packet.
#[derive(Clone, Copy)]
pub(crate) struct Key6([u8; 64]);

impl Key for Key4 {
    const ZERO: Self = Self([0; 16]);
    const WORDS: usize = 4;

    /// `flow` has IPv4 addresses or none, which then are 0.
    #[inline]
    fn new(direction: Direction, flow: &Flow) -> Self {
        let [source, ..] = words_of(&flow.source_address);
        let [destination, ..] = words_of(&flow.destination_address);
        Self(bytes_of([ports(flow), properties(direction, flow), source, destination]))
    }

    #[cfg(feature = "compile")]
    fn of_words(words: &[u32]) -> Self {
        Self(bytes_of_some(words))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[inline]
    fn prefixes(&self, tuple: Tuple) -> [u64; 2] {
        let source = u64::from(self.source()) >> (tuple.source_shift() & 63);
        let destination = u64::from(self.destination()) >> (tuple.destination_shift() & 63);
        [source, destination]
    }
}

impl Key for Key6 {
    const ZERO: Self = Self([0; 64]);
    const WORDS: usize = 16;

    #[inline]
    fn new(direction: Direction, flow: &Flow) -> Self {
        let [a, b, c, d] = words_of(&flow.source_address);
        let [e, f, g, h] = words_of(&flow.destination_address);
        Self(bytes_of([ports(flow), properties(direction, flow), a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0]))
    }

    #[cfg(feature = "compile")]
    fn of_words(words: &[u32]) -> Self {
        Self(bytes_of_some(words))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[inline]
    fn prefixes(&self, tuple: Tuple) -> [u64; 2] {
        [fold(self.source(), tuple.source_shift()), fold(self.destination(), tuple.destination_shift())]
    }
}

const _: () = assert!(word::SOURCE4 == 2 && word::DESTINATION4 == 3);
const _: () = assert!(word::SOURCE6 == 2 && word::DESTINATION6 == 6);

impl Key4 {
    #[inline]
    pub(crate) fn source(&self) -> u32 {
        self.word(word::SOURCE4)
    }

    #[inline]
    pub(crate) fn destination(&self) -> u32 {
        self.word(word::DESTINATION4)
    }
}

impl Key6 {
    #[inline]
    pub(crate) fn source(&self) -> u128 {
        self.address(word::SOURCE6)
    }

    #[inline]
    pub(crate) fn destination(&self) -> u128 {
        self.address(word::DESTINATION6)
    }

    #[inline]
    fn address(&self, first: usize) -> u128 {
        address([0, 1, 2, 3].map(|index: usize| self.word(first.wrapping_add(index))))
    }
}

/// An IPv6 address without its low bits, in 64 bits.
#[inline]
pub(crate) fn fold(address: u128, shift: u32) -> u64 {
    let address = address.checked_shr(shift).unwrap_or(0);
    (address as u64) ^ ((address >> 64) as u64).rotate_left(29)
}

/// The ports of a packet, or its ICMP type and code, as the word of a key.
#[inline]
pub(super) fn ports(flow: &Flow) -> u32 {
    // At most one of the two is there; the other is 0.
    halves(flow.source_port, flow.destination_port) | halves(flow.icmp_type.into(), flow.icmp_code.into())
}

/// The properties of a packet, as the word of a key.
#[inline]
pub(super) fn properties(direction: Direction, flow: &Flow) -> u32 {
    flow.flags & meta::FLOW_FLAGS
        | (flow.flags & meta::MOVED) >> meta::MOVED_BY
        | if flow.vlan_count == 0 { 0 } else { meta::TAGGED }
        | u32::from(direction.number()) << meta::DIRECTION_SHIFT
        | u32::from(flow.tcp_flags) << meta::TCP_FLAGS_SHIFT
        | u32::from(flow.protocol) << meta::PROTOCOL_SHIFT
}

/// The flags of a flow that a word of properties, or a mask of one, asks for.
pub(super) const fn flags_of(properties: u32) -> u32 {
    properties & meta::FLOW_FLAGS | properties << meta::MOVED_BY & meta::MOVED
}

#[inline]
pub(crate) const fn halves(high: u16, low: u16) -> u32 {
    (high as u32) << 16 | low as u32
}

/// The IPv6 address of four words.
#[inline]
pub(crate) const fn address([a, b, c, d]: [u32; 4]) -> u128 {
    (a as u128) << 96 | (b as u128) << 64 | (c as u128) << 32 | d as u128
}

/// The four words of an IPv6 address, most significant first.
#[cfg(feature = "compile")]
pub(crate) const fn parts_of(address: u128) -> [u32; 4] {
    [(address >> 96) as u32, (address >> 64) as u32, (address >> 32) as u32, address as u32]
}

/// The same for one that is still in network order.
#[inline]
pub(crate) fn words_of(address: &[u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(address.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}
