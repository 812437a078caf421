//! IPv4 (RFC 791), IPv6 (RFC 8200) and the headers between them and the transport protocol.

use sluice_npi::{Flow, flags};

use super::{Ends, Parser, be16};
use crate::protocol;

/// How many extension headers are walked; a packet with more is malformed. Each kind may occur only once, except
/// for Destination Options (RFC 8200, 4.1), so that real packets have few.
const MAX_EXTENSION_HEADERS: u32 = 16;

/// How many options of a Hop-by-Hop header are looked at to find the Jumbo Payload option.
const MAX_HOP_OPTIONS: u32 = 32;

/// The longest reassembled datagram without a Jumbo Payload option.
const MAX_DATAGRAM: usize = 0xFFFF;

/// Where a fragment belongs: its offset in bytes, and whether more follow.
#[derive(Clone, Copy)]
struct FragmentField {
    offset: usize,
    more: bool,
}

impl<'packet> Parser<'packet, '_, ()> {
    #[inline]
    pub(super) fn ipv4(&mut self, rest: &'packet [u8]) {
        let Some((header, behind)) = rest.split_first_chunk::<20>() else {
            return self.short_ipv4(rest);
        };
        if header[0] != 0x45 {
            return self.ipv4_with_options(header, rest);
        }
        self.ipv4_header(header, rest);
        let total = usize::from(be16([header[2], header[3]]));
        let payload = match total {
            0 => behind,
            1..20 => {
                // The packet ends inside its own header: there is no payload to find ports in.
                return self.malformed();
            }
            _ => self.limit(behind, total.wrapping_sub(20)),
        };
        self.ipv4_payload(header, payload);
    }

    /// An IPv4 header that is not 20 bytes long, or no IPv4 header at all.
    #[cold]
    fn ipv4_with_options(&mut self, header: &[u8; 20], rest: &'packet [u8]) {
        let header_length = usize::from(header[0] & 0x0F).wrapping_mul(4);
        if header[0] >> 4 != 4 {
            return self.malformed();
        }
        self.ipv4_header(header, rest);
        if header_length < 20 {
            return self.malformed();
        }
        let total = usize::from(be16([header[2], header[3]]));
        if total != 0 && total < header_length {
            return self.malformed();
        }
        let datagram = if total == 0 { rest } else { self.limit(rest, total) };
        let Some((header_bytes, payload)) = datagram.split_at_checked(header_length) else {
            return self.short();
        };
        if !options_are_well_formed(header_bytes.get(20..).unwrap_or_default()) {
            self.malformed();
        }
        self.ipv4_payload(header, payload);
    }

    #[inline]
    fn ipv4_header(&mut self, header: &[u8; 20], rest: &'packet [u8]) {
        let network_offset = self.offset(rest);
        let flow = &mut *self.flow;
        flow.network_offset = network_offset;
        flow.ip_version = 4;
        flow.protocol = header[9];
        flow.source_address = widened([header[12], header[13], header[14], header[15]]);
        flow.destination_address = widened([header[16], header[17], header[18], header[19]]);
        flow.flags |= flags::ADDRESSES | flags::PROTOCOL;
    }

    #[inline]
    fn ipv4_payload(&mut self, header: &[u8; 20], payload: &'packet [u8]) {
        let field = be16([header[6], header[7]]);
        // All but Don't Fragment and the reserved bit.
        if field & 0x3FFF != 0 {
            let field =
                FragmentField { offset: usize::from(field & 0x1FFF).wrapping_mul(8), more: field & 0x2000 != 0 };
            if !self.fragment(field, payload) {
                // A later fragment that would overwrite all but the ports of a TCP header (RFC 1858, 3128).
                if field.offset == 8 && header[9] == protocol::TCP {
                    self.malformed();
                }
                return;
            }
        }
        if header[9] == protocol::AUTHENTICATION {
            return self.ipv4_authentication(payload);
        }
        self.transport(header[9], payload);
    }

    #[cold]
    fn ipv4_authentication(&mut self, mut payload: &'packet [u8]) {
        for _ in 0..MAX_EXTENSION_HEADERS {
            let Some((next, behind)) = self.authentication(payload) else {
                return;
            };
            self.flow.protocol = next;
            if next != protocol::AUTHENTICATION {
                return self.transport(next, behind);
            }
            payload = behind;
        }
        self.malformed();
    }

    /// Fewer bytes than an IPv4 header has.
    #[cold]
    fn short_ipv4(&mut self, rest: &'packet [u8]) {
        if rest.first().is_some_and(|first| first >> 4 != 4) {
            return self.malformed();
        }
        self.flow.ip_version = if rest.is_empty() { 0 } else { 4 };
        self.flow.network_offset = if rest.is_empty() { 0 } else { self.offset(rest) };
        if let Some(protocol) = rest.get(9) {
            self.flow.protocol = *protocol;
            self.set(flags::PROTOCOL);
        }
        self.short();
    }

    #[inline]
    pub(super) fn ipv6(&mut self, rest: &'packet [u8]) {
        let Some((header, behind)) = rest.split_first_chunk::<40>() else {
            return self.short_ipv6(rest);
        };
        if header[0] >> 4 != 6 {
            return self.malformed();
        }
        let network_offset = self.offset(rest);
        let flow = &mut *self.flow;
        flow.network_offset = network_offset;
        flow.ip_version = 6;
        copy(&mut flow.source_address, header.get(8..24));
        copy(&mut flow.destination_address, header.get(24..40));
        flow.flags |= flags::ADDRESSES;
        let length = usize::from(be16([header[4], header[5]]));
        let next = header[6];
        if length == 0 && next == protocol::HOP_BY_HOP {
            return self.jumbogram(behind);
        }
        let payload = if length == 0 { behind } else { self.limit(behind, length) };
        self.ipv6_payload(next, payload, length == 0);
    }

    /// Fewer bytes than an IPv6 header has.
    #[cold]
    fn short_ipv6(&mut self, rest: &'packet [u8]) {
        if rest.first().is_some_and(|first| first >> 4 != 6) {
            return self.malformed();
        }
        self.flow.ip_version = if rest.is_empty() { 0 } else { 6 };
        self.flow.network_offset = if rest.is_empty() { 0 } else { self.offset(rest) };
        self.short();
    }

    /// A payload length of 0 in front of a Hop-by-Hop header: the real length is in its Jumbo Payload option (RFC
    /// 2675).
    #[cold]
    fn jumbogram(&mut self, payload: &'packet [u8]) {
        let payload = match jumbo_payload_length(payload) {
            // 65,535 bytes and less do not need the option, and must not use it (RFC 2675, 3).
            Some(length) if length > MAX_DATAGRAM => self.limit(payload, length),
            Some(_) => {
                self.malformed();
                payload
            }
            None => {
                if !payload.is_empty() && self.ends == Ends::Packet {
                    self.malformed();
                }
                payload
            }
        };
        self.ipv6_payload(protocol::HOP_BY_HOP, payload, true);
    }

    #[inline]
    fn ipv6_payload(&mut self, next: u8, payload: &'packet [u8], zero_length: bool) {
        match next {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6 => self.extension_headers(next, payload, zero_length),
            _ => {
                self.flow.protocol = next;
                self.set(flags::PROTOCOL);
                self.transport(next, payload);
            }
        }
    }

    /// Walks the extension headers (RFC 8200, 4; RFC 7045).
    fn extension_headers(&mut self, mut next: u8, mut rest: &'packet [u8], zero_length: bool) {
        // A header that carries its own message and, in most packets, nothing behind it: its number then is the
        // protocol.
        let mut message = None;
        for position in 0..=MAX_EXTENSION_HEADERS {
            let following = match next {
                protocol::HOP_BY_HOP if position != 0 => return self.malformed(),
                protocol::FRAGMENT => {
                    let Some((header, behind)) = rest.split_first_chunk::<8>() else {
                        return self.short();
                    };
                    let field = be16([header[2], header[3]]);
                    let field = FragmentField { offset: usize::from(field & 0xFFF8), more: field & 1 != 0 };
                    if zero_length && (field.offset != 0 || field.more) && position != 0 {
                        // A jumbogram is never a fragment (RFC 2675, 3).
                        self.malformed();
                    }
                    // An atomic fragment (RFC 6946) is a whole packet.
                    if (field.offset != 0 || field.more) && !self.fragment(field, behind) {
                        self.flow.protocol = header[0];
                        return self.set(flags::PROTOCOL);
                    }
                    Some((header[0], behind))
                }
                protocol::AUTHENTICATION => self.authentication(rest),
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => self.extension_header(rest),
                protocol::MOBILITY | protocol::HIP | protocol::SHIM6 => {
                    message = Some((next, rest));
                    self.extension_header(rest)
                }
                _ => {
                    let (number, at) = match message {
                        Some(message) if next == protocol::NO_NEXT_HEADER => message,
                        _ => (next, rest),
                    };
                    self.flow.protocol = number;
                    self.set(flags::PROTOCOL);
                    return self.transport(number, at);
                }
            };
            let Some(following) = following else {
                return;
            };
            (next, rest) = following;
        }
        self.malformed();
    }

    /// An extension header that counts its length in units of 8 bytes, the first of them not counted.
    fn extension_header(&mut self, rest: &'packet [u8]) -> Option<(u8, &'packet [u8])> {
        let length = rest.get(1).map(|length| usize::from(*length).wrapping_add(1).wrapping_mul(8));
        self.header_of(rest, length)
    }

    /// An Authentication Header counts its length in units of 4 bytes, the first two of them not counted (RFC 4302,
    /// 2.2).
    fn authentication(&mut self, rest: &'packet [u8]) -> Option<(u8, &'packet [u8])> {
        let length = rest.get(1).map(|length| usize::from(*length).wrapping_add(2).wrapping_mul(4));
        if length.is_some_and(|length| length < 12) {
            self.malformed();
            return None;
        }
        self.header_of(rest, length)
    }

    /// The next header's number and place, if this header is complete.
    fn header_of(&mut self, rest: &'packet [u8], length: Option<usize>) -> Option<(u8, &'packet [u8])> {
        let (header, behind) = length.and_then(|length| rest.split_at_checked(length)).unzip();
        match (header.and_then(<[u8]>::first), behind) {
            (Some(next), Some(behind)) => Some((*next, behind)),
            _ => {
                self.short();
                None
            }
        }
    }

    /// Notes a fragment. Answers whether a transport header follows, which is so in the first fragment alone.
    #[cold]
    fn fragment(&mut self, field: FragmentField, payload: &[u8]) -> bool {
        self.set(flags::FRAGMENT);
        let whole = self.ends == Ends::Packet;
        // Fragments are cut at multiples of 8 bytes, and what they make up has to be a datagram.
        if (field.more && whole && !payload.len().is_multiple_of(8))
            || field.offset.wrapping_add(payload.len()) > MAX_DATAGRAM
        {
            self.malformed();
        }
        if field.offset != 0 {
            self.set(flags::LATER_FRAGMENT);
            return false;
        }
        if whole {
            self.ends = Ends::Fragment;
        }
        true
    }
}

