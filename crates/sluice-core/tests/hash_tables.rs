//! Rules that hash tables hold: what is found in one table, in the ones behind it and behind the last, one packet at a
//! time and several side by side.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use common::linear;
use fastrand::Rng;
use sluice_core::compile::{Conditions, CostModel, Prefix, Rule, TreeKind, compile, compile_by};
use sluice_core::{Action, Decision, Direction, ParsedPacket, Policy, RuleAction, protocol};
use sluice_npi::{Flow, flags, link_type};

/// How long the prefixes of the rules of each kind are, as part of 32 bits. Each kind has a table of its own, but for
/// the last, of which nothing can be hashed.
const KINDS: [[u32; 2]; 5] = [[8, 32], [16, 24], [24, 16], [32, 8], [0, 0]];

/// Rules that follow each other have the same addresses, so that they go to one child of a table.
const ALIKE: u32 = 3;

/// As many rules once have the same addresses that a child is a leaf with a filter.
const MANY_ALIKE: u32 = 30;

/// A network: 32 bits, of which the first count.
type Network = (u32, u32);

/// A rule, before it is one of an IP version: its networks and its ports.
#[derive(Clone)]
struct Box {
    networks: [Network; 2],
    ports: RangeInclusive<u16>,
}

fn boxes(rng: &mut Rng) -> Vec<Box> {
    let mut boxes = Vec::new();
    for group in 0..1000 {
        let kind = KINDS[rng.usize(..4)];
        let networks = kind.map(|length| (rng.u32(..) & u32::MAX << (32 - length), length));
        for _ in 0..if group == 300 { MANY_ALIKE } else { ALIKE } {
            let first = rng.u16(..50);
            boxes.push(Box { networks, ports: first..=first + rng.u16(..8) });
        }
    }
    // What decides on all behind it comes late.
    boxes.extend((0..9).map(|port| Box { networks: [(0, 0); 2], ports: port..=port }));
    boxes
}

fn address(place: u32, is_ipv6: bool) -> IpAddr {
    let [a, b] = [place >> 16, place & 0xFFFF].map(|half| half as u16);
    if is_ipv6 { Ipv6Addr::new(0x2001, 0xDB8, a, b, 0, 0, 0, 0).into() } else { Ipv4Addr::from(place).into() }
}

fn rule(id: u32, of: &Box, is_ipv6: bool) -> Rule {
    let [sources, destinations] = of.networks.map(|(place, length)| match length {
        0 => Vec::new(),
        _ => vec![Prefix { address: address(place, is_ipv6), length: length as u8 + if is_ipv6 { 32 } else { 0 } }],
    });
    let ip_version = Some(if is_ipv6 { 6 } else { 4 });
    let destination_ports = vec![of.ports.clone()];
    let action = if id.is_multiple_of(2) { RuleAction::Permit } else { RuleAction::Block };
    Rule {
        id,
        action,
        conditions: Conditions { sources, destinations, ip_version, destination_ports, ..Conditions::default() },
    }
}

/// A packet that a rule matches, unless its port is another one.
fn flow(rng: &mut Rng, boxes: &[Box], is_ipv6: bool) -> Flow {
    let [source, destination] = boxes[rng.usize(..boxes.len())]
        .networks
        .map(|(place, length)| address(place | rng.u32(..) & u32::MAX.checked_shr(length).unwrap_or(0), is_ipv6));
    let mut flow = Flow {
        flags: flags::ADDRESSES | flags::PROTOCOL | flags::PORTS,
        ip_version: if is_ipv6 { 6 } else { 4 },
        destination_port: rng.u16(..60),
        protocol: protocol::TCP,
        ..Flow::default()
    };
    for (to, address) in [(&mut flow.source_address, source), (&mut flow.destination_address, destination)] {
        match address {
            IpAddr::V4(address) => to[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => *to = address.octets(),
        }
    }
    flow
}

/// Whether the first node of the tree for an IP version is a hash table with a remainder: docs/policy-table.md.
fn starts_with_a_hash_table(table: &[u8], is_ipv6: bool) -> bool {
    let word = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().expect("four bytes"));
    let nodes = (64 + 8 * word(16) as usize).next_multiple_of(64);
    word(nodes + usize::from(is_ipv6) * 16 + 8) >> 28 & 0b1101 == 0b0101
}

fn agree(is_ipv6: bool) {
    let rng = &mut Rng::with_seed(1);
    let boxes = boxes(rng);
    let rules: Vec<Rule> = boxes.iter().zip(1..).map(|(of, id)| rule(id, of, is_ipv6)).collect();
    let flows: Vec<Flow> = (0..700).map(|_| flow(rng, &boxes, is_ipv6)).collect();
    let packet = |flow| ParsedPacket { direction: Direction::Inbound, link_type: link_type::RAW, bytes: &[], flow };
    let packets: Vec<ParsedPacket<'_>> = flows.iter().map(packet).collect();
    let decide = |flow| linear::classify(&rules, Action::Block, Direction::Inbound, link_type::RAW, &[], flow);
    let expected: Vec<Decision> = flows.iter().map(decide).collect();
    let decided_by = |is_it: &dyn Fn(&Box) -> bool| {
        let deciding = expected.iter().filter_map(|decision| boxes.get(decision.rule_id.checked_sub(1)? as usize));
        deciding.filter(|of| is_it(of)).count()
    };
    for kind in KINDS {
        let count = decided_by(&|of| of.networks.map(|(_, length)| length) == kind);
        assert!(count >= 10, "each kind decides: {kind:?} {count} times");
    }
    let table = compile(&rules, Action::Block).expect("the rules compile");
    assert!(starts_with_a_hash_table(&table, is_ipv6));
    // Cuts, and as copies cost too much, they leave much to remainders.
    let free = CostModel { node: 0, leaf: 0, entry: 0, filter: 0, more_groups: 0, ..CostModel::default() };
    let without_copies = CostModel { each_group: 100, growth: 1 << 20, not_cut: 8, trees: TreeKind::Cuts, ..free };
    let cut = compile_by(&without_copies, &rules, Action::Block).expect("the rules compile");
    assert!(!starts_with_a_hash_table(&cut, is_ipv6));
    for table in [table, cut] {
        let policy = Policy::new(table).expect("what the compiler makes is valid");
        for (packet, expected) in packets.iter().zip(&expected) {
            assert_eq!(policy.classify(packet.direction, packet.link_type, &[], packet.flow), *expected);
        }
        for count in 1..=5 {
            for (packets, expected) in packets.chunks(count).zip(expected.chunks(count)) {
                let mut decisions = vec![Decision { action: Action::Permit, rule_id: u32::MAX }; packets.len()];
                policy.classify_batch(packets, &mut decisions);
                assert_eq!(decisions, expected);
            }
        }
    }
}

#[test]
fn rules_of_a_few_shapes_agree_with_the_linear_scan() {
    agree(false);
}

#[test]
fn the_same_rules_agree_as_ipv6() {
    agree(true);
}
