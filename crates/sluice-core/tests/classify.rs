//! All of what sluice.sys does with packets: what is parsed and what is decided come together in the verdicts.

mod common;

use common::packets::{client_hello, ipv4, name, server_name, tcp};
use sluice_core::compile::{Conditions, Rule, compile};
use sluice_core::{
    Action, CapturedPacket, Decision, Direction, NameText, Observer, Policy, RuleAction, UnknownLinkType, classify,
    classify_observed, look_up_again, parse, parse_with_name,
};
use sluice_npi::{Flow, Header, Verdict, action, direction, flags, link_type};

/// An IPv4 packet that carries UDP to a port.
fn udp4(port: u8) -> Vec<u8> {
    vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 68, 0, port, 0, 8, 0, 0]
}

/// The same over IPv6.
fn udp6(port: u8) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
    packet.extend([0xFD; 32]);
    packet.extend([0, 68, 0, port, 0, 8, 0, 0]);
    packet
}

/// Ports of one half are blocked, each by a rule of its number.
fn policy() -> Policy<Vec<u8>> {
    let rules: Vec<Rule> = (1..=100)
        .map(|port| Rule {
            id: port.into(),
            action: RuleAction::Block,
            conditions: Conditions { destination_ports: vec![port..=port], ..Conditions::default() },
        })
        .collect();
    Policy::new(compile(&rules, Action::Permit).unwrap()).unwrap()
}

fn packet(bytes: &[u8]) -> CapturedPacket<'_> {
    CapturedPacket {
        direction: Direction::Inbound,
        link_type: link_type::RAW,
        wire_length: bytes.len() as u32,
        bytes,
        is_head: false,
    }
}

/// What nobody writes.
const UNTOUCHED: u16 = 0xABCD;

fn untouched() -> Verdict {
    Verdict { action: UNTOUCHED, ..Verdict::default() }
}

#[test]
fn every_packet_of_a_batch_gets_its_own_verdict() {
    let policy = policy();
    // Runs of each IP version, and things that are no packets.
    let frames: Vec<Vec<u8>> = (0..=200_u8)
        .map(|port| match port % 23 {
            0 => Vec::new(),
            1 => vec![0xFF; 30],
            2..12 => udp4(port),
            12 | 14 | 16 => udp6(port),
            13 | 15 => udp4(port),
            _ => udp6(port),
        })
        .collect();
    for length in (1..40).chain([frames.len()]) {
        for batch in frames.chunks(length) {
            let mut verdicts = vec![untouched(); batch.len()];
            classify(&policy, 7, batch.iter().map(|bytes| packet(bytes)), &mut verdicts).unwrap();
            for (bytes, verdict) in batch.iter().zip(verdicts) {
                let flow = parse(link_type::RAW, bytes, bytes.len() as u32).unwrap();
                let blocked = (1..=100).contains(&flow.destination_port);
                assert_eq!(verdict.rule_id, if blocked { flow.destination_port.into() } else { 0 });
                assert_eq!(verdict.action, if blocked { action::BLOCK } else { action::PERMIT });
                assert_eq!((verdict.generation, verdict.flow), (7, flow));
                assert_eq!(verdict.header, Header::of::<Verdict>());
            }
        }
    }
}

#[test]
fn as_many_verdicts_are_written_as_there_are_packets_and_places() {
    let policy = policy();
    let bytes = udp4(1);
    for (packets, places) in [(0, 3), (3, 0), (3, 20), (20, 3), (9, 8), (8, 9)] {
        let mut verdicts = vec![untouched(); places];
        classify(&policy, 1, (0..packets).map(|_| packet(&bytes)), &mut verdicts).unwrap();
        let written = verdicts.iter().take_while(|verdict| verdict.action == action::BLOCK).count();
        assert_eq!(written, packets.min(places));
        assert!(verdicts[written..].iter().all(|verdict| verdict.action == UNTOUCHED));
    }
}

#[test]
fn an_unknown_link_type_anywhere_leaves_everything_as_it_was() {
    let policy = policy();
    let bytes = udp4(1);
    for at in 0..20 {
        let link = |index| if index == at { 2 } else { link_type::RAW };
        let packets = (0..20).map(|index| CapturedPacket { link_type: link(index), ..packet(&bytes) });
        let mut verdicts = vec![untouched(); 20];
        assert_eq!(classify(&policy, 1, packets, &mut verdicts), Err(UnknownLinkType(2)));
        assert_eq!(verdicts, vec![untouched(); 20]);
    }
}

