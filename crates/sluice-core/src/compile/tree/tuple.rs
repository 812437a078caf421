//! Hash tables: which parts of the key one is made of.
//!
//! Rules mostly come in a few shapes: networks to a host, a host to anywhere. Whatever has at least a prefix of a
//! certain length on each side goes into one table by these two prefixes, however much longer its own are (TupleMerge,
//! Daly et al., IEEE/ACM Transactions on Networking 2019). The shorter the prefixes, the more entries the table holds,
//! and the more of them have the same ones.

use alloc::vec::Vec;

use super::space::Space;
use crate::policy::node::Tuple;

/// How many lengths of a prefix are tried with each of the other side, before all others are tried with the best.
const LENGTHS: usize = 6;

/// Looking into a table takes as long as comparing this many entries.
const PROBE: u64 = 8;

/// So many bits of a hash that entries hardly have the same one by accident.
const ALL_BITS: u32 = 31;

/// A tuple, and what it does to the entries of a sample.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    /// Low bits of source and destination that are left out, and the other parts.
    shape: Shape,
    /// How many entries of the sample have all that the tuple consists of.
    pub(super) held: usize,
    /// How many entries of all have the same of it as one of these, itself included, in sixteenths.
    pub(super) crowd: u64,
}

/// How many low bits of source and destination are left out, and which other parts belong to the tuple.
#[derive(Clone, Copy)]
struct Shape {
    shifts: [u32; 2],
    parts: u32,
}

impl Shape {
    fn tuple(self, bits: u32) -> Tuple {
        let [source, destination] = self.shifts;
        Tuple::new(source, destination, bits, self.parts)
    }
}

impl Candidate {
    /// The tuple with a hash of `bits`.
    pub(super) fn tuple(&self, bits: u32) -> Tuple {
        self.shape.tuple(bits)
    }

    /// How many entries leave the rest for what a search of the table takes.
    fn gain(&self) -> u64 {
        ((self.held as u64) << 16) / (PROBE * 16 + self.crowd / 2)
    }
}

/// Looks for tuples, in memory that it uses again and again.
#[derive(Default)]
pub(super) struct Tuples {
    hashes: Vec<u32>,
}

impl Tuples {
    /// The tuple that takes the most entries out of the rest for what it costs a search, by a sample that has one in
    /// `step` of them.
    pub(super) fn best(&mut self, space: &Space, sample: &[u32], step: usize) -> Option<Candidate> {
        let lengths = [0, 1].map(|side| shifts(space, sample, side));
        let [sources, destinations] =
            lengths.each_ref().map(|all| all.iter().rev().step_by(all.len().div_ceil(LENGTHS)));
        let mut best: Option<Candidate> = None;
        let mut consider = |shape: Shape| {
            let candidate = self.candidate(space, sample, step, shape);
            best = best
                .into_iter()
                .chain(candidate)
                .reduce(|best, other| if other.gain() > best.gain() { other } else { best });
            best.map(|best| best.shape)
        };
        let mut found = None;
        for source in sources {
            for destination in destinations.clone() {
                for parts in [0, Tuple::DESTINATION_PORT] {
                    found = consider(Shape { shifts: [*source, *destination], parts });
                }
            }
        }
        let mut found = found?;
        for side in [0, 1] {
            for shift in &lengths[side] {
                let mut shape = found;
                shape.shifts[side] = *shift;
                found = consider(shape)?;
            }
        }
        for part in [Tuple::PROTOCOL, Tuple::SOURCE_PORT, Tuple::DESTINATION_PORT] {
            found = consider(Shape { parts: found.parts ^ part, ..found })?;
        }
        best
    }

    fn candidate(&mut self, space: &Space, sample: &[u32], step: usize, shape: Shape) -> Option<Candidate> {
        let tuple = shape.tuple(ALL_BITS);
        self.hashes.clear();
        self.hashes.extend(sample.iter().filter_map(|entry| space.tuple_child(tuple, *entry)));
        self.hashes.sort_unstable();
        let held = self.hashes.len();
        let others: usize = self.hashes.chunk_by(u32::eq).map(|same| same.len() * (same.len() - 1)).sum();
        (held != 0).then(|| Candidate { shape, held, crowd: 16 + (16 * others * step / held) as u64 })
    }
}

