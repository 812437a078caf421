//! Extra conditions, which few rules have. They are looked at when everything else about a rule matches.

use sluice_npi::{Flow, flags};

use super::key::{halves, words_of};
use super::search::ParsedPacket;
use super::table::Table;

/// The kinds of extra conditions. A condition is a word with its kind in the low 8 bits and the number of its items
/// above them, then the items.
pub(crate) mod kind {
    /// The last condition of a rule.
    pub(crate) const END: u32 = 0;
    /// One word each.
    pub(crate) const LINK_TYPES: u32 = 1;
    /// One word each: first id in the low half, last in the high half.
    pub(crate) const VLANS: u32 = 2;
    /// One word each.
    pub(crate) const ETHER_TYPES: u32 = 3;
    /// Eight words, a bit for each protocol; always one item.
    pub(crate) const PROTOCOLS: u32 = 4;
    /// One word each, as VLANS. Sorted and disjoint, as all ranges below.
    pub(crate) const SOURCE_PORTS: u32 = 5;
    /// One word each.
    pub(crate) const DESTINATION_PORTS: u32 = 6;
    /// One word each: type in bits 0 to 7, first code in bits 8 to 15, last code in bits 16 to 23. Sorted and disjoint.
    pub(crate) const ICMP: u32 = 7;
    /// Two words each: first and last address. Holds for IPv6 packets, whose sources are another condition.
    pub(crate) const SOURCES4: u32 = 8;
    /// Two words each.
    pub(crate) const DESTINATIONS4: u32 = 9;
    /// Eight words each, most significant first. Holds for IPv4 packets.
    pub(crate) const SOURCES6: u32 = 10;
    /// Eight words each.
    pub(crate) const DESTINATIONS6: u32 = 11;
    /// One word each.
    pub(crate) const QUIC_VERSIONS: u32 = 12;
    /// Two words: which flags of the flow count, and what they have to be; always one item.
    pub(crate) const FLAGS: u32 = 13;

    /// How many words an item has.
    pub(crate) const fn item_words(kind: u32) -> Option<usize> {
        match kind {
            LINK_TYPES | VLANS | ETHER_TYPES | SOURCE_PORTS | DESTINATION_PORTS | ICMP | QUIC_VERSIONS => Some(1),
            SOURCES4 | DESTINATIONS4 | FLAGS => Some(2),
            PROTOCOLS | SOURCES6 | DESTINATIONS6 => Some(8),
            _ => None,
        }
    }
}

/// One condition: its kind, how many items it has, and the index of the first word of the first one.
#[derive(Clone, Copy)]
struct Condition {
    kind: u32,
    count: u32,
    items: u32,
}

/// Whether all conditions at `index` hold. 0 stands for no conditions.
pub(crate) fn match_all(table: &Table<'_>, mut index: u32, packet: &ParsedPacket<'_>) -> bool {
    if index == 0 {
        return true;
    }
    // Every step goes forward, so that this ends with the section.
    while let Some(head) = table.word(table.layout.extra_words, index) {
        let condition = Condition { kind: head & 0xFF, count: head >> 8, items: index.wrapping_add(1) };
        let Some(words) = kind::item_words(condition.kind) else {
            // The end of the list, as validation lets nothing else pass.
            return true;
        };
        if !holds(table, condition, packet) {
            return false;
        }
        index = condition.items.wrapping_add(condition.count.wrapping_mul(words as u32));
    }
    true
}

fn holds(table: &Table<'_>, condition: Condition, packet: &ParsedPacket<'_>) -> bool {
    let flow = packet.flow;
    let ranges = |value: u16| in_ranges(table, condition, u32::from(value));
    let ports = flow.has(flags::PORTS);
    let ranges4 = |address| in_ranges4(table, condition, words_of(address)[0]);
    match condition.kind {
        kind::LINK_TYPES => is_listed(table, condition, packet.link_type.into()),
        kind::VLANS => flow.vlan_count != 0 && ranges(flow.vlan_ids[0]),
        kind::ETHER_TYPES => flow.has(flags::ETHER_TYPE) && is_listed(table, condition, flow.ether_type.into()),
        kind::PROTOCOLS => flow.has(flags::PROTOCOL) && has_bit(table, condition, flow.protocol),
        kind::SOURCE_PORTS => ports && ranges(flow.source_port),
        kind::DESTINATION_PORTS => ports && ranges(flow.destination_port),
        kind::QUIC_VERSIONS => flow.has(flags::QUIC) && is_listed(table, condition, flow.quic_version),
        kind::ICMP => flow.has(flags::ICMP) && has_icmp(table, condition, flow),
        kind::SOURCES4 => flow.ip_version != 4 || ranges4(&flow.source_address),
        kind::DESTINATIONS4 => flow.ip_version != 4 || ranges4(&flow.destination_address),
        kind::SOURCES6 => flow.ip_version != 6 || in_ranges6(table, condition, &flow.source_address),
        kind::DESTINATIONS6 => flow.ip_version != 6 || in_ranges6(table, condition, &flow.destination_address),
        kind::FLAGS => item(table, condition, 0).is_some_and(|[mask, value]| flow.flags & mask == value),
        _ => false,
    }
}

/// Item `index` of a condition, of `WORDS` words.
fn item<const WORDS: usize>(table: &Table<'_>, condition: Condition, index: u32) -> Option<[u32; WORDS]> {
    let first = condition.items.wrapping_add(index.wrapping_mul(WORDS as u32));
    let mut item = [0; WORDS];
    for (word, at) in item.iter_mut().zip(first..) {
        *word = table.word(table.layout.extra_words, at)?;
    }
    Some(item)
}

