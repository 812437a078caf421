//! Which application protocol a payload may be of.

use core::hint::select_unpredictable;

use sluice_npi::Flow;

use super::{Parser, dns, http, quic, tls};
use crate::protocol;

/// Whether the payload may be of a protocol that is looked into, by its first byte and its ports.
///
/// Few payloads are, and a processor can foresee that as long as this is one question.
#[inline]
pub(super) fn may_be_known(packet: &[u8], flow: &Flow) -> bool {
    let Some(&first) = packet.get(flow.payload_offset as usize) else {
        return false;
    };
    let first = select_unpredictable(flow.payload_length == 0, 0, first);
    let ports = [flow.source_port, flow.destination_port];
    let over_tcp = tls::may_start_with(first) | http::may_start_with(first);
    let over_udp = quic::may_start_with(first, ports);
    let known = select_unpredictable(flow.protocol == protocol::TCP, u32::from(over_tcp), u32::from(over_udp));
    known | u32::from(dns::is_port(ports[0]) | dns::is_port(ports[1])) != 0
}

impl<'packet> Parser<'packet, '_> {
    /// Looks into the payload of a flow whose headers were read.
    pub(super) fn application(&mut self, payload: &'packet [u8]) {
        match self.flow.protocol {
            _ if payload.is_empty() => {}
            protocol::TCP => self.tcp_payload(payload),
            protocol::UDP => self.udp_payload(payload),
            _ => {}
        }
    }

    #[inline]
    fn tcp_payload(&mut self, payload: &'packet [u8]) {
        // A name is in the first segment of a stream, and needs more than this.
        if payload.len() <= 12 {
            return;
        }
        if dns::is_port(self.flow.source_port) || dns::is_port(self.flow.destination_port) {
            return self.dns_over_tcp(payload);
        }
        // Most payloads are neither, and their first byte says so.
        match payload.first() {
            Some(&tls::HANDSHAKE) if tls::may_be_client_hello(payload) => self.tls(payload),
            Some(b'A'..=b'Z') if http::may_be_request(payload) => self.http(payload),
            _ => {}
        }
    }

    #[inline]
    fn udp_payload(&mut self, payload: &'packet [u8]) {
        if dns::is_port(self.flow.source_port) || dns::is_port(self.flow.destination_port) {
            self.dns_over_udp(payload);
        } else if quic::may_be_long_header(payload) {
            self.quic(payload);
        }
    }
}
