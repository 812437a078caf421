//! The layout of a policy table: a header, then sections of fixed-size records. `docs/policy-table.md` explains it.
//!
//! All numbers are little-endian. Nothing in a table is an address: a record refers to another by its index.

use super::entry::Found;
use super::node::Node;
use super::reach::Reach;
use crate::{Action, RuleAction};

/// The first four bytes of every table: "SLPT".
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"SLPT");

/// The version of the layout.
pub(crate) const VERSION: u32 = 8;

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

/// How many records a search may visit: in one tree, and in all the trees of a host name together. A table in which
/// some packet could take more is refused. Visiting this many takes a millisecond at worst; the ClassBench sets of
/// 100,000 rules need 1,600.
pub(crate) const MAX_WORK: u32 = 1 << 14;

/// How many subtrees may wait for their turn while another one is searched.
pub(crate) const MAX_PENDING: usize = 16;

/// A node has no more children than two to this, not counting its remainder.
pub(crate) const MAX_CHILD_BITS: u32 = 20;

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
    pub(crate) const HINT: usize = 4;
    pub(crate) const LINE: usize = 64;
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

/// The same in halves of words.
#[inline]
pub(crate) fn halves<const HALVES: usize, const BYTES: usize>(record: &[u8; BYTES]) -> [u16; HALVES] {
    const { assert!(HALVES * 2 == BYTES) };
    let mut halves = [0; HALVES];
    for (half, bytes) in halves.iter_mut().zip(record.as_chunks().0) {
        *half = u16::from_le_bytes(*bytes);
    }
    halves
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
    /// [Lines](super::names) of the hash table of suffixes, and hints, one for each.
    pub(crate) lines: u32,
    /// Bytes of the texts of long suffixes.
    pub(crate) text_bytes: u32,
    /// Words of [filters](super::filter). Word 0 is not used, so that 0 can stand for none.
    pub(crate) filter_words: u32,
    /// Pairs of trees that name suffixes refer to.
    pub(crate) tree_pairs: u32,
    /// 1 if there is a second forest, of the rules that observe; else 0.
    pub(crate) observing: u32,
}

impl Counts {
    #[cfg(feature = "compile")]
    pub(crate) const fn array(&self) -> [u32; 11] {
        [
            self.rules,
            self.nodes,
            self.entries4,
            self.entries6,
            self.extra_words,
            self.suffixes,
            self.lines,
            self.text_bytes,
            self.filter_words,
            self.tree_pairs,
            self.observing,
        ]
    }
}

/// Where each section starts, in bytes, and where the table ends. 32 bits are enough up to [`MAX_TABLE_SIZE`], and keep
/// a policy small, which a kernel moves on its stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) counts: Counts,
    pub(crate) rules: u32,
    pub(crate) nodes: u32,
    pub(crate) entries4: u32,
    pub(crate) entries6: u32,
    pub(crate) extra_words: u32,
    pub(crate) hints: u32,
    pub(crate) lines: u32,
    pub(crate) text: u32,
    pub(crate) filters: u32,
    pub(crate) end: u32,
    /// Which packets rules that observe can match. Known once the table is validated.
    pub(crate) observed: Reach,
    /// What is found where no rule matches: the default action.
    pub(crate) nothing: Found,
    /// Whether there are rules for the packets in tunnels. Known once the table is validated.
    pub(crate) looks_inside: bool,
    /// Whether there are rules for the names in answers. Known once the table is validated.
    pub(crate) reads_answers: bool,
}

impl Layout {
    /// The layout of a table with these counts and this default action, if it is not larger than [`MAX_TABLE_SIZE`].
    pub(crate) fn new(counts: Counts, default_action: Action) -> Option<Self> {
        let mut end = HEADER_SIZE;
        let mut section = |count: u32, size: usize| {
            let start = u32::try_from(end).ok()?;
            let length = usize::try_from(count).ok()?.checked_mul(size)?;
            end = end.checked_add(length)?.checked_next_multiple_of(ALIGNMENT)?;
            (end <= MAX_TABLE_SIZE).then_some(start)
        };
        let mut layout = Self {
            counts,
            rules: section(counts.rules, size::RULE)?,
            nodes: section(counts.nodes, size::NODE)?,
            entries4: section(counts.entries4, size::ENTRY4)?,
            entries6: section(counts.entries6, size::ENTRY6)?,
            extra_words: section(counts.extra_words, size::WORD)?,
            hints: section(counts.lines, size::HINT)?,
            lines: section(counts.lines, size::LINE)?,
            text: section(counts.text_bytes, 1)?,
            filters: section(counts.filter_words, size::WORD)?,
            end: 0,
            observed: Reach::NOTHING,
            nothing: Found::nothing(default_action),
            looks_inside: false,
            reads_answers: false,
        };
        layout.end = u32::try_from(end).ok()?;
        Some(layout)
    }
}

