//! Packets, made layer by layer, and what is read from them.

use std::net::Ipv6Addr;

use sluice_core::{NameText, parse, parse_with_name};
use sluice_npi::{Flow, flags, link_type};

pub const SOURCE: [u8; 4] = [192, 0, 2, 1];
pub const DESTINATION: [u8; 4] = [198, 51, 100, 2];
/// Flags that no packet of these tests may have by accident.
pub const WRONG: u32 = flags::MALFORMED | flags::TRUNCATED;

pub fn whole(link: u16, packet: &[u8]) -> Flow {
    parse(link, packet, packet.len() as u32).expect("the link type is known")
}

pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

pub fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, &[], 0, payload)
}

/// `fragment` is the field with flags and offset.
pub fn ipv4_with(protocol: u8, options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4));
    let header_length = 20 + options.len();
    let mut packet = vec![0x40 | (header_length / 4) as u8, 0];
    packet.extend(((header_length + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(SOURCE);
    packet.extend(DESTINATION);
    packet.extend(options);
    packet.extend(payload);
    packet
}

pub fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    ipv6_of(next, payload.len() as u16, payload)
}

pub fn ipv6_of(next: u8, length: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    packet.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    packet
}

pub fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut datagram = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

pub fn tcp(ports: (u16, u16), tcp_flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, tcp_flags, 0xFF, 0xFF, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

pub fn ports(flow: &Flow) -> Option<(u16, u16)> {
    flow.has(flags::PORTS).then_some((flow.source_port, flow.destination_port))
}

pub fn name<'packet>(flow: &Flow, packet: &'packet [u8]) -> &'packet [u8] {
    &packet[flow.name_offset as usize..][..usize::from(flow.name_length)]
}

/// A query for www.example.com, type AAAA.
pub fn query() -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(b"\x03www\x07example\x03com\0\x00\x1c\x00\x01");
    message
}

/// A ClientHello with these extensions, as a handshake message.
pub fn hello(extensions: &[u8]) -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.push(32);
    hello.extend([8; 32]);
    hello.extend([0, 2, 0x13, 1, 1, 0]);
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    let length = hello.len() as u32;
    [&[1], &length.to_be_bytes()[1..], hello.as_slice()].concat()
}

/// A record of TLS.
pub fn record(kind: u8, contents: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], (contents.len() as u16).to_be_bytes().as_slice(), contents].concat()
}

/// The same in one record.
pub fn client_hello(extensions: &[u8]) -> Vec<u8> {
    record(22, &hello(extensions))
}

/// An extension of this type.
pub fn extension(kind: u16, contents: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().as_slice(), &(contents.len() as u16).to_be_bytes(), contents].concat()
}

/// What is read of a raw IP packet, and the name in it as text.
pub fn with_name(packet: &[u8]) -> (Flow, String) {
    let (mut flow, mut text) = (Flow::default(), None);
    parse_with_name(link_type::RAW, packet, packet.len() as u32, &mut flow, &mut text).expect("it is known");
    let name = if flow.has(flags::NAME_ASSEMBLED) {
        let text: &NameText = text.as_ref().expect("the text of the name");
        assert_eq!((flow.name_offset, usize::from(flow.name_length)), (0, text.as_bytes().len()));
        text.as_bytes()
    } else {
        name(&flow, packet)
    };
    (flow, String::from_utf8_lossy(name).into_owned())
}

/// What is read of a payload of TCP, and the name in it.
pub fn over_tcp(ports: (u16, u16), payload: &[u8]) -> (Flow, String) {
    with_name(&ipv4(6, &tcp(ports, 0x18, payload)))
}

/// What is read of a payload of UDP.
pub fn over_udp(ports: (u16, u16), payload: &[u8]) -> Flow {
    with_name(&ipv4(17, &udp(ports, payload))).0
}

pub fn server_name(name: &[u8]) -> Vec<u8> {
    let length = name.len() as u16;
    let mut extension = vec![0, 0];
    for length in [length + 5, length + 3] {
        extension.extend(length.to_be_bytes());
    }
    extension.push(0);
    extension.extend(length.to_be_bytes());
    extension.extend(name);
    extension
}
