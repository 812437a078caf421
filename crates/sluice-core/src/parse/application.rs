//! Which application protocol a payload may be of, and what is noted of its names.

use core::hint::select_unpredictable;

use sluice_npi::{Flow, flags, name_kind};

use super::hello::{Fault, Hello};
use super::name::Found;
use super::{Ends, Parser, dns, dtls, http, quic, tls, tunnel};
use crate::protocol;

/// What a payload that starts with this byte may be.
mod start {
    /// TLS or HTTP, over TCP.
    pub(super) const OVER_TCP: u8 = 1;
    /// DTLS, or QUIC on any port, over UDP.
    pub(super) const OVER_UDP: u8 = 2;
    /// QUIC on the port of HTTPS alone.
    pub(super) const ON_HTTPS: u8 = 4;
    /// Whatever the ports say, even if there is none.
    pub(super) const ON_ITS_PORT: u8 = 8;
}

/// The bits of [`start`] for each first byte. Type 23, of which most records of TLS are, has none.
#[allow(clippy::indexing_slicing, reason = "an index that is wrong does not compile")]
const STARTS: [u8; 256] = {
    let mut starts = [start::ON_ITS_PORT; 256];
    let mut first = 0;
    while first < 256 {
        let byte = first as u8;
        if tls::may_start_with(byte) || http::may_start_with(byte) {
            starts[first] |= start::OVER_TCP;
        }
        if dtls::may_start_with(byte) || quic::may_start_with(byte, false) {
            starts[first] |= start::OVER_UDP;
        }
        if quic::may_start_with(byte, true) {
            starts[first] |= start::ON_HTTPS;
        }
        first += 1;
    }
    // What stands for an empty payload.
    assert!(starts[0] == start::ON_ITS_PORT && starts[23] == start::ON_ITS_PORT);
    starts
};

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
    let on_https = u8::from(quic::is_https(ports)).wrapping_mul(start::ON_HTTPS);
    let asked = select_unpredictable(flow.protocol == protocol::TCP, start::OVER_TCP, start::OVER_UDP | on_https);
    let known = STARTS.get(usize::from(first)).is_some_and(|starts| starts & asked != 0);
    known | dns::is_port(ports[0]) | dns::is_port(ports[1])
}

/// Whether [`may_be_known`] holds, or a port is that of a tunnel, on either side.
///
/// The same question in fewer steps, for packets that a processor cannot foresee anyway.
#[inline]
pub(super) fn may_have_more(packet: &[u8], flow: &Flow) -> bool {
    let first = packet.get(flow.payload_offset as usize).copied().unwrap_or(0);
    let first = select_unpredictable(flow.payload_length == 0, 0, first);
    let by_port = Port::starts(flow.source_port) | Port::starts(flow.destination_port);
    let over_tcp = by_port & start::ON_ITS_PORT | start::OVER_TCP;
    let asked = select_unpredictable(flow.protocol == protocol::TCP, over_tcp, by_port | start::OVER_UDP);
    STARTS.get(usize::from(first)).is_some_and(|starts| starts & asked != 0)
}

/// A port that says something of the payload, and what: bits of [`start`].
#[derive(Clone, Copy)]
struct Port {
    number: u16,
    starts: u8,
}

impl Port {
    /// 4 bits in which these ports differ.
    const fn folded(number: u16) -> usize {
        ((number as u32).wrapping_mul(0x6EC9_D287) >> 28) as usize
    }

    #[inline(always)]
    fn starts(number: u16) -> u8 {
        let port = PORTS.get(Self::folded(number)).copied().unwrap_or(Self { number: 0, starts: 0 });
        select_unpredictable(port.number == number, port.starts, 0)
    }
}

