//! The server name of a TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3).
//!
//! The hello is read as a stream of handshake bytes, whatever records they are in. What a real server reads on through
//! is read on through here: empty records, alerts and change_cipher_spec before the hello, a hello over several
//! records.

use sluice_npi::{flags, name_kind};

use super::{Parser, be16};

/// The types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The major version of TLS, in records and hellos.
const MAJOR: u8 = 3;

/// The largest record that is not encrypted (RFC 8446, 5.1).
const MAX_RECORD: usize = 1 << 14;

/// The type of the message.
const CLIENT_HELLO: u8 = 1;

/// The high byte of the largest length that servers take a ClientHello of.
const MAX_HELLO_HIGH: u8 = 2;

/// The longest session id (RFC 8446, 4.1.2).
const MAX_SESSION_ID: usize = 32;

/// The types of extensions.
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xFE0D;

/// The type of a name that is a host's (RFC 6066, 3).
const HOST_NAME: u8 = 0;

/// The longest server name: the text of a DNS name.
const MAX_NAME: usize = 255;

/// Whether a record of a hello, or one that may come before it, starts like this.
#[inline]
pub(super) const fn may_start_with(first: u8) -> bool {
    matches!(first, CHANGE_CIPHER_SPEC | ALERT | HANDSHAKE)
}

/// How a stream begins.
enum Start<'packet> {
    /// With a ClientHello, whose first record is the first of these.
    Hello(&'packet [u8]),
    /// With a part of what may be a hello, or come before one.
    Cut,
    /// With something else.
    Other,
}

/// Skips what may come before a ClientHello: change_cipher_spec (RFC 8446, D.4), alerts, and empty records.
fn start(mut stream: &[u8]) -> Start<'_> {
    loop {
        let Some(([kind, MAJOR, _, high, low], rest)) = stream.split_first_chunk::<5>() else {
            return match stream {
                [first] | [first, MAJOR] | [first, MAJOR, _] | [first, MAJOR, _, _] if may_start_with(*first) => {
                    Start::Cut
                }
                _ => Start::Other,
            };
        };
        let length = usize::from(be16([*high, *low]));
        match (*kind, rest.first()) {
            (HANDSHAKE, Some(&CLIENT_HELLO)) if length != 0 => return Start::Hello(stream),
            (HANDSHAKE, Some(_)) if length != 0 => return Start::Other,
            (HANDSHAKE | CHANGE_CIPHER_SPEC | ALERT, _) if length <= MAX_RECORD => match rest.get(length..) {
                Some(behind) => stream = behind,
                None => return Start::Cut,
            },
            _ => return Start::Other,
        }
    }
}

/// Why reading ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The hello goes on behind the end of this segment.
    Short,
    /// It contradicts itself.
    Malformed,
    /// It starts unlike any hello.
    Unlike,
}

/// The bytes of a handshake, out of the records that they are in. Parts of it are named by the positions where they
/// end.
struct Handshake<'packet> {
    /// What is left of the current record, as far as it is here.
    record: &'packet [u8],
    /// How many bytes of the current record are not here.
    beyond: usize,
    /// The records behind it.
    rest: &'packet [u8],
    /// How many bytes of the handshake were read.
    position: usize,
}

impl<'packet> Handshake<'packet> {
    const fn new(records: &'packet [u8]) -> Self {
        Self { record: &[], beyond: 0, rest: records, position: 0 }
    }

