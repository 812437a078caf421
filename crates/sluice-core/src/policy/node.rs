//! Nodes of the trees: where a packet goes on, by windows of its key or by a hash.

use super::key::Key;
use super::table::{NO_RULE, size, words};

/// A node of a tree: what to do with a packet, and where to go on.
///
/// A leaf is a run of entries. An inner node picks one of its children by one or two windows of bits of the key, or by
/// a hash; what these do not tell apart is in a remainder, the first of its children, which is searched as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The first child, or the first entry.
    pub(crate) base: u32,
    /// The first rule in the subtree, or [`NO_RULE`].
    pub(crate) first_rule: u32,
    /// A leaf: [`Node::LEAF`] and the number of entries. An inner node: its windows. Both: [`Node::IPV6`].
    pub(crate) control: u32,
    /// An inner node: how many records a search of the subtree visits at most (low 24 bits), and how many subtrees may
    /// be pending on the way (above). A leaf: the index of its filter, 0 for none.
    pub(crate) claim: u32,
}

impl Node {
    /// A leaf without entries.
    pub(crate) const EMPTY: Self = Self { base: 0, first_rule: NO_RULE, control: Self::LEAF, claim: 0 };
    pub(crate) const LEAF: u32 = 1 << 31;
    pub(crate) const REMAINDER: u32 = 1 << 30;
    /// The node belongs to an IPv6 tree.
    pub(crate) const IPV6: u32 = 1 << 29;
    /// An inner node whose child is found by a [`Tuple`] instead of windows.
    pub(crate) const TUPLE: u32 = 1 << 28;
    pub(crate) const WINDOW_BITS: u32 = 13;
    pub(crate) const WORK_MASK: u32 = 0x00FF_FFFF;
    pub(crate) const PENDING_SHIFT: u32 = 24;

    #[inline]
    pub(crate) fn read(bytes: &[u8; size::NODE]) -> Self {
        let [base, first_rule, control, claim] = words(bytes);
        Self { base, first_rule, control, claim }
    }

    #[inline]
    pub(crate) const fn is_leaf(&self) -> bool {
        self.control & Self::LEAF != 0
    }

    #[inline]
    pub(crate) const fn entry_count(&self) -> u32 {
        self.control & !(Self::LEAF | Self::IPV6)
    }

    #[inline]
    pub(crate) const fn is_ipv6(&self) -> bool {
        self.control & Self::IPV6 != 0
    }

    #[inline]
    pub(crate) const fn has_remainder(&self) -> bool {
        self.control & Self::REMAINDER != 0
    }

    #[inline]
    pub(crate) const fn first_window(&self) -> Window {
        Window(self.control)
    }

    #[inline]
    pub(crate) const fn second_window(&self) -> Window {
        Window(self.control >> Self::WINDOW_BITS)
    }

    /// The index of a leaf's filter.
    #[inline]
    pub(crate) const fn filter(&self) -> Option<u32> {
        if self.claim == 0 { None } else { Some(self.claim) }
    }

    /// How the child is found, unless by windows.
    #[inline]
    pub(crate) const fn tuple(&self) -> Option<Tuple> {
        if self.control & Self::TUPLE == 0 { None } else { Some(Tuple(self.control)) }
    }

    /// Whether this is a hash table, and what it does not hold is in a remainder.
    #[inline]
    pub(crate) const fn is_table(&self) -> bool {
        const TABLE: u32 = Node::TUPLE | Node::REMAINDER;
        self.control & (Self::LEAF | TABLE) == TABLE
    }

    /// Which child of a hash table a packet with `key` goes to, see [`child`](Self::child).
    #[inline]
    pub(crate) fn table_child(&self, key: &impl Key) -> u32 {
        key.child(Tuple(self.control))
    }

    /// Which child a packet with `key` goes to, counted from the first that is no remainder.
    #[inline]
    pub(crate) fn child(&self, key: &impl Key) -> u32 {
        match self.tuple() {
            Some(tuple) => key.child(tuple),
            None => {
                let (a, b) = (self.first_window(), self.second_window());
                key.window(a) << b.bits() | key.window(b)
            }
        }
    }

