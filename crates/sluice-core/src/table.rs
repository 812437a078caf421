//! The layout of a policy table: a header, then sections of fixed-size records. `docs/policy-table.md` explains it.
//!
//! All numbers are little-endian. Nothing in a table is an address: a record refers to another by its index.

#[cfg(feature = "compile")]
use crate::Action;

/// The first four bytes of every table: "SLPT".
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"SLPT");

/// The version of the layout.
pub(crate) const VERSION: u32 = 2;

/// Sections start at multiples of this, so that records do not straddle cache lines.
pub(crate) const ALIGNMENT: usize = 64;

/// The size of the header in bytes.
pub(crate) const HEADER_SIZE: usize = 64;

/// The largest number of rules in a policy.
pub const MAX_RULES: usize = 200_000;

/// The largest number of combinations of addresses, ports and protocols that the rules of a policy may consist of.
pub const MAX_EXPANDED: usize = 1 << 20;

/// The largest number of entries in each section of a table: combinations may be there more than once.
pub(crate) const MAX_ENTRIES: usize = 1 << 22;

/// The largest table in bytes: offsets in it fit into 31 bits on every machine.
pub const MAX_TABLE_SIZE: usize = 1 << 30;

/// The largest number of entries in a leaf.
pub(crate) const MAX_LEAF: u32 = 1024;

/// How many records a search of one tree may visit, and one of all the trees of a host name together. A table in which
/// some packet could take more is refused. Compared in the
/// worst way, so many take a millisecond; the ClassBench sets of 100,000 rules need 1,600.
pub(crate) const MAX_WORK: u32 = 1 << 14;

/// How many subtrees may wait for their turn while another one is searched.
pub(crate) const MAX_PENDING: usize = 16;

/// A node has no more children than two to this, not counting its remainder.
pub(crate) const MAX_CHILD_BITS: u32 = 20;

/// How many slots a lookup of a name suffix looks at.
pub(crate) const MAX_PROBES: u32 = 16;

/// The longest name in a rule: the text of the longest DNS name (RFC 1035, 2.3.4).
pub const MAX_NAME_LENGTH: usize = 253;

/// The rule index that stands for no rule. It comes after all others.
pub(crate) const NO_RULE: u32 = 0x7FFF_FFFF;

/// The sizes of the records in bytes.
pub(crate) mod size {
    pub(crate) const RULE: usize = 8;
    pub(crate) const NODE: usize = 16;
    pub(crate) const ENTRY4: usize = 32;
    pub(crate) const ENTRY6: usize = 64;
    pub(crate) const SUFFIX: usize = 12;
    pub(crate) const SLOT: usize = 4;
    pub(crate) const WORD: usize = 4;
}

/// The words of a record.
#[inline]
pub(crate) fn words<const WORDS: usize, const BYTES: usize>(record: &[u8; BYTES]) -> [u32; WORDS] {
    const { assert!(WORDS * size::WORD == BYTES) };
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(record.as_chunks::<{ size::WORD }>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// How many records each section has, in the order of the header and of the sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// [`size::RULE`] bytes each: id; action and index of the extra conditions.
    pub(crate) rules: u32,
    /// The nodes of all trees; the roots come first.
    pub(crate) nodes: u32,
    pub(crate) entries4: u32,
    pub(crate) entries6: u32,
    /// Words of extra conditions. Word 0 is not used, so that 0 can stand for none.
    pub(crate) extra_words: u32,
    /// Distinct name suffixes.
    pub(crate) suffixes: u32,
    /// Slots of the hash table of suffixes: 0 or a power of two.
    pub(crate) slots: u32,
    /// Bytes of the texts of the suffixes.
    pub(crate) text_bytes: u32,
    /// Words of [filters](crate::filter). Word 0 is not used, so that 0 can stand for none.
    pub(crate) filter_words: u32,
}

impl Counts {
    #[cfg(feature = "compile")]
    pub(crate) const fn array(&self) -> [u32; 9] {
        [
            self.rules,
            self.nodes,
            self.entries4,
            self.entries6,
            self.extra_words,
            self.suffixes,
            self.slots,
            self.text_bytes,
            self.filter_words,
        ]
    }
}

/// Where each section starts, in bytes, and where the table ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    pub(crate) counts: Counts,
    pub(crate) rules: usize,
    pub(crate) nodes: usize,
    pub(crate) entries4: usize,
    pub(crate) entries6: usize,
    pub(crate) extra_words: usize,
    pub(crate) suffixes: usize,
    pub(crate) slots: usize,
    pub(crate) text: usize,
    pub(crate) filters: usize,
    pub(crate) end: usize,
}

