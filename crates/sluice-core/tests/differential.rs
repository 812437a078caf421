//! Sluice and etherparse read the same packets in the same way, wherever etherparse claims to understand a packet; and
//! so does tshark, where it is installed. The packets are those of SLUICE_CAPTURES, and changed copies of them.

mod common;

use std::process::Command;

use common::captures;
use common::layers::by_layers;
use etherparse::{InternetSlice, LinkSlice, SlicedPacket, TransportSlice};
use fastrand::Rng;
use sluice_core::parse;
use sluice_npi::{Flow, flags, link_type};

/// What both can say of a packet.
#[derive(Debug, PartialEq)]
struct Tuple {
    source: Vec<u8>,
    destination: Vec<u8>,
    ports: Option<(u16, u16)>,
    first_vlan: Option<u16>,
}

fn of_sluice(flow: &Flow) -> Option<Tuple> {
    let length = match flow.ip_version {
        4 => 4,
        6 => 16,
        _ => return None,
    };
    flow.has(flags::ADDRESSES).then(|| Tuple {
        source: flow.source_address[..length].to_vec(),
        destination: flow.destination_address[..length].to_vec(),
        ports: (flow.has(flags::PORTS) && matches!(flow.protocol, 6 | 17))
            .then_some((flow.source_port, flow.destination_port)),
        first_vlan: (flow.vlan_count > 0).then_some(flow.vlan_ids[0]),
    })
}

fn of_etherparse(packet: &SlicedPacket<'_>) -> Option<Tuple> {
    let (source, destination) = match packet.net.as_ref()? {
        InternetSlice::Ipv4(ip) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        InternetSlice::Ipv6(ip) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        InternetSlice::Arp(_) => return None,
    };
    let ports = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    };
    let _: Option<&LinkSlice<'_>> = packet.link.as_ref();
    Some(Tuple { source, destination, ports, first_vlan: packet.vlan_ids().first().map(|id| id.value()) })
}

fn compare(origin: &str, data: &[u8]) -> bool {
    let flow = parse(link_type::ETHERNET, data, data.len() as u32).unwrap();
    let Ok(theirs) = SlicedPacket::from_ethernet(data) else {
        return false;
    };
    let theirs_is_macsec = theirs.link_exts.iter().any(|ext| matches!(ext, etherparse::LinkExtSlice::Macsec(_)));
    // Sluice does not look behind MACsec. It looks into a first fragment, etherparse does not. The rest has to agree.
    if theirs_is_macsec || flow.has(flags::FRAGMENT) {
        return false;
    }
    if let Some(theirs) = of_etherparse(&theirs) {
        let ours = of_sluice(&flow).unwrap_or_else(|| panic!("{origin}: no addresses, etherparse: {theirs:?}"));
        assert_eq!(ours.source, theirs.source, "{origin}");
        assert_eq!(ours.destination, theirs.destination, "{origin}");
        assert_eq!(ours.first_vlan, theirs.first_vlan, "{origin}");
        if theirs.ports.is_some() {
            assert_eq!(ours.ports, theirs.ports, "{origin}");
        }
        return true;
    }
    false
}

#[test]
fn etherparse_reads_the_same_from_captures_and_from_changed_copies() {
    let Some(packets) = captures::packets() else {
        return;
    };
    let rng = &mut Rng::with_seed(1);
    let mut compared = 0;
    for packet in packets.iter().filter(|packet| packet.link_type == link_type::ETHERNET) {
        compared += usize::from(compare(&packet.origin, &packet.data));
        for round in 0..50 {
            let mut data = packet.data.clone();
            for _ in 0..rng.usize(1..5) {
                let end = data.len().min(80);
                if end > 0 {
                    data[rng.usize(0..end)] = rng.u8(..);
                }
            }
            if rng.u8(0..8) == 0 {
                data.truncate(rng.usize(0..=data.len()));
            }
            compared += usize::from(compare(&format!("{} changed, round {round}", packet.origin), &data));
        }
    }
    assert!(compared > 100, "only {compared} packets were compared");
}

#[test]
fn no_packet_of_any_capture_and_no_prefix_of_one_breaks_the_offsets() {
    let Some(packets) = captures::packets() else {
        return;
    };
    for packet in packets {
        for length in 0..=packet.data.len() {
            let Ok(flow) = parse(packet.link_type, &packet.data[..length], packet.wire_length) else {
                break;
            };
            let inside = |offset: u32, count: u32| offset as usize + count as usize <= length;
            let lies_inside = inside(flow.name_offset, flow.name_length.into())
                && inside(flow.payload_offset, flow.payload_length)
                && inside(flow.network_offset, 0)
                && inside(flow.transport_offset, 0);
            assert!(lies_inside, "{} cut to {length}: {flow:?}", packet.origin);
        }
    }
}

#[test]
fn the_short_cut_for_plain_frames_finds_what_the_layers_find() {
    let Some(packets) = captures::packets() else {
        return;
    };
    let rng = &mut Rng::with_seed(2);
    for packet in packets.iter().filter(|packet| packet.link_type == link_type::ETHERNET && packet.data.len() >= 14) {
        for round in 0..40 {
            let mut data = packet.data.clone();
            for _ in 0..round % 4 {
                let end = data.len().min(60);
                data[rng.usize(12..end.max(13))] = rng.u8(..);
            }
            if round % 5 == 0 {
                data.truncate(rng.usize(14..=data.len()));
            }
            let wire_length = packet.wire_length.max(data.len() as u32);
            let flow = parse(link_type::ETHERNET, &data, wire_length).unwrap();
            if let Some(by_layers) = by_layers(&data, wire_length) {
                assert_eq!(flow, by_layers, "{} round {round}", packet.origin);
            }
        }
    }
}

