//! The records that the kernel gives and takes: values of the registry, and the new name of a file.

use alloc::vec::Vec;
use core::mem::offset_of;

use crate::NTSTATUS;
use crate::memory::{try_collect, try_zeroed};
use crate::status::{
    STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_TYPE_MISMATCH,
};

/// `REG_SZ`: text, with a zero at its end as a rule.
pub(crate) const REG_SZ: u32 = 1;
/// `REG_DWORD`: a number, little-endian.
pub(crate) const REG_DWORD: u32 = 4;

/// `KEY_VALUE_PARTIAL_INFORMATION`, up to the data.
#[repr(C)]
struct ValueHeader {
    title_index: u32,
    kind: u32,
    data_length: u32,
}

/// The data of a value of the registry, which has to be of type `kind`; `None` if there is no such value.
///
/// `query` fills its argument with the value's KEY_VALUE_PARTIAL_INFORMATION; if that fails it says how many bytes that
/// has. It is asked again with more room, until the record fits.
///
/// # Errors
///
/// STATUS_OBJECT_TYPE_MISMATCH: the value is of another type. STATUS_INSUFFICIENT_RESOURCES, or what `query` returned.
pub(crate) fn value_data(
    kind: u32,
    mut query: impl FnMut(&mut [u8]) -> Result<(), (NTSTATUS, usize)>,
) -> Result<Option<Vec<u8>>, NTSTATUS> {
    let mut record = Vec::new();
    loop {
        let length = match query(&mut record) {
            Ok(()) => break,
            Err((STATUS_BUFFER_OVERFLOW | STATUS_BUFFER_TOO_SMALL, length)) if length > record.len() => length,
            Err((STATUS_OBJECT_NAME_NOT_FOUND, _)) => return Ok(None),
            Err((status, _)) => return Err(status),
        };
        // By the next call the value may be another, hence the loop.
        record = try_zeroed(length)?;
    }
    let field = |offset: usize| {
        let bytes = record.get(offset..).and_then(|bytes| bytes.first_chunk());
        bytes.map(|bytes| u32::from_le_bytes(*bytes))
    };
    if field(offset_of!(ValueHeader, kind)) != Some(kind) {
        return Err(STATUS_OBJECT_TYPE_MISMATCH);
    }
    let length = field(offset_of!(ValueHeader, data_length)).unwrap_or(0) as usize;
    let data = record.get(size_of::<ValueHeader>()..).unwrap_or_default();
    try_collect(length.min(data.len()), data.iter().copied()).map(Some)
}

/// The number in the data of a REG_DWORD.
///
/// # Errors
///
/// STATUS_OBJECT_TYPE_MISMATCH: it is too short.
pub(crate) fn dword(data: &[u8]) -> Result<u32, NTSTATUS> {
    data.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(STATUS_OBJECT_TYPE_MISMATCH)
}

/// The units in the data of a REG_SZ, with whatever zeros it ends in. Half a unit at the end does not count.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES.
pub(crate) fn text(data: &[u8]) -> Result<Vec<u16>, NTSTATUS> {
    let pairs = data.as_chunks::<2>().0;
    try_collect(pairs.len(), pairs.iter().map(|pair| u16::from_le_bytes(*pair)))
}

/// `FILE_RENAME_INFORMATION`: the name begins with `name`.
#[repr(C)]
struct RenameInformation {
    flags: u32,
    root: usize,
    name_length: u32,
    name: u16,
}

/// The record that gives a file the name `name`, in the folder in which it is, in place of a file that has it. For
/// FileRenameInformation `posix` is false, for FileRenameInformationEx it says whether handles of the replaced file
/// stay good.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES.
pub(crate) fn rename_information(name: &[u16], posix: bool) -> Result<Vec<u8>, NTSTATUS> {
    /// FILE_RENAME_REPLACE_IF_EXISTS, and ReplaceIfExists of the old class, which is one byte.
    const REPLACE: u32 = 1;
    const FILE_RENAME_POSIX_SEMANTICS: u32 = 2;
    let flags = if posix { REPLACE | FILE_RENAME_POSIX_SEMANTICS } else { REPLACE };
    let name_length = size_of_val(name);
    let length = offset_of!(RenameInformation, name).saturating_add(name_length);
    let mut record = try_zeroed(length.max(size_of::<RenameInformation>()))?;
    put(&mut record, offset_of!(RenameInformation, flags), flags.to_le_bytes());
    put(&mut record, offset_of!(RenameInformation, name_length), (name_length as u32).to_le_bytes());
    put(&mut record, offset_of!(RenameInformation, name), name.iter().flat_map(|unit| unit.to_le_bytes()));
    Ok(record)
}

