//! Rules with host names: a hash table from name suffixes to trees of the rules that name them.
//!
//! Suffixes that the same rules name share a pair of trees, so that a long list of names takes little more than its
//! text. Those for the names in answers of DNS end in a mark, which no host name has, and so are never found by the
//! name that a packet asks for.

use sluice_npi::{Flow, name_kind};

use super::entry::Entry;
use super::search::{ParsedPacket, search};
use super::table::{MAX_NAME_LENGTH, MAX_PROBES, Table, root, size, words};
use crate::parse::for_each_answer_name;

/// What a suffix for the names in answers ends in.
pub(crate) const IN_ANSWER: &str = "=";

/// The longest text of a suffix.
pub(crate) const MAX_SUFFIX: usize = MAX_NAME_LENGTH + IN_ANSWER.len();

/// A host name read from a packet, as rules have it: lower case, labels with dots between them, no dot at the end.
pub(crate) struct HostName {
    text: [u8; MAX_SUFFIX],
    length: usize,
}

impl HostName {
    const EMPTY: Self = Self { text: [0; MAX_SUFFIX], length: 0 };

    /// Becomes the name that `flow` found in `packet`. `None` if it is longer than a name can be.
    fn read(&mut self, packet: &[u8], flow: &Flow) -> Option<()> {
        let start = usize::try_from(flow.name_offset).ok()?;
        let bytes = packet.get(start..)?.get(..usize::from(flow.name_length))?;
        self.length = 0;
        if flow.name_kind == name_kind::DNS {
            self.push_labels(bytes)?;
        } else {
            for byte in bytes.strip_suffix(b".").unwrap_or(bytes) {
                self.push(*byte)?;
            }
        }
        // What looks like the mark of an answer becomes a byte that no rule has.
        if self.text().ends_with(IN_ANSWER.as_bytes()) {
            self.length = self.length.wrapping_sub(1);
            self.push(0xFF)?;
        }
        Some(())
    }

    /// Becomes the name in an answer that has these labels.
    fn read_answer(&mut self, labels: &[u8]) -> Option<()> {
        self.length = 0;
        self.push_labels(labels)?;
        IN_ANSWER.bytes().try_for_each(|byte| self.push(byte))
    }

    fn push_labels(&mut self, labels: &[u8]) -> Option<()> {
        let mut rest = labels;
        while let Some((length, behind)) = rest.split_first() {
            let (label, behind) = behind.split_at_checked(usize::from(*length))?;
            if self.length != 0 {
                self.push(b'.')?;
            }
            for byte in label {
                // A dot inside a label is not a boundary. It becomes a byte that no rule has.
                self.push(if *byte == b'.' { 0xFF } else { *byte })?;
            }
            rest = behind;
        }
        Some(())
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

const _: () = assert!(MAX_SUFFIX < 1 << LENGTH_BITS && IN_ANSWER.len() == 1);

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

/// How many roots are found before their trees are searched. Few names have more.
const ROOTS: usize = 8;

/// The roots, in the first forest, of the trees of the rules that name a suffix of the packet's name, and then of the
/// names in its answers. A few at a time: the names are not in memory while a tree is searched.
pub(crate) struct Roots {
    found: [u32; ROOTS],
    count: usize,
    next: usize,
    /// How many roots there were before these.
    before: usize,
    /// How many of all are those of the packet's name.
    of_name: usize,
}

impl Roots {
    pub(crate) const NONE_YET: Self = Self { found: [0; ROOTS], count: 0, next: 0, before: 0, of_name: 0 };

    pub(crate) fn next<E: Entry>(&mut self, table: &Table<'_>, packet: &ParsedPacket<'_>) -> Option<u32> {
        if self.next == self.count {
            // Those that were found before have filled their places, or are all.
            if self.count != 0 && self.count != ROOTS {
                return None;
            }
            self.find_more(table, packet);
        }
        let root = self.found.get(..self.count)?.get(self.next)?;
        self.next = self.next.wrapping_add(1);
        Some(root.wrapping_add(E::ROOT))
    }

    /// Where the root that was given last stands among those of the names in answers; `None` if it is not one.
    pub(crate) fn place_among_answers(&self) -> Option<usize> {
        self.before.wrapping_add(self.next).checked_sub(self.of_name)?.checked_sub(1)
    }

    #[cold]
    #[inline(never)]
    fn find_more(&mut self, table: &Table<'_>, packet: &ParsedPacket<'_>) {
        let before = self.before.wrapping_add(self.count);
        *self = Self { before, ..Self::NONE_YET };
        let mut seen = 0_usize;
        let mut name = HostName::EMPTY;
        if name.read(packet.bytes, packet.flow).is_some() {
            self.add(table, &name, &mut seen);
        }
        self.of_name = seen;
        if table.layout.reads_answers {
            for_each_answer_name(packet.bytes, packet.flow, |labels| {
                if name.read_answer(labels.as_bytes()).is_some() {
                    self.add(table, &name, &mut seen);
                }
            });
        }
    }

    /// Adds the roots of one name, as far as there is room. `seen` counts all.
    #[inline(never)]
    fn add(&mut self, table: &Table<'_>, name: &HostName, seen: &mut usize) {
        for root in roots_of(table, name.text()) {
            if *seen >= self.before
                && let Some(place) = self.found.get_mut(self.count)
            {
                *place = root;
                self.count = self.count.wrapping_add(1);
            }
            *seen = seen.wrapping_add(1);
        }
    }
}

/// The first rule before `best` that names a suffix of the packet's name, or of one in its answers, and matches; else
/// `best`.
#[cold]
pub(crate) fn first_rule<E: Entry>(table: &Table<'_>, key: &E::Key, packet: &ParsedPacket<'_>, best: u32) -> u32 {
    let mut roots = Roots::NONE_YET;
    let mut best = best;
    while let Some(root) = roots.next::<E>(table, packet) {
        best = search::<E>(table, root, key, packet, best);
    }
    best
}
