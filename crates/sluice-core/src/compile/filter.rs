//! From the entries of a leaf to its filter: which windows tell them apart best.

use alloc::vec;
use alloc::vec::Vec;

use super::tree::{Slice, Space};
use crate::policy::filter::{GROUP, HEAD, LOWER, WINDOW_BITS, WINDOWS};

/// How many words come before the first filter.
pub(super) const UNUSED: usize = HEAD / 4;

/// How many values a window has.
const VALUES: usize = 1 << WINDOW_BITS;

/// How many packets the choice is made for. Twice as many take twice the time and change little.
const SAMPLE: usize = 40;

/// The filters of a table.
#[derive(Default)]
pub(super) struct Filters {
    words: Vec<u32>,
    candidates: Vec<Candidate>,
    /// The sets of all candidates, one after another: for each value those who allow it, then those who allow any.
    sets: Vec<u128>,
    /// How many words a set has.
    groups: usize,
    /// What each packet of the sample has in each dimension.
    sample: Vec<Vec<u32>>,
    /// The entries that the windows chosen so far let through, for each packet.
    left: Vec<u128>,
}

struct Candidate {
    /// What of a dimension is in the window.
    slice: Slice,
    /// How many bits of the window are below that.
    below: u32,
    /// The byte of the key that the window is a half of, and which half.
    byte: u8,
    is_lower: bool,
    /// Where its sets start.
    sets: usize,
    /// At most how many entries it rules out that the windows chosen so far do not, summed over the sample.
    gain: u32,
}

impl Filters {
    /// Adds a filter for `entries` and gives its index.
    pub(super) fn add(&mut self, space: &Space, entries: &[u32]) -> u32 {
        self.groups = entries.len().div_ceil(GROUP as usize);
        self.find_candidates(space, entries);
        let step = entries.len().div_ceil(SAMPLE);
        self.sample = entries.iter().step_by(step).map(|entry| space.point(*entry)).collect();
        self.left = vec![u128::MAX; self.sample.len() * self.groups];
        for candidate in 0..self.candidates.len() {
            self.candidates[candidate].gain = self.gain(candidate);
        }
        // What a window rules out beyond the others becomes less with every window chosen. So the one whose gain was
        // the largest when it was last looked at is the best, if it still is.
        let mut chosen = [const { None }; WINDOWS];
        while let Some(best) = self.most_promising() {
            let (lower, upper) = chosen.split_at_mut(LOWER);
            let of_half = if self.candidates[best].is_lower { lower } else { upper };
            let free = of_half.iter_mut().find(|window| window.is_none());
            self.candidates[best].gain = if free.is_some() { self.gain(best) } else { 0 };
            if self.candidates[best].gain == 0 {
                self.candidates.swap_remove(best);
            } else if self.most_promising() == Some(best)
                && let Some(free) = free
            {
                let window = self.candidates.swap_remove(best);
                for (point, left) in self.sample.iter().zip(self.left.chunks_exact_mut(self.groups)) {
                    let (of_value, of_any) = window.sets(&self.sets, self.groups, point);
                    left.iter_mut().zip(of_value).zip(of_any).for_each(|((left, some), any)| *left &= some | any);
                }
                *free = Some(window);
            }
        }
        self.write(&chosen)
    }

    fn most_promising(&self) -> Option<usize> {
        (0..self.candidates.len()).max_by_key(|index| self.candidates[*index].gain)
    }

    fn gain(&self, candidate: usize) -> u32 {
        let mut gain = 0;
        for (point, left) in self.sample.iter().zip(self.left.chunks_exact(self.groups)) {
            let (of_value, of_any) = self.candidates[candidate].sets(&self.sets, self.groups, point);
            gain += left
                .iter()
                .zip(of_value)
                .zip(of_any)
                .map(|((left, some), any)| (left & !some & !any).count_ones())
                .sum::<u32>();
        }
        gain
    }

    fn find_candidates(&mut self, space: &Space, entries: &[u32]) {
        self.candidates.clear();
        self.sets.clear();
        for (index, (dimension, spans)) in space.dimensions.iter().enumerate() {
            let end = dimension.lowest_bit + dimension.width;
            // Windows start at multiples of their size, and a dimension may be less than one.
            let first = dimension.lowest_bit / WINDOW_BITS * WINDOW_BITS;
            for lowest in (first..end).step_by(WINDOW_BITS as usize) {
                let start = lowest.max(dimension.lowest_bit);
                let bits = (lowest + WINDOW_BITS).min(end) - start;
                let slice = Slice { dimension: index, shift: start - dimension.lowest_bit, bits };
                let values = 1_usize << bits;
                let sets = self.sets.len();
                self.sets.resize(sets + (values + 1) * self.groups, 0);
                let (some, any) = self.sets[sets..].split_at_mut(values * self.groups);
                let mut decided = false;
                for (at, entry) in entries.iter().enumerate() {
                    let (group, bit) = (at / GROUP as usize, 1 << (at % GROUP as usize));
                    let (first, last) = slice.cover(spans[*entry as usize]);
                    if (last - first) as usize == values - 1 {
                        any[group] |= bit;
                        continue;
                    }
                    decided = true;
                    for value in first as usize..=last as usize {
                        some[value * self.groups + group] |= bit;
                    }
                }
                if decided {
                    let byte = (dimension.word * 4 + lowest / 8) as u8;
                    let is_lower = lowest % 8 == 0;
                    self.candidates.push(Candidate { slice, below: start - lowest, byte, is_lower, sets, gain: 0 });
                } else {
                    self.sets.truncate(sets);
                }
            }
        }
    }

    fn write(&mut self, windows: &[Option<Candidate>; WINDOWS]) -> u32 {
        self.words.resize(self.words.len().max(UNUSED), 0);
        let start = self.words.len();
        let mut bytes: Vec<u8> = windows.iter().map(|window| window.as_ref().map_or(0, |window| window.byte)).collect();
        bytes.resize(HEAD, 0);
        for group in 0..self.groups {
            for window in windows {
                for value in 0..VALUES as u32 {
                    let set = window.as_ref().map_or(u128::MAX, |window| {
                        let value = value >> window.below & ((1 << window.slice.bits) - 1);
                        let (some, any) = window.sets_of_value(&self.sets, self.groups, value);
                        some[group] | any[group]
                    });
                    bytes.extend(set.to_le_bytes());
                }
            }
        }
        self.words.extend(bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)));
        start as u32
    }

    /// The filters, one after another.
    pub(super) fn words(self) -> Vec<u32> {
        self.words
    }
}

impl Candidate {
    /// The entries that allow what a packet has in the window, and those that allow any value.
    fn sets<'sets>(&self, sets: &'sets [u128], groups: usize, point: &[u32]) -> (&'sets [u128], &'sets [u128]) {
        let value = point[self.slice.dimension] >> self.slice.shift & ((1 << self.slice.bits) - 1);
        self.sets_of_value(sets, groups, value)
    }

    fn sets_of_value<'sets>(&self, sets: &'sets [u128], groups: usize, value: u32) -> (&'sets [u128], &'sets [u128]) {
        let set = |index: usize| &sets[self.sets + index * groups..][..groups];
        (set(value as usize), set(1 << self.slice.bits))
    }
}
