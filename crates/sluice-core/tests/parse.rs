//! What the parser reads, checks and leaves alone: one test for each promise of docs/packets.md.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::packets::{
    DESTINATION, SOURCE, WRONG, ethernet, ipv4, ipv4_with, ipv6, ipv6_of, ports, query, tcp, udp, whole, with_name,
};
use sluice_core::{UnknownLinkType, parse, parse_headers_into};
use sluice_npi::{Flow, flags, link_type, name_kind};

// Link types

#[test]
fn ethernet_ipv4_tcp_is_read_to_the_payload() {
    let packet = ethernet(0x0800, &ipv4(6, &tcp((1234, 80), 0x18, b"hello")));
    let flow = whole(link_type::ETHERNET, &packet);
    assert_eq!(flow.flags & WRONG, 0);
    assert_eq!(flow.source_address[..4], SOURCE);
    assert_eq!(flow.destination_address[..4], DESTINATION);
    assert_eq!((flow.ip_version, flow.protocol, flow.tcp_flags), (4, 6, 0x18));
    assert_eq!(ports(&flow), Some((1234, 80)));
    assert_eq!((flow.network_offset, flow.transport_offset, flow.payload_offset, flow.payload_length), (14, 34, 54, 5));
    assert_eq!(flow.ether_type, 0x0800);
}

#[test]
fn ethernet_padding_is_no_payload() {
    let mut packet = ethernet(0x0800, &ipv4(17, &udp((1, 2), b"x")));
    packet.resize(60, 0);
    let flow = whole(link_type::ETHERNET, &packet);
    assert_eq!((flow.flags & WRONG, flow.payload_length), (0, 1));
}

#[test]
fn raw_link_types_start_with_the_ip_header() {
    let v4 = ipv4(17, &udp((1, 2), b"x"));
    let v6 = ipv6(17, &udp((3, 4), b"x"));
    for (link, packet, version) in
        [(link_type::RAW, &v4, 4), (link_type::RAW, &v6, 6), (link_type::IPV4, &v4, 4), (link_type::IPV6, &v6, 6)]
    {
        let flow = whole(link, packet);
        assert_eq!((flow.ip_version, flow.flags & WRONG, flow.network_offset), (version, 0, 0));
        assert!(ports(&flow).is_some());
    }
    for (link, packet) in [(link_type::IPV4, &v6), (link_type::IPV6, &v4)] {
        let flow = whole(link, packet);
        assert!(flow.has(flags::MALFORMED) && !flow.has(flags::ADDRESSES), "the link type decides, not the nibble");
    }
    assert!(whole(link_type::RAW, &[0x50; 40]).has(flags::MALFORMED));
}

#[test]
fn loopback_headers_are_read_in_the_byte_order_of_their_kind() {
    let v4 = ipv4(17, &udp((1, 2), b"x"));
    let v6 = ipv6(17, &udp((3, 4), b"x"));
    let with = |header: [u8; 4], packet: &[u8]| [header.as_slice(), packet].concat();
    for (link, packet, version) in [
        (link_type::NULL, with([2, 0, 0, 0], &v4), 4),
        (link_type::NULL, with([0, 0, 0, 2], &v4), 4),
        (link_type::NULL, with([30, 0, 0, 0], &v6), 6),
        (link_type::NULL, with([0, 0, 0, 24], &v6), 6),
        (link_type::NULL, with([23, 0, 0, 0], &v6), 6),
        (link_type::LOOP, with([0, 0, 0, 2], &v4), 4),
        (link_type::LOOP, with([0, 0, 0, 28], &v6), 6),
    ] {
        let flow = whole(link, &packet);
        assert_eq!((flow.ip_version, flow.flags & WRONG, flow.network_offset), (version, 0, 4), "{link} {packet:?}");
    }
    let other = whole(link_type::LOOP, &with([2, 0, 0, 0], &v4));
    assert_eq!((other.ip_version, other.flags), (0, 0), "that is family 0x02000000, of which nothing is read");
}

#[test]
fn linux_cooked_headers_of_both_versions_carry_an_ether_type() {
    let ip = ipv4(17, &udp((1, 2), b"x"));
    let v1 = [&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0x08, 0x00], ip.as_slice()].concat();
    let v2 = [&[0x08, 0x00, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0], ip.as_slice()].concat();
    for (link, packet, offset) in [(link_type::LINUX_SLL, v1, 16), (link_type::LINUX_SLL2, v2, 20)] {
        let flow = whole(link, &packet);
        assert_eq!((ports(&flow), flow.network_offset, flow.ether_type), (Some((1, 2)), offset, 0x0800));
    }
    let netlink = [&[0, 0, 0x03, 0x38, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0x08, 0x00], ip.as_slice()].concat();
    assert_eq!(whole(link_type::LINUX_SLL, &netlink).ip_version, 0, "a netlink family is no EtherType");
    let snap = [&[0xAA, 0xAA, 3, 0, 0, 0, 0x08, 0x00], ip.as_slice()].concat();
    let of = |protocol: u16| {
        let header = [&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0][..], &protocol.to_be_bytes()].concat();
        whole(link_type::LINUX_SLL, &[header, snap.clone()].concat())
    };
    assert_eq!(ports(&of(4)), Some((1, 2)), "802.2 LLC");
    let length = of(snap.len() as u16);
    assert_eq!((ports(&length), length.flags & WRONG), (None, 0), "a number of Linux, and no length");
    assert_eq!([of(0x05FF), of(0x0600)].map(|flow| flow.ether_type), [0, 0x0600]);
}

#[test]
fn an_unknown_link_type_is_an_error() {
    assert_eq!(parse(147, &[0; 60], 60), Err(UnknownLinkType(147)));
    let said = "link type 147 is not supported: it has to be one of 0, 1, 9, 50, 101, 108, 113, 127, 228, 229 and 276";
    assert_eq!(UnknownLinkType(147).to_string(), said);
}

