//! A policy table as its records, to be changed one by one: written from docs/policy-table.md and nothing else.

use sluice_core::{Policy, TableError};

/// Bits of a node's control word.
pub(crate) const LEAF: u32 = 1 << 31;
pub(crate) const REMAINDER: u32 = 1 << 30;
pub(crate) const IPV6: u32 = 1 << 29;
pub(crate) const HASH: u32 = 1 << 28;
/// The first rule of a node without rules.
pub(crate) const NO_RULE: u32 = 0x7FFF_FFFF;
/// The bit of an entry whose rule has extra conditions.
pub(crate) const HAS_EXTRA: u32 = 1 << 13;
/// Actions of rules.
pub(crate) const BLOCK: u32 = 2 << 30;
pub(crate) const COUNT: u32 = 1 << 30;
pub(crate) const LOG: u32 = 3 << 30;
/// Words of the head of a filter, and of its sets for 128 entries.
pub(crate) const FILTER_HEAD_WORDS: usize = 16 / 4;
pub(crate) const FILTER_SET_WORDS: usize = 2048 / 4;

/// The sections, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Header,
    Rules,
    Nodes,
    Entries4,
    Entries6,
    ExtraWords,
    Hints,
    Lines,
    Text,
    Filters,
}

#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) action: u32,
    pub(crate) rules: Vec<[u32; 2]>,
    pub(crate) nodes: Vec<[u32; 4]>,
    pub(crate) entries4: Vec<[u32; 8]>,
    pub(crate) entries6: Vec<[u32; 16]>,
    pub(crate) extra_words: Vec<u32>,
    pub(crate) suffixes: u32,
    /// One for each line.
    pub(crate) hints: Vec<u32>,
    pub(crate) lines: Vec<[u8; 64]>,
    pub(crate) text: Vec<u8>,
    pub(crate) filters: Vec<u32>,
    pub(crate) tree_pairs: u32,
    pub(crate) observing: u32,
}

impl Raw {
    /// A table without rules.
    pub(crate) fn empty() -> Self {
        Self {
            action: 1,
            rules: Vec::new(),
            nodes: vec![empty_leaf(0), empty_leaf(IPV6), empty_leaf(0)],
            entries4: Vec::new(),
            entries6: Vec::new(),
            extra_words: Vec::new(),
            suffixes: 0,
            hints: Vec::new(),
            lines: Vec::new(),
            text: Vec::new(),
            filters: Vec::new(),
            tree_pairs: 0,
            observing: 0,
        }
    }

    pub(crate) fn counts(&self) -> [u32; 11] {
        let count = |length: usize| u32::try_from(length).unwrap();
        [
            count(self.rules.len()),
            count(self.nodes.len()),
            count(self.entries4.len()),
            count(self.entries6.len()),
            count(self.extra_words.len()),
            self.suffixes,
            count(self.lines.len()),
            count(self.text.len()),
            count(self.filters.len()),
            self.tree_pairs,
            self.observing,
        ]
    }

    /// The table, and where each section starts.
    pub(crate) fn bytes_and_starts(&self) -> (Vec<u8>, Vec<(Section, usize)>) {
        let mut bytes = vec![0; 64];
        let mut starts = vec![(Section::Header, 0)];
        let mut section = |section, words: Vec<u8>| {
            starts.push((section, bytes.len()));
            bytes.extend(words);
            bytes.resize(bytes.len().next_multiple_of(64), 0);
        };
        fn le(words: &[u32]) -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        }
        section(Section::Rules, le(self.rules.as_flattened()));
        section(Section::Nodes, le(self.nodes.as_flattened()));
        section(Section::Entries4, le(self.entries4.as_flattened()));
        section(Section::Entries6, le(self.entries6.as_flattened()));
        section(Section::ExtraWords, le(&self.extra_words));
        section(Section::Hints, le(&self.hints));
        section(Section::Lines, self.lines.as_flattened().to_vec());
        section(Section::Text, self.text.clone());
        section(Section::Filters, le(&self.filters));
        let size = u32::try_from(bytes.len()).unwrap();
        bytes[..64].copy_from_slice(&header(size, self.action, self.counts()));
        (bytes, starts)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_and_starts().0
    }

    /// What validation says.
    pub(crate) fn validate(&self) -> Result<(), TableError> {
        Policy::new(self.bytes()).map(drop)
    }

    /// Adds the names of suffixes, of the first pair of trees, to as many lines: each to its first one that has room.
    pub(crate) fn name(&mut self, names: &[&str], lines: usize) {
        self.hints = vec![0; lines];
        self.lines = vec![[0; 64]; lines];
        for name in names {
            self.suffixes += 1;
            let homes = homes(hash(name.as_bytes()), lines);
            let record = self.record(name);
            let line = homes.into_iter().find(|line| used(&self.lines[*line]) + record.len() <= 64).unwrap();
            self.add(line, &record);
            let [in_first, in_second] = hints(hash(name.as_bytes()));
            self.hints[homes[0]] |= if line == homes[0] { in_first } else { in_second };
        }
    }

    /// A suffix as a line has it. A text that is too long for a line is added to those.
    pub(crate) fn record(&mut self, name: &str) -> Vec<u8> {
        let mut record = vec![u8::try_from(name.len()).unwrap(), 0, 0, 0];
        if name.len() <= 28 {
            record.extend(name.bytes());
        } else {
            record.extend(u32::try_from(self.text.len()).unwrap().to_le_bytes());
            self.text.extend(name.bytes());
        }
        record
    }

    /// Adds a suffix to a line.
    pub(crate) fn add(&mut self, line: usize, record: &[u8]) {
        let end = used(&self.lines[line]);
        self.lines[line][end..][..record.len()].copy_from_slice(record);
    }
}

