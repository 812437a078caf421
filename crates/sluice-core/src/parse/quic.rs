//! The long header of QUIC (RFC 8999, 5.1).
//!
//! The host is named in the ClientHello of an Initial packet, which is encrypted, if with keys that everybody can
//! derive: [`initial`](super::initial) decrypts it.

use sluice_npi::flags;

use super::hello::{Fault, Hello, TLS};
use super::initial::{self, Derivation, Initials, Packet, Refused};
use super::{Ends, Parser};

/// The port on which every version is believed; elsewhere only known versions are.
pub(super) const HTTPS: u16 = 443;

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
pub(super) const fn may_start_with(first: u8, on_https: bool) -> bool {
    first & LONG != 0 && (first & FIXED != 0 || on_https)
}

#[inline]
pub(super) fn is_https(ports: [u16; 2]) -> bool {
    (ports[0] == HTTPS) | (ports[1] == HTTPS)
}

/// The version of a Version Negotiation packet (RFC 8999, 6).
const NEGOTIATION: u32 = 0;

/// Version 1 (RFC 9000) and version 2 (RFC 9369).
const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6B33_43CF;

/// These two, and the drafts.
fn is_known(version: u32) -> bool {
    const DRAFTS: u32 = 0xFF00_0000;
    matches!(version, VERSION_1 | VERSION_2) || version & 0xFFFF_FF00 == DRAFTS
}

/// A long header.
struct Long<'packet> {
    first: u8,
    version: u32,
    /// The id of the connection at the receiver.
    destination: &'packet [u8],
    /// What lies behind both connection ids.
    rest: &'packet [u8],
}

impl<'packet> Long<'packet> {
    /// The long header at the start of `datagram`, if there is one and both of its connection ids are here.
    fn read(datagram: &'packet [u8]) -> Option<Self> {
        let ([first, version @ ..], rest) = datagram.split_first_chunk::<5>()?;
        let version = u32::from_be_bytes(*version);
        let id = |rest: &'packet [u8]| {
            let (length, rest) = rest.split_first()?;
            if is_known(version) && *length > MAX_CONNECTION_ID {
                return None;
            }
            rest.split_at_checked(usize::from(*length))
        };
        let (destination, rest) = id(rest)?;
        let (_source, rest) = id(rest)?;
        (first & LONG != 0).then_some(Self { first: *first, version, destination, rest })
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
pub(super) fn variable_length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, _) = bytes.split_first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let number = number.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let bits = u32::from(first >> 6);
    let mask = u64::MAX >> (66_u32.wrapping_sub(8_u32 << bits) & 63);
    Some((number & mask, rest))
}

/// A part that has its length in front of it, and what lies behind that.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = variable_length(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn starts_long(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG != 0)
}

/// Whether a datagram, which starts as one of any version may, is of a known one, or has too little to be of another.
fn may_be_of_known_version(datagram: &[u8]) -> bool {
    let version = datagram.split_first_chunk::<5>().map(|([_, version @ ..], _)| u32::from_be_bytes(*version));
    version.is_none_or(is_known)
}

/// Whether a datagram starts with a long header of a known version.
pub(super) fn has_known_version(datagram: &[u8]) -> bool {
    Long::read(datagram).is_some_and(|header| is_known(header.version) && header.first & FIXED != 0)
}

/// The version and the id with which a client began a connection: its Initial packets have the keys of these even when
/// the server has chosen another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    version: u32,
    id: [u8; MAX_CONNECTION_ID as usize],
    length: u8,
}

impl Connection {
    fn new(version: u32, id: &[u8]) -> Option<Self> {
        let mut connection = Self { version, id: [0; MAX_CONNECTION_ID as usize], length: id.len() as u8 };
        connection.id.get_mut(..id.len())?.copy_from_slice(id);
        Some(connection)
    }

    fn id(&self) -> &[u8] {
        self.id.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// What is known of a datagram whose Initial packets were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Whose keys they have.
    pub connection: Connection,
    /// No Initial packet of the datagram was left unread.
    pub is_whole: bool,
}

/// See [`stream::read_crypto`](super::stream::read_crypto).
#[inline(never)]
pub(super) fn crypto(
    datagram: &[u8],
    connection: Option<&Connection>,
    each: &mut impl FnMut(usize, u8),
) -> Option<Opened> {
    let first = Long::read(datagram)?;
    let own = Connection::new(first.version, first.destination)?;
    let connection = connection.copied().unwrap_or(own);
    let mut initials = Initials::new(datagram);
    // What was opened before one that cannot be read belongs to the handshake all the same.
    let is_whole = open(&mut initials, datagram, &first, &connection).is_ok();
    if !initials.is_open() {
        return None;
    }
    initials.each_byte(each);
    Some(Opened { connection, is_whole })
}

/// Why the packets of a datagram were not all looked at.
enum Unread {
    /// There are more than are looked at, or one that cannot be decrypted.
    Limit,
    /// One reaches behind the end of what is here.
    Cut,
    /// One contradicts itself.
    Malformed,
}

fn derivation(version: u32) -> Option<&'static Derivation> {
    match version {
        VERSION_1 => Some(&initial::VERSION_1),
        VERSION_2 => Some(&initial::VERSION_2),
        _ => None,
    }
}

