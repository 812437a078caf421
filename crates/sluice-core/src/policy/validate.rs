//! The validation of a table that may have come from anybody: one pass, nothing allocated, nothing trusted.
//!
//! A table that passes cannot make a lookup read outside of it, run without end, or take more than
//! [`MAX_WORK`](super::table::MAX_WORK) steps in a tree, nor in all the trees of a name together.

use core::fmt;

use super::entry::{Entry, Entry4, Entry6, Found};
use super::key::{Key, Key4, Key6, meta};
use super::node::{Node, Window};
use super::reach::Reach;
use super::table::{
    Counts, HEADER_SIZE, Layout, MAGIC, MAX_CHILD_BITS, MAX_ENTRIES, MAX_LEAF, MAX_NAME_LENGTH, MAX_PENDING, MAX_RULES,
    MAX_WORK, NO_RULE, RULE_EXTRA, Table, VERSION, root, size,
};
use super::{conditions, filter, names};
use crate::Action;

/// Why bytes are not a policy table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// The header is not complete, or does not start with "SLPT".
    NotATable,
    /// The layout is of another version: a newer `sluicectl`, perhaps.
    UnknownVersion(u32),
    /// The table does not have the size that its header says.
    WrongSize {
        /// The size by the header; `None` if that is more than a table may have.
        expected: Option<usize>,
        /// The size that it has.
        actual: usize,
    },
    /// The header has a count that is out of range.
    CountOutOfRange,
    /// The default action is neither permit nor block.
    UnknownAction,
    /// Bytes that have to be 0 are not.
    ReservedBytes,
    /// A rule has the id 0, or extra conditions that are not there.
    BadRule(u32),
    /// A list of extra conditions is not well-formed.
    BadExtra(u32),
    /// An entry has an impossible value.
    BadEntry(u32),
    /// A node refers to something that is not there, is not where it has to be, or promises too little.
    BadNode(u32),
    /// A line of name suffixes has one that is not well-formed or cannot be found.
    BadSuffix(u32),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotATable => {
                write!(f, "not a policy table: it does not start with \"SLPT\" and a header of 64 bytes")
            }
            Self::UnknownVersion(version) => {
                write!(f, "policy table of version {version}; only version {VERSION} is known")
            }
            Self::WrongSize { expected: Some(expected), actual } => {
                write!(f, "policy table of {actual} bytes whose header says {expected}")
            }
            Self::WrongSize { expected: None, actual } => {
                write!(f, "policy table of {actual} bytes whose header asks for more than is allowed")
            }
            Self::CountOutOfRange => write!(f, "policy table with a count out of range in its header"),
            Self::UnknownAction => write!(f, "policy table whose default action is neither permit (1) nor block (2)"),
            Self::ReservedBytes => write!(f, "policy table with reserved bytes that are not 0"),
            Self::BadRule(index) => write!(f, "policy table with a bad rule at index {index}"),
            Self::BadExtra(index) => write!(f, "policy table with bad extra conditions at word {index}"),
            Self::BadEntry(index) => write!(f, "policy table with a bad entry at index {index}"),
            Self::BadNode(index) => write!(f, "policy table with a bad node at index {index}"),
            Self::BadSuffix(index) => write!(f, "policy table with a bad name suffix in line {index}"),
        }
    }
}

impl core::error::Error for TableError {}

/// Validates a table. Gives where its sections are.
pub(crate) fn table(bytes: &[u8]) -> Result<Layout, TableError> {
    let mut layout = header(bytes)?;
    let table = Table { bytes, layout: &layout };
    padding(&table)?;
    rules(&table)?;
    let looks_inside =
        entries::<Entry4>(&table, layout.counts.entries4)? | entries::<Entry6>(&table, layout.counts.entries6)?;
    nodes(&table)?;
    let reads_answers = suffixes(&table)?;
    let observed = Reach::of_table(&table);
    layout.observed = observed;
    layout.looks_inside = looks_inside;
    layout.reads_answers = reads_answers;
    Ok(layout)
}

