//! Which packets the rules that observe can match at all.
//!
//! Most packets are none of those, and are done without a second lookup.

use sluice_npi::Flow;

use super::entry::{Entry, Entry4, Entry6};
use super::key::{flags_of, meta, ports};
use super::table::{RULE_OBSERVES, Table};

/// The smallest box around entries: bits that all packets have in common that one of them can match, word by word as a
/// flow has them. So a packet is told apart without its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    flags: Bits,
    /// Protocol (8 bits), and TCP flags above.
    protocol: Bits,
    /// As the ports of a key.
    ports: Bits,
    /// The first four bytes of source and destination, of whichever IP version.
    source: Bits,
    destination: Bits,
    /// 1 if nothing is in the box.
    nothing: u32,
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

    /// The bits that the ports from the first ones to the last ones have in common.
    fn between(first: u32, last: u32) -> Self {
        let mask = |first: u32, last: u32| {
            let open = u16::BITS.saturating_sub(((first ^ last) as u16).leading_zeros());
            u32::from(u16::MAX.checked_shl(open).unwrap_or(0))
        };
        let mask = mask(first >> 16, last >> 16) << 16 | mask(first, last);
        Self { value: first & mask, mask }
    }

    /// The same in other places.
    fn map(self, place: fn(u32) -> u32) -> Self {
        Self { value: place(self.value), mask: place(self.mask) }
    }

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
    /// The box that nothing is in.
    pub(crate) const NOTHING: Self = Self {
        flags: Bits::ANY,
        protocol: Bits::ANY,
        ports: Bits::ANY,
        source: Bits::ANY,
        destination: Bits::ANY,
        nothing: 1,
    };

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
            |entry: &E| table.rule(entry.common().found.rule()).is_some_and(|(_, word)| word & RULE_OBSERVES != 0);
        let entries = (0..count).filter_map(|index| E::bytes(table, index).map(E::read));
        entries.filter(observes).map(|entry| Self::of(&entry)).reduce(Self::with)
    }

    fn of(entry: &impl Entry) -> Self {
        let common = entry.common();
        let properties = Bits { value: common.meta_value, mask: common.meta_mask };
        let [source, destination] = entry.first_words().map(|(value, mask)| Bits { value, mask }.map(u32::swap_bytes));
        Self {
            flags: properties.map(flags_of),
            protocol: properties.map(|word| word >> meta::PROTOCOL_SHIFT | word >> meta::TCP_FLAGS_SHIFT << 8 & 0xFF00),
            ports: Bits::between(common.first_ports, common.last_ports),
            source,
            destination,
            nothing: 0,
        }
    }

    /// The box around both, in each of which there is something.
    fn with(self, other: Self) -> Self {
        Self {
            flags: self.flags.common(other.flags),
            protocol: self.protocol.common(other.protocol),
            ports: self.ports.common(other.ports),
            source: self.source.common(other.source),
            destination: self.destination.common(other.destination),
            nothing: 0,
        }
    }

    /// Whether a packet is in the box, whichever way it goes. Like the comparison with an entry, this has no branch.
    #[inline]
    pub(crate) fn has(&self, flow: &Flow) -> bool {
        let first_word = |address: &[u8; 16]| address.first_chunk().copied().map_or(0, u32::from_le_bytes);
        let mismatch = self.flags.mismatch(flow.flags)
            | self.protocol.mismatch(u32::from(flow.protocol) | u32::from(flow.tcp_flags) << 8)
            | self.ports.mismatch(ports(flow))
            | self.source.mismatch(first_word(&flow.source_address))
            | self.destination.mismatch(first_word(&flow.destination_address));
        mismatch | self.nothing == 0
    }
}
