//! How the first rule for a packet is found: a walk down a tree, and then through what was put off on the way.

use sluice_npi::Flow;

use super::entry::{Entry, Entry4, Entry6, Found};
use super::filter::{GROUP, first_group, group};
use super::key::Key;
use super::node::Node;
use super::table::{MAX_PENDING, NO_RULE, RULE_EXTRA, Table, root};
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

/// The first rule that matches, or what the table has for [none](super::table::Layout::nothing).
#[inline]
pub(crate) fn first_rule(table: &Table<'_>, packet: &ParsedPacket<'_>) -> Found {
    #[inline(always)]
    fn of<E: Entry>(table: &Table<'_>, packet: &ParsedPacket<'_>) -> Found {
        let key = E::Key::new(packet.direction, packet.flow);
        let root = packet.root();
        let best = match table.node(root) {
            Some(node) if node.is_table() => in_tables::<E>(table, &node, Child::of(table, &node, &key), &key, packet),
            _ => {
                let way = Way::down(table, root, &key);
                finish::<E>(table, packet, &key, way, way.first_candidates(table, &key))
            }
        };
        by_name::<E>(table, packet, &key, best)
    }
    if packet.is_ipv6() { of::<Entry6>(table, packet) } else { of::<Entry4>(table, packet) }
}

/// How many packets are looked up side by side.
pub(crate) const LANES: usize = 4;

/// Does what [`first_rule`] does for several packets: first all start, then each finishes. While one waits for memory,
/// the memory of the others is on its way; and where a processor takes a wrong turn, it has less to do again. Those
/// that are not of the same IP version are looked up one by one.
#[inline]
pub(crate) fn first_rules(table: &Table<'_>, packets: &[ParsedPacket<'_>; LANES], found: &mut [Found; LANES]) {
    let [first, others @ ..] = packets;
    if others.iter().fold(false, |differ, other| differ | (other.flow.ip_version != first.flow.ip_version)) {
        one_by_one(table, packets, found);
    } else if first.is_ipv6() {
        side_by_side::<Entry6>(table, first.root(), packets, found);
    } else {
        side_by_side::<Entry4>(table, first.root(), packets, found);
    }
}

/// The same for up to [`LANES`] packets of any kind.
#[inline(never)]
pub(crate) fn one_by_one(table: &Table<'_>, packets: &[ParsedPacket<'_>], found: &mut [Found; LANES]) {
    for (packet, found) in packets.iter().zip(found) {
        *found = first_rule(table, packet);
    }
}

