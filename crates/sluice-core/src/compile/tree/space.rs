//! The entries of a tree as boxes, and the windows through which a cut looks at them.

use alloc::vec;
use alloc::vec::Vec;

use super::Source;
use crate::policy::entry::Common;
use crate::policy::key::{fold, meta, word};
use crate::policy::node::{Tuple, Window};

/// A part of the key that cuts can use: some bits of one of its words.
#[derive(Clone, Copy)]
pub(crate) struct Dimension {
    pub(crate) word: u32,
    pub(crate) lowest_bit: u32,
    pub(crate) width: u32,
}

impl Dimension {
    const fn new(word: usize, lowest_bit: u32, width: u32) -> Self {
        Self { word: word as u32, lowest_bit, width }
    }
}

const SOURCE_PORT: Dimension = Dimension::new(word::PORTS, 16, 16);
const DESTINATION_PORT: Dimension = Dimension::new(word::PORTS, 0, 16);
const PROTOCOL: Dimension = Dimension::new(word::META, meta::PROTOCOL_SHIFT, 8);
const DIRECTION: Dimension = Dimension::new(word::META, meta::DIRECTION_SHIFT, 2);

/// Which values of a dimension an entry covers: first and last.
pub(crate) type Span = (u32, u32);

/// The entries of a tree as boxes.
pub(crate) struct Space {
    pub(super) length: usize,
    pub(crate) is_ipv6: bool,
    /// The rule of each entry.
    pub(super) rules: Vec<u32>,
    /// Source and destination of each entry, with the number of low bits that do not count.
    pub(super) addresses: Vec<[(u128, u32); 2]>,
    /// First and last ports, and protocol, of each entry.
    rest: Vec<(u32, u32, Option<u8>)>,
    /// The properties that each entry asks for.
    properties: Vec<u32>,
    pub(crate) dimensions: Vec<(Dimension, Vec<Span>)>,
}

impl Space {
    pub(crate) fn new(source: &Source) -> Self {
        match source {
            Source::Ipv4(entries) => {
                let mut space = Self::of(entries.iter().map(|entry| &entry.common), false);
                space.addresses = entries
                    .iter()
                    .map(|e| [(e.source.into(), e.source_shift), (e.destination.into(), e.destination_shift)])
                    .collect();
                space
                    .add(Dimension::new(word::SOURCE4, 0, 32), entries.iter().map(|e| span4(e.source, e.source_shift)));
                space.add(
                    Dimension::new(word::DESTINATION4, 0, 32),
                    entries.iter().map(|e| span4(e.destination, e.destination_shift)),
                );
                space
            }
            Source::Ipv6(entries) => {
                let mut space = Self::of(entries.iter().map(|entry| &entry.common), true);
                space.addresses = entries
                    .iter()
                    .map(|e| [(e.source, e.source_shift), (e.destination, e.destination_shift)])
                    .collect();
                for index in 0..4 {
                    let dimension = |word| Dimension::new(word + index as usize, 0, 32);
                    space.add(dimension(word::SOURCE6), entries.iter().map(|e| span6(e.source, e.source_shift, index)));
                    space.add(
                        dimension(word::DESTINATION6),
                        entries.iter().map(|e| span6(e.destination, e.destination_shift, index)),
                    );
                }
                space
            }
        }
    }

