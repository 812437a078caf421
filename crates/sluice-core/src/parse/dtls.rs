//! A datagram that begins with a DTLS ClientHello (RFC 6347, 4.2; RFC 9147, 5).
//!
//! A hello is one handshake message in fragments, which lie in the records of a datagram in any order. All versions of
//! DTLS begin in the clear with the same records; the hello that answers a HelloVerifyRequest differs by its cookie
//! alone.

use super::hello::{CLIENT_HELLO, DTLS, Fault, Hello, Source};
use super::{Ends, Parser, be16};

/// The types of records that come before encryption.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// The first byte of all versions. Servers do not look at the second, which says nothing since DTLS 1.3.
const MAJOR: u8 = 0xFE;

/// The largest record that is not encrypted (RFC 6347, 4.1).
const MAX_RECORD: usize = 1 << 14;

/// How many records, and fragments, of a datagram are looked at.
const MAX_RECORDS: u32 = 32;
const MAX_FRAGMENTS: usize = 16;

/// Whether a datagram with a record that is not encrypted can start like this.
#[inline]
pub(super) const fn may_start_with(first: u8) -> bool {
    matches!(first, CHANGE_CIPHER_SPEC..=HANDSHAKE)
}

/// A record.
struct Record<'packet> {
    /// It has handshake messages in the clear.
    is_handshake: bool,
    /// As far as it is here.
    contents: &'packet [u8],
    is_whole: bool,
}

impl<'packet> Record<'packet> {
    /// Takes the record at the start of `datagram` off it. A receiver drops those that it does not understand, and some
    /// take them for no longer than their header.
    fn next(datagram: &mut &'packet [u8]) -> Option<Self> {
        let (header, rest) = datagram.split_first_chunk::<13>()?;
        let [kind, major, _, epoch @ .., _, _, _, _, _, _, high, low] = header;
        let length = usize::from(be16([*high, *low]));
        let length = if *major == MAJOR && length <= MAX_RECORD { length } else { 0 };
        let (contents, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        *datagram = behind;
        let is_handshake = *kind == HANDSHAKE && *epoch == [0; 2];
        Some(Self { is_handshake, contents, is_whole: contents.len() == length })
    }
}

/// A part of a handshake message.
#[derive(Clone, Copy, Default)]
struct Fragment<'packet> {
    /// Type and length of the message.
    head: [u8; 4],
    /// The number of the message.
    number: [u8; 2],
    /// Where in the message it belongs.
    offset: usize,
    bytes: &'packet [u8],
    is_whole: bool,
}

impl<'packet> Fragment<'packet> {
    /// Takes the fragment at the start of a record off it, as far as it is there.
    fn next(record: &mut &'packet [u8]) -> Result<Self, Fault> {
        let (header, rest) = record.split_first_chunk::<12>().ok_or(Fault::Short)?;
        let [kind, a, b, c, number @ .., d, e, f, g, h, i] = header;
        let [length, offset, wanted] =
            [[a, b, c], [d, e, f], [g, h, i]].map(|[a, b, c]| u32::from_be_bytes([0, *a, *b, *c]) as usize);
        if offset.wrapping_add(wanted) > length {
            return Err(Fault::Malformed);
        }
        let (bytes, behind) = rest.split_at_checked(wanted).unwrap_or((rest, &[]));
        *record = behind;
        Ok(Self { is_whole: bytes.len() == wanted, head: [*kind, *a, *b, *c], number: *number, offset, bytes })
    }

    fn end(&self) -> usize {
        self.offset.wrapping_add(self.bytes.len())
    }

    /// The bytes from a place in the message on, if it is in here.
    fn from(&self, position: usize) -> Option<&'packet [u8]> {
        self.bytes.get(position.checked_sub(self.offset)?..).filter(|rest| !rest.is_empty())
    }

    /// Whether two fragments of a message have the same bytes where both have some.
    fn agrees(&self, other: &Self) -> bool {
        let start = self.offset.max(other.offset);
        let length = self.end().min(other.end()).saturating_sub(start);
        let part = |fragment: &Self| fragment.from(start).and_then(|rest| rest.get(..length));
        length == 0 || part(self) == part(other)
    }
}

/// The fragments of the first ClientHello of a datagram.
struct Fragments<'packet> {
    all: [Fragment<'packet>; MAX_FRAGMENTS],
    count: usize,
    /// How far the message was read: its first four bytes are in the header of every fragment.
    position: usize,
    /// What is in the way of reading all of the datagram.
    fault: Option<Unread>,
}

/// Why not all was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// There are more records or fragments than are looked at, or there is a second hello.
    Limit,
    /// A record goes on behind the end of what is here.
    Cut,
    /// The datagram contradicts itself.
    Malformed,
}

