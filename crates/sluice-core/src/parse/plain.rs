//! The straight way through the most common frames: Ethernet with at most one VLAN tag, and in it
//!
//! - IPv4 without options and fragments or IPv6 without extension headers, carrying TCP, UDP or a protocol of which
//!   nothing is read, complete and without contradictions; without a tag also ICMP;
//! - or something behind which nothing is read, or ARP.
//!
//! Next to nothing of that can be foreseen by a processor, and a wrong guess costs as much as 100 instructions. So it
//! has to guess once, whether the frame is plain; everything else is arithmetic, with [`Shape`] for what differs
//! between protocols. A frame behind whose EtherType nothing is read is the same case: [`BLANK`] is read in its place.
//! Whatever is not plain is left to the layers, from the start. A test has both read the same packets.

use core::hint::select_unpredictable;

use sluice_npi::{Flow, flags};

use super::be16;
use super::network::{copy, widened};
use crate::{ether_type, protocol};

/// The headers of Ethernet.
const ETHERNET: u32 = 14;
/// A VLAN tag.
const TAG: u32 = 4;
/// The header of IPv4 without options.
const IPV4: u32 = 20;
/// What is looked at of a frame with IPv4: up to the end of a TCP header without options.
const LOOKED_AT: usize = 54;

/// What is looked at of a frame of which nothing is read: the header of an IPv4 packet without contents, and zeros.
const BLANK: [u8; LOOKED_AT] = {
    let mut frame = [0; LOOKED_AT];
    frame[14] = 0x45;
    frame
};

/// The EtherType of a frame; 0 if it has none.
#[inline]
pub(super) fn ether_type_of(frame: &[u8]) -> u16 {
    frame.first_chunk::<14>().map_or(0, |header| be16([header[12], header[13]]))
}

/// Reads the headers of `frame` if it is a plain one with TCP without options over IPv4 and no tag, and answers whether
/// it is.
///
/// The most common packet is worth a guess of its own. The rarest of its marks is asked for first, as the others can
/// then be foreseen.
#[inline(always)]
pub(super) fn tcp(frame: &[u8], flow: &mut Flow) -> bool {
    /// The data offset of 20 bytes.
    const NO_OPTIONS: u8 = 0x50;
    let shape = Shape { data_offset: 0, ..TCP };
    let length = frame.len();
    let frame: &[u8] = select_unpredictable(length >= LOOKED_AT, frame, &BLANK);
    let Some(h) = frame.first_chunk() else {
        return false;
    };
    h[46] == NO_OPTIONS
        && be16([h[12], h[13]]) == ether_type::IPV4
        && h[23] == protocol::TCP
        && read_ipv4(h, length, 0, ether_type::IPV4, &shape, flow)
}

/// Does the same for a plain frame with an EtherType, which is that of IPv4 or one behind which nothing is read.
#[inline(always)]
pub(super) fn untagged(frame: &[u8], flow: &mut Flow) -> bool {
    let number = ether_type_of(frame);
    if is_read_apart_from_ipv4(number) {
        return false;
    }
    let is_ipv4 = number == ether_type::IPV4;
    let frame: &[u8] = select_unpredictable(is_ipv4, frame, &BLANK);
    let Some(h) = frame.first_chunk() else {
        return false;
    };
    let shape = select_unpredictable(is_ipv4, usize::from(h[23]), NOTHING);
    SHAPES.get(shape).is_some_and(|shape| read_ipv4(h, frame.len(), 0, number, shape, flow))
}

/// Does the same for a plain frame with one tag.
#[inline]
pub(super) fn tagged(frame: &[u8], flow: &mut Flow) -> bool {
    // From here the rest lies as in a frame without a tag, with the tag at the end of the addresses.
    let Some(inner) = frame.get(TAG as usize..) else {
        return false;
    };
    let is_plain = match ether_type_of(inner) {
        ether_type::IPV4 => tagged_ipv4(inner, flow),
        ether_type::IPV6 => ipv6(inner, TAG, flow),
        ..ether_type::FIRST => with_length(inner, flow),
        number if is_read_apart_from_ipv4(number) => false,
        number => {
            *flow = Flow { flags: flags::ETHER_TYPE, ether_type: number, ..Flow::default() };
            true
        }
    };
    if is_plain && let Some([high, low]) = inner.get(10..12) {
        flow.vlan_count = 1;
        flow.vlan_ids[0] = be16([*high, *low]) & 0x0FFF;
    }
    is_plain
}

