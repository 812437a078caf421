//! How a node can be cut, and which way is the best.

use alloc::vec::Vec;

use super::Task;
use super::cost::{CostModel, Estimator, TreeKind};
use super::space::{Slice, Space, Span};
use super::tuple::Tuples;
use crate::policy::node::Tuple;
use crate::policy::table::MAX_PENDING;

/// How many entries are looked at to choose a cut. Twice as many take twice the time and hardly change a choice.
const SAMPLE: usize = 256;

/// The largest number of children of a cut, as a power of two: 256 KiB of nodes.
const MAX_BITS: u32 = 14;

/// Nodes are not cut deeper than this. No set of rules that was seen comes near; a search visits a node a level.
pub(super) const MAX_DEPTH: u32 = 24;

/// How many dimensions are tried in pairs: those whose windows are best by themselves.
const PAIRED: usize = 3;

/// The largest number of children of a hash table, as a power of two.
const MAX_TABLE_BITS: u32 = 17;

/// A hash table has to hold one in this many entries.
const LEAST_HELD: usize = 8;

/// How a node is cut.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) by: By,
    /// An entry that would go into more children than this goes into the remainder.
    pub(super) copies: u32,
}

/// What decides which child a packet goes to.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// Windows of the key: the value of the first is the row, that of the second the column.
    Windows([Slice; 2]),
    /// A hash of parts of the key.
    Tuple(Tuple),
}

/// The children that an entry goes into: rows, columns, and how many they are.
pub(super) type Cover = (Span, Span, u32);

impl Cut {
    /// How many children there are, as a power of two, in rows and in columns.
    pub(super) fn bits(&self) -> [u32; 2] {
        match self.by {
            By::Windows(slices) => slices.map(|slice| slice.bits),
            By::Tuple(tuple) => [tuple.bits(), 0],
        }
    }

    /// How many children there are, not counting a remainder.
    pub(super) fn children(&self) -> usize {
        let [rows, columns] = self.bits();
        1 << (rows + columns)
    }

    /// The cut for all entries. The estimate came from a sample: if it was far too low, nothing is copied. `None` if
    /// nothing is left but a remainder.
    pub(super) fn fit(mut self, space: &Space, task: &Task) -> Option<Self> {
        let copied = |entry: &u32| match self.cover(space, *entry).2 {
            count if count <= self.copies => count as usize,
            _ => 1,
        };
        let room = task.budget.saturating_sub(self.children() / 2).saturating_mul(2);
        if task.entries.iter().map(copied).sum::<usize>() > room && task.pending + 1 < MAX_PENDING {
            self.copies = 1;
        }
        task.entries.iter().any(|entry| self.cover(space, *entry).2 <= self.copies).then_some(self)
    }

    /// The children of an entry.
    pub(super) fn cover(&self, space: &Space, entry: u32) -> Cover {
        match self.by {
            By::Tuple(tuple) => match space.tuple_child(tuple, entry) {
                Some(child) => ((child, child), (0, 0), 1),
                None => ((0, 0), (0, 0), u32::MAX),
            },
            By::Windows(slices) => {
                let [rows, columns] = slices.map(|slice| slice.span(space, entry));
                let count = (rows.1 - rows.0 + 1) * (columns.1 - columns.0 + 1);
                (rows, columns, count)
            }
        }
    }
}

/// The cheapest cut so far, and what it is expected to cost.
struct Best {
    cost: u64,
    cut: Option<Cut>,
}

impl Best {
    fn note(&mut self, cost: u64, cut: Cut) {
        if cost < self.cost {
            *self = Self { cost, cut: Some(cut) };
        }
    }
}

