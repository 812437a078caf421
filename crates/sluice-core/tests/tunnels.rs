//! What is read of packets in packets, and what rules say about them: one test for each promise of docs/packets.md,
//! "Tunnels".

mod common;

use common::packets::{
    client_hello, ethernet, ipv4, ipv4_with, ipv6, name, ports, query, server_name, tcp, udp, whole,
};
use sluice_core::compile::{Conditions, Content, Rule, compile};
use sluice_core::{Action, CapturedPacket, Decision, Direction, Observer, Policy, RuleAction};
use sluice_core::{classify, classify_observed, parse_inner};
use sluice_npi::{Flow, Verdict, action, flags, link_type};

const PLAIN_GRE: [u8; 4] = [0, 0, 8, 0];
const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 42, 0];
const UNREAD: u32 = flags::TUNNEL | flags::TUNNEL_UNREAD;

/// The packet that all tunnels here carry.
fn carried() -> Vec<u8> {
    ipv4(6, &tcp((50_000, 445), 0x02, &[]))
}

fn vxlan(frame: &[u8]) -> Vec<u8> {
    ipv4(17, &udp((40_000, 4789), &[&VXLAN, frame].concat()))
}

fn gre(header: &[u8], payload: &[u8]) -> Vec<u8> {
    ipv4(47, &[header, payload].concat())
}

/// What is read of the innermost packet, if there is one.
fn inner_of(link: u16, packet: &[u8], wire_length: usize) -> Option<Flow> {
    let (mut flow, mut name) = (Flow::default(), None);
    parse_inner(link, packet, wire_length as u32, &mut flow, &mut name).expect("it is known").then_some(flow)
}

/// What is read of a whole packet of raw IP: outside, and inside.
fn both(packet: &[u8]) -> (Flow, Option<Flow>) {
    (whole(link_type::RAW, packet), inner_of(link_type::RAW, packet, packet.len()))
}

