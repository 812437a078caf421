//! The record of one packet and its verdict, whether a driver or this program classified it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use sluice_control::message::PacketRecord;
use sluice_core::{for_each_answer_name, parse_inner, parse_with_name};
use sluice_npi::{Flow, Verdict, action, direction, flags, name_kind};

use crate::capture::RecordedPacket;
use crate::terms::TCP_FLAGS;

/// One packet and its verdict. What the packet does not have is `None`, and null in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Record {
    /// Its number in the file, counted from 1.
    pub(crate) number: u64,
    /// When it was captured (RFC 3339).
    pub(crate) time: Option<Timestamp>,
    /// `inbound` or `outbound`.
    pub(crate) direction: Option<&'static str>,
    pub(crate) action: &'static str,
    /// The rule that decided; `None` when the default did.
    pub(crate) rule: Option<u32>,
    /// What was read of it.
    #[serde(flatten)]
    pub(crate) contents: Contents,
    /// What was read of the innermost packet in a tunnel. Of a driver, that is not known.
    pub(crate) inner: Option<Contents>,
}

/// What was read of a packet. What it does not have is `None`, and null in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Contents {
    /// `outer`; `inner` if it is in a tunnel.
    pub(crate) header: &'static str,
    /// The EtherType after all VLAN tags.
    pub(crate) ether_type: Option<u16>,
    /// The id of the outermost VLAN tag.
    pub(crate) vlan: Option<u16>,
    /// An IANA protocol number.
    pub(crate) protocol: Option<u8>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) destination: Option<IpAddr>,
    pub(crate) source_port: Option<u16>,
    pub(crate) destination_port: Option<u16>,
    pub(crate) icmp_type: Option<u8>,
    pub(crate) icmp_code: Option<u8>,
    /// The flags that are set.
    pub(crate) tcp_flags: Option<Vec<&'static str>>,
    /// The host name that the packet asks for.
    pub(crate) name: Option<String>,
    /// The hosts that a DNS answer names as what another is an alias of. Of a driver, they are not known.
    pub(crate) answer_names: Option<Vec<String>>,
    /// `read` or `unread`: whether the answers of DNS were read to their end.
    pub(crate) answer: Option<&'static str>,
    /// `dns`, `tls` or `http`.
    pub(crate) name_kind: Option<&'static str>,
    /// The packet begins a conversation that names a host, and a name in it was not read.
    pub(crate) name_missing: bool,
    /// The packet is kept until a later one completes the name that it begins.
    pub(crate) name_pending: bool,
    /// There is an Encrypted ClientHello, so that the name is the outer one.
    pub(crate) ech: bool,
    /// The version of a QUIC long header.
    pub(crate) quic_version: Option<u32>,
    /// `first` or `later`.
    pub(crate) fragment: Option<&'static str>,
    /// `read` or `unread`: whether the headers of the innermost packet in a tunnel were read to their end.
    pub(crate) tunnel: Option<&'static str>,
    pub(crate) truncated: bool,
    pub(crate) malformed: bool,
    /// Where the headers, the payload and the name start, in bytes from the start of the packet.
    pub(crate) network_offset: Option<u32>,
    pub(crate) transport_offset: Option<u32>,
    pub(crate) payload_offset: Option<u32>,
    pub(crate) payload_length: Option<u32>,
    pub(crate) name_offset: Option<u32>,
}

impl Record {
    /// A packet that the driver keeps a record of. It is `now`, which is `driver_now` by the clock of the driver.
    pub(crate) fn of_driver(number: u64, packet: &PacketRecord, driver_now: u64, now: Timestamp) -> Self {
        let ago = Duration::from_millis(driver_now.saturating_sub(packet.time));
        let name_length = usize::from(packet.flow.name_length).min(packet.name.len());
        let recorded = RecordedPacket {
            number,
            time: now.checked_sub(ago).ok(),
            link_type: packet.link_type,
            direction: packet.direction,
            wire_length: packet.wire_length,
            bytes: packet.name[..name_length].to_vec(),
            assembled: OnceLock::default(),
        };
        let verdict = Verdict {
            action: packet.action,
            rule_id: packet.decided_by,
            generation: packet.generation,
            // Of the bytes, the record has the name alone, in one piece.
            flow: Flow { name_offset: 0, flags: packet.flow.flags & !flags::NAME_ASSEMBLED, ..packet.flow },
            ..Verdict::default()
        };
        let mut record = Self::outer(&recorded, &verdict);
        let is_assembled = packet.flow.has(flags::NAME_ASSEMBLED);
        let name_offset = record.contents.name_offset.filter(|_| !is_assembled);
        record.contents.name_offset = name_offset.map(|_| packet.flow.name_offset);
        record
    }

