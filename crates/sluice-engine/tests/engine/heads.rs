//! A packet that is shown by its head is judged, counted, logged, tried and kept as one that is shown whole, wherever
//! it is cut.

use std::mem::MaybeUninit;

use fastrand::Rng;
use nmr_registrar::Session;
use sluice_control::code;
use sluice_control::message::{DryRunStatus, PacketRecord, RuleCounter, counted_policy};
use sluice_control::status::STATUS_SUCCESS;
use sluice_core::compile::{Conditions, Content, Rule, compile};
use sluice_core::{Action, RuleAction};
use sluice_engine::DEFAULT_ASSEMBLY_MEMORY;
use sluice_npi::{CallSluice, Flow, PacketRef, Statistics, Verdict, action, direction, flags, link_type};

use crate::host::{Registered, attach, load, passive, start_assembling};
use crate::observe::{change, counters, dry_run, log};
use crate::packets::{client_hello, extension, ipv4, ipv4_with, ipv6, query, server_name, tcp, udp};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Everything that depends on what was shown. Which packets a dry run keeps as samples also depends on what else is in
/// a call.
#[derive(Debug, PartialEq)]
struct Seen {
    verdicts: Vec<Verdict>,
    statistics: Statistics,
    rules: (Vec<RuleCounter>, u64),
    tried_rules: (Vec<RuleCounter>, u64),
    records: Vec<PacketRecord>,
    dry_run: DryRunStatus,
}

fn rules(rng: &mut Rng) -> Vec<u8> {
    let conditions = [
        Conditions { names: vec!["bad.example".into()], ..Conditions::default() },
        Conditions { name_missing: Some(true), ..Conditions::default() },
        Conditions { name_pending: Some(true), ..Conditions::default() },
        Conditions { destination_ports: vec![443..=443], ..Conditions::default() },
        Conditions { protocols: vec![17], ..Conditions::default() },
        Conditions { malformed: Some(true), ..Conditions::default() },
        Conditions { truncated: Some(true), ..Conditions::default() },
        Conditions { quic: Some(true), ..Conditions::default() },
        Conditions { tunnel: Some(Content::Any), ..Conditions::default() },
        Conditions { inner: true, destination_ports: vec![80..=80], ..Conditions::default() },
        Conditions { ip_version: Some(6), ..Conditions::default() },
        Conditions { source_ports: vec![50_000..=50_002], ..Conditions::default() },
    ];
    let actions = [RuleAction::Permit, RuleAction::Block, RuleAction::Count, RuleAction::Count, RuleAction::Log];
    let rules: Vec<Rule> = (1..=rng.u32(1..16))
        .map(|id| Rule { id, action: actions[rng.usize(..5)], conditions: conditions[rng.usize(..12)].clone() })
        .collect();
    compile(&rules, if rng.bool() { Action::Permit } else { Action::Block }).expect("the rules are right")
}

fn bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| rng.u8(..)).collect()
}

/// A conversation that names a host, in segments that come in any order, some of them twice.
fn conversation(rng: &mut Rng, packets: &mut Vec<Vec<u8>>) {
    let padding = vec![9; rng.usize(..600)];
    let name = server_name(if rng.bool() { b"bad.example" } else { b"good.example" });
    let (mut stream, port) = match rng.u8(..3) {
        0 => (client_hello(&[extension(51, &padding), name].concat()), 443),
        1 => {
            let padding = "a".repeat(padding.len());
            (format!("GET /{padding} HTTP/1.1\r\nHost: bad.example\r\n\r\n").into_bytes(), 80)
        }
        _ => ([(query().len() as u16).to_be_bytes().as_slice(), &query()].concat(), 53),
    };
    let data = rng.usize(..2000);
    stream.extend(bytes(rng, data));
    let ports = (50_000 + rng.u16(..4), port);
    let mut segments = vec![(SYN, 6_u32, Vec::new())];
    let mut start = 0;
    while start < stream.len() {
        let end = (start + 1 + rng.usize(..600)).min(stream.len());
        segments.push((ACK, 7 + start as u32, stream[start..end].to_vec()));
        start = end;
    }
    for _ in 0..rng.usize(..3) {
        let (from, to) = (rng.usize(..segments.len()), rng.usize(..segments.len()));
        if rng.bool() {
            segments.swap(from, to);
        } else {
            segments.insert(to, segments[from].clone());
        }
    }
    let is_v6 = rng.u8(..4) == 0;
    for (tcp_flags, number, payload) in segments {
        let mut segment = tcp(ports, tcp_flags, &payload);
        segment[4..8].copy_from_slice(&number.to_be_bytes());
        packets.push(if is_v6 { ipv6(6, &segment) } else { ipv4(6, &segment) });
    }
}

