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
