//! Parsing, one packet a call, beside three crates.

use std::hint::black_box;

use etherparse::{InternetSlice, SlicedPacket, TransportSlice};
use pnet_packet::ethernet::{EtherType, EthernetPacket};
use pnet_packet::{Packet as _, ipv4, ipv6, tcp, udp, vlan};
use sluice_npi::{Flow, flags, link_type};
use smoltcp::wire;

use crate::common::captures;
use crate::{Ratio, Time, figure, measure, tcp_frame};

/// What every parser has to find.
#[derive(Clone, Copy, Default)]
struct Tuple {
    source: [u8; 16],
    destination: [u8; 16],
    ports: (u16, u16),
    vlan: u16,
    protocol: u8,
    version: u8,
    fragment: bool,
}

/// What the peers do: the headers. The flow is larger than their tuple.
#[inline(never)]
fn headers_of_sluice(packet: &[u8], flow: &mut Flow) {
    _ = sluice_core::parse_headers_into(link_type::ETHERNET, packet, packet.len() as u32, flow);
}

/// The headers, and the names in the payload.
#[inline(never)]
fn of_sluice(packet: &[u8], flow: &mut Flow) {
    _ = sluice_core::parse_into(link_type::ETHERNET, packet, packet.len() as u32, flow);
}

#[inline(never)]
fn of_etherparse(packet: &[u8], tuple: &mut Tuple) {
    *tuple = Tuple::default();
    let Ok(sliced) = SlicedPacket::from_ethernet(packet) else {
        return;
    };
    if let Some(id) = sliced.vlan_ids().first() {
        tuple.vlan = id.value();
    }
    match &sliced.net {
        Some(InternetSlice::Ipv4(ip)) => {
            tuple.version = 4;
            tuple.source[..4].copy_from_slice(&ip.header().source());
            tuple.destination[..4].copy_from_slice(&ip.header().destination());
            tuple.protocol = ip.payload_ip_number().0;
            tuple.fragment = ip.is_payload_fragmented();
        }
        Some(InternetSlice::Ipv6(ip)) => {
            tuple.version = 6;
            tuple.source = ip.header().source();
            tuple.destination = ip.header().destination();
            tuple.protocol = ip.payload().ip_number.0;
            tuple.fragment = ip.is_payload_fragmented();
        }
        _ => {}
    }
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => tuple.ports = (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => tuple.ports = (udp.source_port(), udp.destination_port()),
        _ => {}
    }
}

fn smoltcp_ports(tuple: &mut Tuple, protocol: u8, payload: &[u8]) {
    tuple.protocol = protocol;
    match protocol {
        6 => {
            if let Ok(tcp) = wire::TcpPacket::new_checked(payload) {
                tuple.ports = (tcp.src_port(), tcp.dst_port());
            }
        }
        17 => {
            if let Ok(udp) = wire::UdpPacket::new_checked(payload) {
                tuple.ports = (udp.src_port(), udp.dst_port());
            }
        }
        _ => {}
    }
}

