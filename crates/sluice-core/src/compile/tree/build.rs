//! The nodes and entries of all trees, level by level.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use super::cost::{CostModel, UNFILTERED};
use super::cut::{By, Chooser, Cut, MAX_DEPTH};
use super::space::Space;
use super::{Source, Task};
use crate::compile::ErrorKind;
use crate::compile::filter::{Filters, UNUSED};
use crate::policy::entry::{Entry4, Entry6};
use crate::policy::filter::GROUP;
use crate::policy::node::Node;
use crate::policy::table::{MAX_ENTRIES, MAX_LEAF, MAX_WORK, NO_RULE};

/// The sections that hold the trees.
#[derive(Default)]
pub(crate) struct Built {
    pub(crate) nodes: Vec<Node>,
    pub(crate) entries4: Vec<Entry4>,
    pub(crate) entries6: Vec<Entry6>,
    pub(crate) filters: Vec<u32>,
}

impl Built {
    /// A tree without its claims, that takes up to `budget` entries' worth of space. `None` if it gets too large.
    pub(super) fn new(source: &Source, space: &Space, model: &CostModel, budget: usize) -> Option<Self> {
        let mut built = Self { nodes: vec![Node::EMPTY], ..Self::default() };
        let entries = (0..space.length as u32).collect();
        let mut level = vec![Task { node: 0, entries, budget, pending: 0, depth: 0, same_as: None }];
        let mut chooser = Chooser::new(model);
        let mut filters = Filters::default();
        while !level.is_empty() {
            let mut next = Vec::new();
            for task in level {
                let at = task.node;
                // An inner node belongs to one parent, so that only a leaf may be there twice.
                let same = task.same_as.and_then(|other| built.nodes.get(other)).filter(|other| other.is_leaf());
                let node = if let Some(same) = same {
                    *same
                } else if let Some(cut) = chooser.choose(space, &task).and_then(|cut| cut.fit(space, &task)) {
                    built.inner(space, &task, cut, &mut next)
                } else if task.entries.len() > MAX_LEAF as usize {
                    built.chain(space, task, &mut next)
                } else {
                    built.leaf(source, space, &mut filters, &task.entries)
                };
                *built.nodes.get_mut(at)? = node;
            }
            level = next;
        }
        built.filters = filters.words();
        built.fits().then_some(built)
    }

    /// Whether the sections are not too large.
    fn fits(&self) -> bool {
        self.entries4.len().max(self.entries6.len()) <= MAX_ENTRIES && u32::try_from(self.nodes.len()).is_ok()
    }

    /// All of `trees`, in the order that a table has: their roots, then the children of each node.
    pub(super) fn joined(trees: Vec<Self>) -> Option<Self> {
        let mut joined = Self::default();
        joined.nodes.resize(trees.len(), Node::EMPTY);
        // Where the entries of each tree come, and how far its filters move.
        let mut starts = Vec::with_capacity(trees.len());
        for tree in &trees {
            let filters = joined.filters.len().saturating_sub(UNUSED);
            starts.push([joined.entries4.len(), joined.entries6.len(), filters].map(|start| start as u32));
            joined.entries4.extend_from_slice(&tree.entries4);
            joined.entries6.extend_from_slice(&tree.entries6);
            let known = if joined.filters.is_empty() { 0 } else { UNUSED.min(tree.filters.len()) };
            joined.filters.extend_from_slice(&tree.filters[known..]);
        }
        let mut queue: VecDeque<(usize, usize)> = (0..trees.len()).map(|tree| (tree, 0)).collect();
        let mut at = 0;
        while let Some((tree, index)) = queue.pop_front() {
            let mut node = trees[tree].nodes[index];
            let [entries4, entries6, filters] = starts[tree];
            if node.is_leaf() {
                if node.entry_count() != 0 {
                    node.base += if node.is_ipv6() { entries6 } else { entries4 };
                }
                if node.claim != 0 {
                    node.claim += filters;
                }
            } else {
                let children = (1 << node.child_bits()) + usize::from(node.has_remainder());
                queue.extend((node.base as usize..).take(children).map(|child| (tree, child)));
                node.base = joined.nodes.len() as u32;
                joined.nodes.resize(joined.nodes.len() + children, Node::EMPTY);
            }
            joined.nodes[at] = node;
            at += 1;
        }
        joined.fits().then_some(joined)
    }

