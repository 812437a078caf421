//! Name suffixes: which trees each belongs to, and the sections of a table that hold them.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use crate::policy::names::{self, HEAD, MAX_INLINE, OFFSET, hash};
use crate::policy::table::size;

/// How many lines a suffix may take before the search for a number of them ends.
const MOST_LINES: usize = 64;

/// How much of a line is used in the mean: so little that most lists have room at the first attempt.
const IN_A_LINE: usize = 40;

/// How many suffixes are in one in the mean, however short: so few that a hint says something.
const SUFFIXES_IN_A_LINE: usize = 3;

/// How many suffixes are moved for one before there have to be more lines.
const MOST_MOVES: usize = 500;

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

/// The sections of name suffixes: hints, lines, and the texts of those that are too long for a line.
#[derive(Default)]
pub(super) struct NameTable {
    pub(super) hints: Vec<[u8; size::HINT]>,
    pub(super) lines: Vec<[u8; size::LINE]>,
    pub(super) text: Vec<u8>,
}

impl NameTable {
    /// `None` if the hashes of so many names are alike that they cannot be placed where a lookup finds them, which
    /// takes an author who means it.
    pub(super) fn new(texts: &[(String, u32)]) -> Option<Self> {
        if texts.is_empty() {
            return Some(Self::default());
        }
        let hashes: Vec<(u64, usize)> = texts.iter().map(|(text, _)| (hash(text.as_bytes()), size_of(text))).collect();
        let total: usize = hashes.iter().map(|(_, size)| size).sum();
        let most = texts.len().saturating_mul(MOST_LINES);
        let mut count = total.div_ceil(IN_A_LINE).max(texts.len().div_ceil(SUFFIXES_IN_A_LINE));
        let places = loop {
            match Places::of(&hashes, count) {
                Some(places) => break places,
                None if count > most => return None,
                None => count = count.saturating_add(count / 16 + 1),
            }
        };
        Some(Self::written(texts, &places))
    }

    /// `places` has for each line its hint and the suffixes in it.
    fn written(texts: &[(String, u32)], places: &[(u32, Vec<u32>)]) -> Self {
        let mut table = Self::default();
        for (hint, suffixes) in places {
            let mut bytes = Vec::with_capacity(size::LINE);
            for index in suffixes {
                let (text, pair) = &texts[*index as usize];
                bytes.extend([text.len() as u32 | pair << u8::BITS].map(u32::to_le_bytes).as_flattened());
                if text.len() <= MAX_INLINE {
                    bytes.extend_from_slice(text.as_bytes());
                } else {
                    bytes.extend((table.text.len() as u32).to_le_bytes());
                    table.text.extend_from_slice(text.as_bytes());
                }
            }
            let mut line = [0; size::LINE];
            line[..bytes.len()].copy_from_slice(&bytes);
            table.lines.push(line);
            table.hints.push(hint.to_le_bytes());
        }
        table
    }
}

/// What a suffix takes of a line.
fn size_of(text: &str) -> usize {
    HEAD + if text.len() <= MAX_INLINE { text.len() } else { OFFSET }
}

/// The lines of a table while suffixes are placed in them.
struct Places<'a> {
    /// The hash of each suffix and what it takes of a line.
    suffixes: &'a [(u64, usize)],
    /// Which are in each line.
    lines: Vec<Vec<u32>>,
    /// How much of each line is free.
    free: Vec<usize>,
    /// What chance decides is decided by this, so that it is the same each time.
    random: u64,
}

impl<'a> Places<'a> {
    /// For each of `count` lines its hint and the suffixes in it, if there is room for all.
    fn of(suffixes: &'a [(u64, usize)], count: usize) -> Option<Vec<(u32, Vec<u32>)>> {
        u32::try_from(count).ok()?;
        let (lines, free) = (vec![Vec::new(); count], vec![size::LINE; count]);
        let mut places = Self { suffixes, lines, free, random: 1 };
        (0..suffixes.len() as u32).try_for_each(|suffix| places.add(suffix))?;
        let mut hints = vec![0; count];
        for (line, in_line) in places.lines.iter().enumerate() {
            for suffix in in_line {
                let [first, _] = places.homes(*suffix);
                let [in_first, in_second] = names::hints(suffixes[*suffix as usize].0);
                hints[first] |= if first == line { in_first } else { in_second };
            }
        }
        Some(hints.into_iter().zip(places.lines).collect())
    }

    fn homes(&self, suffix: u32) -> [usize; 2] {
        names::homes(self.suffixes[suffix as usize].0, self.lines.len() as u32).map(|line| line as usize)
    }

    fn put(&mut self, suffix: u32, line: usize) {
        self.free[line] -= self.suffixes[suffix as usize].1;
        self.lines[line].push(suffix);
    }

    fn take(&mut self, suffix: u32, line: usize) {
        self.free[line] += self.suffixes[suffix as usize].1;
        self.lines[line].retain(|other| *other != suffix);
    }

    /// Adds a suffix to its first line, or to its second one. If both are full, others make room and go to theirs, by
    /// chance (cuckoo hashing with buckets, Dietzfelbinger and Weidling 2007).
    fn add(&mut self, suffix: u32) -> Option<()> {
        let mut homeless = vec![(suffix, None)];
        let mut moves = 0;
        while let Some((suffix, from)) = homeless.pop() {
            let size = self.suffixes[suffix as usize].1;
            let homes @ [first, second] = self.homes(suffix);
            if let Some(line) = homes.into_iter().find(|line| self.free[*line] >= size) {
                self.put(suffix, line);
                continue;
            }
            let line = if from == Some(first) { second } else { first };
            while self.free[line] < size {
                let chosen = self.below(self.lines[line].len());
                let other = self.lines[line][chosen];
                self.take(other, line);
                homeless.push((other, Some(line)));
                moves += 1;
            }
            self.put(suffix, line);
            if moves > MOST_MOVES {
                return None;
            }
        }
        Some(())
    }

    /// A number below `limit`, by chance (xorshift64, Marsaglia 2003).
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash that leads to two of two lines.
    fn to_lines([first, second]: [u64; 2]) -> u64 {
        first << 63 | second << 31
    }

    #[test]
    fn chance_is_a_known_sequence() {
        let mut places = Places { suffixes: &[], lines: Vec::new(), free: Vec::new(), random: 1 };
        let numbers = [1_082_269_761, 1_152_992_998_833_853_505, 11_177_516_664_432_764_457];
        assert_eq!(numbers.map(|_| places.below(usize::MAX)), numbers);
    }

    #[test]
    fn no_more_suffixes_move_than_have_to() {
        let half = size::LINE / 2;
        let suffixes = [[0, 1], [0, 1], [0, 0]].map(|lines| (to_lines(lines), half));
        let [(_, first), (_, second)] = &Places::of(&suffixes, 2).unwrap()[..] else { panic!("two lines") };
        // One stays, and the third comes after it.
        assert_eq!((first.len(), first[1], second.len()), (2, 2, 1));
    }

    #[test]
    fn suffixes_that_there_is_no_room_for_are_given_up() {
        let quarters = [(0, size::LINE / 4); 4];
        assert!(Places::of(&quarters, 1).is_some());
        // One more makes room for itself, however much it needs, and so do those that it displaces.
        for size in 1..=size::LINE {
            assert!(Places::of(&[&quarters[..], &[(0, size)]].concat(), 1).is_none(), "{size}");
        }
    }
}
