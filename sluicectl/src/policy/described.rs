//! A packet built from its description. Fields that are not given are 0.

use std::net::IpAddr;

use std::sync::OnceLock;

use sluice_core::ether_type;
use sluice_core::protocol::{self, DCCP, ICMP, ICMPV6, SCTP, TCP, UDP, UDP_LITE};
use sluice_npi::{direction, link_type};

use super::host_name::host_name;
use crate::args::{Described, FragmentArg, NameKindArg};
use crate::capture::RecordedPacket;

const DNS_PORT: u16 = 53;
const HTTP_PORT: u16 = 80;
const TLS_PORT: u16 = 443;

/// How many bytes of payload a frame has that is not IP: with its header, the shortest Ethernet frame.
const SHORTEST_PAYLOAD: usize = 46;

/// The first field of the flow of a later fragment that is not 0: 185 times 8 bytes, as for an MTU of 1,500.
const LATER_OFFSET: u16 = 185;

/// The packet, as a capture would hold it; the error says what cannot be described.
pub(super) fn packet(described: &Described) -> Result<RecordedPacket, String> {
    let (mut bytes, is_frame) = match described.ether_type {
        Some(ether_type) => (not_ip(described, ether_type), true),
        None => ip(described)?,
    };
    let wire_length = bytes.len() as u32;
    if described.truncated {
        bytes.pop();
    }
    let link_type = if is_frame { link_type::ETHERNET } else { link_type::RAW };
    Ok(RecordedPacket {
        number: 1,
        time: None,
        link_type,
        direction: direction::UNSPECIFIED,
        wire_length,
        bytes,
        assembled: OnceLock::default(),
    })
}

/// An Ethernet frame with nothing in it.
fn not_ip(described: &Described, ether_type: u16) -> Vec<u8> {
    [frame_header(described.vlan, ether_type), vec![0; SHORTEST_PAYLOAD]].concat()
}

/// Addresses, a VLAN tag perhaps, and the EtherType.
fn frame_header(vlan: Option<u16>, ether_type: u16) -> Vec<u8> {
    let tag = vlan.map_or_else(Vec::new, |id| [ether_type::VLAN, id].map(u16::to_be_bytes).concat());
    [&[0; 12][..], &tag, &ether_type.to_be_bytes()].concat()
}

/// An IP packet, and whether it is in a frame because of its VLAN tag.
fn ip(described: &Described) -> Result<(Vec<u8>, bool), String> {
    let is_v6 = match (described.source, described.destination) {
        (Some(source), Some(destination)) if source.is_ipv4() != destination.is_ipv4() => {
            return Err("source and destination are of different versions of IP".to_owned());
        }
        (Some(address), _) | (None, Some(address)) => address.is_ipv6(),
        (None, None) => described.protocol == Some(ICMPV6),
    };
    let protocol = protocol(described, is_v6)?;
    let mut payload = match described.fragment {
        Some(FragmentArg::Later) => vec![0; 8],
        _ => transport(described, protocol)?,
    };
    // A fragment with others after it has a multiple of 8 bytes.
    if described.fragment == Some(FragmentArg::First) {
        payload.resize(payload.len().next_multiple_of(8), 0);
    }
    let header =
        if is_v6 { ipv6(described, protocol, payload.len()) } else { ipv4(described, protocol, payload.len()) };
    let packet = [header, payload].concat();
    let Some(id) = described.vlan else { return Ok((packet, false)) };
    let behind = if is_v6 { ether_type::IPV6 } else { ether_type::IPV4 };
    Ok(([frame_header(Some(id), behind), packet].concat(), true))
}

/// The protocol that was given, or that follows from the other fields.
fn protocol(described: &Described, is_v6: bool) -> Result<u8, String> {
    let icmp = if is_v6 { ICMPV6 } else { ICMP };
    let has_ports = described.source_port.is_some() || described.destination_port.is_some();
    let name_needs: &[u8] = match described.name_kind {
        None => &[TCP, UDP],
        Some(NameKindArg::Dns) => &[UDP],
        Some(NameKindArg::Tls | NameKindArg::Http) => &[TCP],
    };
    let wrong = |why: &str| Err(why.to_owned());
    match described.protocol {
        Some(protocol) if has_ports && !protocol::WITH_PORTS.contains(&protocol) => {
            wrong("the protocol has no ports; tcp, udp, udplite, sctp and dccp have")
        }
        Some(protocol) if described.name.is_some() && !name_needs.contains(&protocol) => {
            wrong("a name needs the protocol udp (DNS) or tcp (TLS, HTTP)")
        }
        Some(protocol) if described.icmp.is_some() && protocol != icmp => {
            wrong("an ICMP type needs the protocol icmp, or ipv6-icmp with IPv6 addresses")
        }
        Some(protocol) if described.tcp_flags.is_some() && protocol != TCP => wrong("TCP flags need the protocol tcp"),
        Some(protocol) => Ok(protocol),
        None if described.icmp.is_some() && !has_ports && described.name.is_none() => Ok(icmp),
        None => wrong("--protocol is missing, such as --protocol tcp"),
    }
}

