//! From entries to trees.
//!
//! A node with many entries is cut: by one or two windows of bits of the key, into as many children as the windows have
//! values. An entry that does not specify the bits of a window would have to go into many children. Depending on what is
//! cheaper, it does, or it goes into the remainder, a tree of its own that every search of the node visits too, unless a
//! better rule was found before. Which windows are best is estimated for a sample of the entries, on the assumption that
//! each of them is asked for equally often.
//!
//! Each node has a budget of space for what is below it, so that copies cannot get out of hand.

use alloc::vec;
use alloc::vec::Vec;

use super::ErrorKind;
use super::filter::Filters;
use crate::entry::{Common, Entry4, Entry6};
use crate::filter::BLOCK;
use crate::key::fold;
use crate::table::{
    MAX_ENTRIES, MAX_EXPANDED, MAX_LEAF, MAX_PENDING, MAX_WORK, NO_RULE, Node, Tuple, Window, meta, root, word,
};

/// How many entries are looked at to choose a cut.
const SAMPLE: usize = 256;

/// A cut never has more children than two to this.
const MAX_BITS: u32 = 14;

/// Nodes are not cut deeper than this.
const MAX_DEPTH: u32 = 24;

/// How much space a tree may take, in entries for each entry. A node takes half the space of an IPv4 entry.
const SPACE: usize = 8;

/// What a visit costs, in tenths of a nanosecond.
mod cost {
    pub(super) const NODE: u64 = 150;
    /// A leaf without a filter, and each of its entries.
    pub(super) const LEAF: u64 = 80;
    pub(super) const ENTRY: u64 = 40;
    /// A leaf with a filter, of one block; that there are more blocks; each block.
    pub(super) const FILTER: u64 = 180;
    pub(super) const BLOCKS: u64 = 100;
    pub(super) const BLOCK: u64 = 60;
    /// For as many copies as there are entries.
    pub(super) const GROWTH: u64 = 100;
    /// For every doubling of the entries below a node, beyond one block.
    pub(super) const DOUBLING: u64 = 90;
}

/// A leaf with so many entries has no filter.
const SMALL: u64 = 8;

const ONE_BLOCK: u64 = BLOCK as u64;

/// So few entries are not worth a cut.
const NOT_CUT: usize = 2 * BLOCK as usize;

/// A cut has one child for so many entries, as a power of two.
const ENTRIES_PER_CHILD_BITS: u32 = 2;

/// The sections that hold the trees.
#[derive(Default)]
pub(super) struct Built {
    pub(super) nodes: Vec<Node>,
    pub(super) entries4: Vec<Entry4>,
    pub(super) entries6: Vec<Entry6>,
    pub(super) filters: Vec<u32>,
}

/// Builds the trees of one table.
#[derive(Default)]
pub(super) struct Forest {
    roots: Vec<Source>,
}

/// The entries of one root, in order of their rules.
enum Source {
    Ipv4(Vec<Entry4>),
    Ipv6(Vec<Entry6>),
}

impl Forest {
    /// Adds a tree. One of the lists is empty, depending on the kind of root whose turn it is.
    pub(super) fn add_root(&mut self, entries4: Vec<Entry4>, entries6: Vec<Entry6>) {
        let wide = root::is_wide(self.roots.len() as u32);
        self.roots.push(if wide { Source::Ipv6(entries6) } else { Source::Ipv4(entries4) });
    }

    /// Builds all trees, by breadth.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] and [`ErrorKind::TooAlike`].
    pub(super) fn build(self) -> Result<Built, ErrorKind> {
        self.built().ok_or(ErrorKind::TooLarge)?.complete(self.roots.len())
    }