#[inline]
fn tagged_ipv4(inner: &[u8], flow: &mut Flow) -> bool {
    let Some(h) = inner.first_chunk() else {
        return false;
    };
    let shape = SHAPES.get(usize::from(h[23]));
    shape.is_some_and(|shape| read_ipv4(h, inner.len(), TAG, ether_type::IPV4, shape, flow))
}

/// Does the same for a plain frame with IPv6, which starts `tag` bytes behind the start of the packet.
#[inline]
pub(super) fn ipv6(frame: &[u8], tag: u32, flow: &mut Flow) -> bool {
    let Some((h, behind)) = frame.split_first_chunk::<54>() else {
        return false;
    };
    let Some(transport) = behind.first_chunk() else {
        return false;
    };
    SHAPES.get(usize::from(h[20])).is_some_and(|shape| read_ipv6(h, transport, behind.len(), tag, shape, flow))
}

/// Reads what is behind the EtherType in a frame of which `h` and `transport` are the first bytes, with `length` bytes
/// behind the header of IPv6.
#[inline(always)]
fn read_ipv6(h: &[u8; 54], transport: &[u8; 20], length: usize, tag: u32, shape: &Shape, flow: &mut Flow) -> bool {
    let payload = u32::from(be16([h[18], h[19]]));
    if h[14] >> 4 != 6 || payload as usize > length {
        return false;
    }
    let Some(transport) = Transport::read(transport, payload.wrapping_add(IPV4), shape) else {
        return false;
    };
    *flow = Flow {
        ip_version: 6,
        ether_type: ether_type::IPV6,
        transport_offset: tag.wrapping_add(54),
        ..transport.flow(shape, tag, 20)
    };
    copy(&mut flow.source_address, h.get(22..38));
    copy(&mut flow.destination_address, h.get(38..54));
    true
}

/// Does the same for a plain frame with ICMP over IPv4, or with ICMPv6.
#[inline]
pub(super) fn icmp(frame: &[u8], flow: &mut Flow) -> bool {
    let Some((h, behind)) = frame.split_first_chunk::<LOOKED_AT>() else {
        return false;
    };
    let [kind, code] = match (ether_type_of(frame), h[23], h[20], behind.first_chunk()) {
        (ether_type::IPV4, protocol::ICMP, ..) if read_ipv4(h, frame.len(), 0, ether_type::IPV4, &ICMP, flow) => {
            [h[34], h[35]]
        }
        (ether_type::IPV6, _, protocol::ICMPV6, Some(transport))
            if read_ipv6(h, transport, behind.len(), 0, &ICMPV6, flow) =>
        {
            [transport[0], transport[1]]
        }
        _ => return false,
    };
    // The shape has ports there.
    (flow.source_port, flow.destination_port) = (0, 0);
    (flow.icmp_type, flow.icmp_code) = (kind, code);
    true
}

/// Does the same for a plain frame with ARP, of which nothing is read but that it is long enough.
#[inline]
pub(super) fn arp(frame: &[u8], flow: &mut Flow) -> bool {
    let Some((header, addresses)) = frame.split_first_chunk::<22>() else {
        return false;
    };
    let pair = usize::from(header[18]).wrapping_add(usize::from(header[19]));
    let is_plain = addresses.len() >= pair.wrapping_mul(2);
    if is_plain {
        *flow = Flow { flags: flags::ETHER_TYPE, ether_type: ether_type::ARP, ..Flow::default() };
    }
    is_plain
}

/// Does the same for a plain frame with a length instead of an EtherType. Nothing is read of it.
#[inline]
pub(super) fn with_length(frame: &[u8], flow: &mut Flow) -> bool {
    /// LLC and the first 3 bytes of a SNAP header that carries an EtherType.
    const SNAP: u64 = 0xAAAA_0300_0000;

    let Some(rest) = frame.get(14..) else {
        return false;
    };
    let Some(llc) = rest.first_chunk() else {
        return false;
    };
    let length = ether_type_of(frame);
    let is_plain = (length <= ether_type::LAST_LENGTH)
        & (usize::from(length) <= rest.len())
        & (u64::from_be_bytes(*llc) >> 16 != SNAP);
    if is_plain {
        *flow = Flow::default();
    }
    is_plain
}

