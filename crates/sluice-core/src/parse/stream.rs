//! What an assembler needs: the beginning of a stream that came in several packets, and the parts of a hello that QUIC
//! packets carry.

use sluice_npi::{Flow, flags};

use super::hello::{Fault, Hello, Source, TLS};
use super::quic::crypto;
use super::{Ends, NameText, Parser};

pub use super::quic::{Connection, Opened};

/// What the beginning of a conversation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// It does not name a host.
    Other,
    /// It ends before its name.
    Short,
    /// It has been read, up to its name or to the end of what could have one: the flow and the text have the result.
    Read,
}

/// Reads the first bytes of a direction of a TCP connection, put together from its segments.
///
/// `flow` is that of any segment. Its name, and the flags that depend on the payload, become those of the stream. The
/// name is copied to `name`.
pub fn read_stream(stream: &[u8], flow: &mut Flow, name: &mut Option<NameText>) -> Beginning {
    read(stream, flow, name, |parser| parser.application(stream))
}

/// Reads the first bytes of the handshake that a client sends in QUIC, put together from its CRYPTO frames. Otherwise
/// as [`read_stream`].
pub fn read_handshake(handshake: &[u8], flow: &mut Flow, name: &mut Option<NameText>) -> Beginning {
    read(handshake, flow, name, |parser| {
        let mut hello = Hello::of(TLS);
        let fault = hello.read(Bytes(handshake), parser.text);
        parser.hello(&hello, fault, handshake);
    })
}

/// Calls `each` with all data in the CRYPTO frames of a client's Initial packets: where in the handshake a byte
/// belongs, and the byte.
///
/// The keys are those of `connection` if it is given, and otherwise those of the datagram, as if it were the first of
/// its connection. `None` if there is no packet with these keys.
pub fn read_crypto(
    datagram: &[u8],
    connection: Option<&Connection>,
    each: &mut impl FnMut(usize, u8),
) -> Option<Opened> {
    crypto(datagram, connection, each)
}

#[inline(never)]
fn read<'stream>(
    stream: &'stream [u8],
    flow: &mut Flow,
    name: &mut Option<NameText>,
    application: impl FnOnce(&mut Parser<'stream, '_>),
) -> Beginning {
    const OF_PAYLOAD: u32 = flags::NAME_MISSING | flags::ECH | flags::NAME_ASSEMBLED | flags::DNS;
    let before = flow.flags & !OF_PAYLOAD;
    // What is wrong with a segment by itself may be right in the stream, and the other way round. What ends with the
    // stream is said to be cut off.
    let mut read = Flow { flags: 0, name_kind: 0, name_length: 0, name_offset: 0, dns_type: 0, ..*flow };
    let text = name.get_or_insert(NameText::EMPTY);
    application(&mut Parser { packet: stream, wire_length: stream.len(), ends: Ends::Capture, flow: &mut read, text });
    if read.has(flags::TRUNCATED) && read.name_kind == 0 {
        return Beginning::Short;
    }
    if read.flags & !flags::TRUNCATED == 0 && read.name_kind == 0 {
        return Beginning::Other;
    }
    let start = read.name_offset as usize;
    if read.name_kind != 0 && !read.has(flags::NAME_ASSEMBLED) {
        let end = start.wrapping_add(read.name_length.into());
        *name = stream.get(start..end).and_then(NameText::new);
        read.flags |= flags::NAME_ASSEMBLED;
        read.name_offset = 0;
    }
    read.flags = before | read.flags & !flags::TRUNCATED;
    *flow = read;
    Beginning::Read
}

/// A handshake in one piece.
struct Bytes<'packet>(&'packet [u8]);

impl<'packet> Source<'packet> for Bytes<'packet> {
    fn next(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.0.split_first().ok_or(Fault::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    fn skip(&mut self, count: usize) -> Result<(), Fault> {
        self.0 = self.0.get(count..).ok_or(Fault::Short)?;
        Ok(())
    }

    fn in_packet(&mut self, count: usize) -> Result<Option<&'packet [u8]>, Fault> {
        self.0.get(..count).map(Some).ok_or(Fault::Short)
    }
}