    fn leaf(&mut self, source: &Source, space: &Space, filters: &mut Filters, entries: &[u32]) -> Node {
        if entries.is_empty() {
            return match source {
                Source::Ipv4(_) => Node::EMPTY,
                Source::Ipv6(_) => Node { control: Node::EMPTY.control | Node::IPV6, ..Node::EMPTY },
            };
        }
        let count = entries.len() as u32;
        let (base, first, kind) = match source {
            Source::Ipv4(all) => {
                let base = self.entries4.len();
                self.entries4.extend(entries.iter().map(|index| all[*index as usize]));
                (base, self.entries4[base].common, 0)
            }
            Source::Ipv6(all) => {
                let base = self.entries6.len();
                self.entries6.extend(entries.iter().map(|index| all[*index as usize]));
                (base, self.entries6[base].common, Node::IPV6)
            }
        };
        Node {
            base: base as u32,
            first_rule: first.found.rule(),
            control: Node::LEAF | kind | count,
            claim: if entries.len() > UNFILTERED { filters.add(space, entries) } else { 0 },
        }
    }

    /// Makes a chain of leaves out of entries that no cut tells apart: one child, and a remainder.
    fn chain(&mut self, space: &Space, mut task: Task, next: &mut Vec<Task>) -> Node {
        let base = self.nodes.len();
        self.nodes.resize(base + 2, Node::EMPTY);
        let first_rule = task.entries.first().and_then(|entry| space.rules.get(*entry as usize));
        let first_rule = first_rule.copied().unwrap_or(NO_RULE);
        let rest = task.entries.split_off(MAX_LEAF as usize);
        let flags = Node::REMAINDER | if space.is_ipv6 { Node::IPV6 } else { 0 };
        next.push(Task { node: base, entries: rest, depth: MAX_DEPTH, ..task });
        next.push(Task { node: base + 1, pending: task.pending + 1, depth: MAX_DEPTH, ..task });
        Node { base: base as u32, first_rule, control: flags, claim: 0 }
    }