/// Each kind of tunnel with the same packet in it.
fn tunnels(v4: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let v6 = ipv6(6, &tcp((50_000, 445), 0x02, &[]));
    let frame = ethernet(0x0800, v4);
    let tagged = ethernet(0x8100, &[&[0, 5, 8, 0], v4].concat());
    let over = |port: u16, parts: &[&[u8]]| ipv4(17, &udp((40_000, port), &parts.concat()));
    // The first byte of PPTP's GRE has the key and the sequence number, the second the version and, here, an
    // acknowledgement.
    let pptp = [0x30, 0x81, 0x88, 0x0B, 0, 30, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2];
    vec![
        ("4in4", ipv4(4, v4)),
        ("6in4", ipv4(41, &v6)),
        ("4in6", ipv6(4, v4)),
        ("6in6", ipv6(41, &v6)),
        ("6in6 behind Destination Options", ipv6(60, &[&[41, 0, 1, 4, 0, 0, 0, 0], &v6[..]].concat())),
        ("Ethernet in IPv6", ipv6(143, &frame)),
        ("a tagged frame in IPv4", ipv4(143, &tagged)),
        ("GRE", gre(&PLAIN_GRE, v4)),
        ("GRE over IPv6", ipv6(47, &[&PLAIN_GRE, v4].concat())),
        ("GRE with IPv6", gre(&[0, 0, 0x86, 0xDD], &v6)),
        ("GRE with a checksum", gre(&[0x80, 0, 8, 0, 1, 2, 0, 0], v4)),
        ("GRE with all that is optional", gre(&[0xB0, 0, 8, 0, 1, 2, 0, 0, 3, 3, 3, 3, 4, 4, 4, 4], v4)),
        ("NVGRE", gre(&[0x20, 0, 0x65, 0x58, 0, 0, 7, 0], &frame)),
        ("GRE with a tagged frame", gre(&[0, 0, 0x65, 0x58], &tagged)),
        ("GRE with MPLS", gre(&[0, 0, 0x88, 0x47], &[&[0, 0, 0x11, 64], v4].concat())),
        ("GRE with Cisco MetaData", gre(&[0, 0, 0x89, 9], &[&[8, 0, 1, 1, 0, 1, 0, 0], v4].concat())),
        ("PPTP", gre(&pptp, &[&[0xFF, 3, 0, 0x21], v4].concat())),
        (
            "PPTP that acknowledges nothing",
            gre(&[0x30, 1, 0x88, 0x0B, 0, 30, 0, 7, 0, 0, 0, 1], &[&[0, 0x21], v4].concat()),
        ),
        ("ERSPAN I", gre(&[0, 0, 0x88, 0xBE], &frame)),
        ("ERSPAN II", gre(&[0x10, 0, 0x88, 0xBE, 0, 0, 0, 1], &[&[0x10, 1, 0, 5, 0, 0, 0, 0], &frame[..]].concat())),
        ("ERSPAN III", gre(&[0x10, 0, 0x22, 0xEB, 0, 0, 0, 1], &[&[0x20, 1][..], &[0; 10], &frame].concat())),
        (
            "ERSPAN III with a subheader",
            gre(&[0x10, 0, 0x22, 0xEB, 0, 0, 0, 1], &[&[0x20][..], &[0; 10], &[1], &[9; 8], &frame].concat()),
        ),
        ("VXLAN", vxlan(&frame)),
        ("VXLAN over IPv6", ipv6(17, &udp((1, 4789), &[&VXLAN, &frame[..]].concat()))),
        ("VXLAN with a group policy", over(4789, &[&[0x88, 0, 0, 9, 0, 0, 42, 0], &frame])),
        ("VXLAN that says that it has a frame", over(4789, &[&[0x0C, 0, 0, 3, 0, 0, 42, 0], &frame])),
        ("VXLAN on the old port", over(8472, &[&VXLAN, &frame])),
        ("VXLAN with a tagged frame", vxlan(&tagged)),
        ("VXLAN-GPE with IPv4", over(4790, &[&[0x0C, 0, 0, 1, 0, 0, 42, 0], v4])),
        ("VXLAN-GPE with IPv6", over(4790, &[&[0x0C, 0, 0, 2, 0, 0, 42, 0], &v6])),
        ("VXLAN-GPE with a frame", over(4790, &[&[0x0C, 0, 0, 3, 0, 0, 42, 0], &frame])),
        ("VXLAN-GPE with a frame by default", over(4790, &[&VXLAN, &frame])),
        (
            "VXLAN-GPE with NSH and its context",
            over(4790, &[&[0x0C, 0, 0, 4, 0, 0, 42, 0], &[0, 6, 1, 1], &[0; 20], v4]),
        ),
        (
            "VXLAN-GPE with NSH and TLVs",
            over(4790, &[&[0x0C, 0, 0, 4, 0, 0, 42, 0], &[0, 4, 2, 1], &[0; 4], &[0, 1, 2, 4, 7, 7, 7, 7], v4]),
        ),
        ("GENEVE", over(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 42, 0], &frame])),
        ("GENEVE with options", over(6081, &[&[3, 0x40, 0x65, 0x58, 0, 0, 42, 0], &[0, 1, 0x80, 2], &[7; 8], &frame])),
        ("GENEVE with IPv6", over(6081, &[&[0, 0, 0x86, 0xDD, 0, 0, 42, 0], &v6])),
        ("two tunnels", gre(&PLAIN_GRE, &vxlan(&frame))),
        ("four tunnels", ipv4(4, &gre(&PLAIN_GRE, &ipv4(4, &vxlan(&frame))))),
    ]
}

#[test]
fn the_innermost_packet_of_each_kind_of_tunnel_has_a_flow_of_its_own() {
    for (kind, packet) in tunnels(&carried()) {
        let (outer, inner) = both(&packet);
        assert_eq!(outer.flags & (UNREAD | flags::MALFORMED), flags::TUNNEL, "{kind}");
        let inner = inner.unwrap_or_else(|| panic!("{kind}: nothing inside"));
        assert_eq!((ports(&inner), inner.protocol), (Some((50_000, 445)), 6), "{kind}");
        assert_eq!(inner.flags & (UNREAD | flags::MALFORMED | flags::TRUNCATED), 0, "{kind}");
        assert!(inner.has(flags::INNER) && !outer.has(flags::INNER), "{kind}");
        assert_eq!(inner.vlan_count, u8::from(kind.contains("tagged")), "{kind}");
        // Offsets count from the start of the packet.
        let at = inner.transport_offset as usize;
        assert_eq!(packet[at..at + 4], [0xC3, 0x50, 0x01, 0xBD], "{kind}");
        let link = ethernet(if packet[0] >> 4 == 4 { 0x0800 } else { 0x86DD }, &packet);
        let framed = inner_of(link_type::ETHERNET, &link, link.len()).expect("it is there as well");
        assert_eq!(framed.transport_offset, inner.transport_offset + 14, "{kind}");
    }
}