    fn of<'entries>(entries: impl Iterator<Item = &'entries Common> + Clone, is_ipv6: bool) -> Self {
        let rules: Vec<u32> = entries.clone().map(|entry| entry.found.rule()).collect();
        let rest = entries
            .clone()
            .map(|e| {
                let exact = e.meta_mask & meta::PROTOCOL == meta::PROTOCOL;
                (e.first_ports, e.last_ports, exact.then_some((e.meta_value >> meta::PROTOCOL_SHIFT) as u8))
            })
            .collect();
        let mut space = Self {
            length: rules.len(),
            is_ipv6,
            rules,
            addresses: Vec::new(),
            rest,
            properties: entries.clone().map(|e| e.meta_value).collect(),
            dimensions: Vec::new(),
        };
        space.add(SOURCE_PORT, entries.clone().map(|e| (e.first_ports >> 16, e.last_ports >> 16)));
        space.add(DESTINATION_PORT, entries.clone().map(|e| (e.first_ports & 0xFFFF, e.last_ports & 0xFFFF)));
        for dimension in [PROTOCOL, DIRECTION] {
            let all = (1 << dimension.width) - 1;
            space.add(
                dimension,
                entries.clone().map(|e| {
                    let part = |bits: u32| bits >> dimension.lowest_bit & all;
                    if part(e.meta_mask) == all { (part(e.meta_value), part(e.meta_value)) } else { (0, all) }
                }),
            );
        }
        space
    }

    /// Adds a dimension, unless no entry depends on it.
    fn add(&mut self, dimension: Dimension, spans: impl Iterator<Item = Span>) {
        let all = u32::MAX >> (32 - dimension.width);
        let spans: Vec<Span> = spans.collect();
        if spans.iter().any(|span| *span != (0, all)) {
            self.dimensions.push((dimension, spans));
        }
    }

    /// A packet that an entry matches, the same every time: what it has in each dimension. Half of the values are ends
    /// of what the entry covers, as ports 0 and 65535 and the addresses of networks are seen more often than others.
    pub(crate) fn point(&self, entry: u32) -> Vec<u32> {
        let mut state = entry;
        self.dimensions
            .iter()
            .map(|(_, spans)| {
                let (first, last) = spans[entry as usize];
                state = (state ^ state >> 15).wrapping_mul(0x2C1B_3C6D).wrapping_add(0x9E37_79B9);
                let inside = first + ((u64::from(state) * (u64::from(last - first) + 1)) >> 32) as u32;
                [first, inside, last, inside][(state & 3) as usize]
            })
            .collect()
    }

    /// The words of the key of that packet.
    pub(crate) fn packet(&self, entry: u32) -> Vec<u32> {
        let mut words = vec![0; 10];
        words[word::META] = self.properties[entry as usize];
        for ((dimension, _), value) in self.dimensions.iter().zip(self.point(entry)) {
            words[dimension.word as usize] |= value << dimension.lowest_bit;
        }
        words
    }

    /// The child of an entry that specifies all that a tuple consists of.
    pub(super) fn tuple_child(&self, tuple: Tuple, entry: u32) -> Option<u32> {
        let [source, destination] = self.addresses[entry as usize];
        let (first, last, protocol) = self.rest[entry as usize];
        let ports = |part: u32, mask: u32| tuple.0 & part == 0 || (first ^ last) & mask == 0;
        let specified = source.1 <= tuple.source_shift()
            && destination.1 <= tuple.destination_shift()
            && ports(Tuple::SOURCE_PORT, 0xFFFF_0000)
            && ports(Tuple::DESTINATION_PORT, 0xFFFF)
            && (tuple.0 & Tuple::PROTOCOL == 0 || protocol.is_some());
        let hashed = |address: u128, shift: u32| {
            if self.is_ipv6 { fold(address, shift) } else { (address >> shift) as u64 }
        };
        specified.then(|| {
            tuple.child(
                hashed(source.0, tuple.source_shift()),
                hashed(destination.0, tuple.destination_shift()),
                first,
                protocol.unwrap_or(0).into(),
            )
        })
    }
}

fn span4(first: u32, shift: u32) -> Span {
    (first, first | 1_u32.checked_shl(shift).map_or(u32::MAX, |bit| bit - 1))
}

/// What of word `index`, counted from the most significant one, a prefix covers.
fn span6(first: u128, shift: u32, index: u32) -> Span {
    let low_bits = 96 - 32 * index;
    span4((first >> low_bits) as u32, shift.saturating_sub(low_bits).min(32))
}

/// A window of a dimension, and the values in it that an entry covers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Slice {
    pub(crate) dimension: usize,
    pub(crate) shift: u32,
    pub(crate) bits: u32,
}

impl Slice {
    /// The first and the last value of the window that `span` covers.
    pub(crate) fn cover(self, (first, last): Span) -> Span {
        let mask = (1 << self.bits) - 1;
        let above = |value: u32| value.checked_shr(self.shift + self.bits).unwrap_or(0);
        if above(first) == above(last) { (first >> self.shift & mask, last >> self.shift & mask) } else { (0, mask) }
    }

    pub(super) fn window(self, space: &Space) -> Window {
        match space.dimensions.get(self.dimension) {
            Some((dimension, _)) if self.bits != 0 => {
                Window::new(dimension.word, dimension.lowest_bit + self.shift, self.bits)
            }
            _ => Window::default(),
        }
    }

    pub(super) fn span(self, space: &Space, entry: u32) -> Span {
        if self.bits == 0 {
            return (0, 0);
        }
        self.cover(space.dimensions[self.dimension].1[entry as usize])
    }

