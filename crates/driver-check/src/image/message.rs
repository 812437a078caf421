//! The message table of a driver: the texts of its entries in the System log.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use object::pe;

use super::{Image, version};

/// The messages in the table of the image in `file`, by their codes, as they are there: `%2` and further stand for the
/// strings of an entry. Empty if there is no table.
///
/// # Errors
/// The file cannot be read, is no image, or has a table that makes no sense.
pub fn messages(file: &Path) -> io::Result<BTreeMap<u32, String>> {
    let bytes = fs::read(file)?;
    let image = Image::parse("", &bytes).map_err(|error| invalid(error.to_string()))?;
    let Some(table) = version::resource(&image, pe::RT_MESSAGETABLE) else { return Ok(BTreeMap::new()) };
    read(table).ok_or_else(|| invalid("the message table makes no sense".to_owned()))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// MESSAGE_RESOURCE_DATA.
fn read(table: &[u8]) -> Option<BTreeMap<u32, String>> {
    let half = |at: usize| Some(u16::from_le_bytes(*table.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_le_bytes(*table.get(at..)?.first_chunk()?));
    let mut messages = BTreeMap::new();
    for block in (0..word(0)? as usize).map(|index| 4 + 12 * index) {
        let (first, last, mut at) = (word(block)?, word(block + 4)?, word(block + 8)? as usize);
        for code in first..=last {
            let length = usize::from(half(at)?);
            let text = table.get(at + 4..at + length)?;
            let text = match half(at + 2)? {
                0 => String::from_utf8_lossy(text).trim_end_matches('\0').to_owned(),
                _ => version::utf16(text),
            };
            messages.insert(code, text);
            at += length;
        }
    }
    Some(messages)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Driver;
    use super::*;

    /// One block for codes 7 and 8, one for 20 without Unicode.
    const TABLE: &[u8] = b"\x02\0\0\0\x07\0\0\0\x08\0\0\0\x1c\0\0\0\x14\0\0\0\x14\0\0\0\x2c\0\0\0\
        \x08\0\x01\0a\0b\0\x08\0\x01\0b\0\0\0\x08\0\0\0cd\0\0";

    #[test]
    fn messages_are_read_by_their_codes() {
        let read = read(TABLE).unwrap();
        assert_eq!(read, BTreeMap::from([(7, "ab".into()), (8, "b".into()), (20, "cd".into())]));
    }

    #[test]
    fn messages_of_an_image_are_those_of_its_table() {
        let file = std::env::temp_dir().join(format!("driver-check-messages-{}.sys", std::process::id()));
        let read = |contents: &[u8]| {
            fs::write(&file, contents).unwrap();
            messages(&file)
        };
        let with = |table: &[u8]| read(&Driver { message_table: table.to_vec(), ..Driver::new() }.image());
        assert_eq!(with(TABLE).unwrap(), BTreeMap::from([(7, "ab".into()), (8, "b".into()), (20, "cd".into())]));
        assert_eq!(read(&Driver::new().image()).unwrap(), BTreeMap::new(), "no table");
        assert_eq!(with(&TABLE[..9]).unwrap_err().to_string(), "the message table makes no sense");
        assert_eq!(read(b"MZ but nothing else").unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::remove_file(&file).unwrap();
        assert_eq!(messages(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_table_that_is_cut_is_none() {
        for length in 0..TABLE.len() {
            assert_eq!(read(&TABLE[..length]), None, "{length}");
        }
    }
}