    /// How many children there are, as a power of two, not counting a remainder.
    pub(crate) const fn child_bits(&self) -> u32 {
        match self.tuple() {
            Some(tuple) => tuple.bits(),
            None => self.first_window().bits().wrapping_add(self.second_window().bits()),
        }
    }

    /// How many records a search of the subtree visits at most.
    pub(crate) const fn work(&self) -> u32 {
        if self.is_leaf() { self.entry_count().wrapping_add(1) } else { self.claim & Self::WORK_MASK }
    }

    /// How many subtrees may be pending on the way through this one.
    pub(crate) const fn pending(&self) -> u32 {
        if self.is_leaf() { 0 } else { self.claim >> Self::PENDING_SHIFT }
    }
}

/// Some bits of a word of the key: word (4 bits), shift (5 bits), number of bits (4 bits). Higher bits are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window(pub(crate) u32);

impl Window {
    #[cfg(feature = "compile")]
    pub(crate) const fn new(word: u32, shift: u32, bits: u32) -> Self {
        Self(word | shift << 4 | bits << 9)
    }

    #[inline]
    pub(crate) const fn word(self) -> usize {
        (self.0 & 0xF) as usize
    }

    #[inline]
    pub(crate) const fn shift(self) -> u32 {
        self.0 >> 4 & 0x1F
    }

    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0 >> 9 & 0xF
    }

    #[inline]
    pub(crate) const fn mask(self) -> u32 {
        (1_u32 << self.bits()).wrapping_sub(1)
    }
}

/// Parts of the key that are hashed together (tuple space search, Srinivasan et al., SIGCOMM 1999): how many low bits
/// of the source (8 bits) and of the destination (8 bits) are left out, how many bits the hash has (5 bits), and
/// whether the source port, the destination port and the protocol belong to it. Higher bits are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple(pub(crate) u32);

impl Tuple {
    pub(crate) const SOURCE_PORT: u32 = 1 << 21;
    #[cfg(feature = "compile")]
    pub(crate) const DESTINATION_PORT: u32 = 1 << 22;
    #[cfg(feature = "compile")]
    pub(crate) const PROTOCOL: u32 = 1 << 23;

    #[cfg(feature = "compile")]
    pub(crate) const fn new(source_shift: u32, destination_shift: u32, bits: u32, parts: u32) -> Self {
        Self(source_shift | destination_shift << 8 | bits << 16 | parts)
    }

    #[inline]
    pub(crate) const fn source_shift(self) -> u32 {
        self.0 & 0xFF
    }

    #[inline]
    pub(crate) const fn destination_shift(self) -> u32 {
        self.0 >> 8 & 0xFF
    }

    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0 >> 16 & 0x1F
    }

    /// Which bits of protocol and ports belong to it: those of the protocol from bit 32 on, those of the ports below.
    #[inline]
    fn part_mask(self) -> u64 {
        const S: u64 = 0xFFFF_0000;
        const D: u64 = 0xFFFF;
        const P: u64 = 0xFF << 32;
        const MASKS: [u64; 8] = [0, S, D, D | S, P, P | S, P | D, P | D | S];
        let parts = self.0 >> Self::SOURCE_PORT.trailing_zeros() & 7;
        MASKS.get(parts as usize).copied().unwrap_or(0)
    }

    /// The child for these parts of a key, of which the addresses are without the bits that are left out.
    #[inline]
    pub(crate) fn child(self, source: u64, destination: u64, ports: u32, protocol: u32) -> u32 {
        // Odd numbers without a pattern. The high bits of a product depend on all bits of its factors.
        const FACTORS: [u64; 3] = [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9];
        let rest = ((protocol as u64) << 32 | ports as u64) & self.part_mask();
        let hash =
            source.wrapping_mul(FACTORS[0]) ^ destination.wrapping_mul(FACTORS[1]) ^ rest.wrapping_mul(FACTORS[2]);
        // 64 bits wide, so that no bits at all are 0: the one child that there is.
        ((hash >> 32) >> (32_u32.wrapping_sub(self.bits()) & 63)) as u32
    }
}