#[test]
fn a_packet_is_read_as_what_its_link_type_and_its_ether_type_say() {
    // From 8.0.69.0 to 0.40.0.1: bytes that are an EtherType, and the beginning of another header, to Ethernet.
    let segment = tcp((1, 2), 0x02, &[]);
    let mut packet = ipv4(253, &[&[0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], segment.as_slice()].concat());
    packet[12..20].copy_from_slice(&[0x08, 0, 0x45, 0, 0, 40, 0, 1]);
    let of_frame = whole(link_type::ETHERNET, &packet);
    assert_eq!((of_frame.protocol, of_frame.source_address[0], ports(&of_frame)), (6, 10, Some((1, 2))));
    let flow = whole(link_type::RAW, &packet);
    assert_eq!((flow.protocol, flow.source_address[0], ports(&flow)), (253, 8, None));
    let mut of_headers = Flow::default();
    parse_headers_into(link_type::RAW, &packet, packet.len() as u32, &mut of_headers).unwrap();
    assert_eq!(of_headers, flow);
    assert_eq!(with_name(&packet).0, flow);
    for ether_type in [0x0801, 0x0806, 0x86DC, 0x86DE, 0x88B5] {
        for packet in [ipv6(6, &segment), ipv4(6, &segment)] {
            let flow = whole(link_type::ETHERNET, &ethernet(ether_type, &packet));
            assert_eq!((flow.ether_type, flow.ip_version, ports(&flow)), (ether_type, 0, None));
        }
    }
}

#[test]
fn vlan_tags_are_listed_outermost_first_and_counted() {
    let inner = [&[0x00, 0x05, 0x08, 0x00], ipv4(17, &udp((1, 2), b"x")).as_slice()].concat();
    let packet = ethernet(0x88A8, &[&[0xE0, 0x64, 0x81, 0x00], inner.as_slice()].concat());
    let flow = whole(link_type::ETHERNET, &packet);
    assert_eq!((flow.vlan_count, flow.vlan_ids), (2, [100, 5, 0, 0]));
    assert_eq!((flow.ether_type, ports(&flow)), (0x0800, Some((1, 2))));

    let v6 = [&[0x00, 0x05, 0x86, 0xDD], ipv6(17, &udp((1, 2), b"x")).as_slice()].concat();
    let flow = whole(link_type::ETHERNET, &ethernet(0x88A8, &[&[0xE0, 0x64, 0x81, 0x00], v6.as_slice()].concat()));
    assert_eq!((flow.vlan_count, flow.ether_type, ports(&flow)), (2, 0x86DD, Some((1, 2))));

    let mut six = Vec::new();
    for id in 1..=6_u8 {
        six.extend([0, id, 0x81, 0x00]);
    }
    six.truncate(six.len() - 2);
    six.extend([0x08, 0x00]);
    six.extend(ipv4(17, &udp((1, 2), b"x")));
    let flow = whole(link_type::ETHERNET, &ethernet(0x8100, &six));
    assert_eq!((flow.vlan_count, flow.vlan_ids, flow.flags & WRONG), (6, [1, 2, 3, 4], 0));

    let endless = ethernet(0x8100, &[0, 1, 0x81, 0].repeat(20));
    assert!(whole(link_type::ETHERNET, &endless).has(flags::MALFORMED));
}

#[test]
fn macsec_mpls_and_arp_are_recognised() {
    let flow = whole(link_type::ETHERNET, &ethernet(0x88E5, &[0; 40]));
    assert!(flow.has(flags::MACSEC | flags::ETHER_TYPE) && flow.ip_version == 0);
    for number in [0x8847, 0x8848] {
        let flow = whole(link_type::ETHERNET, &ethernet(number, &ipv4(17, &udp((1, 2), b"x"))));
        assert!(flow.has(flags::MPLS) && flow.ip_version == 0);
    }
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend([0; 20]);
    let flow = whole(link_type::ETHERNET, &ethernet(0x0806, &arp));
    assert_eq!((flow.ether_type, flow.flags & WRONG, flow.ip_version), (0x0806, 0, 0));
    arp[4] = 200;
    assert!(whole(link_type::ETHERNET, &ethernet(0x0806, &arp)).has(flags::MALFORMED), "addresses that do not fit");
}

#[test]
fn a_frame_with_a_length_carries_ip_in_snap_alone() {
    let snap = [&[0xAA, 0xAA, 3, 0, 0, 0, 0x08, 0x00], ipv4(17, &udp((1, 2), b"x")).as_slice()].concat();
    let flow = whole(link_type::ETHERNET, &ethernet(snap.len() as u16, &snap));
    assert_eq!((ports(&flow), flow.ether_type, flow.flags & WRONG), (Some((1, 2)), 0x0800, 0));
    let stp = [0x42, 0x42, 3, 0, 0, 0, 0, 0];
    let flow = whole(link_type::ETHERNET, &ethernet(8, &stp));
    assert_eq!(flow.flags, 0);
    assert!(whole(link_type::ETHERNET, &ethernet(9, &stp)).has(flags::MALFORMED), "longer than the frame");
    assert!(whole(link_type::ETHERNET, &ethernet(1501, &[0; 1600])).has(flags::MALFORMED), "neither length nor type");
}

#[test]
fn one_tag_changes_nothing_but_the_offsets() {
    for (number, packet) in [(0x0800, ipv4(6, &tcp((1, 2), 2, &[0; 9]))), (0x86DD, ipv6(17, &udp((1, 2), &[0; 20])))] {
        let flow = whole(link_type::ETHERNET, &ethernet(number, &packet));
        let tag = [[0xE0, 0x64].as_slice(), &number.to_be_bytes()].concat();
        let tagged = whole(link_type::ETHERNET, &ethernet(0x8100, &[tag, packet].concat()));
        assert_eq!((tagged.vlan_count, tagged.vlan_ids[0], tagged.flags & WRONG), (1, 100, 0));
        let mut expected = Flow { vlan_count: 1, vlan_ids: [100, 0, 0, 0], ..flow };
        for offset in [&mut expected.network_offset, &mut expected.transport_offset, &mut expected.payload_offset] {
            *offset += 4;
        }
        assert_eq!(tagged, expected);
    }
}

#[test]
fn the_headers_alone_have_no_name_and_all_else() {
    let packet = ethernet(0x0800, &ipv4(17, &udp((4000, 53), &query())));
    let flow = whole(link_type::ETHERNET, &packet);
    let mut headers = Flow::default();
    sluice_core::parse_headers_into(link_type::ETHERNET, &packet, packet.len() as u32, &mut headers).unwrap();
    assert_eq!((headers.name_kind, headers.name_length, headers.dns_type), (name_kind::NONE, 0, 0));
    let with_name = Flow {
        flags: headers.flags | flags::DNS,
        name_kind: flow.name_kind,
        name_offset: flow.name_offset,
        name_length: flow.name_length,
        dns_type: flow.dns_type,
        ..headers
    };
    assert_eq!(with_name, flow);
}

