//! Each kind of extra condition holds for what it lists, and for nothing else: asked of a rule that has it alone.

use std::ops::RangeInclusive;

use sluice_core::{Direction, Policy};
use sluice_npi::{Flow, flags};

use super::raw::{IPV6, Raw, entry4, entry6, leaf};

/// A rule for all packets for which these conditions hold.
struct Asked(Policy<Vec<u8>>);

impl Asked {
    fn of(conditions: &[&[u32]]) -> Self {
        let mut raw = Raw { rules: vec![[1, 1]], ..Raw::empty() };
        raw.entries4 = vec![entry4(&raw.rules, 0)];
        raw.entries6 = vec![entry6(&raw.rules, 0)];
        raw.nodes = vec![leaf(0, 0, 1, 0, 0), leaf(IPV6, 0, 1, 0, 0), leaf(0, 0, 1, 0, 0)];
        raw.extra_words = [&[0], conditions.concat().as_slice(), &[0]].concat();
        Self(Policy::new(raw.bytes()).unwrap())
    }

    fn holds_on(&self, link_type: u16, flow: &Flow) -> bool {
        self.0.classify(Direction::Inbound, link_type, &[], flow).rule_id == 1
    }

    #[track_caller]
    fn holds_if(&self, expected: bool, flow: &Flow) {
        assert_eq!(self.holds_on(1, flow), expected, "{flow:?}");
    }
}

/// Ranges as words of them: the first in the low half, the last in the high half.
fn words_of(ranges: &[RangeInclusive<u16>]) -> Vec<u32> {
    ranges.iter().map(|range| u32::from(*range.start()) | u32::from(*range.end()) << 16).collect()
}

const RANGES: [RangeInclusive<u16>; 4] = [0..=0, 5..=7, 9..=9, 300..=65_534];

/// What lies at the ends of the ranges, and next to them.
fn near_ranges() -> impl Iterator<Item = (u16, bool)> {
    let ends = RANGES.into_iter().flat_map(|range| [*range.start(), *range.end()]);
    let near = ends.flat_map(|end| [end.saturating_sub(1), end, end + 1]);
    near.map(|value| (value, RANGES.iter().any(|range| range.contains(&value))))
}

#[test]
fn link_types_are_those_that_are_listed() {
    let asked = Asked::of(&[&[1 | 3 << 8, 1, 101, 0xFFFF]]);
    for link_type in [0, 1, 2, 100, 101, 102, 0xFFFE, 0xFFFF] {
        let expected = matches!(link_type, 1 | 101 | 0xFFFF);
        assert_eq!(asked.holds_on(link_type, &Flow::default()), expected, "{link_type}");
    }
    // The next condition, as a number, is none of them.
    let asked = Asked::of(&[&[1 | 1 << 8, 1], &[2 | 1 << 8, 5 | 7 << 16]]);
    let flow = Flow { vlan_count: 1, vlan_ids: [5, 0, 0, 0], ..Flow::default() };
    assert!(asked.holds_on(1, &flow) && !asked.holds_on(2 | 1 << 8, &flow));
}

#[test]
fn ether_types_are_those_that_are_listed_and_were_read() {
    let asked = Asked::of(&[&[3 | 2 << 8, 0x0800, 0x0806]]);
    for ether_type in [0, 0x07FF, 0x0800, 0x0801, 0x0806, 0x0807] {
        let flow = Flow { ether_type, flags: flags::ETHER_TYPE, ..Flow::default() };
        asked.holds_if(matches!(ether_type, 0x0800 | 0x0806), &flow);
        asked.holds_if(false, &Flow { flags: !flags::ETHER_TYPE, ..flow });
    }
}

#[test]
fn vlan_ids_are_in_a_range_where_there_is_a_tag() {
    let asked = Asked::of(&[&[2 | 4 << 8], &words_of(&RANGES)]);
    for (id, expected) in near_ranges() {
        asked.holds_if(expected, &Flow { vlan_count: 1, vlan_ids: [id, 8, 8, 8], ..Flow::default() });
        asked.holds_if(expected, &Flow { vlan_count: 2, vlan_ids: [id, 8, 8, 8], ..Flow::default() });
        asked.holds_if(false, &Flow { vlan_count: 0, vlan_ids: [id, 8, 8, 8], ..Flow::default() });
    }
}