    /// The trees without their claims. `None` if they get too large.
    fn built(&self) -> Option<Built> {
        let mut built = Built { nodes: vec![Node::EMPTY; self.roots.len()], ..Built::default() };
        let spaces: Vec<Space> = self.roots.iter().map(Space::new).collect();
        let all = spaces.iter().map(|space| space.length).sum::<usize>();
        if all > MAX_EXPANDED {
            return None;
        }
        let space_each = SPACE.min(MAX_ENTRIES / all.max(1));
        let mut level: Vec<Task> = spaces
            .iter()
            .enumerate()
            .map(|(index, space)| Task {
                tree: index,
                node: index,
                entries: (0..space.length as u32).collect(),
                budget: space.length.saturating_mul(space_each),
                pending: 0,
                depth: 0,
                same_as: None,
            })
            .collect();
        let mut scratch = Scratch::default();
        let mut filters = Filters::default();
        while !level.is_empty() {
            let mut next = Vec::new();
            for task in level {
                let at = task.node;
                let (source, space) = (self.roots.get(task.tree)?, spaces.get(task.tree)?);
                let cut = if task.same_as.is_some() {
                    None
                } else {
                    scratch.choose(space, &task).and_then(|cut| cut.fit(space, &task))
                };
                let node = match (cut, task.same_as) {
                    (_, Some(other)) => *built.nodes.get(other)?,
                    (None, _) if task.entries.len() > MAX_LEAF as usize => built.chain(space, task, &mut next),
                    (None, _) => built.leaf(source, space, &mut filters, &task.entries),
                    (Some(cut), _) => built.inner(space, &task, cut, &mut next),
                };
                *built.nodes.get_mut(at)? = node;
            }
            level = next;
        }
        built.filters = filters.finish();
        let sound = built.entries4.len().max(built.entries6.len()) <= MAX_ENTRIES;
        (sound && u32::try_from(built.nodes.len()).is_ok()).then_some(built)
    }
}

/// A node that is to be built.
struct Task {
    tree: usize,
    node: usize,
    entries: Vec<u32>,
    /// How many entries' worth of space it may take.
    budget: usize,
    /// How many remainders wait when a search gets here.
    pending: usize,
    depth: u32,
    /// A leaf with the same entries that comes before this one.
    same_as: Option<usize>,
}

/// A part of the key that cuts can use: some bits of one of its words.
#[derive(Clone, Copy)]
pub(super) struct Dimension {
    pub(super) word: u32,
    pub(super) lowest_bit: u32,
    pub(super) width: u32,
}

impl Dimension {
    const fn new(word: usize, lowest_bit: u32, width: u32) -> Self {
        Self { word: word as u32, lowest_bit, width }
    }
}

const SOURCE_PORT: Dimension = Dimension::new(word::PORTS, 16, 16);
const DESTINATION_PORT: Dimension = Dimension::new(word::PORTS, 0, 16);
const PROTOCOL: Dimension = Dimension::new(word::META, meta::PROTOCOL_SHIFT, 8);
const DIRECTION: Dimension = Dimension::new(word::META, meta::DIRECTION_SHIFT, 2);

/// Which values of a dimension an entry covers: first and last.
pub(super) type Span = (u32, u32);

/// The entries of a tree as boxes.
pub(super) struct Space {
    length: usize,
    pub(super) wide: bool,
    /// The rule of each entry.
    rules: Vec<u32>,
    /// Source and destination of each entry, with the number of low bits that do not count.
    addresses: Vec<[(u128, u32); 2]>,
    /// First and last ports, and protocol, of each entry.
    rest: Vec<(u32, u32, Option<u8>)>,
    pub(super) dimensions: Vec<(Dimension, Vec<Span>)>,
}

impl Space {
    fn new(source: &Source) -> Self {
        match source {
            Source::Ipv4(entries) => {
                let mut space = Self::of(entries.iter().map(|entry| &entry.common), false);
                space.addresses = entries
                    .iter()
                    .map(|e| [(e.source.into(), e.source_shift), (e.destination.into(), e.destination_shift)])
                    .collect();
                space
                    .add(Dimension::new(word::SOURCE4, 0, 32), entries.iter().map(|e| span4(e.source, e.source_shift)));
                space.add(
                    Dimension::new(word::DESTINATION4, 0, 32),
                    entries.iter().map(|e| span4(e.destination, e.destination_shift)),
                );
                space
            }
            Source::Ipv6(entries) => {
                let mut space = Self::of(entries.iter().map(|entry| &entry.common), true);
                space.addresses = entries
                    .iter()
                    .map(|e| [(e.source, e.source_shift), (e.destination, e.destination_shift)])
                    .collect();
                for index in 0..4 {
                    let dimension = |word| Dimension::new(word + index as usize, 0, 32);
                    space.add(dimension(word::SOURCE6), entries.iter().map(|e| span6(e.source, e.source_shift, index)));
                    space.add(
                        dimension(word::DESTINATION6),
                        entries.iter().map(|e| span6(e.destination, e.destination_shift, index)),
                    );
                }
                space
            }
        }
    }