#[test]
fn the_outer_flow_is_that_of_the_tunnel() {
    let (outer, _) = both(&vxlan(&ethernet(0x0800, &carried())));
    assert_eq!((ports(&outer), outer.protocol), (Some((40_000, 4789)), 17));
    let (outer, _) = both(&ipv4(41, &ipv6(6, &tcp((1, 2), 2, &[]))));
    assert_eq!((outer.ip_version, outer.protocol, outer.payload_offset, outer.payload_length), (4, 41, 20, 60));
}

#[test]
fn a_packet_without_a_tunnel_has_nothing_inside() {
    for packet in
        [carried(), ipv4(17, &udp((4789, 53), &query())), ipv4(50, &[1; 40]), ipv4(6, &tcp((1, 4789), 2, b"x"))]
    {
        let (outer, inner) = both(&packet);
        assert_eq!((outer.flags & UNREAD, inner), (0, None));
    }
}

#[test]
fn a_tunnel_that_cannot_be_read_says_so() {
    let v4 = carried();
    let frame = ethernet(0x0800, &v4);
    let over = |port: u16, parts: &[&[u8]]| ipv4(17, &udp((1, port), &parts.concat()));
    let five = ipv4(4, &ipv4(4, &ipv4(4, &ipv4(4, &ipv4(4, &v4)))));
    for (what, packet) in [
        ("nothing in it", ipv4(4, &[])),
        ("no frame in it", ipv6(143, &[])),
        ("half a frame in it", ipv6(143, &frame[..13])),
        (
            "Cisco MetaData with two options",
            gre(&[0, 0, 0x89, 9], &[&[8, 0, 1, 2, 0, 1, 0, 0, 0, 1, 0, 0], &v4[..]].concat()),
        ),
        ("Cisco MetaData that is cut", gre(&[0, 0, 0x89, 9], &[8, 0, 1, 1, 0, 1, 0])),
        ("a header that is cut", over(4789, &[&[8, 0, 0]])),
        ("GRE that is cut", ipv4(47, &[0, 0, 8])),
        ("GRE without its key", ipv4(47, &[0x20, 0, 8, 0, 0, 0])),
        ("GRE with routes", gre(&[0x40, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0], &v4)),
        ("GRE with routes, and none there", gre(&[0x40, 0, 8, 0], &v4)),
        ("GRE with a strict route", gre(&[0x08, 0, 8, 0], &v4)),
        ("GRE with something that keeps alive", gre(&[0, 0, 0, 0], &[1])),
        ("GRE of another version", gre(&[0, 2, 8, 0], &v4)),
        ("GRE with a number that is no EtherType", gre(&[0, 0, 0, 0xFE], &v4)),
        (
            "PPTP that is encrypted",
            gre(&[0x30, 1, 0x88, 0x0B, 0, 9, 0, 7, 0, 0, 0, 1], &[0, 0xFD, 9, 9, 9, 9, 9, 9, 9]),
        ),
        (
            "ERSPAN of another version",
            gre(&[0x10, 0, 0x88, 0xBE, 0, 0, 0, 1], &[&[0x30, 0, 0, 0, 0, 0, 0, 0], &frame[..]].concat()),
        ),
        (
            "ERSPAN III that carries no frame",
            gre(&[0x10, 0, 0x22, 0xEB, 0, 0, 0, 1], &[&[0x20, 1][..], &[0; 8], &[4, 0], &frame].concat()),
        ),
        ("PPTP without a key", gre(&[0x10, 1, 0x88, 0x0B, 0, 30, 0, 7, 0, 0, 0, 1, 0xFF, 3, 0, 0x21], &v4)),
        ("PPTP with a checksum", gre(&[0xB0, 1, 0x88, 0x0B, 0, 30, 0, 7, 0, 0, 0, 1, 0xFF, 3, 0, 0x21], &v4)),
        ("VXLAN without its mark", over(4789, &[&[0; 8], &frame])),
        (
            "VXLAN that says what follows, on the port of that which does not",
            over(4789, &[&[0x0C, 0, 0, 1, 0, 0, 1, 0], &v4]),
        ),
        ("VXLAN with a flag that has no meaning", over(4789, &[&[0x48, 0, 0, 0, 0, 0, 1, 0], &frame])),
        ("VXLAN-GPE of another version", over(4790, &[&[0x1C, 0, 0, 1, 0, 0, 1, 0], &v4])),
        ("VXLAN-GPE with an unknown protocol", over(4790, &[&[0x0C, 0, 0, 99, 0, 0, 1, 0], &v4])),
        ("GENEVE of another version", over(6081, &[&[0x40, 0, 8, 0, 0, 0, 1, 0], &v4])),
        ("GENEVE whose options reach behind its end", over(6081, &[&[0x3F, 0, 8, 0, 0, 0, 1, 0], &v4])),
        ("a later fragment", ipv4_with(47, &[], 10, &[7; 64])),
        ("a later fragment with IPv6", ipv6(44, &[&[41, 0, 0, 0x51, 0, 0, 0, 1], &[7; 64][..]].concat())),
        ("an inner packet that contradicts itself", ipv4(4, &[0x65; 30])),
        ("an inner frame that is cut", vxlan(&frame[..20])),
        ("five tunnels", five.clone()),
    ] {
        let (outer, _) = both(&packet);
        assert_eq!(outer.flags & UNREAD, UNREAD, "{what}");
    }
    // What was found up to there is given, and is a tunnel in its turn.
    let inner = inner_of(link_type::RAW, &five, five.len()).expect("the fourth is read");
    assert_eq!((inner.flags & UNREAD, inner.protocol), (UNREAD, 4));
}

