//! From entries to trees.
//!
//! A node with many entries is cut: by one or two windows of bits of the key, into as many children as the windows have
//! values, or by a hash of a tuple of its parts. An entry that does not specify the bits of a window would have to go
//! into many children. Depending on what is cheaper, it does, or it goes into the remainder, a tree of its own that
//! every search of the node visits too, unless a better rule was found before. Which cut is best is estimated for a
//! sample of the entries, on the assumption that each of them is asked for equally often.
//!
//! Where a few hash tables, one behind the other, hold nearly everything, no cut by itself shows it. So each tree is
//! built in both ways, and the one is kept in which the same packets are found at less cost.
//!
//! [`space`] has the entries as boxes, [`cut`] the ways to divide them, [`tuple`] what a hash table is made of, and
//! [`cost`] what each is expected to cost a search; [`build`] makes nodes of the best, and [`replay`] counts what a
//! search of them costs. Each node has a budget of space for what is below it, so that copies cannot get out of hand.

mod build;
mod cost;
mod cut;
mod replay;
mod space;
mod tuple;

use alloc::vec::Vec;

use sluice_npi::Flow;

pub(super) use self::build::Built;
pub use self::cost::{CostModel, TreeKind};
pub(super) use self::space::{Slice, Space};
use super::ErrorKind;
use crate::policy::entry::{Entry4, Entry6};
use crate::policy::table::{MAX_ENTRIES, MAX_EXPANDED};

/// The entries of all trees of one table.
#[derive(Default)]
pub(super) struct Forest {
    roots: Vec<Source>,
}

/// The entries of one root, in order of their rules.
pub(crate) enum Source {
    Ipv4(Vec<Entry4>),
    Ipv6(Vec<Entry6>),
}

impl Forest {
    /// Adds a tree for IPv4 or for packets that are not IP. Trees are added in the order of their roots.
    pub(super) fn add_ipv4(&mut self, entries: Vec<Entry4>) {
        self.roots.push(Source::Ipv4(entries));
    }

    /// Adds a tree for IPv6.
    pub(super) fn add_ipv6(&mut self, entries: Vec<Entry6>) {
        self.roots.push(Source::Ipv6(entries));
    }

    /// What a search of the first two trees costs, IPv4 and IPv6, summed over the packets with these flows.
    pub(super) fn cost(self, model: &CostModel, flows: &[Flow]) -> Option<u64> {
        let mut sum = 0;
        for source in self.roots.iter().take(2) {
            let space = Space::new(source);
            let tree = best_tree(source, &space, model, model.space)?;
            sum += replay::cost_of_flows(&tree, &space, flows);
        }
        Some(sum)
    }

    /// Builds all trees.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] and [`ErrorKind::TooAlike`].
    pub(super) fn build(self, model: &CostModel) -> Result<Built, ErrorKind> {
        let spaces: Vec<Space> = self.roots.iter().map(Space::new).collect();
        let all = spaces.iter().map(|space| space.length).sum::<usize>();
        if all > MAX_EXPANDED {
            return Err(ErrorKind::TooLarge);
        }
        let space_each = model.space.min(MAX_ENTRIES / all.max(1));
        let trees = self.roots.iter().zip(&spaces).map(|(source, space)| best_tree(source, space, model, space_each));
        let trees = trees.collect::<Option<Vec<Built>>>().ok_or(ErrorKind::TooLarge)?;
        Built::joined(trees).ok_or(ErrorKind::TooLarge)?.complete(self.roots.len())
    }
}

/// The tree of a root that costs searches least.
fn best_tree(source: &Source, space: &Space, model: &CostModel, space_each: usize) -> Option<Built> {
    let budget = space.length.saturating_mul(space_each);
    if model.trees != TreeKind::Cheaper || space.length <= model.not_cut {
        return Built::new(source, space, model, budget);
    }
    let built = |model: CostModel| {
        let tree = Built::new(source, space, &model, budget)?;
        Some((replay::cost(&tree, space), tree))
    };
    let cheaper = |one: Option<(u64, Built)>, other: Option<(u64, Built)>| {
        // Of two that cost the same the first, so that what has one gets the other only for a reason.
        one.into_iter().chain(other).reduce(|one, other| if other.0 < one.0 { other } else { one })
    };
    let [cuts, tables] = [TreeKind::Cuts, TreeKind::Tables].map(|trees| built(CostModel { trees, ..model.clone() }));
    let mut best = cheaper(cuts, tables);
    if best.as_ref().is_none_or(|(cost, _)| *cost > DEAR * replay::PACKETS.min(space.length) as u64) {
        best = cheaper(best, built(CostModel { trees: TreeKind::Cuts, doubling: model.doubling * 2, ..model.clone() }));
    }
    best.map(|(_, tree)| tree)
}

/// A tree in which a packet costs more than this, in the prices of the replay, is not taken before another one is
/// tried: what is below nodes with many entries costs more than was thought.
const DEAR: u64 = 900;

/// A node that is to be built.
struct Task {
    /// Its place among the nodes.
    node: usize,
    entries: Vec<u32>,
    /// How many entries' worth of space it may take.
    budget: usize,
    /// How many remainders wait when a search gets here.
    pending: usize,
    depth: u32,
    /// A node with the same few entries that comes before this one.
    same_as: Option<usize>,
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::net::Ipv4Addr;

