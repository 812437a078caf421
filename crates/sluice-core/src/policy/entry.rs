//! Entries: the boxes of the space of all packets that a rule covers, as the leaves of the trees hold them.
//!
//! An entry is compared without a branch until the end: which of its parts fails is as good as random, and a branch
//! that is not foreseen costs more than all of the comparison.

#[cfg(feature = "compile")]
use super::key::parts_of;
use super::key::{Key, Key4, Key6, address};
use super::table::{ENTRY_HAS_EXTRA, Table, halves, root, size, words};

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
    /// The index of the rule, and [`ENTRY_HAS_EXTRA`].
    pub(crate) rule: u32,
    /// How many entries from this one on are in order of their rules; this one counts.
    pub(crate) run: u32,
}

impl Common {
    #[inline]
    pub(crate) fn rule_index(&self) -> u32 {
        self.rule & !ENTRY_HAS_EXTRA
    }
}

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
    /// The word with the rule of the entry with these bytes, see [`Common::rule`].
    fn rule(bytes: &Self::Bytes) -> u32;
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
        let [source, destination, first_ports, last_ports, meta_value, meta_mask, rule, shape] = words(b);
        Self {
            source,
            destination,
            source_shift: shape >> 20 & 0x3F,
            destination_shift: shape >> 26,
            common: Common { first_ports, last_ports, meta_value, meta_mask, rule, run: shape & 0xF_FFFF },
        }
    }

    #[inline]
    fn common(&self) -> &Common {
        &self.common
    }

    #[inline]
    fn matches(b: &Self::Bytes, key: &Key4) -> bool {
        let [source, destination, .., shape] = words::<8, _>(b);
        let source = u64::from(key.source() ^ source) >> (shape >> 20 & 63);
        let destination = u64::from(key.destination() ^ destination) >> (shape >> 26);
        source | destination | u64::from(mismatch(part::<8, _, _>(b), key)) == 0
    }

    #[inline]
    fn rule(b: &Self::Bytes) -> u32 {
        let [.., rule, _] = words::<8, _>(b);
        rule
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
        let shape = c.run | self.source_shift << 20 | self.destination_shift << 26;
        write_words([
            self.source,
            self.destination,
            c.first_ports,
            c.last_ports,
            c.meta_value,
            c.meta_mask,
            c.rule,
            shape,
        ])
    }
}

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
        let [s0, s1, s2, s3, d0, d1, d2, d3, first_ports, last_ports, meta_value, meta_mask, rule, run, shifts, _] =
            words(b);
        Self {
            source: address([s0, s1, s2, s3]),
            destination: address([d0, d1, d2, d3]),
            source_shift: shifts & 0xFF,
            destination_shift: shifts >> 8,
            common: Common { first_ports, last_ports, meta_value, meta_mask, rule, run },
        }
    }

    #[inline]
    fn common(&self) -> &Common {
        &self.common
    }

    #[inline]
    fn matches(b: &Self::Bytes, key: &Key6) -> bool {
        let entry = Self::read(b);
        let source = (key.source() ^ entry.source).checked_shr(entry.source_shift);
        let destination = (key.destination() ^ entry.destination).checked_shr(entry.destination_shift);
        let rest = mismatch(part::<32, _, _>(b), key);
        source.unwrap_or(0) | destination.unwrap_or(0) | u128::from(rest) == 0
    }

    #[inline]
    fn rule(b: &Self::Bytes) -> u32 {
        Self::read(b).common.rule
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
            c.rule,
            c.run,
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
