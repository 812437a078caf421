//! Arbitrary bytes as a policy table, and compiled tables with arbitrary changes: validation refuses them, or the table
//! answers within its limits.

#[path = "../table/raw.rs"]
mod raw;
#[path = "../table/sample.rs"]
mod sample;

use std::ops::RangeInclusive;

use fastrand::Rng;
use raw::{BLOCK, HASH, IPV6, REMAINDER, Raw, empty_leaf, entry4, entry6, inner, leaf};
use sluice_core::compile::{Conditions, Content, Icmp, Prefix, Rule, TcpFlags, compile};
use sluice_core::{Action, Decision, Direction, ParsedPacket, Policy, RuleAction, protocol};
use sluice_npi::{Flow, flags, name_kind};

/// A valid table with something in every section.
fn table(seed: u8) -> Vec<u8> {
    let rng = &mut Rng::with_seed(seed.into());
    let rules: Vec<Rule> = (1..=u32::from(seed) * 2)
        .map(|id| {
            let address = [10, 0, rng.u8(0..4), rng.u8(..)];
            let ports: RangeInclusive<u16> = rng.u16(0..100)..=rng.u16(100..);
            let mut conditions = Conditions {
                sources: vec![Prefix { address: address.into(), length: 32 }],
                destination_ports: vec![ports],
                ..Conditions::default()
            };
            match rng.u8(0..6) {
                0 => conditions.names = vec![format!("host{}.example", rng.u8(0..9))],
                1 => conditions.vlans = vec![1..=5, 9..=9],
                2 => conditions.sources = vec![Prefix { address: [rng.u16(..); 8].into(), length: 128 }],
                3 => conditions.protocols = (0..200).step_by(2).collect(),
                _ => {}
            }
            let action = [RuleAction::Permit, RuleAction::Block, RuleAction::Count, RuleAction::Log][rng.usize(0..4)];
            Rule { id, action, conditions }
        })
        .collect();
    compile(&rules, Action::Permit).expect("the rules compile")
}

/// Tables from here on are those of [`large_table`].
const FIRST_LARGE: u8 = 24;

/// How many tables there are: behind the large ones the sample and [`chained`].
const TABLES: usize = 42;

/// A valid table with nodes of all kinds, and every kind of condition.
fn large_table(seed: u8) -> Vec<u8> {
    let rng = &mut Rng::with_seed(seed.into());
    let number = usize::from(seed - FIRST_LARGE);
    let rules: Vec<Rule> = (1..=20 + 20 * number as u32)
        .map(|id| {
            let addresses = if number % 2 == 0 { prefix4 } else { prefix };
            let mut conditions = Conditions::default();
            // Of the first tables, all rules are rare ones; most rules of the others are of the kind that the large
            // policies of others are made of.
            if number >= 4 {
                conditions.sources = some(rng, 2, addresses);
                conditions.destinations = some(rng, 2, addresses);
                conditions.destination_ports = some(rng, 2, ports);
            }
            if number < 4 || rng.u8(0..4) == 0 {
                rare(rng, &mut conditions);
            }
            let action = [RuleAction::Permit, RuleAction::Block, RuleAction::Count, RuleAction::Log][rng.usize(0..4)];
            Rule { id, action, conditions }
        })
        .collect();
    compile(&rules, Action::Block).expect("the rules compile")
}

/// Conditions of which one rule has few.
fn rare(rng: &mut Rng, conditions: &mut Conditions) {
    match rng.u8(0..16) {
        0 => conditions.names = some(rng, 3, |rng| format!("host{}.example", rng.u8(0..9))),
        1 => conditions.answer_names = some(rng, 3, |rng| format!("host{}.example", rng.u8(0..9))),
        2 => conditions.vlans = vec![1..=5, 9..=9],
        3 => conditions.protocols = (0..200).step_by(2).collect(),
        4 => conditions.link_types = vec![1, 101, 113],
        5 => conditions.ether_types = vec![0x0800, 0x0806, 0x86DD],
        6 => conditions.source_ports = some(rng, 80, ports),
        7 => {
            conditions.destination_ports = Vec::new();
            conditions.icmp = vec![Icmp { kind: 3, code: None }, Icmp { kind: 8, code: Some(rng.u8(0..2)) }];
        }
        8 => conditions.quic_versions = vec![1, 0x6B33_43CF],
        9 => conditions.tcp_flags = Some(TcpFlags { mask: 0x12, value: 0x02 }),
        10 => conditions.sources = (0..80).map(|_| prefix(rng)).collect(),
        11 => conditions.destinations = (0..80).map(|_| prefix(rng)).collect(),
        12 => conditions.destination_ports = (0..40).map(|_| ports(rng)).collect(),
        13 => conditions.direction = Some(Direction::Inbound),
        14 => conditions.answer = Some(Content::Any),
        _ => conditions.malformed = Some(rng.bool()),
    }
}