/// A table to look something up in. A read outside of it gives `None`.
#[derive(Clone, Copy)]
pub(crate) struct Table<'table> {
    pub(crate) bytes: &'table [u8],
    pub(crate) layout: &'table Layout,
}

impl<'table> Table<'table> {
    /// Record `index` of the section at `start`. The section's end is not compared: the validation of the table
    /// has made sure that no index leads beyond it.
    #[inline]
    pub(crate) fn record<const SIZE: usize>(&self, start: u32, index: u32) -> Option<&'table [u8; SIZE]> {
        // Sections start at multiples of SIZE, so that one comparison is enough.
        const { assert!(SIZE.is_power_of_two() && SIZE <= ALIGNMENT) };
        self.bytes.as_chunks().0.get(((start >> SIZE.trailing_zeros()) as usize).wrapping_add(index as usize))
    }

    /// `count` records from `index` on.
    #[inline]
    pub(crate) fn records<const SIZE: usize>(
        &self,
        start: u32,
        index: u32,
        count: u32,
    ) -> Option<&'table [[u8; SIZE]]> {
        const { assert!(SIZE.is_power_of_two() && SIZE <= ALIGNMENT) };
        let first = ((start >> SIZE.trailing_zeros()) as usize).wrapping_add(index as usize);
        self.bytes.as_chunks().0.get(first..first.wrapping_add(count as usize))
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

    /// The first root of the trees of rules that observe, if there are such rules.
    #[inline]
    pub(crate) fn observing_forest(&self) -> Option<u32> {
        let counts = &self.layout.counts;
        (counts.observing != 0).then(|| root::per_forest(counts.tree_pairs))
    }

    /// Word `index` of the section at `start`.
    #[inline]
    pub(crate) fn word(&self, start: u32, index: u32) -> Option<u32> {
        self.record(start, index).copied().map(u32::from_le_bytes)
    }

    /// `SIZE` bytes of the section of filters from word `index` on.
    #[inline]
    pub(crate) fn filter<const SIZE: usize>(&self, index: u32) -> Option<&'table [u8; SIZE]> {
        let start = (index as usize).wrapping_mul(size::WORD).wrapping_add(self.layout.filters as usize);
        self.bytes.get(start..start.wrapping_add(SIZE))?.first_chunk()
    }
}

/// The trees that a table has: the index of the root of each.
pub(crate) mod root {
    pub(crate) const IPV4: u32 = 0;
    pub(crate) const IPV6: u32 = 1;
    /// Packets that are not IP.
    pub(crate) const OTHER: u32 = 2;
    /// The roots of each pair of trees of names follow: IPv4 and IPv6.
    pub(crate) const FIRST_PAIR: u32 = 3;
    pub(crate) const PER_PAIR: u32 = 2;

    /// How many roots there are for each kind of rules. First come those of the rules that decide, then, if there are
    /// any, those of the rules that observe.
    pub(crate) const fn per_forest(tree_pairs: u32) -> u32 {
        tree_pairs.wrapping_mul(PER_PAIR).wrapping_add(FIRST_PAIR)
    }

    /// Whether the root at `index` of a forest is that of an IPv6 tree.
    pub(crate) const fn is_ipv6(index: u32) -> bool {
        index == IPV6 || (index >= FIRST_PAIR && index.wrapping_sub(FIRST_PAIR) % PER_PAIR == 1)
    }
}

/// The second word of a rule: its action in the two highest bits, the index of its extra conditions (0 for none) below.
#[cfg(feature = "compile")]
pub(crate) const fn rule_word(action: RuleAction, extra: u32) -> u32 {
    let bits = match action {
        RuleAction::Permit => 0,
        RuleAction::Block => RULE_BLOCKS,
        RuleAction::Count => RULE_OBSERVES,
        RuleAction::Log => RULE_OBSERVES | RULE_BLOCKS,
    };
    bits | extra & RULE_EXTRA
}

/// The action in the second word of a rule.
pub(crate) const fn rule_action(word: u32) -> RuleAction {
    match (word & RULE_OBSERVES != 0, word & RULE_BLOCKS != 0) {
        (false, false) => RuleAction::Permit,
        (false, true) => RuleAction::Block,
        (true, false) => RuleAction::Count,
        (true, true) => RuleAction::Log,
    }
}

/// The rule blocks; or, if it observes, it logs.
pub(crate) const RULE_BLOCKS: u32 = 1 << 31;

/// The rule decides nothing.
pub(crate) const RULE_OBSERVES: u32 = 1 << 30;

/// The index of a rule's extra conditions.
pub(crate) const RULE_EXTRA: u32 = RULE_OBSERVES - 1;