impl Layout {
    /// The layout of a table with so many records, if it is not larger than [`MAX_TABLE_SIZE`].
    pub(crate) fn new(counts: Counts) -> Option<Self> {
        let mut end = HEADER_SIZE;
        let mut section = |count: u32, size: usize| {
            let start = end;
            let length = usize::try_from(count).ok()?.checked_mul(size)?;
            end = start.checked_add(length)?.checked_next_multiple_of(ALIGNMENT)?;
            (end <= MAX_TABLE_SIZE).then_some(start)
        };
        let mut layout = Self {
            counts,
            rules: section(counts.rules, size::RULE)?,
            nodes: section(counts.nodes, size::NODE)?,
            entries4: section(counts.entries4, size::ENTRY4)?,
            entries6: section(counts.entries6, size::ENTRY6)?,
            extra_words: section(counts.extra_words, size::WORD)?,
            suffixes: section(counts.suffixes, size::SUFFIX)?,
            slots: section(counts.slots, size::SLOT)?,
            text: section(counts.text_bytes, 1)?,
            filters: section(counts.filter_words, size::WORD)?,
            end: 0,
        };
        layout.end = end;
        Some(layout)
    }
}

/// A table, for those who look something up in it. Reading where nothing is gives nothing.
#[derive(Clone, Copy)]
pub(crate) struct Table<'table> {
    pub(crate) bytes: &'table [u8],
    pub(crate) layout: &'table Layout,
}

impl<'table> Table<'table> {
    /// Record `index` of the section at `start`. The section's end is not looked at: where it lies, the check of the table
    /// has seen to it that no index leads beyond it.
    #[inline]
    pub(crate) fn record<const SIZE: usize>(&self, start: usize, index: u32) -> Option<&'table [u8; SIZE]> {
        // Sections start at multiples of SIZE, so that one comparison is enough.
        const { assert!(SIZE.is_power_of_two() && SIZE <= ALIGNMENT) };
        self.bytes.as_chunks().0.get((start >> SIZE.trailing_zeros()).wrapping_add(index as usize))
    }

    #[inline]
    pub(crate) fn node(&self, index: u32) -> Option<Node> {
        self.record::<{ size::NODE }>(self.layout.nodes, index).map(Node::read)
    }

    /// The id of rule `index` and its second word.
    #[inline]
    pub(crate) fn rule(&self, index: u32) -> Option<(u32, u32)> {
        if index >= self.layout.counts.rules {
            return None;
        }
        let [id, word] = words(self.record::<{ size::RULE }>(self.layout.rules, index)?);
        Some((id, word))
    }

    /// Word `index` of the section at `start`.
    #[inline]
    pub(crate) fn word(&self, start: usize, index: u32) -> Option<u32> {
        self.record(start, index).copied().map(u32::from_le_bytes)
    }

    /// The section of filters, which is the last, from the one at `index` on.
    #[inline]
    pub(crate) fn filter(&self, index: u32) -> Option<&'table [u8]> {
        let start = (index as usize).wrapping_mul(size::WORD).wrapping_add(self.layout.filters);
        self.bytes.get(start..)
    }
}

/// The word of a [`Key`](crate::key::Key) that something is in.
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

/// The bits of the word of a packet's properties: the low half of [`sluice_npi::Flow::flags`] with three additions.
pub(crate) mod meta {
    use sluice_npi::flags;

    /// The flags of a flow that a rule can depend on.
    pub(crate) const FLOW_FLAGS: u32 = flags::ADDRESSES
        | flags::PROTOCOL
        | flags::PORTS
        | flags::ICMP
        | flags::TCP_FLAGS
        | flags::FRAGMENT
        | flags::LATER_FRAGMENT
        | flags::TRUNCATED
        | flags::MALFORMED
        | flags::ETHER_TYPE;
    /// There is a VLAN tag. The bit is one of a flag that no rule depends on.
    pub(crate) const TAGGED: u32 = flags::MACSEC;
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

    const _: () = assert!(FLOW_FLAGS & TAGGED == 0 && FLOW_FLAGS < 1 << DIRECTION_SHIFT);
}

/// The trees that a table has: the index of the root of each.
pub(crate) mod root {
    pub(crate) const IPV4: u32 = 0;
    pub(crate) const IPV6: u32 = 1;
    /// Packets that are not IP.
    pub(crate) const OTHER: u32 = 2;
    /// Two roots for each name suffix follow: IPv4 and IPv6.
    pub(crate) const FIRST_SUFFIX: u32 = 3;
    pub(crate) const PER_SUFFIX: u32 = 2;

    /// Whether the root at `index` is that of an IPv6 tree.
    pub(crate) const fn is_wide(index: u32) -> bool {
        index == IPV6 || (index >= FIRST_SUFFIX && index.wrapping_sub(FIRST_SUFFIX) % PER_SUFFIX == 1)
    }
}

