//! Tunnels: packets that carry other packets, behind an IP header (IP and Ethernet in IP, GRE) or over UDP (VXLAN,
//! GENEVE).
//!
//! The flow of a packet is that of its outer header. What it carries has a flow of its own, as if it had come alone.

use sluice_npi::{Flow, flags};

use super::{Ends, Parser, be16};
use crate::{ether_type, protocol};

/// How many tunnels are gone through; what is in a further one is not read.
const MAX_TUNNELS: u32 = 4;

/// Destination ports of tunnels.
mod port {
    /// VXLAN (RFC 7348).
    pub(super) const VXLAN: u16 = 4789;
    /// VXLAN with Generic Protocol Extension (IANA: vxlan-gpe).
    pub(super) const VXLAN_GPE: u16 = 4790;
    /// VXLAN from before it had a port; OTV has the same header.
    pub(super) const OLD_VXLAN: u16 = 8472;
    /// GENEVE (RFC 8926).
    pub(super) const GENEVE: u16 = 6081;
}

/// All of them.
pub(super) const PORTS: [u16; 4] = [port::VXLAN, port::VXLAN_GPE, port::OLD_VXLAN, port::GENEVE];

/// Whether this destination port of UDP is that of a tunnel.
#[inline]
pub(super) fn is_port(number: u16) -> bool {
    PORTS.contains(&number)
}

/// Whether this protocol is that of a tunnel.
#[inline]
pub(super) fn is_protocol(number: u8) -> bool {
    matches!(number, protocol::IPV4 | protocol::IPV6 | protocol::GRE | protocol::ETHERNET)
}

fn is_tunnel(flow: &Flow) -> bool {
    is_protocol(flow.protocol) || (flow.protocol == protocol::UDP && is_port(flow.destination_port))
}