    fn of<'entries>(entries: impl Iterator<Item = &'entries Common> + Clone, wide: bool) -> Self {
        let rules: Vec<u32> = entries.clone().map(Common::rule_index).collect();
        let rest = entries
            .clone()
            .map(|e| {
                let exact = e.meta_mask & meta::PROTOCOL == meta::PROTOCOL;
                (e.first_ports, e.last_ports, exact.then_some((e.meta_value >> meta::PROTOCOL_SHIFT) as u8))
            })
            .collect();
        let mut space = Self { length: rules.len(), wide, rules, addresses: Vec::new(), rest, dimensions: Vec::new() };
        space.add(SOURCE_PORT, entries.clone().map(|e| (e.first_ports >> 16, e.last_ports >> 16)));
        space.add(DESTINATION_PORT, entries.clone().map(|e| (e.first_ports & 0xFFFF, e.last_ports & 0xFFFF)));
        for dimension in [PROTOCOL, DIRECTION] {
            let all = (1 << dimension.width) - 1;
            space.add(
                dimension,
                entries.clone().map(|e| {
                    let part = |bits: u32| bits >> dimension.lowest_bit & all;
                    if part(e.meta_mask) == all { (part(e.meta_value), part(e.meta_value)) } else { (0, all) }
                }),
            );
        }
        space
    }

    /// Adds a dimension, unless no entry depends on it.
    fn add(&mut self, dimension: Dimension, spans: impl Iterator<Item = Span>) {
        let all = u32::MAX >> (32 - dimension.width);
        let spans: Vec<Span> = spans.collect();
        if spans.iter().any(|span| *span != (0, all)) {
            self.dimensions.push((dimension, spans));
        }
    }
}

impl Space {
    /// The child of an entry that specifies all that a tuple consists of.
    fn tuple_child(&self, tuple: Tuple, entry: u32) -> Option<u32> {
        let [source, destination] = self.addresses[entry as usize];
        let (first, last, protocol) = self.rest[entry as usize];
        let ports = |part: u32, mask: u32| tuple.0 & part == 0 || (first ^ last) & mask == 0;
        let specified = source.1 <= tuple.source_shift()
            && destination.1 <= tuple.destination_shift()
            && ports(Tuple::SOURCE_PORT, 0xFFFF_0000)
            && ports(Tuple::DESTINATION_PORT, 0xFFFF)
            && (tuple.0 & Tuple::PROTOCOL == 0 || protocol.is_some());
        let hashed = |address: u128, shift: u32| {
            if self.wide { fold(address, shift) } else { (address >> shift) as u64 }
        };
        specified.then(|| {
            tuple.child(
                hashed(source.0, tuple.source_shift()),
                hashed(destination.0, tuple.destination_shift()),
                first,
                protocol.unwrap_or(0).into(),
            )
        })
    }
}

fn span4(first: u32, shift: u32) -> Span {
    (first, first | 1_u32.checked_shl(shift).map_or(u32::MAX, |bit| bit - 1))
}

/// What of word `index`, counted from the most significant one, a prefix covers.
fn span6(first: u128, shift: u32, index: u32) -> Span {
    let low_bits = 96 - 32 * index;
    span4((first >> low_bits) as u32, shift.saturating_sub(low_bits).min(32))
}

/// A window of a dimension, and the values in it that an entry covers.
#[derive(Clone, Copy, Default)]
pub(super) struct Slice {
    pub(super) dimension: usize,
    pub(super) shift: u32,
    pub(super) bits: u32,
}

impl Slice {
    /// The first and the last value of the window that `span` covers.
    pub(super) fn cover(self, (first, last): Span) -> Span {
        let mask = (1 << self.bits) - 1;
        let above = |value: u32| value.checked_shr(self.shift + self.bits).unwrap_or(0);
        if above(first) == above(last) { (first >> self.shift & mask, last >> self.shift & mask) } else { (0, mask) }
    }

