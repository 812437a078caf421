//! Rules with host names: a hash table from name suffixes to trees of the rules that name them.
//!
//! Suffixes that the same rules name share a pair of trees, so that a long list of names takes little more than its
//! text.

use sluice_npi::{Flow, name_kind};

use super::entry::Entry;
use super::search::{ParsedPacket, search};
use super::table::{MAX_NAME_LENGTH, MAX_PROBES, Table, root, size, words};

/// A host name read from a packet, as rules have it: lower case, labels with dots between them, no dot at the end.
pub(crate) struct HostName {
    text: [u8; MAX_NAME_LENGTH],
    length: usize,
}

impl HostName {
    /// The name that `flow` found in `packet`. `None` if it is longer than a name can be.
    fn read(packet: &[u8], flow: &Flow) -> Option<Self> {
        let start = usize::try_from(flow.name_offset).ok()?;
        let bytes = packet.get(start..)?.get(..usize::from(flow.name_length))?;
        let mut name = Self { text: [0; MAX_NAME_LENGTH], length: 0 };
        if flow.name_kind == name_kind::DNS {
            let mut rest = bytes;
            while let Some((length, behind)) = rest.split_first() {
                let (label, behind) = behind.split_at_checked(usize::from(*length))?;
                if name.length != 0 {
                    name.push(b'.')?;
                }
                for byte in label {
                    // A dot inside a label is not a boundary. It becomes a byte that no rule has.
                    name.push(if *byte == b'.' { 0xFF } else { *byte })?;
                }
                rest = behind;
            }
        } else {
            for byte in bytes.strip_suffix(b".").unwrap_or(bytes) {
                name.push(*byte)?;
            }
        }
        Some(name)
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        *self.text.get_mut(self.length)? = byte.to_ascii_lowercase();
        self.length = self.length.checked_add(1)?;
        Some(())
    }