    pub(crate) fn new(packet: &RecordedPacket, verdict: &Verdict) -> Self {
        let mut record = Self::outer(packet, verdict);
        record.contents.answer_names = answer_names(&packet.bytes, &verdict.flow);
        record.inner = if verdict.flow.has(flags::TUNNEL) { Contents::inner(packet) } else { None };
        record
    }

    fn outer(packet: &RecordedPacket, verdict: &Verdict) -> Self {
        let flow = &verdict.flow;
        let is_assembled = flow.has(flags::NAME_ASSEMBLED);
        let name = if is_assembled { assembled_name(packet, flow.name_kind) } else { name(&packet.bytes, flow) };
        Self {
            number: packet.number,
            time: packet.time,
            direction: direction_name(packet.direction),
            action: action_name(verdict.action),
            rule: Some(verdict.rule_id).filter(|id| *id != 0),
            contents: Contents::new(flow, name),
            inner: None,
        }
    }
}

impl Contents {
    /// Of the innermost packet in a tunnel, if one was found.
    fn inner(packet: &RecordedPacket) -> Option<Self> {
        let RecordedPacket { link_type, wire_length, ref bytes, .. } = *packet;
        let (mut flow, mut text) = (Flow::default(), None);
        let is_read = parse_inner(link_type, bytes, wire_length, &mut flow, &mut text);
        let name = match text.filter(|_| flow.has(flags::NAME_ASSEMBLED)) {
            Some(text) => Some(escaped(text.as_bytes(), false)),
            None => name(bytes, &flow),
        };
        let answer_names = answer_names(bytes, &flow);
        is_read.is_ok_and(|is_read| is_read).then(|| Self { answer_names, ..Self::new(&flow, name) })
    }

    /// `name` is the name that the packet asks for, as text.
    fn new(flow: &Flow, name: Option<String>) -> Self {
        let address = |bytes: &[u8; 16]| {
            flow.has(flags::ADDRESSES).then(|| match (flow.ip_version, bytes) {
                (4, [a, b, c, d, ..]) => IpAddr::from(Ipv4Addr::new(*a, *b, *c, *d)),
                _ => IpAddr::from(Ipv6Addr::from(*bytes)),
            })
        };
        let port = |number: u16| flow.has(flags::PORTS).then_some(number);
        let offset = |offset: u32| Some(offset).filter(|offset| *offset != 0);
        let payload_offset = offset(flow.payload_offset);
        let is_assembled = flow.has(flags::NAME_ASSEMBLED);
        Self {
            header: if flow.has(flags::INNER) { "inner" } else { "outer" },
            ether_type: flow.has(flags::ETHER_TYPE).then_some(flow.ether_type),
            vlan: (flow.vlan_count > 0).then_some(flow.vlan_ids[0]),
            protocol: flow.has(flags::PROTOCOL).then_some(flow.protocol),
            source: address(&flow.source_address),
            destination: address(&flow.destination_address),
            source_port: port(flow.source_port),
            destination_port: port(flow.destination_port),
            icmp_type: flow.has(flags::ICMP).then_some(flow.icmp_type),
            icmp_code: flow.has(flags::ICMP).then_some(flow.icmp_code),
            tcp_flags: flow.has(flags::TCP_FLAGS).then(|| {
                let is_set = |(bit, _): &(usize, &str)| flow.tcp_flags >> bit & 1 != 0;
                TCP_FLAGS.into_iter().enumerate().filter(is_set).map(|(_, flag)| flag).collect()
            }),
            name_kind: (name.is_some() || is_assembled).then(|| name_kind_name(flow.name_kind)).flatten(),
            name_offset: (name.is_some() && !is_assembled).then_some(flow.name_offset),
            name,
            answer_names: None,
            answer: content(flow, flags::ANSWER, flags::ANSWER_UNREAD),
            name_missing: flow.has(flags::NAME_MISSING),
            name_pending: flow.has(flags::NAME_PENDING),
            ech: flow.has(flags::ECH),
            quic_version: flow.has(flags::QUIC).then_some(flow.quic_version),
            fragment: match () {
                () if flow.has(flags::LATER_FRAGMENT) => Some("later"),
                () if flow.has(flags::FRAGMENT) => Some("first"),
                () => None,
            },
            tunnel: content(flow, flags::TUNNEL, flags::TUNNEL_UNREAD),
            truncated: flow.has(flags::TRUNCATED),
            malformed: flow.has(flags::MALFORMED),
            network_offset: (flow.ip_version != 0).then_some(flow.network_offset),
            transport_offset: offset(flow.transport_offset),
            payload_length: payload_offset.map(|_| flow.payload_length),
            payload_offset,
        }
    }
}

