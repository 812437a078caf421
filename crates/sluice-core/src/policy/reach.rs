//! Which packets the rules that observe can match at all.
//!
//! Most packets are none of those, and are done without a second lookup.

use sluice_npi::Flow;

use super::entry::{Entry, Entry4, Entry6};
use super::key::{meta, ports, properties, words_of};
use super::table::{RULE_OBSERVES, Table};
use crate::Direction;

/// The smallest box around entries: what all packets have in common that one of them can match.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// The lowest source port and the lowest destination port, as ports of a key.
    first_ports: u32,
    /// The highest ones.
    last_ports: u32,
    /// Properties that all entries ask for.
    properties: Bits,
    /// The bits that the first words of all source addresses have in common, of whichever IP version.
    source: Bits,
    destination: Bits,
}

/// Bits that have to have a value.
#[derive(Clone, Copy, Debug)]
struct Bits {
    value: u32,
    mask: u32,
}

impl Bits {
    /// None: every value has them.
    const ANY: Self = Self { value: 0, mask: 0 };

    /// What both ask for.
    fn common(self, other: Self) -> Self {
        let mask = self.mask & other.mask & !(self.value ^ other.value);
        Self { value: self.value & mask, mask }
    }

    /// 0 if `word` is as it should be.
    #[inline]
    fn mismatch(self, word: u32) -> u32 {
        (word ^ self.value) & self.mask
    }
}

impl Reach {
    /// The box that nothing is in: its ports begin behind their end.
    pub(crate) const NOTHING: Self =
        Self { first_ports: u32::MAX, last_ports: 0, properties: Bits::ANY, source: Bits::ANY, destination: Bits::ANY };

    /// The box around all entries of rules that observe.
    pub(crate) fn of_table(table: &Table<'_>) -> Self {
        if table.layout.counts.observing == 0 {
            return Self::NOTHING;
        }
        let counts = &table.layout.counts;
        let reach4 = Self::of_section::<Entry4>(table, counts.entries4);
        let reach6 = Self::of_section::<Entry6>(table, counts.entries6);
        reach4.into_iter().chain(reach6).reduce(Self::with).unwrap_or(Self::NOTHING)
    }

    fn of_section<E: Entry>(table: &Table<'_>, count: u32) -> Option<Self> {
        let observes =
            |entry: &E| table.rule(entry.common().rule_index()).is_some_and(|(_, word)| word & RULE_OBSERVES != 0);
        let entries = (0..count).filter_map(|index| E::bytes(table, index).map(E::read));
        entries.filter(observes).map(|entry| Self::of(&entry)).reduce(Self::with)
    }

    fn of(entry: &impl Entry) -> Self {
        let [source, destination] = entry.first_words().map(|(value, mask)| Bits { value, mask });
        let common = entry.common();
        // The flow alone does not say which way a packet goes.
        let mask = common.meta_mask & !meta::DIRECTION;
        let properties = Bits { value: common.meta_value & mask, mask };
        Self { first_ports: common.first_ports, last_ports: common.last_ports, properties, source, destination }
    }

    /// The box around both.
    fn with(self, other: Self) -> Self {
        let both = |ports: [u32; 2], choose: fn(u16, u16) -> u16| {
            let [high, low] = [16, 0].map(|shift: u32| {
                let [first, second] = ports.map(|ports| (ports >> shift) as u16);
                u32::from(choose(first, second)) << shift
            });
            high | low
        };
        Self {
            first_ports: both([self.first_ports, other.first_ports], u16::min),
            last_ports: both([self.last_ports, other.last_ports], u16::max),
            properties: self.properties.common(other.properties),
            source: self.source.common(other.source),
            destination: self.destination.common(other.destination),
        }
    }

    /// Whether a packet is in the box, whichever way it goes. Like the comparison with an entry, this has no branch.
    #[inline]
    pub(crate) fn has(&self, flow: &Flow) -> bool {
        let parts = |ports: u32| [ports as u16, (ports >> 16) as u16];
        let [ports, first, last] = [ports(flow), self.first_ports, self.last_ports].map(parts);
        let out_of_range = (ports[0] < first[0]) | (ports[0] > last[0]) | (ports[1] < first[1]) | (ports[1] > last[1]);
        let [[source, ..], [destination, ..]] = [&flow.source_address, &flow.destination_address].map(words_of);
        let mismatch = self.properties.mismatch(properties(Direction::Unspecified, flow))
            | self.source.mismatch(source)
            | self.destination.mismatch(destination);
        u32::from(out_of_range) | mismatch == 0
    }
}