/// How many items come before the first one for which `before` does not hold. The items are sorted accordingly.
fn partition_point<const WORDS: usize>(
    table: &Table<'_>,
    condition: Condition,
    before: impl Fn(&[u32; WORDS]) -> bool,
) -> u32 {
    let (mut low, mut high) = (0, condition.count);
    while low < high {
        let middle = low.midpoint(high);
        if item(table, condition, middle).is_some_and(|item| before(&item)) {
            low = middle.wrapping_add(1);
        } else {
            high = middle;
        }
    }
    low
}

fn is_listed(table: &Table<'_>, condition: Condition, value: u32) -> bool {
    let index = partition_point(table, condition, |[item]| *item < value);
    index < condition.count && item(table, condition, index) == Some([value])
}

/// Ranges of one word: first in the low half, last in the high half.
fn in_ranges(table: &Table<'_>, condition: Condition, value: u32) -> bool {
    let index = partition_point(table, condition, |[range]| range >> 16 < value);
    index < condition.count && item(table, condition, index).is_some_and(|[range]| range & 0xFFFF <= value)
}

fn has_bit(table: &Table<'_>, condition: Condition, bit: u8) -> bool {
    let index = condition.items.wrapping_add(u32::from(bit >> 5));
    table.word(table.layout.extra_words, index).is_some_and(|word| word >> (bit & 31) & 1 != 0)
}

fn has_icmp(table: &Table<'_>, condition: Condition, flow: &Flow) -> bool {
    let wanted = u32::from(flow.icmp_type) << 8 | u32::from(flow.icmp_code);
    let index = partition_point(table, condition, |[item]| icmp_range(*item).1 < wanted);
    index < condition.count && item(table, condition, index).is_some_and(|[item]| icmp_range(item).0 <= wanted)
}

/// The first and the last type and code of an item, the type in the higher byte.
fn icmp_range(item: u32) -> (u32, u32) {
    let [kind, first, last, _] = item.to_le_bytes().map(u32::from);
    (kind << 8 | first, kind << 8 | last)
}

fn in_ranges4(table: &Table<'_>, condition: Condition, address: u32) -> bool {
    let index = partition_point(table, condition, |[_, last]| *last < address);
    index < condition.count && item(table, condition, index).is_some_and(|[first, _]| first <= address)
}

fn in_ranges6(table: &Table<'_>, condition: Condition, address: &[u8; 16]) -> bool {
    let address = words_of(address);
    let index = partition_point(table, condition, |[_, _, _, _, last @ ..]: &[u32; 8]| *last < address);
    index < condition.count
        && item(table, condition, index).is_some_and(|[a, b, c, d, ..]: [u32; 8]| [a, b, c, d] <= address)
}

/// Validates the conditions at `index`: whether they are well-formed: known kinds, items inside the
/// section, values inside their ranges and in order. Gives where the next rule's conditions start.
pub(crate) fn validate(table: &Table<'_>, mut index: u32) -> Option<u32> {
    let end = table.layout.counts.extra_words;
    let mut previous = kind::END;
    loop {
        if index >= end {
            return None;
        }
        let head = table.word(table.layout.extra_words, index)?;
        let condition = Condition { kind: head & 0xFF, count: head >> 8, items: index.checked_add(1)? };
        if condition.kind == kind::END {
            // A list has at least one condition.
            return (condition.count == 0 && previous != kind::END).then_some(condition.items);
        }
        let words = u32::try_from(kind::item_words(condition.kind)?).ok()?;
        let next = condition.items.checked_add(condition.count.checked_mul(words)?)?;
        if condition.kind <= previous || condition.count == 0 || next >= end || !items_are_canonical(table, condition) {
            return None;
        }
        previous = condition.kind;
        index = next;
    }
}

fn items_are_canonical(table: &Table<'_>, condition: Condition) -> bool {
    match condition.kind {
        kind::LINK_TYPES | kind::ETHER_TYPES => {
            ascending(table, condition, |[value]: [u32; 1]| (value <= 0xFFFF).then_some((value, value)))
        }
        kind::VLANS | kind::SOURCE_PORTS | kind::DESTINATION_PORTS => {
            ascending(table, condition, |[range]: [u32; 1]| Some((range & 0xFFFF, range >> 16)))
        }
        kind::SOURCES4 | kind::DESTINATIONS4 => {
            ascending(table, condition, |[first, last]: [u32; 2]| Some((first, last)))
        }
        kind::SOURCES6 | kind::DESTINATIONS6 => {
            ascending(table, condition, |[a, b, c, d, last @ ..]: [u32; 8]| Some(([a, b, c, d], last)))
        }
        kind::QUIC_VERSIONS => ascending(table, condition, |[version]: [u32; 1]| Some((version, version))),
        kind::PROTOCOLS => condition.count == 1,
        kind::FLAGS => {
            condition.count == 1
                && item(table, condition, 0).is_some_and(|[mask, value]| mask != 0 && value & !mask == 0)
        }
        kind::ICMP => ascending(table, condition, |[item]: [u32; 1]| (item >> 24 == 0).then_some(icmp_range(item))),
        _ => false,
    }
}

/// Whether ranges are not empty and each lies behind the one before it.
fn ascending<const WORDS: usize, T: Ord + Copy>(
    table: &Table<'_>,
    condition: Condition,
    range: impl Fn([u32; WORDS]) -> Option<(T, T)>,
) -> bool {
    let mut previous = None;
    (0..condition.count).all(|index| {
        let Some((first, last)) = item(table, condition, index).and_then(&range) else {
            return false;
        };
        let behind = previous.is_none_or(|previous| previous < first);
        previous = Some(last);
        behind && first <= last
    })
}

const _: () = assert!(halves(1, 0) == 0x1_0000);
