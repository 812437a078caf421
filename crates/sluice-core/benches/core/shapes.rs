//! Rule sets of shapes that the compiler was not tuned on, in the way of ClassBench (Taylor and Turner, IEEE/ACM
//! Transactions on Networking 2007): networks within networks, a few kinds of rules, ports by class.

use std::collections::HashSet;

use fastrand::Rng;

use crate::common::classbench::{Header, Line};

/// What the rules of a set are like.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// How often a rule has prefixes of these lengths: weight, and the lengths of source and destination, each between
    /// two.
    prefixes: &'static [(u32, [u8; 2], [u8; 2])],
    /// How likely the next bit of a network is the one that others have there, in percent: the more, the closer
    /// together the networks are.
    skew: u32,
    /// How often source and destination ports are of each class, see [`ports`].
    classes: [[u32; 5]; 2],
    /// How often the protocol is TCP, UDP, ICMP, any of all, and any.
    protocols: [u32; 5],
}

pub(crate) const SHAPES: [Shape; 6] = [
    Shape {
        name: "hosts and their services",
        prefixes: &[(60, [0, 0], [32, 32]), (25, [16, 28], [32, 32]), (15, [32, 32], [24, 32])],
        skew: 75,
        classes: [[95, 5, 0, 0, 0], [10, 5, 0, 5, 80]],
        protocols: [70, 25, 2, 0, 3],
    },
    Shape {
        name: "anyone to anywhere by ports",
        prefixes: &[(45, [0, 0], [0, 24]), (25, [0, 20], [0, 0]), (30, [8, 32], [8, 32])],
        skew: 65,
        classes: [[50, 20, 5, 15, 10], [25, 15, 5, 30, 25]],
        protocols: [55, 30, 5, 0, 10],
    },
    Shape {
        name: "networks to networks",
        prefixes: &[(70, [12, 28], [12, 28]), (15, [0, 12], [16, 32]), (15, [16, 32], [0, 12])],
        skew: 60,
        classes: [[90, 5, 0, 0, 5], [60, 5, 0, 5, 30]],
        protocols: [40, 20, 5, 5, 30],
    },
    Shape {
        name: "few networks, many ports",
        prefixes: &[(50, [8, 16], [16, 20]), (50, [0, 0], [20, 24])],
        skew: 92,
        classes: [[20, 20, 5, 35, 20], [5, 5, 5, 45, 40]],
        protocols: [50, 45, 0, 0, 5],
    },
    Shape {
        name: "networks within networks",
        prefixes: &[(50, [8, 32], [24, 32]), (50, [24, 32], [8, 32])],
        skew: 95,
        classes: [[85, 5, 0, 5, 5], [50, 10, 5, 10, 25]],
        protocols: [60, 25, 5, 0, 10],
    },
    Shape {
        name: "all lengths alike",
        prefixes: &[(100, [0, 32], [0, 32])],
        skew: 50,
        classes: [[40, 15, 15, 15, 15], [40, 15, 15, 15, 15]],
        protocols: [25, 25, 10, 20, 20],
    },
];

/// Which of some choices is drawn, by their weights.
fn draw(rng: &mut Rng, weights: impl Iterator<Item = u32> + Clone) -> usize {
    let all: u32 = weights.clone().sum();
    let mut left = rng.u32(..all);
    weights
        .take_while(|weight| {
            let is_passed = *weight <= left;
            left = left.wrapping_sub(*weight);
            is_passed
        })
        .count()
}

/// Ports of a class: all, those of users, those of the system, a range, one.
fn ports(rng: &mut Rng, class: usize) -> (u16, u16) {
    match class {
        0 => (0, u16::MAX),
        1 => (1024, u16::MAX),
        2 => (0, 1023),
        3 => {
            let first = rng.u16(..60_000);
            (first, first + (1 << rng.u16(1..12)))
        }
        _ => {
            // Some ports are asked for more often than others.
            let most = 1 << rng.u32(6..=16);
            let port = rng.u32(..most) as u16;
            (port, port)
        }
    }
}

