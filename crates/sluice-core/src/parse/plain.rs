//! The straight way through the most common frames: Ethernet with at most one VLAN tag, and in it
//!
//! - IPv4 without options and fragments or IPv6 without extension headers, carrying TCP, UDP or a protocol of which nothing
//!   is read, complete and without contradictions;
//! - or something behind which nothing is read.
//!
//! Next to nothing of that can be foreseen by a processor, and a wrong guess costs as much as 50 instructions. So it has
//! to guess once, whether the frame is plain; everything else is arithmetic, with [`Shape`] for what differs between
//! protocols. Whatever is not plain is left to the layers, from the start. A test has both read the same packets.

use core::hint::select_unpredictable;

use sluice_npi::{Flow, flags};

use super::be16;
use super::link::ether_type;
use super::network::{copy, protocol, widened};

/// The headers of Ethernet.
const ETHERNET: u32 = 14;
/// The same with a VLAN tag.
const TAGGED: u32 = 18;

/// The EtherType of a frame; 0 if it has none.
#[inline]
pub(super) fn ether_type(frame: &[u8]) -> u16 {
    frame.first_chunk::<14>().map_or(0, |header| be16([header[12], header[13]]))
}

/// Reads the headers of `frame` if it is a plain one with IPv4 and no tag, and answers whether it is.
#[inline(always)]
pub(super) fn ipv4(frame: &[u8], flow: &mut Flow) -> bool {
    let Some((header, rest)) = frame.split_first_chunk::<14>() else {
        return false;
    };
    be16([header[12], header[13]]) == ether_type::IPV4 && read_ipv4(rest, ETHERNET, flow)
}

/// Does the same for a plain frame with IPv6 and no tag.
#[inline(never)]
pub(super) fn ipv6(frame: &[u8], flow: &mut Flow) -> bool {
    frame.get(14..).is_some_and(|rest| read_ipv6(rest, ETHERNET, flow))
}

/// Does the same for a plain frame of which nothing is read behind the EtherType, and without a tag.
#[inline]
pub(super) fn left_alone(frame: &[u8], flow: &mut Flow) -> bool {
    frame.get(14..).is_some_and(|rest| read_nothing(ether_type(frame), rest, flow))
}

/// Does the same for a plain frame with a tag.
#[inline(never)]
pub(super) fn tagged(frame: &[u8], flow: &mut Flow) -> bool {
    let Some((tag, rest)) = frame.get(14..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return false;
    };
    let is_plain = match be16([tag[2], tag[3]]) {
        ether_type::IPV4 => read_ipv4(rest, TAGGED, flow),
        ether_type::IPV6 => read_ipv6(rest, TAGGED, flow),
        number => read_nothing(number, rest, flow),
    };
    if is_plain {
        flow.vlan_count = 1;
        flow.vlan_ids[0] = be16([tag[0], tag[1]]) & 0x0FFF;
    }
    is_plain
}

#[inline(always)]
fn read_ipv4(rest: &[u8], offset: u32, flow: &mut Flow) -> bool {
    let Some((h, behind)) = rest.split_first_chunk::<20>() else {
        return false;
    };
    let total = u32::from(be16([h[2], h[3]]));
    let is_fragment = be16([h[6], h[7]]) & 0x3FFF != 0;
    if h[0] != 0x45 || is_fragment || total as usize > rest.len() {
        return false;
    }
    let Some(transport) = Transport::read(h[9], behind, 20, total, offset) else {
        return false;
    };
    *flow = Flow {
        source_address: widened([h[12], h[13], h[14], h[15]]),
        destination_address: widened([h[16], h[17], h[18], h[19]]),
        ip_version: 4,
        protocol: h[9],
        ether_type: ether_type::IPV4,
        network_offset: offset,
        ..transport.flow()
    };
    true
}

#[inline(always)]
fn read_ipv6(rest: &[u8], offset: u32, flow: &mut Flow) -> bool {
    let Some((h, behind)) = rest.split_first_chunk::<40>() else {
        return false;
    };
    let total = u32::from(be16([h[4], h[5]])).wrapping_add(40);
    if h[0] >> 4 != 6 || total as usize > rest.len() {
        return false;
    }
    let Some(transport) = Transport::read(h[6], behind, 40, total, offset) else {
        return false;
    };
    *flow = Flow {
        ip_version: 6,
        protocol: h[6],
        ether_type: ether_type::IPV6,
        network_offset: offset,
        ..transport.flow()
    };
    copy(&mut flow.source_address, h.get(8..24));
    copy(&mut flow.destination_address, h.get(24..40));
    true
}

