//! From rules to the table that the kernel reads. Host and tools only: it allocates.
//!
//! The same rules give the same bytes, on every machine.
//!
//! # Examples
//!
//! ```
//! use sluice_core::compile::{Conditions, Prefix, Rule, compile};
//! use sluice_core::{Action, Policy, RuleAction};
//!
//! let dns_only = [Rule {
//!     id: 10,
//!     action: RuleAction::Permit,
//!     conditions: Conditions {
//!         destinations: vec![Prefix { address: "192.0.2.0".parse()?, length: 24 }],
//!         protocols: vec![17],
//!         destination_ports: vec![53..=53],
//!         ..Conditions::default()
//!     },
//! }];
//! let table = compile(&dns_only, Action::Block)?;
//! let policy = Policy::new(table)?;
//! assert_eq!(policy.rule_count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod error;
mod expand;
mod filter;
mod names;
mod properties;
mod ranges;
mod rule;
mod tree;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::iter;

use sluice_npi::Flow;

pub use error::{CompileError, ErrorKind};
pub use rule::{Conditions, Content, Fragment, Icmp, Prefix, Rule, TcpFlags};
#[doc(hidden)]
pub use tree::{CostModel, TreeKind};

use self::names::{NameTable, Suffixes};
use crate::Action;
use crate::policy::entry::{Entry, Entry4, Entry6};
use crate::policy::names::work;
use crate::policy::table::{Counts, Layout, MAGIC, MAX_EXPANDED, MAX_RULES, MAX_WORK, Table, VERSION, rule_word};

/// Compiles `rules`, of which the first that matches a packet decides, and `default_action` for the packets that none
/// matches.
///
/// The bytes are what [`Policy::new`](crate::Policy::new) takes.
///
/// # Errors
///
/// The first rule that is not as its documentation says, or that there is more than a table can hold.
pub fn compile(rules: &[Rule], default_action: Action) -> Result<Vec<u8>, CompileError> {
    compile_by(&CostModel::default(), rules, default_action)
}

/// Does what [`compile`] does, by another estimate of what searches cost. For tests: whatever it is, the table is valid
/// and decides the same.
///
/// # Errors
///
/// As [`compile`].
#[doc(hidden)]
pub fn compile_by(model: &CostModel, rules: &[Rule], default_action: Action) -> Result<Vec<u8>, CompileError> {
    if rules.len() > MAX_RULES {
        return Err(of_policy(ErrorKind::TooManyRules(rules.len())));
    }
    let Parts { rules, extra_words, deciding, observing, named, .. } = Parts::of(rules)?;
    let suffixes = Suffixes::new(named);
    let mut forest = tree::Forest::default();
    let observes = observing.is_some();
    for Trees { trees: [ipv4, ipv6, other], named_trees } in iter::once(deciding).chain(observing) {
        forest.add_ipv4(ipv4.entries4);
        forest.add_ipv6(ipv6.entries6);
        forest.add_ipv4(other.entries4);
        for tree in Tree::of_pairs(&suffixes.pairs, &named_trees)? {
            forest.add_ipv4(tree.entries4);
            forest.add_ipv6(tree.entries6);
        }
    }
    let tree::Built { nodes, entries4, entries6, filters } = forest.build(model).map_err(of_policy)?;
    let name_table = NameTable::new(&suffixes.texts).ok_or(of_policy(ErrorKind::TooAlike))?;

    let counts = Counts {
        rules: rules.len() as u32,
        nodes: nodes.len() as u32,
        entries4: entries4.len() as u32,
        entries6: entries6.len() as u32,
        extra_words: extra_words.len() as u32,
        suffixes: suffixes.texts.len() as u32,
        lines: name_table.lines.len() as u32,
        text_bytes: u32::try_from(name_table.text.len()).map_err(|_| of_policy(ErrorKind::TooLarge))?,
        filter_words: filters.len() as u32,
        tree_pairs: suffixes.pairs.len() as u32,
        observing: observes.into(),
    };
    let layout = Layout::new(counts, default_action).ok_or(of_policy(ErrorKind::TooLarge))?;
    let mut table = vec![0; layout.end as usize];
    let header = [MAGIC, VERSION, layout.end, u32::from(default_action.number())];
    put(&mut table, 0, header.iter().chain(&counts.array()).map(|word| word.to_le_bytes()));
    put(&mut table, layout.rules, rules.iter().flat_map(|(id, word)| [id, word]).map(|word| word.to_le_bytes()));
    let nodes = nodes.iter().flat_map(|node| [node.base, node.first_rule, node.control, node.claim]);
    put(&mut table, layout.nodes, nodes.map(u32::to_le_bytes));
    put(&mut table, layout.entries4, entries4.iter().map(Entry4::write));
    put(&mut table, layout.entries6, entries6.iter().map(Entry6::write));
    put(&mut table, layout.extra_words, extra_words.iter().map(|word| word.to_le_bytes()));
    put(&mut table, layout.hints, name_table.hints.iter().copied());
    put(&mut table, layout.lines, name_table.lines.iter().copied());
    put(&mut table, layout.text, name_table.text.iter().map(|byte| [*byte]));
    put(&mut table, layout.filters, filters.iter().map(|word| word.to_le_bytes()));
    let written = Table { bytes: &table, layout: &layout };
    if suffixes.texts.iter().any(|(text, _)| work(&written, text.as_bytes()) > MAX_WORK) {
        return Err(of_policy(ErrorKind::TooAlike));
    }
    Ok(table)
}

