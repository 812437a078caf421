//! Events that describe themselves: TraceLogging, as TraceLoggingProvider.h of the Windows SDK encodes it.

use core::fmt::{self, Display};

use crate::log::{Guid, Text};

/// An event as properties of a line: `event=Name Field=value ..`. What cannot be read ends in `undecoded=bytes`.
pub(crate) struct Shown<'a> {
    /// The description: length, tag, name, then name and type of each field.
    pub(crate) metadata: &'a [u8],
    /// The values of the fields, one behind the other.
    pub(crate) values: &'a [u8],
}

/// The bits of a field's type: what follows it, and whether it is a list.
const CHAINED: u8 = 0x80;
const COUNT: u8 = 0x60;

/// How a value is to be shown: as true or false.
const OUT_BOOLEAN: u8 = 3;

impl Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut description, mut values) = (Bytes(self.metadata), Bytes(self.values));
        // The length of all of it, and a tag of one or more bytes.
        let name = description.take(2).and_then(|_| description.skip_chain()).and_then(|()| description.text());
        let Some(name) = name else { return write!(out, "undecoded={}", self.values.len()) };
        write!(out, "event={}", Text(name))?;
        while !description.0.is_empty() {
            let Some((name, kind, format)) = description.field() else { break };
            write!(out, " {}=", Text(name))?;
            values.show(kind, format, out)?;
        }
        if values.0.is_empty() { Ok(()) } else { write!(out, " undecoded={}", values.0.len()) }
    }
}

/// Bytes that are read from their start.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    /// A little-endian number of `size` bytes.
    fn number(&mut self, size: usize) -> Option<u64> {
        self.take(size).map(|bytes| bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Bytes of which all but the last have their highest bit set.
    fn skip_chain(&mut self) -> Option<()> {
        while self.byte()? & CHAINED != 0 {}
        Some(())
    }

    /// Up to a zero.
    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|&byte| byte == 0)?;
        let text = self.take(length);
        self.take(1);
        text
    }

    /// Name, type and format of the next field. None at a list, which no driver here writes.
    fn field(&mut self) -> Option<(&'a [u8], u8, u8)> {
        let name = self.text()?;
        let kind = self.byte()?;
        let mut format = 0;
        if kind & CHAINED != 0 {
            format = self.byte()?;
            if format & CHAINED != 0 {
                self.skip_chain()?;
            }
        }
        (kind & COUNT == 0).then_some((name, kind & !CHAINED, format & !CHAINED))
    }

    /// Shows the next value; a question mark if it cannot be read.
    fn show(&mut self, kind: u8, format: u8, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match kind {
            4 | 6 | 8 | 10 => {
                let size = 1 << ((kind - 4) / 2);
                self.number(size).map(|number| match format {
                    OUT_BOOLEAN => write!(out, "{}", number != 0),
                    _ => write!(out, "{number}"),
                })
            }
            15 => self.take(16).and_then(|bytes| bytes.try_into().ok()).map(|bytes| write!(out, "{}", Guid(bytes))),
            20 => self.number(4).map(|number| write!(out, "{number:#010x}")),
            21 => self.number(8).map(|number| write!(out, "{number:#018x}")),
            23 => {
                self.number(2).and_then(|length| self.take(length as usize)).map(|text| write!(out, "{}", Text(text)))
            }
            _ => None,
        };
        shown.unwrap_or_else(|| {
            self.0 = &[];
            out.write_str("?")
        })
    }
}
