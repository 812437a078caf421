//! Files are read and written in pieces: the system locks as much memory as one call gives it.

use alloc::vec::Vec;

use crate::NTSTATUS;
use crate::memory::try_zeroed;
use crate::status::STATUS_UNSUCCESSFUL;

/// The largest piece.
const PIECE: usize = 1 << 20;

/// Reads `length` bytes with `read`, which fills the start of its argument and says how far: 0 at the end of the file.
/// It is asked again until there is nothing left to read.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES, or what `read` returned.
pub(crate) fn read_up_to(
    length: usize,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, NTSTATUS>,
) -> Result<Vec<u8>, NTSTATUS> {
    let mut bytes = try_zeroed(length)?;
    let mut filled = 0;
    while let Some(place) = bytes.get_mut(filled..).filter(|place| !place.is_empty()) {
        let room = place.len().min(PIECE);
        let place = place.get_mut(..room).unwrap_or_default();
        match read(place)?.min(room) {
            0 => break,
            read => filled = filled.saturating_add(read),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Writes all of `bytes` with `write`, which says how many of its argument it has written.
///
/// # Errors
///
/// What `write` returned, or STATUS_UNSUCCESSFUL if it wrote less than it was given. Some of it may have been written.
pub(crate) fn write_all(bytes: &[u8], mut write: impl FnMut(&[u8]) -> Result<usize, NTSTATUS>) -> Result<(), NTSTATUS> {
    bytes.chunks(PIECE).try_for_each(|piece| match write(piece)? {
        written if written == piece.len() => Ok(()),
        _ => Err(STATUS_UNSUCCESSFUL),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS_DISK_FULL: NTSTATUS = 0xC000_007F_u32.cast_signed();

    /// Reads from `file`, at most `most` bytes at once.
    fn read_file(file: &[u8], length: usize, most: usize) -> Vec<u8> {
        let mut rest = file;
        let read = |place: &mut [u8]| {
            assert!(place.len() <= PIECE);
            let (part, behind) = rest.split_at(place.len().min(most).min(rest.len()));
            place[..part.len()].copy_from_slice(part);
            rest = behind;
            Ok(part.len())
        };
        read_up_to(length, read).unwrap()
    }

    #[test]
    fn a_file_is_read_to_the_length_or_to_its_end() {
        let file: Vec<u8> = (0..PIECE * 2 + 5).map(|number| number as u8).collect();
        for most in [1000, PIECE, usize::MAX] {
            assert_eq!(read_file(&file, file.len(), most), file);
            assert_eq!(read_file(&file, file.len() + 7, most), file);
            assert_eq!(read_file(&file, PIECE + 1, most), file[..=PIECE]);
        }
        assert_eq!(read_file(&file, 0, 1), []);
    }

    #[test]
    fn a_call_that_claims_more_than_it_was_given_room_for_is_not_believed() {
        let mut calls = 0;
        let claims = |_: &mut [u8]| {
            calls += 1;
            Ok(usize::MAX)
        };
        assert_eq!(read_up_to(PIECE + 1, claims).unwrap().len(), PIECE + 1);
        assert_eq!(calls, 2);
    }

    #[test]
    fn everything_is_written_in_order() {
        let bytes: Vec<u8> = (0..PIECE * 2 + 5).map(|number| (number / 7) as u8).collect();
        let mut file = Vec::new();
        let write = |piece: &[u8]| {
            assert!(piece.len() <= PIECE);
            file.extend_from_slice(piece);
            Ok(piece.len())
        };
        write_all(&bytes, write).unwrap();
        assert_eq!(file, bytes);
    }

    #[test]
    fn a_disk_that_is_full_or_takes_a_part_ends_the_writing() {
        let mut pieces = 0;
        let full = |piece: &[u8]| {
            pieces += 1;
            if pieces == 2 { Err(STATUS_DISK_FULL) } else { Ok(piece.len()) }
        };
        assert_eq!(write_all(&[0; PIECE * 3], full), Err(STATUS_DISK_FULL));
        assert_eq!(pieces, 2);
        assert_eq!(write_all(&[0; 9], |piece| Ok(piece.len() - 1)), Err(STATUS_UNSUCCESSFUL));
    }
}