    fn window(self, space: &Space) -> Window {
        match space.dimensions.get(self.dimension) {
            Some((dimension, _)) if self.bits != 0 => {
                Window::new(dimension.word, dimension.lowest_bit + self.shift, self.bits)
            }
            _ => Window::default(),
        }
    }

    fn span(self, space: &Space, entry: u32) -> Span {
        if self.bits == 0 {
            return (0, 0);
        }
        self.cover(space.dimensions[self.dimension].1[entry as usize])
    }
}

/// How a node is cut.
#[derive(Clone, Copy)]
struct Cut {
    slices: [Slice; 2],
    /// In place of the slices.
    tuple: Option<Tuple>,
    /// An entry that would go into more children than this goes into the remainder.
    copies: u32,
}

impl Cut {
    fn bits(&self) -> u32 {
        self.tuple.map_or(self.slices[0].bits + self.slices[1].bits, Tuple::bits)
    }

    /// The cut for all entries. The estimate came from a sample: if it was far too low, nothing is copied. `None` if nothing
    /// is left but a remainder.
    fn fit(mut self, space: &Space, task: &Task) -> Option<Self> {
        let children = 1_usize << self.bits();
        let copied = |entry: &u32| match self.cover(space, *entry).2 {
            count if count <= self.copies => count as usize,
            _ => 1,
        };
        if task.entries.iter().map(copied).sum::<usize>() > task.budget.saturating_sub(children / 2).saturating_mul(2)
            && task.pending + 1 < MAX_PENDING
        {
            self.copies = 1;
        }
        task.entries.iter().any(|entry| self.cover(space, *entry).2 <= self.copies).then_some(self)
    }

    /// The children of an entry: rows and columns.
    fn cover(&self, space: &Space, entry: u32) -> (Span, Span, u32) {
        if let Some(tuple) = self.tuple {
            return match space.tuple_child(tuple, entry) {
                Some(child) => ((child, child), (0, 0), 1),
                None => ((0, 0), (0, 0), u32::MAX),
            };
        }
        let [rows, columns] = self.slices.map(|slice| slice.span(space, entry));
        let count = (rows.1 - rows.0 + 1) * (columns.1 - columns.0 + 1);
        (rows, columns, count)
    }
}

/// What a search among `count` entries is expected to cost.
fn expected(count: u64) -> u64 {
    if count <= ONE_BLOCK {
        return leaf(count);
    }
    // Sixteenths of doublings, between powers of two linearly.
    let log = count.ilog2();
    let fraction = (count << 4 >> log) & 15;
    let doublings = u64::from(log - ONE_BLOCK.ilog2()) * 16 + fraction;
    leaf(count).min(cost::FILTER + cost::DOUBLING * doublings / 16)
}

/// What a search of a leaf is expected to cost, or of a chain of leaves.
fn leaf(count: u64) -> u64 {
    if count == 0 {
        0
    } else if count <= SMALL {
        cost::LEAF + cost::ENTRY * count / 2
    } else if count <= ONE_BLOCK {
        cost::FILTER
    } else {
        let more_leaves = count / u64::from(MAX_LEAF);
        cost::FILTER + cost::BLOCKS + (cost::BLOCK * (count / ONE_BLOCK) + cost::FILTER * more_leaves) / 2
    }
}

/// Memory that the estimates use again and again.
#[derive(Default)]
struct Scratch {
    sample: Vec<u32>,
    counts: Vec<i32>,
    weights: Vec<i64>,
    covers: Vec<(Span, Span, u32)>,
}

/// The weight of one entry, which the children that it is in share.
const WEIGHT: i64 = 1 << 16;

