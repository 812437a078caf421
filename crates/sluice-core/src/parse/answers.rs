//! The names in the answers of a DNS message (RFC 1035, 4.1.3): those of hosts that the one asked for is an alias of.

use sluice_npi::{Flow, flags};

use super::dns::{HEADER, MAX_MESSAGES, MAX_NAME, is_response};
use super::{Ends, NameText, Parser, be16};
use crate::protocol;

/// How many questions and answers of a message are gone through.
const MAX_RECORDS: u32 = 64;

/// How many aliases of a message are read. Resolvers follow about as many.
const MAX_ALIASES: u32 = 8;

/// How many pointers a name may have. Real ones have one.
const MAX_POINTERS: u32 = 8;

/// Records whose data is a name, or ends in one.
mod kind {
    /// RFC 1035, 3.3.1.
    pub(super) const CNAME: u16 = 5;
    /// RFC 6672.
    pub(super) const DNAME: u16 = 39;
    /// RFC 9460.
    pub(super) const SVCB: u16 = 64;
    /// RFC 9460.
    pub(super) const HTTPS: u16 = 65;
}

/// Why answers were not read to their end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// They go on behind the end of what is here.
    Short,
    /// No answer can look like that.
    Malformed,
    /// There is more than is looked at.
    TooMany,
}

/// A way through a message.
struct Reader<'message> {
    message: &'message [u8],
    at: usize,
}

impl<'message> Reader<'message> {
    fn take(&mut self, length: usize) -> Result<&'message [u8], Fault> {
        let taken = self.message.get(self.at..).and_then(|rest| rest.get(..length)).ok_or(Fault::Short)?;
        self.at = self.at.wrapping_add(length);
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, Fault> {
        self.take(2)?.first_chunk().copied().map(be16).ok_or(Fault::Short)
    }

    /// Goes through a name, and writes its labels to `text`, without the final empty one.
    ///
    /// Each pointer has to point before all that was read of the name (RFC 1035, 4.1.4: to a prior occurrence).
    fn name(&mut self, text: &mut NameText) -> Result<(), Fault> {
        text.clear();
        let mut behind_pointer = None;
        let mut before = self.at;
        let mut pointers = 0_u32;
        let mut taken = 1_usize;
        loop {
            let [length] = *self.take(1)? else { return Err(Fault::Short) };
            match length {
                0 => break,
                1..=63 => {
                    let label = self.take(length.into())?;
                    taken = taken.wrapping_add(label.len()).wrapping_add(1);
                    if taken > MAX_NAME {
                        return Err(Fault::Malformed);
                    }
                    text.push(length);
                    label.iter().for_each(|byte| text.push(*byte));
                }
                0xC0.. => {
                    let [low] = *self.take(1)? else { return Err(Fault::Short) };
                    let target = usize::from(be16([length & 0x3F, low]));
                    if !(HEADER..before).contains(&target) {
                        return Err(Fault::Malformed);
                    }
                    pointers = pointers.wrapping_add(1);
                    if pointers > MAX_POINTERS {
                        return Err(Fault::TooMany);
                    }
                    behind_pointer.get_or_insert(self.at);
                    before = target;
                    self.at = target;
                }
                // Reserved (RFC 6891, 5).
                _ => return Err(Fault::Malformed),
            }
        }
        self.at = behind_pointer.unwrap_or(self.at);
        Ok(())
    }
}

/// Calls `each` with the labels of every host that the answers name as what another is an alias of, in order.
fn for_each_name_of(message: &[u8], text: &mut NameText, each: &mut dyn FnMut(&NameText)) -> Result<(), Fault> {
    let mut reader = Reader { message, at: 4 };
    let (questions, answers) = (reader.number()?, reader.number()?);
    reader.at = HEADER;
    let mut aliases = 0_u32;
    for index in 0..u32::from(questions).wrapping_add(answers.into()) {
        if index == MAX_RECORDS {
            return Err(Fault::TooMany);
        }
        reader.name(text)?;
        let (kind, _class) = (reader.number()?, reader.number()?);
        if index < u32::from(questions) {
            continue;
        }
        reader.take(4)?;
        let length = usize::from(reader.number()?);
        let start = reader.at;
        reader.take(length)?;
        let end = reader.at;
        // In front of a target there is a priority.
        reader.at = match kind {
            kind::CNAME | kind::DNAME => start,
            kind::SVCB | kind::HTTPS => start.wrapping_add(2),
            _ => continue,
        };
        reader.name(text)?;
        let fits = if matches!(kind, kind::CNAME | kind::DNAME) { reader.at == end } else { reader.at <= end };
        if !fits {
            return Err(Fault::Malformed);
        }
        reader.at = end;
        // The root stands for the owner itself in SVCB and HTTPS, and is no host.
        if !text.as_bytes().is_empty() {
            if aliases == MAX_ALIASES {
                return Err(Fault::TooMany);
            }
            aliases = aliases.wrapping_add(1);
            each(text);
        }
    }
    Ok(())
}

/// Calls `each` with the labels of every host that the answers in a packet name as what another is an alias of, in
/// order. `flow` is what was read from the packet.
///
/// A flow that does not belong to the packet costs no more than wrong names.
pub fn for_each_answer_name(packet: &[u8], flow: &Flow, mut each: impl FnMut(&NameText)) {
    if !flow.has(flags::ANSWER) || flow.has(flags::NAME_ASSEMBLED) {
        return;
    }
    let rest = packet.get(flow.payload_offset as usize..).unwrap_or_default();
    let mut rest = rest.get(..flow.payload_length as usize).unwrap_or(rest);
    let mut text = NameText::EMPTY;
    for _ in 0..MAX_MESSAGES {
        let (message, next) = match rest.split_first_chunk::<2>() {
            _ if flow.protocol == protocol::UDP => (rest, &[][..]),
            Some((length, behind)) => behind.split_at_checked(be16(*length).into()).unwrap_or((behind, &[])),
            None => return,
        };
        if is_response(message) {
            // What was read up to a fault counts; the flow says that there was one.
            let _ = for_each_name_of(message, &mut text, &mut each);
        }
        rest = next;
    }
}

impl Parser<'_, '_> {
    /// Notes whether `message` has answers, and whether all of them can be read.
    ///
    /// `is_whole` says that the message ends where its sender ended it.
    #[cold]
    #[inline(never)]
    pub(super) fn answers(&mut self, message: &[u8], is_whole: bool) {
        if !is_response(message) {
            return;
        }
        self.set(flags::ANSWER);
        let mut text = NameText::EMPTY;
        let Err(fault) = for_each_name_of(message, &mut text, &mut |_| ()) else {
            return;
        };
        self.set(flags::ANSWER_UNREAD);
        match fault {
            Fault::Malformed => self.malformed(),
            Fault::Short if is_whole => self.malformed(),
            Fault::Short if self.ends == Ends::Capture => self.set(flags::TRUNCATED),
            Fault::Short | Fault::TooMany => {}
        }
    }
}