/// A TCP segment to port 443 with a TLS hello for a host, in one record, or in two: then the name is in no one place.
fn hello(port: u16, host: &str, records: usize) -> Vec<u8> {
    let mut hello = client_hello(&server_name(host.as_bytes()));
    if records == 2 {
        let cut = hello.windows(host.len()).position(|bytes| bytes == host.as_bytes()).unwrap() + 3;
        let second = ((hello.len() - cut) as u16).to_be_bytes();
        hello[3..5].copy_from_slice(&(cut as u16 - 5).to_be_bytes());
        hello.splice(cut..cut, [22, 3, 1, second[0], second[1]]);
    }
    ipv4(6, &tcp((port, 443), 0x18, &hello))
}

/// Rules for `bad.example` that count and block, and between them one for the port that logs.
fn by_name() -> [Rule; 3] {
    let named = Conditions { names: vec!["bad.example".into()], ..Conditions::default() };
    let https = Conditions { destination_ports: vec![443..=443], ..Conditions::default() };
    [
        Rule { id: 10, action: RuleAction::Count, conditions: named.clone() },
        Rule { id: 20, action: RuleAction::Log, conditions: https },
        Rule { id: 30, action: RuleAction::Block, conditions: named },
    ]
}

/// Packets of all kinds, which their source ports number: with a name in one place, in two, and without.
fn with_names() -> [Vec<u8>; 7] {
    [
        udp4(9),
        hello(1, "bad.example", 2),
        hello(2, "good.example", 1),
        hello(3, "bad.example", 1),
        hello(4, "good.example", 2),
        hello(5, "www.bad.example", 2),
        udp4(9),
    ]
}

#[test]
fn an_observer_is_told_which_rules_match_which_packet_under_which_name() {
    /// Source ports and what is said of them.
    #[derive(Default)]
    struct Told {
        parsed: Vec<u16>,
        decided: Vec<u32>,
        observed: Vec<(u16, u32, Vec<u8>, Decision)>,
        named: Vec<(u16, usize, u32, Vec<u8>)>,
    }
    impl Observer for Told {
        fn parsed(&mut self, _: &CapturedPacket<'_>, flow: &mut Flow, _: &mut Option<NameText>) {
            self.parsed.push(flow.source_port);
        }
        fn decided(&mut self, rule: u32) {
            self.decided.push(rule);
        }
        fn observed(&mut self, rule: u32, packet: &CapturedPacket<'_>, flow: &Flow, decision: Decision) {
            self.observed.push((flow.source_port, rule, name(flow, packet.bytes).to_vec(), decision));
        }
        fn named(&mut self, packet: &CapturedPacket<'_>, verdict: &Verdict, name: &NameText) {
            let named = (verdict.flow.source_port, packet.bytes.len(), verdict.rule_id, name.as_bytes().to_vec());
            self.named.push(named);
        }
    }
    let policy = Policy::new(compile(&by_name(), Action::Permit).unwrap()).unwrap();
    let packets = with_names();
    let mut told = Told::default();
    let mut verdicts = vec![untouched(); packets.len()];
    let captured = packets.iter().map(|bytes| packet(bytes));
    classify_observed(&policy, 1, captured, &mut verdicts, &mut told).unwrap();
    assert_eq!(verdicts.iter().map(|verdict| verdict.rule_id).collect::<Vec<_>>(), [0, 30, 0, 30, 0, 30, 0]);
    assert_eq!(told.parsed, [68, 1, 2, 3, 4, 5, 68]);
    // Three stands for none of the three.
    assert_eq!(told.decided, [3, 2, 3, 2, 3, 2, 3]);
    told.observed.sort_by_key(|(port, rule, ..)| (*port, *rule));
    let [blocked, permitted] =
        [(Action::Block, 30), (Action::Permit, 0)].map(|(action, rule_id)| Decision { action, rule_id });
    let seen = |port, rule, name: &str, decision| (port, rule, name.as_bytes().to_vec(), decision);
    let expected = [
        seen(1, 0, "bad.example", blocked),
        seen(1, 1, "bad.example", blocked),
        seen(2, 1, "good.example", permitted),
        seen(3, 0, "bad.example", blocked),
        seen(3, 1, "bad.example", blocked),
        seen(4, 1, "good.example", permitted),
        seen(5, 0, "www.bad.example", blocked),
        seen(5, 1, "www.bad.example", blocked),
    ];
    assert_eq!(told.observed, expected);
    let named = |port, at: usize, rule, name: &str| (port, packets[at].len(), rule, name.as_bytes().to_vec());
    let expected = [named(1, 1, 30, "bad.example"), named(4, 4, 0, "good.example"), named(5, 5, 30, "www.bad.example")];
    assert_eq!(told.named, expected);
}