/// Fewer than so many, each made by `make`.
fn some<T>(rng: &mut Rng, limit: usize, make: fn(&mut Rng) -> T) -> Vec<T> {
    (0..rng.usize(0..limit)).map(|_| make(rng)).collect()
}

fn ports(rng: &mut Rng) -> RangeInclusive<u16> {
    let first = rng.u16(0..256);
    first..=if rng.bool() { first } else { rng.u16(first..300) }
}

fn prefix4(rng: &mut Rng) -> Prefix {
    let length = [8, 24, 28, 32][rng.usize(0..4)];
    let address = u32::from_be_bytes([10, 0, rng.u8(0..4), rng.u8(..)]) >> (32 - length) << (32 - length);
    Prefix { address: address.to_be_bytes().into(), length: length as u8 }
}

fn prefix(rng: &mut Rng) -> Prefix {
    if rng.bool() {
        return prefix4(rng);
    }
    let length = [24, 32, 64, 128][rng.usize(0..4)];
    let bytes = [10, 0, rng.u8(0..4), rng.u8(..), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, rng.u8(0..4)];
    let address = u128::from_be_bytes(bytes) >> (128 - length) << (128 - length);
    Prefix { address: address.to_be_bytes().into(), length: length as u8 }
}

/// An answer of DNS: ask.test is an alias of a.host1.example, whose label has a dot in it, and of host2.example.
const ANSWER: &[u8] = b"\0\x01\x81\x80\0\x01\0\x02\0\0\0\0\x03ask\x04test\0\0\x01\0\x01\
    \xC0\x0C\0\x05\0\x01\0\0\0\x3C\0\x13\x03a.b\x05host1\x07example\0\
    \xC0\x0C\0\x05\0\x01\0\0\0\x3C\0\x0F\x05Host2\x07example\0";

/// Hash tables, one behind the other, which only large policies have: for both IP versions two tables of two
/// children, and behind them a leaf of 300 entries.
fn chained() -> Raw {
    const ENTRIES: u32 = 304;
    let mut raw = Raw::empty();
    raw.rules = (0..ENTRIES).map(|rule| [rule + 1, if rule % 2 == 0 { 0 } else { BLOCK }]).collect();
    let hash = HASH | REMAINDER | 8 | 16 << 8 | 1 << 16 | 7 << 21;
    let leaf_of = |ipv6, rule| leaf(ipv6, rule, 1, rule, 0);
    raw.nodes = vec![inner(3, 0, hash, 307, 1), inner(6, 0, hash | IPV6, 307, 1), empty_leaf(0)];
    for (ipv6, base) in [(0, 9), (IPV6, 12)] {
        raw.nodes.extend([inner(base, 2, hash | ipv6, 304, 1), leaf_of(ipv6, 0), leaf_of(ipv6, 1)]);
    }
    for ipv6 in [0, IPV6] {
        raw.nodes.extend([leaf(ipv6, 4, ENTRIES - 4, 4, 0), leaf_of(ipv6, 2), leaf_of(ipv6, 3)]);
    }
    raw.entries4 = (0..ENTRIES).map(|rule| entry4(&raw.rules, rule)).collect();
    raw.entries6 = (0..ENTRIES).map(|rule| entry6(&raw.rules, rule)).collect();
    // Only the last ones have any packet.
    for rule in 0..ENTRIES as usize - 2 {
        (raw.entries4[rule][3], raw.entries6[rule][9]) = (rule as u32 * 0x1_0001, rule as u32 * 0x1_0001);
    }
    raw.validate().expect("it is as the page says");
    raw
}