#[inline(never)]
fn of_smoltcp(packet: &[u8], tuple: &mut Tuple) {
    *tuple = Tuple::default();
    let Ok(frame) = wire::EthernetFrame::new_checked(packet) else {
        return;
    };
    // smoltcp has no VLAN tags.
    let mut number = u16::from(frame.ethertype());
    let mut payload = frame.payload();
    while matches!(number, 0x8100 | 0x88A8) {
        let Some((tag, rest)) = payload.split_first_chunk::<4>() else {
            return;
        };
        tuple.vlan = u16::from_be_bytes([tag[0] & 0x0F, tag[1]]);
        number = u16::from_be_bytes([tag[2], tag[3]]);
        payload = rest;
    }
    match number {
        0x0800 => {
            let Ok(ip) = wire::Ipv4Packet::new_checked(payload) else {
                return;
            };
            tuple.version = 4;
            tuple.source[..4].copy_from_slice(&ip.src_addr().octets());
            tuple.destination[..4].copy_from_slice(&ip.dst_addr().octets());
            tuple.fragment = ip.more_frags() || ip.frag_offset() != 0;
            if ip.frag_offset() == 0 {
                smoltcp_ports(tuple, ip.next_header().into(), ip.payload());
            }
        }
        0x86DD => {
            let Ok(ip) = wire::Ipv6Packet::new_checked(payload) else {
                return;
            };
            tuple.version = 6;
            tuple.source = ip.src_addr().octets();
            tuple.destination = ip.dst_addr().octets();
            let mut next = u8::from(ip.next_header());
            let mut payload = ip.payload();
            while matches!(next, 0 | 43 | 60) {
                let Ok(header) = wire::Ipv6ExtHeader::new_checked(payload) else {
                    return;
                };
                let length = usize::from(header.header_len()) * 8 + 8;
                next = header.next_header().into();
                let Some(rest) = payload.get(length..) else {
                    return;
                };
                payload = rest;
            }
            if next == 44 {
                let Some(([after, _, high, low, ..], rest)) = payload.split_first_chunk::<8>() else {
                    return;
                };
                tuple.fragment = true;
                if u16::from_be_bytes([*high, *low]) & 0xFFF8 != 0 {
                    return;
                }
                next = *after;
                payload = rest;
            }
            smoltcp_ports(tuple, next, payload);
        }
        _ => {}
    }
}

fn pnet_ports(tuple: &mut Tuple, protocol: u8, payload: &[u8]) {
    tuple.protocol = protocol;
    match protocol {
        6 => {
            if let Some(tcp) = tcp::TcpPacket::new(payload) {
                tuple.ports = (tcp.get_source(), tcp.get_destination());
            }
        }
        17 => {
            if let Some(udp) = udp::UdpPacket::new(payload) {
                tuple.ports = (udp.get_source(), udp.get_destination());
            }
        }
        _ => {}
    }
}

fn pnet_network(tuple: &mut Tuple, number: EtherType, payload: &[u8]) {
    match number.0 {
        0x0800 => {
            let Some(ip) = ipv4::Ipv4Packet::new(payload) else {
                return;
            };
            tuple.version = 4;
            tuple.source[..4].copy_from_slice(&ip.get_source().octets());
            tuple.destination[..4].copy_from_slice(&ip.get_destination().octets());
            tuple.fragment = ip.get_fragment_offset() != 0 || ip.get_flags() & 1 != 0;
            if ip.get_fragment_offset() == 0 {
                pnet_ports(tuple, ip.get_next_level_protocol().0, ip.payload());
            }
        }
        0x86DD => {
            let Some(ip) = ipv6::Ipv6Packet::new(payload) else {
                return;
            };
            tuple.version = 6;
            tuple.source = ip.get_source().octets();
            tuple.destination = ip.get_destination().octets();
            let mut next = ip.get_next_header().0;
            let mut payload = ip.payload();
            while matches!(next, 0 | 43 | 60) {
                let Some(header) = ipv6::ExtensionPacket::new(payload) else {
                    return;
                };
                next = header.get_next_header().0;
                let Some(rest) = payload.get(usize::from(header.get_hdr_ext_len()) * 8 + 8..) else {
                    return;
                };
                payload = rest;
            }
            if next == 44 {
                let Some(header) = ipv6::FragmentPacket::new(payload) else {
                    return;
                };
                tuple.fragment = true;
                if header.get_fragment_offset() != 0 {
                    return;
                }
                next = header.get_next_header().0;
                let Some(rest) = payload.get(8..) else {
                    return;
                };
                payload = rest;
            }
            pnet_ports(tuple, next, payload);
        }
        _ => {}
    }
}

