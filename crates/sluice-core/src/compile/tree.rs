//! From entries to trees.

use alloc::vec::Vec;

use crate::entry::{Entry, Entry4, Entry6};
use crate::table::{MAX_WORK, NO_RULE, Node};

/// Builds the trees of one table.
#[derive(Default)]
pub(super) struct Forest {
    roots: Vec<(Vec<Entry4>, Vec<Entry6>)>,
}

/// The sections that hold the trees.
pub(super) struct Built {
    pub(super) nodes: Vec<Node>,
    pub(super) entries4: Vec<Entry4>,
    pub(super) entries6: Vec<Entry6>,
}

impl Forest {
    /// Adds a tree, of entries in order of their rules. One of the lists is empty.
    pub(super) fn add_root(&mut self, entries4: Vec<Entry4>, entries6: Vec<Entry6>) {
        self.roots.push((entries4, entries6));
    }

    pub(super) fn build(self) -> Option<Built> {
        let mut built = Built { nodes: Vec::new(), entries4: Vec::new(), entries6: Vec::new() };
        for (index, (e4, e6)) in self.roots.into_iter().enumerate() {
            let wide = crate::table::root::is_wide(index as u32);
            let (count, base, first) = if wide {
                let n = e6.len() as u32;
                let b = built.entries6.len() as u32;
                let f = e6.first().map(|e| e.common.rule_index());
                built.entries6.extend(e6.into_iter().enumerate().map(|(i, mut e)| {
                    e.common.run = n - i as u32;
                    e
                }));
                (n, b, f)
            } else {
                let n = e4.len() as u32;
                let b = built.entries4.len() as u32;
                let f = e4.first().map(|e| e.common.rule_index());
                built.entries4.extend(e4.into_iter().enumerate().map(|(i, mut e)| {
                    e.common.run = n - i as u32;
                    e
                }));
                (n, b, f)
            };
            if count + 1 > MAX_WORK {
                return None;
            }
            built.nodes.push(Node {
                base: if count == 0 { 0 } else { base },
                first_rule: first.unwrap_or(NO_RULE),
                control: Node::LEAF | if wide { Node::WIDE } else { 0 } | count,
                claim: count + 1,
            });
        }
        Some(built)
    }
}