// Encapsulations

/// An EtherType, and a UDP packet in something that it stands for.
fn encapsulations(v4: &[u8]) -> Vec<(&'static str, u16, Vec<u8>, u16)> {
    let frame = |payload: &[u8]| ethernet(0x0800, payload);
    let with = |header: &[u8], rest: &[u8]| [header, rest].concat();
    let ip = [0x08, 0x00];
    vec![
        ("VN-Tag", 0x8926, with(&[&[0; 4], &ip[..]].concat(), v4), 0x0800),
        ("E-tag", 0x893F, with(&[&[0; 6], &ip[..]].concat(), v4), 0x0800),
        ("PBB", 0x88E7, with(&[0; 4], &frame(v4)), 0x0800),
        ("FabricPath", 0x8903, with(&[0; 2], &frame(v4)), 0x0800),
        ("Cisco MetaData", 0x8909, with(&[&[1, 1, 0, 1, 0, 7], &ip[..]].concat(), v4), 0x0800),
        ("timestamp of 64 bits", 0xD28B, with(&[&[0, 1, 1, 0x10], &[0; 8][..], &ip].concat(), v4), 0x0800),
        ("timestamp of 48 bits", 0xD28B, with(&[&[0, 1, 0, 0x21], &[0; 6][..], &ip].concat(), v4), 0x0800),
        ("MACsec", 0x88E5, with(&[&[0, 0, 0, 0, 0, 1], &ip[..]].concat(), &with(v4, &[9; 16])), 0x88E5),
        ("MACsec with a channel", 0x88E5, with(&[&[0x20; 1], &[0; 13][..], &ip].concat(), v4), 0x88E5),
        ("NSH with IPv4", 0x894F, with(&[&[0, 6, 1, 1], &[0; 20][..]].concat(), v4), 0x894F),
        ("NSH with Ethernet", 0x894F, with(&[&[0, 2, 2, 3], &[0; 4][..]].concat(), &frame(v4)), 0x894F),
        ("NSH with MPLS", 0x894F, with(&[0, 2, 2, 5, 0, 0, 0, 1, 0, 0, 0x11, 64], v4), 0x894F),
        ("PPPoE", 0x8864, with(&[0x11, 0, 0, 7, 0, v4.len() as u8 + 2, 0, 0x21], v4), 0x8864),
        ("PPPoE, compressed", 0x8864, with(&[0x11, 0, 0, 7, 0, v4.len() as u8 + 1, 0x21], v4), 0x8864),
        ("MPLS", 0x8847, with(&[0, 1, 0, 64, 0, 1, 0x11, 64], v4), 0x8847),
        ("MPLS, explicit null", 0x8848, with(&[0, 0, 1, 64], v4), 0x8848),
    ]
}

#[test]
fn ip_is_found_in_encapsulations_and_the_ether_type_is_that_of_the_frame() {
    let v4 = ipv4(17, &udp((7, 9), b"x"));
    for (what, number, payload, ether_type) in encapsulations(&v4) {
        let mut packet = ethernet(number, &payload);
        packet.resize(packet.len().max(60), 0);
        let flow = whole(link_type::ETHERNET, &packet);
        assert_eq!((ports(&flow), flow.flags & WRONG, flow.ether_type), (Some((7, 9)), 0, ether_type), "{what}");
        let start = packet.windows(v4.len()).position(|bytes| bytes == v4).unwrap();
        assert_eq!(flow.network_offset as usize, start, "{what}");
        assert_eq!(flow.has(flags::MACSEC), ether_type == 0x88E5, "{what}");
        let tagged = ethernet(0x8100, &[&[0, 5], number.to_be_bytes().as_slice(), &payload].concat());
        let flow = whole(link_type::ETHERNET, &tagged);
        assert_eq!((ports(&flow), flow.vlan_count, flow.vlan_ids[0]), (Some((7, 9)), 1, 5), "{what} in a VLAN");
        for length in 14..start + 20 {
            let cut = parse(link_type::ETHERNET, &packet[..length], packet.len() as u32).unwrap();
            assert_eq!((ports(&cut), cut.flags & WRONG), (None, flags::TRUNCATED), "{what}, {length} bytes");
        }
    }
}

#[test]
fn encapsulations_are_gone_through_up_to_a_limit() {
    let nested = |count: usize| {
        let mut payload = ipv4(17, &udp((7, 9), b"x"));
        let mut number: u16 = 0x0800;
        for _ in 0..count {
            payload = [&[0; 4], number.to_be_bytes().as_slice(), &payload].concat();
            number = 0x8926;
        }
        whole(link_type::ETHERNET, &ethernet(number, &payload))
    };
    assert_eq!((ports(&nested(7)), nested(7).flags & WRONG), (Some((7, 9)), 0));
    assert_eq!((ports(&nested(8)), nested(8).flags & WRONG), (None, flags::MALFORMED));
    let labels = |count: usize| {
        let stack = [[0, 1, 0, 64].repeat(count - 1), vec![0, 1, 0x11, 64]].concat();
        let packet = [stack, ipv4(17, &udp((7, 9), b"x"))].concat();
        whole(link_type::ETHERNET, &ethernet(0x8847, &packet))
    };
    assert_eq!((ports(&labels(16)), labels(16).flags & WRONG), (Some((7, 9)), 0));
    assert_eq!((ports(&labels(17)), labels(17).flags & WRONG), (None, flags::MALFORMED));
}