/// Whether something is read, or said, of what is behind an EtherType other than that of IPv4.
#[inline(always)]
fn is_read_apart_from_ipv4(number: u16) -> bool {
    /// 5 bits in which these EtherTypes differ.
    const fn folded(number: u16) -> usize {
        ((number as u32).wrapping_mul(0x504B_74BB) >> 27) as usize
    }
    /// Each of them at its place.
    #[allow(clippy::indexing_slicing, reason = "an index that is wrong does not compile")]
    const READ: [u16; 32] = {
        let mut table = [0; 32];
        let mut read: &[u16] = &ether_type::READ;
        while let [first, rest @ ..] = read {
            if *first != ether_type::IPV4 {
                assert!(table[folded(*first)] == 0);
                table[folded(*first)] = *first;
            }
            read = rest;
        }
        table
    };
    READ.get(folded(number)) == Some(&number)
}

/// Reads what is behind the EtherType `number` in a frame of `length` bytes that `h` are the first of, and that starts
/// `tag` bytes behind the start of the packet.
#[inline(always)]
fn read_ipv4(h: &[u8; LOOKED_AT], length: usize, tag: u32, number: u16, shape: &Shape, flow: &mut Flow) -> bool {
    let is_fragment = be16([h[20], h[21]]) & 0x3FFF != 0;
    let total = be16([h[16], h[17]]);
    if h[14] != 0x45 || is_fragment {
        return false;
    }
    if usize::from(total) > length.wrapping_sub(ETHERNET as usize) {
        return false;
    }
    let Some(transport) = h.last_chunk().and_then(|h| Transport::read(h, total.into(), shape)) else {
        return false;
    };
    *flow = Flow {
        ether_type: number,
        source_address: widened([h[26], h[27], h[28], h[29]]),
        destination_address: widened([h[30], h[31], h[32], h[33]]),
        ..transport.flow(shape, tag, 0)
    };
    true
}

/// What depends on the protocol.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
struct Shape {
    /// These seven are fields of the flow of a packet with IPv4, in their order there, so that two loads copy them.
    flags: u32,
    ip_version: u8,
    protocol: u8,
    icmp_type: u8,
    icmp_code: u8,
    network_offset: u32,
    transport_offset: u32,
    /// All bits if there are ports, and a payload.
    ports: i8,
    /// Where TCP has its flags (low byte).
    tcp_flags: u16,
    /// All bits of the length of TCP's options. It is in units of 4 bytes, and huge where it would be negative.
    data_offset: u32,
    /// How long the header is at least, and that of IPv4; what no packet has where the layers have to read it.
    headers: u32,
    /// All bits if there is a length as in UDP.
    length: u32,
}

/// The shape of TCP.
const TCP: Shape = Shape {
    flags: UDP.flags | flags::TCP_FLAGS,
    protocol: protocol::TCP,
    data_offset: 0xFFFC,
    tcp_flags: 0x00FF,
    headers: IPV4 + 20,
    length: 0,
    ..UDP
};

/// The shape of UDP.
const UDP: Shape = Shape {
    flags: OTHER.flags | flags::PORTS,
    protocol: protocol::UDP,
    ports: -1,
    headers: IPV4 + 8,
    length: u32::MAX,
    ..OTHER
};

/// The shape of ICMP, with type and code where ports are.
const ICMP: Shape =
    Shape { flags: OTHER.flags | flags::ICMP, protocol: protocol::ICMP, ports: -1, headers: IPV4 + 8, ..OTHER };

/// The shape of ICMPv6, whose header is shorter.
const ICMPV6: Shape = Shape { protocol: protocol::ICMPV6, headers: IPV4 + 4, ..ICMP };

