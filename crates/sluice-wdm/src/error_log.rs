//! The strings of an entry of the error log.

use core::fmt::{self, Write};

/// ERROR_LOG_MAXIMUM_SIZE of a 64-bit kernel: the most that an entry may have, in bytes. A macro of C.
pub(crate) const MAX_ENTRY: usize = 240;

/// Where the strings are in an entry without dump data: the offset of DumpData in IO_ERROR_LOG_PACKET.
pub(crate) const STRINGS_OFFSET: usize = 40;

/// How many UTF-16 units of strings an entry has room for.
const ROOM: usize = (MAX_ENTRY - STRINGS_OFFSET) / size_of::<u16>();

/// What a string ends with that does not fit: an ellipsis.
const CUT: u16 = 0x2026;

/// The strings of an entry, each with a zero at its end, as they lie behind one another.
pub(crate) struct Strings {
    units: [u16; ROOM],
    length: usize,
}

impl Strings {
    /// Those texts, of which the last ones may be cut. Each has a place, be it an empty one, or the others would stand
    /// where they do not belong. There may be a dozen.
    pub(crate) fn new(texts: &[fmt::Arguments<'_>]) -> Self {
        let mut strings = Self { units: [0; ROOM], length: 0 };
        for (index, text) in texts.iter().enumerate() {
            // Each of those that follow needs a zero.
            let following = texts.len().saturating_sub(index).saturating_sub(1);
            let end = ROOM.saturating_sub(following).saturating_sub(1);
            let start = strings.length;
            let mut string = StringOf { units: &mut strings.units, at: start, end };
            let is_whole = string.write_fmt(*text).is_ok();
            let at = string.at;
            let last = strings.units.get_mut(start..at).and_then(<[u16]>::last_mut);
            if let Some(last) = last.filter(|_| !is_whole) {
                *last = CUT;
            }
            strings.length = at.saturating_add(1).min(ROOM);
        }
        strings
    }

    /// What they are in memory.
    pub(crate) fn units(&self) -> &[u16] {
        self.units.get(..self.length).unwrap_or_default()
    }
}

/// A string that is being written.
struct StringOf<'a> {
    units: &'a mut [u16; ROOM],
    at: usize,
    /// Where the zero has to be at the latest.
    end: usize,
}

impl Write for StringOf<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for unit in text.encode_utf16() {
            let place = self.units.get_mut(self.at).filter(|_| self.at < self.end).ok_or(fmt::Error)?;
            *place = unit;
            self.at = self.at.saturating_add(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    fn read(strings: &Strings) -> Vec<String> {
        let units = strings.units().strip_suffix(&[0]).expect("a zero at the end");
        units.split(|unit| *unit == 0).map(String::from_utf16_lossy).collect()
    }

    #[test]
    fn strings_lie_behind_one_another() {
        assert_eq!(
            read(&Strings::new(&[format_args!("{}", 12), format_args!(""), format_args!("ä€")])),
            ["12", "", "ä€"]
        );
        assert_eq!(Strings::new(&[format_args!("12"), format_args!("")]).units().len(), 4);
        assert_eq!(Strings::new(&[]).units(), []);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so_and_no_string_is_lost() {
        assert_eq!(ROOM, 100, "units, in 240 bytes of which 40 are taken");
        let long = "x".repeat(2 * ROOM);
        let strings =
            Strings::new(&[format_args!("12"), format_args!("{long}"), format_args!("lost"), format_args!("")]);
        assert_eq!(strings.units().len(), ROOM);
        let cut = alloc::format!("{}\u{2026}", &long[..ROOM - 3 - 1 - 3]);
        assert_eq!(read(&strings), ["12", &cut, "", ""]);
        // One that just fits is whole.
        let whole = &long[..ROOM - 1];
        assert_eq!(read(&Strings::new(&[format_args!("{whole}")])), [whole]);
        let strings = Strings::new(&[format_args!("{whole}x")]);
        assert_eq!((strings.units().len(), strings.units()[ROOM - 2]), (ROOM, CUT));
    }
}