#[test]
fn encapsulations_that_say_nothing_of_ip_are_left_alone() {
    let v4 = ipv4(17, &udp((7, 9), b"x"));
    let with = |header: &[u8]| [header, v4.as_slice()].concat();
    for (what, number, payload, wrong) in [
        ("MACsec, encrypted", 0x88E5, with(&[0x0C, 0, 0, 0, 0, 1, 8, 0]), 0),
        ("MACsec that says that it is encrypted", 0x88E5, with(&[0x08, 0, 0, 0, 0, 1, 8, 0]), 0),
        ("MACsec that says that it is changed", 0x88E5, with(&[0x04, 0, 0, 0, 0, 1, 8, 0]), 0),
        ("another version of MACsec", 0x88E5, with(&[0x80, 0, 0, 0, 0, 1, 8, 0]), 0),
        ("MPLS with a control word", 0x8847, with(&[0, 1, 0x11, 64, 0, 0, 0, 0]), 0),
        ("MPLS with what is longer than the frame", 0x8847, vec![0, 1, 0x11, 64, 0x45, 0, 5, 0, 1], 0),
        ("another version of NSH", 0x894F, with(&[0x40, 2, 2, 1, 0, 0, 0, 1]), 0),
        ("a short NSH", 0x894F, with(&[0, 1, 2, 1]), flags::MALFORMED),
        ("another Cisco MetaData", 0x8909, with(&[2, 1, 0, 1, 0, 7, 8, 0]), 0),
        ("Cisco MetaData with two options", 0x8909, with(&[1, 2, 0, 1, 0, 7, 0, 1, 0, 7, 8, 0]), 0),
        ("another timestamp", 0xD28B, with(&[0, 2, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]), 0),
        ("discovery in a session", 0x8864, with(&[0x11, 9, 0, 7, 0, 40, 0, 0x21]), flags::MALFORMED),
        ("PPP of another kind", 0x8864, vec![0x11, 0, 0, 7, 0, 4, 0xC0, 0x21, 1, 1], 0),
        ("PPPoE that is too long", 0x8864, vec![0x11, 0, 0, 7, 0, 200, 0xC0, 0x21, 1, 1], flags::MALFORMED),
    ] {
        let flow = whole(link_type::ETHERNET, &ethernet(number, &payload));
        assert_eq!((flow.ip_version, flow.flags & WRONG, flow.ether_type), (0, wrong, number), "{what}");
    }
}

#[test]
fn an_explicit_null_says_which_version_of_ip_follows_even_where_it_does_not() {
    let of = |label: u8, packet: &[u8]| {
        whole(link_type::ETHERNET, &ethernet(0x8847, &[&[0, 0, label << 4 | 1, 64], packet].concat()))
    };
    let (v4, v6) = (ipv4(17, &udp((7, 9), b"x")), ipv6(17, &udp((7, 9), b"x")));
    for (label, version, right, wrong) in [(0, 4, &v4, &v6), (2, 6, &v6, &v4)] {
        assert_eq!((of(label, right).ip_version, ports(&of(label, right))), (version, Some((7, 9))));
        assert_eq!(of(label, &[wrong.as_slice(), &[0; 20]].concat()).flags & WRONG, flags::MALFORMED, "IPv{version}");
        let cut = of(label, &right[..right.len() - 1]);
        assert_eq!((cut.ip_version, cut.flags & WRONG), (version, flags::MALFORMED), "IPv{version} that is too short");
    }
    assert_eq!(of(3, &v6[..v6.len() - 1]).ip_version, 0, "under another label, that is not taken for IP");
    assert_eq!((of(3, &v6).ip_version, ports(&of(3, &v6))), (6, Some((7, 9))), "and this is");
    let nsh = whole(link_type::ETHERNET, &ethernet(0x894F, &[&[0, 2, 2, 2, 0, 0, 0, 0], v6.as_slice()].concat()));
    assert_eq!((nsh.ip_version, ports(&nsh), nsh.flags & WRONG), (6, Some((7, 9)), 0), "NSH with IPv6");
    // A control word, and an Ethernet frame behind it: 6 bytes show that this is no IP, however much is behind them.
    let wire = ethernet(0x8847, &[&[0, 0, 0x31, 64], [0; 4].as_slice(), &ethernet(0x0800, &v4)].concat());
    for (length, said) in [(23, flags::TRUNCATED), (24, 0), (25, 0)] {
        let flow = parse(link_type::ETHERNET, &wire[..length], wire.len() as u32).unwrap();
        assert_eq!((flow.ip_version, flow.flags & WRONG), (0, said), "{length} bytes");
    }
}

#[test]
fn ppp_is_read_with_and_without_its_framing() {
    let (v4, v6) = (ipv4(17, &udp((7, 9), b"x")), ipv6(17, &udp((7, 9), b"x")));
    let with = |header: &[u8], packet: &[u8]| [header, packet].concat();
    for (link, packet) in [
        (link_type::PPP, with(&[0, 0x21], &v4)),
        (link_type::PPP, with(&[0xFF, 3, 0, 0x57], &v6)),
        (link_type::PPP, with(&[0x21], &v4)),
        (link_type::PPP, with(&[2, 0x81, 0, 0, 0x11, 64], &v4)),
        (link_type::PPP, with(&[2, 0x83, 0, 0, 0x11, 64], &v6)),
        (link_type::PPP_HDLC, with(&[0xFF, 3, 0, 0x21], &v4)),
        (link_type::PPP_HDLC, with(&[0x0F, 0, 8, 0], &v4)),
        (link_type::PPP_HDLC, with(&[0x8F, 0, 0x86, 0xDD], &v6)),
    ] {
        let flow = whole(link, &packet);
        assert_eq!((ports(&flow), flow.flags & WRONG), (Some((7, 9)), 0), "{link} {packet:?}");
    }
    for link in [link_type::PPP, link_type::PPP_HDLC] {
        let cut = parse(link, &[0xFF, 3, 0], 40).unwrap();
        assert_eq!(cut.flags & WRONG, flags::TRUNCATED);
        assert_eq!(whole(link, &[0xFF, 3, 0xC0, 0x21, 1, 1, 0, 4]).flags, 0, "LCP is left alone");
    }
}

