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

#[cfg(test)]
mod tests {
    use super::super::tree::Source;
    use super::*;
    use crate::policy::entry::{Common, Entry4};
    use crate::policy::key::{Key, Key4};

    /// An entry for two addresses and destination ports.
    fn entry(source: u32, destination: u32, ports: core::ops::RangeInclusive<u16>) -> Entry4 {
        let (first_ports, last_ports) = ((*ports.start()).into(), 0xFFFF_0000 | u32::from(*ports.end()));
        let common = Common { first_ports, last_ports, ..Common::ANY };
        Entry4 { source, destination, source_shift: 0, destination_shift: 0, common }
    }

    /// The words of a filter, and how many entries it leaves for a packet of each entry.
    fn filter(entries: Vec<Entry4>) -> (usize, Vec<u32>) {
        let all: Vec<u32> = (0..entries.len() as u32).collect();
        let space = Space::new(&Source::Ipv4(entries));
        let mut filters = Filters::default();
        let start = filters.add(&space, &all) as usize;
        let bytes: Vec<u8> = filters.words()[start..].iter().flat_map(|word| word.to_le_bytes()).collect();
        let left = |entry: &u32| {
            let key = Key4::of_words(&space.packet(*entry));
            let of_group = |(group, entries): (usize, &[u32])| {
                let set = |window: usize| {
                    let byte = key.bytes()[usize::from(bytes[window])];
                    let value = if window < LOWER { byte & 0xF } else { byte >> 4 };
                    let at = (group * WINDOWS + window) * VALUES + usize::from(value);
                    u128::from_le_bytes(*bytes[HEAD + at * 16..].first_chunk().unwrap())
                };
                let mask = u128::MAX >> (GROUP as usize - entries.len());
                (0..WINDOWS).fold(mask, |left, window| left & set(window)).count_ones()
            };
            all.chunks(GROUP as usize).enumerate().map(of_group).sum()
        };
        (bytes.len() / 4, all.iter().map(left).collect())
    }

    /// All windows of the addresses tell pairs from each other, and one of the ports the two of a pair. The windows of
    /// the addresses rule out more by themselves.
    #[test]
    fn a_window_is_chosen_for_what_the_others_do_not_rule_out() {
        // One port each; and ranges of which the first has the values 7 and 8 of the highest four bits, half of 16.
        for ports in [[80..=80, 81..=81], [0x7000..=0x8FFF, 0..=0x6FFF]] {
            let pair =
                |number: u32| ports.clone().map(|ports| entry(number * 0x0101_0101, number * 0x0101_0101, ports));
            let (_, left) = filter((0..64).flat_map(pair).collect());
            assert_eq!(left, [1; 128]);
        }
    }

    /// Four lower halves and three upper ones have a bit of the number each. A fifth lower half tells but the first
    /// entry from the others.
    #[test]
    fn a_window_is_chosen_for_all_that_it_rules_out() {
        let bit = |number: u32, bit: u32| (number >> bit & 1) << (bit % 4 * 8);
        let lower = |number| bit(number, 0) | bit(number, 1) | bit(number, 2) | bit(number, 3);
        let upper = |number| (bit(number, 4) | bit(number, 5) | bit(number, 6)) << 4;
        let entries = (0..128).map(|number| entry(lower(number), upper(number) | u32::from(number == 0), 0..=u16::MAX));
        assert_eq!(filter(entries.collect()).1, [1; 128]);
    }

    #[test]
    fn entries_of_several_groups_are_told_apart_by_what_is_not_at_the_start_of_a_word() {
        let with_source_port = |port: u32| {
            let mut entry = entry(0, 0, 0..=u16::MAX);
            entry.common.first_ports |= port << 16;
            entry.common.last_ports = port << 16 | 0xFFFF;
            entry
        };
        assert_eq!(filter((0..300).map(with_source_port).collect()).1, [1; 300]);
    }

    /// Each entry differs from the first one in one bit, so that no eight windows tell all of them from it.
    #[test]
    fn a_filter_has_a_set_for_each_value_of_its_windows_and_no_more() {
        let addresses = (0..64).map(|bit| 1_u64 << bit);
        let entries = [0].into_iter().chain(addresses).map(|a| entry((a >> 32) as u32, a as u32, 0..=u16::MAX));
        let (words, left) = filter(entries.collect());
        assert_eq!(words, (HEAD + WINDOWS * 16 * 16) / 4);
        // 32 bits are in windows.
        assert_eq!(left[0], 65 - 32);
    }
}