#[test]
fn what_keeps_a_tunnel_alive_or_acknowledges_is_no_tunnel_that_cannot_be_read() {
    let acknowledgement = [0x20, 0x81, 0x88, 0x0B, 0, 0, 0, 7, 0, 0, 0, 1];
    for packet in [gre(&[0, 0, 0, 0], &[]), gre(&acknowledgement, &[])] {
        let (outer, inner) = both(&packet);
        assert_eq!((outer.flags & UNREAD, inner), (flags::TUNNEL, None));
    }
}

#[test]
fn a_tunnel_that_the_capture_or_a_fragment_cuts_is_read_as_far_as_it_goes() {
    for (kind, packet) in tunnels(&carried()) {
        // The inner TCP header lacks its end.
        let kept = &packet[..packet.len() - 10];
        let inner = inner_of(link_type::RAW, kept, packet.len()).unwrap_or_else(|| panic!("{kind}"));
        assert!(inner.has(flags::TRUNCATED) && !inner.has(flags::MALFORMED), "{kind}");
        assert_eq!(ports(&inner), Some((50_000, 445)), "{kind}");
        let outer = sluice_core::parse(link_type::RAW, kept, packet.len() as u32).expect("it is known");
        assert_eq!(outer.flags & UNREAD, UNREAD, "{kind}");
    }
    let first = ipv4_with(47, &[], 0x2000, &[&PLAIN_GRE, &ipv4(17, &udp((1, 53), &query()))[..24]].concat()[..24]);
    let (outer, inner) = both(&first);
    assert!(outer.has(flags::FRAGMENT) && outer.has(UNREAD));
    assert!(inner.is_some_and(|inner| inner.has(flags::TRUNCATED) && !inner.has(flags::MALFORMED)));
}

#[test]
fn an_inner_packet_that_fills_the_first_fragment_is_a_whole_one() {
    let mut datagram = udp((1, 5000), &[0; 12]);
    datagram[5] += 1;
    for (behind, is_whole) in [(0, true), (8, true), (-1, false)] {
        let inner_packet = ipv4(17, &datagram);
        let mut payload = [&PLAIN_GRE, &inner_packet[..]].concat();
        payload.resize(payload.len().strict_add_signed(behind), 0);
        let (outer, inner) = both(&ipv4_with(47, &[], 0x2000, &payload));
        let inner = inner.unwrap_or_else(|| panic!("{behind}"));
        assert!(outer.has(flags::FRAGMENT), "{behind}");
        assert_eq!(inner.has(flags::MALFORMED), is_whole, "{behind}");
    }
}

fn rule(id: u32, action: RuleAction, conditions: Conditions) -> Rule {
    Rule { id, action, conditions }
}