/// Opens the Initial packets among those of a datagram (RFC 9000, 12.2), which starts with `client`, with the keys of
/// `connection`.
#[inline(never)]
fn open(
    initials: &mut Initials<'_>,
    datagram: &[u8],
    client: &Long<'_>,
    connection: &Connection,
) -> Result<(), Unread> {
    let mut rest = datagram;
    for _ in 0..MAX_PACKETS {
        // What has no long header is padding, or the last packet.
        let Some(header) = Long::read(rest).filter(|header| header.kind() != Kind::Retry) else {
            return Ok(());
        };
        let is_initial = header.kind() == Kind::Initial;
        let behind_token = if is_initial { part(header.rest).map(|(_, behind)| behind) } else { Some(header.rest) };
        let Some((packet, next)) = behind_token.and_then(part) else {
            return if is_initial || initials.is_open() { Err(Unread::Cut) } else { Ok(()) };
        };
        if is_initial {
            // The packets of a datagram belong to one connection, or are ignored (RFC 9000, 12.2).
            let belongs = header.destination == client.destination && header.version == client.version;
            let derivation = derivation(connection.version).filter(|_| belongs).ok_or(Unread::Limit)?;
            let end = datagram.len().wrapping_sub(next.len());
            let start = datagram.len().wrapping_sub(rest.len());
            let place = Packet { start, number: end.wrapping_sub(packet.len()), end };
            match initials.open(derivation, connection.id(), place) {
                // A receiver ignores one of other keys, and goes on to the next packet.
                Ok(()) | Err(Refused::Foreign) => {}
                Err(Refused::Limit) => return Err(Unread::Limit),
                Err(Refused::Malformed) => return Err(Unread::Malformed),
            }
        }
        rest = next;
    }
    if rest.is_empty() { Ok(()) } else { Err(Unread::Limit) }
}

impl<'packet> Parser<'packet, '_> {
    /// Bytes that look like a long header are one; if they do not, the packet is not malformed.
    pub(super) fn quic(&mut self, datagram: &'packet [u8]) {
        let https = is_https([self.flow.source_port, self.flow.destination_port]);
        let Some(header) = Long::read(datagram) else {
            // A first fragment, or a capture, with no more than the start of a header.
            if self.ends != Ends::Packet && starts_long(datagram) && (https || may_be_of_known_version(datagram)) {
                self.name_behind_end();
            }
            return;
        };
        let Long { first, version, .. } = header;
        let known = is_known(version);
        if !(known && first & FIXED != 0 || https) {
            return;
        }
        self.flow.quic_version = version;
        self.set(flags::QUIC);
        if known {
            self.quic_beginning(datagram, &header);
        } else if version != NEGOTIATION {
            self.name_missing();
        }
    }

    /// Reads the ClientHello in the Initial packets of a datagram. If one cannot be read, none of them is believed.
    #[inline(never)]
    fn quic_beginning(&mut self, datagram: &'packet [u8], header: &Long<'packet>) {
        let Some(connection) = Connection::new(header.version, header.destination) else {
            return;
        };
        let mut initials = Initials::new(datagram);
        match open(&mut initials, datagram, header, &connection) {
            Ok(()) if initials.is_open() => self.quic_hello(&initials, datagram),
            Ok(()) => {}
            Err(unread) => {
                self.name_missing();
                match unread {
                    Unread::Limit => {}
                    Unread::Cut => self.short_datagram(),
                    Unread::Malformed => self.malformed(),
                }
            }
        }
    }

    #[inline(never)]
    fn quic_hello(&mut self, initials: &Initials<'_>, datagram: &'packet [u8]) {
        let mut hello = Hello::of(TLS);
        let fault = hello.read(initials.stream(), self.text);
        if initials.overlap {
            self.malformed();
            self.name_missing();
        }
        // What is behind a gap is in another datagram: the packet is whole.
        self.hello(&hello, fault.filter(|fault| *fault != Fault::Short), datagram);
    }
}
