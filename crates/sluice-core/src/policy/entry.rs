//! Entries: the boxes of the space of all packets that a rule covers, as the leaves of the trees hold them.
//!
//! An entry is compared without a branch until the end: which of its parts fails is as good as random, and a branch
//! that is not foreseen costs more than all of the comparison.

#[cfg(feature = "compile")]
use super::key::parts_of;
use super::key::{Key, Key4, Key6, address};
use super::table::{MAX_RULES, RULE_BLOCKS, RULE_EXTRA, Table, halves, root, size, words};
use crate::{Action, Decision};

/// What both kinds of entries have: everything but the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    /// The first source port and the first destination port.
    pub(crate) first_ports: u32,
    /// The last source port and the last destination port.
    pub(crate) last_ports: u32,
    /// What the properties in `meta_mask` have to be.
    pub(crate) meta_value: u32,
    pub(crate) meta_mask: u32,
    /// The rule.
    pub(crate) found: Found,
}

#[cfg(test)]
impl Common {
    /// Every packet, for the first of the rules, which permits.
    pub(crate) const ANY: Self =
        Self { first_ports: 0, last_ports: u32::MAX, meta_value: 0, meta_mask: 0, found: Found::of_rule(0, (1, 0)) };
}

/// What an entry says of its rule, so that a search that ends there has nothing else to read: the rule's index in the
/// highest bits, so that an earlier one is less; whether it has extra conditions; whether it blocks; the id in the low
/// half. The bits between are used by the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found(u64);

impl Found {
    const INDEX_SHIFT: u32 = 46;
    const HAS_EXTRA: u64 = 1 << 45;
    const BLOCKS: u64 = 1 << 44;
    /// The bits of the higher half that are the entry's.
    const OTHER_BITS: u32 = (1 << 12) - 1;

    /// Rule `index`, by its id and its second word.
    pub(crate) const fn of_rule(index: u32, (id, word): (u32, u32)) -> Self {
        let has_extra = if word & RULE_EXTRA == 0 { 0 } else { Self::HAS_EXTRA };
        let blocks = if word & RULE_BLOCKS == 0 { 0 } else { Self::BLOCKS };
        Self((index as u64) << Self::INDEX_SHIFT | has_extra | blocks | id as u64)
    }

    /// No rule: it comes after all others, has the id 0, and does what is done by default.
    pub(crate) const fn nothing(default_action: Action) -> Self {
        let blocks = match default_action {
            Action::Permit => 0,
            Action::Block => Self::BLOCKS,
        };
        Self(u64::MAX << Self::INDEX_SHIFT | blocks)
    }

    /// The index of the rule; more than any rule has, if there is none.
    #[inline]
    pub(crate) const fn rule(self) -> u32 {
        (self.0 >> Self::INDEX_SHIFT) as u32
    }

    #[inline]
    pub(crate) const fn has_extra(self) -> bool {
        self.0 & Self::HAS_EXTRA != 0
    }

    /// What the rule decides; or, if it decides nothing, whether it logs, as a block.
    #[inline]
    pub(crate) const fn decision(self) -> Decision {
        let action = if self.0 & Self::BLOCKS == 0 { Action::Permit } else { Action::Block };
        Decision { action, rule_id: self.0 as u32 }
    }

    /// The two words of an entry that have this, and in the second one room for [`OTHER_BITS`](Self::OTHER_BITS).
    #[inline]
    const fn of_words(id: u32, shape: u32) -> Self {
        Self((shape as u64) << 32 | id as u64)
    }

    #[cfg(feature = "compile")]
    const fn words(self) -> [u32; 2] {
        [self.0 as u32, (self.0 >> 32) as u32]
    }
}

const _: () = assert!((MAX_RULES as u64) < u64::MAX >> Found::INDEX_SHIFT);

/// 0 if ports and properties are as they should be, by the bytes that [`Common`] starts with.
#[inline]
fn mismatch(bytes: &[u8; 16], key: &impl Key) -> u32 {
    // Ports are read by themselves, not cut out of words: a processor compares them where they are.
    let [first_destination, first_source, last_destination, last_source, ..] = halves::<8, _>(bytes);
    let [_, _, meta_value, meta_mask] = words(bytes);
    let [source, destination] = [(key.ports() >> 16) as u16, key.ports() as u16];
    let out_of_range = (destination < first_destination)
        | (destination > last_destination)
        | (source < first_source)
        | (source > last_source);
    u32::from(out_of_range) | (key.properties() ^ meta_value) & meta_mask
}

