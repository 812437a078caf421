//! How the first rule for a packet is found: a walk down a tree, and then through what was put off on the way.

use sluice_npi::Flow;

use super::entry::{Entry, Entry4, Entry6};
use super::filter::{GROUP, Groups, first_group};
use super::key::Key;
use super::node::Node;
use super::table::{ENTRY_HAS_EXTRA, MAX_PENDING, NO_RULE, RULE_EXTRA, Table, root};
use super::{conditions, names};
use crate::Direction;

/// A packet whose flow was read, to be looked up.
#[derive(Clone, Copy, Debug)]
pub struct ParsedPacket<'packet> {
    /// Which way it goes.
    pub direction: Direction,
    /// What it starts with.
    pub link_type: u16,
    /// Its bytes, needed for host names alone; or the text of its name, if that was put together.
    pub bytes: &'packet [u8],
    /// What was read from it. One that does not belong to the packet costs no more than a wrong answer.
    pub flow: &'packet Flow,
}

impl ParsedPacket<'_> {
    /// Whether the packet is looked up in the trees of IPv6.
    #[inline]
    fn is_ipv6(&self) -> bool {
        self.flow.ip_version == 6
    }

    /// The root of the tree that it is looked up in, one of those without names.
    #[inline]
    fn root(&self) -> u32 {
        match self.flow.ip_version {
            4 => root::IPV4,
            6 => root::IPV6,
            _ => root::OTHER,
        }
    }
}

/// The index of the first rule that matches, or [`NO_RULE`].
#[inline]
pub(crate) fn first_rule(table: &Table<'_>, packet: &ParsedPacket<'_>) -> u32 {
    #[inline]
    fn of<E: Entry>(table: &Table<'_>, packet: &ParsedPacket<'_>) -> u32 {
        let mut lane = Lane::<E>::IDLE;
        lane.start(table, packet.root(), packet);
        lane.finish(table, packet)
    }
    if packet.is_ipv6() { of::<Entry6>(table, packet) } else { of::<Entry4>(table, packet) }
}

/// How many packets are looked up side by side.
pub(crate) const LANES: usize = 4;

/// Does what [`first_rule`] does for up to [`LANES`] packets of the same IP version: first all start, then each
/// finishes. While one waits for memory, the memory of the others is on its way; and where a processor takes a
/// wrong turn, it has less to do again.
#[inline]
pub(crate) fn first_rules(table: &Table<'_>, packets: &[ParsedPacket<'_>], found: &mut [u32; LANES]) {
    match packets {
        [] => {}
        [packet] => found[0] = first_rule(table, packet),
        [first, ..] if first.is_ipv6() => side_by_side::<Entry6>(table, first.root(), packets, found),
        [first, ..] => side_by_side::<Entry4>(table, first.root(), packets, found),
    }
}

#[inline(never)]
fn side_by_side<E: Entry>(table: &Table<'_>, root: u32, packets: &[ParsedPacket<'_>], found: &mut [u32; LANES]) {
    let mut lanes = [const { Lane::<E>::IDLE }; LANES];
    for (lane, packet) in lanes.iter_mut().zip(packets) {
        lane.start(table, root, packet);
    }
    for ((lane, packet), found) in lanes.iter_mut().zip(packets).zip(found) {
        *found = lane.finish(table, packet);
    }
}

/// A packet on its way: where it has come to, what may match there, and what it put off.
struct Lane<E: Entry> {
    key: E::Key,
    leaf: Node,
    candidates: u128,
    walk: Walk,
}

impl<E: Entry> Lane<E> {
    const IDLE: Self = Self { key: E::Key::ZERO, leaf: Node::EMPTY, candidates: 0, walk: Walk::ENDED };

    /// Goes down from `root` to a leaf and looks at its filter.
    #[inline(always)]
    fn start(&mut self, table: &Table<'_>, root: u32, packet: &ParsedPacket<'_>) {
        // In place: a processor stalls on a copy of what it has just written in parts.
        self.key = E::Key::new(packet.direction, packet.flow);
        self.leaf = self.walk.descend(table, root, &self.key, NO_RULE).unwrap_or(Node::EMPTY);
        self.candidates = first_candidates(table, &self.leaf, &self.key);
    }

    /// Looks at the entries there, at what was put off, and at the rules that name the packet's host.
    #[inline(always)]
    fn finish(&mut self, table: &Table<'_>, packet: &ParsedPacket<'_>) -> u32 {
        let mut best = search_leaf::<E>(table, &self.leaf, self.candidates, &self.key, packet, NO_RULE);
        if let Some(next) = self.walk.next_before(table, best) {
            best = search_rest::<E>(table, next, &mut self.walk, &self.key, packet, best);
        }
        let flow = packet.flow;
        if table.layout.counts.suffixes != 0 && flow.name_length != 0 && flow.ip_version != 0 {
            best = names::first_rule::<E>(table, &self.key, packet, best);
        }
        best
    }
}

