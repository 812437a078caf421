//! A compiled policy says what the linear scan of its rules says, whatever the rules and the packets are.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::{iter, mem, slice};

use common::linear;
use fastrand::Rng;
use sluice_core::compile::{
    CompileError, Conditions, Content, CostModel, ErrorKind, Fragment, Icmp, Prefix, Rule, TcpFlags, TreeKind, compile,
    compile_by,
};
use sluice_core::{Action, Decision, Direction, ParsedPacket, Policy, RuleAction, TableError};
use sluice_npi::{Flow, flags, link_type, name_kind};

const NAMES: [&str; 8] = [
    "com",
    "example.com",
    "www.example.com",
    "xample.com",
    "Example.ORG.",
    "a.b.c.d.e",
    "_dns.local",
    "xn--bcher-kva.de",
];

/// How likely a rule is to have each of its conditions, out of 100.
#[derive(Clone, Copy)]
struct Density {
    addresses: u8,
    ports: u8,
    rare: u8,
    names: u8,
}

const CLASSBENCH_LIKE: Density = Density { addresses: 90, ports: 60, rare: 0, names: 0 };
const MOSTLY_WILD: Density = Density { addresses: 15, ports: 15, rare: 3, names: 0 };
const EVERYTHING: Density = Density { addresses: 40, ports: 40, rare: 20, names: 20 };
const NAMED: Density = Density { addresses: 20, ports: 10, rare: 2, names: 80 };

fn chance(rng: &mut Rng, percent: u8) -> bool {
    rng.u8(0..100) < percent
}

/// An address out of few, so that rules and packets meet.
fn address(rng: &mut Rng) -> IpAddr {
    let low = [0, 1, 2, 3, 127, 128, 254, 255][rng.usize(0..8)];
    let high = [10, 10, 10, 192, 255][rng.usize(0..5)];
    if rng.bool() {
        IpAddr::V4(Ipv4Addr::new(high, rng.u8(0..3), rng.u8(0..3), low))
    } else {
        let high = 0x2001_0D00 | u128::from(high);
        IpAddr::V6(Ipv6Addr::from(high << 96 | u128::from(rng.u8(0..3)) << 64 | u128::from(low) << 8 | u128::from(low)))
    }
}

fn prefix(rng: &mut Rng) -> Prefix {
    match address(rng) {
        IpAddr::V4(address) => {
            let length = [0, 1, 8, 16, 23, 24, 25, 30, 31, 32][rng.usize(0..10)];
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Prefix { address: Ipv4Addr::from(u32::from(address) & mask).into(), length }
        }
        IpAddr::V6(address) => {
            let length = [0, 3, 32, 48, 63, 64, 65, 96, 97, 120, 127, 128][rng.usize(0..12)];
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Prefix { address: Ipv6Addr::from(u128::from(address) & mask).into(), length }
        }
    }
}

fn port(rng: &mut Rng) -> u16 {
    [0, 1, 22, 53, 80, 443, 1023, 1024, 1025, 8080, 65534, 65535][rng.usize(0..12)]
}

fn ports(rng: &mut Rng) -> RangeInclusive<u16> {
    let (a, b) = (port(rng), port(rng));
    match rng.u8(0..4) {
        0 => a.min(b)..=a.max(b),
        1 => 1024..=65535,
        _ => a..=a,
    }
}

fn list<T>(rng: &mut Rng, percent: u8, mut item: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    if !chance(rng, percent) {
        return Vec::new();
    }
    let length = [1, 1, 1, 2, 3, 9, 70][rng.usize(0..7)];
    (0..length).map(|_| item(rng)).collect()
}

fn content(rng: &mut Rng) -> Content {
    [Content::No, Content::Any, Content::Unread][rng.usize(0..3)]
}

fn rule(rng: &mut Rng, id: u32, density: Density) -> Rule {
    let rare = density.rare;
    let mut names = list(rng, density.names, |rng| NAMES[rng.usize(0..NAMES.len())].into());
    let answer_names = if chance(rng, 30) { mem::take(&mut names) } else { Vec::new() };
    let protocol = |rng: &mut Rng| [0, 1, 6, 6, 17, 58, 132, 255][rng.usize(0..8)];
    Rule {
        id,
        action: [RuleAction::Permit, RuleAction::Block, RuleAction::Count, RuleAction::Log]
            [[0, 0, 1, 1, 0, 1, 2, 3][rng.usize(0..8)]],
        conditions: Conditions {
            direction: chance(rng, rare).then(|| if rng.bool() { Direction::Inbound } else { Direction::Outbound }),
            link_types: list(rng, rare, |rng| [link_type::ETHERNET, link_type::RAW][rng.usize(0..2)]),
            tagged: chance(rng, rare).then(|| rng.bool()),
            vlans: list(rng, rare, |rng| {
                let first = rng.u16(0..4);
                first..=first + rng.u16(0..3)
            }),
            ether_types: list(rng, rare, |rng| [0x0800, 0x86DD, 0x0806][rng.usize(0..3)]),
            sources: list(rng, density.addresses, prefix),
            destinations: list(rng, density.addresses, prefix),
            ip_version: chance(rng, rare).then(|| if rng.bool() { 4 } else { 6 }),
            protocols: list(rng, density.ports, protocol),
            source_ports: list(rng, density.ports / 2, ports),
            destination_ports: list(rng, density.ports, ports),
            icmp: list(rng, rare, |rng| Icmp { kind: rng.u8(0..4), code: rng.bool().then(|| rng.u8(0..3)) }),
            tcp_flags: chance(rng, rare).then(|| {
                let mask = rng.u8(..);
                TcpFlags { mask, value: mask & rng.u8(0..4) }
            }),
            names,
            answer_names,
            answer: chance(rng, rare).then(|| content(rng)),
            name_missing: chance(rng, rare).then(|| rng.bool()),
            name_pending: chance(rng, rare).then(|| rng.bool()),
            ech: chance(rng, rare).then(|| rng.bool()),
            quic: chance(rng, rare).then(|| rng.bool()),
            quic_versions: list(rng, rare, |rng| [1, 0x6B33_43CF, 7][rng.usize(0..3)]),
            fragment: chance(rng, rare)
                .then(|| [Fragment::No, Fragment::Any, Fragment::First, Fragment::Later][rng.usize(0..4)]),
            tunnel: chance(rng, rare).then(|| content(rng)),
            inner: chance(rng, rare),
            malformed: chance(rng, rare).then(|| rng.bool()),
            truncated: chance(rng, rare).then(|| rng.bool()),
        },
    }
}