    use super::super::{Conditions, Parts, Prefix, Rule};
    use super::*;
    use crate::RuleAction;
    use crate::policy::entry::Common;

    /// Rules for random prefixes of addresses, with the lengths that `lengths` says.
    fn rules(count: u32, lengths: fn(&mut fastrand::Rng) -> [u8; 2]) -> Vec<Rule> {
        let rng = &mut fastrand::Rng::with_seed(1);
        let rule = |id| {
            let [sources, destinations] = lengths(rng).map(|length| {
                let bits = rng.u32(..) & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                vec![Prefix { address: Ipv4Addr::from(bits).into(), length }]
            });
            let conditions = Conditions { sources, destinations, ..Conditions::default() };
            Rule { id, action: RuleAction::Block, conditions }
        };
        (1..=count).map(rule).collect()
    }

    fn source(rules: &[Rule]) -> Source {
        let [ipv4, ..] = Parts::of(rules).unwrap().deciding.trees;
        Source::Ipv4(ipv4.entries4)
    }

    /// What a search of the tree that `model` makes costs.
    fn cost(model: &CostModel, source: &Source, space: &Space) -> u64 {
        replay::cost(&Built::new(source, space, model, space.length * model.space).unwrap(), space)
    }

    /// Rules for networks and ranges of ports that overlap: neither tree is good for them.
    #[test]
    fn where_searches_cost_much_a_third_tree_is_taken_if_it_costs_less() {
        let rng = &mut fastrand::Rng::with_seed(2);
        let one_side = |rng: &mut fastrand::Rng| if rng.bool() { [0, rng.u8(..=24)] } else { [rng.u8(..=20), 0] };
        let mut rules = rules(10_000, one_side);
        for rule in &mut rules {
            let mut ports = || match rng.u8(..3) {
                0 => Vec::new(),
                1 => vec![1024..=65535],
                _ => {
                    let first = rng.u16(..60_000);
                    vec![first..=first + rng.u16(1..4096)]
                }
            };
            rule.conditions.source_ports = ports();
            rule.conditions.destination_ports = ports();
        }
        let source = source(&rules);
        let space = Space::new(&source);
        let model = CostModel::default();
        let others = [TreeKind::Cuts, TreeKind::Tables]
            .map(|trees| cost(&CostModel { trees, ..model.clone() }, &source, &space));
        let third = CostModel { trees: TreeKind::Cuts, doubling: model.doubling * 2, ..model.clone() };
        let third = cost(&third, &source, &space);
        assert!(others.iter().all(|other| *other > DEAR * 512 && third < *other), "{others:?}, {third}");
        let best = best_tree(&source, &space, &model, model.space).unwrap();
        assert_eq!(replay::cost(&best, &space), third);
    }

    /// If the same way to build a tree were taken for all rules, one of these two sets would have the worse tree.
    #[test]
    fn each_way_to_build_a_tree_is_taken_where_searches_of_it_cost_less() {
        // Four kinds of rules, each of which a hash table holds; and rules of which no table holds many.
        let of_four_kinds = |rng: &mut fastrand::Rng| [[0, 32], [16, 24], [24, 16], [32, 0]][rng.usize(..4)];
        let of_all_kinds = |rng: &mut fastrand::Rng| [rng.u8(..=32), rng.u8(..=32)];
        for (rules, is_hashed) in [(rules(10_000, of_four_kinds), true), (rules(2000, of_all_kinds), false)] {
            let source = source(&rules);
            let space = Space::new(&source);
            let model = CostModel::default();
            let [cuts, tables] = [TreeKind::Cuts, TreeKind::Tables]
                .map(|trees| cost(&CostModel { trees, ..model.clone() }, &source, &space));
            let [less, more] = if is_hashed { [tables, cuts] } else { [cuts, tables] };
            assert!(less < more / 5 * 4, "the difference is one that counts: cuts {cuts}, tables {tables}");
            let best = best_tree(&source, &space, &model, model.space).unwrap();
            assert_eq!(best.nodes[0].tuple().is_some(), is_hashed);
            assert_eq!(replay::cost(&best, &space), less);
        }
    }

    /// Entries that no tree tells apart are refused for what they would cost a packet, unless they are too many anyway.
    #[test]
    fn as_many_entries_are_built_as_there_are_combinations() {
        let entries = |count: usize| {
            let common = Common { last_ports: 0, ..Common::ANY };
            vec![Entry4 { source: 0, destination: 0, source_shift: 0, destination_shift: 0, common }; count]
        };
        let build = |more: usize| {
            let mut forest = Forest::default();
            forest.add_ipv4(entries(MAX_EXPANDED / 2));
            forest.add_ipv4(entries(MAX_EXPANDED / 2 + more));
            forest.build(&CostModel::default()).err()
        };
        assert_eq!([0, 1].map(build), [Some(ErrorKind::TooAlike), Some(ErrorKind::TooLarge)]);
    }

    #[test]
    fn a_tree_that_is_not_large_has_all_the_space_of_the_model() {
        let entry =
            |source| Entry4 { source, destination: 0, source_shift: 0, destination_shift: 32, common: Common::ANY };
        // A power of two is a divisor of the number of entries in a section.
        let mut forest = Forest::default();
        forest.add_ipv4((0..1024).map(entry).collect());
        let built = forest.build(&CostModel::default()).unwrap();
        assert!(!built.nodes[0].is_leaf());
    }
}