/// A packet of some other kind.
fn other(rng: &mut Rng) -> Vec<u8> {
    let length = rng.usize(..1400);
    let payload = bytes(rng, length);
    let ports = (rng.u16(..), [443, 53, 80, 4789, 500, 8080, 8081, 8082][rng.usize(..8)]);
    let source_port = if rng.u8(..4) == 0 { 50_000 + rng.u16(..4) } else { rng.u16(40_000..) };
    let segment = tcp((source_port, ports.1), ACK, &payload);
    let mut packet = match rng.u8(..20) {
        0 => ipv4(17, &udp(ports, &payload)),
        1 => ipv6(17, &udp(ports, &payload)),
        2 => ipv4(17, &udp((50_000, 443), &[[0xC0, 0, 0, 0, 1, 8].as_slice(), &payload].concat())),
        3 => ipv4(17, &udp(ports, &[query(), payload].concat())),
        4 => ipv4(
            17,
            &udp(
                (1, 4789),
                &[[8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0].as_slice(), &ipv4(6, &segment)]
                    .concat(),
            ),
        ),
        5 => ipv4(rng.u8(..), &payload),
        6 => ipv6(rng.u8(..), &payload),
        7 => ipv4_with(6, &[], rng.u16(..), &segment),
        8 => ipv4_with(6, &[1, 1, 1, 1], 0, &segment),
        9 | 10 => ipv6(6, &segment),
        _ => ipv4(6, &segment),
    };
    // Something that contradicts the rest, or is behind its end.
    match rng.u8(..8) {
        0 => {
            let place = rng.usize(..packet.len().min(60));
            packet[place] ^= 1 << rng.u8(..8);
        }
        1 => packet.truncate(rng.usize(20..=packet.len())),
        2 => packet.extend([0xEE; 9]),
        _ => {}
    }
    packet
}

fn shown(packet: &[u8], length: usize) -> PacketRef<'_> {
    let found = PacketRef::new(link_type::RAW, direction::OUTBOUND, &packet[..length], packet.len() as u32).unwrap();
    if length < packet.len() { found.as_head() } else { found }
}

/// How often something came up.
#[derive(Debug, Default)]
struct Count {
    by_head: usize,
    asked_for: usize,
}

/// Has packets judged, of which each is cut at its place first, and shown whole if Sluice asks.
fn judged(client: &Registered, packets: &[Vec<u8>], cuts: &[usize], count: &mut Count) -> Vec<Verdict> {
    let sluice = client.providers().next().expect("attached");
    let mut refs: Vec<_> = packets.iter().zip(cuts).map(|(packet, cut)| shown(packet, *cut)).collect();
    let mut verdicts = Vec::new();
    while verdicts.len() < packets.len() {
        let done = verdicts.len();
        let mut room = vec![MaybeUninit::uninit(); packets.len() - done];
        let answered = sluice.classify(&refs[done..], &mut room).expect("packets that are in order");
        let decided = answered.iter().position(|verdict| verdict.flow.has(flags::UNDECIDED));
        let (decided, undecided) = answered.split_at(decided.unwrap_or(answered.len()));
        verdicts.extend_from_slice(decided);
        count.by_head += refs[done..verdicts.len()].iter().filter(|packet| packet.is_head()).count();
        for verdict in undecided {
            // Whoever takes it for a decision blocks the packet.
            let flow = Flow { flags: flags::UNDECIDED, ..Flow::default() };
            assert_eq!((verdict.action, verdict.rule_id, verdict.flow), (action::BLOCK, 0, flow));
        }
        if let Some(place) = refs.get_mut(verdicts.len()) {
            assert!(place.is_head(), "all of it was shown");
            *place = shown(&packets[verdicts.len()], packets[verdicts.len()].len());
            count.asked_for += 1;
        }
    }
    verdicts
}