#[test]
fn ports_are_in_a_range_on_their_side_where_there_are_ports() {
    let sources = Asked::of(&[&[5 | 4 << 8], &words_of(&RANGES)]);
    let destinations = Asked::of(&[&[6 | 4 << 8], &words_of(&RANGES)]);
    for ((source, of_source), (destination, of_destination)) in near_ranges().zip(near_ranges().skip(2)) {
        let flow = Flow { source_port: source, destination_port: destination, flags: flags::PORTS, ..Flow::default() };
        sources.holds_if(of_source, &flow);
        destinations.holds_if(of_destination, &flow);
        for asked in [&sources, &destinations] {
            asked.holds_if(false, &Flow { flags: !flags::PORTS, ..flow });
        }
    }
}

#[test]
fn protocols_are_those_whose_bits_are_set() {
    let listed = [0, 6, 31, 32, 58, 127, 128, 255];
    let mut bits = [0; 8];
    for protocol in listed {
        bits[protocol / 32] |= 1_u32 << (protocol % 32);
    }
    let asked = Asked::of(&[&[4 | 1 << 8], &bits]);
    for protocol in 0..=255 {
        let flow = Flow { protocol, flags: flags::PROTOCOL, ..Flow::default() };
        asked.holds_if(listed.contains(&protocol.into()), &flow);
        asked.holds_if(false, &Flow { flags: !flags::PROTOCOL, ..flow });
    }
}

#[test]
fn icmp_types_are_those_that_are_listed_with_codes_in_their_range() {
    let asked = Asked::of(&[&[7 | 4 << 8, 3 | 1 << 8 | 4 << 16, 3 | 6 << 8 | 6 << 16, 8, 254 | 2 << 8 | 255 << 16]]);
    for icmp_type in [0, 2, 3, 4, 7, 8, 9, 253, 254, 255] {
        for icmp_code in 0..=255 {
            let flow = Flow { icmp_type, icmp_code, flags: flags::ICMP, ..Flow::default() };
            let expected = matches!((icmp_type, icmp_code), (3, 1..=4 | 6) | (8, 0) | (254, 2..));
            asked.holds_if(expected, &flow);
            asked.holds_if(false, &Flow { flags: !flags::ICMP, ..flow });
        }
    }
}

#[test]
fn quic_versions_are_those_that_are_listed_where_there_is_quic() {
    let asked = Asked::of(&[&[12 | 2 << 8, 1, 0x6B33_43CF]]);
    for quic_version in [0, 1, 2, 0x6B33_43CE, 0x6B33_43CF, 0x6B33_43D0, u32::MAX] {
        let flow = Flow { quic_version, flags: flags::QUIC, ..Flow::default() };
        asked.holds_if(matches!(quic_version, 1 | 0x6B33_43CF), &flow);
        asked.holds_if(false, &Flow { flags: !flags::QUIC, ..flow });
    }
}

#[test]
fn flags_are_set_and_clear_as_they_have_to_be_and_the_others_are_as_they_are() {
    let asked = Asked::of(&[&[13 | 1 << 8, 0b1100, 0b0100]]);
    for flags in 0..32 {
        asked.holds_if(flags & 0b1100 == 0b0100, &Flow { flags, ..Flow::default() });
    }
}

/// Ranges of addresses that differ in their high words and in their low ones.
fn addresses<const SIZE: usize>() -> (Vec<u32>, Vec<[u8; 16]>) {
    let word = |words: &[u8]| words.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
    let of = |first: u8, last: u8| {
        let mut address = [0; 16];
        address[0] = first;
        address[SIZE - 1] = last;
        address
    };
    let ends = [of(10, 5), of(10, 9), of(10, 200), of(10, 200), of(20, 0), of(30, 3)];
    let words = ends.iter().flat_map(|end| -> Vec<u32> { word(&end[..SIZE]) }).collect();
    (
        words,
        [0, 9, 10, 11, 20, 29, 30, 31].into_iter().flat_map(|high| (0..=255).map(move |low| of(high, low))).collect(),
    )
}

