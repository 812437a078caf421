//! The text of an INF file, whatever it is encoded in.

use std::io;

/// Decodes an INF file: UTF-16 with a byte order mark, as Windows' own tools write it, UTF-8 with or without one, or
/// else an 8-bit code page, of which the ASCII characters matter.
///
/// # Errors
/// UTF-16 that is malformed.
pub fn decode(bytes: &[u8]) -> io::Result<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let text = String::from_utf16(&units.iter().copied().map(unit).collect::<Vec<_>>());
        let text = text.ok().filter(|_| rest.is_empty());
        text.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "expected UTF-16, found malformed text"))
    };
    match bytes {
        [0xff, 0xfe, text @ ..] => utf16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf16(text, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] | text => Ok(match str::from_utf8(text) {
            Ok(text) => text.to_owned(),
            Err(_) => text.iter().copied().map(char::from).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_of_an_inf_file_is_read() {
        let little: Vec<u8> = "\u{feff}[Ä]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}[Ä]".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [&little[..], &big, "\u{feff}[Ä]".as_bytes(), "[Ä]".as_bytes(), b"[\xc4]"] {
            assert_eq!(decode(bytes).unwrap(), "[Ä]", "{bytes:?}");
        }
    }

    #[test]
    fn malformed_utf_16_is_an_error() {
        assert!(decode(&[0xff, 0xfe, 0x41]).is_err(), "half a character");
        assert!(decode(&[0xff, 0xfe, 0x00, 0xd8]).is_err(), "half a pair");
    }
}
