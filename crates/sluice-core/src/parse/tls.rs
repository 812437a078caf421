//! The server name of a TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3).

use sluice_npi::name_kind;

use super::{Parser, be16};

/// How many extensions are looked at. Clients send about twenty.
const MAX_EXTENSIONS: u32 = 64;

/// The longest server name: the text of a DNS name.
const MAX_NAME: usize = 255;

/// The type of the record that a handshake starts with.
pub(super) const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

#[inline]
pub(super) fn may_start_with(first: u8) -> bool {
    first == HANDSHAKE
}

/// Whether the stream starts with a handshake record that starts with a ClientHello.
#[inline]
pub(super) fn may_be_client_hello(stream: &[u8]) -> bool {
    matches!(stream, [HANDSHAKE, 3, _, _, _, CLIENT_HELLO, ..])
}

/// Why there is no name.
enum Fault {
    /// The ClientHello goes on behind the end of this segment.
    Short,
    /// Its lengths contradict each other.
    Malformed,
}

/// A part of the ClientHello: how many bytes it has by its own account, and which of them are here.
#[derive(Clone, Copy)]
struct Part<'packet> {
    length: usize,
    bytes: &'packet [u8],
}

impl<'packet> Part<'packet> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        if self.length < N {
            return Err(Fault::Malformed);
        }
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(Fault::Short)?;
        *self = Self { length: self.length.wrapping_sub(N), bytes: rest };
        Ok(*taken)
    }

    /// Splits off the first `length` bytes, of which not all need be here.
    fn part(&mut self, length: usize) -> Result<Self, Fault> {
        if self.length < length {
            return Err(Fault::Malformed);
        }
        let (bytes, rest) = self.bytes.split_at_checked(length).unwrap_or((self.bytes, &[]));
        *self = Self { length: self.length.wrapping_sub(length), bytes: rest };
        Ok(Self { length, bytes })
    }

    /// A part that has its length in front of it, in one byte.
    fn part8(&mut self) -> Result<Self, Fault> {
        let [length] = self.take()?;
        self.part(usize::from(length))
    }

    /// A part that has its length in front of it, in two bytes.
    fn part16(&mut self) -> Result<Self, Fault> {
        let length = self.take()?;
        self.part(usize::from(be16(length)))
    }
}

/// The server name in a stream that starts with a ClientHello.
fn server_name(stream: &[u8]) -> Result<Option<&[u8]>, Fault> {
    let mut stream = Part { length: usize::MAX, bytes: stream };
    let [_, _, _] = stream.take()?;
    // A ClientHello may be spread over several records; only the first one is looked into.
    let mut record = stream.part16()?;
    let [_, high, middle, low] = record.take()?;
    let length = usize::try_from(u32::from_be_bytes([0, high, middle, low])).map_err(|_| Fault::Malformed)?;
    let spread = length > record.length;
    let mut hello = if spread { record } else { record.part(length)? };
    let result = extension(&mut hello);
    match result {
        // The length that seems wrong is that of the record, not that of the ClientHello.
        Err(Fault::Malformed) if spread => Err(Fault::Short),
        result => result,
    }
}

fn extension<'packet>(hello: &mut Part<'packet>) -> Result<Option<&'packet [u8]>, Fault> {
    let [_, _] = hello.take()?; // legacy_version
    let _random: [u8; 32] = hello.take()?;
    hello.part8()?; // legacy_session_id
    hello.part16()?; // cipher_suites
    hello.part8()?; // legacy_compression_methods
    if hello.length == 0 {
        return Ok(None); // extensions came with TLS 1.0 and later
    }
    let mut extensions = hello.part16()?;
    for _ in 0..MAX_EXTENSIONS {
        if extensions.length == 0 {
            return Ok(None);
        }
        let kind = extensions.take()?;
        let mut extension = extensions.part16()?;
        if be16(kind) != SERVER_NAME {
            continue;
        }
        let mut list = extension.part16()?;
        let [kind] = list.take()?;
        if kind != HOST_NAME {
            return Ok(None);
        }
        let name = list.part16()?;
        return match name.bytes.len() {
            _ if name.length == 0 || name.length > MAX_NAME => Err(Fault::Malformed),
            here if here < name.length => Err(Fault::Short),
            _ => Ok(Some(name.bytes)),
        };
    }
    Ok(None)
}

impl<'packet> Parser<'packet, '_> {
    pub(super) fn tls(&mut self, stream: &'packet [u8]) {
        match server_name(stream) {
            Ok(None) => {}
            Ok(Some(name)) => self.text_name(name_kind::TLS, stream, name),
            Err(Fault::Short) => self.short_stream(),
            Err(Fault::Malformed) => self.malformed(),
        }
    }

    /// Notes a name, which is a part of the payload.
    pub(super) fn text_name(&mut self, kind: u8, payload: &'packet [u8], name: &'packet [u8]) {
        let front = name.as_ptr().addr().wrapping_sub(payload.as_ptr().addr());
        self.flow.name_offset = self.offset(payload).wrapping_add(front as u32);
        self.flow.name_length = name.len() as u16;
        self.flow.name_kind = kind;
    }
}
