//! From rules to the table that the kernel reads. Host and tools only: it allocates.
//!
//! The same rules give the same bytes, on every machine.
//!
//! # Examples
//!
//! ```
//! use sluice_core::compile::{Conditions, Prefix, Rule, compile};
//! use sluice_core::{Action, Policy};
//!
//! let dns_only = [Rule {
//!     id: 10,
//!     action: Action::Permit,
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

mod error;
mod expand;
mod filter;
mod rule;
mod tree;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

pub use error::{CompileError, ErrorKind};
pub use rule::{Conditions, Fragment, Icmp, Prefix, Rule, TcpFlags};

use crate::entry::{Entry, Entry4, Entry6};
use crate::table::{Counts, Layout, MAGIC, MAX_PROBES, MAX_RULES, MAX_WORK, Table, VERSION, rule_word};
use crate::{Action, names};

/// Compiles `rules`, of which the first that matches a packet decides, and `default_action` for the packets that none
/// matches.
///
/// The bytes are what [`Policy::new`](crate::Policy::new) takes.
///
/// # Errors
///
/// The first rule that is not as its documentation says, or that there is more than a table can hold.
pub fn compile(rules: &[Rule], default_action: Action) -> Result<Vec<u8>, CompileError> {
    let too_large = CompileError { rule: None, kind: ErrorKind::TooLarge };
    if rules.len() > MAX_RULES {
        return Err(CompileError { rule: None, kind: ErrorKind::TooManyRules(rules.len()) });
    }
    let mut rule_words = Vec::with_capacity(rules.len());
    let mut extra_words = Vec::new();
    let mut trees = [Tree::default(), Tree::default(), Tree::default()];
    let mut suffixes: BTreeMap<String, [Tree; 2]> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        let expanded = expand::expand(index as u32, rule).map_err(|kind| CompileError { rule: Some(index), kind })?;
        let mut extra = 0;
        if !expanded.extra.is_empty() {
            if extra_words.is_empty() {
                extra_words.push(0);
            }
            extra = extra_words.len() as u32;
            extra_words.extend(expanded.extra);
        }
        rule_words.push((rule.id, rule_word(rule.action, extra)));
        if expanded.names.is_empty() {
            let [ipv4, ipv6, other] = &mut trees;
            ipv4.entries4.extend(expanded.entries4);
            ipv6.entries6.extend(expanded.entries6);
            other.entries4.extend(expanded.other);
        } else {
            for name in expanded.names {
                let [ipv4, ipv6] = suffixes.entry(name).or_default();
                ipv4.entries4.extend_from_slice(&expanded.entries4);
                ipv6.entries6.extend_from_slice(&expanded.entries6);
            }
        }
    }

    let (texts, suffix_trees): (Vec<String>, Vec<[Tree; 2]>) = suffixes.into_iter().unzip();
    let mut forest = tree::Forest::default();
    for tree in trees.into_iter().chain(suffix_trees.into_iter().flatten()) {
        forest.add_root(tree.entries4, tree.entries6);
    }
    let tree::Built { nodes, entries4, entries6, filters } =
        forest.build().map_err(|kind| CompileError { rule: None, kind })?;
    let name_table = NameTable::new(&texts);

    let counts = Counts {
        rules: rule_words.len() as u32,
        nodes: nodes.len() as u32,
        entries4: entries4.len() as u32,
        entries6: entries6.len() as u32,
        extra_words: extra_words.len() as u32,
        suffixes: texts.len() as u32,
        slots: name_table.slots.len() as u32,
        text_bytes: u32::try_from(name_table.text.len()).map_err(|_| too_large.clone())?,
        filter_words: filters.len() as u32,
    };
    let layout = Layout::new(counts).ok_or(too_large)?;
    let mut table = vec![0; layout.end];
    let header = [MAGIC, VERSION, layout.end as u32, u32::from(default_action.number())];
    put(&mut table, 0, header.iter().chain(&counts.array()).map(|word| word.to_le_bytes()));
    put(&mut table, layout.rules, rule_words.iter().flat_map(|(id, word)| [id, word]).map(|word| word.to_le_bytes()));
    let nodes = nodes.iter().flat_map(|node| [node.base, node.first_rule, node.control, node.claim]);
    put(&mut table, layout.nodes, nodes.map(u32::to_le_bytes));
    put(&mut table, layout.entries4, entries4.iter().map(Entry4::write));
    put(&mut table, layout.entries6, entries6.iter().map(Entry6::write));
    put(&mut table, layout.extra_words, extra_words.iter().map(|word| word.to_le_bytes()));
    put(&mut table, layout.suffixes, name_table.suffixes.iter().flatten().map(|word| word.to_le_bytes()));
    put(&mut table, layout.slots, name_table.slots.iter().map(|word| word.to_le_bytes()));
    put(&mut table, layout.text, name_table.text.iter().map(|byte| [*byte]));
    put(&mut table, layout.filters, filters.iter().map(|word| word.to_le_bytes()));
    let written = Table { bytes: &table, layout: &layout };
    if texts.iter().any(|text| names::work(&written, text.as_bytes()) > MAX_WORK) {
        return Err(CompileError { rule: None, kind: ErrorKind::TooAlike });
    }
    Ok(table)
}

/// The entries of one root: of one kind or the other.
#[derive(Default)]
struct Tree {
    entries4: Vec<Entry4>,
    entries6: Vec<Entry6>,
}

/// Writes records one after another.
fn put<const SIZE: usize>(table: &mut [u8], start: usize, records: impl Iterator<Item = [u8; SIZE]>) {
    let section = table.get_mut(start..).unwrap_or_default();
    for (to, record) in section.chunks_exact_mut(SIZE).zip(records) {
        to.copy_from_slice(&record);
    }
}

/// The three sections of name suffixes.
struct NameTable {
    suffixes: Vec<[u32; 3]>,
    slots: Vec<u32>,
    text: Vec<u8>,
}

impl NameTable {
    fn new(texts: &[String]) -> Self {
        let mut table = Self { suffixes: Vec::with_capacity(texts.len()), slots: Vec::new(), text: Vec::new() };
        for text in texts {
            table.suffixes.push([names::hash(text.as_bytes()), table.text.len() as u32, text.len() as u32]);
            table.text.extend_from_slice(text.as_bytes());
        }
        if !texts.is_empty() {
            // Larger until every suffix is found in a few steps. Doubling ends, unless hundreds of names have the same
            // hash; those do not occur by accident, and then are found late or, in the end, refused by the checker.
            let mut size = texts.len().saturating_mul(2).next_power_of_two();
            loop {
                table.slots = vec![0; size];
                if table.fill() || size > texts.len().saturating_mul(64) {
                    break;
                }
                size = size.saturating_mul(2);
            }
        }
        table
    }

    /// Enters all suffixes. Answers whether there was room for each where a lookup finds it.
    fn fill(&mut self) -> bool {
        let size = self.slots.len() as u32;
        self.suffixes.iter().zip(1..).all(|([hash, ..], number)| {
            (0..MAX_PROBES).any(|probe| {
                let slot = names::slot(*hash, probe, size);
                match self.slots.get_mut(slot as usize) {
                    Some(slot @ 0) => {
                        *slot = number;
                        true
                    }
                    _ => false,
                }
            })
        })
    }
}
