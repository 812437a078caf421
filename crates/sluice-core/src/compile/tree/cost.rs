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
    use super::*;

    #[test]
    fn copies_cost_more_in_trees_that_the_caches_do_not_hold() {
        let growth = |entries| CostModel { growth: 100, ..CostModel::default() }.growth(entries);
        let sizes = [0, 511, 1023, 2047, 2048, 4095, 4096, 8191, 8192, 100_000];
        assert_eq!(sizes.map(growth), [25, 25, 25, 25, 50, 50, 75, 75, 100, 100]);
    }
}