fn address_bytes(address: Option<IpAddr>, length: usize) -> Vec<u8> {
    match address {
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        Some(IpAddr::V6(address)) => address.octets().to_vec(),
        None => vec![0; length],
    }
}

/// A header of 20 bytes (RFC 791, 3.1).
fn ipv4(described: &Described, protocol: u8, payload: usize) -> Vec<u8> {
    const MORE_FRAGMENTS: u16 = 0x2000;
    let fragment = match described.fragment {
        None => 0,
        Some(FragmentArg::First) => MORE_FRAGMENTS,
        Some(FragmentArg::Later) => LATER_OFFSET,
    };
    // A malformed one is shorter than its own header.
    let length = if described.malformed && !has_own_fault(protocol) { 19 } else { 20 + payload };
    let mut header = vec![0x45, 0];
    header.extend(length_field(length));
    header.extend([0, 0]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(address_bytes(described.source, 4));
    header.extend(address_bytes(described.destination, 4));
    header
}

/// A header of 40 bytes (RFC 8200, 3), and the one of a fragment (4.5).
fn ipv6(described: &Described, protocol: u8, payload: usize) -> Vec<u8> {
    let fragment = described.fragment.map(|kind| match kind {
        FragmentArg::First => 1,
        FragmentArg::Later => LATER_OFFSET << 3,
    });
    let fragment: Vec<u8> = fragment
        .map_or_else(Vec::new, |offset: u16| [&[protocol, 0][..], &offset.to_be_bytes(), &[0, 0, 0, 1]].concat());
    // The version of a malformed one is another.
    let version = if described.malformed && !has_own_fault(protocol) { 0x50 } else { 0x60 };
    let mut header = vec![version, 0, 0, 0];
    header.extend(length_field(fragment.len() + payload));
    header.extend([if fragment.is_empty() { protocol } else { protocol::FRAGMENT }, 64]);
    header.extend(address_bytes(described.source, 16));
    header.extend(address_bytes(described.destination, 16));
    header.extend(fragment);
    header
}

/// Whether a malformed packet of this protocol contradicts itself in the transport header, behind its ports.
fn has_own_fault(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP)
}