/// What it costs to look up the packets with these flows, all of them inbound, counted as the compiler counts it when
/// it chooses a tree. The trees are those that [`compile_by`] makes of the rules that decide and name no
/// hosts. `None` if there are none. For benchmarks.
#[doc(hidden)]
#[must_use]
pub fn search_cost(model: &CostModel, rules: &[Rule], flows: &[Flow]) -> Option<u64> {
    let [ipv4, ipv6, _] = Parts::of(rules).ok()?.deciding.trees;
    let mut forest = tree::Forest::default();
    forest.add_ipv4(ipv4.entries4);
    forest.add_ipv6(ipv6.entries6);
    forest.cost(model, flows)
}

/// An error that is not one rule's fault.
fn of_policy(kind: ErrorKind) -> CompileError {
    CompileError { rule: None, kind }
}

/// What the rules of a policy come to: their records, and their entries by the tree that they belong to.
#[derive(Default)]
struct Parts {
    /// The id and the second word of each rule.
    rules: Vec<(u32, u32)>,
    extra_words: Vec<u32>,
    /// Of the rules that decide, and of those that observe, if there are any.
    deciding: Trees,
    observing: Option<Trees>,
    /// Each suffix with each of the rules that name it.
    named: Vec<(String, u32)>,
    /// How many entries there are.
    combinations: usize,
}

impl Parts {
    fn of(rules: &[Rule]) -> Result<Self, CompileError> {
        let mut parts = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            let of_rule = |kind| CompileError { rule: Some(index), kind };
            let expanded = expand::expand(index as u32, rule).map_err(of_rule)?;
            parts.add(index as u32, rule, expanded);
            if parts.combinations > MAX_EXPANDED {
                return Err(of_rule(ErrorKind::TooManyCombinations));
            }
        }
        Ok(parts)
    }

    fn add(&mut self, index: u32, rule: &Rule, expanded: expand::Expanded) {
        let mut extra = 0;
        if !expanded.extra.is_empty() {
            if self.extra_words.is_empty() {
                self.extra_words.push(0);
            }
            extra = self.extra_words.len() as u32;
            self.extra_words.extend(expanded.extra);
        }
        self.rules.push((rule.id, rule_word(rule.action, extra)));
        self.combinations += expanded.entries4.len() + expanded.entries6.len() + usize::from(expanded.other.is_some());
        let trees = match rule.action.decision() {
            Some(_) => &mut self.deciding,
            None => self.observing.get_or_insert_default(),
        };
        if expanded.names.is_empty() {
            let [ipv4, ipv6, other] = &mut trees.trees;
            ipv4.entries4.extend(expanded.entries4);
            ipv6.entries6.extend(expanded.entries6);
            other.entries4.extend(expanded.other);
        } else {
            self.named.extend(expanded.names.into_iter().map(|name| (name, index)));
            trees.named_trees.push((index, Tree { entries4: expanded.entries4, entries6: expanded.entries6 }));
        }
    }
}

/// The entries of the rules of one kind.
#[derive(Default)]
struct Trees {
    /// IPv4, IPv6 and everything else.
    trees: [Tree; 3],
    /// The entries of each rule that names suffixes, in order of the rules.
    named_trees: Vec<(u32, Tree)>,
}

/// The entries of an IPv4 and an IPv6 tree.
#[derive(Default)]
struct Tree {
    entries4: Vec<Entry4>,
    entries6: Vec<Entry6>,
}

impl Tree {
    /// The entries of each pair of trees, of which `trees` has those of each rule.
    fn of_pairs(pairs: &[Vec<u32>], trees: &[(u32, Self)]) -> Result<Vec<Self>, CompileError> {
        let of_rule = |rule: u32| trees.binary_search_by_key(&rule, |(rule, _)| *rule).ok().map(|at| &trees[at].1);
        let mut combinations = 0_usize;
        let mut of_pairs = Vec::with_capacity(pairs.len());
        for rules in pairs {
            let mut of_pair = Self::default();
            for rule in rules {
                let Some(tree) = of_rule(*rule) else { continue };
                combinations += tree.entries4.len() + tree.entries6.len();
                if combinations > MAX_EXPANDED {
                    let rule = Some(*rule as usize);
                    return Err(CompileError { rule, kind: ErrorKind::TooManyOverlaps });
                }
                of_pair.entries4.extend_from_slice(&tree.entries4);
                of_pair.entries6.extend_from_slice(&tree.entries6);
            }
            of_pairs.push(of_pair);
        }
        Ok(of_pairs)
    }
}

/// Writes records one after another.
fn put<const SIZE: usize>(table: &mut [u8], start: u32, records: impl Iterator<Item = [u8; SIZE]>) {
    let section = table.get_mut(start as usize..).unwrap_or_default();
    for (to, record) in section.chunks_exact_mut(SIZE).zip(records) {
        to.copy_from_slice(&record);
    }
}
