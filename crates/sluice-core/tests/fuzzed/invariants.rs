//! What holds for the flow of every packet.

use sluice_core::{
    CapturedPacket, Direction, Policy, classify_observed, for_each_answer_name, parse_with_name, protocol,
};
use sluice_npi::{Flow, Verdict, action, flags, link_type, name_kind};

use super::by_layers::by_layers;

/// DNS, multicast DNS and LLMNR.
const DNS_PORTS: [u16; 3] = [53, 5353, 5355];

pub(super) fn parse(link_type: u16, packet: &[u8], wire_length: u32) {
    let flow = sluice_core::parse(link_type, packet, wire_length).expect("the link type is known");
    let inside = |offset: u32, length: u32| u64::from(offset) + u64::from(length) <= packet.len() as u64;
    assert!(flow.has(flags::NAME_ASSEMBLED) || inside(flow.name_offset, flow.name_length.into()));
    assert!(!flow.has(flags::NAME_ASSEMBLED) || flow.name_offset == 0 && flow.name_length <= 255);
    assert!(!flow.has(flags::NAME_PENDING), "one packet promises nothing");
    assert!(inside(flow.payload_offset, flow.payload_length));
    assert!(inside(flow.network_offset, 0) && inside(flow.transport_offset, 0));
    // A field is 0 unless its flag says that it is valid.
    let unless = |flag: u32, is_zero: bool| assert!(flow.has(flag) || is_zero, "{flow:?}");
    unless(flags::PORTS, flow.source_port == 0 && flow.destination_port == 0);
    unless(flags::ICMP, flow.icmp_type == 0 && flow.icmp_code == 0);
    unless(flags::TCP_FLAGS, flow.tcp_flags == 0);
    unless(flags::PROTOCOL, flow.protocol == 0);
    unless(flags::ADDRESSES, flow.source_address == [0; 16] && flow.destination_address == [0; 16]);
    unless(flags::ETHER_TYPE, flow.ether_type == 0);
    unless(flags::DNS, flow.dns_type == 0 && flow.name_kind != name_kind::DNS);
    unless(flags::QUIC, flow.quic_version == 0);
    assert!(flow.name_kind != name_kind::NONE || flow.name_length == 0 && flow.name_offset == 0);
    assert!(!flow.has(flags::NAME_MISSING) || matches!(flow.protocol, protocol::TCP | protocol::UDP));
    // A ClientHello and a request have a name, or one is missing.
    assert!(!flow.has(flags::ECH) || flow.has(flags::NAME_MISSING) || flow.name_kind == name_kind::TLS);
    assert!(!flow.has(flags::ANSWER_UNREAD) || flow.has(flags::ANSWER));
    answers(packet, &flow);
    // No packet is two things at once.
    assert!(!flow.has(flags::PORTS | flags::ICMP));
    assert!(!flow.has(flags::LATER_FRAGMENT) || flow.has(flags::FRAGMENT));
    assert!(!flow.has(flags::LATER_FRAGMENT | flags::PORTS));
    assert!(!flow.has(flags::TRUNCATED) || wire_length as usize > packet.len());
    let mut with_name = Flow { reserved: [1; 3], ..Flow::default() };
    parse_with_name(link_type, packet, wire_length, &mut with_name, &mut None).expect("the link type is known");
    assert_eq!(flow, with_name);
    tunnel(link_type, packet, wire_length, &flow);
    headers_say_the_same(link_type, packet, wire_length, &flow);
    heads_say_the_same(link_type, packet);
    if link_type == link_type::ETHERNET
        && let Some(by_layers) = by_layers(packet, wire_length)
    {
        assert_eq!(flow, by_layers, "the short cut and the layers");
    }
}

/// Where packets are cut: around the ends of headers, and wherever.
const CUTS: [usize; 16] = [0, 1, 20, 28, 39, 40, 41, 54, 55, 60, 61, 74, 75, 96, 128, 300];

