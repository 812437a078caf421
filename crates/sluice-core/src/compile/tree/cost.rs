//! What a search is expected to cost: of a leaf, and of a node that is cut in a certain way.
//!
//! Costs are in tenths of a nanosecond. They were measured on the ClassBench sets and adjusted by trial; only their
//! ratios matter (`docs/performance.md`, section 2). They keep tables small, too: what a search meets in a tree that is
//! there costs something else (see [`replay`](super::replay)).

use alloc::vec::Vec;

use super::Task;
use super::cut::{Cover, Cut};
use super::space::Space;
use crate::policy::filter::GROUP;
use crate::policy::table::MAX_LEAF;

/// What searches are expected to cost, and what follows from that.
///
/// Whatever the numbers are, a table that comes out is valid and decides the same; they decide how long that takes and
/// how large it is. The tests try others.
#[derive(Clone, Debug)]
pub struct CostModel {
    /// A visit of an inner node.
    pub node: u64,
    /// A leaf without a filter.
    pub leaf: u64,
    /// Each entry of a leaf without a filter.
    pub entry: u64,
    /// A leaf with a filter, of one group.
    pub filter: u64,
    /// That there are more groups.
    pub more_groups: u64,
    /// Each group.
    pub each_group: u64,
    /// For as many copies as there are entries, where the tree has thousands of them: larger tables miss the caches
    /// more often. Trees that the caches hold pay down to a quarter of it.
    pub growth: u64,
    /// For every doubling of the entries below a node, beyond one group.
    pub doubling: u64,
    /// The largest number of entries that is not worth a cut.
    pub not_cut: usize,
    /// How many entries a cut has a child for, as a power of two: fewer children leave large leaves, more are mostly
    /// empty.
    pub entries_per_child_bits: u32,
    /// Which trees are made.
    pub trees: TreeKind,
    /// How much space a tree may take, in entries for each entry. A node takes half the space of an IPv4 entry.
    pub space: usize,
}

/// Which trees are made of the entries of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// Each node is cut in the way that is expected to cost least.
    Cuts,
    /// Hash tables come first, as long as they hold a good part of what is left.
    Tables,
    /// Of these two the one that costs the packets of a replay less; where that is much, cuts by another estimate are
    /// tried as well.
    Cheaper,
}

impl Default for CostModel {
    fn default() -> Self {
        Self {
            node: 150,
            leaf: 80,
            entry: 40,
            filter: 180,
            more_groups: 100,
            each_group: 60,
            growth: 100,
            doubling: 90,
            // A leaf of two groups costs less than a node and a leaf of one.
            not_cut: 2 * GROUP as usize,
            entries_per_child_bits: 2,
            trees: TreeKind::Cheaper,
            space: 8,
        }
    }
}

/// The largest leaf without a filter: reading a filter takes as long as comparing eight entries.
pub(super) const UNFILTERED: usize = 8;

/// The entries of one group.
const ONE_GROUP: u64 = GROUP as u64;

/// The weight of one entry, which the children that it is in share.
const WEIGHT: i64 = 1 << 16;

/// A cut has to keep one in this many entries out of the remainder, and to rule as many out for a packet.
const LEAST_PROGRESS: usize = 20;

impl CostModel {
    /// What as many copies as there are entries cost in a tree of so many entries.
    fn growth(&self, entries: usize) -> u64 {
        self.growth * u64::from((entries >> 9).checked_ilog2().unwrap_or(0).clamp(1, 4)) / 4
    }

    /// What a search among `count` entries is expected to cost.
    fn expected(&self, count: u64) -> u64 {
        if count <= ONE_GROUP {
            return self.leaf(count);
        }
        // Sixteenths of doublings, between powers of two linearly.
        let log = count.ilog2();
        let fraction = (count << 4 >> log) & 15;
        let doublings = u64::from(log - ONE_GROUP.ilog2()) * 16 + fraction;
        self.leaf(count).min(self.filter + self.doubling * doublings / 16)
    }

    /// What a search of a leaf is expected to cost, or of a chain of leaves.
    pub(super) fn leaf(&self, count: u64) -> u64 {
        if count == 0 {
            0
        } else if count <= UNFILTERED as u64 {
            self.leaf + self.entry * count / 2
        } else if count <= ONE_GROUP {
            self.filter
        } else {
            let more_leaves = count / u64::from(MAX_LEAF);
            self.filter + self.more_groups + (self.each_group * (count / ONE_GROUP) + self.filter * more_leaves) / 2
        }
    }
}

/// Estimates cuts for a sample of entries.
///
/// How many entries each child gets is counted in a two-dimensional array of differences: an entry changes it at the
/// four corners of the children that it goes into, and running sums give the counts.
#[derive(Default)]
pub(super) struct Estimator {
    covers: Vec<Cover>,
    counts: Vec<i32>,
    weights: Vec<i64>,
}

