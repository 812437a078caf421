//! From the entries of a leaf to its filter: which windows tell them apart best.

use alloc::vec;
use alloc::vec::Vec;

use super::tree::{Slice, Space};
use crate::policy::filter::{GROUP, HEADS, MAX_SHIFT, WINDOW_BITS, WINDOWS};

/// The alignment of filters in bytes: with it, the head of a filter lies in one cache line.
const ALIGNMENT: usize = HEADS;

/// How many words come before the first filter.
pub(super) const UNUSED: usize = ALIGNMENT / 4;

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
    slice: Slice,
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
        let mut chosen = Vec::new();
        while chosen.len() < WINDOWS {
            let Some(best) = self.most_promising() else {
                break;
            };
            self.candidates[best].gain = self.gain(best);
            if self.candidates[best].gain == 0 {
                self.candidates.swap_remove(best);
            } else if self.most_promising() == Some(best) {
                let window = self.candidates.swap_remove(best);
                for (point, left) in self.sample.iter().zip(self.left.chunks_exact_mut(self.groups)) {
                    let (of_value, of_any) = window.sets(&self.sets, self.groups, point);
                    left.iter_mut().zip(of_value).zip(of_any).for_each(|((left, some), any)| *left &= some | any);
                }
                chosen.push(window);
            }
        }
        self.write(space, &chosen)
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
        let most_bits = window_bits(entries.len());
        for (index, (dimension, spans)) in space.dimensions.iter().enumerate() {
            let bits = most_bits.min(dimension.width);
            // A window of fewer bits cannot start higher in a word than one of all bits.
            let top = (dimension.width - bits).min(u32::BITS - WINDOW_BITS - dimension.lowest_bit);
            for shift in (0..top).step_by(4).chain([top]) {
                let slice = Slice { dimension: index, shift, bits };
                let values = 1_usize << bits;
                let start = self.sets.len();
                self.sets.resize(start + (values + 1) * self.groups, 0);
                let (some, any) = self.sets[start..].split_at_mut(values * self.groups);
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
                    self.candidates.push(Candidate { slice, sets: start, gain: 0 });
                } else {
                    self.sets.truncate(start);
                }
            }
        }
    }

    fn write(&mut self, space: &Space, chosen: &[Candidate]) -> u32 {
        self.words.resize(self.words.len().max(UNUSED), 0);
        let start = self.words.len();
        let (mut places, mut masks, mut scales, mut starts) =
            ([0; WINDOWS], [0_u16; WINDOWS], [0_u16; WINDOWS], [0_u16; WINDOWS]);
        let mut sets: Vec<u128> = Vec::new();
        for (at, candidate) in chosen.iter().enumerate() {
            let slice = &candidate.slice;
            let (dimension, _) = &space.dimensions[slice.dimension];
            let lowest = dimension.lowest_bit + slice.shift;
            // The 16 bits that the window is in have to be in one word, as a processor reads them fastest then.
            let byte = (lowest / 8).min(2);
            let shift = lowest - byte * 8;
            places[at] = (dimension.word * 4 + byte) as u8;
            masks[at] = ((1 << slice.bits) - 1) << shift;
            scales[at] = (self.groups << (MAX_SHIFT - shift)) as u16;
            starts[at] = (sets.len() * size_of::<u128>()) as u16;
            for value in 0..1 << slice.bits {
                let (some, any) = candidate.sets_of_value(&self.sets, self.groups, value);
                sets.extend(some.iter().zip(any).map(|(some, any)| some | any));
            }
        }
        if chosen.len() < WINDOWS {
            starts[chosen.len()..].fill((sets.len() * size_of::<u128>()) as u16);
            sets.resize(sets.len() + self.groups, u128::MAX);
        }
        let numbers = [masks, scales, starts];
        let numbers = numbers.iter().flatten().flat_map(|number| number.to_le_bytes());
        let mut bytes: Vec<u8> = places.into_iter().chain(numbers).collect();
        bytes.resize(HEADS, 0);
        bytes.extend(sets.iter().flat_map(|set| set.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        self.words.extend(bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)));
        start as u32
    }

    /// The filters, one after another.
    pub(super) fn words(self) -> Vec<u32> {
        self.words
    }
}

/// How many bits the windows of a leaf with this many entries have. Half a group of them takes one bit less, and so on,
/// and the filter is smaller.
fn window_bits(entries: usize) -> u32 {
    let halvings = (GROUP as usize / entries).checked_ilog2().unwrap_or(0);
    WINDOW_BITS - halvings.min(WINDOW_BITS - 1)
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