    /// The same with at most `bits` bits, at the end of the window that was good: the lower one if it is at the bottom.
    pub(super) fn narrowed(self, bits: u32) -> Self {
        let bits = bits.min(self.bits);
        let shift = if self.shift == 0 { 0 } else { self.shift + self.bits - bits };
        Self { shift, bits, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::entry::Entry4;

    /// An entry for a network, ports and properties.
    fn entry(source: (u32, u32), ports: [u32; 2], [meta_value, meta_mask]: [u32; 2]) -> Entry4 {
        let [first_ports, last_ports] = ports;
        Entry4 {
            source: source.0,
            source_shift: source.1,
            destination: 0,
            destination_shift: 32,
            common: Common { first_ports, last_ports, meta_value, meta_mask, ..Common::ANY },
        }
    }

    const ALL_PORTS: [u32; 2] = [0, u32::MAX];

    fn udp() -> [u32; 2] {
        [17 << meta::PROTOCOL_SHIFT, meta::PROTOCOL]
    }

    #[test]
    fn a_packet_has_what_its_entry_asks_for() {
        let ports = [5353 << 16 | 53; 2];
        let inbound = [udp()[0] | 1 << meta::DIRECTION_SHIFT, udp()[1] | meta::DIRECTION];
        let space = Space::new(&Source::Ipv4(vec![entry((0x0A00_0001, 0), ports, inbound)]));
        let mut expected = [0; 10];
        expected[word::PORTS] = 5353 << 16 | 53;
        expected[word::META] = inbound[0];
        expected[word::SOURCE4] = 0x0A00_0001;
        assert_eq!(space.packet(0), expected);
    }

    #[test]
    fn dimensions_are_those_that_some_entry_depends_on() {
        let dimensions = |entry: Entry4| {
            let space = Space::new(&Source::Ipv4(vec![entry]));
            let place =
                |(dimension, spans): &(Dimension, Vec<Span>)| (dimension.word as usize, dimension.width, spans[0]);
            space.dimensions.iter().map(place).collect::<Vec<_>>()
        };
        assert_eq!(dimensions(entry((0, 32), ALL_PORTS, [0, 0])), []);
        assert_eq!(dimensions(entry((0, 8), ALL_PORTS, [0, 0])), [(word::SOURCE4, 32, (0, 0xFF))]);
        assert_eq!(dimensions(entry((0, 32), ALL_PORTS, udp())), [(word::META, 8, (17, 17))]);
        // Of a mask that has a part of the bits, nothing is known.
        assert_eq!(dimensions(entry((0, 32), ALL_PORTS, [0, 1 << meta::PROTOCOL_SHIFT])), []);
        let some_ports = [1 << 16 | 3, 2 << 16 | 4];
        assert_eq!(
            dimensions(entry((0, 32), some_ports, [0, 0])),
            [(word::PORTS, 16, (1, 2)), (word::PORTS, 16, (3, 4))]
        );
    }

    #[test]
    fn a_table_of_protocols_holds_what_has_one() {
        let entries = vec![entry((0, 32), ALL_PORTS, udp()), entry((0, 32), ALL_PORTS, [0, 0])];
        let space = Space::new(&Source::Ipv4(entries));
        let child = |part, entry| space.tuple_child(Tuple::new(32, 32, 0, part), entry);
        assert_eq!([0, 1].map(|entry| child(Tuple::PROTOCOL, entry)), [Some(0), None]);
        assert_eq!([0, 1].map(|entry| child(0, entry)), [Some(0), Some(0)]);
    }

    #[test]
    fn half_of_the_packets_have_an_end_and_the_others_are_anywhere_inside() {
        const COUNT: usize = 4096;
        let values = |shift: u32| {
            let space = Space::new(&Source::Ipv4(vec![entry((0x0A00_0000, shift), ALL_PORTS, [0, 0]); COUNT]));
            (0..COUNT as u32).map(|entry| space.point(entry)[0] - 0x0A00_0000).collect::<Vec<u32>>()
        };
        let count = |of: &[u32], is: &dyn Fn(u32) -> bool| of.iter().filter(|value| is(**value)).count();
        let near = |count: usize, part: usize| count.abs_diff(COUNT / part) < COUNT / 16;
        let wide = values(24);
        assert!(near(count(&wide, &|value| value == 0), 4) && near(count(&wide, &|value| value == 0xFF_FFFF), 4));
        for quarter in 0..4 {
            let is_there = |value: u32| value != 0 && value != 0xFF_FFFF && value >> 22 == quarter;
            assert!(near(count(&wide, &is_there), 8), "quarter {quarter}");
        }
        let of_two = values(1);
        assert!(near(count(&of_two, &|value| value == 0), 2) && near(count(&of_two, &|value| value == 1), 2));
    }

    #[test]
    fn a_window_without_bits_is_none() {
        let space = Space::new(&Source::Ipv4(vec![entry((0, 0), ALL_PORTS, [0, 0])]));
        let window = |bits| Slice { dimension: 0, shift: 4, bits }.window(&space);
        assert_eq!(window(0), Window::default());
        assert_eq!(window(2), Window::new(word::SOURCE4 as u32, 4, 2));
    }
}
