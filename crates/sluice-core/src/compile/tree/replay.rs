//! What a tree that was built costs a search: counted, for packets that its entries match.
//!
//! Nothing is timed, so that the same rules give the same table on every machine.

use alloc::vec::Vec;

use sluice_npi::Flow;

use super::build::Built;
use super::cost::UNFILTERED;
use super::space::Space;
use crate::Direction;
use crate::policy::entry::Entry;
use crate::policy::filter::GROUP;
use crate::policy::key::Key;
use crate::policy::node::Node;
use crate::policy::table::{MAX_PENDING, NO_RULE, size};

/// How many packets are looked up.
pub(super) const PACKETS: usize = 512;

/// What a search meets, in tenths of a nanosecond: what fits the times of lookups in some 1,700 tables best
/// (`docs/performance.md`, section 2).
mod price {
    /// An inner node, by windows and by a hash: what is found in one table seldom says whether the next one is needed,
    /// and a processor guesses.
    pub(super) const NODE: u64 = 10;
    pub(super) const TABLE: u64 = 40;
    /// A subtree that no search has to enter.
    pub(super) const SKIPPED: u64 = 3;
    /// A leaf without a filter, and each of its entries.
    pub(super) const LEAF: u64 = 10;
    pub(super) const ENTRY: u64 = 100;
    /// A leaf with a filter; that the entry is not in its first group; and each group.
    pub(super) const FILTER: u64 = 180;
    pub(super) const MORE_GROUPS: u64 = 280;
    pub(super) const EACH_GROUP: u64 = 20;
    /// Waiting for a place in the tables that the last one led to, for each doubling of their size beyond 32 KiB.
    pub(super) const MISS: u64 = 11;
    /// The same, for each beyond 1 MiB: what does not fit into a processor's own caches depends on others, too.
    pub(super) const FAR_MISS: u64 = 30;
}

/// The cost of a search of `built`, the only tree of `space`, summed over packets that its entries match.
pub(super) fn cost(built: &Built, space: &Space) -> u64 {
    fn packets<K: Key>(space: &Space) -> impl Iterator<Item = K> {
        let step = space.length.div_ceil(PACKETS).max(1);
        (0..space.length).step_by(step).map(|entry| K::of_words(&space.packet(entry as u32)))
    }
    if space.is_ipv6 {
        Replay::new(built, &built.entries6).sum(packets(space))
    } else {
        Replay::new(built, &built.entries4).sum(packets(space))
    }
}

/// The same for the packets of its IP version among those with these flows, all of them inbound.
pub(super) fn cost_of_flows(built: &Built, space: &Space, flows: &[Flow]) -> u64 {
    let of_version = |version| flows.iter().filter(move |flow| flow.ip_version == version);
    if space.is_ipv6 {
        Replay::new(built, &built.entries6).sum(of_version(6).map(|flow| Key::new(Direction::Inbound, flow)))
    } else {
        Replay::new(built, &built.entries4).sum(of_version(4).map(|flow| Key::new(Direction::Inbound, flow)))
    }
}

/// What waiting for one place in the tables costs, which depends on the cache that they fit into.
fn miss(built: &Built) -> u64 {
    let bytes = built.nodes.len() * size::NODE
        + built.entries4.len() * size::ENTRY4
        + built.entries6.len() * size::ENTRY6
        + built.filters.len() * size::WORD;
    let doublings = |from: usize| u64::from((bytes / from).checked_ilog2().unwrap_or(0));
    price::MISS * doublings(32 << 10) + (price::FAR_MISS - price::MISS) * doublings(1 << 20)
}

struct Replay<'a, E> {
    built: &'a Built,
    entries: &'a [E],
    /// What each step to a place that the last one leads to waits.
    miss: u64,
}

impl<'a, E: Entry> Replay<'a, E> {
    fn new(built: &'a Built, entries: &'a [E]) -> Self {
        Self { built, entries, miss: miss(built) }
    }

    fn sum(&self, packets: impl Iterator<Item = E::Key>) -> u64 {
        packets.map(|key| self.search(&key)).sum()
    }