fn verdicts(rules: &[Rule], packets: &[Vec<u8>]) -> Vec<(u16, u32)> {
    let policy = Policy::new(compile(rules, Action::Permit).expect("it compiles")).expect("it is valid");
    let mut verdicts = vec![Verdict::default(); packets.len()];
    classify(&policy, 1, packets.iter().map(|packet| captured(packet)), &mut verdicts).expect("it is known");
    verdicts.iter().map(|verdict| (verdict.action, verdict.rule_id)).collect()
}

fn captured(bytes: &[u8]) -> CapturedPacket<'_> {
    let (direction, wire_length) = (Direction::Inbound, bytes.len() as u32);
    CapturedPacket { direction, link_type: link_type::RAW, wire_length, bytes, is_head: false }
}

fn smb() -> Conditions {
    Conditions { protocols: vec![6], destination_ports: vec![445..=445], ..Conditions::default() }
}

#[test]
fn a_rule_means_the_outer_header_unless_it_says_inner() {
    let (bare, tunnelled): (_, Vec<_>) =
        (carried(), tunnels(&carried()).into_iter().map(|(_, packet)| packet).collect());
    let outer = rule(1, RuleAction::Block, smb());
    let inner = rule(2, RuleAction::Block, Conditions { inner: true, ..smb() });
    assert_eq!(verdicts(std::slice::from_ref(&outer), std::slice::from_ref(&bare)), [(action::BLOCK, 1)]);
    assert_eq!(verdicts(std::slice::from_ref(&inner), std::slice::from_ref(&bare)), [(action::PERMIT, 0)]);
    for verdict in verdicts(std::slice::from_ref(&outer), &tunnelled) {
        assert_eq!(verdict, (action::PERMIT, 0));
    }
    for verdict in verdicts(&[outer, inner], &tunnelled) {
        assert_eq!(verdict, (action::BLOCK, 2));
    }
}

#[test]
fn rules_on_inner_packets_of_one_ip_version_alone_are_asked() {
    let packets = [ipv4(4, &carried()), ipv4(41, &ipv6(6, &tcp((50_000, 445), 0x02, &[])))];
    let of = |version| Conditions { ip_version: Some(version), inner: true, ..smb() };
    for (version, expected) in
        [(4, [(action::BLOCK, 1), (action::PERMIT, 0)]), (6, [(action::PERMIT, 0), (action::BLOCK, 1)])]
    {
        assert_eq!(verdicts(&[rule(1, RuleAction::Block, of(version))], &packets), expected, "IPv{version}");
    }
}

#[test]
fn the_first_rule_decides_whichever_header_it_means() {
    let packet = [vxlan(&ethernet(0x0800, &carried()))];
    let inner = |id| rule(id, RuleAction::Block, Conditions { inner: true, ..smb() });
    let outer =
        |id| rule(id, RuleAction::Permit, Conditions { destination_ports: vec![4789..=4789], ..Conditions::default() });
    assert_eq!(verdicts(&[inner(1), outer(2)], &packet), [(action::BLOCK, 1)]);
    assert_eq!(verdicts(&[outer(1), inner(2)], &packet), [(action::PERMIT, 1)]);
}

/// A TLS hello in two records: its name has to be put together.
fn in_two_records(hello: &[u8]) -> Vec<u8> {
    let cut = hello.windows(3).position(|bytes| bytes == b"bad").expect("there is a name") + 3;
    let [first, second] = [cut - 5, hello.len() - cut].map(|length| (length as u16).to_be_bytes());
    [&hello[..3], &first, &hello[5..cut], &[22, 3, 1], &second, &hello[cut..]].concat()
}