/// The first rule before `best` that matches in the tree at `root`; else `best`.
pub(crate) fn search<E: Entry>(
    table: &Table<'_>,
    root: u32,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    best: u32,
) -> u32 {
    let mut walk = Walk::ENDED;
    search_rest::<E>(table, root, &mut walk, key, packet, best)
}

/// The first rule before `best` that matches below `node` or on the rest of a walk; else `best`.
#[inline(never)]
fn search_rest<E: Entry>(
    table: &Table<'_>,
    node: u32,
    walk: &mut Walk,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    mut best: u32,
) -> u32 {
    let mut next = Some(node);
    while let Some(node) = next {
        if let Some(leaf) = walk.descend(table, node, key, best) {
            let candidates = first_candidates(table, &leaf, key);
            best = search_leaf::<E>(table, &leaf, candidates, key, packet, best);
        }
        next = walk.next_before(table, best);
    }
    best
}

/// Whether rules that observe can match a packet with this flow at all.
#[inline]
pub(crate) fn may_observe(table: &Table<'_>, flow: &Flow) -> bool {
    table.layout.observed.has(flow)
}

/// Calls `found` with the index of every rule that observes, matches and comes before `before`.
///
/// It visits no more records than validation allows a search for one rule.
#[inline]
pub(crate) fn observers(table: &Table<'_>, packet: &ParsedPacket<'_>, before: u32, found: &mut impl FnMut(u32)) {
    if may_observe(table, packet.flow) {
        observers_in_reach(table, packet, before, found);
    }
}

#[inline(never)]
fn observers_in_reach(table: &Table<'_>, packet: &ParsedPacket<'_>, before: u32, found: &mut impl FnMut(u32)) {
    if packet.is_ipv6() {
        observers_of::<Entry6>(table, packet, before, found);
    } else {
        observers_of::<Entry4>(table, packet, before, found);
    }
}

fn observers_of<E: Entry>(table: &Table<'_>, packet: &ParsedPacket<'_>, before: u32, found: &mut impl FnMut(u32)) {
    let Some(forest) = table.observing_forest() else {
        return;
    };
    let key = E::Key::new(packet.direction, packet.flow);
    let in_tree = |root: u32, found: &mut dyn FnMut(u32)| {
        all_in_tree::<E>(table, forest.wrapping_add(root), &key, packet, before, found);
    };
    in_tree(packet.root(), found);
    if table.layout.counts.suffixes != 0 && packet.flow.name_length != 0 && packet.flow.ip_version != 0 {
        let mut roots = names::Roots::NONE_YET;
        while let Some(root) = roots.next::<E>(table, packet) {
            let trees = roots.place_among_answers().unwrap_or(0);
            in_tree(root, &mut |rule| {
                if trees == 0 || !is_in_earlier_tree::<E>(table, forest, trees, &key, packet, rule) {
                    found(rule);
                }
            });
        }
    }
}

/// Whether a rule that observes matches in one of the first `trees` of the packet's answers as well, and so was found
/// there. A rule can name several of the hosts in a packet.
#[cold]
#[inline(never)]
fn is_in_earlier_tree<E: Entry>(
    table: &Table<'_>,
    forest: u32,
    trees: usize,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    rule: u32,
) -> bool {
    let mut roots = names::Roots::NONE_YET;
    let mut is_there = false;
    while let Some(root) = roots.next::<E>(table, packet) {
        match roots.place_among_answers() {
            Some(place) if place == trees || is_there => break,
            Some(_) => {
                let before = rule.wrapping_add(1);
                let mut compare = |other| is_there |= other == rule;
                all_in_tree::<E>(table, forest.wrapping_add(root), key, packet, before, &mut compare);
            }
            None => {}
        }
    }
    is_there
}

/// Calls `found` with every rule before `before` that matches in the tree at `root`.
fn all_in_tree<E: Entry>(
    table: &Table<'_>,
    root: u32,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    before: u32,
    found: &mut dyn FnMut(u32),
) {
    let mut walk = Walk::ENDED;
    walk.put_off(root);
    while let Some(next) = walk.next() {
        if let Some(leaf) = walk.descend(table, next, key, before) {
            all_in_leaf::<E>(table, &leaf, key, packet, before, found);
        }
    }
}

/// Calls `found` with every rule before `before` that matches in a leaf.
fn all_in_leaf<E: Entry>(
    table: &Table<'_>,
    leaf: &Node,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    before: u32,
    found: &mut dyn FnMut(u32),
) {
    let groups = leaf.filter().and_then(|index| Groups::read(table.filter(index)?, key));
    for index in 0..leaf.entry_count().div_ceil(GROUP) {
        let first = index.wrapping_mul(GROUP);
        let mut candidates = groups.as_ref().map_or(u128::MAX, |groups| groups.group(index));
        while candidates != 0 {
            let at = first.wrapping_add(candidates.trailing_zeros());
            if at >= leaf.entry_count() {
                return;
            }
            let Some(bytes) = E::bytes(table, leaf.base.wrapping_add(at)) else {
                return;
            };
            let entry = E::read(bytes);
            let common = entry.common();
            let rule = common.rule_index();
            if rule >= before {
                return;
            }
            if entry.matches(key) && (common.rule & ENTRY_HAS_EXTRA == 0 || extra_matches(table, rule, packet)) {
                found(rule);
            }
            candidates &= candidates.wrapping_sub(1);
        }
    }
}