/// The shape of protocols of which nothing is read. One byte has to be there, for the header to be somewhere.
const OTHER: Shape = Shape {
    flags: flags::ETHER_TYPE | flags::ADDRESSES | flags::PROTOCOL,
    ip_version: 4,
    network_offset: ETHERNET,
    transport_offset: ETHERNET + IPV4,
    headers: IPV4 + 1,
    ..BLANK_SHAPE
};

/// The shape of [`BLANK`].
const BLANK_SHAPE: Shape = Shape {
    flags: flags::ETHER_TYPE,
    ip_version: 0,
    protocol: 0,
    icmp_type: 0,
    icmp_code: 0,
    network_offset: 0,
    transport_offset: 0,
    ports: 0,
    data_offset: 0,
    tcp_flags: 0,
    headers: 0,
    length: 0,
};

/// The place of [`BLANK_SHAPE`], behind those of the protocols.
const NOTHING: usize = 256;

/// The shape of each protocol, and [`BLANK_SHAPE`].
#[allow(clippy::indexing_slicing, reason = "an index that is wrong does not compile")]
const SHAPES: [Shape; NOTHING + 1] = {
    let mut shapes = [BLANK_SHAPE; NOTHING + 1];
    let mut number = 0;
    while number < NOTHING {
        shapes[number] = Shape { protocol: number as u8, ..OTHER };
        number += 1;
    }
    let mut read: &[u8] = &protocol::READ;
    while let [first, rest @ ..] = read {
        shapes[*first as usize].headers = u32::MAX;
        read = rest;
    }
    shapes[protocol::TCP as usize] = TCP;
    shapes[protocol::UDP as usize] = UDP;
    shapes
};

// No packet is long enough for a data offset that is too small: not with IPv4, nor with IPv6, which counts as IPv4.
const _: () = assert!(0xFFFF - 19 + TCP.headers > 0xFFFF + IPV4);

/// The transport header of a plain packet.
struct Transport {
    /// The source port in the low half, the destination port in the high one.
    ports: u32,
    /// The flags of TCP in the low byte, and zeros.
    tcp_flags: u16,
    /// How long the header is, with that of IPv4.
    headers: u32,
    payload_length: u32,
}

impl Transport {
    /// Reads the header that `h` starts with, of a datagram that has `total` bytes with the header of IPv4.
    #[inline(always)]
    fn read(h: &[u8; 20], total: u32, shape: &Shape) -> Option<Self> {
        let udp_total = u32::from(be16([h[4], h[5]])).wrapping_add(IPV4);
        if (udp_total ^ total) & shape.length != 0 {
            return None;
        }
        let options = u32::from(h[12] >> 2).wrapping_sub(20) & shape.data_offset;
        let headers = options.wrapping_add(shape.headers);
        let has_ports = i32::from(shape.ports) as u32;
        Some(Self {
            ports: u32::from_be_bytes([h[0], h[1], h[2], h[3]]).rotate_left(16) & has_ports,
            tcp_flags: u16::from_le_bytes([h[13], h[14]]) & shape.tcp_flags,
            headers,
            payload_length: total.checked_sub(headers)? & has_ports,
        })
    }

    /// The flow but for EtherType and addresses. The frame starts `tag` bytes behind the start of the packet, and its
    /// IP header is `longer` than that of IPv4.
    #[inline(always)]
    fn flow(self, shape: &Shape, tag: u32, longer: u32) -> Flow {
        let behind = ETHERNET.wrapping_add(tag).wrapping_add(longer).wrapping_add(self.headers);
        Flow {
            flags: shape.flags,
            ip_version: shape.ip_version,
            protocol: shape.protocol,
            icmp_type: shape.icmp_type,
            icmp_code: shape.icmp_code,
            tcp_flags: self.tcp_flags as u8,
            // 0, and one write with the flags.
            vlan_count: (self.tcp_flags >> 8) as u8,
            source_port: self.ports as u16,
            destination_port: (self.ports >> 16) as u16,
            network_offset: shape.network_offset.wrapping_add(tag),
            transport_offset: shape.transport_offset.wrapping_add(tag),
            payload_offset: select_unpredictable(self.payload_length == 0, 0, behind),
            payload_length: self.payload_length,
            ..Flow::default()
        }
    }
}
