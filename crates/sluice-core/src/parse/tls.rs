//! A stream that begins with a TLS ClientHello.
//!
//! The hello is read as a stream of handshake bytes, whatever records they are in. What a real server reads on through
//! is read on through here: empty records, alerts and change_cipher_spec before the hello, a hello over several
//! records.

use super::hello::{CLIENT_HELLO, Fault, Hello, Source, TLS};
use super::{Parser, be16};

/// The types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The major version of TLS.
const MAJOR: u8 = 3;

/// The largest record that is not encrypted (RFC 8446, 5.1).
const MAX_RECORD: usize = 1 << 14;

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

/// The bytes of a handshake, out of the records that they are in.
struct Records<'packet> {
    /// What is left of the current record, as far as it is here.
    record: &'packet [u8],
    /// How many bytes of the current record are not here.
    beyond: usize,
    /// The records behind it.
    rest: &'packet [u8],
}

impl<'packet> Records<'packet> {
    const fn new(records: &'packet [u8]) -> Self {
        Self { record: &[], beyond: 0, rest: records }
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
}

impl<'packet> Source<'packet> for Records<'packet> {
    fn next(&mut self) -> Result<u8, Fault> {
        self.next_record()?;
        let (first, rest) = self.record.split_first().ok_or(Fault::Short)?;
        self.record = rest;
        Ok(*first)
    }

    fn skip(&mut self, count: usize) -> Result<(), Fault> {
        let mut left = count;
        while left != 0 {
            self.next_record()?;
            let wanted = left.min(self.record.len());
            self.record = self.record.get(wanted..).unwrap_or_default();
            left = left.wrapping_sub(wanted);
        }
        Ok(())
    }

    fn in_packet(&mut self, count: usize) -> Result<Option<&'packet [u8]>, Fault> {
        self.next_record()?;
        Ok(self.record.get(..count))
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
        let mut hello = Hello::of(TLS);
        let fault = hello.read(Records::new(records), self.text);
        // What follows change_cipher_spec is usually encrypted, and its first byte can be any.
        if fault == Some(Fault::Unlike) && records.len() != stream.len() {
            return false;
        }
        self.hello(&hello, fault, stream);
        true
    }
}
