//! The straight way through the most common packets: Ethernet without tags, IPv4 without options and fragments, TCP or UDP,
//! complete and without contradictions. It finds what the layers find, in one piece and with one write of the result.
//!
//! Whatever is not so is left to the layers. A test has both read the same packets.

use sluice_npi::{Flow, flags};

use super::link::ether_type;
use super::network::{protocol, widened};
use super::{Ends, Parser, be16};

/// Ethernet and IPv4 headers, and that of UDP, the shorter one of the two.
const SHORTEST: usize = 14 + 20 + 8;

/// Reads `packet` if it is such a packet, and answers whether it is.
#[inline]
pub(super) fn read(packet: &[u8], flow: &mut Flow) -> bool {
    let Some(h) = packet.first_chunk::<SHORTEST>() else {
        return false;
    };
    let is_plain = be16([h[12], h[13]]) == ether_type::IPV4 && h[14] == 0x45 && be16([h[20], h[21]]) & 0x3FFF == 0;
    let total = usize::from(be16([h[16], h[17]]));
    let (Some(datagram), true) = (packet.get(14..total.wrapping_add(14)), is_plain) else {
        return false;
    };
    let Some(transport) = datagram.get(20..) else {
        return false;
    };
    let (header_length, tcp_flags, more_flags) = match h[23] {
        protocol::TCP => {
            let Some(tcp) = transport.first_chunk::<20>() else {
                return false;
            };
            let length = usize::from(tcp[12] >> 4).wrapping_mul(4);
            if length < 20 {
                return false;
            }
            (length, tcp[13], flags::TCP_FLAGS)
        }
        protocol::UDP if usize::from(be16([h[38], h[39]])) == transport.len() => (8, 0, 0),
        _ => return false,
    };
    let Some(payload) = transport.get(header_length..) else {
        return false;
    };
    let offset = header_length.wrapping_add(34) as u32;
    *flow = Flow {
        flags: flags::ETHER_TYPE | flags::ADDRESSES | flags::PROTOCOL | flags::PORTS | more_flags,
        source_address: widened([h[26], h[27], h[28], h[29]]),
        destination_address: widened([h[30], h[31], h[32], h[33]]),
        source_port: be16([h[34], h[35]]),
        destination_port: be16([h[36], h[37]]),
        ip_version: 4,
        protocol: h[23],
        tcp_flags,
        ether_type: ether_type::IPV4,
        network_offset: 14,
        transport_offset: 34,
        payload_offset: if payload.is_empty() { 0 } else { offset },
        payload_length: payload.len() as u32,
        ..Flow::default()
    };
    if !payload.is_empty() {
        let end = total.wrapping_add(14);
        let packet = packet.get(..end).unwrap_or(packet);
        let mut parser = Parser { packet, wire_length: end, ends: Ends::Packet, flow };
        if h[23] == protocol::TCP { parser.tcp_payload(payload) } else { parser.udp_payload(payload) }
    }
    true
}