/// An entry of an IPv4 tree, or of the tree for packets that are not IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry4 {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    /// How many low bits of the addresses do not count: 0 to 32.
    pub(crate) source_shift: u32,
    pub(crate) destination_shift: u32,
    pub(crate) common: Common,
}

/// An entry of an IPv6 tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry6 {
    pub(crate) source: u128,
    pub(crate) destination: u128,
    /// How many low bits of the addresses do not count: 0 to 128.
    pub(crate) source_shift: u32,
    pub(crate) destination_shift: u32,
    pub(crate) common: Common,
}

/// A record of a section of entries.
pub(crate) trait Entry: Sized {
    /// Its bytes.
    type Bytes: for<'bytes> TryFrom<&'bytes [u8]> + AsRef<[u8]>;
    /// What it is compared with.
    type Key: Key;
    /// The root of their tree, and its place among the roots of a name suffix.
    const ROOT: u32;

    /// Those of entry `index`.
    fn bytes<'table>(table: &Table<'table>, index: u32) -> Option<&'table Self::Bytes>;
    /// Those of `count` entries from `index` on.
    fn run<'table>(table: &Table<'table>, index: u32, count: u32) -> Option<&'table [Self::Bytes]>;
    fn read(bytes: &Self::Bytes) -> Self;
    fn common(&self) -> &Common;
    /// Whether the entry with these bytes is as `key` is, but for extra conditions of its rule.
    fn matches(bytes: &Self::Bytes, key: &Self::Key) -> bool;
    /// The rule of the entry with these bytes.
    fn found(bytes: &Self::Bytes) -> Found;
    /// The first 32 bits of source and destination, each with those that count.
    fn first_words(&self) -> [(u32, u32); 2];
    /// Whether all bits outside of values are 0, and all values within their limits.
    fn is_canonical(&self, bytes: &Self::Bytes) -> bool;
    #[cfg(feature = "compile")]
    fn write(&self) -> Self::Bytes;
}

impl Entry for Entry4 {
    type Bytes = [u8; size::ENTRY4];
    type Key = Key4;
    const ROOT: u32 = root::IPV4;

    #[inline]
    fn bytes<'table>(table: &Table<'table>, index: u32) -> Option<&'table Self::Bytes> {
        table.record(table.layout.entries4, index)
    }

    #[inline]
    fn run<'table>(table: &Table<'table>, index: u32, count: u32) -> Option<&'table [Self::Bytes]> {
        table.records(table.layout.entries4, index, count)
    }

    #[inline]
    fn read(b: &Self::Bytes) -> Self {
        let [source, destination, first_ports, last_ports, meta_value, meta_mask, id, shape] = words(b);
        Self {
            source,
            destination,
            source_shift: shape & 0x3F,
            destination_shift: shape >> 6 & 0x3F,
            common: Common {
                first_ports,
                last_ports,
                meta_value,
                meta_mask,
                found: Found::of_words(id, shape & !Found::OTHER_BITS),
            },
        }
    }

    #[inline]
    fn common(&self) -> &Common {
        &self.common
    }

    #[inline]
    fn matches(b: &Self::Bytes, key: &Key4) -> bool {
        let [source, destination, .., shape] = words::<8, _>(b);
        let source = u64::from(key.source() ^ source) >> (shape & 63);
        let destination = u64::from(key.destination() ^ destination) >> (shape >> 6 & 63);
        source | destination | u64::from(mismatch(part::<8, _, _>(b), key)) == 0
    }

    #[inline]
    fn found(b: &Self::Bytes) -> Found {
        let [.., id, shape] = words::<8, _>(b);
        Found::of_words(id, shape)
    }

    fn first_words(&self) -> [(u32, u32); 2] {
        let mask = |shift| u32::MAX.checked_shl(shift).unwrap_or(0);
        [(self.source, mask(self.source_shift)), (self.destination, mask(self.destination_shift))]
    }

    fn is_canonical(&self, _: &Self::Bytes) -> bool {
        self.source_shift <= 32
            && self.destination_shift <= 32
            && low_bits_are_zero(self.source.into(), self.source_shift)
            && low_bits_are_zero(self.destination.into(), self.destination_shift)
    }

    #[cfg(feature = "compile")]
    fn write(&self) -> Self::Bytes {
        let c = &self.common;
        let [id, shape] = c.found.words();
        let shape = shape | self.source_shift | self.destination_shift << 6;
        write_words([self.source, self.destination, c.first_ports, c.last_ports, c.meta_value, c.meta_mask, id, shape])
    }
}