/// A packet that holds nothing but a name, and the flow of a packet with it.
fn packet(rng: &mut Rng) -> (Vec<u8>, Flow) {
    let mut flow = Flow::default();
    let mut bytes = vec![0xEE; 7];
    if chance(rng, 30) {
        flow.vlan_count = rng.u8(1..3);
        flow.vlan_ids[0] = rng.u16(0..6);
    }
    for (bit, percent) in [
        (flags::MALFORMED, 10),
        (flags::TRUNCATED, 10),
        (flags::NAME_MISSING, 20),
        (flags::ECH, 20),
        (flags::INNER, 20),
        (flags::TUNNEL, 20),
        (flags::TUNNEL | flags::TUNNEL_UNREAD, 10),
    ] {
        flow.flags |= if chance(rng, percent) { bit } else { 0 };
    }
    if chance(rng, 10) {
        flow.flags |= flags::ETHER_TYPE;
        flow.ether_type = 0x0806;
        return (bytes, flow);
    }
    match (address(rng), address(rng)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            flow.ip_version = 4;
            flow.source_address[..4].copy_from_slice(&source.octets());
            flow.destination_address[..4].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            flow.ip_version = 6;
            flow.source_address = source.octets();
            flow.destination_address = destination.octets();
        }
        // A header that was cut off before the addresses.
        _ => {
            flow.ip_version = 4;
            flow.flags |= flags::TRUNCATED;
            return (bytes, flow);
        }
    }
    flow.flags |= flags::ADDRESSES | flags::PROTOCOL | flags::ETHER_TYPE;
    flow.ether_type = if flow.ip_version == 4 { 0x0800 } else { 0x86DD };
    flow.protocol = [1, 6, 6, 17, 58, 132, 47][rng.usize(0..7)];
    match (flow.protocol, rng.u8(0..10)) {
        (_, 0) => flow.flags |= flags::FRAGMENT | flags::LATER_FRAGMENT,
        (1 | 58, _) => {
            flow.flags |= flags::ICMP;
            flow.icmp_type = rng.u8(0..4);
            flow.icmp_code = rng.u8(0..3);
        }
        (6 | 17 | 132, part) => {
            flow.flags |= flags::PORTS | if part == 1 { flags::FRAGMENT } else { 0 };
            flow.source_port = port(rng);
            flow.destination_port = port(rng);
            if flow.protocol == 17 && chance(rng, 40) {
                flow.flags |= flags::QUIC;
                flow.quic_version = [1, 0x6B33_43CF, 7, 8][rng.usize(0..4)];
            }
            if flow.protocol == 6 {
                flow.flags |= flags::TCP_FLAGS;
                flow.tcp_flags = rng.u8(..);
            }
        }
        _ => {}
    }
    match rng.u8(0..100) {
        0..20 if flow.has(flags::PORTS) && matches!(flow.protocol, 6 | 17) => answers(rng, &mut bytes, &mut flow),
        20..70 if flow.has(flags::PORTS) => name(rng, &mut bytes, &mut flow),
        _ => {}
    }
    (bytes, flow)
}

/// A name that a rule may have, or one like it.
fn host(rng: &mut Rng) -> String {
    let mut text = NAMES[rng.usize(0..NAMES.len())].trim_end_matches('.').to_string();
    if rng.bool() {
        text = format!("{}{text}", ["www.", "x", "a.b.", "e"][rng.usize(0..4)]);
    }
    if rng.bool() {
        text = text.to_ascii_uppercase();
    }
    text
}

/// An answer of DNS with a few aliases.
fn answers(rng: &mut Rng, bytes: &mut Vec<u8>, flow: &mut Flow) {
    let labels = |text: &str| {
        let label = |label: &str| [&[label.len() as u8], label.as_bytes()].concat();
        [text.split('.').flat_map(label).collect(), vec![0]].concat()
    };
    let question = labels(&host(rng));
    let count = rng.u8(1..5);
    let mut message = vec![0, 1, 0x80, 0, 0, 1, 0, count, 0, 0, 0, 0];
    message.extend(&question);
    message.extend([0, 1, 0, 1]);
    for _ in 0..count {
        let alias = labels(&host(rng));
        message.extend(&question);
        message.extend([0, 5, 0, 1, 0, 0, 0, 60, 0, alias.len() as u8]);
        message.extend(alias);
    }
    let prefix = if flow.protocol == 6 { 2 } else { 0 };
    flow.flags |= flags::DNS | flags::ANSWER | if chance(rng, 20) { flags::ANSWER_UNREAD } else { 0 };
    flow.payload_offset = bytes.len() as u32;
    flow.payload_length = (message.len() + prefix) as u32;
    flow.name_kind = name_kind::DNS;
    flow.name_offset = flow.payload_offset + prefix as u32 + 12;
    flow.name_length = question.len() as u16 - 1;
    bytes.extend(&(message.len() as u16).to_be_bytes()[..prefix]);
    bytes.extend(message);
    bytes.extend([0xEE; 3]);
}

