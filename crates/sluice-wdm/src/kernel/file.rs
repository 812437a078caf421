//! Files of a driver's own. PASSIVE_LEVEL.

use alloc::vec::Vec;
use core::ptr;

use wdk_sys::_FILE_INFORMATION_CLASS::{FileDispositionInformation, FileRenameInformation, FileStandardInformation};
use wdk_sys::ntddk::{ZwCreateFile, ZwQueryInformationFile, ZwReadFile, ZwSetInformationFile, ZwWriteFile};
use wdk_sys::{
    DELETE, FILE_ATTRIBUTE_NORMAL, FILE_CREATE, FILE_INFORMATION_CLASS, FILE_NON_DIRECTORY_FILE, FILE_OPEN,
    FILE_READ_DATA, FILE_SHARE_READ, FILE_STANDARD_INFORMATION, FILE_SYNCHRONOUS_IO_NONALERT, FILE_WRITE_DATA, HANDLE,
    IO_STATUS_BLOCK, STATUS_END_OF_FILE, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND, SYNCHRONIZE,
};

use super::object::{Handle, with_attributes};
use super::security::administrators_only;
use crate::record::rename_information;
use crate::transfer::{read_up_to, write_all};
use crate::{NTSTATUS, ObjectName};

unsafe extern "system" {
    /// Writes what the system still holds of a file to its disk. Declared in ntifs.h, which wdk-sys does not read.
    fn ZwFlushBuffersFile(file: HANDLE, status: *mut IO_STATUS_BLOCK) -> NTSTATUS;
}

/// An open file.
pub struct File(Handle);

