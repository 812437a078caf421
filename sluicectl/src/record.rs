//! The record of one packet and its verdict, whether a driver or this program classified it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use sluice_npi::{Verdict, action, flags, name_kind};

use crate::capture::RecordedPacket;

/// One packet and its verdict. What the packet does not have is `None`, and null in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) action: &'static str,
    /// The rule that decided; `None` when the default did.
    pub(crate) rule: Option<u32>,
    /// An IANA protocol number.
    pub(crate) protocol: Option<u8>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) destination: Option<IpAddr>,
    pub(crate) source_port: Option<u16>,
    pub(crate) destination_port: Option<u16>,
    /// The id of the outermost VLAN tag.
    pub(crate) vlan: Option<u16>,
    /// The host name that the packet asks for.
    pub(crate) name: Option<String>,
    pub(crate) fragment: bool,
    pub(crate) truncated: bool,
    pub(crate) malformed: bool,
}

impl Record {
    pub(crate) fn new(packet: &RecordedPacket, verdict: &Verdict) -> Self {
        let flow = &verdict.flow;
        let address = |bytes: &[u8; 16]| {
            flow.has(flags::ADDRESSES).then(|| match (flow.ip_version, bytes) {
                (4, [a, b, c, d, ..]) => IpAddr::from(Ipv4Addr::new(*a, *b, *c, *d)),
                _ => IpAddr::from(Ipv6Addr::from(*bytes)),
            })
        };
        let port = |number: u16| flow.has(flags::PORTS).then_some(number);
        Self {
            number: packet.number,
            action: action_name(verdict.action),
            rule: Some(verdict.rule_id).filter(|id| *id != 0),
            protocol: flow.has(flags::PROTOCOL).then_some(flow.protocol),
            source: address(&flow.source_address),
            destination: address(&flow.destination_address),
            source_port: port(flow.source_port),
            destination_port: port(flow.destination_port),
            vlan: (flow.vlan_count > 0).then_some(flow.vlan_ids[0]),
            name: name(packet, verdict),
            fragment: flow.has(flags::FRAGMENT),
            truncated: flow.has(flags::TRUNCATED),
            malformed: flow.has(flags::MALFORMED),
        }
    }
}

pub(crate) fn action_name(number: u16) -> &'static str {
    match number {
        action::PERMIT => "permit",
        action::BLOCK => "block",
        _ => "unknown",
    }
}

fn name(packet: &RecordedPacket, verdict: &Verdict) -> Option<String> {
    let start = verdict.flow.name_offset as usize;
    let bytes = packet.bytes.get(start..)?.get(..usize::from(verdict.flow.name_length))?;
    match verdict.flow.name_kind {
        name_kind::DNS => dns_name(bytes),
        name_kind::TLS | name_kind::HTTP => Some(escaped(bytes, false)),
        _ => None,
    }
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