/// The kinds of extra conditions. A condition is a word with its kind in the low 8 bits and the number of its items
/// above them, then the items.
pub(crate) mod extra {
    /// The last condition of a rule.
    pub(crate) const END: u32 = 0;
    /// One word each.
    pub(crate) const LINK_TYPES: u32 = 1;
    /// One word each: first id in the low half, last in the high half.
    pub(crate) const VLANS: u32 = 2;
    /// One word each.
    pub(crate) const ETHER_TYPES: u32 = 3;
    /// Eight words, a bit for each protocol; always one item.
    pub(crate) const PROTOCOLS: u32 = 4;
    /// One word each, as VLANS. Sorted and disjoint, as all ranges below.
    pub(crate) const SOURCE_PORTS: u32 = 5;
    /// One word each.
    pub(crate) const DESTINATION_PORTS: u32 = 6;
    /// One word each: type in bits 0 to 7, first code in bits 8 to 15, last code in bits 16 to 23. Sorted and disjoint.
    pub(crate) const ICMP: u32 = 7;
    /// Two words each: first and last address. Holds for IPv6 packets, whose sources are another condition.
    pub(crate) const SOURCES4: u32 = 8;
    /// Two words each.
    pub(crate) const DESTINATIONS4: u32 = 9;
    /// Eight words each, most significant first. Holds for IPv4 packets.
    pub(crate) const SOURCES6: u32 = 10;
    /// Eight words each.
    pub(crate) const DESTINATIONS6: u32 = 11;

    /// How many words an item has.
    pub(crate) const fn item_words(kind: u32) -> Option<usize> {
        match kind {
            LINK_TYPES | VLANS | ETHER_TYPES | SOURCE_PORTS | DESTINATION_PORTS | ICMP => Some(1),
            SOURCES4 | DESTINATIONS4 => Some(2),
            PROTOCOLS | SOURCES6 | DESTINATIONS6 => Some(8),
            _ => None,
        }
    }
}

/// The second word of a rule: its action in the highest bit, the index of its extra conditions (0 for none) below.
#[cfg(feature = "compile")]
pub(crate) const fn rule_word(action: Action, extra: u32) -> u32 {
    match action {
        Action::Permit => extra & !RULE_BLOCKS,
        Action::Block => extra | RULE_BLOCKS,
    }
}

pub(crate) const RULE_BLOCKS: u32 = 1 << 31;

/// Set in the rule of an entry whose rule has extra conditions.
pub(crate) const ENTRY_HAS_EXTRA: u32 = 1 << 31;

/// A node of a tree: what to do with a packet, and where to go on.
///
/// A leaf is a run of entries. An inner node picks one of its children by one or two windows of bits of the key, or by a
/// hash; what these do not tell apart is in a remainder, the first of its children, which is searched as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The first child, or the first entry.
    pub(crate) base: u32,
    /// The first rule in the subtree, or [`NO_RULE`].
    pub(crate) first_rule: u32,
    /// A leaf: [`Node::LEAF`] and the number of entries. An inner node: its windows. Both: [`Node::WIDE`].
    pub(crate) control: u32,
    /// An inner node: how many records a search of the subtree visits at most (low 24 bits), and how many subtrees may be
    /// pending on the way (above). A leaf: the index of its filter, 0 for none.
    pub(crate) claim: u32,
}

impl Node {
    /// A leaf without entries.
    pub(crate) const EMPTY: Self = Self { base: 0, first_rule: NO_RULE, control: Self::LEAF, claim: 0 };
    pub(crate) const LEAF: u32 = 1 << 31;
    pub(crate) const REMAINDER: u32 = 1 << 30;
    /// The node belongs to an IPv6 tree.
    pub(crate) const WIDE: u32 = 1 << 29;
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
        self.control & !(Self::LEAF | Self::WIDE)
    }

    #[inline]
    pub(crate) const fn is_wide(&self) -> bool {
        self.control & Self::WIDE != 0
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

/// Parts of the key that are hashed together (tuple space search, Srinivasan et al., SIGCOMM 1999): how many low bits of
/// the source (8 bits) and of the destination (8 bits) are left out, how many bits the hash has (5 bits), and whether the
/// source port, the destination port and the protocol belong to it. Higher bits are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple(pub(crate) u32);

impl Tuple {
    pub(crate) const SOURCE_PORT: u32 = 1 << 21;
    pub(crate) const DESTINATION_PORT: u32 = 1 << 22;
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

    /// The child for these parts of a key, of which the addresses are without the bits that are left out.
    #[inline]
    pub(crate) const fn child(self, source: u64, destination: u64, ports: u32, protocol: u32) -> u32 {
        // Odd numbers without a pattern. The high bits of a product depend on all bits of its factors.
        const FACTORS: [u64; 3] = [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9];
        let mut rest = 0;
        if self.0 & Self::SOURCE_PORT != 0 {
            rest |= ports & 0xFFFF_0000;
        }
        if self.0 & Self::DESTINATION_PORT != 0 {
            rest |= ports & 0xFFFF;
        }
        let mut rest = rest as u64;
        if self.0 & Self::PROTOCOL != 0 {
            rest |= (protocol as u64) << 32;
        }
        let hash =
            source.wrapping_mul(FACTORS[0]) ^ destination.wrapping_mul(FACTORS[1]) ^ rest.wrapping_mul(FACTORS[2]);
        (hash >> 32) as u32 >> (32_u32.wrapping_sub(self.bits()) & 31)
    }
}