impl File {
    /// Opens a file to read it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// What ZwCreateFile returned.
    pub fn open(name: &ObjectName) -> Result<Option<Self>, NTSTATUS> {
        match Self::at(name, FILE_READ_DATA, FILE_SHARE_READ, FILE_OPEN, ptr::null_mut()) {
            Ok(file) => Ok(Some(file)),
            Err(STATUS_OBJECT_NAME_NOT_FOUND | STATUS_OBJECT_PATH_NOT_FOUND) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Makes a file that is not there yet, which only administrators and SYSTEM can open, to write it.
    ///
    /// # Errors
    ///
    /// What ZwCreateFile returned.
    pub fn create_for_administrators(name: &ObjectName) -> Result<Self, NTSTATUS> {
        Self::at(name, FILE_WRITE_DATA, 0, FILE_CREATE, administrators_only())
    }

    fn at(
        name: &ObjectName,
        access: u32,
        share: u32,
        disposition: u32,
        security: *mut core::ffi::c_void,
    ) -> Result<Self, NTSTATUS> {
        let mut status = IO_STATUS_BLOCK::default();
        let handle = with_attributes(name, security, |attributes| {
            // SAFETY: handle, attributes and status live through the call; nothing else is passed.
            Handle::from_call(|handle| unsafe {
                ZwCreateFile(
                    handle,
                    access | SYNCHRONIZE,
                    attributes,
                    &raw mut status,
                    ptr::null_mut(),
                    FILE_ATTRIBUTE_NORMAL,
                    share,
                    disposition,
                    FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE,
                    ptr::null_mut(),
                    0,
                )
            })
        });
        handle.map(Self)
    }

    /// How many bytes the file has.
    ///
    /// # Errors
    ///
    /// What ZwQueryInformationFile returned.
    pub fn length(&self) -> Result<u64, NTSTATUS> {
        let mut status = IO_STATUS_BLOCK::default();
        let mut information = FILE_STANDARD_INFORMATION::default();
        // SAFETY: the file is open; both places live through the call and have the size that is said.
        let result = unsafe {
            ZwQueryInformationFile(
                self.0.get(),
                &raw mut status,
                (&raw mut information).cast(),
                size_of::<FILE_STANDARD_INFORMATION>() as u32,
                FileStandardInformation,
            )
        };
        if result < 0 {
            return Err(result);
        }
        // SAFETY: every member of the union is one 64-bit number.
        let length = unsafe { information.EndOfFile.QuadPart };
        Ok(length.cast_unsigned())
    }

    /// Reads the next `length` bytes, or all that are left if they are fewer.
    ///
    /// # Errors
    ///
    /// STATUS_INSUFFICIENT_RESOURCES, or what ZwReadFile returned.
    pub fn read(&self, length: usize) -> Result<Vec<u8>, NTSTATUS> {
        read_up_to(length, |place| {
            let mut status = IO_STATUS_BLOCK::default();
            // SAFETY: the file is open for synchronous reading; the place lives through the call and has that length.
            let result = unsafe {
                ZwReadFile(
                    self.0.get(),
                    ptr::null_mut(),
                    None,
                    ptr::null_mut(),
                    &raw mut status,
                    place.as_mut_ptr().cast(),
                    place.len() as u32,
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
            match result {
                STATUS_END_OF_FILE => Ok(0),
                result if result < 0 => Err(result),
                _ => Ok(status.Information as usize),
            }
        })
    }

    /// Writes all of `bytes` where the last write ended.
    ///
    /// # Errors
    ///
    /// What ZwWriteFile returned: STATUS_DISK_FULL, for one. Some of it may have been written.
    pub fn write(&self, bytes: &[u8]) -> Result<(), NTSTATUS> {
        write_all(bytes, |piece| {
            let mut status = IO_STATUS_BLOCK::default();
            // SAFETY: the file is open for synchronous writing; the piece is only read.
            let result = unsafe {
                ZwWriteFile(
                    self.0.get(),
                    ptr::null_mut(),
                    None,
                    ptr::null_mut(),
                    &raw mut status,
                    piece.as_ptr().cast_mut().cast(),
                    piece.len() as u32,
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
            if result < 0 { Err(result) } else { Ok(status.Information as usize) }
        })
    }

    /// Returns when all that was written is on the disk.
    ///
    /// # Errors
    ///
    /// What ZwFlushBuffersFile returned.
    pub fn flush(&self) -> Result<(), NTSTATUS> {
        let mut status = IO_STATUS_BLOCK::default();
        // SAFETY: the file is open for writing; the status lives through the call.
        let result = unsafe { ZwFlushBuffersFile(self.0.get(), &raw mut status) };
        if result < 0 { Err(result) } else { Ok(()) }
    }

    /// Gives the file `from` the name `to`, in place of a file that has it. The file system does that at once.
    ///
    /// # Errors
    ///
    /// What the kernel returned; the files are as they were.
    pub fn rename(from: &ObjectName, to: &ObjectName) -> Result<(), NTSTATUS> {
        let file = Self::at(from, DELETE | FILE_WRITE_DATA, 0, FILE_OPEN, ptr::null_mut())?;
        let mut information = rename_information(to.units())?;
        file.set(FileRenameInformation, &mut information)?;
        // The new name is there, if perhaps only in the file system's log.
        let _ = file.flush();
        Ok(())
    }

    /// Removes a file, if there is one.
    ///
    /// # Errors
    ///
    /// What the kernel returned; the file is still there.
    pub fn remove(name: &ObjectName) -> Result<(), NTSTATUS> {
        let file = match Self::at(name, DELETE, 0, FILE_OPEN, ptr::null_mut()) {
            Ok(file) => file,
            Err(STATUS_OBJECT_NAME_NOT_FOUND | STATUS_OBJECT_PATH_NOT_FOUND) => return Ok(()),
            Err(status) => return Err(status),
        };
        // FILE_DISPOSITION_INFORMATION: whether the file goes when it is closed.
        file.set(FileDispositionInformation, &mut [1])
    }

    fn set(&self, class: FILE_INFORMATION_CLASS, information: &mut [u8]) -> Result<(), NTSTATUS> {
        let mut status = IO_STATUS_BLOCK::default();
        // SAFETY: the file is open; the information is of that class and that length, and only read.
        let result = unsafe {
            ZwSetInformationFile(
                self.0.get(),
                &raw mut status,
                information.as_mut_ptr().cast(),
                information.len() as u32,
                class,
            )
        };
        if result < 0 { Err(result) } else { Ok(()) }
    }
}