/// What is in a tunnel.
enum Carried<'packet> {
    /// Nothing, as in an acknowledgement.
    Nothing,
    /// Something that cannot be read.
    Unread,
    Ipv4(&'packet [u8]),
    Ipv6(&'packet [u8]),
    Ethernet(&'packet [u8]),
    Ppp(&'packet [u8]),
    EtherType(u16, &'packet [u8]),
}

/// Reads the headers of the innermost packet in the tunnel whose packet `outer` was read from, and notes in `outer`
/// that it is a tunnel, and whether it was read to its end. Gives the reason why the payload of the innermost packet
/// ends where it does; `None` if no packet was found.
///
/// `ends` is that reason for the payload of `outer`.
#[cold]
#[inline(never)]
pub(super) fn read(packet: &[u8], mut ends: Ends, outer: &mut Flow, inner: &mut Flow) -> Option<Ends> {
    let mut carrier = *outer;
    let mut is_unread = false;
    let mut tunnels = 0_u32;
    while is_tunnel(&carrier) {
        carrier.flags |= flags::TUNNEL;
        let carried = if tunnels == MAX_TUNNELS { Carried::Unread } else { carried_by(packet, &carrier) };
        match carried {
            Carried::Nothing => break,
            Carried::Unread => {
                carrier.flags |= flags::TUNNEL_UNREAD;
                break;
            }
            _ => {}
        }
        (carrier, ends) = headers(packet, ends, &carrier, &carried);
        tunnels = tunnels.wrapping_add(1);
        // Compressed, encrypted, or about the connection itself.
        is_unread |= matches!(carried, Carried::Ppp(_)) && carrier.ip_version == 0;
    }
    is_unread |= carrier.has(flags::TUNNEL_UNREAD);
    if tunnels != 0 {
        is_unread |= carrier.flags & (flags::MALFORMED | flags::TRUNCATED) != 0;
        *inner = Flow { flags: carrier.flags | flags::INNER, ..carrier };
    }
    outer.flags |= flags::TUNNEL | if is_unread { flags::TUNNEL_UNREAD } else { 0 };
    (tunnels != 0).then_some(ends)
}

/// Reads the headers of what `carrier` carries.
fn headers(packet: &[u8], ends: Ends, carrier: &Flow, carried: &Carried<'_>) -> (Flow, Ends) {
    let mut flow = Flow::default();
    let end = carrier.payload_offset.wrapping_add(carrier.payload_length) as usize;
    let packet = packet.get(..end).unwrap_or(packet);
    // What another fragment has is as much out of sight as what the capture lacks.
    let (wire_length, ends) = match ends {
        Ends::Packet => (packet.len(), Ends::Packet),
        Ends::Capture | Ends::Fragment => (usize::MAX, Ends::Capture),
    };
    let mut parser = Parser { packet, wire_length, ends, flow: &mut flow, text: &mut () };
    match *carried {
        Carried::Nothing | Carried::Unread => {}
        Carried::Ipv4(rest) => parser.ipv4(rest),
        Carried::Ipv6(rest) => parser.ipv6(rest),
        Carried::Ethernet(rest) => parser.ethernet(rest),
        Carried::Ppp(rest) => parser.ppp_maybe_framed(rest),
        Carried::EtherType(number, rest) => parser.ether_type(number, rest),
    }
    let ends = parser.ends;
    (flow, ends)
}

/// What the packet of a tunnel carries, by the header of the tunnel.
fn carried_by<'packet>(packet: &'packet [u8], flow: &Flow) -> Carried<'packet> {
    let (start, length) = (flow.payload_offset as usize, flow.payload_length as usize);
    // A later fragment has the number of the protocol and no payload.
    let payload = packet.get(start..).and_then(|rest| rest.get(..length)).unwrap_or_default();
    if payload.is_empty() {
        return Carried::Unread;
    }
    let carried = match (flow.protocol, flow.destination_port) {
        (protocol::IPV4, _) => Some(Carried::Ipv4(payload)),
        (protocol::IPV6, _) => Some(Carried::Ipv6(payload)),
        (protocol::GRE, _) => gre(payload),
        (protocol::ETHERNET, _) => Some(Carried::Ethernet(payload)),
        (_, port::GENEVE) => geneve(payload),
        (_, port::VXLAN_GPE) => vxlan_gpe(payload),
        _ => vxlan(payload),
    };
    carried.unwrap_or(Carried::Unread)
}

/// GRE (RFC 2784, RFC 2890), and that of PPTP (RFC 2637). `None` if it cannot be read: cut, of another version, or with
/// the source routes of RFC 1701.
fn gre(payload: &[u8]) -> Option<Carried<'_>> {
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;
    const STRICT: u8 = 0x08;
    const ACKNOWLEDGEMENT: u8 = 0x80;
    const ERSPAN: u16 = 0x88BE;
    const ERSPAN_3: u16 = 0x22EB;

    let [first, second, high, low] = *payload.first_chunk()?;
    let number = be16([high, low]);
    let has = |bits: u8| first & bits == bits;
    let four = |is_there: bool| if is_there { 4_usize } else { 0 };
    match (second & 7, number) {
        (0, _) if first & (ROUTING | STRICT) == 0 => {
            let optional = four(has(CHECKSUM)).wrapping_add(four(has(KEY))).wrapping_add(four(has(SEQUENCE)));
            let rest = payload.get(optional.wrapping_add(4)..)?;
            match number {
                // What keeps a tunnel alive.
                0 if rest.is_empty() => Some(Carried::Nothing),
                ether_type::BRIDGED => Some(Carried::Ethernet(rest)),
                // The first kind of ERSPAN has no header of its own.
                ERSPAN if !has(SEQUENCE) => Some(Carried::Ethernet(rest)),
                ERSPAN => erspan(rest, 1, 8),
                ERSPAN_3 => erspan(rest, 2, 12),
                ether_type::CISCO_METADATA => cisco_metadata(rest),
                ether_type::FIRST.. => Some(Carried::EtherType(number, rest)),
                _ => None,
            }
        }
        (1, ether_type::PPP) if has(KEY) && first & (CHECKSUM | ROUTING) == 0 => {
            if !has(SEQUENCE) {
                return Some(Carried::Nothing);
            }
            let header = 12_usize.wrapping_add(four(second & ACKNOWLEDGEMENT != 0));
            payload.get(header..).map(Carried::Ppp)
        }
        _ => None,
    }
}

/// Cisco's MetaData as it is in GRE: its EtherType comes first, then what it is in a frame.
fn cisco_metadata(payload: &[u8]) -> Option<Carried<'_>> {
    match payload {
        [high, low, 1, 1, _, _, _, _, rest @ ..] => Some(Carried::EtherType(be16([*high, *low]), rest)),
        _ => None,
    }
}

