//! A packet built from its description on the command line. Fields that are not given are 0.

use std::net::IpAddr;

use sluice_core::ether_type;
use sluice_core::protocol::{self, DCCP, ICMP, ICMPV6, SCTP, TCP, UDP, UDP_LITE};
use sluice_npi::{direction, link_type};

use super::host_name::host_name;
use crate::args::Described;
use crate::capture::RecordedPacket;
use crate::failure::Failure;

const DNS_PORT: u16 = 53;
const TLS_PORT: u16 = 443;

/// The packet, as a capture would hold it.
pub(crate) fn packet(described: &Described) -> Result<RecordedPacket, Failure> {
    let is_v6 = match (described.source, described.destination) {
        (Some(source), Some(destination)) if source.is_ipv4() != destination.is_ipv4() => {
            return Err(wrong("--source and --destination are of different versions of IP"));
        }
        (Some(address), _) | (None, Some(address)) => address.is_ipv6(),
        (None, None) => described.protocol == Some(ICMPV6),
    };
    let protocol = protocol(described, is_v6)?;
    let mut payload = transport(described, protocol)?;
    let mut bytes =
        if is_v6 { ipv6(described, protocol, payload.len()) } else { ipv4(described, protocol, payload.len()) };
    bytes.append(&mut payload);
    let mut link_type = link_type::RAW;
    if let Some(id) = described.vlan {
        let behind = if is_v6 { ether_type::IPV6 } else { ether_type::IPV4 };
        let tag = [ether_type::VLAN, id, behind].map(u16::to_be_bytes).concat();
        bytes = [&[0; 12][..], &tag, &bytes].concat();
        link_type = link_type::ETHERNET;
    }
    let wire_length = u32::try_from(bytes.len()).map_err(|_| wrong("the packet is too long"))?;
    Ok(RecordedPacket { number: 1, time: None, link_type, direction: direction::UNSPECIFIED, wire_length, bytes })
}

fn wrong(message: &str) -> Failure {
    Failure::Input(message.to_owned())
}

/// The protocol that was given, or that follows from the other options.
fn protocol(described: &Described, is_v6: bool) -> Result<u8, Failure> {
    let icmp = if is_v6 { ICMPV6 } else { ICMP };
    let has_ports = described.source_port.is_some() || described.destination_port.is_some();
    match described.protocol {
        Some(protocol) if has_ports && !protocol::WITH_PORTS.contains(&protocol) => {
            Err(wrong("the protocol has no ports; tcp, udp, udplite, sctp and dccp have"))
        }
        Some(protocol) if described.name.is_some() && protocol != TCP && protocol != UDP => {
            Err(wrong("--name needs --protocol udp (DNS) or tcp (TLS)"))
        }
        Some(protocol) if described.icmp.is_some() && protocol != icmp => {
            Err(wrong("--icmp needs --protocol icmp, or ipv6-icmp with IPv6 addresses"))
        }
        Some(protocol) => Ok(protocol),
        None if described.icmp.is_some() && !has_ports && described.name.is_none() => Ok(icmp),
        None => Err(wrong("--protocol is missing, such as --protocol tcp")),
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
    let mut header = vec![0x45, 0];
    header.extend(length_field(20 + payload));
    header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    header.extend(address_bytes(described.source, 4));
    header.extend(address_bytes(described.destination, 4));
    header
}

/// A header of 40 bytes (RFC 8200, 3).
fn ipv6(described: &Described, protocol: u8, payload: usize) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length_field(payload));
    header.extend([protocol, 64]);
    header.extend(address_bytes(described.source, 16));
    header.extend(address_bytes(described.destination, 16));
    header
}

/// A length in 16 bits. Nothing here is longer: a host name has at most 253 characters.
fn length_field(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// The transport header and its payload.
fn transport(described: &Described, protocol: u8) -> Result<Vec<u8>, Failure> {
    let name = described.name.as_deref().map(host_name).transpose();
    let name =
        name.map_err(|why| wrong(&format!("--name {}: {why}", described.name.as_deref().unwrap_or_default())))?;
    let name_port = match (&name, protocol) {
        (Some(_), UDP) => DNS_PORT,
        (Some(_), _) => TLS_PORT,
        (None, _) => 0,
    };
    let ports = [described.source_port.unwrap_or(0), described.destination_port.unwrap_or(name_port)]
        .map(u16::to_be_bytes)
        .concat();
    Ok(match protocol {
        TCP => {
            // Sequence numbers; a header of 5 words; ACK and PSH; window, checksum, urgent pointer.
            let header = [&ports[..], &[0; 8], &[0x50, 0x18], &[0; 6]].concat();
            [header, name.map_or_else(Vec::new, |name| client_hello(&name))].concat()
        }
        UDP | UDP_LITE => {
            let question = name.map_or_else(Vec::new, |name| dns_question(&name));
            [&ports[..], &length_field(8 + question.len()), &[0, 0], &question].concat()
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
