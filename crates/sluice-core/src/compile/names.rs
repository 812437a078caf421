//! Name suffixes: which trees each belongs to, and the sections of a table that hold them.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use crate::policy::names;
use crate::policy::table::MAX_PROBES;

/// How many slots a suffix may take before the search for a size ends.
const MOST_SLOTS: usize = 64;

/// The distinct suffixes of all rules, in order. Those that the same rules name share a pair of trees.
#[derive(Default)]
pub(super) struct Suffixes {
    /// The text of each suffix and the index of its pair of trees.
    pub(super) texts: Vec<(String, u32)>,
    /// The rules of each pair of trees, in order.
    pub(super) pairs: Vec<Vec<u32>>,
}

impl Suffixes {
    /// `named` has each suffix with each of the rules that name it.
    pub(super) fn new(mut named: Vec<(String, u32)>) -> Self {
        named.sort_unstable();
        named.dedup();
        let mut suffixes = Self::default();
        let mut known = BTreeMap::new();
        let mut rules = Vec::new();
        let mut named = named.into_iter().peekable();
        while let Some((text, rule)) = named.next() {
            rules.push(rule);
            if named.peek().is_some_and(|(next, _)| *next == text) {
                continue;
            }
            let pair = match known.get(&rules) {
                Some(pair) => *pair,
                None => {
                    let pair = suffixes.pairs.len() as u32;
                    known.insert(rules.clone(), pair);
                    suffixes.pairs.push(mem::take(&mut rules));
                    pair
                }
            };
            rules.clear();
            suffixes.texts.push((text, pair));
        }
        suffixes
    }
}

/// The three sections of name suffixes.
pub(super) struct NameTable {
    pub(super) suffixes: Vec<[u32; 3]>,
    pub(super) slots: Vec<u32>,
    pub(super) text: Vec<u8>,
}

impl NameTable {
    pub(super) fn new(texts: &[(String, u32)]) -> Self {
        let mut table = Self { suffixes: Vec::with_capacity(texts.len()), slots: Vec::new(), text: Vec::new() };
        for (text, pair) in texts {
            let last = text.len() as u32 | *pair << names::LENGTH_BITS;
            table.suffixes.push([names::hash(text.as_bytes()), table.text.len() as u32, last]);
            table.text.extend_from_slice(text.as_bytes());
        }
        if !texts.is_empty() {
            // Larger until every suffix is found in a few steps. Doubling ends at a limit that is only reached where
            // hundreds of names have the same hash, which takes an author who means it: validation refuses that table.
            let mut size = texts.len().saturating_add(texts.len() / 2 + 1).next_power_of_two();
            loop {
                table.slots = vec![0; size];
                if table.fill() || size > texts.len().saturating_mul(MOST_SLOTS) {
                    break;
                }
                size = size.saturating_mul(2);
            }
        }
        table
    }

    /// Enters all suffixes. Answers whether there was room for each where a lookup finds it.
    ///
    /// A suffix takes the slot of one that is nearer to its first slot, which moves on (Robin Hood hashing, Celis
    /// 1986): so none gets far, and the table can be fuller.
    fn fill(&mut self) -> bool {
        let size = self.slots.len() as u32;
        let number_bits = names::number_bits(self.suffixes.len() as u32);
        for index in 0..self.suffixes.len() as u32 {
            let mut index = index;
            let mut probe = 0;
            loop {
                let [hash, ..] = self.suffixes[index as usize];
                let at = names::slot(hash, probe, size);
                let word = core::mem::replace(&mut self.slots[at as usize], hash & !number_bits | (index + 1));
                let Some(other) = (word & number_bits).checked_sub(1) else { break };
                let [other_hash, ..] = self.suffixes[other as usize];
                let other_probe = at.wrapping_sub(names::slot(other_hash, 0, size)) & (size - 1);
                if other_probe < probe {
                    (index, probe) = (other, other_probe);
                } else {
                    self.slots[at as usize] = word;
                }
                probe += 1;
                if probe == MAX_PROBES {
                    return false;
                }
            }
        }
        true
    }
}
