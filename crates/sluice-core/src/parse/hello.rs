//! The server name of a TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3), whatever its bytes come in: the records of a
//! stream ([`tls`](super::tls)), fragments ([`dtls`](super::dtls)), or the frames of QUIC packets
//! ([`initial`](super::initial)).

use super::be16;
use super::name::{Found, NameText};

/// The type of the message.
pub(super) const CLIENT_HELLO: u8 = 1;

/// The high byte of the largest length that servers take a ClientHello of.
const MAX_HELLO_HIGH: u8 = 2;

/// What differs between the protocols that a hello is of.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// The first byte of its version.
    major: u8,
    /// A cookie comes behind the session id.
    has_cookie: bool,
}

/// A hello of TLS (RFC 8446, 4.1.2).
pub(super) const TLS: Form = Form { major: 3, has_cookie: false };

/// A hello of DTLS (RFC 6347, 4.2.1).
pub(super) const DTLS: Form = Form { major: 0xFE, has_cookie: true };

/// The longest session id (RFC 8446, 4.1.2).
const MAX_SESSION_ID: usize = 32;

/// The types of extensions.
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xFE0D;

/// The type of a name that is a host's (RFC 6066, 3).
const HOST_NAME: u8 = 0;

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The hello goes on behind the end of what is here.
    Short,
    /// It contradicts itself.
    Malformed,
    /// It starts unlike any hello.
    Unlike,
}

/// Where the bytes of a hello come from, in order.
pub(super) trait Source<'packet> {
    /// The next byte.
    fn next(&mut self) -> Result<u8, Fault>;

    /// Skips `count` bytes.
    fn skip(&mut self, count: usize) -> Result<(), Fault>;

    /// The next `count` bytes, if they lie in the packet as they are and in one piece. They are still to be read.
    fn in_packet(&mut self, count: usize) -> Result<Option<&'packet [u8]>, Fault>;
}

/// Reads the parts of a hello. They are named by the positions where they end.
struct Reader<S> {
    source: S,
    /// How many bytes were read.
    position: usize,
}

impl<'packet, S: Source<'packet>> Reader<S> {
    fn take<const N: usize>(&mut self, end: usize) -> Result<[u8; N], Fault> {
        if end.wrapping_sub(self.position) < N {
            return Err(Fault::Malformed);
        }
        let mut taken = [0; N];
        for byte in &mut taken {
            *byte = self.source.next()?;
        }
        self.position = self.position.wrapping_add(N);
        Ok(taken)
    }

    fn skip_to(&mut self, position: usize) -> Result<(), Fault> {
        self.source.skip(position.saturating_sub(self.position))?;
        self.position = self.position.max(position);
        Ok(())
    }

    /// The end of a part that has its length in front of it, in one byte, and that lies before `end`.
    fn part8(&mut self, end: usize) -> Result<usize, Fault> {
        let [length] = self.take(end)?;
        self.part(usize::from(length), end)
    }

    /// The same with a length of two bytes.
    fn part16(&mut self, end: usize) -> Result<usize, Fault> {
        let length = self.take(end)?;
        self.part(usize::from(be16(length)), end)
    }

    fn part(&self, length: usize, end: usize) -> Result<usize, Fault> {
        let part = self.position.wrapping_add(length);
        if part <= end { Ok(part) } else { Err(Fault::Malformed) }
    }

    /// A name that ends at `end`. It is copied to `text` if it does not lie in the packet in one piece.
    fn name(&mut self, end: usize, text: &mut NameText) -> Result<Found<'packet>, Fault> {
        let length = end.wrapping_sub(self.position);
        if let Some(name) = self.source.in_packet(length)? {
            return Ok(Found::InPacket(name));
        }
        text.clear();
        for _ in 0..length {
            let [byte] = self.take(end)?;
            text.push(byte);
        }
        Ok(Found::Copied)
    }
}

/// What was read of a ClientHello so far.
pub(super) struct Hello<'packet> {
    form: Form,
    pub(super) name: Option<Found<'packet>>,
    /// There was a server_name extension.
    has_server_name: bool,
    /// There was an encrypted_client_hello extension.
    pub(super) has_ech: bool,
    /// It contradicts itself in a way that does not keep it from being read.
    pub(super) is_malformed: bool,
}

impl<'packet> Hello<'packet> {
    pub(super) const fn of(form: Form) -> Self {
        Self { form, name: None, has_server_name: false, has_ech: false, is_malformed: false }
    }

    /// Reads the message as far as it goes, and says why reading ended before its end if it did.
    pub(super) fn read(&mut self, source: impl Source<'packet>, text: &mut NameText) -> Option<Fault> {
        self.message(&mut Reader { source, position: 0 }, text).err()
    }

    fn message<S: Source<'packet>>(&mut self, reader: &mut Reader<S>, text: &mut NameText) -> Result<(), Fault> {
        let [kind, high, middle, low] = reader.take(usize::MAX)?;
        if kind != CLIENT_HELLO || high > MAX_HELLO_HIGH {
            return Err(Fault::Unlike);
        }
        let end = reader.part(u32::from_be_bytes([0, high, middle, low]) as usize, usize::MAX)?;
        let [major, _] = reader.take(end)?; // legacy_version
        if major != self.form.major {
            return Err(Fault::Unlike);
        }
        let _random: [u8; 32] = reader.take(end)?;
        let session_id = reader.part8(end)?;
        self.is_malformed |= session_id.wrapping_sub(reader.position) > MAX_SESSION_ID;
        reader.skip_to(session_id)?;
        if self.form.has_cookie {
            let cookie = reader.part8(end)?;
            reader.skip_to(cookie)?;
        }
        let cipher_suites = reader.part16(end)?;
        let length = cipher_suites.wrapping_sub(reader.position);
        self.is_malformed |= length == 0 || !length.is_multiple_of(2);
        reader.skip_to(cipher_suites)?;
        let compression_methods = reader.part8(end)?;
        self.is_malformed |= compression_methods == reader.position;
        reader.skip_to(compression_methods)?;
        if reader.position == end {
            return Ok(()); // extensions came with TLS 1.0 and later
        }
        let extensions = reader.part16(end)?;
        self.is_malformed |= extensions != end;
        while reader.position < extensions {
            let kind = be16(reader.take(extensions)?);
            let extension = reader.part16(extensions)?;
            match kind {
                SERVER_NAME if self.has_server_name => self.is_malformed = true,
                SERVER_NAME => {
                    self.has_server_name = true;
                    self.server_name(reader, extension, text)?;
                }
                ENCRYPTED_CLIENT_HELLO => self.has_ech = true,
                _ => {}
            }
            reader.skip_to(extension)?;
        }
        Ok(())
    }

    /// The list of names: at most one of each type, of which only that of hosts was ever defined (RFC 6066, 3).
    fn server_name<S: Source<'packet>>(
        &mut self,
        reader: &mut Reader<S>,
        extension: usize,
        text: &mut NameText,
    ) -> Result<(), Fault> {
        let list = reader.part16(extension)?;
        self.is_malformed |= list != extension || list == reader.position;
        let mut has_host = false;
        while reader.position < list {
            let [kind] = reader.take(list)?;
            let name = reader.part16(list)?;
            if kind == HOST_NAME {
                let length = name.wrapping_sub(reader.position);
                if has_host || length == 0 || length > NameText::MAX {
                    return Err(Fault::Malformed);
                }
                has_host = true;
                self.name = Some(reader.name(name, text)?);
            }
            reader.skip_to(name)?;
        }
        Ok(())
    }
}