/// The bits of an address above its lowest ones, by how many those are: shifts of 128 bits take longer, and compilers
/// make branches of them.
#[allow(clippy::indexing_slicing, reason = "an index that is wrong does not compile")]
static ABOVE: [u128; 256] = {
    let mut masks = [0; 256];
    let mut count = 0;
    while count < 128 {
        masks[count] = u128::MAX << count;
        count += 1;
    }
    masks
};

impl Entry for Entry6 {
    type Bytes = [u8; size::ENTRY6];
    type Key = Key6;
    const ROOT: u32 = root::IPV6;

    #[inline]
    fn bytes<'table>(table: &Table<'table>, index: u32) -> Option<&'table Self::Bytes> {
        table.record(table.layout.entries6, index)
    }

    #[inline]
    fn run<'table>(table: &Table<'table>, index: u32, count: u32) -> Option<&'table [Self::Bytes]> {
        table.records(table.layout.entries6, index, count)
    }

    #[inline]
    fn read(b: &Self::Bytes) -> Self {
        let [s0, s1, s2, s3, d0, d1, d2, d3, first_ports, last_ports, meta_value, meta_mask, id, shape, shifts, _] =
            words(b);
        Self {
            source: address([s0, s1, s2, s3]),
            destination: address([d0, d1, d2, d3]),
            source_shift: shifts & 0xFF,
            destination_shift: shifts >> 8,
            common: Common { first_ports, last_ports, meta_value, meta_mask, found: Found::of_words(id, shape) },
        }
    }

    #[inline]
    fn common(&self) -> &Common {
        &self.common
    }

    #[inline]
    fn matches(b: &Self::Bytes, key: &Key6) -> bool {
        let entry = Self::read(b);
        let above = |shift: u32| ABOVE.get(usize::from(shift as u8)).copied().unwrap_or(0);
        let source = (key.source() ^ entry.source) & above(entry.source_shift);
        let destination = (key.destination() ^ entry.destination) & above(entry.destination_shift);
        source | destination | u128::from(mismatch(part::<32, _, _>(b), key)) == 0
    }

    #[inline]
    fn found(b: &Self::Bytes) -> Found {
        Self::read(b).common.found
    }

    fn first_words(&self) -> [(u32, u32); 2] {
        let first = |address: u128| (address >> 96) as u32;
        let mask = |shift| first(u128::MAX.checked_shl(shift).unwrap_or(0));
        [(first(self.source), mask(self.source_shift)), (first(self.destination), mask(self.destination_shift))]
    }

    fn is_canonical(&self, bytes: &Self::Bytes) -> bool {
        self.source_shift <= 128
            && self.destination_shift <= 128
            && low_bits_are_zero(self.source, self.source_shift)
            && low_bits_are_zero(self.destination, self.destination_shift)
            && bytes.ends_with(&[0; 4])
    }

    #[cfg(feature = "compile")]
    fn write(&self) -> Self::Bytes {
        let c = &self.common;
        let [s0, s1, s2, s3] = parts_of(self.source);
        let [d0, d1, d2, d3] = parts_of(self.destination);
        let [id, shape] = c.found.words();
        let shifts = self.source_shift | self.destination_shift << 8;
        write_words([
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
            c.first_ports,
            c.last_ports,
            c.meta_value,
            c.meta_mask,
            id,
            shape,
            shifts,
            0,
        ])
    }
}

/// The bytes from `START` on.
#[inline]
fn part<const START: usize, const ALL: usize, const SIZE: usize>(bytes: &[u8; ALL]) -> &[u8; SIZE] {
    const { assert!(START + SIZE <= ALL) };
    let (_, rest) = bytes.split_at(START);
    rest.first_chunk().unwrap_or(&[0; SIZE])
}

fn low_bits_are_zero(address: u128, count: u32) -> bool {
    address.trailing_zeros() >= count || address == 0
}

#[cfg(feature = "compile")]
fn write_words<const WORDS: usize, const BYTES: usize>(words: [u32; WORDS]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}