impl Estimator {
    /// Finds the children that the entries of a sample go into. Gives the largest number of children of any.
    pub(super) fn look_at(&mut self, space: &Space, cut: &Cut, sample: &[u32]) -> u32 {
        self.covers.clear();
        self.covers.extend(sample.iter().map(|entry| cut.cover(space, *entry)));
        self.covers.iter().map(|(.., count)| *count).max().unwrap_or(0)
    }

    /// What a search of the node is expected to cost if it is cut like this, by the sample that was looked at last,
    /// which has one in `step` entries. `None` if that takes too much space or leads nowhere.
    pub(super) fn estimate(
        &mut self,
        model: &CostModel,
        space: &Space,
        task: &Task,
        cut: &Cut,
        step: usize,
    ) -> Option<u64> {
        let [rows, columns] = cut.bits().map(|bits| 1_usize << bits);
        let (copied, remainder) = self.count(cut.copies, rows, columns);
        let sampled = self.covers.len();
        let room = copied * step + remainder * step + rows * columns / 2;
        if room > task.budget || remainder * LEAST_PROGRESS > sampled * (LEAST_PROGRESS - 1) {
            return None;
        }
        let (cost, entries) = self.sum(model, rows, columns, remainder, step);
        let all = sampled as u128 * WEIGHT as u128;
        if entries / all * LEAST_PROGRESS as u128 > (task.entries.len() * (LEAST_PROGRESS - 1)) as u128 {
            return None;
        }
        let growth = (copied + remainder).saturating_sub(sampled) as u64 * model.growth(space.length) / sampled as u64;
        Some(model.node + (cost / all) as u64 + model.expected((remainder * step) as u64) + growth)
    }