    /// Makes room for the children, and tasks of them.
    fn inner(&mut self, space: &Space, task: &Task, cut: Cut, next: &mut Vec<Task>) -> Node {
        let children = cut.children();
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); children];
        let mut remainder = Vec::new();
        let [_, column_bits] = cut.bits();
        for entry in &task.entries {
            let (rows, columns, count) = cut.cover(space, *entry);
            if count > cut.copies {
                remainder.push(*entry);
                continue;
            }
            for row in rows.0..=rows.1 {
                for column in columns.0..=columns.1 {
                    lists[(row << column_bits | column) as usize].push(*entry);
                }
            }
        }
        let total = lists.iter().map(Vec::len).sum::<usize>() + remainder.len();
        let left = task.budget.saturating_sub(children / 2).max(total);
        let share = |list: &Vec<u32>| {
            usize::try_from(left as u128 * list.len() as u128 / total.max(1) as u128).unwrap_or(usize::MAX)
        };
        let base = self.nodes.len();
        let has_remainder = usize::from(!remainder.is_empty());
        let pending = task.pending + has_remainder;
        self.nodes.resize(base + children + has_remainder, Node::EMPTY);
        let mut task_of = |node: usize, entries: Vec<u32>, pending: usize, same_as: Option<usize>| {
            let budget = share(&entries);
            next.push(Task { node, budget, entries, pending, depth: task.depth + 1, same_as });
        };
        if has_remainder != 0 {
            task_of(base, remainder, task.pending, None);
        }
        let mut previous: Option<(usize, Vec<u32>)> = None;
        for (index, list) in lists.into_iter().enumerate() {
            let node = base + has_remainder + index;
            let is_short = list.len() <= GROUP as usize;
            let same_as = previous.as_ref().filter(|(_, entries)| is_short && *entries == list).map(|(node, _)| *node);
            if same_as.is_none() {
                previous = is_short.then(|| (node, list.clone()));
            }
            task_of(node, list, pending, same_as);
        }
        let how = match cut.by {
            By::Tuple(tuple) => tuple.0 | Node::TUPLE,
            By::Windows(slices) => {
                let [first, second] = slices.map(|slice| slice.window(space));
                first.0 | second.0 << Node::WINDOW_BITS
            }
        };
        let flags = if has_remainder != 0 { Node::REMAINDER } else { 0 } | if space.is_ipv6 { Node::IPV6 } else { 0 };
        let first_rule = task.entries.first().and_then(|entry| space.rules.get(*entry as usize));
        Node { base: base as u32, first_rule: first_rule.copied().unwrap_or(NO_RULE), control: how | flags, claim: 0 }
    }

    /// Fills in the claims, from the leaves to the roots.
    pub(super) fn complete(mut self, roots: usize) -> Result<Self, ErrorKind> {
        for index in (0..self.nodes.len()).rev() {
            let node = self.nodes[index];
            if node.is_leaf() {
                continue;
            }
            let base = node.base as usize;
            let (rest, children) = self.nodes[base..].split_at(usize::from(node.has_remainder()));
            let children = &children[..1 << node.child_bits()];
            let work = |nodes: &[Node]| nodes.iter().map(Node::work).max().unwrap_or(0);
            let pending = |nodes: &[Node]| nodes.iter().map(Node::pending).max().unwrap_or(0);
            // A chain of leaves may have more records than a claim has room for; it is too long in any case.
            let work = (work(rest) + work(children) + 1).min(Node::WORK_MASK);
            let pending = pending(rest).max(pending(children) + rest.len() as u32);
            self.nodes[index].claim = work | pending << Node::PENDING_SHIFT;
        }
        let fits = self.nodes.iter().take(roots).all(|node| node.work() <= MAX_WORK);
        if fits { Ok(self) } else { Err(ErrorKind::TooAlike) }
    }
}

#[cfg(test)]
mod tests {
    use core::iter;

    use super::super::Slice;
    use super::*;
    use crate::policy::entry::Common;

    /// An entry for a source address, or for any.
    fn entry(source: Option<u32>) -> Entry4 {
        Entry4 {
            source: source.unwrap_or(0),
            source_shift: if source.is_some() { 0 } else { 32 },
            destination: 0,
            destination_shift: 32,
            common: Common::ANY,
        }
    }

    /// A cut of the two lowest bits of the source. What is in more than so many children is a remainder.
    fn cut(copies: u32) -> Cut {
        let slice = Slice { dimension: 0, shift: 0, bits: 2 };
        Cut { by: By::Windows([slice, Slice::default()]), copies }
    }

    /// The root of a tree of these entries that is cut like that, and what is to be built below it.
    fn inner(entries: Vec<Entry4>, copies: u32, budget: usize) -> (Node, Vec<Task>) {
        let all = (0..entries.len() as u32).collect();
        let task = Task { node: 0, entries: all, budget, pending: 3, depth: 7, same_as: None };
        let mut built = Built { nodes: vec![Node::EMPTY], ..Built::default() };
        let mut next = Vec::new();
        let node = built.inner(&Space::new(&Source::Ipv4(entries)), &task, cut(copies), &mut next);
        assert_eq!(built.nodes.len(), 1 + next.len(), "there is room for each");
        assert!(next.iter().all(|task| task.depth == 8));
        (node, next)
    }

    /// Four sources, and any.
    fn four_and_any() -> Vec<Entry4> {
        (0..4).map(|source| entry(Some(source))).chain([entry(None)]).collect()
    }