#[test]
fn packets_that_are_looked_up_again_get_what_the_other_policy_decides() {
    let policy = Policy::new(compile(&by_name(), Action::Permit).unwrap()).unwrap();
    let packets = with_names();
    let captured = || packets.iter().map(|bytes| packet(bytes));
    let mut verdicts = vec![untouched(); packets.len()];
    classify(&Policy::block_everything([0_u8; 0]), 1, captured(), &mut verdicts).unwrap();
    let again = |which: std::ops::Range<usize>, text: Option<&NameText>| {
        let mut seen = Vec::new();
        let captured = captured().skip(which.start);
        look_up_again(&policy, captured, &verdicts[which], text, |packet, verdict, decision, rule| {
            let flow = &verdict.flow;
            let name = String::from_utf8(name(flow, packet.bytes).to_vec()).unwrap();
            seen.push((flow.source_port, name, decision.rule_id, rule));
        });
        seen
    };
    let said = |port, name: &str, id, rule| (port, name.to_owned(), id, rule);
    // The names of the others are not known any more.
    let expected =
        [said(68, "", 0, 3), said(2, "good.example", 0, 3), said(3, "bad.example", 30, 2), said(68, "", 0, 3)];
    assert_eq!(again(0..packets.len(), None), expected);
    assert_eq!(again(1..3, None), expected[1..2]);
    for (at, host, id, rule) in [(1, "bad.example", 30, 2), (4, "good.example", 0, 3), (5, "www.bad.example", 30, 2)] {
        let (mut flow, mut text) = (Flow::default(), None);
        let length = packets[at].len() as u32;
        parse_with_name(link_type::RAW, &packets[at], length, &mut flow, &mut text).unwrap();
        assert!(flow.has(flags::NAME_ASSEMBLED));
        assert_eq!(again(at..at + 1, text.as_ref()), [said(at as u16, host, id, rule)]);
    }
}

/// What has a number, of all that there are.
fn numbered<T>(from_number: fn(u16) -> Option<T>) -> Vec<(u16, T)> {
    (0..=u16::MAX).filter_map(|number| Some((number, from_number(number)?))).collect()
}

#[test]
fn what_has_a_number_has_the_one_of_the_contract_and_no_other_number_means_anything() {
    let actions = numbered(Action::from_number);
    assert_eq!(actions, [(action::PERMIT, Action::Permit), (action::BLOCK, Action::Block)]);
    assert!(actions.iter().all(|(number, action)| action.number() == *number));
    let directions = numbered(Direction::from_number);
    let expected = [
        (direction::UNSPECIFIED, Direction::Unspecified),
        (direction::INBOUND, Direction::Inbound),
        (direction::OUTBOUND, Direction::Outbound),
    ];
    assert_eq!(directions, expected);
    assert!(directions.iter().all(|(number, direction)| direction.number() == *number));
    let rules = numbered(RuleAction::from_number);
    let expected = [(1, RuleAction::Permit), (2, RuleAction::Block), (3, RuleAction::Count), (4, RuleAction::Log)];
    assert_eq!(rules, expected);
    assert!(rules.iter().all(|(number, action)| action.number() == *number));
}

#[test]
fn a_rule_permits_and_blocks_as_actions_do_and_counting_and_logging_decide_nothing() {
    let known = [("permit", Some(Action::Permit)), ("block", Some(Action::Block)), ("count", None), ("log", None)];
    let rules = numbered(RuleAction::from_number);
    assert_eq!(rules.iter().map(|(_, rule)| (rule.name(), rule.decision())).collect::<Vec<_>>(), known);
    for (_, rule) in rules {
        assert!(rule.decision().is_none_or(|action| RuleAction::from(action) == rule));
        assert!(RuleAction::NAMES.contains(&(rule, rule.name())));
    }
}

mod heads {
    use std::iter::zip;

    use super::common::packets::{client_hello, ethernet, ipv4, ipv4_with, ipv6, query, server_name, tcp, udp};
    use super::*;
    use sluice_core::{Decision, NameText, Observer, classify_observed};
    use sluice_npi::{Flow, flags};