/// Asks for packets that `data` chooses, one by one and all at once.
fn ask(policy: &Policy<&[u8]>, data: &[u8]) {
    let flows: Vec<Flow> = data.chunks(12).take(8).map(flow).collect();
    let packet = |flow| ParsedPacket {
        direction: Direction::Inbound,
        link_type: 1,
        bytes: if Flow::has(flow, flags::ANSWER) { ANSWER } else { b"www.host1.example" },
        flow,
    };
    let packets: Vec<ParsedPacket<'_>> = flows.iter().map(packet).collect();
    let mut decisions = vec![Decision { action: policy.default_action(), rule_id: 0 }; packets.len()];
    policy.classify_batch(&packets, &mut decisions);
    for (ParsedPacket { direction, link_type, bytes, flow }, in_batch) in packets.into_iter().zip(decisions) {
        let decision = policy.classify(direction, link_type, bytes, flow);
        assert!(decision.rule_id != 0 || decision.action == policy.default_action());
        assert_eq!(decision, in_batch);
        let packet = ParsedPacket { direction, link_type, bytes, flow };
        policy.observe(&packet, policy.rule_count(), |rule| assert!(rule < policy.rule_count()));
    }
}

fn flow(bytes: &[u8]) -> Flow {
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let mut flow = Flow {
        flags: flags::ADDRESSES | flags::PROTOCOL | flags::PORTS | u32::from(at(0)),
        ip_version: [4, 6, 0, 4][usize::from(at(1) % 4)],
        protocol: at(2),
        source_port: at(3).into(),
        destination_port: at(4).into(),
        vlan_count: at(5) % 2,
        name_kind: [name_kind::NONE, name_kind::DNS, name_kind::TLS, name_kind::HTTP][usize::from(at(6) % 4)],
        name_length: at(7).into(),
        ..Flow::default()
    };
    flow.source_address = [10, 0, at(8), at(9), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, at(10)];
    if at(11) & 1 != 0 {
        flow.destination_address = flow.source_address;
    }
    if at(11) & 2 != 0 {
        flow.flags = flow.flags & !flags::PORTS | flags::ICMP;
        (flow.icmp_type, flow.icmp_code) = (at(3), at(4));
        (flow.source_port, flow.destination_port) = (0, 0);
    }
    if at(11) & 4 != 0 {
        flow.flags |= flags::ETHER_TYPE;
        flow.ether_type = [0x0800, 0x0806, 0x86DD, 0x0101][usize::from(at(1) % 4)];
    }
    if at(11) & 8 != 0 {
        flow.flags |= flags::QUIC;
        flow.quic_version = [0, 1, 2, 0x6B33_43CF][usize::from(at(4) % 4)];
    }
    if at(11) & 16 != 0 {
        flow.flags |= flags::ANSWER | flags::DNS;
        (flow.protocol, flow.payload_length) = (protocol::UDP, ANSWER.len() as u32);
    }
    flow
}

pub fn run(data: &[u8]) {
    if let Ok(policy) = Policy::new(data) {
        ask(&policy, data);
    }
    let Some(([seed, changes], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    thread_local! {
        static MADE: std::cell::RefCell<Vec<Option<Vec<u8>>>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    // The others came later, for inputs from 0xC0 on.
    let (seed, make): (u8, fn(u8) -> Vec<u8>) = match seed {
        0xF8.. => (TABLES as u8 - 1, |_| chained().bytes()),
        0xF0.. => (TABLES as u8 - 2, |_| sample::sample().bytes()),
        0xC0.. => (FIRST_LARGE + seed % 16, large_table),
        _ => (seed % FIRST_LARGE, table),
    };
    let mut bytes = MADE.with_borrow_mut(|tables| {
        tables.resize(TABLES, None);
        tables[usize::from(seed)].get_or_insert_with(|| make(seed)).clone()
    });
    // What comes behind is a gap, where any change is refused.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let (words, packets) = rest.split_at(rest.len().min(usize::from(changes % 8) * 4));
    for change in words.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % used;
        bytes[at] = if change[2] & 1 == 0 { bytes[at] ^ change[3] } else { change[3] };
    }
    if let Ok(policy) = Policy::new(bytes.as_slice()) {
        ask(&policy, packets);
    }
}