/// Networks that lie together: which side of each is the full one is the same for all networks of a set.
struct Scope {
    /// Of the side that networks are on.
    favorites: Vec<u32>,
    skew: u32,
}

impl Scope {
    fn new(rng: &mut Rng, skew: u32) -> Self {
        Self { favorites: (0..32).map(|_| rng.u32(..)).collect(), skew }
    }

    fn prefix(&self, rng: &mut Rng, [shortest, longest]: [u8; 2]) -> (u32, u8) {
        let length = rng.u8(shortest..=longest);
        let mut address: u32 = 0;
        for (bit, favorites) in (0..length).zip(&self.favorites) {
            // Depends on what comes before, so that each network has its own full sides.
            let favorite = (address ^ favorites).wrapping_mul(0x9E37_79B1) >> 31;
            let one = if rng.u32(..100) < self.skew { favorite } else { 1 - favorite };
            address |= one << (31 - bit);
        }
        (address, length)
    }
}

impl Shape {
    /// A set with so many lines, or with fewer if there are no more that differ.
    pub(crate) fn lines(&self, rng: &mut Rng, count: usize) -> Vec<Line> {
        let scopes = [(); 2].map(|()| Scope::new(rng, self.skew));
        let (mut lines, mut known) = (Vec::with_capacity(count), HashSet::new());
        for _ in 0..count * 20 {
            let (_, sources, destinations) = self.prefixes[draw(rng, self.prefixes.iter().map(|kind| kind.0))];
            let [source_ports, destination_ports] = self.classes.map(|classes| {
                let class = draw(rng, classes.into_iter());
                ports(rng, class)
            });
            let protocol = match draw(rng, self.protocols.into_iter()) {
                0 => Some(6),
                1 => Some(17),
                2 => Some(1),
                3 => Some(rng.u8(..)),
                _ => None,
            };
            let [source, destination] = [scopes[0].prefix(rng, sources), scopes[1].prefix(rng, destinations)];
            if known.insert((source, destination, source_ports, destination_ports, protocol)) {
                lines.push(Line { source, destination, source_ports, destination_ports, protocol });
                if lines.len() == count {
                    break;
                }
            }
        }
        // Narrow rules come first, with some disorder, as those who write rules want all of them to count.
        lines.sort_by_cached_key(|line| {
            let is_narrow = [line.source_ports, line.destination_ports].map(|(first, last)| last - first < 100);
            let narrow = is_narrow.into_iter().filter(|is_narrow| *is_narrow).count() as u32 * 6;
            let length = u32::from(line.source.1) + u32::from(line.destination.1) + narrow;
            76_u32.saturating_sub(length) + rng.u32(..24)
        });
        lines
    }
}

/// Headers for a set: four of five are in a random line, and one takes its parts from two lines.
pub(crate) fn headers(rng: &mut Rng, lines: &[Line], count: usize) -> Vec<Header> {
    let among = |rng: &mut Rng, first: u32, last: u32| match rng.u32(..4) {
        0 => first,
        1 => last,
        _ => rng.u32(first..=last),
    };
    let in_prefix = |rng: &mut Rng, (address, length): (u32, u8)| {
        among(rng, address, address | u32::MAX.checked_shr(length.into()).unwrap_or(0))
    };
    let in_ports = |rng: &mut Rng, (first, last): (u16, u16)| among(rng, first.into(), last.into()) as u16;
    (0..count)
        .map(|_| {
            let first = &lines[rng.usize(..lines.len())];
            let second = if rng.u32(..5) == 0 { &lines[rng.usize(..lines.len())] } else { first };
            (
                in_prefix(rng, first.source),
                in_prefix(rng, second.destination),
                in_ports(rng, first.source_ports),
                in_ports(rng, second.destination_ports),
                first.protocol.unwrap_or_else(|| [6, 17, 1, rng.u8(..)][rng.usize(..4)]),
            )
        })
        .collect()
}
