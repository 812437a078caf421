//! What a tree that was built costs a search: counted, for packets that its entries match.
//!
//! Nothing is timed, so that the same rules give the same table on every machine.

use alloc::vec::Vec;

use super::build::Built;
use super::cost::{CostModel, UNFILTERED};
use super::space::Space;
use crate::policy::entry::{Entry, Entry4, Entry6};
use crate::policy::filter::GROUP;
use crate::policy::key::Key;
use crate::policy::node::Node;
use crate::policy::table::{MAX_PENDING, NO_RULE, size};

/// How many packets are looked up.
const PACKETS: usize = 512;

/// The cost of a search of `built`, the only tree of `space`, summed over the packets.
pub(super) fn cost(model: &CostModel, built: &Built, space: &Space) -> u64 {
    if space.is_ipv6 {
        Replay::<Entry6> { model, built, entries: &built.entries6, miss: miss(model, built) }.run(space)
    } else {
        Replay::<Entry4> { model, built, entries: &built.entries4, miss: miss(model, built) }.run(space)
    }
}

/// What waiting for one place in the tables costs, which depends on the cache that they fit into.
fn miss(model: &CostModel, built: &Built) -> u64 {
    let bytes = built.nodes.len() * size::NODE
        + built.entries4.len() * size::ENTRY4
        + built.entries6.len() * size::ENTRY6
        + built.filters.len() * size::WORD;
    model.miss * u64::from((bytes >> 15).checked_ilog2().unwrap_or(0))
}

struct Replay<'a, E> {
    model: &'a CostModel,
    built: &'a Built,
    entries: &'a [E],
    /// What each step to a place that the last one leads to waits.
    miss: u64,
}

impl<E: Entry> Replay<'_, E> {
    fn run(&self, space: &Space) -> u64 {
        let step = space.length.div_ceil(PACKETS).max(1);
        (0..space.length).step_by(step).map(|entry| self.search(&E::Key::of_words(&space.packet(entry as u32)))).sum()
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
                    cost += self.model.node / 4;
                    break;
                }
                if node.is_leaf() {
                    let (found, of_leaf) = self.leaf(&node, key);
                    best = best.min(found);
                    cost += of_leaf;
                    break;
                }
                cost += self.model.node + self.miss;
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
        let model = self.model;
        let cost = if entries.len() <= UNFILTERED {
            model.leaf + self.miss + model.entry * looked_at
        } else {
            // The head, the sets and the entry.
            let groups = looked_at.div_ceil(u64::from(GROUP));
            let more = if groups > 1 { model.more_groups + model.each_group * groups } else { 0 };
            model.filter + 3 * self.miss + more
        };
        (found.map_or(NO_RULE, |at| entries[at].common().rule_index()), cost)
    }
}