impl Scratch {
    /// The best cut for a node, if there is one that is worth it.
    fn choose(&mut self, space: &Space, task: &Task) -> Option<Cut> {
        let count = task.entries.len();
        if count <= NOT_CUT || task.depth >= MAX_DEPTH {
            return None;
        }
        let step = count.div_ceil(SAMPLE);
        self.sample.clear();
        self.sample.extend(task.entries.iter().step_by(step).copied());
        // No more children than a part of the entries, and no more than there is room for.
        let most_bits = (count.ilog2() - ENTRIES_PER_CHILD_BITS)
            .min(task.budget.saturating_sub(count).max(1).ilog2())
            .clamp(1, MAX_BITS);
        let mut best = (leaf(count as u64), None);
        // The best window of each dimension, to be tried in pairs.
        let mut best_slices: Vec<(u64, Slice)> = Vec::new();
        for dimension in 0..space.dimensions.len() {
            let mut best_here: Option<(u64, Slice)> = None;
            for slice in self.slices(space, dimension, most_bits) {
                let estimate = self.best_of(space, task, [slice, Slice::default()], step, &mut best);
                if best_here.is_none_or(|(cost, _)| estimate < cost) && estimate != u64::MAX {
                    best_here = Some((estimate, slice));
                }
            }
            best_slices.extend(best_here);
        }
        if most_bits >= 2 {
            best_slices.sort_by_key(|(cost, slice)| (*cost, slice.dimension));
            best_slices.truncate(3);
            for (index, (_, first)) in best_slices.iter().enumerate() {
                for (_, second) in best_slices.iter().skip(index + 1) {
                    for first_bits in [most_bits / 3, most_bits - most_bits / 3] {
                        let narrow = |slice: &Slice, bits: u32| {
                            let bits = bits.min(slice.bits);
                            // Keep the end of the window that was good: the lower one if it is at the bottom.
                            let shift = if slice.shift == 0 { 0 } else { slice.shift + slice.bits - bits };
                            Slice { shift, bits, ..*slice }
                        };
                        let pair = [narrow(first, first_bits), narrow(second, most_bits - first_bits)];
                        if pair.iter().all(|slice| slice.bits != 0) {
                            self.best_of(space, task, pair, step, &mut best);
                        }
                    }
                }
            }
        }
        self.tuples(space, task, step, &mut best);
        best.1
    }

    /// The windows of a dimension that may be good: at the highest bit in which the entries differ, at the lowest bit that
    /// most of them specify, and at the bottom.
    fn slices(&self, space: &Space, dimension: usize, most_bits: u32) -> Vec<Slice> {
        let (part, spans) = &space.dimensions[dimension];
        let all = u32::MAX >> (32 - part.width);
        let mut differing = 0;
        let mut reference = None;
        let mut free_bits = [0_u32; 33];
        let mut specified = 0;
        for entry in &self.sample {
            let (first, last) = spans[*entry as usize];
            if (first, last) == (0, all) {
                continue;
            }
            let free = first ^ last;
            let is_prefix = free & (free.wrapping_add(1)) == 0 && first & free == 0;
            let reference = *reference.get_or_insert(first);
            // Of a range that is no prefix, every bit in which its ends differ may tell it from another.
            differing |= if is_prefix { (first ^ reference) & !free } else { first ^ reference | free };
            free_bits[(32 - (first ^ last).leading_zeros()) as usize] += 1;
            specified += 1;
        }
        if specified == 0 {
            return Vec::new();
        }
        if differing == 0 {
            differing = 1;
        }
        let top = 32 - differing.leading_zeros();
        // The lowest bit that three quarters of them specify.
        let mut low = 0;
        let mut seen = free_bits[0];
        while seen * 4 < specified * 3 && low < part.width - 1 {
            low += 1;
            seen += free_bits[low as usize];
        }
        let mut slices = Vec::new();
        for bits in [most_bits, most_bits * 2 / 3, most_bits / 3] {
            let bits = bits.min(part.width);
            if bits == 0 {
                continue;
            }
            for shift in [top.saturating_sub(bits), low, 0] {
                let bits = bits.min(part.width - shift);
                if bits != 0 && !slices.iter().any(|s: &Slice| s.shift == shift && s.bits == bits) {
                    slices.push(Slice { dimension, shift, bits });
                }
            }
        }
        slices
    }

