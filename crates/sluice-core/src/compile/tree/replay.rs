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
