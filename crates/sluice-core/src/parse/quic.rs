//! The long header of QUIC (RFC 8999, 5.1).
//!
//! The host is named in the ClientHello of an Initial packet, which is encrypted, if with keys that everybody can
//! derive (RFC 9001, 5.2). It is not decrypted: an Initial is a beginning whose name is missing.

use sluice_npi::flags;

use super::{Ends, Parser};

/// The port on which every version is believed; elsewhere only known versions are.
const HTTPS: u16 = 443;

/// The longest connection id of the known versions (RFC 9000, 17.2).
const MAX_CONNECTION_ID: u8 = 20;

/// How many packets of a datagram are looked at. Few have more than an Initial, a 0-RTT and a Handshake packet.
const MAX_PACKETS: u32 = 8;

/// Set in the first byte of a long header (RFC 8999, 5.1).
const LONG: u8 = 0x80;

/// Set in the first byte of every packet of the known versions (RFC 9000, 17.2), unless both sides have agreed to vary
/// it (RFC 9287).
const FIXED: u8 = 0x40;

/// Whether a long header can start like this: of a known version on any port, and of any version on the port of HTTPS.
#[inline]
pub(super) fn may_start_with(first: u8, ports: [u16; 2]) -> bool {
    let https = (ports[0] == HTTPS) | (ports[1] == HTTPS);
    (first & LONG != 0) & ((first & FIXED != 0) | https)
}

/// The version of a Version Negotiation packet (RFC 8999, 6).
const NEGOTIATION: u32 = 0;

/// Version 1 (RFC 9000), version 2 (RFC 9369) and the drafts.
const VERSION_2: u32 = 0x6B33_43CF;

fn is_known(version: u32) -> bool {
    const DRAFTS: u32 = 0xFF00_0000;
    matches!(version, 1 | VERSION_2) || version & 0xFFFF_FF00 == DRAFTS
}

/// A long header.
struct Long<'packet> {
    first: u8,
    version: u32,
    /// What lies behind both connection ids.
    rest: &'packet [u8],
}

impl<'packet> Long<'packet> {
    /// The long header at the start of `datagram`, if there is one and both of its connection ids are here.
    fn read(datagram: &'packet [u8]) -> Option<Self> {
        let ([first, version @ ..], rest) = datagram.split_first_chunk::<5>()?;
        let version = u32::from_be_bytes(*version);
        let id = |rest: &'packet [u8]| -> Option<&'packet [u8]> {
            let (length, rest) = rest.split_first()?;
            if is_known(version) && *length > MAX_CONNECTION_ID {
                return None;
            }
            rest.get(usize::from(*length)..)
        };
        let rest = id(id(rest)?)?;
        (first & LONG != 0).then_some(Self { first: *first, version, rest })
    }

    fn kind(&self) -> Kind {
        // Version 2 counts from Retry on (RFC 9369, 3.2).
        let number = self.first >> 4 & 3;
        match if self.version == VERSION_2 { number.wrapping_sub(1) & 3 } else { number } {
            0 => Kind::Initial,
            3 => Kind::Retry,
            _ => Kind::Protected,
        }
    }

    /// The packet behind this one, which has its length behind its connection ids (RFC 9000, 12.2).
    fn next(&self) -> Option<&'packet [u8]> {
        let (length, rest) = variable_length(self.rest)?;
        rest.get(length..)
    }
}

/// The types of packets with a long header.
#[derive(PartialEq, Eq)]
enum Kind {
    Initial,
    /// 0-RTT or Handshake.
    Protected,
    Retry,
}

/// A number in as many bytes as its first two bits say (RFC 9000, 16).
fn variable_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, _) = bytes.split_first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let number = number.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let bits = u32::from(first >> 6);
    let mask = u64::MAX >> (66_u32.wrapping_sub(8_u32 << bits) & 63);
    Some((usize::try_from(number & mask).ok()?, rest))
}

/// Whether a datagram starts with a long header of a known version.
pub(super) fn has_known_version(datagram: &[u8]) -> bool {
    Long::read(datagram).is_some_and(|header| is_known(header.version) && header.first & FIXED != 0)
}

/// Whether one of the packets of a datagram is an Initial, or may be.
fn has_initial(mut datagram: &[u8]) -> bool {
    for _ in 0..MAX_PACKETS {
        let Some(header) = Long::read(datagram) else {
            return false;
        };
        match header.kind() {
            Kind::Initial => return true,
            Kind::Retry => return false,
            Kind::Protected => match header.next() {
                Some(next) => datagram = next,
                None => return false,
            },
        }
    }
    true
}

impl<'packet> Parser<'packet, '_> {
    /// Bytes that look like a long header are one; if they do not, the packet is not malformed.
    pub(super) fn quic(&mut self, datagram: &'packet [u8]) {
        let https = self.flow.source_port == HTTPS || self.flow.destination_port == HTTPS;
        let Some(Long { first, version, .. }) = Long::read(datagram) else {
            // A first fragment with no more than the start of a header.
            if self.ends == Ends::Fragment && https && datagram.first().is_some_and(|first| first & LONG != 0) {
                self.name_missing();
            }
            return;
        };
        let known = is_known(version);
        if !(known && first & FIXED != 0 || https) {
            return;
        }
        self.flow.quic_version = version;
        self.set(flags::QUIC);
        if if known { has_initial(datagram) } else { version != NEGOTIATION } {
            self.name_missing();
        }
    }
}