    /// Estimates a pair of windows with different treatment of the entries that do not specify them. Gives the lowest
    /// estimate, and notes it in `best` if it is lower.
    fn best_of(
        &mut self,
        space: &Space,
        task: &Task,
        slices: [Slice; 2],
        step: usize,
        best: &mut (u64, Option<Cut>),
    ) -> u64 {
        let mut lowest = u64::MAX;
        let children = 1_u32 << (slices[0].bits + slices[1].bits);
        let probe = Cut { slices, tuple: None, copies: children };
        self.covers.clear();
        self.covers.extend(self.sample.iter().map(|entry| probe.cover(space, *entry)));
        let most = self.covers.iter().map(|(.., count)| *count).max().unwrap_or(0);
        let mut tried = 0;
        for copies in [children, (children / 4).max(1), 1] {
            // Fewer copies make a difference only if there are entries with more.
            let effective = copies.min(most);
            if effective == tried {
                continue;
            }
            tried = effective;
            if effective < most && task.pending + 1 >= MAX_PENDING {
                continue;
            }
            let cut = Cut { slices, tuple: None, copies };
            if let Some(estimate) = self.estimate(task, &cut, step) {
                lowest = lowest.min(estimate);
                if estimate < best.0 {
                    *best = (estimate, Some(cut));
                }
            }
        }
        lowest
    }

    /// Estimates tuples that many entries specify.
    fn tuples(&mut self, space: &Space, task: &Task, step: usize, best: &mut (u64, Option<Cut>)) {
        if task.pending + 1 >= MAX_PENDING {
            return;
        }
        let shifts = |side: usize, sample: &[u32]| {
            let mut all: Vec<u32> = sample.iter().map(|entry| space.addresses[*entry as usize][side].1).collect();
            all.sort_unstable();
            let mut shifts: Vec<u32> = [1, 3, 5, 7].iter().map(|eighths| all[all.len() * eighths / 8]).collect();
            shifts.push(if space.wide { 128 } else { 32 });
            shifts.dedup();
            shifts
        };
        let sources = shifts(0, &self.sample);
        let destinations = shifts(1, &self.sample);
        let mut best_here: (u64, Option<Tuple>) = (u64::MAX, None);
        for source in &sources {
            for destination in &destinations {
                for parts in [0, Tuple::DESTINATION_PORT] {
                    let estimate = self.tuple(space, task, (*source, *destination, parts), step, best);
                    if let Some((estimate, tuple)) = estimate.filter(|(estimate, _)| *estimate < best_here.0) {
                        best_here = (estimate, Some(tuple));
                    }
                }
            }
        }
        if let Some(tuple) = best_here.1 {
            let parts = tuple.0 & Tuple::DESTINATION_PORT;
            let addresses = (tuple.source_shift(), tuple.destination_shift());
            for more in [Tuple::PROTOCOL, Tuple::SOURCE_PORT, Tuple::SOURCE_PORT | Tuple::PROTOCOL] {
                self.tuple(space, task, (addresses.0, addresses.1, parts | more), step, best);
            }
        }
    }

    fn tuple(
        &mut self,
        space: &Space,
        task: &Task,
        (source, destination, parts): (u32, u32, u32),
        step: usize,
        best: &mut (u64, Option<Cut>),
    ) -> Option<(u64, Tuple)> {
        let probe = Tuple::new(source, destination, 1, parts);
        let covered = self.sample.iter().filter(|entry| space.tuple_child(probe, **entry).is_some()).count();
        if covered * 20 < self.sample.len() {
            return None;
        }
        let bits = (covered * step).ilog2().saturating_sub(ENTRIES_PER_CHILD_BITS).clamp(1, MAX_BITS);
        let tuple = Tuple::new(source, destination, bits, parts);
        let cut = Cut { slices: [Slice::default(); 2], tuple: Some(tuple), copies: 1 };
        self.covers.clear();
        self.covers.extend(self.sample.iter().map(|entry| cut.cover(space, *entry)));
        let estimate = self.estimate(task, &cut, step)?;
        if estimate < best.0 {
            *best = (estimate, Some(cut));
        }
        Some((estimate, tuple))
    }

