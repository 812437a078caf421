//! The first question of a DNS message (RFC 1035, 4.1). What comes behind the questions is in
//! [`answers`](super::answers).

use sluice_npi::{flags, name_kind};

use super::{Ends, Parser, be16};

/// The longest name, with the lengths of its labels and the final empty one (RFC 1035, 2.3.4).
pub(super) const MAX_NAME: usize = 255;

/// How many messages of a segment are looked at.
pub(super) const MAX_MESSAGES: u32 = 16;

/// The bytes of a header, and of the shortest message with a question.
pub(super) const HEADER: usize = 12;
const SHORTEST: usize = HEADER + 5;

/// Bits of the third byte of a header.
const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
/// The answers do not all fit, and are asked for again over TCP.
const CUT: u8 = 0x02;

/// The port of multicast DNS, whose messages may have several questions (RFC 6762, 5.3).
const MULTICAST: u16 = 5353;

/// Those of DNS, multicast DNS and LLMNR.
pub(super) const PORTS: [u16; 3] = [53, MULTICAST, 5355];

/// DNS, multicast DNS (RFC 6762) and LLMNR (RFC 4795).
#[inline]
pub(super) fn is_port(port: u16) -> bool {
    // 5353 and 5355 differ in one bit.
    (port == 53) | (port & !2 == MULTICAST)
}

/// What is wrong with a question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The message goes on behind the end of what is here.
    Short,
    /// A name cannot look like that.
    Malformed,
}

/// A message, as far as it was read.
struct Message<'packet> {
    /// How many questions there are by the header.
    questions: u16,
    /// It is a standard query, without records but additional ones, or the answer to one.
    is_plain: bool,
    /// From the first question on.
    rest: &'packet [u8],
}

/// The name of a question without its final empty label, and the type that is asked for.
struct Question<'packet> {
    name: &'packet [u8],
    kind: u16,
}

impl<'packet> Message<'packet> {
    fn read(message: &'packet [u8]) -> Option<Self> {
        let (header, rest) = message.split_first_chunk::<HEADER>()?;
        let [_, _, flags, _, questions @ .., a, b, c, d, _, _] = header;
        let has_records = [*a, *b, *c, *d] != [0; 4];
        let is_plain = flags & OPCODE == 0 && (flags & RESPONSE != 0 || !has_records);
        Some(Self { questions: be16(*questions), is_plain, rest })
    }

    /// The first question.
    fn question(&self) -> Result<Question<'packet>, Fault> {
        let length = name_length(self.rest)?;
        let (name, behind) = self.rest.split_at_checked(length).ok_or(Fault::Short)?;
        let [0, a, b, _, _, ..] = behind else {
            return Err(Fault::Short);
        };
        Ok(Question { name, kind: be16([*a, *b]) })
    }
}

/// The length of the name at the start of `bytes` without its final empty label.
fn name_length(bytes: &[u8]) -> Result<usize, Fault> {
    let mut rest = bytes;
    // A label has at least 2 bytes, so that a name which is not too long ends this loop.
    while let Some((length, behind)) = rest.split_first() {
        let taken = bytes.len().wrapping_sub(rest.len());
        if *length == 0 {
            return Ok(taken);
        }
        // The two high bits are a compression pointer, which the first name of a message has nothing to point to, or
        // reserved (RFC 6891, 5).
        if *length > 63 || taken.wrapping_add(usize::from(*length)).wrapping_add(2) > MAX_NAME {
            return Err(Fault::Malformed);
        }
        rest = behind.get(usize::from(*length)..).ok_or(Fault::Short)?;
    }
    Err(Fault::Short)
}

/// Whether a message answers a query, and has answers.
pub(super) fn is_response(message: &[u8]) -> bool {
    let has_answers = |header: &[u8; HEADER]| {
        let [_, _, flags, _, _, _, high, low, ..] = header;
        flags & (RESPONSE | OPCODE) == RESPONSE && [*high, *low] != [0; 2]
    };
    message.first_chunk().is_some_and(has_answers)
}

/// Whether a datagram can be read as a message with one question.
pub(super) fn has_question(datagram: &[u8]) -> bool {
    Message::read(datagram).is_some_and(|message| message.questions == 1 && message.question().is_ok())
}

/// Whether a datagram can be read as a message.
pub(super) fn is_message(datagram: &[u8]) -> bool {
    Message::read(datagram).is_some_and(|message| match message.questions {
        0 => true,
        1 => message.question().is_ok(),
        _ => false,
    })
}