#[test]
fn wifi_frames_with_data_are_read() {
    let v4 = ipv4(17, &udp((7, 9), b"x"));
    let snap = [&[0xAA, 0xAA, 3, 0, 0, 0, 8, 0], v4.as_slice()].concat();
    let frame = |control: [u8; 2], length: usize| {
        let mut frame = vec![0; length];
        frame[..2].copy_from_slice(&control);
        [frame, snap.clone()].concat()
    };
    let found = |packet: &[u8]| {
        let flow = whole(link_type::IEEE802_11_RADIOTAP, packet);
        assert_eq!(flow.flags & WRONG, 0);
        ports(&flow).is_some()
    };
    let plain = |frame: Vec<u8>| [[0, 0, 8, 0, 0, 0, 0, 0].as_slice(), &frame].concat();
    for (control, length) in [
        ([0x08, 0x01], 24),
        ([0x08, 0x02], 24),
        ([0x08, 0x03], 30),
        ([0x88, 0x01], 26),
        ([0x88, 0x81], 30),
        ([0x88, 0x83], 36),
    ] {
        assert!(found(&plain(frame(control, length))), "{control:?}");
    }
    // A time, then flags that say that the header is filled up to 28 bytes.
    let padded =
        [&[0, 0, 17, 0, 3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x20], frame([0x88, 0x01], 28).as_slice()].concat();
    assert!(found(&padded));
    let words = [&[0, 0, 13, 0, 2, 0, 0, 0x80, 0, 0, 0, 0, 0x20], frame([0x88, 0x01], 28).as_slice()].concat();
    assert!(found(&words), "a second word of fields");
    let words =
        [&[0, 0, 17, 0, 2, 0, 0, 0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0x20], frame([0x88, 0x01], 28).as_slice()].concat();
    assert!(found(&words), "and a third one");
    let more = [&[0, 0, 20, 0, 2, 0, 0, 0x80, 0, 0, 0, 0, 0x20], [0; 7].as_slice(), &frame([0x88, 0x01], 28)].concat();
    assert!(found(&more), "a second word of fields, and more than the flags behind it");
    let not_padded = [&[0, 0, 9, 0, 2, 0, 0, 0, 0xDF], frame([0x88, 0x01], 26).as_slice()].concat();
    assert!(found(&not_padded), "flags that say something else");
    let not_flags = [&[0, 0, 9, 0, 4, 0, 0, 0, 0x20], frame([0x88, 0x01], 26).as_slice()].concat();
    assert!(found(&not_flags), "a rate, and no flags");
    let mut aggregate = frame([0x88, 0x01], 26);
    aggregate[24] = 0x80;
    let mut fragment = frame([0x08, 0x01], 24);
    fragment[22] = 1;
    for (what, other) in [
        ("management", frame([0x80, 0], 24)),
        ("no data", frame([0x48, 1], 24)),
        ("protected", frame([0x08, 0x41], 24)),
        ("first fragment", frame([0x08, 0x05], 24)),
        ("later fragment", fragment),
        ("aggregate", aggregate),
    ] {
        assert!(!found(&plain(other)), "{what}");
    }
    let cut = parse(link_type::IEEE802_11_RADIOTAP, &padded[..30], padded.len() as u32).unwrap();
    assert_eq!(cut.flags & WRONG, flags::TRUNCATED);
    assert!(whole(link_type::IEEE802_11_RADIOTAP, &[0, 0, 4, 0, 0, 0, 0, 0]).has(flags::MALFORMED));
}

// IPv4

#[test]
fn ipv4_options_are_skipped_and_checked() {
    let flow = whole(link_type::RAW, &ipv4_with(17, &[1, 1, 7, 4, 4, 0, 0, 0], 0, &udp((1, 2), b"x")));
    assert_eq!((flow.flags & WRONG, flow.transport_offset, ports(&flow)), (0, 28, Some((1, 2))));
    let nothing_behind = whole(link_type::RAW, &ipv4_with(59, &[1, 1, 1, 0], 0, &[]));
    assert_eq!((nothing_behind.flags & WRONG, nothing_behind.protocol), (0, 59));
    for options in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
        let flow = whole(link_type::RAW, &ipv4_with(17, &options, 0, &udp((1, 2), b"x")));
        assert!(flow.has(flags::MALFORMED | flags::PORTS), "{options:?}");
    }
}

#[test]
fn ipv4_with_ihl_4_is_malformed_and_has_no_ports() {
    let mut packet = ipv4(6, &tcp((1, 2), 2, b""));
    packet[0] = 0x44;
    let flow = whole(link_type::RAW, &packet);
    assert!(flow.has(flags::MALFORMED) && ports(&flow).is_none());
}

#[test]
fn an_ipv4_header_longer_than_the_packet_is_malformed_and_has_no_ports() {
    let mut packet = ethernet(0x0800, &ipv4(17, &udp((1, 2), b"x")));
    packet[14] = 0x4F;
    packet.resize(46, 0);
    let flow = whole(link_type::ETHERNET, &packet);
    assert!(flow.has(flags::MALFORMED) && ports(&flow).is_none());
}

#[test]
fn an_ipv4_total_length_of_19_is_malformed_and_has_no_ports() {
    let mut packet = ipv4(6, &tcp((1, 2), 2, b""));
    packet[2..4].copy_from_slice(&19_u16.to_be_bytes());
    let flow = whole(link_type::RAW, &packet);
    assert!(flow.has(flags::MALFORMED) && ports(&flow).is_none());
}

#[test]
fn an_ipv4_total_length_beyond_the_packet_is_malformed_and_the_rest_is_read() {
    let mut packet = ipv4(6, &tcp((1, 2), 2, b""));
    packet[2..4].copy_from_slice(&200_u16.to_be_bytes());
    let flow = whole(link_type::RAW, &packet);
    assert!(flow.has(flags::MALFORMED) && !flow.has(flags::TRUNCATED));
    assert_eq!(ports(&flow), Some((1, 2)));
}

#[test]
fn an_ipv4_total_length_of_0_is_that_of_segmentation_offload() {
    let mut packet = ipv4(6, &tcp((1, 2), 2, b"abc"));
    packet[2..4].fill(0);
    let flow = whole(link_type::RAW, &packet);
    assert_eq!((flow.flags & WRONG, ports(&flow), flow.payload_length), (0, Some((1, 2)), 3));
    let mut packet = ipv4_with(6, &[1, 1, 1, 0], 0, &tcp((1, 2), 2, b"abc"));
    packet[2..4].fill(0);
    let flow = whole(link_type::RAW, &packet);
    assert_eq!((flow.flags & WRONG, ports(&flow), flow.payload_length), (0, Some((1, 2)), 3), "with options");
    let flow = whole(link_type::RAW, &ipv6_of(6, 0, &tcp((1, 2), 2, b"abc")));
    assert_eq!((flow.flags & WRONG, ports(&flow), flow.payload_length), (0, Some((1, 2)), 3), "IPv6");
}

#[test]
fn what_is_behind_the_length_of_a_packet_is_not_read() {
    let datagram = udp((1, 2), b"x");
    for packet in [ipv4(17, &datagram), ipv4_with(17, &[1, 1, 1, 0], 0, &datagram), ipv6(17, &datagram)] {
        let flow = whole(link_type::RAW, &[packet.as_slice(), &[0xEE; 9]].concat());
        assert_eq!((flow.flags & WRONG, ports(&flow), flow.payload_length), (0, Some((1, 2)), 1));
    }
    let mut packet = ipv4_with(17, &[1, 1, 1, 0], 0, &datagram);
    packet[2..4].copy_from_slice(&[0, 23]);
    let flow = whole(link_type::RAW, &packet);
    assert_eq!((flow.flags & WRONG, ports(&flow)), (flags::MALFORMED, None), "it ends in its options");
}