    /// What a search of the node is expected to cost if it is cut like this. `None` if that takes too much space or leads
    /// nowhere.
    fn estimate(&mut self, task: &Task, cut: &Cut, step: usize) -> Option<u64> {
        let [rows, columns] = match cut.tuple {
            Some(tuple) => [1 << tuple.bits(), 1],
            None => cut.slices.map(|slice| 1_usize << slice.bits),
        };
        let width = columns + 1;
        self.counts.clear();
        self.counts.resize((rows + 1) * width, 0);
        self.weights.clear();
        self.weights.resize((rows + 1) * width, 0);
        let (mut remainder, mut total) = (0_usize, 0_usize);
        for (row, column, count) in &self.covers {
            if *count > cut.copies {
                remainder += 1;
                continue;
            }
            total += *count as usize;
            let weight = WEIGHT / i64::from(*count);
            let corners = [
                (row.0 as usize * width + column.0 as usize, 1),
                (row.0 as usize * width + column.1 as usize + 1, -1),
                ((row.1 as usize + 1) * width + column.0 as usize, -1),
                ((row.1 as usize + 1) * width + column.1 as usize + 1, 1),
            ];
            for (corner, sign) in corners {
                self.counts[corner] += sign;
                self.weights[corner] += i64::from(sign) * weight;
            }
        }
        let sampled = self.covers.len();
        let space = total * step + remainder * step + rows * columns / 2;
        if space > task.budget || remainder * 20 > sampled * 19 {
            return None;
        }
        // The packets of the remainder's entries go into any child.
        let stray = remainder as i64 * WEIGHT / (rows * columns) as i64;
        let (mut sum, mut progress) = (0_u128, 0_u128);
        for row in 0..rows {
            let (mut count, mut weight) = (0, 0);
            for column in 0..columns {
                let at = row * width + column;
                count += self.counts[at];
                weight += self.weights[at];
                if row != 0 {
                    // Row sums are kept running from row to row.
                    let above = at - width;
                    self.counts[at] = count + self.counts[above];
                    self.weights[at] = weight + self.weights[above];
                } else {
                    self.counts[at] = count;
                    self.weights[at] = weight;
                }
                let entries = self.counts[at] as u64 * step as u64;
                let share = (self.weights[at] + stray) as u128;
                sum += share * u128::from(expected(entries));
                progress += share * u128::from(entries);
            }
        }
        let all = sampled as u128 * WEIGHT as u128;
        if progress / all * 20 > task.entries.len() as u128 * 19 {
            return None;
        }
        let growth = (total + remainder).saturating_sub(sampled) as u64 * cost::GROWTH / sampled as u64;
        Some(cost::NODE + (sum / all) as u64 + expected((remainder * step) as u64) + growth)
    }
}

impl Built {
    fn leaf(&mut self, source: &Source, space: &Space, filters: &mut Filters, entries: &[u32]) -> Node {
        if entries.is_empty() {
            return match source {
                Source::Ipv4(_) => Node::EMPTY,
                Source::Ipv6(_) => Node { control: Node::EMPTY.control | Node::WIDE, ..Node::EMPTY },
            };
        }
        let count = entries.len() as u32;
        let runs = (1..=count).rev().map(|run| run.min(0xF_FFFF));
        let (base, first, wide) = match source {
            Source::Ipv4(all) => {
                let base = self.entries4.len();
                self.entries4.extend(entries.iter().zip(runs).map(|(index, run)| {
                    let entry = all[*index as usize];
                    Entry4 { common: Common { run, ..entry.common }, ..entry }
                }));
                (base, self.entries4[base].common, 0)
            }
            Source::Ipv6(all) => {
                let base = self.entries6.len();
                self.entries6.extend(entries.iter().zip(runs).map(|(index, run)| {
                    let entry = all[*index as usize];
                    Entry6 { common: Common { run, ..entry.common }, ..entry }
                }));
                (base, self.entries6[base].common, Node::WIDE)
            }
        };
        Node {
            base: base as u32,
            first_rule: first.rule_index(),
            control: Node::LEAF | wide | count,
            claim: if count as usize > SMALL as usize { filters.add(space, entries) } else { 0 },
        }
    }

    /// Makes a chain of leaves out of entries that no cut tells apart: one child, and a remainder.
    fn chain(&mut self, space: &Space, mut task: Task, next: &mut Vec<Task>) -> Node {
        let base = self.nodes.len();
        self.nodes.resize(base + 2, Node::EMPTY);
        let first_rule = task.entries.first().and_then(|entry| space.rules.get(*entry as usize));
        let first_rule = first_rule.copied().unwrap_or(NO_RULE);
        let rest = task.entries.split_off(MAX_LEAF as usize);
        let flags = Node::REMAINDER | if space.wide { Node::WIDE } else { 0 };
        next.push(Task { node: base, entries: rest, depth: MAX_DEPTH, ..task });
        next.push(Task { node: base + 1, pending: task.pending + 1, depth: MAX_DEPTH, ..task });
        Node { base: base as u32, first_rule, control: flags, claim: 0 }
    }