fn name(rng: &mut Rng, bytes: &mut Vec<u8>, flow: &mut Flow) {
    let text = host(rng);
    flow.name_offset = bytes.len() as u32;
    if rng.bool() {
        flow.name_kind = name_kind::DNS;
        for label in text.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.bytes());
        }
    } else {
        flow.name_kind = if rng.bool() { name_kind::TLS } else { name_kind::HTTP };
        bytes.extend(text.bytes());
        if rng.bool() {
            bytes.push(b'.');
        }
    }
    flow.name_length = (bytes.len() - flow.name_offset as usize) as u16;
    bytes.extend([0xEE; 3]);
}

fn agree(seed: u64, rule_count: usize, packet_count: usize, density: Density) {
    let table = agree_by(&CostModel::default(), seed, rule_count, packet_count, density);
    assert!(table, "the rules compile");
}

/// Whether the rules compile by this model; if so, the table has to be valid and to agree with the linear scan.
fn agree_by(model: &CostModel, seed: u64, rule_count: usize, packet_count: usize, density: Density) -> bool {
    let rng = &mut Rng::with_seed(seed);
    let rules: Vec<Rule> = (1..=rule_count as u32).map(|id| rule(rng, id, density)).collect();
    let default_action = if rng.bool() { Action::Permit } else { Action::Block };
    let table = match compile_by(model, &rules, default_action) {
        Ok(table) => table,
        // Too long chains of leaves, by a model that finds nothing worth a cut.
        Err(CompileError { kind: ErrorKind::TooAlike, .. }) => return false,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(table, compile_by(model, &rules, default_action).unwrap(), "the same rules give the same bytes");
    let policy =
        Policy::new(&table).unwrap_or_else(|error| panic!("seed {seed}, {rule_count} rules, {model:?}: {error}"));
    let packets: Vec<(Vec<u8>, Flow)> = (0..packet_count).map(|_| packet(rng)).collect();
    let parsed: Vec<ParsedPacket<'_>> = packets
        .iter()
        .map(|(bytes, flow)| ParsedPacket {
            direction: [Direction::Unspecified, Direction::Inbound, Direction::Outbound][rng.usize(0..3)],
            link_type: [link_type::ETHERNET, link_type::RAW, link_type::NULL][rng.usize(0..3)],
            bytes,
            flow,
        })
        .collect();
    let mut expected = Vec::new();
    for ParsedPacket { direction, link_type, bytes, flow } in parsed.iter().copied() {
        let decision = linear::classify(&rules, default_action, direction, link_type, bytes, flow);
        let found = policy.classify(direction, link_type, bytes, flow);
        assert_eq!(found, decision, "seed {seed}, {rule_count} rules, {flow:?}");
        let (observers, decided) = linear::observers(&rules, direction, link_type, bytes, flow);
        let mut observed = Vec::new();
        policy.observe(&ParsedPacket { direction, link_type, bytes, flow }, decided, |rule| observed.push(rule));
        observed.sort_unstable();
        assert_eq!(observed, observers, "seed {seed}, {rule_count} rules, {flow:?}");
        expected.push(decision);
    }
    let mut start = 0;
    while start < parsed.len() {
        let end = parsed.len().min(start + rng.usize(1..40));
        let mut found = vec![NOTHING; end - start];
        policy.classify_batch(&parsed[start..end], &mut found);
        assert_eq!(found, expected[start..end], "seed {seed}, {rule_count} rules, packets {start}..{end} at once");
        start = end;
    }
    true
}

/// What no policy decides.
const NOTHING: Decision = Decision { action: Action::Block, rule_id: u32::MAX };

const SIZES: [usize; 8] = [0, 1, 3, 10, 50, 200, 600, 1500];

#[test]
fn sets_like_those_of_classbench_agree_with_the_linear_scan() {
    for (seed, size) in (0..).zip(SIZES) {
        agree(seed, size, 400, CLASSBENCH_LIKE);
    }
}

#[test]
fn sets_with_many_wildcards_agree_with_the_linear_scan() {
    for (seed, size) in (100..).zip(SIZES) {
        agree(seed, size, 400, MOSTLY_WILD);
    }
}

#[test]
fn sets_with_every_condition_agree_with_the_linear_scan() {
    for seed in 200..220 {
        agree(seed, 60, 300, EVERYTHING);
    }
    agree(220, 500, 300, EVERYTHING);
}

/// What all of them have in common is looked at before they are.
#[test]
fn few_rules_that_observe_see_all_that_they_match() {
    for seed in 400..1000 {
        let density = [CLASSBENCH_LIKE, MOSTLY_WILD, NAMED][seed as usize % 3];
        agree(seed, 1 + seed as usize % 5, 60, density);
    }
}

#[test]
fn sets_with_host_names_agree_with_the_linear_scan() {
    for (seed, size) in (300..).zip(SIZES) {
        agree(seed, size, 400, NAMED);
    }
}

/// Costs and limits that may be anything, the usual ones among them.
fn model(rng: &mut Rng) -> CostModel {
    let mut cost = || [0, 1, 20, 40, 80, 150, 260, 400, 5000][rng.usize(0..9)];
    let (node, leaf, entry, filter) = (cost(), cost(), cost(), cost());
    let (more_groups, each_group, growth, doubling) = (cost(), cost(), cost(), cost());
    CostModel {
        node,
        leaf,
        entry,
        filter,
        more_groups,
        each_group,
        growth,
        doubling,
        not_cut: [0, 1, 4, 16, 64, 100, 256, 1024][rng.usize(0..8)],
        entries_per_child_bits: rng.u32(0..4),
        trees: [TreeKind::Cuts, TreeKind::Tables, TreeKind::Cheaper][rng.usize(0..3)],
        space: [0, 1, 8, 8, 30][rng.usize(0..5)],
    }
}

#[test]
fn whatever_searches_are_thought_to_cost_a_table_is_valid_and_decides_the_same() {
    // Among these cases are some with neighbours of the same few entries that are cut.
    let rng = &mut Rng::with_seed(5);
    let densities = [CLASSBENCH_LIKE, MOSTLY_WILD, EVERYTHING, NAMED];
    let compiled = (0..24)
        .filter(|number| {
            let (model, size) = (model(rng), SIZES[rng.usize(4..7)]);
            agree_by(&model, 400 + number, size, 60, densities[rng.usize(0..4)])
        })
        .count();
    assert!(compiled > 20, "{compiled} of 24 compile");
}

/// The flow of a UDP packet.
fn udp(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) -> Flow {
    let mut flow = Flow {
        flags: flags::ADDRESSES | flags::PROTOCOL | flags::PORTS,
        ip_version: 4,
        protocol: 17,
        source_port: ports.0,
        destination_port: ports.1,
        ..Flow::default()
    };
    flow.source_address[..4].copy_from_slice(&source);
    flow.destination_address[..4].copy_from_slice(&destination);
    flow
}

fn decide(rules: &[Rule], packet: &[u8], flow: &Flow) -> Decision {
    let table = compile(rules, Action::Block).unwrap();
    Policy::new(table).unwrap().classify(Direction::Inbound, link_type::RAW, packet, flow)
}

fn conditions(conditions: Conditions) -> Rule {
    Rule { id: 1, action: RuleAction::Permit, conditions }
}

#[test]
fn the_first_of_two_rules_that_match_decides() {
    let rule = |id, length| Rule {
        id,
        action: RuleAction::Permit,
        conditions: Conditions {
            sources: vec![Prefix { address: [10, 0, 0, 0].into(), length }],
            ..Conditions::default()
        },
    };
    let flow = udp([10, 0, 0, 0], [1, 2, 3, 4], (1, 2));
    assert_eq!(decide(&[rule(7, 8), rule(9, 32)], &[], &flow).rule_id, 7);
    assert_eq!(decide(&[rule(7, 32), rule(9, 8)], &[], &flow).rule_id, 7);
}

#[test]
fn without_a_match_the_default_decides_and_the_rule_is_0() {
    let flow = udp([10, 0, 0, 0], [1, 2, 3, 4], (1, 2));
    assert_eq!(decide(&[], &[], &flow), Decision { action: Action::Block, rule_id: 0 });
}

#[test]
fn the_policy_before_the_first_load_permits_everything() {
    static POLICY: Policy<Vec<u8>> = Policy::permit_everything(Vec::new());
    let flow = udp([10, 0, 0, 0], [1, 2, 3, 4], (1, 2));
    let decision = POLICY.classify(Direction::Inbound, link_type::RAW, &[], &flow);
    assert_eq!(decision, Decision { action: Action::Permit, rule_id: 0 });
}

#[test]
fn a_table_tells_its_rules_in_their_order() {
    let rule = |id, action| Rule { id, action, conditions: Conditions::default() };
    let rules = [rule(30, RuleAction::Block), rule(7, RuleAction::Log), rule(u32::MAX, RuleAction::Count)];
    let policy = Policy::new(compile(&rules, Action::Permit).unwrap()).unwrap();
    let expected = rules.map(|rule| (rule.id, rule.action));
    assert_eq!(policy.rules().collect::<Vec<_>>(), expected);
    assert_eq!(Policy::permit_everything([]).rules().count(), 0);
    assert_eq!(Policy::block_everything([0_u8; 0]).default_action(), Action::Block);
}

#[test]
fn a_suffix_matches_at_label_boundaries_only() {
    let rules = [conditions(Conditions { names: vec!["example.com".into()], ..Conditions::default() })];
    let matched = |kind: u8, name: &[u8]| {
        let flow =
            Flow { name_kind: kind, name_length: name.len() as u16, ..udp([10, 0, 0, 0], [1, 2, 3, 4], (1, 53)) };
        decide(&rules, name, &flow).rule_id == 1
    };
    assert!(matched(name_kind::TLS, b"example.com"));
    assert!(matched(name_kind::TLS, b"WWW.Example.Com."));
    assert!(!matched(name_kind::TLS, b"badexample.com"));
    assert!(!matched(name_kind::TLS, b"example.com.evil.org"));
    assert!(matched(name_kind::DNS, b"\x03www\x07example\x03com"));
    assert!(!matched(name_kind::DNS, b"\x0bexample.com"), "a dot inside a label is no boundary");
    assert!(!matched(name_kind::DNS, b"\x0fwww.example.com"));
    assert!(matched(name_kind::DNS, b"\x03w.w\x07example\x03com"), "that label alone is no host's");
    assert!(!matched(name_kind::DNS, b"\x03w.w\x0bexample.com"), "nor is one behind another with a dot");
}

#[test]
fn names_of_every_length_are_found_in_any_case() {
    let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert_eq!(longest.len(), 253);
    // Each name is one letter shorter than the one before it, and ends in the same.
    for start in 0..252 {
        let name = &longest[start..];
        if name.starts_with('.') {
            continue;
        }
        let rules = [conditions(Conditions { names: vec![name.into()], ..Conditions::default() })];
        let policy = Policy::new(compile(&rules, Action::Block).unwrap()).unwrap();
        let other = format!("{}x", &name[..name.len() - 1]);
        for (name, expected) in [(name, 1), (&name.to_uppercase(), 1), (&other, 0)] {
            assert_eq!(rule_for(&policy, name, 443), expected, "{name}");
        }
    }
}

#[test]
fn every_word_of_an_ipv6_address_counts() {
    let of = |address: u128| Prefix { address: Ipv6Addr::from(address).into(), length: 128 };
    let [source, destination] = [0x2001_0DB8_1122_3344_5566_7788_99AA_BBCC, 0xFD00_A1A2_B3B4_C5C6_D7D8_E9EA_F1F2_0304];
    let rules = [conditions(Conditions {
        sources: vec![of(source)],
        destinations: vec![of(destination)],
        ..Conditions::default()
    })];
    let policy = Policy::new(compile(&rules, Action::Block).unwrap()).unwrap();
    let rule_for = |source: u128, destination: u128| {
        let [source_address, destination_address] = [source, destination].map(u128::to_be_bytes);
        let flow =
            Flow { flags: flags::ADDRESSES, ip_version: 6, source_address, destination_address, ..Flow::default() };
        policy.classify(Direction::Inbound, link_type::RAW, &[], &flow).rule_id
    };
    assert_eq!(rule_for(source, destination), 1);
    for bit in 0..128 {
        let other = 1 << bit;
        assert_eq!(rule_for(source ^ other, destination), 0, "bit {bit} of the source");
        assert_eq!(rule_for(source, destination ^ other), 0, "bit {bit} of the destination");
        assert_eq!(rule_for(source ^ other, destination ^ other), 0, "bit {bit} of both");
    }
}

#[test]
fn an_address_and_a_port_that_differ_in_the_same_bit_match_no_more_than_one_of_them() {
    let rule = |address: IpAddr, length| {
        conditions(Conditions {
            sources: vec![Prefix { address, length }],
            destination_ports: vec![8..=8],
            ..Conditions::default()
        })
    };
    let ipv4 = udp([10, 0, 0, 2], [1, 2, 3, 4], (5, 8));
    let mut ipv6 = Flow { ip_version: 6, ..ipv4 };
    ipv6.source_address = Ipv6Addr::from(2).octets();
    for (rule, flow, last) in
        [(rule([10, 0, 0, 2].into(), 32), ipv4, 3), (rule(Ipv6Addr::from(2).into(), 128), ipv6, 15)]
    {
        let policy = Policy::new(compile(&[rule], Action::Block).unwrap()).unwrap();
        for (address, port, expected) in [(2, 8, 1), (3, 8, 0), (2, 9, 0), (3, 9, 0)] {
            let mut flow = Flow { destination_port: port, ..flow };
            flow.source_address[last] = address;
            assert_eq!(policy.classify(Direction::Inbound, link_type::RAW, &[], &flow).rule_id, expected, "{flow:?}");
        }
    }
}

#[test]
fn a_long_list_of_addresses_stays_one_rule() {
    let sources = (0..50_000_u32)
        .map(|index| Prefix { address: Ipv4Addr::from(0x0A00_0000 + index * 2).into(), length: 32 })
        .collect();
    let rules = [conditions(Conditions { sources, ..Conditions::default() })];
    let table = compile(&rules, Action::Block).unwrap();
    let policy = Policy::new(table).unwrap();
    for (last, expected) in [(0, 1), (1, 0), (254, 1), (255, 0)] {
        let flow = udp([10, 1, 2, last], [1, 2, 3, 4], (1, 2));
        assert_eq!(policy.classify(Direction::Inbound, link_type::RAW, &[], &flow).rule_id, expected);
    }
}

#[test]
fn two_long_lists_do_not_multiply() {
    let list = |high: u8| -> Vec<Prefix> {
        (0..2000_u32)
            .map(|index| Prefix { address: Ipv4Addr::from((u32::from(high) << 24) + index * 2).into(), length: 32 })
            .collect()
    };
    let rules = [conditions(Conditions { sources: list(10), destinations: list(11), ..Conditions::default() })];
    let table = compile(&rules, Action::Block).unwrap();
    assert!(table.len() < 1_000_000, "{} bytes", table.len());
    let policy = Policy::new(table).unwrap();
    for (source, destination, expected) in [(2, 4, 1), (2, 5, 0), (3, 4, 0)] {
        let flow = udp([10, 0, 0, source], [11, 0, 0, destination], (1, 2));
        assert_eq!(policy.classify(Direction::Inbound, link_type::RAW, &[], &flow).rule_id, expected);
    }
}

#[test]
fn a_block_list_of_100_000_names_compiles_and_finds_each() {
    let rules: Vec<Rule> = (1..=100_000_u32)
        .map(|id| Rule {
            id,
            action: RuleAction::Block,
            conditions: Conditions { names: vec![format!("host{id}.example")], ..Conditions::default() },
        })
        .collect();
    let table = compile(&rules, Action::Permit).unwrap();
    let policy = Policy::new(table).unwrap();
    for id in [1, 2, 77, 50_000, 100_000] {
        let name = format!("www.host{id}.example");
        let flow = Flow {
            name_kind: name_kind::TLS,
            name_length: name.len() as u16,
            ..udp([10, 0, 0, 0], [1, 2, 3, 4], (1, 443))
        };
        assert_eq!(policy.classify(Direction::Inbound, link_type::RAW, name.as_bytes(), &flow).rule_id, id);
    }
}

#[test]
fn the_compiler_names_what_is_wrong() {
    let error = |conditions: Conditions| {
        let error = compile(&[Rule { id: 1, action: RuleAction::Block, conditions }], Action::Permit).unwrap_err();
        assert_eq!(error.rule, Some(0));
        error.kind
    };
    let prefix = |address: [u8; 4], length| Prefix { address: address.into(), length };
    let c = Conditions::default;
    assert_eq!(error(Conditions { vlans: vec![1..=4096], ..c() }), ErrorKind::VlanOutOfRange(4096));
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    let reversed = 2..=1;
    assert_eq!(error(Conditions { source_ports: vec![reversed], ..c() }), ErrorKind::EmptyRange { first: 2, last: 1 });
    let bad = prefix([10, 0, 0, 1], 8);
    assert_eq!(error(Conditions { sources: vec![bad], ..c() }), ErrorKind::HostBitsSet(bad));
    let bad = prefix([10, 0, 0, 0], 33);
    assert_eq!(error(Conditions { destinations: vec![bad], ..c() }), ErrorKind::PrefixTooLong(bad));
    assert_eq!(bad.to_string(), "10.0.0.0/33");
    assert_eq!(error(Conditions { ip_version: Some(5), ..c() }), ErrorKind::UnknownIpVersion(5));
    assert_eq!(error(Conditions { link_types: vec![2], ..c() }), ErrorKind::UnknownLinkType(2));
    for name in ["", ".", "a..b", "*.example.com", "b\u{fc}cher.de", &"a".repeat(64)] {
        let name = name.to_string();
        assert_eq!(error(Conditions { names: vec![name.clone()], ..c() }), ErrorKind::BadName(name));
    }
    let zero = compile(&[Rule::default()], Action::Permit).unwrap_err();
    assert_eq!(zero.kind, ErrorKind::ZeroId);
}

/// Rules that differ in nothing by which a tree could tell them apart, one for each VLAN id and EtherType.
fn alike(count: u32) -> Vec<Rule> {
    (0..count)
        .map(|index| Rule {
            id: index + 1,
            action: RuleAction::Permit,
            conditions: Conditions {
                vlans: vec![(index % 4096) as u16..=(index % 4096) as u16],
                ether_types: vec![0x0800 + (index / 4096) as u16],
                ..Conditions::default()
            },
        })
        .collect()
}

#[test]
fn rules_that_no_tree_tells_apart_are_all_found() {
    let policy = Policy::new(compile(&alike(5000), Action::Block).unwrap()).unwrap();
    for id in [1, 128, 129, 1024, 1025, 4096, 4097, 5000] {
        let mut flow = udp([10, 0, 0, 0], [1, 2, 3, 4], (1, 2));
        flow.flags |= flags::ETHER_TYPE;
        flow.ether_type = 0x0800 + ((id - 1) / 4096) as u16;
        flow.vlan_count = 1;
        flow.vlan_ids[0] = ((id - 1) % 4096) as u16;
        assert_eq!(policy.classify(Direction::Inbound, link_type::RAW, &[], &flow).rule_id, id);
    }
}

#[test]
fn rules_in_rows_and_columns_are_all_found() {
    let address = |low: u32| IpAddr::from((0x0A00_0000 + low).to_be_bytes());
    let rule = |number: u32| {
        let [sources, destinations] =
            [number / 32, number % 32].map(|low| vec![Prefix { address: address(low), length: 32 }]);
        let conditions = Conditions { sources, destinations, ..Conditions::default() };
        Rule { id: number + 1, action: RuleAction::Permit, conditions }
    };
    let mut rules: Vec<Rule> = (0..1024).map(rule).collect();
    Rng::with_seed(1).shuffle(&mut rules);
    // Two windows are worth it where the entries of a leaf cost little.
    let model = CostModel { entry: 1, ..CostModel::default() };
    let policy = Policy::new(compile_by(&model, &rules, Action::Block).unwrap()).unwrap();
    for number in 0..1024 {
        let flow = udp([10, 0, 0, (number / 32) as u8], [10, 0, 0, (number % 32) as u8], (1, 2));
        assert_eq!(policy.classify(Direction::Inbound, link_type::RAW, &[], &flow).rule_id, number + 1);
    }
}

#[test]
fn so_many_rules_that_no_tree_tells_apart_that_a_packet_would_take_long_are_refused() {
    // They are in 16 leaves, one behind the other, which are as many records, and 15 nodes: 16,384 are allowed.
    assert!(compile(&alike(16_384 - 16 - 15), Action::Block).is_ok());
    assert_eq!(compile(&alike(16_384 - 16 - 14), Action::Block).unwrap_err().kind, ErrorKind::TooAlike);
}

/// As many [`alike`] rules as `count` for each of two names.
fn alike_for(names: [&str; 2], count: u32) -> Vec<Rule> {
    let mut rules = Vec::new();
    for name in names {
        for mut rule in alike(count) {
            rule.id = rules.len() as u32 + 1;
            rule.conditions.names = vec![name.to_owned()];
            rules.push(rule);
        }
    }
    rules
}

#[test]
fn a_name_that_ends_in_several_suffixes_is_not_looked_up_for_long_either() {
    const BOTH: [&str; 2] = ["example.com", "www.example.com"];
    // Half of 16,384 records for each, with 8 leaves and 7 nodes.
    assert!(compile(&alike_for(BOTH, 8192 - 8 - 7), Action::Block).is_ok());
    assert_eq!(compile(&alike_for(BOTH, 8192 - 8 - 6), Action::Block).unwrap_err().kind, ErrorKind::TooAlike);
}

#[test]
fn a_table_in_which_such_a_name_would_take_long_is_refused() {
    let mut table = compile(&alike_for(["example.com", "www-example.com"], 8400), Action::Block).unwrap();
    assert!(Policy::new(table.as_slice()).is_ok(), "no name ends in both");
    // The second suffix becomes one that ends in the first. Both are in the one line that there is, whatever they are.
    let suffix = table.windows(15).position(|bytes| bytes == b"www-example.com").unwrap();
    table[suffix + 3] = b'.';
    assert_eq!(Policy::new(table.as_slice()).unwrap_err(), TableError::BadSuffix(0));
}

/// One rule with these names, and with protocols and ports.
fn web_of(id: u32, names: impl Iterator<Item = String>) -> Rule {
    let conditions = Conditions {
        names: names.collect(),
        protocols: vec![6, 17],
        destination_ports: vec![53..=53, 80..=80, 443..=443, 8000..=8999],
        ..Conditions::default()
    };
    Rule { id, action: RuleAction::Block, conditions }
}

/// The rule for a packet from a port to UDP port `port` whose TLS server name is `name`.
fn rule_for(policy: &Policy<Vec<u8>>, name: &str, port: u16) -> u32 {
    let flow = Flow {
        name_kind: name_kind::TLS,
        name_length: name.len() as u16,
        ..udp([10, 0, 0, 0], [1, 2, 3, 4], (1000, port))
    };
    policy.classify(Direction::Inbound, link_type::RAW, name.as_bytes(), &flow).rule_id
}

#[test]
fn a_long_list_of_names_with_protocols_and_ports_takes_little_more_than_its_text() {
    const COUNT: usize = 150_000;
    let names = |suffix: &'static str| move |number: usize| format!("host-{number}.{suffix}");
    let rules = [web_of(1, (0..COUNT).map(names("example"))), web_of(2, (COUNT / 2..COUNT).map(names("example")))];
    let table = compile(&rules, Action::Permit).unwrap();
    let text: usize = rules[0].conditions.names.iter().map(String::len).sum();
    assert!(table.len() < text + 36 * COUNT, "{} bytes for {text} bytes of names", table.len());
    let policy = Policy::new(table).unwrap();
    for number in (0..COUNT).step_by(997).chain([COUNT]) {
        let name = format!("www.host-{number}.example");
        for (port, expected) in [(53, 1), (8500, 1), (54, 0)] {
            let expected = if number < COUNT { expected } else { 0 };
            assert_eq!(rule_for(&policy, &name, port), expected, "{number} {port}");
        }
    }
}

#[test]
fn a_name_in_several_lists_is_decided_by_the_first_rule_that_matches() {
    let list = |numbers: &[u32]| numbers.iter().map(|number| format!("{number}.example")).collect::<Vec<_>>();
    let rule = |id, names: &[u32], port: u16| {
        let conditions =
            Conditions { destination_ports: vec![port..=port], names: list(names), ..Conditions::default() };
        Rule { id, action: RuleAction::Block, conditions }
    };
    let rules = [rule(1, &[1, 2, 3], 53), rule(2, &[2, 3, 4], 5353), rule(3, &[1, 3, 5], 5353), rule(4, &[3], 53)];
    let policy = Policy::new(compile(&rules, Action::Permit).unwrap()).unwrap();
    for (number, at_53, at_5353) in [(1, 1, 3), (2, 1, 2), (3, 1, 2), (4, 0, 2), (5, 0, 3), (6, 0, 0)] {
        let name = format!("{number}.example");
        assert_eq!(rule_for(&policy, &name, 53), at_53, "{number}");
        assert_eq!(rule_for(&policy, &name, 5353), at_5353, "{number}");
    }
}

#[test]
fn rules_with_too_many_combinations_are_refused_by_name() {
    let prefixes = |count: u32| {
        let prefix = |number: u32| Prefix { address: (0x0A00_0000 + number * 2).to_be_bytes().into(), length: 32 };
        (0..count).map(prefix).collect::<Vec<_>>()
    };
    let rule = |id, count, ports: u16| {
        let conditions = Conditions {
            sources: prefixes(count),
            destination_ports: (0..ports).map(|port| port * 2..=port * 2).collect(),
            ..Conditions::default()
        };
        Rule { id, action: RuleAction::Block, conditions }
    };
    let error = compile(&[rule(1, 1, 1), rule(2, 100_000, 11)], Action::Permit).unwrap_err();
    assert_eq!((error.rule, error.kind), (Some(1), ErrorKind::RuleTooLarge(1_100_000)));
    let error = compile(&[rule(1, 90_000, 6), rule(2, 90_000, 6), rule(3, 1, 1)], Action::Permit).unwrap_err();
    assert_eq!((error.rule, error.kind), (Some(1), ErrorKind::TooManyCombinations));
    // Up to 1,048,576 entries are taken, of one rule and of all: what is wrong then is the next rule.
    let unreadable = Conditions { names: vec!["..".into()], ..Conditions::default() };
    let unreadable = Rule { id: 9, action: RuleAction::Block, conditions: unreadable };
    for rules in [vec![rule(1, 65_536, 16)], vec![rule(1, 65_536, 15), rule(2, 65_536, 1)]] {
        let error = compile(&[rules.as_slice(), slice::from_ref(&unreadable)].concat(), Action::Permit).unwrap_err();
        assert_eq!(error.rule, Some(rules.len()), "{:?}", error.kind);
    }
    // One without addresses has an entry for each port in IPv4 and in IPv6, and one more for all else: 15, and 17.
    for (ports, refused) in [(7, 2), (8, 1)] {
        let rules = [rule(1, 65_535, 16), rule(2, 0, ports), unreadable.clone()];
        assert_eq!(compile(&rules, Action::Permit).unwrap_err().rule, Some(refused), "{ports} ports");
    }
}

#[test]
fn rules_that_name_the_same_hosts_in_too_many_combinations_are_refused_by_name() {
    const NAMES: u32 = 16;
    // One rule on all the names and on `sources` addresses, and one more on each name.
    let rules = |action, sources: u32| {
        let address = |number: u32| Prefix { address: (0x0A00_0000 + number * 2).to_be_bytes().into(), length: 32 };
        let rule = |sources: u32, names: std::ops::Range<u32>| {
            let names = names.map(|name| format!("{name}.example")).collect();
            let conditions =
                Conditions { names, sources: (0..sources).map(address).collect(), ..Conditions::default() };
            Rule { id: 1, action, conditions }
        };
        let each = (0..NAMES).map(|name| rule(1, name..name + 1));
        iter::once(rule(sources, 0..NAMES)).chain(each).collect::<Vec<_>>()
    };
    // 16 names of 65,535 + 1 entries are as many as are taken, of the rules that decide and of those that observe.
    let most = rules(RuleAction::Block, 65_535);
    for (rules, refused) in
        [(rules(RuleAction::Block, 65_536), 0), ([most.clone(), rules(RuleAction::Count, 65_536)].concat(), most.len())]
    {
        let error = compile(&rules, Action::Permit).unwrap_err();
        assert_eq!((error.rule, error.kind), (Some(refused), ErrorKind::TooManyOverlaps));
    }
}

#[test]
fn as_many_rules_as_are_allowed_are_compiled_and_found() {
    let rules: Vec<Rule> = (1..=200_000)
        .map(|id: u32| {
            let source = Prefix { address: IpAddr::from((0x0A00_0000 + id).to_be_bytes()), length: 32 };
            Rule {
                id,
                action: RuleAction::Block,
                conditions: Conditions { sources: vec![source], ..Conditions::default() },
            }
        })
        .collect();
    let policy = Policy::new(compile(&rules, Action::Permit).unwrap()).unwrap();
    for id in [1, 2, 99_999, 200_000_u32] {
        let flow = udp((0x0A00_0000 + id).to_be_bytes(), [1, 2, 3, 4], (1, 2));
        assert_eq!(policy.classify(Direction::Inbound, link_type::RAW, &[], &flow).rule_id, id);
    }
    let too_many: Vec<Rule> = rules.iter().chain(&rules[..1]).cloned().collect();
    assert_eq!(compile(&too_many, Action::Permit).unwrap_err().kind, ErrorKind::TooManyRules(200_001));
}

/// A table with something in every section.
fn full_table() -> Vec<u8> {
    let rng = &mut Rng::with_seed(1);
    let rules: Vec<Rule> = (1..=150).map(|id| rule(rng, id, EVERYTHING)).collect();
    compile(&rules, Action::Block).unwrap()
}

#[test]
fn a_table_that_was_cut_is_refused() {
    let table = full_table();
    for length in (0..table.len()).step_by(61) {
        assert!(Policy::new(&table[..length]).is_err(), "{length} bytes of {}", table.len());
    }
    let mut longer = table;
    longer.push(0);
    assert!(matches!(Policy::new(&longer), Err(TableError::WrongSize { .. })));
}

#[test]
fn bytes_that_are_no_table_are_refused() {
    assert_eq!(Policy::new(b"[[rule]]").unwrap_err(), TableError::NotATable);
    assert_eq!(Policy::new([0; 64]).unwrap_err(), TableError::NotATable);
    let mut table = full_table();
    table[4] = 1;
    assert_eq!(Policy::new(&table).unwrap_err(), TableError::UnknownVersion(1));
}

#[test]
fn a_filter_that_would_read_what_is_not_its_own_is_refused() {
    let sources = (0..20).map(|last| Prefix { address: [10, 0, 0, last].into(), length: 32 });
    let rules: Vec<Rule> = sources
        .zip(1..)
        .map(|(source, id)| Rule {
            id,
            action: RuleAction::Block,
            conditions: Conditions { sources: vec![source], ..Conditions::default() },
        })
        .collect();
    let table = compile(&rules, Action::Permit).unwrap();
    // The section is the last, and the filter the only one in it, behind 16 bytes (docs/policy-table.md).
    let words = u32::from_le_bytes(*table[48..].first_chunk().unwrap());
    let section = table.len() - (words as usize * 4).next_multiple_of(64);
    let refused = |at: usize, byte: u8| {
        let mut table = table.clone();
        table[section + 16 + at] = byte;
        matches!(Policy::new(&table), Err(TableError::BadNode(0)))
    };
    let (places, unused) = (0, 8);
    assert!(!refused(places, 15) && refused(places, 16), "the key of an IPv4 packet has 16 bytes");
    assert!(refused(unused, 1) && refused(unused + 7, 1));
    // A section that ends a word too early. That word, of a set, is one of the gap then.
    let mut short = table.clone();
    short[section + (words as usize - 1) * 4..].fill(0);
    short[48..52].copy_from_slice(&(words - 1).to_le_bytes());
    assert_eq!(Policy::new(&short).unwrap_err(), TableError::BadNode(0));
}

#[test]
fn a_table_with_a_changed_byte_is_refused_or_answers_within_its_limits() {
    let table = full_table();
    // Behind that is a gap, where any change is refused.
    let used = table.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let rng = &mut Rng::with_seed(2);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..4000 {
        let mut changed = table.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(0..used);
            changed[at] ^= 1 << rng.u8(0..8);
        }
        match Policy::new(&changed) {
            Err(_) => refused += 1,
            Ok(policy) => {
                accepted += 1;
                for _ in 0..4 {
                    let (bytes, flow) = packet(rng);
                    let decision = policy.classify(Direction::Inbound, link_type::RAW, &bytes, &flow);
                    assert!(decision.rule_id != 0 || decision.action == policy.default_action());
                }
            }
        }
    }
    assert!(refused > 0 && accepted > 0, "{refused} refused, {accepted} accepted");
}