/// Which entries of the first group of a leaf may match.
#[inline(always)]
fn first_candidates(table: &Table<'_>, leaf: &Node, key: &impl Key) -> u128 {
    match leaf.filter() {
        Some(index) => table.filter(index).map_or(0, |filter| first_group(filter, key)),
        None => u128::MAX,
    }
}

/// The first rule before `best` in a leaf that matches, given the candidates of its first group; else `best`.
#[inline(always)]
fn search_leaf<E: Entry>(
    table: &Table<'_>,
    leaf: &Node,
    candidates: u128,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    best: u32,
) -> u32 {
    match first_of::<E>(table, leaf.base, leaf.entry_count(), candidates, key, packet, best) {
        Some(best) => best,
        None if leaf.entry_count() > GROUP => more_groups::<E>(table, leaf, key, packet, best),
        None => best,
    }
}

/// Searches a leaf from its second group on.
#[inline(never)]
fn more_groups<E: Entry>(table: &Table<'_>, leaf: &Node, key: &E::Key, packet: &ParsedPacket<'_>, best: u32) -> u32 {
    let groups = leaf.filter().and_then(|index| Groups::read(table.filter(index)?, key));
    for index in 1..leaf.entry_count().div_ceil(GROUP) {
        let before = index.wrapping_mul(GROUP);
        let candidates = groups.as_ref().map_or(u128::MAX, |groups| groups.group(index));
        let left = leaf.entry_count().wrapping_sub(before);
        if let Some(best) = first_of::<E>(table, leaf.base.wrapping_add(before), left, candidates, key, packet, best) {
            return best;
        }
    }
    best
}

/// The way through a tree: the nodes that were put off, the next one last.
struct Walk {
    pending: [u32; MAX_PENDING],
    count: usize,
}

impl Walk {
    const ENDED: Self = Self { pending: [0; MAX_PENDING], count: 0 };

    /// There is always room: validation has made sure of it.
    #[inline]
    fn put_off(&mut self, node: u32) {
        if let Some(slot) = self.pending.get_mut(self.count) {
            *slot = node;
            self.count = self.count.wrapping_add(1);
        }
    }

    #[inline]
    fn next(&mut self) -> Option<u32> {
        self.count = self.count.checked_sub(1)?;
        self.pending.get(self.count).copied()
    }

    /// The next node that was put off in which there may be a rule before `best`.
    #[inline]
    fn next_before(&mut self, table: &Table<'_>, best: u32) -> Option<u32> {
        loop {
            let next = self.next()?;
            if table.node(next)?.first_rule < best {
                return Some(next);
            }
        }
    }

    /// Goes down from node `index` to a leaf, unless no rule there comes before `best`.
    #[inline(always)]
    fn descend(&mut self, table: &Table<'_>, index: u32, key: &impl Key, best: u32) -> Option<Node> {
        let mut node = table.node(index)?;
        while node.first_rule < best {
            if node.is_leaf() {
                return Some(node);
            }
            let mut child = node.child(key);
            if node.has_remainder() {
                self.put_off(node.base);
                child = child.wrapping_add(1);
            }
            node = table.node(node.base.wrapping_add(child))?;
        }
        None
    }
}

/// The rule of the first candidate that matches among a group of entries from `base` on; `best` if that comes first.
/// Candidates from `count` on mean nothing.
#[inline(always)]
fn first_of<E: Entry>(
    table: &Table<'_>,
    base: u32,
    count: u32,
    mut candidates: u128,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    best: u32,
) -> Option<u32> {
    while candidates != 0 {
        let index = candidates.trailing_zeros();
        if index >= count {
            return None;
        }
        let entry = E::read(E::bytes(table, base.wrapping_add(index))?);
        if entry.matches(key) {
            let common = entry.common();
            let rule = common.rule_index();
            if rule >= best {
                return Some(best);
            }
            if common.rule & ENTRY_HAS_EXTRA == 0 || extra_matches(table, rule, packet) {
                return Some(rule);
            }
        }
        candidates &= candidates.wrapping_sub(1);
    }
    None
}

#[cold]
fn extra_matches(table: &Table<'_>, rule: u32, packet: &ParsedPacket<'_>) -> bool {
    table.rule(rule).is_some_and(|(_, word)| conditions::match_all(table, word & RULE_EXTRA, packet))
}