/// What is seen of lists of packets, each with the places at which its packets are cut.
fn seen(tables: &[Vec<u8>; 2], lists: &[(Vec<Vec<u8>>, Vec<usize>)], count: &mut Count) -> Seen {
    let _session = Session::new();
    let engine = start_assembling(DEFAULT_ASSEMBLY_MEMORY);
    let client = attach("client");
    assert_eq!(load(&engine, &tables[0], 0), STATUS_SUCCESS);
    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_START, &tables[1], 0), STATUS_SUCCESS);
    let verdicts = lists.iter().flat_map(|(packets, cuts)| judged(&client, packets, cuts, count)).collect();
    let counted = |policy| {
        let (fixed, rules) = counters(&engine, policy, 0, 100).unwrap();
        (rules, fixed.default_packets)
    };
    let seen = Seen {
        verdicts,
        statistics: client.providers().next().expect("attached").query_statistics().unwrap(),
        rules: counted(counted_policy::IN_FORCE),
        tried_rules: counted(counted_policy::DRY_RUN),
        records: log(&engine, 0, 4096).1,
        dry_run: DryRunStatus { samples_total: 0, samples_listed: 0, ..dry_run(&engine).unwrap().0 },
    };
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
    seen
}

#[test]
fn a_packet_that_is_shown_by_its_head_is_treated_as_one_that_is_shown_whole() {
    let mut count = Count::default();
    let (mut named, mut recorded) = (0, 0);
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let tables = [rules(&mut rng), rules(&mut rng)];
        let mut packets = Vec::new();
        while packets.len() < 120 {
            if rng.u8(..8) == 0 {
                conversation(&mut rng, &mut packets);
            } else {
                packets.push(other(&mut rng));
            }
        }
        let mut lists = Vec::new();
        while !packets.is_empty() {
            let list: Vec<_> = packets.drain(..rng.usize(1..=packets.len().min(40))).collect();
            let cuts = list.iter().map(|packet| match rng.u8(..4) {
                0 => packet.len(),
                1 => rng.usize(..=packet.len()),
                // As gate.sys does, and a little more or less.
                _ => rng.usize(40..100).min(packet.len()),
            });
            let cuts = cuts.collect();
            lists.push((list, cuts));
        }
        let by_heads = seen(&tables, &lists, &mut count);
        for (packets, cuts) in &mut lists {
            *cuts = packets.iter().map(Vec::len).collect();
        }
        let whole = seen(&tables, &lists, &mut Count::default());
        for (number, (by_head, whole)) in by_heads.verdicts.iter().zip(&whole.verdicts).enumerate() {
            assert_eq!(by_head, whole, "seed {seed}, packet {number}");
        }
        assert_eq!(by_heads, whole, "seed {seed}");
        let flows = || whole.verdicts.iter().map(|verdict| verdict.flow);
        named += flows().filter(|flow| flow.has(flags::NAME_ASSEMBLED) && flow.name_length > 0).count();
        recorded += whole.records.len();
    }
    // That all of it came up.
    let all = (count.by_head > 500, count.asked_for > 500, named > 20, recorded > 50);
    assert_eq!(all, (true, true, true, true), "{count:?}, {named} names put together, {recorded} records");
}
