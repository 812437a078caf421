//! Packets of which only the head is there.
//!
//! Next to all packets are decided by what their first headers say. That is read here, for IP with TCP, UDP or a
//! protocol of which nothing is read, without options of IPv4, extension headers or a VLAN tag; and whether the layers
//! would look at anything behind the head is a question of the ports and of the first byte of the payload, or its first
//! word. Of all other packets the rest is asked for. A test has this and the layers read the same packets.

use sluice_npi::{Flow, flags, link_type};

use super::application::may_be_known;
use super::network::{copy, widened};
use super::{be16, dns, http, plain, tls, tunnel};
use crate::{ether_type, protocol};

/// The headers of Ethernet.
const ETHERNET: u32 = 14;

/// Reads a packet of `wire_length` bytes of which `head` are the first, fewer than all. Answers whether nothing behind
/// them would be looked at if they were there: then `flow` is that of the whole packet, of which nothing but the
/// headers is read. If not, it may have any value.
#[inline(never)]
pub(crate) fn parse_head(link_type: u16, head: &[u8], wire_length: u32, flow: &mut Flow) -> bool {
    read(link_type, head, wire_length, flow).is_some() && (!may_be_known(head, flow) || is_other_text(head, flow))
}

/// Whether the payload is only known to be no request when more than its first byte has been looked at, and is nothing
/// else either: so it is with a third of all segments that begin in the middle of something.
#[cold]
fn is_other_text(head: &[u8], flow: &Flow) -> bool {
    let is_on_dns_port = dns::is_port(flow.source_port) || dns::is_port(flow.destination_port);
    let start = head.get(flow.payload_offset as usize..).unwrap_or_default();
    let start = start.get(..flow.payload_length as usize).unwrap_or(start);
    let is_tls = start.first().is_none_or(|first| tls::may_start_with(*first));
    flow.protocol == protocol::TCP && !is_on_dns_port && !is_tls && http::is_no_request(start)
}

#[inline]
fn read(link_type: u16, head: &[u8], wire_length: u32, flow: &mut Flow) -> Option<()> {
    let (start, ip, number) = match link_type {
        link_type::ETHERNET => (ETHERNET, head.get(ETHERNET as usize..)?, plain::ether_type_of(head)),
        link_type::IPV4 => (0, head, ether_type::IPV4),
        link_type::IPV6 => (0, head, ether_type::IPV6),
        link_type::RAW if head.first()? >> 4 == 4 => (0, head, ether_type::IPV4),
        link_type::RAW => (0, head, ether_type::IPV6),
        _ => return None,
    };
    match number {
        ether_type::IPV4 => {
            let h = ip.first_chunk::<40>()?;
            let is_fragment = be16([h[6], h[7]]) & 0x3FFF != 0;
            if h[0] != 0x45 || is_fragment {
                return None;
            }
            let end = u32::from(be16([h[2], h[3]]));
            let transport = Transport::read(h[9], h.last_chunk()?, 20, end, wire_length.checked_sub(start)?)?;
            *flow = Flow {
                ip_version: 4,
                source_address: widened([h[12], h[13], h[14], h[15]]),
                destination_address: widened([h[16], h[17], h[18], h[19]]),
                ..transport.flow(start)
            };
        }
        ether_type::IPV6 => {
            let h = ip.first_chunk::<60>()?;
            let length = be16([h[4], h[5]]);
            // Of 0, it is in an extension header or reaches to the end.
            if h[0] >> 4 != 6 || length == 0 {
                return None;
            }
            let end = u32::from(length).wrapping_add(40);
            let transport = Transport::read(h[6], h.last_chunk()?, 40, end, wire_length.checked_sub(start)?)?;
            *flow = Flow { ip_version: 6, ..transport.flow(start) };
            copy(&mut flow.source_address, h.get(8..24));
            copy(&mut flow.destination_address, h.get(24..40));
        }
        _ => return None,
    }
    if start == ETHERNET {
        flow.flags |= flags::ETHER_TYPE;
        flow.ether_type = number;
    }
    // The first byte of the payload has to be there, for what it may be.
    let is_there = (flow.payload_offset as usize) < head.len();
    let is_tunnel = flow.protocol == protocol::UDP && tunnel::is_port(flow.destination_port);
    (is_there && !is_tunnel).then_some(())
}

/// What is behind the header of IP.
struct Transport {
    flags: u32,
    protocol: u8,
    tcp_flags: u8,
    ports: [u16; 2],
    /// Where it begins, from the start of the header of IP.
    start: u32,
    /// Where its payload begins, and 0 if there is none.
    payload: u32,
    payload_length: u32,
}

impl Transport {
    /// Reads the header that `h` starts with, `start` bytes behind that of IP in a datagram of `end` bytes, for which
    /// there are `most`.
    #[inline(always)]
    fn read(protocol: u8, h: &[u8; 20], start: u32, end: u32, most: u32) -> Option<Self> {
        if end > most {
            return None;
        }
        // None of these numbers has more than 17 bits.
        let (header, end, seen) = match protocol {
            protocol::TCP => {
                let header = u32::from(h[12] >> 4).wrapping_mul(4);
                (header, end, flags::PORTS | flags::TCP_FLAGS)
            }
            protocol::UDP => {
                // 0 if it is to be filled in.
                let length = u32::from(be16([h[4], h[5]]));
                let udp_end = start.wrapping_add(length);
                if length < 8 || udp_end > end {
                    return None;
                }
                (8, udp_end, flags::PORTS)
            }
            other => {
                // A byte of it has to be there, for it to be somewhere.
                let is_unread = end > start && !protocol::READ.contains(&other);
                let flags = flags::ADDRESSES | flags::PROTOCOL;
                let nothing =
                    Self { flags, protocol, tcp_flags: 0, ports: [0; 2], start, payload: 0, payload_length: 0 };
                return is_unread.then_some(nothing);
            }
        };
        let is_tcp = protocol == protocol::TCP;
        let payload = start.wrapping_add(header);
        let payload_length = end.checked_sub(payload)?;
        if is_tcp && header < 20 {
            return None;
        }
        Some(Self {
            flags: flags::ADDRESSES | flags::PROTOCOL | seen,
            protocol,
            tcp_flags: if is_tcp { h[13] } else { 0 },
            ports: [be16([h[0], h[1]]), be16([h[2], h[3]])],
            start,
            payload: if payload_length == 0 { 0 } else { payload },
            payload_length,
        })
    }

    /// The flow but for its addresses and what is before the header of IP, which begins at `start`.
    #[inline(always)]
    fn flow(self, start: u32) -> Flow {
        let [source_port, destination_port] = self.ports;
        Flow {
            flags: self.flags,
            protocol: self.protocol,
            tcp_flags: self.tcp_flags,
            source_port,
            destination_port,
            network_offset: start,
            transport_offset: start.wrapping_add(self.start),
            payload_offset: if self.payload == 0 { 0 } else { start.wrapping_add(self.payload) },
            payload_length: self.payload_length,
            ..Flow::default()
        }
    }
}