#[test]
fn names_in_tunnels_are_judged_by_rules_on_the_inner_packet_alone() {
    let hello = client_hello(&server_name(b"bad.example"));
    let split = in_two_records(&hello);
    let names = |inner| Conditions { names: vec!["bad.example".into()], inner, ..Conditions::default() };
    for payload in [hello.clone(), split] {
        let packets: Vec<_> = tunnels(&ipv4(6, &tcp((1, 443), 0x18, &payload)))
            .into_iter()
            .filter(|(kind, _)| !kind.contains('6'))
            .collect();
        let packets: Vec<_> = packets.into_iter().map(|(_, packet)| packet).collect();
        for verdict in verdicts(&[rule(1, RuleAction::Block, names(true))], &packets) {
            assert_eq!(verdict, (action::BLOCK, 1));
        }
        for verdict in verdicts(&[rule(1, RuleAction::Block, names(false))], &packets) {
            assert_eq!(verdict, (action::PERMIT, 0));
        }
    }
    // A beginning without a name says so inside as well.
    let missing = Conditions { name_missing: Some(true), inner: true, ..Conditions::default() };
    let cut = vxlan(&ethernet(0x0800, &ipv4(6, &tcp((1, 443), 0x18, &hello[..40]))));
    assert_eq!(verdicts(&[rule(1, RuleAction::Block, missing)], &[cut]), [(action::BLOCK, 1)]);
}

#[test]
fn a_policy_can_fail_closed_on_tunnels() {
    let unread = Conditions { tunnel: Some(Content::Unread), ..Conditions::default() };
    let any = Conditions { tunnel: Some(Content::Any), ..Conditions::default() };
    let none = Conditions { tunnel: Some(Content::No), ..Conditions::default() };
    let packets = [carried(), vxlan(&ethernet(0x0800, &carried())), gre(&[0, 2, 8, 0], &carried())];
    let decided =
        |conditions| verdicts(&[rule(1, RuleAction::Block, conditions)], &packets).into_iter().map(|(_, id)| id);
    assert!(decided(unread).eq([0, 0, 1]));
    assert!(decided(any).eq([0, 1, 1]));
    assert!(decided(none).eq([1, 0, 0]));
}

#[test]
fn rules_that_observe_see_the_inner_packet_with_its_flow() {
    struct Seen(Vec<(u32, u16, bool)>);
    impl Observer for Seen {
        fn decided(&mut self, _: u32) {}
        fn observed(&mut self, rule: u32, _: &CapturedPacket<'_>, flow: &Flow, _: Decision) {
            self.0.push((rule, flow.destination_port, flow.has(flags::INNER)));
        }
    }
    let rules = [
        rule(1, RuleAction::Log, Conditions { inner: true, ..smb() }),
        rule(2, RuleAction::Count, Conditions { destination_ports: vec![4789..=4789], ..Conditions::default() }),
        rule(3, RuleAction::Block, Conditions { inner: true, ..smb() }),
        rule(4, RuleAction::Count, Conditions { inner: true, ..smb() }),
    ];
    let policy = Policy::new(compile(&rules, Action::Permit).expect("it compiles")).expect("it is valid");
    let packet = vxlan(&ethernet(0x0800, &carried()));
    let mut seen = Seen(Vec::new());
    let mut verdict = [Verdict::default()];
    classify_observed(&policy, 1, [captured(&packet)].into_iter(), &mut verdict, &mut seen).expect("it is known");
    assert_eq!(verdict[0].rule_id, 3);
    seen.0.sort_unstable();
    assert_eq!(seen.0, [(0, 445, true), (1, 4789, false)]);
}

#[test]
fn rules_that_observe_see_the_name_of_an_inner_packet_that_was_put_together() {
    struct Seen(Vec<(bool, Vec<u8>)>);
    impl Observer for Seen {
        fn decided(&mut self, _: u32) {}
        fn observed(&mut self, _: u32, packet: &CapturedPacket<'_>, flow: &Flow, _: Decision) {
            self.0.push((flow.has(flags::NAME_ASSEMBLED), name(flow, packet.bytes).to_vec()));
        }
    }
    let conditions = Conditions { names: vec!["bad.example".into()], inner: true, ..Conditions::default() };
    let rules = [rule(1, RuleAction::Log, conditions)];
    let policy = Policy::new(compile(&rules, Action::Permit).expect("it compiles")).expect("it is valid");
    let hello = client_hello(&server_name(b"bad.example"));
    for (payload, assembled) in [(&hello, false), (&in_two_records(&hello), true)] {
        let packet = vxlan(&ethernet(0x0800, &ipv4(6, &tcp((1, 443), 0x18, payload))));
        let mut seen = Seen(Vec::new());
        let mut verdict = [Verdict::default()];
        classify_observed(&policy, 1, [captured(&packet)].into_iter(), &mut verdict, &mut seen).expect("it is known");
        assert_eq!(seen.0, [(assembled, b"bad.example".to_vec())]);
    }
}