#[test]
fn the_ether_type_decides_and_not_the_version_nibble() {
    for (number, payload) in
        [(0x0800, ipv6(17, &udp((1, 2), b"x"))), (0x86DD, ipv4(17, &[udp((1, 2), b"x"), vec![0; 40]].concat()))]
    {
        let flow = whole(link_type::ETHERNET, &ethernet(number, &payload));
        assert!(flow.has(flags::MALFORMED), "{number:#x}");
        assert!(!flow.has(flags::ADDRESSES) && ports(&flow).is_none() && flow.ip_version == 0);
    }
}

#[test]
fn the_first_fragment_has_ports_and_later_ones_say_what_they_are() {
    let datagram = udp((53, 4000), &[0; 16]);
    let first = whole(link_type::RAW, &ipv4_with(17, &[], 0x2000, &datagram));
    assert!(first.has(flags::FRAGMENT) && !first.has(flags::LATER_FRAGMENT));
    assert_eq!((ports(&first), first.flags & flags::MALFORMED), (Some((53, 4000)), 0));
    // All bits of the offset, and the one for more.
    let packet = ethernet(0x0800, &ipv4_with(6, &[], 0x3FFF, &tcp((1, 2), 2, &[0; 12])));
    let later = whole(link_type::ETHERNET, &packet);
    assert_eq!((later.has(flags::FRAGMENT | flags::LATER_FRAGMENT), ports(&later)), (true, None));
    let later = whole(link_type::RAW, &ipv4_with(17, &[], 3, &[0; 5]));
    assert!(later.has(flags::FRAGMENT | flags::LATER_FRAGMENT | flags::PROTOCOL | flags::ADDRESSES));
    assert_eq!((ports(&later), later.flags & WRONG), (None, 0));
}

#[test]
fn a_first_fragment_without_the_whole_header_is_malformed() {
    let flow = whole(link_type::RAW, &ipv4_with(6, &[], 0x2000, &tcp((1, 2), 2, b"")[..8]));
    assert!(flow.has(flags::MALFORMED), "RFC 1858");
    assert_eq!(ports(&flow), Some((1, 2)), "what could be read is given");
    let flow = whole(link_type::RAW, &ipv4_with(6, &[], 1, &[0; 20]));
    assert!(flow.has(flags::MALFORMED), "offset 1 overwrites the TCP flags");
    for (protocol, offset) in [(6, 2), (17, 1)] {
        let flow = whole(link_type::RAW, &ipv4_with(protocol, &[], offset, &[0; 20]));
        assert_eq!(flow.flags & WRONG, 0, "protocol {protocol} at {offset} overwrites nothing");
    }
}

#[test]
fn fragments_that_no_datagram_consists_of_are_malformed() {
    let odd = whole(link_type::RAW, &ipv4_with(17, &[], 0x2000, &udp((1, 2), &[0; 9])));
    assert!(odd.has(flags::MALFORMED), "not a multiple of 8 bytes");
    let death = whole(link_type::RAW, &ipv4_with(1, &[], 0x1FFF, &[0; 100]));
    assert!(death.has(flags::MALFORMED), "ends behind 65,535");
    // RFC 8200, 4.5: a payload of more than 65,535 bytes cannot be put together.
    for (length, wrong) in [(7, 0), (8, flags::MALFORMED)] {
        let last =
            whole(link_type::RAW, &ipv6(44, &[&[58, 0, 0xFF, 0xF8, 0, 0, 0, 1], [0; 8].split_at(length).0].concat()));
        assert_eq!((last.flags & WRONG, last.has(flags::LATER_FRAGMENT)), (wrong, true), "ends at {}", 65_528 + length);
    }
}

#[test]
fn an_authentication_header_in_ipv4_is_skipped() {
    let mut ah = vec![17, 4, 0, 0];
    ah.resize(24, 0);
    ah.extend(udp((1, 2), b"x"));
    let flow = whole(link_type::RAW, &ipv4(51, &ah));
    assert_eq!((flow.protocol, ports(&flow), flow.flags & WRONG), (17, Some((1, 2)), 0));
    ah[1] = 0;
    assert!(whole(link_type::RAW, &ipv4(51, &ah)).has(flags::MALFORMED), "shorter than its fixed part");
    let shortest = [&[17, 1], [0; 10].as_slice(), &udp((1, 2), b"x")].concat();
    let flow = whole(link_type::RAW, &ipv4(51, &shortest));
    assert_eq!((flow.protocol, ports(&flow), flow.flags & WRONG), (17, Some((1, 2)), 0));
}

// Truncated and malformed

#[test]
fn a_capture_that_ends_in_a_header_is_truncated_and_not_malformed() {
    let packet = ethernet(0x0800, &ipv4(6, &tcp((1234, 80), 2, b"hello")));
    for length in 0..54 {
        let flow = parse(link_type::ETHERNET, &packet[..length], packet.len() as u32).unwrap();
        assert!(flow.has(flags::TRUNCATED) && !flow.has(flags::MALFORMED), "{length} bytes");
        assert_eq!(flow.has(flags::ADDRESSES), length >= 34, "{length} bytes");
        assert_eq!(flow.has(flags::PORTS), length >= 38, "{length} bytes");
    }
    let flow = parse(link_type::ETHERNET, &packet[..54], packet.len() as u32).unwrap();
    assert_eq!(flow.flags & WRONG, 0, "nothing that would be read is missing");
    let v6 = ipv6(17, &udp((1, 2), b"x"));
    for length in 0..48 {
        let flow = parse(link_type::RAW, &v6[..length], v6.len() as u32).unwrap();
        assert!(flow.has(flags::TRUNCATED) && !flow.has(flags::MALFORMED), "{length} bytes");
    }
}

#[test]
fn a_packet_that_ends_in_a_header_is_malformed_and_not_truncated() {
    let packet = ethernet(0x0800, &ipv4(6, &tcp((1234, 80), 2, b"hello")));
    for length in 0..54 {
        let flow = whole(link_type::ETHERNET, &packet[..length]);
        assert!(flow.has(flags::MALFORMED) && !flow.has(flags::TRUNCATED), "{length} bytes");
    }
}

