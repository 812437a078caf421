//! The first question of a DNS message (RFC 1035, 4.1).

use sluice_npi::{flags, name_kind};

use super::{Parser, be16};

/// The longest name, with the lengths of its labels and the final empty one (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;

/// DNS, multicast DNS (RFC 6762) and LLMNR (RFC 4795).
#[inline]
pub(super) fn is_port(port: u16) -> bool {
    // 5353 and 5355 differ in one bit.
    (port == 53) | (port & !2 == 5353)
}

/// What is wrong with a question.
enum Fault {
    /// The message goes on behind the end of what is here.
    Short,
    /// No name looks like that.
    Malformed,
}

/// The length of the name at the start of `bytes` without its final empty label, and what follows.
fn name(bytes: &[u8]) -> Result<(usize, &[u8]), Fault> {
    let mut rest = bytes;
    // A label has at least 2 bytes, so that a name which is not too long ends this loop.
    while let Some((length, behind)) = rest.split_first() {
        let taken = bytes.len().wrapping_sub(rest.len());
        if *length == 0 {
            return Ok((taken, behind));
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

impl<'packet> Parser<'packet, '_> {
    pub(super) fn dns_over_udp(&mut self, message: &'packet [u8]) {
        match self.question(message) {
            Ok(()) => {}
            Err(Fault::Short) => self.short_datagram(),
            Err(Fault::Malformed) => self.malformed(),
        }
    }

    /// The first message of a stream has its length in front of it (RFC 1035, 4.2.2). It may go on in the next segment.
    pub(super) fn dns_over_tcp(&mut self, stream: &'packet [u8]) {
        let Some((length, message)) = stream.split_first_chunk::<2>() else {
            return;
        };
        let length = usize::from(be16(*length));
        // Not the first segment of a stream, then, or no DNS: nothing can be concluded from that.
        if length < 12 {
            return;
        }
        match self.question(message) {
            Ok(()) => {}
            Err(Fault::Short) if length > message.len() => self.short_stream(),
            Err(Fault::Short | Fault::Malformed) => {}
        }
    }

    fn question(&mut self, message: &'packet [u8]) -> Result<(), Fault> {
        let (header, question) = message.split_first_chunk::<12>().ok_or(Fault::Short)?;
        let questions = be16([header[4], header[5]]);
        if questions == 0 {
            return Ok(());
        }
        let (length, behind) = name(question)?;
        let kind = behind.first_chunk::<4>().ok_or(Fault::Short)?;
        self.flow.name_offset = self.offset(question);
        self.flow.name_length = length as u16;
        self.flow.name_kind = name_kind::DNS;
        self.flow.dns_type = be16([kind[0], kind[1]]);
        self.set(flags::DNS);
        Ok(())
    }
}
