//! The long header of QUIC (RFC 8999, 5.1).

use sluice_npi::flags;

use super::Parser;

/// The port on which every version is believed; elsewhere only known versions are.
const HTTPS: u16 = 443;

/// The longest connection id of the known versions (RFC 9000, 17.2).
const MAX_CONNECTION_ID: u8 = 20;

/// Set in the first byte of a long header (RFC 8999, 5.1).
const LONG: u8 = 0x80;

/// Set in the first byte of every packet of the known versions (RFC 9000, 17.2).
const FIXED: u8 = 0x40;

#[inline]
pub(super) fn may_start_with(first: u8, ports: [u16; 2]) -> bool {
    let https = (ports[0] == HTTPS) | (ports[1] == HTTPS);
    (first & LONG != 0) & ((first & FIXED != 0) | https)
}

#[inline]
pub(super) fn may_be_long_header(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG != 0)
}

/// QUIC version 1 (RFC 9000), version 2 (RFC 9369) and the drafts.
fn is_known(version: u32) -> bool {
    const DRAFTS: u32 = 0xFF00_0000;
    matches!(version, 1 | 0x6B33_43CF) || version & 0xFFFF_FF00 == DRAFTS
}

/// Whether both connection ids are there.
fn has_connection_ids(rest: &[u8], known: bool) -> bool {
    let id = |rest: &[u8]| -> Option<usize> {
        let length = *rest.first()?;
        (!known || length <= MAX_CONNECTION_ID).then_some(usize::from(length).wrapping_add(1))
    };
    let Some(rest) = id(rest).and_then(|length| rest.get(length..)) else {
        return false;
    };
    id(rest).is_some_and(|length| rest.len() >= length)
}

impl<'packet> Parser<'packet, '_> {
    /// Bytes that look like a long header are one; if they do not, the packet is not malformed.
    pub(super) fn quic(&mut self, datagram: &'packet [u8]) {
        let Some(([first, version @ ..], rest)) = datagram.split_first_chunk::<5>() else {
            return;
        };
        let version = u32::from_be_bytes(*version);
        let known = is_known(version);
        let https = self.flow.source_port == HTTPS || self.flow.destination_port == HTTPS;
        if (known && first & FIXED != 0 || !known && https) && has_connection_ids(rest, known) {
            self.flow.quic_version = version;
            self.set(flags::QUIC);
        }
    }
}