    /// Bytes that begin nothing that names a host.
    const DATA: [u8; 200] = [0x17; 200];

    fn head(link_type: u16, packet: &[u8], length: usize) -> CapturedPacket<'_> {
        let (direction, wire_length) = (Direction::Inbound, packet.len() as u32);
        CapturedPacket { direction, link_type, wire_length, bytes: &packet[..length], is_head: true }
    }

    /// What is decided about one packet, if it is.
    fn decided(shown: CapturedPacket<'_>) -> Option<Flow> {
        let mut verdict = [untouched()];
        let policy = Policy::permit_everything([0; 0]);
        let undecided = classify_observed(&policy, 7, [shown].into_iter(), &mut verdict, &mut ()).unwrap();
        assert_eq!(undecided == 1, verdict[0].flow.has(flags::UNDECIDED));
        (undecided == 0).then_some(verdict[0].flow)
    }

    #[test]
    fn a_packet_is_decided_by_its_headers_and_the_first_byte_of_its_payload() {
        let with_timestamps = {
            let mut segment = tcp((5000, 6000), 0x18, &[[0x01; 12].as_slice(), &DATA].concat());
            segment[12] = 0x80;
            segment
        };
        let plain = [tcp((5000, 6000), 0x18, &DATA), with_timestamps, udp((5000, 6000), &DATA), vec![0x17; 60]];
        for (transport, (protocol, headers)) in zip(&plain, [(6, 20), (6, 32), (17, 8), (50, 0)]) {
            let (v4, v6) = (ipv4(protocol, transport), ipv6(protocol, transport));
            let shown = [
                (link_type::IPV4, 20, v4.clone()),
                (link_type::RAW, 20, v4.clone()),
                (link_type::IPV6, 40, v6.clone()),
                (link_type::RAW, 40, v6.clone()),
                (link_type::ETHERNET, 34, ethernet(0x0800, &v4)),
                (link_type::ETHERNET, 54, ethernet(0x86DD, &v6)),
            ];
            for (link, ip, packet) in shown {
                let whole = parse(link, &packet, packet.len() as u32).unwrap();
                // Twenty bytes behind the header of IP are there in every packet that is worth it.
                let needed = (ip + headers + 1).max(ip + 20);
                for length in 0..packet.len() {
                    let expected = (length >= needed).then_some(whole);
                    assert_eq!(decided(head(link, &packet, length)), expected, "{protocol}, {link}, {length} bytes");
                }
            }
        }
    }

    #[test]
    fn of_a_packet_whose_rest_would_be_looked_at_it_is_asked_for() {
        let hello = client_hello(&server_name(b"bad.example"));
        let long_name = [hello.clone(), vec![0; 60]].concat();
        let (data, syn) = (tcp((5000, 6000), 0x18, &DATA), tcp((5000, 6000), 0x02, &DATA));
        let mut quic = vec![0xC0, 0, 0, 0, 1];
        quic.extend(DATA);
        let mut zero_length = ipv4(6, &data);
        zero_length[2..4].fill(0);
        let mut short = ipv4(6, &data);
        short[3] -= 1;
        let mut too_long = ipv4(6, &data);
        too_long[3] += 1;
        let tagged = ethernet(0x8100, &[&[0, 7, 8, 0], ipv4(6, &data).as_slice()].concat());
        let raw = link_type::RAW;
        for (what, link, packet, is_decided) in [
            ("data", raw, ipv4(6, &data), true),
            ("an opening segment, which only an assembler asks for", raw, ipv4(6, &syn), true),
            ("a trailer", raw, short, true),
            ("a hello", raw, ipv4(6, &tcp((5000, 443), 0x18, &long_name)), false),
            ("a request", raw, ipv4(6, &tcp((5000, 80), 0x18, &[b"GET /".as_slice(), &DATA].concat())), false),
            ("another word", raw, ipv4(6, &tcp((5000, 80), 0x18, &[b"GET/ /".as_slice(), &DATA].concat())), true),
            (
                "a word behind lines",
                raw,
                ipv4(6, &tcp((5000, 80), 0x18, &[b"\r\n\r\nG\0".as_slice(), &DATA].concat())),
                true,
            ),
            ("a word that is cut", raw, ipv4(6, &tcp((5000, 80), 0x18, &[b'A'; 200])), false),
            (
                "another word on the port of DNS",
                raw,
                ipv4(6, &tcp((53, 80), 0x18, &[b"A(".as_slice(), &DATA].concat())),
                false,
            ),
            ("a question", raw, ipv4(17, &udp((5000, 53), &[query(), DATA.to_vec()].concat())), false),
            ("a question over TCP", raw, ipv4(6, &tcp((5000, 53), 0x18, &DATA)), false),
            ("QUIC", raw, ipv4(17, &udp((5000, 443), &quic)), false),
            ("VXLAN", raw, ipv4(17, &udp((5000, 4789), &DATA)), false),
            ("IP in IP", raw, ipv4(4, &ipv4(6, &data)), false),
            ("a datagram without a payload", raw, [ipv4(17, &udp((5000, 6000), &[])), DATA.to_vec()].concat(), true),
            ("a protocol without a byte", raw, [ipv4(50, &[]), DATA.to_vec()].concat(), false),
            ("a fragment", raw, ipv4_with(6, &[], 0x2000, &data), false),
            ("options", raw, ipv4_with(6, &[1, 1, 1, 1], 0, &data), false),
            ("an extension header", raw, ipv6(60, &[&[6, 0, 1, 4, 0, 0, 0, 0], data.as_slice()].concat()), false),
            ("ICMP", raw, ipv4(1, &DATA), false),
            ("SCTP", raw, ipv4(132, &DATA), false),
            ("a length to be filled in", raw, zero_length, false),
            ("a length beyond the end", raw, too_long, false),
            ("a tag", link_type::ETHERNET, tagged, false),
            ("no IP", link_type::ETHERNET, ethernet(0x88CC, &DATA), false),
            ("another link type", link_type::NULL, [vec![2, 0, 0, 0], ipv4(6, &data)].concat(), false),
        ] {
            let flow = decided(head(link, &packet, 90));
            assert_eq!(flow.is_some(), is_decided, "{what}");
            let whole = CapturedPacket { bytes: &packet, ..head(link, &packet, 0) };
            let expected = parse(link, &packet, packet.len() as u32).unwrap();
            assert_eq!(decided(whole), Some(expected), "{what}, of which there is no more");
            assert!(flow.is_none_or(|flow| flow == expected), "{what}");
        }
    }

    /// Counts what it is told, and asks for the rest of packets to one port.
    #[derive(Default)]
    struct Seen {
        parsed: usize,
        decided: usize,
        asked: usize,
    }

    impl Observer for Seen {
        fn parsed(&mut self, _: &CapturedPacket<'_>, _: &mut Flow, _: &mut Option<NameText>) {
            self.parsed += 1;
        }

        fn looks_behind_head(&mut self, flow: &Flow) -> bool {
            self.asked += 1;
            flow.destination_port == 99
        }

        fn decided(&mut self, _: u32) {
            self.decided += 1;
        }

        fn observed(&mut self, _: u32, _: &CapturedPacket<'_>, _: &Flow, _: Decision) {}
    }

    #[test]
    fn a_call_ends_before_the_first_packet_whose_rest_is_asked_for() {
        let to = |port| ipv4(6, &tcp((5000, port), 0x18, &DATA));
        let (blocked, asked_for, policy) = (to(7), to(99), policy());
        for place in 0..40 {
            let shown = (0..40).map(|index| match index {
                _ if index == place => head(link_type::RAW, &asked_for, 60),
                // Behind it a second one, and before and behind it whole packets.
                _ if index == place + 1 => head(link_type::RAW, &asked_for, 60),
                _ if index % 3 == 0 => packet(&blocked),
                _ => head(link_type::RAW, &blocked, 60),
            });
            let mut verdicts = [untouched(); 40];
            let mut seen = Seen::default();
            let undecided = classify_observed(&policy, 7, shown, &mut verdicts, &mut seen).unwrap();
            assert_eq!((undecided, seen.decided), (40 - place, place));
            let whole = place.div_ceil(3);
            assert_eq!((seen.parsed, seen.asked), (whole, place - whole + 1));
            let flow = parse(link_type::RAW, &blocked, blocked.len() as u32).unwrap();
            let expected = Verdict { action: action::BLOCK, rule_id: 7, generation: 7, flow, ..Verdict::default() };
            assert!(verdicts[..place].iter().all(|verdict| *verdict == expected));
            let flow = Flow { flags: flags::UNDECIDED, ..Flow::default() };
            let expected = Verdict { action: action::BLOCK, generation: 7, flow, ..Verdict::default() };
            assert!(verdicts[place..].iter().all(|verdict| *verdict == expected));
        }
    }
}