/// FILE_DISPOSITION_INFORMATION_EX: FILE_DISPOSITION_DELETE, POSIX_SEMANTICS (the name is free at once) and
/// IGNORE_READONLY_ATTRIBUTE.
#[cfg(feature = "kernel")]
pub(crate) const DELETE_POSIX: [u8; 4] = 0x13_u32.to_le_bytes();

/// FILE_DISPOSITION_INFORMATION: the file goes when it is closed.
#[cfg(feature = "kernel")]
pub(crate) const DELETE_ON_CLOSE: [u8; 1] = [1];

/// Writes bytes into a record, as far as it goes.
fn put(record: &mut [u8], offset: usize, bytes: impl IntoIterator<Item = u8>) {
    let places = record.get_mut(offset..).unwrap_or_default();
    places.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value as ZwQueryValueKey would give it: the record, and what it answers while there is no room for it.
    fn registry(kind: u32, data: &[u8]) -> impl FnMut(&mut [u8]) -> Result<(), (NTSTATUS, usize)> {
        let mut record = [0_u32.to_le_bytes(), kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        record.extend_from_slice(data);
        move |room| match room.len() {
            0..12 => Err((STATUS_BUFFER_TOO_SMALL, record.len())),
            length if length < record.len() => Err((STATUS_BUFFER_OVERFLOW, record.len())),
            _ => {
                room[..record.len()].copy_from_slice(&record);
                Ok(())
            }
        }
    }

    #[test]
    fn a_value_is_read_whatever_its_length() {
        for length in [0, 1, 4, 1000] {
            let data = alloc::vec![0x5A; length];
            assert_eq!(value_data(REG_SZ, registry(REG_SZ, &data)), Ok(Some(data)));
        }
    }

    #[test]
    fn a_value_that_grows_between_two_calls_is_read_whole() {
        let mut length = 4;
        let growing = |room: &mut [u8]| {
            let data = alloc::vec![7; length];
            length = (length * 2).min(64);
            registry(REG_DWORD, &data)(room)
        };
        assert_eq!(value_data(REG_DWORD, growing).unwrap().unwrap(), [7; 64]);
    }

    #[test]
    fn there_may_be_no_value_one_of_another_type_or_one_that_cannot_be_read() {
        const STATUS_ACCESS_DENIED: NTSTATUS = 0xC000_0022_u32.cast_signed();
        assert_eq!(value_data(REG_SZ, |_| Err((STATUS_OBJECT_NAME_NOT_FOUND, 0))), Ok(None));
        assert_eq!(value_data(REG_SZ, |_| Err((STATUS_ACCESS_DENIED, 9))), Err(STATUS_ACCESS_DENIED));
        assert_eq!(value_data(REG_SZ, registry(REG_DWORD, &[1, 0, 0, 0])), Err(STATUS_OBJECT_TYPE_MISMATCH));
        // A call that wants room which it has would be repeated without end.
        assert_eq!(value_data(REG_SZ, |_| Err((STATUS_BUFFER_OVERFLOW, 0))), Err(STATUS_BUFFER_OVERFLOW));
    }

    #[test]
    fn a_length_beyond_the_record_is_cut_to_it() {
        let too_long = |room: &mut [u8]| {
            if room.len() < 14 {
                return Err((STATUS_BUFFER_OVERFLOW, 14));
            }
            room[4] = REG_SZ as u8;
            room[8..12].fill(0xFF);
            Ok(())
        };
        assert_eq!(value_data(REG_SZ, too_long).unwrap().unwrap(), [0; 2]);
    }

    #[test]
    fn numbers_and_text_are_little_endian() {
        assert_eq!(dword(&[1, 2, 3, 4]), Ok(0x0403_0201));
        assert_eq!(dword(&[1, 2, 3]), Err(STATUS_OBJECT_TYPE_MISMATCH));
        assert_eq!(text(&[0x41, 0, 0, 0, 0x42]).unwrap(), [0x41, 0]);
    }

    #[test]
    fn a_new_name_stands_where_file_rename_information_has_it() {
        let record = rename_information(&[0x61, 0x62], true).unwrap();
        assert_eq!(record, [&[3, 0, 0, 0], &[0; 12][..], &[4, 0, 0, 0, 0x61, 0, 0x62, 0]].concat());
        // Never shorter than the structure, which is padded to 24 bytes.
        assert_eq!(
            rename_information(&[0x61], false).unwrap()[..],
            [[1].as_slice(), &[0; 15], &[2, 0, 0, 0, 0x61, 0, 0, 0]].concat()[..]
        );
        assert_eq!(rename_information(&[0; 3], false).unwrap().len(), 26);
    }
}