/// A length in 16 bits. Nothing here is longer: a host name has at most 253 characters.
fn length_field(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// The transport header and its payload.
fn transport(described: &Described, protocol: u8) -> Result<Vec<u8>, String> {
    let name = described.name.as_deref().map(host_name).transpose();
    let name = name.map_err(|why| format!("the name {}: {why}", described.name.as_deref().unwrap_or_default()))?;
    let kind = described.name_kind.unwrap_or(if protocol == UDP { NameKindArg::Dns } else { NameKindArg::Tls });
    let name_port = match kind {
        _ if name.is_none() => 0,
        NameKindArg::Dns => DNS_PORT,
        NameKindArg::Tls => TLS_PORT,
        NameKindArg::Http => HTTP_PORT,
    };
    let ports = [described.source_port.unwrap_or(0), described.destination_port.unwrap_or(name_port)]
        .map(u16::to_be_bytes)
        .concat();
    let payload = name.map_or_else(Vec::new, |name| match kind {
        NameKindArg::Dns => dns_question(&name),
        NameKindArg::Tls => client_hello(&name),
        NameKindArg::Http => format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes(),
    });
    Ok(match protocol {
        TCP => {
            const ACK_PSH: u8 = 0x18;
            let flags =
                described.tcp_flags.as_ref().map_or(ACK_PSH, |flags| flags.iter().fold(0, |all, bit| all | bit));
            // A header of 5 words; of a malformed one, less.
            let words = if described.malformed { 0x40 } else { 0x50 };
            // Sequence numbers; window, checksum, urgent pointer.
            [&ports[..], &[0; 8], &[words, flags], &[0; 6], &payload].concat()
        }
        UDP | UDP_LITE => {
            let length = if described.malformed { 7 } else { 8 + payload.len() };
            [&ports[..], &length_field(length), &[0, 0], &payload].concat()
        }
        SCTP => [&ports[..], &[0; 8]].concat(),
        // The header has 4 words (RFC 4340, 5.1).
        DCCP => [&ports[..], &[4], &[0; 3], &[1], &[0; 7]].concat(),
        ICMP | ICMPV6 => {
            let (kind, code) = described.icmp.unwrap_or((0, 0));
            [&[kind, code][..], &[0; 6]].concat()
        }
        _ => Vec::new(),
    })
}

/// A query for the address of `name` (RFC 1035, 4.1).
fn dns_question(name: &str) -> Vec<u8> {
    // Recursion desired, one question.
    let mut message = vec![0, 0, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        // `host_name` has checked that a label has at most 63 characters.
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    // The root, type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// A ClientHello with nothing but a server name (RFC 8446, 4.1.2; RFC 6066, 3).
fn client_hello(name: &str) -> Vec<u8> {
    let with_length = |body: Vec<u8>| [length_field(body.len()).to_vec(), body].concat();
    let host_name = [vec![0], with_length(name.as_bytes().to_vec())].concat();
    let server_name = [vec![0, 0], with_length(with_length(host_name))].concat();
    let hello = [
        // TLS 1.2 (which TLS 1.3 says as well), 32 random bytes, no session, one cipher suite, no compression.
        vec![3, 3],
        vec![0; 32],
        vec![0],
        with_length(vec![0x13, 0x01]),
        vec![1, 0],
        with_length(server_name),
    ]
    .concat();
    // A handshake message has a length of 24 bits.
    let handshake = [vec![1, 0], with_length(hello)].concat();
    [vec![22, 3, 1], with_length(handshake)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "a.example";

    fn described(protocol: u8) -> Described {
        Described { protocol: Some(protocol), ..Described::default() }
    }

    /// The bytes of hexadecimal digits; `..` stands for 12 zeros.
    fn hex(text: &str) -> Vec<u8> {
        let digits = text.replace("..", &"00".repeat(12)).replace(' ', "");
        let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
        (0..digits.len() / 2).map(byte).collect()
    }

    #[track_caller]
    fn assert_is(described: &Described, link_type: u16, expected: &[u8]) {
        let packet = packet(described).unwrap();
        assert_eq!((packet.link_type, packet.wire_length as usize), (link_type, expected.len()), "{described:?}");
        assert_eq!(packet.bytes, expected, "{described:?}");
    }

    /// A packet of IPv4 between addresses that are not given.
    #[track_caller]
    fn assert_has_payload(described: &Described, protocol: u8, payload: &[u8]) {
        let length = u8::try_from(20 + payload.len()).unwrap();
        let header = hex(&format!("4500 00{length:02x} 0000 0000 40{protocol:02x} 0000 00000000 00000000"));
        assert_is(described, link_type::RAW, &[&header, payload].concat());
    }

    /// Headers of RFC 9293 (3.1), RFC 768, RFC 3828, RFC 9260 (3), RFC 4340 (5.1), RFC 792 and RFC 4443 (2.1).
    #[test]
    fn each_protocol_has_its_header() {
        let ports = |protocol| Described { source_port: Some(1000), destination_port: Some(80), ..described(protocol) };
        for (protocol, header) in [
            (TCP, "03e8 0050 00000000 00000000 5018 0000 0000 0000"),
            (UDP, "03e8 0050 0008 0000"),
            (UDP_LITE, "03e8 0050 0008 0000"),
            (SCTP, "03e8 0050 00000000 00000000"),
            (DCCP, "03e8 0050 04 00 0000 01 00 0000 00000000"),
        ] {
            assert_has_payload(&ports(protocol), protocol, &hex(header));
        }
        let flags = Described { tcp_flags: Some(vec![2, 16, 2]), ..ports(TCP) };
        assert_has_payload(&flags, TCP, &hex("03e8 0050 00000000 00000000 5012 0000 0000 0000"));
        let no_flags = Described { tcp_flags: Some(vec![]), ..described(TCP) };
        assert_has_payload(&no_flags, TCP, &hex("0000 0000 00000000 00000000 5000 0000 0000 0000"));
        assert_has_payload(&described(ICMP), ICMP, &[0; 8]);
        assert_has_payload(&described(47), 47, &[]);
        let unreachable = Described { icmp: Some((3, 4)), ..Described::default() };
        assert_has_payload(&unreachable, ICMP, &hex("0304 0000 00000000"));
        assert_has_payload(&Described { protocol: Some(ICMP), ..unreachable }, ICMP, &hex("0304 0000 00000000"));
    }

    #[test]
    fn a_malformed_packet_contradicts_itself_in_one_field() {
        let malformed = |protocol| Described { malformed: true, ..described(protocol) };
        // Four words of a header that has five; seven bytes of a datagram that has a header of eight.
        assert_has_payload(&malformed(TCP), TCP, &hex("0000 0000 00000000 00000000 4018 0000 0000 0000"));
        assert_has_payload(&malformed(UDP), UDP, &hex("0000 0000 0007 0000"));
        // 19 bytes of a packet that has a header of 20; version 5 in a packet of version 6.
        assert_is(&malformed(47), link_type::RAW, &hex("4500 0013 0000 0000 402f 0000 00000000 00000000"));
        let ipv6 = |protocol| Described { destination: Some("::1".parse().unwrap()), ..malformed(protocol) };
        assert_is(&ipv6(47), link_type::RAW, &hex("50000000 0000 2f40 .. 00000000 .. 00000001"));
        let datagram = "60000000 0008 1140 .. 00000000 .. 00000001 0000 0000 0007 0000";
        assert_is(&ipv6(UDP), link_type::RAW, &hex(datagram));
    }

    #[test]
    fn addresses_are_those_of_their_version() {
        let [source, destination] = ["192.0.2.7", "198.51.100.9"].map(|address| Some(address.parse().unwrap()));
        let ipv4 = Described { source, destination, ..described(47) };
        assert_is(&ipv4, link_type::RAW, &hex("4500 0014 0000 0000 402f 0000 c0000207 c6336409"));
        let [source, destination] = ["2001:db8::7", "fe80::9"].map(|address| Some(address.parse().unwrap()));
        let ipv6 = Described { source, destination, ..described(47) };
        let header = "60000000 0000 2f40 20010db8 00000000 00000000 00000007 fe800000 00000000 00000000 00000009";
        assert_is(&ipv6, link_type::RAW, &hex(header));
        assert_is(
            &described(ICMPV6),
            link_type::RAW,
            &hex("60000000 0008 3a40 .. 00000000 .. 00000000 0000 0000 00000000"),
        );
        let mixed = Described { source, destination: ipv4.destination, ..described(47) };
        assert_eq!(packet(&mixed).unwrap_err(), "source and destination are of different versions of IP");
    }

    /// RFC 791 (3.1) and RFC 8200 (4.5): offsets in units of 8 bytes, 185 times 8 is 1,480.
    #[test]
    fn fragments_have_their_offset_and_more_behind_the_first() {
        let ipv4 = |kind| Described { fragment: Some(kind), destination_port: Some(80), ..described(TCP) };
        let first = "4500 002c 0000 2000 4006 0000 00000000 00000000 \
                     0000 0050 00000000 00000000 5018 0000 0000 0000 00000000";
        assert_is(&ipv4(FragmentArg::First), link_type::RAW, &hex(first));
        let later = "4500 001c 0000 00b9 4006 0000 00000000 00000000 00000000 00000000";
        assert_is(&ipv4(FragmentArg::Later), link_type::RAW, &hex(later));
        let source = Some("::1".parse().unwrap());
        let ipv6 = |kind| Described { fragment: Some(kind), source, ..described(UDP) };
        let first = "60000000 0010 2c40 .. 00000001 .. 00000000 1100 0001 00000001 0000 0000 0008 0000";
        assert_is(&ipv6(FragmentArg::First), link_type::RAW, &hex(first));
        let later = "60000000 0010 2c40 .. 00000001 .. 00000000 1100 05c8 00000001 00000000 00000000";
        assert_is(&ipv6(FragmentArg::Later), link_type::RAW, &hex(later));
    }

    /// IEEE 802.1Q: the tag is 0x8100 and the id.
    #[test]
    fn a_frame_is_there_for_a_tag_and_for_what_is_not_ip() {
        let tagged = Described { vlan: Some(7), ..described(47) };
        let frame = ".. 8100 0007 0800 4500 0014 0000 0000 402f 0000 00000000 00000000";
        assert_is(&tagged, link_type::ETHERNET, &hex(frame));
        let ipv6 = Described { source: Some("::1".parse().unwrap()), ..tagged };
        let frame = ".. 8100 0007 86dd 60000000 0000 2f40 .. 00000001 .. 00000000";
        assert_is(&ipv6, link_type::ETHERNET, &hex(frame));
        // 60 bytes, the shortest frame without its checksum.
        let arp = Described { ether_type: Some(0x0806), ..Described::default() };
        assert_is(&arp, link_type::ETHERNET, &[&hex(".. 0806")[..], &[0; 46]].concat());
        let arp = Described { vlan: Some(0x0ABC), ..arp };
        assert_is(&arp, link_type::ETHERNET, &[&hex(".. 8100 0abc 0806")[..], &[0; 46]].concat());
    }

    #[test]
    fn a_truncated_packet_lacks_its_last_byte() {
        let whole = Described { icmp: Some((3, 4)), ..Described::default() };
        let truncated = packet(&Described { truncated: true, ..whole.clone() }).unwrap();
        assert_eq!((truncated.wire_length, truncated.bytes.len()), (28, 27));
        assert_eq!(truncated.bytes, packet(&whole).unwrap().bytes[..27]);
    }

    /// RFC 1035 (4.1), RFC 8446 (4.1.2 and 5.1) with RFC 6066 (3), and RFC 9112.
    #[test]
    fn a_name_is_in_a_question_a_hello_or_a_request() {
        let named = |protocol| Described { name: Some(NAME.to_owned()), ..described(protocol) };
        let label = "01 61 07 6578616d706c65 00";
        let question = hex(&format!("0000 0100 0001 0000 0000 0000 {label} 0001 0001"));
        let datagram = [&hex("0000 0035 0023 0000")[..], &question].concat();
        assert_has_payload(&named(UDP), UDP, &datagram);
        let name_kind = Some(NameKindArg::Dns);
        assert_has_payload(&Described { name_kind, ..named(UDP) }, UDP, &datagram);

        let segment = |port: &str, data: &[u8]| {
            let header = hex(&format!("0000 {port} 00000000 00000000 5018 0000 0000 0000"));
            [&header, data].concat()
        };
        let hello = [
            &hex("16 0301 0041 01 00003d 0303 .. .. 0000000000000000 00 0002 1301 01 00")[..],
            &hex("0012 0000 000e 000c 00 0009"),
            NAME.as_bytes(),
        ]
        .concat();
        assert_has_payload(&named(TCP), TCP, &segment("01bb", &hello));
        let name_kind = Some(NameKindArg::Tls);
        assert_has_payload(&Described { name_kind, ..named(TCP) }, TCP, &segment("01bb", &hello));
        let name_kind = Some(NameKindArg::Http);
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_has_payload(&Described { name_kind, ..named(TCP) }, TCP, &segment("0050", request));
        let elsewhere = Described { destination_port: Some(8080), name_kind, ..named(TCP) };
        assert_has_payload(&elsewhere, TCP, &segment("1f90", request));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let name = || Some(NAME.to_owned());
        let dns = Some(NameKindArg::Dns);
        for (wrong, why) in [
            (Described { source_port: Some(1), ..described(ICMP) }, "the protocol has no ports"),
            (Described { destination_port: Some(1), ..described(47) }, "the protocol has no ports"),
            (Described { name: name(), ..described(SCTP) }, "a name needs the protocol"),
            (Described { name: name(), name_kind: dns, ..described(TCP) }, "a name needs the protocol"),
            (Described { icmp: Some((8, 0)), ..described(ICMPV6 + 1) }, "an ICMP type needs the protocol"),
            (
                Described { icmp: Some((8, 0)), source: Some("::1".parse().unwrap()), ..described(ICMP) },
                "an ICMP type needs the protocol",
            ),
            (Described { tcp_flags: Some(vec![2]), ..described(UDP) }, "TCP flags need"),
            (Described { icmp: Some((8, 0)), name: name(), ..Described::default() }, "--protocol is missing"),
            (Described { icmp: Some((8, 0)), source_port: Some(1), ..Described::default() }, "--protocol is missing"),
            (Described { name: name(), ..Described::default() }, "--protocol is missing"),
            (Described { name: Some("a b".to_owned()), ..described(TCP) }, "the name a b: ' ' is not allowed"),
        ] {
            let found = packet(&wrong).unwrap_err();
            assert!(found.starts_with(why), "{wrong:?}: {found}");
        }
    }
}
