//! The sections of a table that hold name suffixes.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::policy::names;
use crate::policy::table::MAX_PROBES;

/// How many slots a suffix may take before the search for a size ends.
const MOST_SLOTS: usize = 64;

/// The three sections of name suffixes.
pub(super) struct NameTable {
    pub(super) suffixes: Vec<[u32; 3]>,
    pub(super) slots: Vec<u32>,
    pub(super) text: Vec<u8>,
}

impl NameTable {
    pub(super) fn new(texts: &[String]) -> Self {
        let mut table = Self { suffixes: Vec::with_capacity(texts.len()), slots: Vec::new(), text: Vec::new() };
        for text in texts {
            table.suffixes.push([names::hash(text.as_bytes()), table.text.len() as u32, text.len() as u32]);
            table.text.extend_from_slice(text.as_bytes());
        }
        if !texts.is_empty() {
            // Larger until every suffix is found in a few steps. Doubling ends at a limit that is only reached where
            // hundreds of names have the same hash, which takes an author who means it: validation refuses that table.
            let mut size = texts.len().saturating_mul(2).next_power_of_two();
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