fn header(bytes: &[u8]) -> Result<Layout, TableError> {
    let header = bytes.first_chunk::<HEADER_SIZE>().ok_or(TableError::NotATable)?;
    let mut words = [0; HEADER_SIZE / size::WORD];
    for (word, bytes) in words.iter_mut().zip(header.chunks_exact(size::WORD)) {
        *word = bytes.first_chunk().copied().map(u32::from_le_bytes).unwrap_or_default();
    }
    let [magic, version, length, action, counts @ .., last] = words;
    if magic != MAGIC {
        return Err(TableError::NotATable);
    }
    if version != VERSION {
        return Err(TableError::UnknownVersion(version));
    }
    if last != 0 {
        return Err(TableError::ReservedBytes);
    }
    let action = u16::try_from(action).ok().and_then(Action::from_number).ok_or(TableError::UnknownAction)?;
    let [rules, nodes, entries4, entries6, extra_words, suffixes, lines, text_bytes, filter_words, ..] = counts;
    let [.., tree_pairs, observing] = counts;
    let counts = Counts {
        rules,
        nodes,
        entries4,
        entries6,
        extra_words,
        suffixes,
        lines,
        text_bytes,
        filter_words,
        tree_pairs,
        observing,
    };
    let roots = u64::from(tree_pairs).wrapping_mul(root::PER_PAIR.into()).wrapping_add(root::FIRST_PAIR.into());
    let roots = roots.wrapping_shl(observing);
    let no_more = |count: u32, maximum: usize| usize::try_from(count).is_ok_and(|count| count <= maximum);
    if !no_more(rules, MAX_RULES)
        || !no_more(entries4, MAX_ENTRIES)
        || !no_more(entries6, MAX_ENTRIES)
        || observing > 1
        || u64::from(nodes) < roots
        || extra_words > RULE_EXTRA
        || (suffixes == 0) != (lines == 0)
    {
        return Err(TableError::CountOutOfRange);
    }
    let layout = Layout::new(counts, action);
    let expected = layout.map(|layout| layout.end as usize);
    match layout {
        Some(layout) if layout.end as usize == bytes.len() && layout.end == length => Ok(layout),
        _ => Err(TableError::WrongSize { expected, actual: bytes.len() }),
    }
}

/// The gaps behind the sections have to be 0.
fn padding(table: &Table<'_>) -> Result<(), TableError> {
    let l = table.layout;
    let sections = [
        (l.rules, l.counts.rules, size::RULE, l.nodes),
        (l.nodes, l.counts.nodes, size::NODE, l.entries4),
        (l.entries4, l.counts.entries4, size::ENTRY4, l.entries6),
        (l.entries6, l.counts.entries6, size::ENTRY6, l.extra_words),
        (l.extra_words, l.counts.extra_words, size::WORD, l.hints),
        (l.hints, l.counts.lines, size::HINT, l.lines),
        (l.lines, l.counts.lines, size::LINE, l.text),
        (l.text, l.counts.text_bytes, 1, l.filters),
        (l.filters, l.counts.filter_words, size::WORD, l.end),
    ];
    let clean = sections.iter().all(|(start, count, size, next)| {
        let end = (*count as usize).wrapping_mul(*size).wrapping_add(*start as usize);
        table.bytes.get(end..*next as usize).is_some_and(|gap| gap.iter().all(|byte| *byte == 0))
    });
    if clean { Ok(()) } else { Err(TableError::ReservedBytes) }
}

/// Rules own the lists of extra conditions, in order and without gaps.
fn rules(table: &Table<'_>) -> Result<(), TableError> {
    let mut next = 1;
    for index in 0..table.layout.counts.rules {
        let (id, word) = table.rule(index).ok_or(TableError::BadRule(index))?;
        let extra = word & RULE_EXTRA;
        if id == 0 || (extra != 0 && extra != next) {
            return Err(TableError::BadRule(index));
        }
        if extra != 0 {
            next = conditions::validate(table, extra).ok_or(TableError::BadExtra(extra))?;
        }
    }
    let words = table.layout.counts.extra_words;
    let first_is_zero = words == 0 || table.word(table.layout.extra_words, 0) == Some(0);
    if first_is_zero && next == words.max(1) { Ok(()) } else { Err(TableError::BadExtra(next)) }
}