    /// Enters the sample into the arrays of differences. Gives how many copies the children hold, and how many entries
    /// go into the remainder.
    fn count(&mut self, most_copies: u32, rows: usize, columns: usize) -> (usize, usize) {
        let width = columns + 1;
        self.counts.clear();
        self.counts.resize((rows + 1) * width, 0);
        self.weights.clear();
        self.weights.resize((rows + 1) * width, 0);
        let (mut copied, mut remainder) = (0, 0);
        for (row, column, count) in &self.covers {
            if *count > most_copies {
                remainder += 1;
                continue;
            }
            copied += *count as usize;
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
        (copied, remainder)
    }

    /// Makes sums of the differences. Gives what a search of the children costs and how many entries a child has, both
    /// summed over the children by their weight.
    fn sum(&mut self, model: &CostModel, rows: usize, columns: usize, remainder: usize, step: usize) -> (u128, u128) {
        let width = columns + 1;
        // The packets of the remainder's entries go into any child.
        let stray = remainder as i64 * WEIGHT / (rows * columns) as i64;
        let (mut cost, mut all_entries) = (0_u128, 0_u128);
        for row in 0..rows {
            let (mut count, mut weight) = (0, 0);
            for column in 0..columns {
                let at = row * width + column;
                count += self.counts[at];
                weight += self.weights[at];
                if row == 0 {
                    self.counts[at] = count;
                    self.weights[at] = weight;
                } else {
                    // Row sums are kept running from row to row.
                    let above = at - width;
                    self.counts[at] = count + self.counts[above];
                    self.weights[at] = weight + self.weights[above];
                }
                let entries = self.counts[at] as u64 * step as u64;
                let share = (self.weights[at] + stray) as u128;
                cost += share * u128::from(model.expected(entries));
                all_entries += share * u128::from(entries);
            }
        }
        (cost, all_entries)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::cut::By;
    use super::super::{Slice, Source};
    use super::*;
    use crate::policy::entry::{Common, Entry4};

    #[test]
    fn copies_cost_more_in_trees_that_the_caches_do_not_hold() {
        let growth = |entries| CostModel { growth: 100, ..CostModel::default() }.growth(entries);
        let sizes = [0, 511, 1023, 2047, 2048, 4095, 4096, 8191, 8192, 100_000];
        assert_eq!(sizes.map(growth), [25, 25, 25, 25, 50, 50, 75, 75, 100, 100]);
    }

    #[test]
    fn a_leaf_costs_what_its_entries_or_its_groups_do() {
        let leaf = |count| CostModel::default().leaf(count);
        // Up to eight entries, of which half are looked at; one group; more groups; a chain of leaves.
        assert_eq!([0, 1, 2, 7, 8].map(leaf), [0, 100, 120, 220, 240]);
        assert_eq!([9, 128].map(leaf), [180, 180]);
        assert_eq!([129, 256, 1023].map(leaf), [180 + 100 + 60 / 2, 180 + 100 + 2 * 60 / 2, 180 + 100 + 7 * 60 / 2]);
        assert_eq!([1024, 2048].map(leaf), [180 + 100 + (8 * 60 + 180) / 2, 180 + 100 + (16 * 60 + 2 * 180) / 2]);
    }

    #[test]
    fn entries_that_are_cut_again_cost_more_with_each_doubling() {
        let expected = |count| CostModel::default().expected(count);
        assert_eq!([8, 128].map(expected), [240, 180]);
        // Sixteenths of 90, between powers of two linearly.
        assert_eq!([129, 136, 192, 255, 256].map(expected), [180, 180 + 5, 180 + 45, 180 + 84, 180 + 90]);
        assert_eq!([512, 768, 1 << 20].map(expected), [180 + 180, 180 + 225, 180 + 13 * 90]);
        // A leaf may cost less.
        assert_eq!(CostModel { doubling: 1000, ..CostModel::default() }.expected(256), 180 + 100 + 60);
    }

    /// An entry for a source and a destination, if they are given.
    fn entry((source, destination): (Option<u32>, Option<u32>)) -> Entry4 {
        let shift = |address: Option<u32>| if address.is_some() { 0 } else { 32 };
        Entry4 {
            source: source.unwrap_or(0),
            destination: destination.unwrap_or(0),
            source_shift: shift(source),
            destination_shift: shift(destination),
            common: Common::ANY,
        }
    }

    /// What a cut of so many low bits of source and destination is expected to cost a node with these entries.
    fn estimate(
        entries: &[(Option<u32>, Option<u32>)],
        bits: [u32; 2],
        copies: u32,
        step: usize,
        budget: usize,
    ) -> Option<u64> {
        let space = Space::new(&Source::Ipv4(entries.iter().copied().map(entry).collect()));
        let sample: Vec<u32> = (0..entries.len() as u32).collect();
        let all = (0..(entries.len() * step) as u32).collect();
        let task = Task { node: 0, entries: all, budget, pending: 0, depth: 0, same_as: None };
        let [source, destination] = [0, 1].map(|dimension| Slice { dimension, shift: 0, bits: bits[dimension] });
        let cut = Cut { by: By::Windows([source, destination]), copies };
        let mut estimator = Estimator::default();
        estimator.look_at(&space, &cut, &sample);
        estimator.estimate(&CostModel::default(), &space, &task, &cut, step)
    }

    /// Four entries of one address each, and one of any.
    const FOUR_AND_ANY: [(Option<u32>, Option<u32>); 5] =
        [(Some(0), Some(0)), (Some(1), Some(1)), (Some(2), Some(0)), (Some(3), Some(1)), (None, None)];

    #[test]
    fn a_cut_costs_a_node_and_what_its_children_cost_the_packets_of_the_entries() {
        let estimate = |bits, copies, step| estimate(&FOUR_AND_ANY, bits, copies, step, 1000);
        // Each of four children has two entries: 120. Three copies of five entries are 15 for growth.
        assert_eq!(estimate([2, 0], 4, 1), Some(150 + 120 + 15));
        // Each has one: 100. So has the remainder.
        assert_eq!(estimate([2, 0], 1, 1), Some(150 + 100 + 100));
        // One of two entries is in the sample.
        assert_eq!(estimate([2, 0], 4, 2), Some(150 + 160 + 15));
        assert_eq!(estimate([2, 0], 1, 2), Some(150 + 120 + 120));
        // In rows and columns: four of eight children have two entries, nine tenths of the packets; four have one.
        assert_eq!(estimate([2, 1], 8, 1), Some(150 + (120 * 9 + 100) / 10 + 35));
        assert_eq!(estimate([2, 1], 1, 1), Some(150 + 4 * 9 * 100 / 40 + 100));
    }

    #[test]
    fn a_cut_takes_no_more_space_than_there_is() {
        // Entries and copies, and half an entry for each child.
        for (bits, copies, step, room) in
            [([2, 0], 4, 1, 8 + 2), ([2, 0], 1, 1, 5 + 2), ([2, 0], 4, 2, 16 + 2), ([2, 1], 1, 2, 10 + 4)]
        {
            let fits = |budget| estimate(&FOUR_AND_ANY, bits, copies, step, budget).is_some();
            assert_eq!([room - 1, room].map(fits), [false, true], "{bits:?} {copies} {step}");
        }
    }

    #[test]
    fn a_cut_leads_somewhere() {
        let estimate = |copies, of_any: usize, of_one: usize, of_other: usize| {
            let entries = [(None, None), (Some(0), None), (Some(1), None)];
            let counts = [of_any, of_one, of_other];
            let entries = entries.iter().zip(counts).flat_map(|(entry, count)| vec![*entry; count]);
            estimate(&entries.collect::<Vec<_>>(), [1, 0], copies, 1, 1000)
        };
        // One in 20 has to be kept out of the remainder.
        assert!(estimate(1, 19, 1, 0).is_some());
        assert!(estimate(1, 20, 1, 0).is_none());
        // Of 40 entries, all but two at most are in the child of a packet in the mean: 1,444 + 4, and 1,521 + 1.
        assert!(estimate(1, 0, 38, 2).is_some());
        assert!(estimate(1, 0, 40, 0).is_none());
        // 19 of 20 are in each of two children.
        assert!(estimate(2, 18, 1, 1).is_some());
    }
}