fn side_by_side<E: Entry>(
    table: &Table<'_>,
    root: u32,
    packets: &[ParsedPacket<'_>; LANES],
    found: &mut [Found; LANES],
) {
    match table.node(root) {
        Some(node) if node.is_table() => in_tables_side_by_side::<E>(table, &node, packets, found),
        _ => in_cuts_side_by_side::<E>(table, root, packets, found),
    }
}

#[inline(never)]
fn in_tables_side_by_side<E: Entry>(
    table: &Table<'_>,
    node: &Node,
    packets: &[ParsedPacket<'_>; LANES],
    found: &mut [Found; LANES],
) {
    let mut lanes = [(E::Key::ZERO, Child::NONE); LANES];
    for ((key, child), packet) in lanes.iter_mut().zip(packets) {
        *key = E::Key::new(packet.direction, packet.flow);
        *child = Child::of(table, node, key);
    }
    for (((key, child), packet), found) in lanes.iter().zip(packets).zip(found) {
        let best = in_tables::<E>(table, node, *child, key, packet);
        *found = by_name::<E>(table, packet, key, best);
    }
}

#[inline(never)]
fn in_cuts_side_by_side<E: Entry>(
    table: &Table<'_>,
    root: u32,
    packets: &[ParsedPacket<'_>; LANES],
    found: &mut [Found; LANES],
) {
    let mut lanes = [const { Lane::<E>::IDLE }; LANES];
    for (lane, packet) in lanes.iter_mut().zip(packets) {
        lane.start(table, root, packet);
    }
    for ((lane, packet), found) in lanes.iter_mut().zip(packets).zip(found) {
        let best = finish::<E>(table, packet, &lane.key, lane.way, lane.candidates);
        *found = by_name::<E>(table, packet, &lane.key, best);
    }
}

/// A packet on its way.
struct Lane<E: Entry> {
    key: E::Key,
    way: Way,
    candidates: u128,
}

impl<E: Entry> Lane<E> {
    const IDLE: Self = Self { key: E::Key::ZERO, way: Way { node: Node::EMPTY, put_off: 0 }, candidates: 0 };

    /// Goes down from `root` to a leaf and looks at its filter.
    #[inline(always)]
    fn start(&mut self, table: &Table<'_>, root: u32, packet: &ParsedPacket<'_>) {
        // In place: a processor stalls on a copy of what it has just written in parts.
        self.key = E::Key::new(packet.direction, packet.flow);
        self.way = Way::down(table, root, &self.key);
        self.candidates = self.way.first_candidates(table, &self.key);
    }
}

/// How far a packet has come down a tree without a list of what was put off on the way.
#[derive(Clone, Copy)]
struct Way {
    /// A leaf; or a node that would put off a second one.
    node: Node,
    /// The node that was put off, or 0: that is a root, which never is.
    put_off: u32,
}

impl Way {
    #[inline(always)]
    fn down(table: &Table<'_>, root: u32, key: &impl Key) -> Self {
        let mut way = Self { node: table.node(root).unwrap_or(Node::EMPTY), put_off: 0 };
        while !way.node.is_leaf() {
            let mut child = way.node.base.wrapping_add(way.node.child(key));
            if way.node.has_remainder() {
                if way.put_off != 0 {
                    return way;
                }
                way.put_off = way.node.base;
                child = child.wrapping_add(1);
            }
            way.node = table.node(child).unwrap_or(Node::EMPTY);
        }
        way
    }

    #[inline(always)]
    fn first_candidates(&self, table: &Table<'_>, key: &impl Key) -> u128 {
        if self.node.is_leaf() { first_candidates(table, &self.node, key) } else { 0 }
    }
}

/// Looks at the rules that name the packet's host.
#[inline(always)]
fn by_name<E: Entry>(table: &Table<'_>, packet: &ParsedPacket<'_>, key: &E::Key, best: Found) -> Found {
    let flow = packet.flow;
    if table.layout.counts.suffixes != 0 && flow.name_length != 0 && flow.ip_version != 0 {
        return names::first_rule::<E>(*table, key, *packet, best);
    }
    best
}

/// The child of a hash table that a packet goes to. Its memory is on its way.
#[derive(Clone, Copy)]
struct Child {
    index: u32,
    first_rule: u32,
}

impl Child {
    const NONE: Self = Self { index: 0, first_rule: NO_RULE };

    #[inline(always)]
    fn of(table: &Table<'_>, node: &Node, key: &impl Key) -> Self {
        let index = node.base.wrapping_add(node.table_child(key)).wrapping_add(1);
        match table.node(index) {
            Some(child) => Self { index, first_rule: child.first_rule },
            None => Self::NONE,
        }
    }
}

/// The first rule that matches in a hash table, of which `child` is known, in those behind it, and in what comes behind
/// them; or none.
///
/// A walk finds the same. Here nothing is put off, as what a table leaves to others is where the next turn starts.
#[inline(always)]
fn in_tables<E: Entry>(table: &Table<'_>, node: &Node, child: Child, key: &E::Key, packet: &ParsedPacket<'_>) -> Found {
    let (mut rest, mut child, mut best) = (node.base, child, table.layout.nothing);
    loop {
        if child.first_rule < best.rule() {
            let Some(node) = table.node(child.index) else {
                return best;
            };
            best = if node.is_leaf() && node.filter().is_none() {
                in_entries::<E>(table, &node, key, packet, best)
            } else {
                search_node::<E>(*table, node, key, *packet, best)
            };
        }
        let Some(node) = table.node(rest) else {
            return best;
        };
        if node.first_rule >= best.rule() {
            return best;
        }
        if !node.is_table() {
            return search_node::<E>(*table, node, key, *packet, best);
        }
        (rest, child) = (node.base, Child::of(table, &node, key));
    }
}

/// Looks at the entries of the leaf that a packet has come to, and at what was put off.
#[inline(always)]
fn finish<E: Entry>(table: &Table<'_>, packet: &ParsedPacket<'_>, key: &E::Key, way: Way, candidates: u128) -> Found {
    let nothing = table.layout.nothing;
    let best = if way.node.is_leaf() {
        search_leaf::<E>(table, &way.node, candidates, key, packet, nothing)
    } else {
        search_node::<E>(*table, way.node, key, *packet, nothing)
    };
    if way.put_off != 0
        && let Some(node) = table.node(way.put_off)
        && node.first_rule < best.rule()
    {
        return search_node::<E>(*table, node, key, *packet, best);
    }
    best
}

/// The first rule before `best` that matches in the tree at `root`; else `best`.
pub(crate) fn search<E: Entry>(
    table: &Table<'_>,
    root: u32,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    best: Found,
) -> Found {
    match table.node(root) {
        Some(node) => search_node::<E>(*table, node, key, *packet, best),
        None => best,
    }
}

/// The same below a node that was read.
///
/// This and other calls that a search seldom makes take copies: what they were given references to would have to be in
/// memory for every search.
#[inline(never)]
fn search_node<E: Entry>(
    table: Table<'_>,
    node: Node,
    key: &E::Key,
    packet: ParsedPacket<'_>,
    mut best: Found,
) -> Found {
    let (table, packet) = (&table, &packet);
    let mut walk = Walk::ENDED;
    let mut next = Some(node);
    while let Some(node) = next {
        if let Some(leaf) = walk.descend(table, node, key, best.rule()) {
            let candidates = first_candidates(table, &leaf, key);
            best = search_leaf::<E>(table, &leaf, candidates, key, packet, best);
        }
        next = walk.next_before(table, best.rule());
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
    let mut next = Some(root);
    while let Some(node) = next {
        let leaf = table.node(node).and_then(|node| walk.descend(table, node, key, before));
        if let Some(leaf) = leaf {
            all_in_leaf::<E>(table, &leaf, key, packet, before, found);
        }
        next = walk.next();
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
    for index in 0..leaf.entry_count().div_ceil(GROUP) {
        let first = index.wrapping_mul(GROUP);
        let mut candidates = leaf.filter().map_or(u128::MAX, |filter| group(table, filter, index, key));
        while candidates != 0 {
            let at = first.wrapping_add(candidates.trailing_zeros());
            if at >= leaf.entry_count() {
                return;
            }
            let Some(bytes) = E::bytes(table, leaf.base.wrapping_add(at)) else {
                return;
            };
            let of_entry = E::found(bytes);
            let rule = of_entry.rule();
            if rule >= before {
                return;
            }
            if E::matches(bytes, key) && (!of_entry.has_extra() || extra_matches(*table, rule, *packet)) {
                found(rule);
            }
            candidates &= candidates.wrapping_sub(1);
        }
    }
}

/// Which entries of the first group of a leaf with a filter may match.
#[inline(always)]
fn first_candidates(table: &Table<'_>, leaf: &Node, key: &impl Key) -> u128 {
    leaf.filter().map_or(0, |filter| first_group(table, filter, key))
}

/// The first rule before `best` in a leaf that matches, given the candidates of its first group; else `best`.
#[inline(always)]
fn search_leaf<E: Entry>(
    table: &Table<'_>,
    leaf: &Node,
    candidates: u128,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    best: Found,
) -> Found {
    let count = leaf.entry_count();
    let Some(filter) = leaf.filter() else {
        return in_entries::<E>(table, leaf, key, packet, best);
    };
    match first_of::<E>(table, leaf.base, count, candidates, key, packet, best) {
        Some(best) => best,
        None if count > GROUP => more_groups::<E>(*table, filter, [leaf.base, count], key, *packet, best),
        None => best,
    }
}

/// The first rule before `best` that matches in a leaf without a filter; else `best`.
#[inline(always)]
fn in_entries<E: Entry>(table: &Table<'_>, leaf: &Node, key: &E::Key, packet: &ParsedPacket<'_>, best: Found) -> Found {
    let Some(entries) = E::run(table, leaf.base, leaf.entry_count()) else {
        return best;
    };
    for entry in entries {
        if let Some(rule) = decides::<E>(table, entry, key, packet, best) {
            return rule;
        }
    }
    best
}

/// The rule of an entry if it matches, or `best` if that comes first.
#[inline(always)]
fn decides<E: Entry>(
    table: &Table<'_>,
    entry: &E::Bytes,
    key: &E::Key,
    packet: &ParsedPacket<'_>,
    best: Found,
) -> Option<Found> {
    if !E::matches(entry, key) {
        return None;
    }
    let found = E::found(entry);
    if found >= best {
        return Some(best);
    }
    (!found.has_extra() || extra_matches(*table, found.rule(), *packet)).then_some(found)
}

/// Searches `count` entries from `base` on, those of a leaf, from its second group on.
#[inline(never)]
fn more_groups<E: Entry>(
    table: Table<'_>,
    filter: u32,
    [base, count]: [u32; 2],
    key: &E::Key,
    packet: ParsedPacket<'_>,
    best: Found,
) -> Found {
    let (table, packet) = (&table, &packet);
    for index in 1..count.div_ceil(GROUP) {
        let before = index.wrapping_mul(GROUP);
        let candidates = group(table, filter, index, key);
        let left = count.wrapping_sub(before);
        if let Some(best) = first_of::<E>(table, base.wrapping_add(before), left, candidates, key, packet, best) {
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
    fn next_before(&mut self, table: &Table<'_>, best: u32) -> Option<Node> {
        loop {
            let next = table.node(self.next()?)?;
            if next.first_rule < best {
                return Some(next);
            }
        }
    }

    /// Goes down from `node` to a leaf, unless no rule there comes before `best`.
    #[inline(always)]
    fn descend(&mut self, table: &Table<'_>, mut node: Node, key: &impl Key, best: u32) -> Option<Node> {
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
    best: Found,
) -> Option<Found> {
    while candidates != 0 {
        let index = candidates.trailing_zeros();
        if index >= count {
            return None;
        }
        let entry = E::bytes(table, base.wrapping_add(index))?;
        let found = decides::<E>(table, entry, key, packet, best);
        if found.is_some() {
            return found;
        }
        candidates &= candidates.wrapping_sub(1);
    }
    None
}

#[cold]
fn extra_matches(table: Table<'_>, rule: u32, packet: ParsedPacket<'_>) -> bool {
    table.rule(rule).is_some_and(|(_, word)| conditions::match_all(&table, word & RULE_EXTRA, &packet))
}