impl<'packet> Fragments<'packet> {
    /// Collects the fragments, and takes no more than one fault for granted: the worst.
    #[inline(never)]
    fn read(mut datagram: &'packet [u8]) -> Self {
        let mut fragments = Self { all: [Fragment::default(); MAX_FRAGMENTS], count: 0, position: 0, fault: None };
        for _ in 0..MAX_RECORDS {
            let Some(record) = Record::next(&mut datagram) else {
                return fragments;
            };
            if record.is_handshake {
                fragments.add_record(&record);
            }
        }
        if !datagram.is_empty() {
            fragments.note(Unread::Limit);
        }
        fragments
    }

    fn note(&mut self, fault: Unread) {
        if self.fault != Some(Unread::Malformed) {
            self.fault = Some(fault);
        }
    }

    fn add_record(&mut self, record: &Record<'packet>) {
        let mut rest = record.contents;
        while let Some(&kind) = rest.first() {
            let fragment = Fragment::next(&mut rest);
            // Of another message nobody needs to know.
            if kind == CLIENT_HELLO {
                let is_whole = fragment.is_ok_and(|fragment| fragment.is_whole);
                match fragment {
                    Ok(fragment) => self.add(fragment),
                    Err(Fault::Short) => {}
                    Err(_) => self.note(Unread::Malformed),
                }
                if !is_whole {
                    self.note(if record.is_whole { Unread::Malformed } else { Unread::Cut });
                }
            }
            if fragment.is_err() {
                return;
            }
        }
    }

    fn add(&mut self, fragment: Fragment<'packet>) {
        let known = self.all.get(..self.count).unwrap_or_default();
        if known.first().is_some_and(|first| first.number != fragment.number) {
            return self.note(Unread::Limit);
        }
        if known.iter().any(|other| other.head != fragment.head || !other.agrees(&fragment)) {
            return self.note(Unread::Malformed);
        }
        match self.all.get_mut(self.count) {
            Some(place) => {
                *place = fragment;
                self.count = self.count.wrapping_add(1);
            }
            None => self.note(Unread::Limit),
        }
    }

    /// What is here of the message from the current position on, in one piece.
    fn here(&self) -> Option<&'packet [u8]> {
        let body = self.position.checked_sub(4)?;
        self.all.get(..self.count)?.iter().find_map(|fragment| fragment.from(body))
    }
}

impl<'packet> Source<'packet> for &mut Fragments<'packet> {
    fn next(&mut self) -> Result<u8, Fault> {
        let head = self.all.first().and_then(|first| first.head.get(self.position));
        let byte = head.or_else(|| self.here()?.first()).ok_or(Fault::Short)?;
        self.position = self.position.wrapping_add(1);
        Ok(*byte)
    }

    /// What is skipped may be in another datagram.
    fn skip(&mut self, count: usize) -> Result<(), Fault> {
        self.position = self.position.wrapping_add(count);
        Ok(())
    }

    fn in_packet(&mut self, count: usize) -> Result<Option<&'packet [u8]>, Fault> {
        Ok(self.here().and_then(|rest| rest.get(..count)))
    }
}

impl<'packet> Parser<'packet, '_> {
    /// Reads the name of the ClientHello that is in the records of a datagram, and answers whether there is one.
    #[inline(never)]
    pub(super) fn dtls(&mut self, datagram: &'packet [u8]) -> bool {
        let mut fragments = Fragments::read(datagram);
        if fragments.count == 0 {
            return self.dtls_without_hello(datagram, fragments.fault);
        }
        let mut hello = Hello::of(DTLS);
        let fault = hello.read(&mut fragments, self.text);
        if matches!(fragments.fault, Some(Unread::Limit | Unread::Malformed)) {
            self.name_missing();
        }
        self.dtls_fault(fragments.fault);
        // The rest of the hello is in another datagram: this one is whole.
        self.hello(&hello, fault.filter(|fault| *fault != Fault::Short), datagram);
        true
    }

    /// There is none, or one that cannot be read.
    fn dtls_without_hello(&mut self, datagram: &'packet [u8], fault: Option<Unread>) -> bool {
        // A first fragment, or a capture, with no more than the start of a record.
        let is_start = matches!(datagram, [HANDSHAKE] | [HANDSHAKE, MAJOR, ..]);
        if is_start && datagram.len() < 14 && self.ends != Ends::Packet {
            self.name_behind_end();
            return true;
        }
        if fault.is_some() {
            self.name_missing();
        }
        self.dtls_fault(fault);
        fault.is_some()
    }

    fn dtls_fault(&mut self, fault: Option<Unread>) {
        match fault {
            None | Some(Unread::Limit) => {}
            Some(Unread::Cut) => self.short_datagram(),
            Some(Unread::Malformed) => self.malformed(),
        }
    }
}