/// Answers whether one of them is for the packets in tunnels.
fn entries<E: Entry>(table: &Table<'_>, count: u32) -> Result<bool, TableError> {
    let mut looks_inside = false;
    for index in 0..count {
        let error = TableError::BadEntry(index);
        let (entry, is_canonical) = entry::<E>(table, index).ok_or(error)?;
        let common = entry.common();
        let rule = table.rule(common.found.rule()).ok_or(error)?;
        let says_the_same = common.found == Found::of_rule(common.found.rule(), rule);
        if !is_canonical || !says_the_same || common.meta_value & !common.meta_mask != 0 {
            return Err(error);
        }
        // One that does not care is for them as well.
        looks_inside |= (common.meta_value | !common.meta_mask) & meta::INNER != 0;
    }
    Ok(looks_inside)
}

fn entry<E: Entry>(table: &Table<'_>, index: u32) -> Option<(E, bool)> {
    let bytes = E::bytes(table, index)?;
    let entry = E::read(bytes);
    let is_canonical = entry.is_canonical(bytes);
    Some((entry, is_canonical))
}

/// Nodes lie in the order in which a search by breadth finds them: every node belongs to one parent, which lies before
/// it, and so all of them are trees.
fn nodes(table: &Table<'_>) -> Result<(), TableError> {
    let counts = &table.layout.counts;
    // No overflow: `header` has compared the same number with a wider type.
    let per_forest = root::per_forest(counts.tree_pairs);
    let roots = per_forest.wrapping_shl(counts.observing);
    let mut next_child = roots;
    let mut leaves = [Leaves::of(counts.entries4), Leaves::of(counts.entries6)];
    let [leaves4, leaves6] = &mut leaves;
    for index in 0..counts.nodes {
        let node = table.node(index).ok_or(TableError::BadNode(index))?;
        let found = match (node.is_leaf(), node.is_ipv6()) {
            (true, false) => leaf::<Entry4>(table, leaves4, &node),
            (true, true) => leaf::<Entry6>(table, leaves6, &node),
            (false, _) => inner(table, &node, &mut next_child),
        };
        let right_kind =
            index >= roots || node.is_ipv6() == root::is_ipv6(index.checked_rem(per_forest).unwrap_or(index));
        if !right_kind || found.is_none() || node.work() > MAX_WORK || node.pending() as usize > MAX_PENDING {
            return Err(TableError::BadNode(index));
        }
    }
    if next_child == counts.nodes { Ok(()) } else { Err(TableError::BadNode(next_child)) }
}

/// What the leaves so far have of a section of entries.
struct Leaves {
    entries: u32,
    /// How many entries more can be looked at.
    left: u32,
    /// The first entry of the last leaf, and how many it has.
    last: (u32, u32),
}

impl Leaves {
    const fn of(entries: u32) -> Self {
        Self { entries, left: entries, last: (0, 0) }
    }
}

fn leaf<E: Entry>(table: &Table<'_>, leaves: &mut Leaves, node: &Node) -> Option<()> {
    let count = node.entry_count();
    let has_its_entries = if count == 0 {
        node.base == 0 && node.first_rule == NO_RULE && node.filter().is_none()
    } else {
        let end = node.base.checked_add(count)?;
        count <= MAX_LEAF
            && end <= leaves.entries
            && E::found(E::bytes(table, node.base)?).rule() == node.first_rule
            && are_in_order::<E>(table, leaves, node.base, count)?
    };
    let has_its_filter = match node.filter() {
        Some(index) => filter::validate(table, index, count, E::Key::WORDS),
        None => true,
    };
    (has_its_entries && has_its_filter).then_some(())
}

