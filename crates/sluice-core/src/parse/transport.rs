//! Transport protocols.

use sluice_npi::flags;

use super::{Ends, Parser, be16, tunnel};
use crate::protocol;

impl<'packet> Parser<'packet, '_, ()> {
    #[inline]
    pub(super) fn transport(&mut self, number: u8, rest: &'packet [u8]) {
        self.flow.transport_offset = self.offset(rest);
        match number {
            protocol::TCP => self.tcp(rest),
            protocol::UDP => self.udp(rest),
            _ => self.other_transport(number, rest),
        }
    }

    fn other_transport(&mut self, number: u8, rest: &'packet [u8]) {
        match (number, self.flow.ip_version) {
            (protocol::ICMP, 4) => self.icmp(rest, 8),
            (protocol::ICMPV6, 6) => self.icmp(rest, 4),
            (protocol::UDP_LITE, _) => self.udp_lite(rest),
            (protocol::SCTP, _) => self.sctp(rest),
            (protocol::DCCP, _) => self.dccp(rest),
            (number, _) if tunnel::is_protocol(number) && !rest.is_empty() => self.note_payload(rest),
            _ => {
                if rest.is_empty() {
                    self.flow.transport_offset = 0;
                }
            }
        }
    }

    #[inline]
    fn ports(&mut self, header: &[u8; 4]) {
        self.flow.source_port = be16([header[0], header[1]]);
        self.flow.destination_port = be16([header[2], header[3]]);
        self.set(flags::PORTS);
    }

    /// A header that does not fit: its ports, if at least they are there.
    #[cold]
    fn short_transport(&mut self, rest: &[u8]) {
        if let Some(header) = rest.first_chunk() {
            self.ports(header);
        }
        if rest.is_empty() {
            self.flow.transport_offset = 0;
        }
        self.short();
    }

    #[inline]
    fn note_payload(&mut self, payload: &[u8]) {
        if !payload.is_empty() {
            self.flow.payload_offset = self.offset(payload);
            self.flow.payload_length = payload.len() as u32;
        }
    }

    /// TCP (RFC 9293, 3.1).
    #[inline]
    fn tcp(&mut self, rest: &'packet [u8]) {
        let Some(header) = rest.first_chunk::<20>() else {
            return self.short_transport(rest);
        };
        self.ports(&[header[0], header[1], header[2], header[3]]);
        self.flow.tcp_flags = header[13];
        self.set(flags::TCP_FLAGS);
        let length = usize::from(header[12] >> 4).wrapping_mul(4);
        if length < 20 {
            return self.malformed();
        }
        let Some(payload) = rest.get(length..) else {
            return self.short();
        };
        self.note_payload(payload);
    }

    /// UDP (RFC 768).
    #[inline]
    fn udp(&mut self, rest: &'packet [u8]) {
        let Some((header, payload)) = rest.split_first_chunk::<8>() else {
            return self.short_transport(rest);
        };
        self.ports(&[header[0], header[1], header[2], header[3]]);
        let length = usize::from(be16([header[4], header[5]]));
        let payload = match length {
            // The length does not fit into the field (RFC 2675, 4), or segmentation offload will fill it in.
            0 => payload,
            1..8 => return self.malformed(),
            // The rest of the datagram is in the fragments that follow.
            _ if self.ends == Ends::Fragment => payload,
            _ => self.limit(payload, length.wrapping_sub(8)),
        };
        self.note_payload(payload);
    }

    /// UDP-Lite (RFC 3828): the length field is a checksum coverage.
    fn udp_lite(&mut self, rest: &'packet [u8]) {
        let Some((header, payload)) = rest.split_first_chunk::<8>() else {
            return self.short_transport(rest);
        };
        self.ports(&[header[0], header[1], header[2], header[3]]);
        let coverage = usize::from(be16([header[4], header[5]]));
        if matches!(coverage, 1..8) || (self.ends == Ends::Packet && coverage > rest.len()) {
            self.malformed();
        }
        self.note_payload(payload);
    }

    /// SCTP (RFC 9260, 3.1).
    fn sctp(&mut self, rest: &'packet [u8]) {
        let Some((header, payload)) = rest.split_first_chunk::<12>() else {
            return self.short_transport(rest);
        };
        self.ports(&[header[0], header[1], header[2], header[3]]);
        self.note_payload(payload);
    }

    /// DCCP (RFC 4340, 5.1).
    fn dccp(&mut self, rest: &'packet [u8]) {
        let Some(header) = rest.first_chunk::<12>() else {
            return self.short_transport(rest);
        };
        self.ports(&[header[0], header[1], header[2], header[3]]);
        let extended_sequence_numbers = header[8] & 1 != 0;
        let length = usize::from(header[4]).wrapping_mul(4);
        if length < if extended_sequence_numbers { 16 } else { 12 } {
            return self.malformed();
        }
        match rest.get(length..) {
            Some(payload) => self.note_payload(payload),
            None => self.short(),
        }
    }

    /// ICMP (RFC 792) and ICMPv6 (RFC 4443).
    fn icmp(&mut self, rest: &'packet [u8], header_length: usize) {
        if let [kind, code, ..] = rest {
            self.flow.icmp_type = *kind;
            self.flow.icmp_code = *code;
            self.set(flags::ICMP);
        }
        match rest.get(header_length..) {
            Some(payload) => self.note_payload(payload),
            None => self.short_transport(&[]),
        }
        if rest.is_empty() {
            self.flow.transport_offset = 0;
        }
    }
}