#[test]
fn the_short_cut_agrees_with_the_layers_on_every_ether_type_protocol_and_data_offset() {
    let agree = |frame: &[u8]| {
        for frame in [frame, &[&frame[..12], &[0x81, 0x00, 0xE0, 0x64], &frame[12..]].concat()] {
            let length = frame.len() as u32;
            let flow = parse(link_type::ETHERNET, frame, length).unwrap();
            assert_eq!(Some(flow), by_layers(frame, length), "{:02X?}", &frame[..frame.len().min(80)]);
        }
    };
    for number in 0..=u16::MAX {
        let longest = if number < 0x0600 { 1600 } else { 60 };
        for length in [14, 21, 22, longest] {
            let mut frame = vec![0; length];
            frame[12..14].copy_from_slice(&number.to_be_bytes());
            agree(&frame);
        }
    }
    for [hardware, protocol] in [[0, 0], [6, 4], [6, 16], [7, 4], [255, 255]] {
        for length in [40, 41, 42, 43, 44, 65, 66, 67, 1041, 1042] {
            let mut frame = vec![0; length];
            frame[12..14].copy_from_slice(&[0x08, 0x06]);
            frame[18..20].copy_from_slice(&[hardware, protocol]);
            agree(&frame);
        }
    }
    let datagram = |version: u8, protocol: u8, data_offset: u8, rest: usize, length: usize| {
        let mut frame = vec![0x11; 14 + rest];
        let start = if version == 4 { 34 } else { 54 };
        if version == 4 {
            frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0]);
            frame[16..18].copy_from_slice(&(length as u16).to_be_bytes());
            frame[20..24].copy_from_slice(&[0x40, 0, 64, protocol]);
        } else {
            frame[12..15].copy_from_slice(&[0x86, 0xDD, 0x60]);
            frame[18..20].copy_from_slice(&(length as u16).wrapping_sub(40).to_be_bytes());
            frame[20] = protocol;
        }
        frame[start + 4..start + 6].copy_from_slice(&(length as u16).wrapping_sub(start as u16 - 14).to_be_bytes());
        frame[start + 12] = data_offset;
        frame
    };
    for (version, header) in [(4, 20), (6, 40)] {
        for protocol in 0..=u8::MAX {
            for length in [0, 1, 8, 19, 20, 21, 40, 41].map(|more| header + more) {
                for rest in [header + 20, header + 40] {
                    agree(&datagram(version, protocol, 0x50, rest, length));
                }
            }
        }
        for data_offset in 0..=u8::MAX {
            for length in [19, 20, 21, 24, 60, 61].map(|more| header + more) {
                agree(&datagram(version, 6, data_offset, header + 60, length));
            }
        }
        // With one bit changed: version, fragments, lengths.
        for (protocol, data_offset) in [(6, 0x50), (6, 0x80), (17, 0)] {
            let plain = datagram(version, protocol, data_offset, header + 60, header + 60);
            for bit in 12 * 8..plain.len() * 8 {
                let mut changed = plain.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                agree(&changed);
            }
        }
        // The longest datagrams, which IPv6 counts without its header.
        let longest = if version == 4 { 65_535 } else { 65_575 };
        for (protocol, data_offset) in (0..16).map(|nibble| (6, nibble << 4)).chain([(17, 0), (0, 0), (1, 0), (2, 0)]) {
            agree(&datagram(version, protocol, data_offset, longest, longest));
        }
    }
}

/// The fields that tshark is asked for. Of a field that is there more than once, the first.
const FIELDS: [&str; 8] =
    ["ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport"];

#[test]
fn tshark_reads_the_same_from_captures() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("tshark is not installed: nothing to do");
        return;
    }
    let (Some(folder), Some(packets)) = (captures::folder(), captures::packets()) else {
        return;
    };
    let mut outputs: std::collections::HashMap<String, Vec<String>> = std::collections::HashMap::new();
    for packet in packets.iter().filter(|packet| packet.link_type == link_type::ETHERNET) {
        let (file, number) = packet.origin.rsplit_once(' ').expect("file and number");
        let lines = outputs.entry(file.into()).or_insert_with(|| {
            let mut tshark = Command::new("tshark");
            tshark.arg("-r").arg(folder.join(file)).args(["-n", "-T", "fields", "-E", "occurrence=f"]);
            for field in FIELDS {
                tshark.args(["-e", field]);
            }
            let output = tshark.output().expect("tshark runs");
            String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
        });
        let number: usize = number.parse().expect("a number");
        let Some(line) = lines.get(number - 1) else {
            continue;
        };
        let theirs: Vec<&str> = line.split('\t').collect();
        let flow = parse(packet.link_type, &packet.data, packet.wire_length).unwrap();
        if flow.has(flags::MALFORMED) || flow.has(flags::FRAGMENT) || !flow.has(flags::PORTS) {
            continue;
        }
        let (tcp, udp) = (flow.protocol == 6, flow.protocol == 17);
        let port = |text: &str| text.parse::<u16>().ok();
        let (source, destination) = if tcp { (theirs[4], theirs[5]) } else { (theirs[6], theirs[7]) };
        if (tcp || udp) && !source.is_empty() {
            assert_eq!(port(source), Some(flow.source_port), "{}", packet.origin);
            assert_eq!(port(destination), Some(flow.destination_port), "{}", packet.origin);
        }
        if flow.ip_version == 4 && !theirs[0].is_empty() {
            let ours = std::net::Ipv4Addr::from(*flow.source_address.first_chunk::<4>().unwrap());
            assert_eq!(theirs[0], ours.to_string(), "{}", packet.origin);
        }
    }
}