/// How many bytes of a line are used.
pub(crate) fn used(line: &[u8; 64]) -> usize {
    let mut end = 0;
    while end < 64 && line[end] != 0 {
        end += 4 + if line[end] <= 28 { usize::from(line[end]) } else { 4 };
    }
    end
}

/// A header of these words.
pub(crate) fn header(size: u32, action: u32, counts: [u32; 11]) -> [u8; 64] {
    let mut header = [0; 64];
    let words = [u32::from_le_bytes(*b"SLPT"), 8, size, action].into_iter().chain(counts);
    for (to, word) in header.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    header
}

/// The hash of a text, without the sign for answers: words of eight bytes from its end, and then what is left of it,
/// with the length.
pub(crate) fn hash(text: &[u8]) -> u64 {
    let (text, start) = text.strip_suffix(b"=").map_or((text, 0), |name| (name, 1));
    let mix = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        product ^ (product >> 32)
    };
    let mut hash = start;
    let mut end = text.len();
    while end >= 8 {
        hash = mix(hash, u64::from_le_bytes(text[end - 8..end].try_into().unwrap()));
        end -= 8;
    }
    let mut last = [0; 8];
    last[8 - end..].copy_from_slice(&text[..end]);
    last[0] = u8::try_from(text.len()).unwrap();
    mix(hash, u64::from_le_bytes(last))
}

/// The bits of the hint for its first line that say that a suffix may be there, and those for its second line.
pub(crate) fn hints(hash: u64) -> [u32; 2] {
    let mixed = hash.wrapping_mul(0xC2B2_AE3D_27D4_EB4F) >> 44;
    let number = |index: u32| (mixed >> (5 * index)) as u32 & 31;
    let common = 1 << number(0) | 1 << number(1) | 1 << number(2);
    [common | 1 << number(3), common | 1 << (number(3) ^ 16)]
}

/// The two lines in which a suffix may be.
pub(crate) fn homes(hash: u64, lines: usize) -> [usize; 2] {
    [hash >> 32, hash & 0xFFFF_FFFF].map(|half| usize::try_from((half * lines as u64) >> 32).unwrap())
}

pub(crate) fn empty_leaf(ipv6: u32) -> [u32; 4] {
    [0, NO_RULE, LEAF | ipv6, 0]
}

/// A leaf of `count` entries from `first` on; the first one's rule; a filter, or 0.
pub(crate) fn leaf(ipv6: u32, first: u32, count: u32, rule: u32, filter: u32) -> [u32; 4] {
    [first, rule, LEAF | ipv6 | count, filter]
}

/// An inner node: its first child, its first rule, how its child is found, what it claims.
pub(crate) fn inner(base: u32, rule: u32, control: u32, work: u32, pending: u32) -> [u32; 4] {
    [base, rule, control, work | pending << 24]
}

/// A window of the key.
pub(crate) fn window(word: u32, shift: u32, bits: u32) -> u32 {
    word | shift << 4 | bits << 9
}

pub(crate) fn windows(first: u32, second: u32) -> u32 {
    first | second << 13
}

/// The two words of an entry that are about its rule, one of `rules`.
fn of_rule(rules: &[[u32; 2]], rule: u32) -> [u32; 2] {
    let [id, word] = rules.get(rule as usize).copied().unwrap_or_default();
    let has_extra = if word & 0x3FFF_FFFF == 0 { 0 } else { HAS_EXTRA };
    [id, word >> 31 << 12 | has_extra | rule << 14]
}

/// An IPv4 entry for one of `rules` that all packets match.
pub(crate) fn entry4(rules: &[[u32; 2]], rule: u32) -> [u32; 8] {
    let [id, shape] = of_rule(rules, rule);
    [0, 0, 0, u32::MAX, 0, 0, id, shape | 32 | 32 << 6]
}

/// An IPv6 entry for one of `rules` that all packets match.
pub(crate) fn entry6(rules: &[[u32; 2]], rule: u32) -> [u32; 16] {
    let mut entry = [0; 16];
    entry[9] = u32::MAX;
    entry[12..14].copy_from_slice(&of_rule(rules, rule));
    entry[14] = 128 | 128 << 8;
    entry
}

/// A filter of up to 128 entries: the places of eight windows, eight bytes of 0, and 16 sets of 16 bytes for each.
pub(crate) fn filter() -> Vec<u32> {
    let mut words = vec![0; FILTER_HEAD_WORDS + FILTER_SET_WORDS];
    words[0] = u32::from_le_bytes([0, 1, 2, 4]);
    words[1] = u32::from_le_bytes([5, 6, 8, 15]);
    words
}