    #[test]
    fn children_share_the_space_that_their_parent_leaves() {
        let shares = |copies, budget| {
            let (_, next) = inner(four_and_any(), copies, budget);
            next.iter().map(|task| (task.entries.len(), task.budget)).collect::<Vec<_>>()
        };
        // Four nodes take the space of two entries. A fifth of the rest, in the remainder as well.
        assert_eq!(shares(1, 100), [(1, 98 / 5); 5]);
        // Copies have shares of their own.
        assert_eq!(shares(4, 100), [(2, 98 * 2 / 8); 4]);
        // What is there has room in any case.
        assert_eq!(shares(4, 0), [(2, 2); 4]);
        // To each as much as it has entries.
        let unequal = [0, 0, 0, 1].map(|source| entry(Some(source))).to_vec();
        let (_, next) = inner(unequal, 4, 102);
        assert_eq!(next.iter().map(|task| task.budget).collect::<Vec<_>>(), [75, 25, 0, 0]);
    }

    #[test]
    fn a_remainder_comes_first_and_waits_while_the_others_are_searched() {
        let (node, next) = inner(four_and_any(), 1, 100);
        assert!(node.has_remainder());
        let tasks: Vec<_> = next.iter().map(|task| (task.node, task.entries[0], task.pending)).collect();
        assert_eq!(tasks, [(1, 4, 3), (2, 0, 4), (3, 1, 4), (4, 2, 4), (5, 3, 4)]);
        let (node, next) = inner(four_and_any(), 4, 100);
        assert!(!node.has_remainder());
        assert!(next.iter().all(|task| task.pending == 3));
    }

    #[test]
    fn neighbours_with_the_same_few_entries_are_one_leaf() {
        let same_as = |of_any: usize| {
            let entries =
                [0, 1].map(|source| entry(Some(source))).into_iter().chain(iter::repeat_n(entry(None), of_any));
            let (_, next) = inner(entries.collect(), 4, 10_000);
            next.iter().map(|task| task.same_as).collect::<Vec<_>>()
        };
        // Nodes 1 and 2 have an entry of their own; 3 and 4 have what is in all.
        assert_eq!(same_as(1), [None, None, None, Some(3)]);
        assert_eq!(same_as(GROUP as usize), [None, None, None, Some(3)]);
        assert_eq!(same_as(GROUP as usize + 1), [None; 4]);
    }

    #[test]
    fn leaves_of_more_than_eight_entries_have_filters() {
        let has_filter = |count: usize| {
            let source = Source::Ipv4((0..count as u32).map(|source| entry(Some(source))).collect());
            let built = Built::new(&source, &Space::new(&source), &CostModel::default(), 1000).unwrap();
            built.nodes[0].filter().is_some()
        };
        assert_eq!([UNFILTERED, UNFILTERED + 1].map(has_filter), [false, true]);
    }

    #[test]
    fn a_section_has_so_many_entries_at_most() {
        let fits = |count: usize| Built { entries4: vec![entry(None); count], ..Built::default() }.fits();
        assert_eq!([MAX_ENTRIES, MAX_ENTRIES + 1].map(fits), [true, false]);
    }

    #[test]
    fn entries_that_no_cut_tells_apart_are_in_a_chain_that_is_not_cut() {
        let source = Source::Ipv4(vec![entry(None); MAX_LEAF as usize + 5]);
        let space = Space::new(&source);
        let task = Task {
            node: 0,
            entries: (0..space.length as u32).collect(),
            budget: 0,
            pending: 3,
            depth: 7,
            same_as: None,
        };
        let mut built = Built { nodes: vec![Node::EMPTY], ..Built::default() };
        let mut next = Vec::new();
        let node = built.chain(&space, task, &mut next);
        assert_eq!((node.base, node.has_remainder(), node.child_bits(), built.nodes.len()), (1, true, 0, 3));
        // The rest is the remainder, and waits while the leaf is searched.
        let tasks: Vec<_> = next.iter().map(|task| (task.node, task.entries.len(), task.pending, task.depth)).collect();
        assert_eq!(tasks, [(1, 5, 3, MAX_DEPTH), (2, MAX_LEAF as usize, 4, MAX_DEPTH)]);
        assert_eq!((next[0].entries[0], next[1].entries[0]), (MAX_LEAF, 0));
    }
}