/// How many low bits entries of a sample leave open on a side: each number once, and all of them.
fn shifts(space: &Space, sample: &[u32], side: usize) -> Vec<u32> {
    let mut all: Vec<u32> = sample.iter().map(|entry| space.addresses[*entry as usize][side].1).collect();
    all.push(if space.is_ipv6 { 128 } else { 32 });
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::Source;
    use super::*;
    use crate::policy::entry::{Common, Entry4};
    use crate::policy::key::meta;

    /// An entry for two prefixes, that many low bits of which are open.
    fn entry(source: (u32, u32), destination: (u32, u32)) -> Entry4 {
        Entry4 {
            source: source.0.checked_shl(source.1).unwrap_or(0),
            source_shift: source.1,
            destination: destination.0.checked_shl(destination.1).unwrap_or(0),
            destination_shift: destination.1,
            common: Common::ANY,
        }
    }

    const ANY: (u32, u32) = (0, 32);

    fn best(entries: Vec<Entry4>) -> Candidate {
        let sample: Vec<u32> = (0..entries.len() as u32).collect();
        Tuples::default().best(&Space::new(&Source::Ipv4(entries)), &sample, 1).unwrap()
    }

    #[test]
    fn what_a_table_holds_and_which_entries_have_the_same_of_it_are_counted() {
        // One address twice, and one that a table of addresses does not hold.
        let entries = vec![entry((1, 0), ANY), entry((1, 0), ANY), entry((2, 0), ANY), entry((3, 8), ANY)];
        let space = Space::new(&Source::Ipv4(entries));
        let candidate = |shift, step| {
            let shape = Shape { shifts: [shift, 32], parts: 0 };
            let candidate = Tuples::default().candidate(&space, &[0, 1, 2, 3], step, shape)?;
            Some((candidate.held, candidate.crowd))
        };
        // Two of three have one other, in sixteenths: of all twice as many if one in two is in the sample.
        assert_eq!(candidate(0, 1), Some((3, 16 + 16 * 2 / 3)));
        assert_eq!(candidate(0, 2), Some((3, 16 + 16 * 4 / 3)));
        // The addresses are in the same network of 8 bits: three of four have two others.
        assert_eq!(candidate(8, 1), Some((4, 16 + 16 * 6 / 4)));
        let space = Space::new(&Source::Ipv4(vec![entry((1, 8), ANY)]));
        let shape = Shape { shifts: [0, 32], parts: 0 };
        assert!(Tuples::default().candidate(&space, &[0], 1, shape).is_none(), "it holds nothing");
    }

    #[test]
    fn a_table_gains_what_it_holds_for_a_probe_and_half_of_those_that_have_the_same() {
        let gain = |held, crowd| Candidate { shape: Shape { shifts: [0, 0], parts: 0 }, held, crowd }.gain();
        assert_eq!(gain(1, 16), (1 << 16) / (8 * 16 + 8));
        assert_eq!(gain(10, 64), (10 << 16) / (8 * 16 + 32));
    }

    /// Where networks of one length are many and lie side by side, a table of shorter prefixes would hold hardly more.
    #[test]
    fn the_length_of_a_prefix_is_the_one_that_most_entries_have() {
        for shift in 8..=24 {
            let others = (8..=24).map(|shift| (250 - shift, shift));
            let networks: Vec<(u32, u32)> = (0..100).map(|number| (number, shift)).chain(others).collect();
            let of_sources = networks.iter().map(|network| entry(*network, ANY)).collect();
            assert_eq!(best(of_sources).shape.shifts, [shift, 32]);
            let of_destinations = networks.iter().map(|network| entry(ANY, *network)).collect();
            assert_eq!(best(of_destinations).shape.shifts, [32, shift]);
        }
    }

    #[test]
    fn ports_and_protocol_belong_to_a_table_where_they_tell_entries_apart() {
        let with = |part: u32| {
            let entries = (0..100).map(|number: u32| {
                let mut entry = entry((1, 8), (2, 0));
                let common = &mut entry.common;
                match part {
                    Tuple::SOURCE_PORT => {
                        (common.first_ports, common.last_ports) = (number << 16, number << 16 | 0xFFFF)
                    }
                    Tuple::DESTINATION_PORT => (common.first_ports, common.last_ports) = (number, 0xFFFF_0000 | number),
                    Tuple::PROTOCOL => {
                        (common.meta_value, common.meta_mask) = (number << meta::PROTOCOL_SHIFT, meta::PROTOCOL);
                    }
                    _ => entry.source = number << 8,
                }
                entry
            });
            let best = best(entries.collect());
            (best.shape.parts, best.held, best.crowd)
        };
        for part in [0, Tuple::SOURCE_PORT, Tuple::DESTINATION_PORT, Tuple::PROTOCOL] {
            assert_eq!(with(part), (part, 100, 16));
        }
    }

    /// An entry for a network and a destination port.
    fn with_port(network: (u32, u32), port: u32) -> Entry4 {
        let mut entry = entry(network, ANY);
        (entry.common.first_ports, entry.common.last_ports) = (port, 0xFFFF_0000 | port);
        entry
    }

    #[test]
    fn what_tells_nothing_apart_belongs_to_no_table() {
        let web = |number| {
            let mut entry = with_port((number, 0), 80);
            (entry.common.meta_value, entry.common.meta_mask) = (6 << meta::PROTOCOL_SHIFT, meta::PROTOCOL);
            entry
        };
        let best = best((0..100).map(web).collect());
        assert_eq!((best.shape.shifts, best.shape.parts), ([0, 32], 0));
    }

    #[test]
    fn a_port_that_was_needed_with_shorter_prefixes_is_left_out_with_the_best() {
        // Of 17 lengths, that of the most networks is none of those that are tried first. With the next shorter one,
        // two have the same prefix, and most of these different ports.
        let networks = (0..100).map(|number| match number {
            0..30 => with_port((number, 12), 0),
            30..98 => with_port((number, 12), number % 2),
            _ => entry((number, 12), ANY),
        });
        let others = (8..=24).map(|shift| with_port((250 - shift, shift), 0));
        let best = best(networks.chain(others).collect());
        assert_eq!((best.shape.shifts, best.shape.parts), ([12, 32], 0));
    }
}