/// ERSPAN, whose header has this version and at least this many bytes (draft-foschiano-erspan).
fn erspan(payload: &[u8], version: u8, header: usize) -> Option<Carried<'_>> {
    const SUBHEADER: u8 = 0x01;
    const FRAME_TYPE: u8 = 0x7C;
    let third = version == 2;
    let is_longer = third && payload.get(11)? & SUBHEADER != 0;
    // 0 is Ethernet.
    let is_frame = !third || payload.get(10)? & FRAME_TYPE == 0;
    let is_known = payload.first()? >> 4 == version && is_frame;
    let rest = payload.get(header.wrapping_add(if is_longer { 8 } else { 0 })..)?;
    is_known.then_some(Carried::Ethernet(rest))
}

/// The bits of the first byte of VXLAN.
mod vxlan_flag {
    /// There is a network identifier, without which a packet is dropped.
    pub(super) const INSTANCE: u8 = 0x08;
    /// The next protocol is given.
    pub(super) const PROTOCOL: u8 = 0x04;
    /// The version, and bits that are not used.
    pub(super) const VERSION: u8 = 0xF0;
    /// The identifier of a group policy is given.
    pub(super) const GROUP: u8 = 0x80;
}

/// The protocol of VXLAN-GPE that is a frame.
const VXLAN_ETHERNET: u8 = 3;

/// VXLAN (RFC 7348, 5), perhaps with the identifier of a group policy (draft-smith-vxlan-group-policy), or as
/// VXLAN-GPE with what it is anyway. Receivers differ in what they make of other flags.
fn vxlan(payload: &[u8]) -> Option<Carried<'_>> {
    const SAYS_FRAME: u8 = vxlan_flag::INSTANCE | vxlan_flag::PROTOCOL;
    let (header, rest) = payload.split_first_chunk::<8>()?;
    let is_plain = header[0] & !vxlan_flag::GROUP == vxlan_flag::INSTANCE;
    let says_frame = header[0] == SAYS_FRAME && header[3] == VXLAN_ETHERNET;
    (is_plain || says_frame).then_some(Carried::Ethernet(rest))
}

/// VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe, 3).
fn vxlan_gpe(payload: &[u8]) -> Option<Carried<'_>> {
    let (header, rest) = payload.split_first_chunk::<8>()?;
    if header[0] & (vxlan_flag::INSTANCE | vxlan_flag::VERSION) != vxlan_flag::INSTANCE {
        return None;
    }
    match (header[0] & vxlan_flag::PROTOCOL != 0, header[3]) {
        (true, 1) => Some(Carried::Ipv4(rest)),
        (true, 2) => Some(Carried::Ipv6(rest)),
        (true, VXLAN_ETHERNET) | (false, _) => Some(Carried::Ethernet(rest)),
        (true, 4) => Some(Carried::EtherType(ether_type::NSH, rest)),
        _ => None,
    }
}

/// GENEVE (RFC 8926, 3.4).
fn geneve(payload: &[u8]) -> Option<Carried<'_>> {
    const VERSION: u8 = 0xC0;
    let ([first, _, high, low, ..], rest) = payload.split_first_chunk::<8>()?;
    if first & VERSION != 0 {
        return None;
    }
    // Options, in units of 4 bytes.
    let rest = rest.get(usize::from(first & 0x3F).wrapping_mul(4)..)?;
    match be16([*high, *low]) {
        ether_type::BRIDGED => Some(Carried::Ethernet(rest)),
        number @ ether_type::FIRST.. => Some(Carried::EtherType(number, rest)),
        _ => None,
    }
}