/// Whether `count` entries from `first` on are in order of their rules. Leaves that have the same ones follow each
/// other, and are counted once: all together have no more entries than there are, so that this takes no longer.
fn are_in_order<E: Entry>(table: &Table<'_>, leaves: &mut Leaves, first: u32, count: u32) -> Option<bool> {
    if leaves.last == (first, count) {
        return Some(true);
    }
    leaves.left = leaves.left.checked_sub(count)?;
    leaves.last = (first, count);
    let entries = E::run(table, first, count)?;
    Some(entries.is_sorted_by_key(|entry| E::found(entry).rule()))
}

fn inner(table: &Table<'_>, node: &Node, next_child: &mut u32) -> Option<()> {
    let (a, b) = (node.first_window(), node.second_window());
    let key_words = if node.is_ipv6() { Key6::WORDS } else { Key4::WORDS };
    let in_word = |window: Window| {
        window.word() < key_words && window.shift().checked_add(window.bits()).is_some_and(|end| end <= 32)
    };
    let lies_in_key = match node.tuple() {
        Some(tuple) => {
            let width = if node.is_ipv6() { 128 } else { 32 };
            tuple.source_shift() <= width && tuple.destination_shift() <= width
        }
        None => in_word(a) && in_word(b),
    };
    let bits = node.child_bits();
    // Without a window there is one child, which only a node with a remainder needs.
    if !lies_in_key || (bits == 0 && !node.has_remainder()) || bits > MAX_CHILD_BITS {
        return None;
    }
    let remainder = u32::from(node.has_remainder());
    let children = 1_u32.checked_shl(bits)?.checked_add(remainder)?;
    if node.base != *next_child {
        return None;
    }
    *next_child = node.base.checked_add(children)?;
    if *next_child > table.layout.counts.nodes {
        return None;
    }
    let (mut work, mut pending, mut first_rule) = (0, 0, NO_RULE);
    let mut remainder_work = 0;
    for child in node.base..*next_child {
        let is_remainder = remainder != 0 && child == node.base;
        let child = table.node(child)?;
        if child.is_ipv6() != node.is_ipv6() {
            return None;
        }
        first_rule = first_rule.min(child.first_rule);
        if is_remainder {
            remainder_work = child.work();
            pending = child.pending();
        } else {
            work = work.max(child.work());
            pending = pending.max(child.pending().checked_add(remainder)?);
        }
    }
    let work = work.checked_add(remainder_work)?.checked_add(1)?;
    (node.first_rule == first_rule && node.work() == work && node.pending() == pending).then_some(())
}

/// Answers whether one of them is for the names in answers.
fn suffixes(table: &Table<'_>) -> Result<bool, TableError> {
    let counts = &table.layout.counts;
    let (mut found, mut text_end) = (0_u32, 0_u32);
    let mut reads_answers = false;
    for index in 0..counts.lines {
        let error = TableError::BadSuffix(index);
        let mut in_line = names::Suffixes(names::line(table, index).ok_or(error)?);
        for suffix in &mut in_line {
            if let Some(offset) = suffix.offset() {
                let length = u32::try_from(suffix.length).map_err(|_| error)?;
                let end = offset.checked_add(length).filter(|end| *end <= counts.text_bytes).ok_or(error)?;
                if offset != text_end {
                    return Err(error);
                }
                text_end = end;
            }
            let text = suffix.text(table).ok_or(error)?;
            let (name, in_answer) = names::name_of(text);
            reads_answers |= in_answer;
            let is_canonical = (1..=MAX_NAME_LENGTH).contains(&name.len())
                && name.iter().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase());
            let is_found = names::find(table, text).is_some_and(|found| found.is_at(&suffix));
            // A packet's name is searched for in the trees of all suffixes that it ends in. The longest ends in the
            // others.
            if !is_canonical || !is_found || suffix.pair >= counts.tree_pairs || names::work(table, text) > MAX_WORK {
                return Err(error);
            }
            found = found.wrapping_add(1);
        }
        if in_line.0.iter().any(|byte| *byte != 0) {
            return Err(error);
        }
    }
    if found == counts.suffixes && text_end == counts.text_bytes {
        Ok(reads_answers)
    } else {
        Err(TableError::BadSuffix(counts.lines))
    }
}