    fn text(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

/// The hash of a text, read from its end, so that the hashes of all suffixes of a name come out on the way.
#[derive(Clone, Copy)]
struct SuffixHash(u32);

impl SuffixHash {
    const START: Self = Self(0x811C_9DC5);

    #[inline]
    fn push(self, byte: u8) -> Self {
        // FNV-1a.
        Self((self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// The hash of a whole text.
pub(crate) fn hash(text: &[u8]) -> u32 {
    text.iter().rev().fold(SuffixHash::START, |hash, byte| hash.push(*byte)).0
}

/// The slot that a lookup looks at in its `probe`th step.
pub(crate) fn slot(hash: u32, probe: u32, slots: u32) -> u32 {
    // FNV's low bits are its good ones; the high ones are mixed in for large tables.
    (hash ^ hash >> 16).wrapping_add(probe) & slots.wrapping_sub(1)
}

/// The lowest bits of the last word of a suffix: the length of its text. The bits above are the index of its trees.
pub(crate) const LENGTH_BITS: u32 = 8;

const _: () = assert!(MAX_NAME_LENGTH < 1 << LENGTH_BITS);

/// A suffix in a table.
pub(crate) struct Suffix {
    pub(crate) hash: u32,
    /// Where its text starts.
    pub(crate) offset: u32,
    /// How long its text is.
    pub(crate) length: u32,
    /// The pair of trees of the rules that name it.
    pub(crate) pair: u32,
}

/// Suffix `index` of a table.
pub(crate) fn suffix(table: &Table<'_>, index: u32) -> Option<Suffix> {
    let start = (index as usize).wrapping_mul(size::SUFFIX).wrapping_add(table.layout.suffixes as usize);
    let [hash, offset, last] = words(table.bytes.get(start..)?.first_chunk::<{ size::SUFFIX }>()?);
    Some(Suffix { hash, offset, length: last & ((1 << LENGTH_BITS) - 1), pair: last >> LENGTH_BITS })
}

pub(crate) fn text<'table>(table: &Table<'table>, suffix: &Suffix) -> Option<&'table [u8]> {
    let start = (table.layout.text as usize).checked_add(usize::try_from(suffix.offset).ok()?)?;
    table.bytes.get(start..)?.get(..usize::try_from(suffix.length).ok()?)
}

/// The bits of a slot that hold the number of a suffix, from 1; 0 is an empty slot. The bits above are those of its
/// hash, so that other suffixes are told apart without a look at them.
pub(crate) fn number_bits(suffixes: u32) -> u32 {
    u32::MAX.checked_shr(suffixes.leading_zeros()).unwrap_or(0)
}

/// The suffix with this text, and its index.
pub(crate) fn find(table: &Table<'_>, hash: u32, wanted: &[u8]) -> Option<(u32, Suffix)> {
    let counts = &table.layout.counts;
    let number_bits = number_bits(counts.suffixes);
    for probe in 0..MAX_PROBES {
        let word = table.word(table.layout.slots, slot(hash, probe, counts.slots))?;
        let index = (word & number_bits).checked_sub(1)?;
        if (word ^ hash) & !number_bits != 0 {
            continue;
        }
        let suffix = suffix(table, index)?;
        if suffix.hash == hash && text(table, &suffix) == Some(wanted) {
            return Some((index, suffix));
        }
    }
    None
}

/// The roots of the IPv4 trees of all suffixes in which the name `text` ends, the shortest first. The root of the IPv6
/// tree is the next one.
fn roots_of<'a>(table: &'a Table<'_>, text: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
    let mut hash = SuffixHash::START;
    (0..text.len()).rev().filter_map(move |start| {
        hash = hash.push(*text.get(start)?);
        let at_boundary = start.checked_sub(1).is_none_or(|before| text.get(before) == Some(&b'.'));
        let (_, suffix) = if at_boundary { find(table, hash.0, text.get(start..)?)? } else { return None };
        Some(suffix.pair.wrapping_mul(root::PER_PAIR).wrapping_add(root::FIRST_PAIR))
    })
}

/// How many records a search for a packet with the name `text` visits at most, in the trees of all suffixes of it: the
/// search for the rule that decides, or the one for those that observe.
pub(crate) fn work(table: &Table<'_>, text: &[u8]) -> u32 {
    let claimed = |root| table.node(root).map_or(0, |node| node.work());
    let forests = [0, table.observing_forest().unwrap_or(0)];
    // IPv4 and IPv6 of each forest.
    let sums = roots_of(table, text).fold([[0_u32; 2]; 2], |mut sums, root| {
        for (sums, forest) in sums.iter_mut().zip(forests) {
            for (sum, version) in sums.iter_mut().zip(0..) {
                *sum = sum.saturating_add(claimed(root.wrapping_add(forest).wrapping_add(version)));
            }
        }
        sums
    });
    sums.into_iter().flatten().max().unwrap_or(0)
}

/// The first rule before `best` that names a suffix of the packet's name and matches; else `best`.
#[cold]
pub(crate) fn first_rule<E: Entry>(table: &Table<'_>, key: &E::Key, packet: &ParsedPacket<'_>, best: u32) -> u32 {
    let Some(name) = HostName::read(packet.bytes, packet.flow) else {
        return best;
    };
    roots_of(table, name.text())
        .map(|root| root.wrapping_add(E::ROOT))
        .fold(best, |best, root| search::<E>(table, root, key, packet, best))
}

/// Calls `each` with the roots, in the first forest, of the trees of the rules that name a suffix of the packet's name.
pub(crate) fn for_each_root<E: Entry>(table: &Table<'_>, packet: &ParsedPacket<'_>, each: impl FnMut(u32)) {
    if let Some(name) = HostName::read(packet.bytes, packet.flow) {
        roots_of(table, name.text()).map(|root| root.wrapping_add(E::ROOT)).for_each(each);
    }
}
