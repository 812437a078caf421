//! The policy that is persisted: stored for the next start of the driver.
//!
//! It lies in one file: the table, and behind it a seal of [`Seal::SIZE`] bytes, by which a file that was cut, written
//! over or is something else is told from one that was written here.

use alloc::vec::Vec;

use sluice_control::NTSTATUS;
use sluice_control::status::{STATUS_FILE_CORRUPT_ERROR, STATUS_QUOTA_EXCEEDED};

/// The file of the persisted policy. PASSIVE_LEVEL; the engine does one thing at a time with it.
pub trait Storage: Send + Sync + 'static {
    /// Reads the file; `None` if none has ever been written. One that has more than `limit` bytes is not read:
    /// STATUS_QUOTA_EXCEEDED.
    ///
    /// # Errors
    ///
    /// It cannot be read, there is none although one was expected, or there is no memory for it.
    fn read(&self, limit: usize) -> Result<Option<Vec<u8>>, NTSTATUS>;

    /// Puts a file that only administrators and the system can open in the place of the old one, with the parts one
    /// behind the other, and returns when it is on the disk. Whenever the machine fails, one of the two is there,
    /// whole.
    ///
    /// # Errors
    ///
    /// The old file is what it was.
    fn replace(&self, parts: &[&[u8]]) -> Result<(), NTSTATUS>;
}

/// What stands behind the table.
struct Seal;

impl Seal {
    const SIZE: usize = 12;
    /// The last byte is the version of the file's format.
    const MAGIC: [u8; 8] = *b"SLUICEP\x01";

    /// The seal of a file with that table: [`Seal::MAGIC`] and the CRC-32 (IEEE 802.3) of the table, little-endian.
    fn of(table: &[u8]) -> [u8; Self::SIZE] {
        let [a, b, c, d, e, f, g, h] = Self::MAGIC;
        let [i, j, k, l] = crc32fast::hash(table).to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

/// Persists `table` in the place of what was persisted before. An empty one says that there is no policy.
///
/// # Errors
///
/// What was persisted before still is, whole.
pub(crate) fn persist(storage: &impl Storage, table: &[u8]) -> Result<(), NTSTATUS> {
    storage.replace(&[table, &Seal::of(table)])
}

/// The persisted table; `None` if there is no policy. That it is a table of a policy is left to the reader.
///
/// # Errors
///
/// It cannot be read, is larger than `limit`, or is damaged: STATUS_FILE_CORRUPT_ERROR.
pub(crate) fn persisted(storage: &impl Storage, limit: usize) -> Result<Option<Vec<u8>>, NTSTATUS> {
    let Some(mut file) = storage.read(limit.saturating_add(Seal::SIZE))? else { return Ok(None) };
    let (table, seal) = file.split_last_chunk().ok_or(STATUS_FILE_CORRUPT_ERROR)?;
    if table.len() > limit {
        return Err(STATUS_QUOTA_EXCEEDED);
    }
    if *seal != Seal::of(table) {
        return Err(STATUS_FILE_CORRUPT_ERROR);
    }
    let length = table.len();
    file.truncate(length);
    Ok((!file.is_empty()).then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with one file that is only read.
    struct File(Vec<u8>);

    impl Storage for File {
        fn read(&self, limit: usize) -> Result<Option<Vec<u8>>, NTSTATUS> {
            if self.0.len() > limit { Err(STATUS_QUOTA_EXCEEDED) } else { Ok(Some(self.0.clone())) }
        }
        fn replace(&self, _: &[&[u8]]) -> Result<(), NTSTATUS> {
            unreachable!("nothing is replaced")
        }
    }

    fn sealed(table: &[u8]) -> Vec<u8> {
        [table, &Seal::of(table)].concat()
    }

    #[test]
    fn the_seal_is_a_mark_and_the_crc_that_everybody_knows() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(Seal::of(b"123456789"), *b"SLUICEP\x01\x26\x39\xF4\xCB");
    }

    #[test]
    fn what_was_sealed_is_read_back() {
        assert_eq!(persisted(&File(sealed(b"a table")), 7), Ok(Some(b"a table".to_vec())));
        assert_eq!(persisted(&File(sealed(b"a table")), 6), Err(STATUS_QUOTA_EXCEEDED));
        assert_eq!(persisted(&File(sealed(b"")), 7), Ok(None));
    }

    #[test]
    fn no_changed_bit_and_no_cut_goes_unnoticed() {
        let file = sealed(&[0x5A; 300]);
        for bit in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(persisted(&File(changed), 1000), Err(STATUS_FILE_CORRUPT_ERROR), "bit {bit}");
        }
        for length in 0..file.len() {
            assert_eq!(
                persisted(&File(file[..length].to_vec()), 1000),
                Err(STATUS_FILE_CORRUPT_ERROR),
                "length {length}"
            );
        }
    }
}