    fn search(&self, key: &E::Key) -> u64 {
        let mut cost = 0;
        let mut best = NO_RULE;
        let mut pending = Vec::with_capacity(MAX_PENDING);
        pending.push(0);
        while let Some(mut at) = pending.pop() {
            loop {
                let node = self.built.nodes[at];
                if node.first_rule >= best {
                    cost += price::SKIPPED;
                    break;
                }
                if node.is_leaf() {
                    let (found, of_leaf) = self.leaf(&node, key);
                    best = best.min(found);
                    cost += of_leaf;
                    break;
                }
                cost += self.miss + if node.tuple().is_some() { price::TABLE } else { price::NODE };
                at = node.base as usize + node.child(key) as usize;
                if node.has_remainder() {
                    pending.push(node.base as usize);
                    at += 1;
                }
            }
        }
        cost
    }

    /// The first rule in a leaf that matches, or [`NO_RULE`], and what the search for it costs.
    fn leaf(&self, node: &Node, key: &E::Key) -> (u32, u64) {
        let entries = &self.entries[node.base as usize..][..node.entry_count() as usize];
        let found = entries.iter().position(|entry| E::matches(&entry.write(), key));
        let looked_at = found.map_or(entries.len(), |at| at + 1) as u64;
        let cost = if entries.len() <= UNFILTERED {
            price::LEAF + self.miss + price::ENTRY * looked_at
        } else {
            // The head, the sets and the entry.
            let groups = looked_at.div_ceil(u64::from(GROUP));
            let more = if groups > 1 { price::MORE_GROUPS + price::EACH_GROUP * groups } else { 0 };
            price::FILTER + 3 * self.miss + more
        };
        (found.map_or(NO_RULE, |at| entries[at].common().found.rule()), cost)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use sluice_npi::flags;

    use super::super::{CostModel, Source};
    use super::*;
    use crate::RuleAction;
    use crate::compile::{Conditions, Prefix, Rule, search_cost};
    use crate::policy::entry::{Common, Entry4, Entry6, Found};
    use crate::policy::key::word;
    use crate::policy::node::{Tuple, Window};

    /// That of a rule without ports and properties.
    fn common(rule: u32) -> Common {
        Common { found: Found::of_rule(rule, (rule + 1, 0)), ..Common::ANY }
    }

    /// Rules for one source address each, which is the rule's number.
    fn entries4(count: u32) -> Vec<Entry4> {
        let entry = |rule| Entry4 {
            source: rule,
            destination: 0,
            source_shift: 0,
            destination_shift: 32,
            common: common(rule),
        };
        (0..count).map(entry).collect()
    }

    fn leaf(base: u32, count: u32) -> Node {
        Node { base, first_rule: base, control: Node::LEAF | count, claim: 0 }
    }

    /// What a search of this tree costs, whose entries are in order.
    fn cost_of(nodes: Vec<Node>, entries4: Vec<Entry4>) -> u64 {
        let space = Space::new(&Source::Ipv4(entries4.clone()));
        cost(&Built { nodes, entries4, ..Built::default() }, &space)
    }

    #[test]
    fn in_a_leaf_the_entries_are_looked_at_up_to_the_one_that_matches() {
        for (count, expected) in [
            (1, price::LEAF + price::ENTRY),
            (8, 8 * price::LEAF + (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8) * price::ENTRY),
            (9, 9 * price::FILTER),
            (128, 128 * price::FILTER),
            (129, 129 * price::FILTER + price::MORE_GROUPS + 2 * price::EACH_GROUP),
            (257, 257 * price::FILTER + 129 * price::MORE_GROUPS + (128 * 2 + 3) * price::EACH_GROUP),
            // Every second packet is looked up: as many in each group, and one in the last.
            (513, 257 * price::FILTER + 193 * price::MORE_GROUPS + (64 * (2 + 3 + 4) + 5) * price::EACH_GROUP),
        ] {
            assert_eq!(cost_of(vec![leaf(0, count)], entries4(count)), expected, "{count} entries");
            let entry = |rule| Entry6 {
                source: rule,
                destination: 0,
                source_shift: 0,
                destination_shift: 128,
                common: common(rule as u32),
            };
            let entries6: Vec<Entry6> = (0..u128::from(count)).map(entry).collect();
            let space = Space::new(&Source::Ipv6(entries6.clone()));
            let built = Built { nodes: vec![leaf(0, count)], entries6, ..Built::default() };
            assert_eq!(cost(&built, &space), expected, "{count} entries of IPv6");
        }
    }

    #[test]
    fn a_remainder_is_searched_unless_a_better_rule_was_found() {
        let inner = |control| Node { base: 1, first_rule: 0, control: Node::REMAINDER | control, claim: 0 };
        let one = price::LEAF + price::ENTRY;
        // Behind the remainder, which has the last of three entries, a leaf for each of the others.
        let window = inner(Window::new(word::SOURCE4 as u32, 0, 1).0);
        assert_eq!(
            cost_of(vec![window, leaf(2, 1), leaf(0, 1), leaf(1, 1)], entries4(3)),
            2 * (price::NODE + one + price::SKIPPED) + (price::NODE + 2 * one)
        );
        // A hash without bits: both are in one leaf.
        let table = inner(Node::TUPLE | Tuple::new(0, 32, 0, 0).0);
        let both = one + price::ENTRY;
        assert_eq!(
            cost_of(vec![table, leaf(2, 1), leaf(0, 2)], entries4(3)),
            3 * price::TABLE + (one + price::SKIPPED) + (both + price::SKIPPED) + (both + one)
        );
    }

    #[test]
    fn larger_tables_miss_the_caches_more_often() {
        let nodes = |count: usize| Built { nodes: vec![Node::EMPTY; count], ..Built::default() };
        let kilobyte = (1 << 10) / size::NODE;
        for (kilobytes, expected) in [
            (0, 0),
            (63, 0),
            (64, price::MISS),
            (1024, 5 * price::MISS),
            (2047, 5 * price::MISS),
            (2048, 5 * price::MISS + price::FAR_MISS),
            (4096, 5 * price::MISS + 2 * price::FAR_MISS),
        ] {
            assert_eq!(miss(&nodes(kilobytes * kilobyte)), expected, "{kilobytes} KiB");
        }
        // 16 KiB of nodes, 16 of IPv4 entries, 24 of IPv6 entries and 8 of filters are 64.
        let mixed = |filters: usize| Built {
            entries4: entries4(512),
            entries6: vec![
                Entry6 {
                    source: 0,
                    destination: 0,
                    source_shift: 0,
                    destination_shift: 0,
                    common: common(0)
                };
                384
            ],
            filters: vec![0; filters],
            ..nodes(1024)
        };
        assert_eq!([2047, 2048].map(|filters| miss(&mixed(filters))), [0, price::MISS]);
    }

    #[test]
    fn each_step_to_another_place_of_a_large_table_waits() {
        let large = |nodes, count| {
            let space = Space::new(&Source::Ipv4(entries4(count)));
            let built = Built { nodes, entries4: entries4(count), filters: vec![0; 1 << 14], ..Built::default() };
            cost(&built, &space)
        };
        let one = price::LEAF + price::MISS + price::ENTRY;
        assert_eq!(large(vec![leaf(0, 1)], 1), one);
        assert_eq!(large(vec![leaf(0, 9)], 9), 9 * (price::FILTER + 3 * price::MISS));
        let window = Window::new(word::SOURCE4 as u32, 0, 1).0;
        let inner = Node { base: 1, first_rule: 0, control: window, claim: 0 };
        assert_eq!(large(vec![inner, leaf(0, 1), leaf(1, 1)], 2), 2 * (price::NODE + price::MISS + one));
    }

    #[test]
    fn the_packets_that_are_looked_up_are_those_with_the_flows() {
        let rule = |address: [u8; 4], id| {
            let sources = vec![Prefix { address: address.into(), length: 32 }];
            let conditions = Conditions { sources, ..Conditions::default() };
            Rule { id, action: RuleAction::Block, conditions }
        };
        let ipv6 = Conditions { ip_version: Some(6), ..Conditions::default() };
        let ipv6 = Rule { id: 3, action: RuleAction::Block, conditions: ipv6 };
        let rules = [rule([10, 0, 0, 1], 1), rule([10, 0, 0, 2], 2), ipv6];
        let flow = |ip_version, last| {
            let mut flow = Flow { flags: flags::ADDRESSES, ip_version, ..Flow::default() };
            flow.source_address[..4].copy_from_slice(&[10, 0, 0, last]);
            flow
        };
        let cost = |flows: &[Flow]| search_cost(&CostModel::default(), &rules, flows);
        assert_eq!(cost(&[]), Some(0));
        assert_eq!(cost(&[flow(4, 1)]), Some(price::LEAF + price::ENTRY));
        assert_eq!(cost(&[flow(4, 2)]), Some(price::LEAF + 2 * price::ENTRY));
        assert_eq!(cost(&[flow(6, 1), flow(4, 2), flow(6, 2)]), Some(3 * price::LEAF + (2 + 2) * price::ENTRY));
    }
}