/// Whether the options of an IPv4 header have lengths that fit (RFC 791, 3.1).
fn options_are_well_formed(mut options: &[u8]) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    while let Some((kind, rest)) = options.split_first() {
        options = match *kind {
            END => return true,
            NO_OPERATION => rest,
            _ => match options.get(1).map(|length| usize::from(*length)) {
                Some(length @ 2..) => match options.get(length..) {
                    Some(rest) => rest,
                    None => return false,
                },
                _ => return false,
            },
        };
    }
    true
}

/// What the Jumbo Payload option of a Hop-by-Hop header says, if there is one.
fn jumbo_payload_length(header: &[u8]) -> Option<usize> {
    const PAD1: u8 = 0;
    const JUMBO_PAYLOAD: u8 = 0xC2;
    let length = usize::from(*header.get(1)?).wrapping_add(1).wrapping_mul(8);
    let mut options = header.get(2..length.min(header.len()))?;
    for _ in 0..MAX_HOP_OPTIONS {
        options = match options {
            [PAD1, rest @ ..] => rest,
            [JUMBO_PAYLOAD, 4, a, b, c, d, ..] => {
                return usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok();
            }
            [_, length, rest @ ..] => rest.get(usize::from(*length)..)?,
            _ => return None,
        };
    }
    None
}

/// An IPv4 address where an IPv6 address has room.
#[inline]
pub(super) fn widened(address: [u8; 4]) -> [u8; 16] {
    u128::from(u32::from_le_bytes(address)).to_le_bytes()
}

#[inline]
pub(super) fn copy(to: &mut [u8; 16], from: Option<&[u8]>) {
    if let Some(from) = from.and_then(<[u8]>::first_chunk) {
        *to = *from;
    }
}

const _: () = assert!(size_of::<Flow>() == 88);
