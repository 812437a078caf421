//! The file of the persisted policy.

use alloc::vec::Vec;

use sluice_engine::Storage;
use sluice_wdm::ReplacedFile;
use wdk_sys::{NTSTATUS, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_QUOTA_EXCEEDED};

/// The file in the driver's data directory, or the one that an administrator has named.
pub(crate) struct PolicyFile {
    /// Or why it cannot be reached: the data directory cannot be opened.
    pub(crate) file: Result<ReplacedFile, NTSTATUS>,
    /// An administrator has named it. Then it has to be there: the volume that it should be on may be absent, and a
    /// driver that took that for "no policy" would permit everything.
    pub(crate) is_named: bool,
}

impl PolicyFile {
    fn file(&self) -> Result<&ReplacedFile, NTSTATUS> {
        self.file.as_ref().map_err(|status| *status)
    }
}

impl Storage for PolicyFile {
    fn read(&self, limit: usize) -> Result<Option<Vec<u8>>, NTSTATUS> {
        let length_of = |length: u64| match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(length),
            _ => Err(STATUS_QUOTA_EXCEEDED),
        };
        match self.file()?.read(length_of)? {
            None if self.is_named => Err(STATUS_OBJECT_NAME_NOT_FOUND),
            content => Ok(content),
        }
    }

    fn replace(&self, parts: &[&[u8]]) -> Result<(), NTSTATUS> {
        self.file()?.replace(parts)
    }
}