/// Who sees the head of a packet decides as one who sees all of it, or does not.
fn heads_say_the_same(link_type: u16, packet: &[u8]) {
    let policy = Policy::permit_everything([0_u8; 0]);
    let wire_length = packet.len() as u32;
    let whole = sluice_core::parse(link_type, packet, wire_length).expect("the link type is known");
    for cut in CUTS.into_iter().chain([packet.len().saturating_sub(1)]).filter(|cut| *cut < packet.len()) {
        let direction = Direction::Unspecified;
        let head = CapturedPacket { direction, link_type, wire_length, bytes: &packet[..cut], is_head: true };
        let mut verdict = [Verdict::default()];
        let undecided = classify_observed(&policy, 7, [head].into_iter(), &mut verdict, &mut ());
        let [Verdict { action, flow, generation, .. }] = verdict;
        match undecided {
            Ok(0) => assert_eq!((action, flow), (action::PERMIT, whole), "cut at {cut}"),
            undecided => {
                let nothing = Flow { flags: flags::UNDECIDED, ..Flow::default() };
                assert_eq!((undecided, action, flow), (Ok(1), action::BLOCK, nothing), "cut at {cut}");
            }
        }
        assert_eq!(generation, 7);
    }
}

/// Only an answer has names of its own, and each can be one.
fn answers(packet: &[u8], flow: &Flow) {
    let mut names = 0;
    for_each_answer_name(packet, flow, |name| {
        let mut rest = name.as_bytes();
        assert!((1..255).contains(&rest.len()));
        while let [length, behind @ ..] = rest {
            assert!((1..64).contains(length));
            rest = &behind[usize::from(*length)..];
        }
        names += 1;
    });
    assert!(names == 0 || flow.has(flags::ANSWER) && names <= 16 * 8);
}

/// What is in a tunnel is read if the outer flow says that it was, and is the flow of a packet in its turn.
fn tunnel(link_type: u16, packet: &[u8], wire_length: u32, flow: &Flow) {
    let (mut inner, mut name) = (Flow { reserved: [1; 3], ..Flow::default() }, None);
    let is_read = sluice_core::parse_inner(link_type, packet, wire_length, &mut inner, &mut name);
    let is_read = is_read.expect("the link type is known");
    assert!(!flow.has(flags::INNER));
    assert!(!flow.has(flags::TUNNEL_UNREAD) || flow.has(flags::TUNNEL));
    assert!(flow.has(flags::TUNNEL) || !is_read, "an inner packet without a tunnel");
    if is_read {
        assert!(inner.has(flags::INNER) && inner.reserved == [0; 3]);
        let end = |offset: u32, length: u32| u64::from(offset) + u64::from(length);
        assert!(end(inner.payload_offset, inner.payload_length) <= packet.len() as u64);
        assert!(inner.network_offset == 0 || inner.network_offset >= flow.payload_offset);
        assert!(
            inner.has(flags::NAME_ASSEMBLED) || end(inner.name_offset, inner.name_length.into()) <= packet.len() as u64
        );
        answers(packet, &inner);
        let is_whole = inner.flags & (flags::MALFORMED | flags::TRUNCATED | flags::TUNNEL_UNREAD) == 0;
        // Names are read later. Even an empty payload lacks one, where there has to be a message of DNS.
        let is_on_dns_port = [inner.source_port, inner.destination_port].iter().any(|port| DNS_PORTS.contains(port));
        let may_have_name = inner.payload_length != 0 || is_on_dns_port;
        assert!(is_whole || flow.has(flags::TUNNEL_UNREAD) || may_have_name, "{flow:?}: {inner:?}");
    }
}

/// The payload adds to what the headers say and changes nothing.
fn headers_say_the_same(link_type: u16, packet: &[u8], wire_length: u32, flow: &Flow) {
    let mut headers = Flow { reserved: [1; 3], ..*flow };
    sluice_core::parse_headers_into(link_type, packet, wire_length, &mut headers).expect("the link type is known");
    let added = flow.flags & !headers.flags;
    let of_payload = flags::DNS
        | flags::QUIC
        | flags::NAME_MISSING
        | flags::ECH
        | flags::NAME_ASSEMBLED
        | flags::TUNNEL
        | flags::TUNNEL_UNREAD
        | flags::ANSWER
        | flags::ANSWER_UNREAD;
    assert_eq!(added & !(of_payload | flags::MALFORMED | flags::TRUNCATED), 0);
    let expected = Flow {
        flags: flow.flags & !added,
        dns_type: 0,
        name_kind: 0,
        name_length: 0,
        name_offset: 0,
        quic_version: 0,
        ..*flow
    };
    assert_eq!(headers, expected);
}