#[test]
fn a_packet_can_be_both() {
    // Says that it is longer than the wire says, and the capture ends in its TCP header.
    let mut packet = ipv4(6, &tcp((1234, 80), 2, b"hello"));
    packet[2..4].copy_from_slice(&1000_u16.to_be_bytes());
    let flow = parse(link_type::RAW, &packet[..30], 45).unwrap();
    assert!(flow.has(flags::TRUNCATED | flags::MALFORMED));
}

// IPv6

#[test]
fn every_ipv6_extension_header_is_walked() {
    let header = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let mut payload = Vec::new();
    let order = [0_u8, 60, 43, 44, 51, 135, 139, 140, 60, 17];
    for pair in order.windows(2) {
        match pair[0] {
            44 => payload.extend([pair[1], 0, 0, 0, 0, 0, 0, 1]),
            51 => payload.extend([pair[1], 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            _ => payload.extend(header(pair[1])),
        }
    }
    payload.extend(udp((1, 2), b"x"));
    let flow = whole(link_type::RAW, &ipv6(0, &payload));
    assert_eq!((flow.protocol, ports(&flow), flow.flags & (WRONG | flags::FRAGMENT)), (17, Some((1, 2)), 0));
}

#[test]
fn an_extension_header_that_is_cut_says_nothing_of_what_follows() {
    let packet = ipv6(60, &[17, 1, 1, 4, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0]);
    assert_eq!(whole(link_type::RAW, &packet).protocol, 17);
    for length in 40..56 {
        let flow = parse(link_type::RAW, &packet[..length], packet.len() as u32).unwrap();
        assert!(flow.has(flags::TRUNCATED) && !flow.has(flags::PROTOCOL), "{length} bytes");
        assert!(ports(&flow).is_none(), "{length} bytes");
    }
}

#[test]
fn an_extension_header_with_a_message_of_its_own_is_the_protocol() {
    let flow = whole(link_type::RAW, &ipv6(135, &[59, 0, 1, 0, 0, 0, 0, 0]));
    assert_eq!((flow.protocol, flow.transport_offset, flow.flags & WRONG), (135, 40, 0));
}

#[test]
fn hop_by_hop_anywhere_but_first_and_chains_without_end_are_malformed() {
    let flow = whole(link_type::RAW, &ipv6(60, &[0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0]));
    assert!(flow.has(flags::MALFORMED) && !flow.has(flags::PROTOCOL));
    let endless: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(100);
    let flow = whole(link_type::RAW, &ipv6(60, &endless));
    assert!(flow.has(flags::MALFORMED) && !flow.has(flags::PROTOCOL));
}

#[test]
fn ipv6_fragments_are_told_apart() {
    let fragment = |field: u16, payload: &[u8]| {
        let field = field.to_be_bytes();
        ipv6(44, &[&[17, 0, field[0], field[1], 0, 0, 0, 1], payload].concat())
    };
    let first = whole(link_type::RAW, &fragment(1, &udp((1, 2), &[0; 8])));
    assert!(first.has(flags::FRAGMENT | flags::PORTS) && !first.has(flags::LATER_FRAGMENT | flags::MALFORMED));
    let later = whole(link_type::RAW, &fragment(8, &[0; 9]));
    assert!(later.has(flags::FRAGMENT | flags::LATER_FRAGMENT) && ports(&later).is_none());
    assert_eq!(later.protocol, 17);
    let behind_options =
        [&[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 1], udp((1, 2), &[0; 8]).as_slice()].concat();
    let first = whole(link_type::RAW, &ipv6(60, &behind_options));
    assert_eq!((ports(&first), first.flags & (WRONG | flags::FRAGMENT)), (Some((1, 2)), flags::FRAGMENT));
    let atomic = whole(link_type::RAW, &fragment(0, &udp((1, 2), b"x")));
    assert!(!atomic.has(flags::FRAGMENT) && ports(&atomic).is_some(), "RFC 6946");
}

#[test]
fn a_jumbogram_is_read_by_the_length_in_its_option() {
    let length: u32 = 70_000;
    let mut payload = vec![17, 0, 0xC2, 4];
    payload.extend(length.to_be_bytes());
    payload.extend(udp((1, 2), b""));
    payload[12..14].fill(0); // UDP cannot say how long it is (RFC 2675, 4)
    payload.resize(length as usize, 0xAA);
    let flow = whole(link_type::RAW, &ipv6_of(0, 0, &payload));
    assert_eq!((ports(&flow), flow.protocol, flow.flags & WRONG), (Some((1, 2)), 17, 0));
    assert_eq!(flow.payload_length, length - 16);

    // Behind another option (PadN), and of the first length that needs one.
    let mut padded = vec![17, 1, 1, 0, 0xC2, 4, 0, 1, 0, 0, 1, 4, 0, 0, 0, 0];
    padded.extend(udp((1, 2), b""));
    padded[20..22].fill(0);
    padded.resize(65_536, 0xAA);
    let flow = whole(link_type::RAW, &ipv6_of(0, 0, &padded));
    assert_eq!((ports(&flow), flow.flags & WRONG, flow.payload_length), (Some((1, 2)), 0, 65_536 - 24));
    padded[2..12].copy_from_slice(&[0, 0xC2, 4, 0, 1, 0, 0, 0, 0, 0]);
    let flow = whole(link_type::RAW, &ipv6_of(0, 0, &padded));
    assert_eq!((ports(&flow), flow.flags & WRONG, flow.payload_length), (Some((1, 2)), 0, 65_536 - 24), "Pad1");
    padded[5..9].copy_from_slice(&65_535_u32.to_be_bytes());
    assert!(whole(link_type::RAW, &ipv6_of(0, 0, &padded)).has(flags::MALFORMED), "65,535 bytes need no option");

    let short = whole(link_type::RAW, &ipv6_of(0, 0, &payload[..5000]));
    assert!(short.has(flags::MALFORMED | flags::PORTS), "longer than the packet");
    payload[4..8].copy_from_slice(&5000_u32.to_be_bytes());
    let small = whole(link_type::RAW, &ipv6_of(0, 0, &payload[..5000]));
    assert!(small.has(flags::MALFORMED | flags::PORTS), "a length that needs no option");

    let fragment = |field: [u8; 2]| {
        let mut payload = vec![44, 0, 0xC2, 4];
        payload.extend(length.to_be_bytes());
        payload.extend([17, 0, field[0], field[1], 0, 0, 0, 1]);
        payload.extend(udp((1, 2), b""));
        payload[20..22].fill(0);
        payload.resize(length as usize, 0xAA);
        let packet = ipv6_of(0, 0, &payload);
        let captured = parse(link_type::RAW, &packet[..100], packet.len() as u32).unwrap();
        assert_eq!(captured.flags & WRONG, u32::from(field != [0, 0]) * flags::MALFORMED, "{field:?}, 100 bytes of it");
        whole(link_type::RAW, &packet)
    };
    assert_eq!((ports(&fragment([0, 0])), fragment([0, 0]).flags & WRONG), (Some((1, 2)), 0), "an atomic fragment");
    for field in [[0, 8], [0, 1], [0, 9]] {
        assert!(fragment(field).has(flags::MALFORMED), "{field:?}: no jumbogram is a fragment");
    }
}

#[test]
fn a_hop_by_hop_header_behind_a_payload_length_of_0_is_walked_all_the_same() {
    let mut payload = vec![17, 0, 1, 4, 0, 0, 0, 0];
    payload.extend(udp((1, 2), b"x"));
    let flow = whole(link_type::RAW, &ipv6_of(0, 0, &payload));
    assert!(flow.has(flags::MALFORMED), "no Jumbo Payload option");
    assert_eq!((flow.protocol, ports(&flow)), (17, Some((1, 2))));
    let jumbo = ipv6_of(0, 0, &[[17, 0, 0xC2, 4, 0, 1, 0x11, 0x70], [0; 8]].concat());
    for length in 40..48 {
        let flow = parse(link_type::RAW, &jumbo[..length], 70_040).unwrap();
        assert_eq!(flow.flags & WRONG, flags::TRUNCATED, "{length} bytes, and the option may come");
    }
}

// Transport

#[test]
fn all_protocols_with_ports_have_ports() {
    let head = [0, 7, 0, 9];
    for (protocol, rest, payload) in [
        (136, vec![0, 0, 0, 0, 1, 2], 2_u32),
        (132, vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 2], 2),
        (33, vec![3, 0, 0, 0, 0, 0, 0, 0, 1, 2], 2),
        (33, vec![4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2], 2),
    ] {
        let transport = [head.as_slice(), &rest].concat();
        for packet in [ipv4(protocol, &transport), ipv6(protocol, &transport)] {
            let flow = whole(link_type::RAW, &packet);
            assert_eq!(
                (ports(&flow), flow.flags & WRONG, flow.payload_length),
                (Some((7, 9)), 0, payload),
                "{protocol}"
            );
        }
    }
    let dccp = [head.as_slice(), &[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert!(whole(link_type::RAW, &ipv4(33, &dccp)).has(flags::MALFORMED), "12 bytes cannot hold a long number");
    let lite = [head.as_slice(), &[0, 7, 0, 0]].concat();
    assert!(whole(link_type::RAW, &ipv4(136, &lite)).has(flags::MALFORMED), "a coverage inside the header");
}

#[test]
fn icmp_of_both_kinds_has_type_and_code() {
    let flow = whole(link_type::RAW, &ipv4(1, &[3, 4, 0, 0, 0, 0, 5, 0xDC]));
    assert!(flow.has(flags::ICMP) && !flow.has(flags::PORTS));
    assert_eq!((flow.icmp_type, flow.icmp_code, flow.flags & WRONG), (3, 4, 0));
    let flow = whole(link_type::RAW, &ipv6(58, &[135, 0, 0, 0]));
    assert_eq!((flow.icmp_type, flow.icmp_code, flow.has(flags::ICMP)), (135, 0, true));
    let flow = whole(link_type::RAW, &ipv4(58, &[135, 0, 0, 0]));
    assert!(!flow.has(flags::ICMP), "ICMPv6 belongs to IPv6");
}

#[test]
fn protocols_without_ports_are_named_and_left_alone() {
    for protocol in [2, 50, 89] {
        let flow = whole(link_type::RAW, &ipv4(protocol, &[0xFF; 16]));
        assert_eq!((flow.protocol, flow.transport_offset, flow.payload_offset), (protocol, 20, 0));
        assert_eq!(flow.flags, flags::ADDRESSES | flags::PROTOCOL);
    }
}

#[test]
fn tcp_and_udp_lengths_that_cannot_be_are_malformed() {
    let mut segment = tcp((1, 2), 2, b"");
    segment[12] = 0x40;
    let flow = whole(link_type::RAW, &ipv4(6, &segment));
    assert!(flow.has(flags::MALFORMED | flags::PORTS | flags::TCP_FLAGS), "a data offset of 4");
    segment[12] = 0x60;
    assert!(whole(link_type::RAW, &ipv4(6, &segment)).has(flags::MALFORMED), "options behind the end");
    for length in [7_u16, 200] {
        let mut datagram = udp((1, 2), b"x");
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        let flow = whole(link_type::RAW, &ipv4(17, &datagram));
        assert!(flow.has(flags::MALFORMED | flags::PORTS), "{length}");
        assert_eq!(flow.payload_length, if length == 7 { 0 } else { 1 }, "{length}");
    }
    // What UDP-Lite has there is how much of the datagram its checksum is about.
    for (coverage, wrong) in [(0_u16, 0), (1, 1), (7, 1), (8, 0), (9, 0), (10, 1)] {
        let mut datagram = udp((1, 2), b"x");
        datagram[4..6].copy_from_slice(&coverage.to_be_bytes());
        let flow = whole(link_type::RAW, &ipv4(136, &datagram));
        assert_eq!((flow.flags & WRONG, flow.payload_length), (wrong * flags::MALFORMED, 1), "{coverage}");
    }
}

#[test]
fn addresses_are_in_network_order() {
    let flow = whole(link_type::RAW, &ipv4(17, &udp((1, 2), b"x")));
    assert_eq!(Ipv4Addr::from(*flow.source_address.first_chunk::<4>().unwrap()), Ipv4Addr::new(192, 0, 2, 1));
    let flow = whole(link_type::RAW, &ipv6(17, &udp((1, 2), b"x")));
    assert_eq!(Ipv6Addr::from(flow.destination_address), "2001:db8::2".parse::<Ipv6Addr>().unwrap());
    assert_eq!(flow.flags, flags::ADDRESSES | flags::PROTOCOL | flags::PORTS);
    let flow = whole(link_type::ETHERNET, &ethernet(0x88A8, &[&[0, 1, 0x86, 0xDD], &ipv6(59, &[])[..]].concat()));
    assert_eq!(flow.flags, flags::ETHER_TYPE | flags::ADDRESSES | flags::PROTOCOL);
}