/// Chooses cuts, in memory that it uses again and again.
pub(super) struct Chooser<'a> {
    model: &'a CostModel,
    sample: Vec<u32>,
    /// One in this many entries is in the sample.
    step: usize,
    estimator: Estimator,
    tuples: Tuples,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(model: &'a CostModel) -> Self {
        Self { model, sample: Vec::new(), step: 0, estimator: Estimator::default(), tuples: Tuples::default() }
    }

    /// The best cut for a node, if there is one that is worth it.
    pub(super) fn choose(&mut self, space: &Space, task: &Task) -> Option<Cut> {
        let count = task.entries.len();
        if count <= self.model.not_cut || task.depth >= MAX_DEPTH {
            return None;
        }
        self.step = count.div_ceil(SAMPLE);
        self.sample.clear();
        self.sample.extend(task.entries.iter().step_by(self.step).copied());
        // No more children than a part of the entries, and no more than there is room for.
        let most_bits = count
            .ilog2()
            .saturating_sub(self.model.entries_per_child_bits)
            .min(task.budget.saturating_sub(count).max(1).ilog2())
            .clamp(1, MAX_BITS);
        if self.model.trees == TreeKind::Tables
            && task.pending + 1 < MAX_PENDING
            && let Some(cut) = self.table(space, task)
        {
            return Some(cut);
        }
        let mut best = Best { cost: self.model.leaf(count as u64), cut: None };
        let slices = self.single_windows(space, task, most_bits, &mut best);
        if most_bits >= 2 {
            self.pairs_of_windows(space, task, most_bits, &slices, &mut best);
        }
        best.cut
    }

    /// Tries one window at a time. Gives the best one of each dimension, and what it costs.
    fn single_windows(&mut self, space: &Space, task: &Task, most_bits: u32, best: &mut Best) -> Vec<(u64, Slice)> {
        let mut best_slices = Vec::new();
        for dimension in 0..space.dimensions.len() {
            let mut best_here: Option<(u64, Slice)> = None;
            for slice in self.slices(space, dimension, most_bits) {
                let cost = self.windows(space, task, [slice, Slice::default()], best);
                if best_here.is_none_or(|(lowest, _)| cost < lowest) && cost != u64::MAX {
                    best_here = Some((cost, slice));
                }
            }
            best_slices.extend(best_here);
        }
        best_slices
    }

    /// Tries two windows at a time: the best by themselves, made narrower.
    fn pairs_of_windows(
        &mut self,
        space: &Space,
        task: &Task,
        most_bits: u32,
        slices: &[(u64, Slice)],
        best: &mut Best,
    ) {
        let mut slices = slices.to_vec();
        slices.sort_by_key(|(cost, slice)| (*cost, slice.dimension));
        slices.truncate(PAIRED);
        for (index, (_, first)) in slices.iter().enumerate() {
            for (_, second) in slices.iter().skip(index + 1) {
                for first_bits in [most_bits / 3, most_bits - most_bits / 3] {
                    let pair = [first.narrowed(first_bits), second.narrowed(most_bits - first_bits)];
                    if pair.iter().all(|slice| slice.bits != 0) {
                        self.windows(space, task, pair, best);
                    }
                }
            }
        }
    }

    /// The windows of a dimension that may be good: at the highest bit in which the entries differ, at the lowest bit
    /// that most of them specify, and at the bottom.
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
            // Where a range is not a prefix, every bit in which its ends differ may tell it from another.
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

    /// Tries windows with different treatment of the entries that do not specify them. Gives the lowest cost.
    fn windows(&mut self, space: &Space, task: &Task, slices: [Slice; 2], best: &mut Best) -> u64 {
        let mut lowest = u64::MAX;
        let by = By::Windows(slices);
        let children = 1_u32 << (slices[0].bits + slices[1].bits);
        let most = self.estimator.look_at(space, &Cut { by, copies: children }, &self.sample);
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
            let cut = Cut { by, copies };
            if let Some(cost) = self.estimator.estimate(self.model, space, task, &cut, self.step) {
                lowest = lowest.min(cost);
                best.note(cost, cut);
            }
        }
        lowest
    }

    /// A cut by a hash table that holds a good part of the entries.
    fn table(&mut self, space: &Space, task: &Task) -> Option<Cut> {
        let best = self.tuples.best(space, &self.sample, self.step)?;
        if best.held * LEAST_HELD < self.sample.len() {
            return None;
        }
        let keys = (best.held * self.step) as u64 * 16 / best.crowd;
        let room = task.budget.saturating_sub(task.entries.len()).max(1).ilog2();
        let bits = keys.max(2).next_power_of_two().ilog2().clamp(1, MAX_TABLE_BITS).min(room.max(1));
        Some(Cut { by: By::Tuple(best.tuple(bits)), copies: 1 })
    }
}