    /// Goes on to the next record that has something in it.
    fn next_record(&mut self) -> Result<(), Fault> {
        while self.record.is_empty() {
            if self.beyond != 0 {
                return Err(Fault::Short);
            }
            let (header, rest) = self.rest.split_first_chunk::<5>().ok_or(Fault::Short)?;
            let [HANDSHAKE, MAJOR, _, high, low] = header else {
                return Err(Fault::Malformed);
            };
            let length = usize::from(be16([*high, *low]));
            if length > MAX_RECORD {
                return Err(Fault::Malformed);
            }
            let (record, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            self.beyond = length.wrapping_sub(record.len());
            (self.record, self.rest) = (record, rest);
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self, end: usize) -> Result<[u8; N], Fault> {
        if end.wrapping_sub(self.position) < N {
            return Err(Fault::Malformed);
        }
        let mut taken = [0; N];
        for byte in &mut taken {
            self.next_record()?;
            if let Some((first, rest)) = self.record.split_first() {
                (*byte, self.record) = (*first, rest);
            }
        }
        self.position = self.position.wrapping_add(N);
        Ok(taken)
    }

    fn skip_to(&mut self, position: usize) -> Result<(), Fault> {
        while self.position < position {
            self.next_record()?;
            let wanted = position.wrapping_sub(self.position).min(self.record.len());
            self.record = self.record.get(wanted..).unwrap_or_default();
            self.position = self.position.wrapping_add(wanted);
        }
        Ok(())
    }

    /// The bytes up to `position`, if they are all in one record. They are still to be read.
    fn whole(&mut self, position: usize) -> Result<Option<&'packet [u8]>, Fault> {
        self.next_record()?;
        let wanted = position.wrapping_sub(self.position);
        Ok(self.record.get(..wanted))
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
}

/// What was read of a ClientHello so far.
#[derive(Default)]
struct Hello<'packet> {
    name: Option<&'packet [u8]>,
    /// There was a server_name extension.
    has_server_name: bool,
    /// There was an encrypted_client_hello extension.
    has_ech: bool,
    /// It contradicts itself in a way that does not keep it from being read.
    is_malformed: bool,
}

impl<'packet> Hello<'packet> {
    fn read(&mut self, handshake: &mut Handshake<'packet>) -> Result<(), Fault> {
        let [_, high, middle, low] = handshake.take(usize::MAX)?;
        if high > MAX_HELLO_HIGH {
            return Err(Fault::Unlike);
        }
        let end = handshake.part(u32::from_be_bytes([0, high, middle, low]) as usize, usize::MAX)?;
        let [major, _] = handshake.take(end)?; // legacy_version
        if major != MAJOR {
            return Err(Fault::Unlike);
        }
        let _random: [u8; 32] = handshake.take(end)?;
        let session_id = handshake.part8(end)?;
        self.is_malformed |= session_id.wrapping_sub(handshake.position) > MAX_SESSION_ID;
        handshake.skip_to(session_id)?;
        let cipher_suites = handshake.part16(end)?;
        let length = cipher_suites.wrapping_sub(handshake.position);
        self.is_malformed |= length == 0 || !length.is_multiple_of(2);
        handshake.skip_to(cipher_suites)?;
        let compression_methods = handshake.part8(end)?;
        self.is_malformed |= compression_methods == handshake.position;
        handshake.skip_to(compression_methods)?;
        if handshake.position == end {
            return Ok(()); // extensions came with TLS 1.0 and later
        }
        let extensions = handshake.part16(end)?;
        self.is_malformed |= extensions != end;
        while handshake.position < extensions {
            let kind = be16(handshake.take(extensions)?);
            let extension = handshake.part16(extensions)?;
            match kind {
                SERVER_NAME if self.has_server_name => self.is_malformed = true,
                SERVER_NAME => {
                    self.has_server_name = true;
                    self.server_name(handshake, extension)?;
                }
                ENCRYPTED_CLIENT_HELLO => self.has_ech = true,
                _ => {}
            }
            handshake.skip_to(extension)?;
        }
        Ok(())
    }

    /// The list of names: at most one of each type, of which only that of hosts was ever defined (RFC 6066, 3).
    fn server_name(&mut self, handshake: &mut Handshake<'packet>, extension: usize) -> Result<(), Fault> {
        let list = handshake.part16(extension)?;
        self.is_malformed |= list != extension || list == handshake.position;
        let mut has_host = false;
        while handshake.position < list {
            let [kind] = handshake.take(list)?;
            let name = handshake.part16(list)?;
            if kind == HOST_NAME {
                let length = name.wrapping_sub(handshake.position);
                if has_host || length == 0 || length > MAX_NAME {
                    return Err(Fault::Malformed);
                }
                has_host = true;
                self.name = handshake.whole(name)?;
            }
            handshake.skip_to(name)?;
        }
        Ok(())
    }
}

impl<'packet> Parser<'packet, '_> {
    /// Reads the name of the ClientHello that a stream begins with, and answers whether it begins with one.
    pub(super) fn tls(&mut self, stream: &'packet [u8]) -> bool {
        let records = match start(stream) {
            Start::Hello(records) => records,
            Start::Cut => {
                self.name_behind_end();
                return true;
            }
            Start::Other => return false,
        };
        let mut hello = Hello::default();
        let fault = hello.read(&mut Handshake::new(records)).err();
        // What follows change_cipher_spec is usually encrypted, and its first byte can be any.
        if fault == Some(Fault::Unlike) && records.len() != stream.len() {
            return false;
        }
        if hello.has_ech {
            self.set(flags::ECH);
        }
        if hello.is_malformed || matches!(fault, Some(Fault::Malformed | Fault::Unlike)) {
            self.malformed();
        }
        match (hello.name, fault) {
            (Some(name), _) => self.text_name(name_kind::TLS, stream, name),
            (None, Some(Fault::Short)) => self.name_behind_end(),
            (None, _) => self.name_missing(),
        }
        true
    }
}