impl<'packet> Parser<'packet, '_> {
    /// A function of its own, as is the other: neither's frame is there while QUIC is decrypted.
    #[inline(never)]
    pub(super) fn dns_over_udp(&mut self, datagram: &'packet [u8]) {
        // There may be a message in the other fragments.
        if datagram.is_empty() && self.ends == Ends::Packet {
            return;
        }
        let Some(message) = Message::read(datagram) else {
            return self.no_question(Fault::Short);
        };
        match message.question() {
            _ if message.questions == 0 => {}
            Ok(question) => {
                self.question(datagram, &message, &question);
                let is_cut = datagram.get(2).is_some_and(|flags| flags & CUT != 0);
                self.answers(datagram, self.ends == Ends::Packet && !is_cut);
            }
            Err(fault) => {
                if is_response(datagram) {
                    self.set(flags::ANSWER | flags::ANSWER_UNREAD);
                }
                self.no_question(fault);
            }
        }
    }

    /// A datagram without the question that it announces.
    #[cold]
    fn no_question(&mut self, fault: Fault) {
        self.name_missing();
        match fault {
            Fault::Short => self.short_datagram(),
            Fault::Malformed => self.malformed(),
        }
    }

    fn question(&mut self, payload: &'packet [u8], message: &Message<'_>, question: &Question<'packet>) {
        self.text_name(name_kind::DNS, payload, question.name);
        self.flow.dns_type = question.kind;
        self.set(flags::DNS);
        if message.questions > 1 {
            self.name_missing();
            // Only multicast DNS may have more than one (RFC 9619, 4; RFC 4795, 2.1.1).
            if self.flow.source_port != MULTICAST && self.flow.destination_port != MULTICAST {
                self.malformed();
            }
        }
    }

    /// Each message of a stream has its length in front of it (RFC 1035, 4.2.2), and clients need not wait for the
    /// answer to one before they send the next (RFC 7766, 6.2.1.1).
    ///
    /// Most segments on these ports are not the first of a stream, so that bytes which are not a message prove nothing.
    /// `is_other` says that they begin another protocol as well.
    #[inline(never)]
    pub(super) fn dns_over_tcp(&mut self, stream: &'packet [u8], is_other: bool) {
        let mut rest = stream;
        let mut first: Option<&[u8]> = None;
        for _ in 0..MAX_MESSAGES {
            let Some((length, behind)) = rest.split_first_chunk::<2>() else {
                if !rest.is_empty() && !is_other {
                    self.unread_answers(&[]);
                    self.name_behind_end();
                }
                return;
            };
            let length = usize::from(be16(*length));
            let (bytes, next) = behind.split_at_checked(length).unwrap_or((behind, &[]));
            let is_whole = bytes.len() == length;
            let is_believed = first.is_some();
            match Message::read(bytes).map(|message| (message.question(), message)) {
                None if is_whole && !is_believed => return,
                None if is_whole => {}
                None if is_other || length < SHORTEST => return,
                None => {
                    self.unread_answers(bytes);
                    return self.name_behind_end();
                }
                Some((_, message)) if message.questions == 0 => {}
                Some((Ok(_), message)) if is_other => {
                    // What the receiver takes it for cannot be seen here.
                    if message.questions == 1 {
                        self.unread_answers(bytes);
                        self.malformed();
                    }
                    return;
                }
                Some((Ok(question), message)) => {
                    match first {
                        None if message.questions == 1 || message.is_plain => {
                            self.question(stream, &message, &question);
                            first = Some(question.name);
                        }
                        None => return,
                        Some(_) => {}
                    }
                    self.answers(bytes, is_whole);
                    if first.is_some_and(|name| !name.eq_ignore_ascii_case(question.name)) {
                        if !next.is_empty() {
                            self.unread_answers(&[]);
                        }
                        return self.name_missing();
                    }
                }
                Some((Err(_), _)) if is_other => return,
                Some((Err(Fault::Short), message)) if !is_whole && (is_believed || message.questions == 1) => {
                    self.unread_answers(bytes);
                    return self.name_behind_end();
                }
                Some((Err(_), message)) => {
                    if is_believed || is_whole && message.is_plain && message.questions == 1 {
                        self.unread_answers(bytes);
                        self.name_missing();
                        self.malformed();
                    }
                    return;
                }
            }
            rest = next;
        }
        if !rest.is_empty() && !is_other {
            self.unread_answers(&[]);
            self.name_missing();
        }
    }

    /// A message of a stream is not read to its end. It starts like this; nothing is known of its start if that is
    /// empty, or if there are more. Where it may be an answer, its answers are unread: nothing shows that the next
    /// segment goes on with them.
    #[cold]
    fn unread_answers(&mut self, start: &[u8]) {
        let may_be_answer = match start {
            [_, _, flags, ..] if flags & (RESPONSE | OPCODE) != RESPONSE => false,
            [_, _, _, _, _, _, high, low, ..] => [*high, *low] != [0; 2],
            [_, _, _, ..] => true,
            _ => is_port(self.flow.source_port),
        };
        if may_be_answer {
            self.set(flags::ANSWER | flags::ANSWER_UNREAD);
        }
    }
}