    /// Makes room for the children, and tasks of them.
    fn inner(&mut self, space: &Space, task: &Task, cut: Cut, next: &mut Vec<Task>) -> Node {
        let children = 1_usize << cut.bits();
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); children];
        let mut remainder = Vec::new();
        let second_bits = if cut.tuple.is_some() { 0 } else { cut.slices[1].bits };
        for entry in &task.entries {
            let (rows, columns, count) = cut.cover(space, *entry);
            if count > cut.copies {
                remainder.push(*entry);
                continue;
            }
            for row in rows.0..=rows.1 {
                for column in columns.0..=columns.1 {
                    lists[(row << second_bits | column) as usize].push(*entry);
                }
            }
        }
        let total = lists.iter().map(Vec::len).sum::<usize>() + remainder.len();
        let left = task.budget.saturating_sub(children / 2).max(total);
        let share = |list: &Vec<u32>| {
            usize::try_from(left as u128 * list.len() as u128 / total.max(1) as u128).unwrap_or(usize::MAX)
        };
        let base = self.nodes.len();
        let has_remainder = usize::from(!remainder.is_empty());
        let pending = task.pending + has_remainder;
        self.nodes.resize(base + children + has_remainder, Node::EMPTY);
        let mut task_of = |node: usize, entries: Vec<u32>, pending: usize, same_as: Option<usize>| {
            let budget = share(&entries);
            next.push(Task { tree: task.tree, node, budget, entries, pending, depth: task.depth + 1, same_as });
        };
        if has_remainder != 0 {
            task_of(base, remainder, task.pending, None);
        }
        let mut previous: Option<(usize, Vec<u32>)> = None;
        for (index, list) in lists.into_iter().enumerate() {
            let node = base + has_remainder + index;
            let is_leaf = list.len() <= BLOCK as usize;
            let same_as = previous.as_ref().filter(|(_, entries)| is_leaf && *entries == list).map(|(node, _)| *node);
            if same_as.is_none() {
                previous = is_leaf.then(|| (node, list.clone()));
            }
            task_of(node, list, pending, same_as);
        }
        let how = match cut.tuple {
            Some(tuple) => tuple.0 | Node::TUPLE,
            None => {
                let [first, second] = cut.slices.map(|slice| slice.window(space));
                first.0 | second.0 << Node::WINDOW_BITS
            }
        };
        let flags = if has_remainder != 0 { Node::REMAINDER } else { 0 } | if space.wide { Node::WIDE } else { 0 };
        let first_rule = task.entries.first().and_then(|entry| space.rules.get(*entry as usize));
        Node { base: base as u32, first_rule: first_rule.copied().unwrap_or(NO_RULE), control: how | flags, claim: 0 }
    }

    /// Fills in the claims, from the leaves to the roots.
    fn complete(mut self, roots: usize) -> Result<Self, ErrorKind> {
        for index in (0..self.nodes.len()).rev() {
            let node = self.nodes[index];
            if node.is_leaf() {
                continue;
            }
            let base = node.base as usize;
            let (rest, children) = self.nodes[base..].split_at(usize::from(node.has_remainder()));
            let children = &children[..1 << node.child_bits()];
            let work = |nodes: &[Node]| nodes.iter().map(Node::work).max().unwrap_or(0);
            let pending = |nodes: &[Node]| nodes.iter().map(Node::pending).max().unwrap_or(0);
            // A chain of leaves may have more records than a claim has room for; it is too long in any case.
            let work = (work(rest) + work(children) + 1).min(Node::WORK_MASK);
            let pending = pending(rest).max(pending(children) + rest.len() as u32);
            self.nodes[index].claim = work | pending << Node::PENDING_SHIFT;
        }
        let sound = self.nodes.iter().take(roots).all(|node| node.work() <= MAX_WORK);
        if sound { Ok(self) } else { Err(ErrorKind::TooAlike) }
    }
}