#[test]
fn addresses_are_in_a_range_on_their_side_and_those_of_the_other_ip_version_are_let_through() {
    let is_listed = |address: &[u8; 16], size: usize| {
        matches!((address[0], address[size - 1]), (10, 5..=9 | 200) | (20..30, _) | (30, 0..=3))
    };
    let of_version = |size: usize, version: u8, other: u8, kinds: [u32; 2], words: &[u32], probes: &[[u8; 16]]| {
        // Behind the addresses is a list that would be a range of them, and which holds.
        let versions = [12 | 8 << 8, 0, 1, 2, 3, 4, 5, 6, 7];
        let [sources, destinations] = kinds.map(|kind| Asked::of(&[&[kind | 3 << 8], words, &versions]));
        for address in probes {
            let elsewhere = [0xFF; 16];
            let [from, to] = [(*address, elsewhere), (elsewhere, *address)].map(|(source, destination)| Flow {
                ip_version: version,
                flags: flags::QUIC,
                source_address: source,
                destination_address: destination,
                ..Flow::default()
            });
            sources.holds_if(is_listed(address, size), &from);
            destinations.holds_if(is_listed(address, size), &to);
            for asked in [&sources, &destinations] {
                asked.holds_if(true, &Flow { ip_version: other, ..from });
                asked.holds_if(true, &Flow { ip_version: 0, ..to });
            }
        }
    };
    let (words, probes) = addresses::<4>();
    of_version(4, 4, 6, [8, 9], &words, &probes);
    let (words, probes) = addresses::<16>();
    of_version(16, 6, 4, [10, 11], &words, &probes);
}

/// Whether an entry with these ports and properties, and without addresses, matches a packet of each IP version.
fn matches(first_ports: u32, last_ports: u32, [value, mask]: [u32; 2], flow: &Flow) -> bool {
    let mut raw = Raw { rules: vec![[1, 0]], ..Raw::empty() };
    raw.entries4 = vec![entry4(&raw.rules, 0)];
    raw.entries6 = vec![entry6(&raw.rules, 0)];
    raw.entries4[0][2..6].copy_from_slice(&[first_ports, last_ports, value, mask]);
    raw.entries6[0][8..12].copy_from_slice(&[first_ports, last_ports, value, mask]);
    raw.nodes = vec![leaf(0, 0, 1, 0, 0), leaf(IPV6, 0, 1, 0, 0), leaf(0, 0, 1, 0, 0)];
    let policy = Policy::new(raw.bytes()).unwrap();
    let [v4, v6] = [4, 6]
        .map(|ip_version| policy.classify(Direction::Inbound, 1, &[], &Flow { ip_version, ..*flow }).rule_id == 1);
    assert_eq!(v4, v6, "{flow:?}");
    v4
}

#[test]
fn an_entry_matches_where_each_port_is_in_its_range_and_every_property_is_as_it_has_to_be() {
    let any = [0, 0];
    for source_port in 0..12 {
        for destination_port in 0..12 {
            let flow = Flow { source_port, destination_port, ..Flow::default() };
            let [source, destination] = [(3..=5), (7..=7)];
            let expected = source.contains(&source_port) && destination.contains(&destination_port);
            assert_eq!(matches(3 << 16 | 7, 5 << 16 | 7, any, &flow), expected, "{flow:?}");
            assert!(!matches(9 << 16, 2 << 16 | 0xFFFF, any, &flow), "a range that ends before it starts");
            assert!(!matches(9, 0xFFFF_0002, any, &flow), "a range that ends before it starts");
        }
    }
    // What is wrong in two ways does not become right.
    let wrong = Flow { source_port: 2, ..Flow::default() };
    assert!(!matches(3 << 16, u32::MAX, [1, 1], &wrong));
    assert!(matches(3 << 16, u32::MAX, [1, 1], &Flow { source_port: 3, flags: 1, ..Flow::default() }));
}

#[test]
fn all_conditions_of_a_list_have_to_hold() {
    let asked = Asked::of(&[&[3 | 1 << 8, 0x0800], &[8 | 2 << 8, 1, 2, 5, 6], &[13 | 1 << 8, 1 << 20, 0]]);
    let mut flow = Flow { ether_type: 0x0800, flags: flags::ETHER_TYPE, ip_version: 4, ..Flow::default() };
    flow.source_address[3] = 5;
    asked.holds_if(true, &flow);
    asked.holds_if(false, &Flow { ether_type: 0x0801, ..flow });
    asked.holds_if(false, &Flow { flags: flags::ETHER_TYPE | 1 << 20, ..flow });
    flow.source_address[3] = 4;
    asked.holds_if(false, &flow);
}