#[inline(never)]
fn of_pnet(packet: &[u8], tuple: &mut Tuple) {
    *tuple = Tuple::default();
    let Some(frame) = EthernetPacket::new(packet) else {
        return;
    };
    let mut number = frame.get_ethertype();
    let mut payload = frame.payload();
    while matches!(number.0, 0x8100 | 0x88A8) {
        let Some(tag) = vlan::VlanPacket::new(payload) else {
            return;
        };
        tuple.vlan = tag.get_vlan_identifier();
        number = tag.get_ethertype();
        let Some(rest) = payload.get(4..) else {
            return;
        };
        payload = rest;
    }
    pnet_network(tuple, number, payload);
}

/// Works through all packets with one parser, which writes to the same place each time.
fn run<T: Default>(packets: &[&[u8]], parse: fn(&[u8], &mut T)) {
    let mut result = T::default();
    for packet in packets {
        parse(packet, &mut result);
        black_box(&mut result);
    }
}

/// The peers, and how much of their time reading the headers may take: on real packets, and on the synthetic ones.
const PEERS: [(&str, f64); 3] = [("pnet_packet", 0.95), ("smoltcp", 0.85), ("etherparse", 0.75)];

fn row(name: &str, packets: &[&[u8]]) {
    let [headers, all, peers @ ..] = measure(
        packets.len(),
        [
            &mut || run(packets, headers_of_sluice),
            &mut || run(packets, of_sluice),
            &mut || run(packets, of_pnet),
            &mut || run(packets, of_smoltcp),
            &mut || run(packets, of_etherparse),
        ],
    );
    figure("parse", name, "headers", headers);
    figure("parse", name, "headers and payload", all);
    for ((peer, target), time) in PEERS.iter().zip(peers) {
        let ratio = |ours: Time, target| Ratio { ratio: ours.fastest / time.fastest, to: peer, target };
        figure("parse", name, peer, time);
        figure("parse", name, "headers", ratio(headers, Some(*target)));
        figure("parse", name, "headers and payload", ratio(all, None));
    }
}

pub(crate) fn bench() {
    println!("Parsing to addresses, ports and VLAN id, one packet a call");
    let rng = &mut fastrand::Rng::with_seed(1);
    if let Some(captured) = captures::packets() {
        let frames: Vec<(&[u8], Flow)> = captured
            .iter()
            .filter(|packet| packet.link_type == link_type::ETHERNET)
            .filter_map(|packet| {
                Some((packet.data.as_slice(), sluice_core::parse(link_type::ETHERNET, &packet.data, 0).ok()?))
            })
            .collect();
        let of = |is_wanted: fn(&Flow) -> bool| -> Vec<&[u8]> {
            frames.iter().filter(|(_, flow)| is_wanted(flow)).map(|(frame, _)| *frame).collect()
        };
        // The peers read no packet in another one.
        for (name, packets) in [
            ("captured, all but tunnels", of(|flow| !flow.has(flags::TUNNEL))),
            ("captured, with IP, but tunnels", of(|flow| flow.ip_version != 0 && !flow.has(flags::TUNNEL))),
            ("captured, tunnels", of(|flow| flow.has(flags::TUNNEL))),
        ] {
            if !packets.is_empty() {
                let drawn: Vec<&[u8]> = (0..1_000_000).map(|_| packets[rng.usize(0..packets.len())]).collect();
                row(name, &drawn);
            }
        }
    }
    let synthetic: Vec<[u8; 64]> = (0..50_000).map(|_| tcp_frame(rng)).collect();
    let packets: Vec<&[u8]> = synthetic.iter().map(<[u8; 64]>::as_slice).collect();
    for parse in [of_pnet, of_smoltcp, of_etherparse] {
        let (mut tuple, mut flow) = (Tuple::default(), Flow::default());
        parse(packets[0], &mut tuple);
        of_sluice(packets[0], &mut flow);
        assert_eq!(tuple.ports, (flow.source_port, flow.destination_port), "every parser finds the ports");
        assert_eq!((tuple.source, tuple.destination), (flow.source_address, flow.destination_address));
    }
    row("TCP/IPv4, 64 bytes", &packets);
    row("the first 4,096 of them", &packets[..4096]);
}