/// Each of these ports at its place.
#[allow(clippy::indexing_slicing, reason = "an index that is wrong does not compile")]
const PORTS: [Port; 16] = {
    const fn with(mut ports: [Port; 16], numbers: &[u16], starts: u8) -> [Port; 16] {
        let mut rest = numbers;
        while let [number, behind @ ..] = rest {
            assert!(ports[Port::folded(*number)].number == 0);
            ports[Port::folded(*number)] = Port { number: *number, starts };
            rest = behind;
        }
        ports
    }
    let ports = [Port { number: 0, starts: 0 }; 16];
    let ports = with(ports, &[quic::HTTPS], start::ON_HTTPS);
    with(with(ports, &dns::PORTS, start::ON_ITS_PORT), &tunnel::PORTS, start::ON_ITS_PORT)
};

impl<'packet> Parser<'packet, '_> {
    /// Looks into the payload of a flow whose headers were read.
    pub(super) fn application(&mut self, payload: &'packet [u8]) {
        match self.flow.protocol {
            protocol::TCP => self.tcp_payload(payload),
            protocol::UDP => self.udp_payload(payload),
            _ => {}
        }
    }

    /// Either side may use any port, so the bytes decide. Where they can be read as DNS over TCP as well, nobody can
    /// tell what the receiver takes them for.
    #[inline]
    fn tcp_payload(&mut self, payload: &'packet [u8]) {
        let begins = match payload.first() {
            None => return,
            Some(&first) if tls::may_start_with(first) => self.tls(payload),
            Some(&first) if http::may_start_with(first) => self.http(payload),
            Some(_) => false,
        };
        if self.is_on_dns_port() {
            self.dns_over_tcp(payload, begins);
        }
    }

    #[inline]
    fn udp_payload(&mut self, payload: &'packet [u8]) {
        if payload.first().is_some_and(|first| dtls::may_start_with(*first)) && self.dtls(payload) {
            // Where it has a question as well, nobody can tell what the receiver takes it for.
            if self.is_on_dns_port() && dns::has_question(payload) {
                self.malformed();
            }
        } else if self.is_on_dns_port() && (dns::is_message(payload) || !quic::has_known_version(payload)) {
            self.dns_over_udp(payload);
        } else {
            self.quic(payload);
        }
    }

    fn is_on_dns_port(&self) -> bool {
        dns::is_port(self.flow.source_port) || dns::is_port(self.flow.destination_port)
    }

    /// Notes a name, which is a part of the payload.
    pub(super) fn text_name(&mut self, kind: u8, payload: &'packet [u8], name: &'packet [u8]) {
        let front = name.as_ptr().addr().wrapping_sub(payload.as_ptr().addr());
        self.flow.name_offset = self.offset(payload).wrapping_add(front as u32);
        self.flow.name_length = name.len() as u16;
        self.flow.name_kind = kind;
    }

    /// Notes what was read of a ClientHello, and why reading ended early if it did.
    pub(super) fn hello(&mut self, hello: &Hello<'packet>, fault: Option<Fault>, payload: &'packet [u8]) {
        if hello.has_ech {
            self.set(flags::ECH);
        }
        if hello.is_malformed || matches!(fault, Some(Fault::Malformed | Fault::Unlike)) {
            self.malformed();
        }
        match (hello.name, fault) {
            (Some(Found::InPacket(name)), _) => self.text_name(name_kind::TLS, payload, name),
            (Some(Found::Copied), _) => self.assembled_name(name_kind::TLS),
            (None, Some(Fault::Short)) => self.name_behind_end(),
            (None, _) => self.name_missing(),
        }
    }

    /// Notes the name that was put together in `self.text`.
    fn assembled_name(&mut self, kind: u8) {
        self.flow.name_length = self.text.as_bytes().len() as u16;
        self.flow.name_kind = kind;
        self.set(flags::NAME_ASSEMBLED);
    }

    /// A name was not read, though nothing of it need lie behind the end of the packet.
    #[cold]
    pub(super) fn name_missing(&mut self) {
        self.set(flags::NAME_MISSING);
    }

    /// A name lies behind the end of what is here, or goes on there: in the next segment, in the other fragments, or
    /// behind the end of the capture.
    #[cold]
    pub(super) fn name_behind_end(&mut self) {
        self.set(flags::NAME_MISSING);
        if self.ends == Ends::Capture {
            self.set(flags::TRUNCATED);
        }
    }
}
