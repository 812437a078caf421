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

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::iter;

    use super::super::Source;
    use super::*;
    use crate::policy::entry::{Common, Entry4};

    /// An entry for two prefixes, that many low bits of which are open, and for destination ports.
    fn entry(source: (u32, u32), destination: (u32, u32), ports: (u16, u16)) -> Entry4 {
        let (first_ports, last_ports) = (ports.0.into(), 0xFFFF_0000 | u32::from(ports.1));
        let common = Common { first_ports, last_ports, ..Common::ANY };
        Entry4 {
            source: source.0,
            source_shift: source.1,
            destination: destination.0,
            destination_shift: destination.1,
            common,
        }
    }

    const ANY: (u32, u32) = (0, 32);
    const ALL_PORTS: (u16, u16) = (0, u16::MAX);

    /// Entries for as many source addresses, one behind the other.
    fn in_a_row(count: u32) -> Vec<Entry4> {
        (0..count).map(|number| entry((number, 0), ANY, ALL_PORTS)).collect()
    }

    fn task(count: usize, budget: usize) -> Task {
        Task { node: 0, entries: (0..count as u32).collect(), budget, pending: 0, depth: 0, same_as: None }
    }

    /// The windows of the only dimension: where they start, and their bits.
    fn slices(entries: Vec<Entry4>, most_bits: u32) -> Vec<(u32, u32)> {
        let model = CostModel::default();
        let mut chooser = Chooser::new(&model);
        chooser.sample = (0..entries.len() as u32).collect();
        let space = Space::new(&Source::Ipv4(entries));
        assert_eq!(space.dimensions.len(), 1);
        chooser.slices(&space, 0, most_bits).iter().map(|slice| (slice.shift, slice.bits)).collect()
    }

    #[test]
    fn windows_are_tried_at_the_highest_bit_that_differs_at_the_lowest_that_most_specify_and_at_the_bottom() {
        let of = |prefixes: &[(u32, u32)]| prefixes.iter().map(|prefix| entry(*prefix, ANY, ALL_PORTS)).collect();
        // Bits 0 and 8 differ; every bit is specified. In turn all bits, two thirds and one.
        let addresses = of(&[(0x0A00_0000, 0), (0x0A00_0001, 0), (0x0A00_0100, 0)]);
        assert_eq!(slices(addresses, 4), [(5, 4), (0, 4), (7, 2), (0, 2), (8, 1), (0, 1)]);
        // Networks of which bits 8 and 9 differ, and three of four specify nothing below.
        let networks = [(0x0A00_0000, 8), (0x0A00_0100, 8), (0x0A00_0200, 8), (0x0A00_0200, 0)];
        assert_eq!(slices(of(&networks), 3), [(7, 3), (8, 3), (0, 3), (8, 2), (0, 2), (9, 1), (8, 1), (0, 1)]);
        // Three of four are three quarters; five of ten are not.
        let most_are_addresses = [(0, 8), (1, 0), (2, 0), (3, 0)];
        assert_eq!(slices(of(&most_are_addresses), 3), [(0, 3), (0, 2), (1, 1), (0, 1)]);
        let half_are_addresses = [[(0, 8); 5], [(1, 0), (2, 0), (3, 0), (2, 0), (1, 0)]].concat();
        assert_eq!(slices(of(&half_are_addresses), 3), [(0, 3), (8, 3), (0, 2), (8, 2), (1, 1), (8, 1), (0, 1)]);
        // What specifies nothing says nothing.
        assert_eq!(slices(of(&[(0x8000_0000, 0), (0x8000_0000, 0), ANY]), 2), [(0, 2), (0, 1)]);
        // A window ends where the address does.
        assert_eq!(
            slices(of(&[(0, 28), (1 << 28, 28), (15 << 28, 28)]), 6),
            [(26, 6), (28, 4), (0, 6), (0, 4), (30, 2), (28, 2), (0, 2)]
        );
        // Of ranges that are no prefixes, each bit in which their ends differ may count.
        let of = |ports: &[(u16, u16)]| ports.iter().map(|ports| entry(ANY, ANY, *ports)).collect();
        assert_eq!(
            slices(of(&[(0x9000, 0x900F), (0x8FF0, 0x900F), ALL_PORTS]), 3),
            [(10, 3), (13, 3), (0, 3), (11, 2), (13, 2), (0, 2), (12, 1), (13, 1), (0, 1)]
        );
        // Where most specify no bit, the highest one is the lowest that is tried.
        assert_eq!(
            slices(of(&[(1, 0xFFFF), (0x7FFF, 0x8000)]), 3),
            [(13, 3), (15, 1), (0, 3), (14, 2), (0, 2), (0, 1)]
        );
    }

    #[test]
    fn a_window_is_made_narrower_at_the_end_that_was_good() {
        let slice = |shift, bits| Slice { dimension: 1, shift, bits };
        let narrowed = |slice: Slice, bits| {
            let narrowed = slice.narrowed(bits);
            (narrowed.dimension, narrowed.shift, narrowed.bits)
        };
        assert_eq!(narrowed(slice(4, 6), 2), (1, 8, 2));
        assert_eq!(narrowed(slice(0, 6), 2), (1, 0, 2));
        assert_eq!(narrowed(slice(4, 6), 7), (1, 4, 6));
    }

    fn choose_by(model: &CostModel, entries: Vec<Entry4>, task: &Task) -> Option<Cut> {
        Chooser::new(model).choose(&Space::new(&Source::Ipv4(entries)), task)
    }

    fn choose(entries: Vec<Entry4>, task: &Task) -> Option<Cut> {
        choose_by(&CostModel::default(), entries, task)
    }

    #[test]
    fn a_cut_has_a_child_for_four_entries_as_far_as_there_is_room() {
        let children =
            |count: u32, budget| choose(in_a_row(count), &task(count as usize, budget)).map(|cut| cut.children());
        assert_eq!(children(1024, 10_000), Some(256));
        assert_eq!(children(2047, 20_000), Some(256));
        assert_eq!(children(2048, 20_000), Some(512));
        assert_eq!(children(1024, 1024 + 64), Some(64));
        assert_eq!(children(1024, 1024 + 63), Some(32));
        assert_eq!(children(1024, 1024 + 1), Some(2));
        assert_eq!(children(1024, 1024), None);
        let model = CostModel { entries_per_child_bits: 0, ..CostModel::default() };
        let cut = choose_by(&model, in_a_row(1 << 16), &task(1 << 16, 1 << 20)).unwrap();
        assert_eq!(cut.children(), 1 << MAX_BITS);
    }

    #[test]
    fn few_entries_and_deep_nodes_are_not_cut() {
        let is_cut =
            |count: u32, depth| choose(in_a_row(count), &Task { depth, ..task(count as usize, 10_000) }).is_some();
        assert!(!is_cut(256, 0) && is_cut(257, 0));
        assert!(is_cut(257, MAX_DEPTH - 1) && !is_cut(257, MAX_DEPTH));
    }

    #[test]
    fn two_windows_are_taken_where_each_by_itself_leaves_much() {
        let of_grid = |model: &CostModel, sources: u32, destinations: u32| {
            let entry = |number| entry((number / destinations, 0), (number % destinations, 0), ALL_PORTS);
            let mut grid: Vec<Entry4> = (0..sources * destinations).map(entry).collect();
            // So that a sample is as the whole.
            fastrand::Rng::with_seed(1).shuffle(&mut grid);
            let count = grid.len();
            choose_by(model, grid, &task(count, 10 * count)).unwrap().bits()
        };
        // Two thirds of nine bits for the side with more values.
        let model = CostModel { entry: 1, ..CostModel::default() };
        assert_eq!(of_grid(&model, 64, 32), [6, 3]);
        // Of seven bits, a third comes first where it does not matter.
        let model = CostModel { not_cut: 0, entries_per_child_bits: 1, ..model };
        assert_eq!(of_grid(&model, 16, 16), [2, 5]);
    }

    /// Four addresses, and whatever is in all children of a window of two bits.
    fn four_and(others: u32) -> Vec<Entry4> {
        let others = iter::repeat_n(entry(ANY, (1, 0), ALL_PORTS), others as usize);
        in_a_row(4).into_iter().chain(others).collect()
    }

    const TWO_BITS: Cut = Cut {
        by: By::Windows([Slice { dimension: 0, shift: 0, bits: 2 }, Slice { dimension: 0, shift: 0, bits: 0 }]),
        copies: 4,
    };

    #[test]
    fn entries_are_not_copied_if_that_takes_twice_the_space() {
        let space = Space::new(&Source::Ipv4(four_and(1)));
        let copies = |budget, pending| Some(TWO_BITS.fit(&space, &Task { pending, ..task(5, budget) })?.copies);
        // Four entries and four copies, and half an entry for each of four children.
        assert_eq!(copies(4 + 2, 0), Some(4));
        assert_eq!(copies(3 + 2, 0), Some(1));
        // Where no more subtrees may wait, there is no choice.
        assert_eq!([MAX_PENDING - 2, MAX_PENDING - 1].map(|pending| copies(3 + 2, pending)), [Some(1), Some(4)]);
        // What is in more children than two is in the remainder anyway.
        let entries = [(0, 0), (1, 0), (2, 1), ANY].map(|source| entry(source, ANY, ALL_PORTS));
        let space = Space::new(&Source::Ipv4(entries.to_vec()));
        let two = |budget| Some(Cut { copies: 2, ..TWO_BITS }.fit(&space, &task(4, budget))?.copies);
        assert_eq!([3 + 2, 2 + 2].map(two), [Some(2), Some(1)]);
        let space = Space::new(&Source::Ipv4(vec![entry(ANY, (1, 0), ALL_PORTS), entry((0, 30), ANY, ALL_PORTS)]));
        assert!(Cut { copies: 1, ..TWO_BITS }.fit(&space, &task(2, 1000)).is_none(), "all would be left");
    }

    #[test]
    fn a_remainder_is_for_entries_that_there_is_no_room_to_copy_unless_too_many_wait() {
        let of_any = iter::repeat_n(entry(ANY, ANY, ALL_PORTS), 300);
        let entries: Vec<Entry4> = in_a_row(500).into_iter().chain(of_any).collect();
        let dear_leaves = CostModel { more_groups: 10_000, ..CostModel::default() };
        let copies = |pending, budget| {
            let cut = choose_by(&dear_leaves, entries.clone(), &Task { pending, ..task(800, budget) })?;
            Some((cut.copies as usize, cut.children()))
        };
        // Two children would have 300 entries more than there are.
        let (few, children) = copies(0, 1000).unwrap();
        assert_eq!(few, children / 4);
        assert_eq!(
            [MAX_PENDING - 2, MAX_PENDING - 1].map(|pending| copies(pending, 1000)),
            [Some((few, children)), None]
        );
        let (all, children) = copies(MAX_PENDING - 1, 2000).unwrap();
        assert_eq!(all, children);
    }

    #[test]
    fn a_hash_table_has_as_many_children_as_keys_and_as_there_is_room_for() {
        let model = CostModel::default();
        let table = |entries: Vec<Entry4>, step, budget| {
            let mut chooser = Chooser::new(&model);
            (chooser.sample, chooser.step) = ((0..entries.len() as u32).collect(), step);
            let task = task(entries.len() * step, budget);
            Some(chooser.table(&Space::new(&Source::Ipv4(entries)), &task)?.children())
        };
        assert_eq!(table(in_a_row(100), 1, 1000), Some(128));
        assert_eq!(table(in_a_row(100), 3, 1000), Some(512));
        assert_eq!(
            [100 + 64, 100 + 63, 100].map(|budget| table(in_a_row(100), 1, budget)),
            [Some(64), Some(32), Some(2)]
        );
        assert_eq!(table(in_a_row(100), 10_000, 10_000_000), Some(1 << MAX_TABLE_BITS));
        // Two entries have the same key.
        let twice = in_a_row(50).into_iter().chain(in_a_row(50)).collect();
        assert_eq!(table(twice, 1, 1000), Some(64));
        // It has to hold an eighth.
        let of_any =
            |held| in_a_row(held).into_iter().chain(iter::repeat_n(entry(ANY, ANY, (1, 2)), 96 - held as usize));
        assert_eq!([12, 11].map(|held| table(of_any(held).collect(), 10, 10_000)), [Some(128), None]);
    }

    #[test]
    fn a_hash_table_has_a_remainder_which_has_to_wait() {
        let model = CostModel { trees: TreeKind::Tables, ..CostModel::default() };
        let is_table = |pending| {
            let cut = choose_by(&model, in_a_row(1000), &Task { pending, ..task(1000, 10_000) }).unwrap();
            matches!(cut.by, By::Tuple(_))
        };
        assert_eq!([0, MAX_PENDING - 2, MAX_PENDING - 1].map(is_table), [true, true, false]);
    }
}