/// Whether a content with this flag was read, or was not by the other flag.
fn content(flow: &Flow, any: u32, unread: u32) -> Option<&'static str> {
    match () {
        () if flow.has(unread) => Some("unread"),
        () if flow.has(any) => Some("read"),
        () => None,
    }
}

/// The names in the answers of a packet, if it has answers.
fn answer_names(bytes: &[u8], flow: &Flow) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for_each_answer_name(bytes, flow, |name| names.extend(dns_name(name.as_bytes())));
    flow.has(flags::ANSWER).then_some(names)
}

fn direction_name(number: u16) -> Option<&'static str> {
    match number {
        direction::INBOUND => Some("inbound"),
        direction::OUTBOUND => Some("outbound"),
        _ => None,
    }
}

fn name_kind_name(number: u8) -> Option<&'static str> {
    match number {
        name_kind::DNS => Some("dns"),
        name_kind::TLS => Some("tls"),
        name_kind::HTTP => Some("http"),
        _ => None,
    }
}

pub(crate) fn action_name(number: u16) -> &'static str {
    match number {
        action::PERMIT => "permit",
        action::BLOCK => "block",
        _ => "unknown",
    }
}

fn name(bytes: &[u8], flow: &Flow) -> Option<String> {
    let bytes = bytes.get(flow.name_offset as usize..)?.get(..usize::from(flow.name_length))?;
    match flow.name_kind {
        name_kind::DNS => dns_name(bytes),
        name_kind::TLS | name_kind::HTTP => Some(escaped(bytes, false)),
        _ => None,
    }
}

/// A name that has to be put together. It is not in the verdict, but was kept or can be read from the packet again.
/// What a driver has put together from several packets is known to it alone.
fn assembled_name(packet: &RecordedPacket, name_kind: u8) -> Option<String> {
    if let Some(name) = packet.assembled.get() {
        return Some(if name_kind == name_kind::DNS {
            dns_name(name.as_bytes())?
        } else {
            escaped(name.as_bytes(), false)
        });
    }
    let RecordedPacket { link_type, wire_length, ref bytes, .. } = *packet;
    let mut text = None;
    parse_with_name(link_type, bytes, wire_length, &mut Flow::default(), &mut text).ok()?;
    let text = text.filter(|text| !text.as_bytes().is_empty())?;
    Some(escaped(text.as_bytes(), false))
}

/// A name in labels (RFC 1035, 3.1), as text (5.1). The name of the root is a dot.
fn dns_name(mut bytes: &[u8]) -> Option<String> {
    let mut labels = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        labels.push(escaped(label, true));
        bytes = rest;
    }
    Some(if labels.is_empty() { ".".to_owned() } else { labels.join(".") })
}

/// The bytes as visible text: a backslash and all that is not printable ASCII are escaped as in RFC 1035, 5.1, and
/// within a label so is a dot.
fn escaped(bytes: &[u8], in_label: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str(r"\\"),
            b'.' if in_label => text.push_str(r"\."),
            0x21..=0x7E => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:03}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_labels_are_joined_and_unprintable_bytes_escaped() {
        assert_eq!(dns_name(b"\x03www\x07example\x03com").as_deref(), Some("www.example.com"));
        assert_eq!(dns_name(b"\x03a.b\x02\x00\xFF").as_deref(), Some(r"a\.b.\000\255"));
        assert_eq!(dns_name(b"").as_deref(), Some("."));
        assert_eq!(dns_name(b"\x05four"), None);
    }

    #[test]
    fn terminal_controls_in_a_server_name_are_escaped() {
        assert_eq!(escaped(b"a\x1b[31m.example", false), r"a\027[31m.example");
    }
}