/// A frame with an EtherType behind which nothing is read, or with LLC.
#[inline]
fn read_nothing(number: u16, rest: &[u8], flow: &mut Flow) -> bool {
    /// A byte that no other EtherType in common use shares with one that is read.
    const fn folded(number: u16) -> usize {
        ((number >> 5 ^ number) & 0xFF) as usize
    }
    /// Not 0 where an EtherType that is read is folded to.
    #[allow(clippy::indexing_slicing, reason = "an index that is wrong does not compile")]
    const MAY_BE_READ: [u32; 256] = {
        let mut table = [0; 256];
        let mut read: &[u16] = &ether_type::READ;
        while let [first, rest @ ..] = read {
            table[folded(*first)] = 1;
            read = rest;
        }
        table
    };
    /// LLC and the first 3 bytes of a SNAP header that carries an EtherType.
    const SNAP: u64 = 0xAAAA_0300_0000;

    let Some(llc) = rest.first_chunk::<8>() else {
        return false;
    };
    let is_type = number >= ether_type::FIRST;
    let type_is_read = MAY_BE_READ.get(folded(number)).copied().unwrap_or(1);
    let llc_is_read = u32::from(u64::from_be_bytes(*llc) >> 16 == SNAP)
        | u32::from(number > ether_type::LAST_LENGTH)
        | u32::from(usize::from(number) > rest.len());
    if select_unpredictable(is_type, type_is_read, llc_is_read) != 0 {
        return false;
    }
    *flow = Flow {
        flags: if is_type { flags::ETHER_TYPE } else { 0 },
        ether_type: if is_type { number } else { 0 },
        ..Flow::default()
    };
    true
}

/// What is read of a transport header, as masks.
#[derive(Clone, Copy)]
struct Shape {
    /// The flags of the flow.
    flags: u16,
    /// Where TCP has its data offset (low byte) and its flags (high byte).
    tcp: u16,
    /// All bits if there are ports, and a payload.
    ports: i8,
    /// All bits if there is a length as in UDP.
    length: i8,
    /// The length of the header, without what the data offset says.
    header: u8,
    /// The smallest length of the header; one that no header has where the layers have to read it.
    least: u8,
}

/// The shape of each protocol's header.
#[allow(clippy::indexing_slicing, reason = "an index that is wrong does not compile")]
const SHAPES: [Shape; 256] = {
    const COMMON: u16 = (flags::ETHER_TYPE | flags::ADDRESSES | flags::PROTOCOL) as u16;
    const UDP: u16 = COMMON | flags::PORTS as u16;
    const TCP: u16 = UDP | flags::TCP_FLAGS as u16;
    // Of a protocol without ports at least one byte has to be there, for the transport header to be somewhere.
    let mut shapes = [Shape { flags: COMMON, tcp: 0, ports: 0, length: 0, header: 1, least: 0 }; 256];
    let mut read: &[u8] = &protocol::READ;
    while let [first, rest @ ..] = read {
        shapes[*first as usize].least = u8::MAX;
        read = rest;
    }
    shapes[protocol::TCP as usize] = Shape { flags: TCP, tcp: 0xFFF0, ports: -1, length: 0, header: 0, least: 20 };
    shapes[protocol::UDP as usize] = Shape { flags: UDP, tcp: 0, ports: -1, length: -1, header: 8, least: 8 };
    shapes
};

/// The transport header of a plain packet.
struct Transport {
    flags: u32,
    /// The source port in the low half, the destination port in the high one.
    ports: u32,
    tcp_flags: u8,
    offset: u32,
    payload_offset: u32,
    payload_length: u32,
}

impl Transport {
    /// Reads the header that `bytes` start with: at `start` in a datagram of `end` bytes, which is at `network` in the
    /// packet. A frame so short that there are no 20 bytes is not plain.
    #[inline(always)]
    fn read(number: u8, bytes: &[u8], start: u32, end: u32, network: u32) -> Option<Self> {
        let h = bytes.first_chunk::<20>()?;
        let shape = SHAPES.get(usize::from(number))?;
        let has_ports = i32::from(shape.ports) as u32;
        let tcp = u16::from_le_bytes([h[12], h[13]]) & shape.tcp;
        let header = (tcp as u8 >> 2).wrapping_add(shape.header);
        let udp_end = u32::from(be16([h[4], h[5]])).wrapping_add(start);
        if header < shape.least || (udp_end ^ end) & i32::from(shape.length) as u32 != 0 {
            return None;
        }
        let payload = start.wrapping_add(header.into());
        let payload_length = end.checked_sub(payload)? & has_ports;
        Some(Self {
            flags: shape.flags.into(),
            ports: u32::from_be_bytes([h[0], h[1], h[2], h[3]]).rotate_left(16) & has_ports,
            tcp_flags: (tcp >> 8) as u8,
            offset: network.wrapping_add(start),
            payload_offset: if payload_length == 0 { 0 } else { network.wrapping_add(payload) },
            payload_length,
        })
    }

    #[inline(always)]
    fn flow(self) -> Flow {
        Flow {
            flags: self.flags,
            source_port: self.ports as u16,
            destination_port: (self.ports >> 16) as u16,
            tcp_flags: self.tcp_flags,
            transport_offset: self.offset,
            payload_offset: self.payload_offset,
            payload_length: self.payload_length,
            ..Flow::default()
        }
    }
}
