//! Files of a driver's own. PASSIVE_LEVEL.

use alloc::vec::Vec;
use core::mem::offset_of;
use core::ptr;

use wdk_sys::_FILE_INFORMATION_CLASS::{FileDispositionInformation, FileRenameInformation, FileStandardInformation};
use wdk_sys::ntddk::{ZwCreateFile, ZwQueryInformationFile, ZwReadFile, ZwSetInformationFile, ZwWriteFile};
use wdk_sys::{
    DELETE, FILE_ATTRIBUTE_NORMAL, FILE_CREATE, FILE_INFORMATION_CLASS, FILE_NON_DIRECTORY_FILE, FILE_OPEN,
    FILE_READ_DATA, FILE_SHARE_READ, FILE_STANDARD_INFORMATION, FILE_SYNCHRONOUS_IO_NONALERT, FILE_WRITE_DATA, HANDLE,
    IO_STATUS_BLOCK, NTSTATUS, STATUS_END_OF_FILE, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND,
    STATUS_UNSUCCESSFUL, SYNCHRONIZE,
};

use crate::memory::try_zeroed;
use crate::object::{Handle, ObjectName};
use crate::security::administrators_only;

unsafe extern "system" {
    /// Writes what the system still holds of a file to its disk. Declared in ntifs.h, which wdk-sys does not read.
    fn ZwFlushBuffersFile(file: HANDLE, status: *mut IO_STATUS_BLOCK) -> NTSTATUS;
}

/// How much is read or written at once: the system locks that much memory for it.
const CHUNK: usize = 1 << 20;

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
        let handle = name.with_attributes(security, |attributes| {
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
        let mut bytes = try_zeroed(length)?;
        let mut filled = 0;
        while let Some(place) = bytes.get_mut(filled..).filter(|place| !place.is_empty()) {
            let room = place.len().min(CHUNK);
            let mut status = IO_STATUS_BLOCK::default();
            // SAFETY: the file is open for synchronous reading; the place has `room` bytes and lives through the call.
            let result = unsafe {
                ZwReadFile(
                    self.0.get(),
                    ptr::null_mut(),
                    None,
                    ptr::null_mut(),
                    &raw mut status,
                    place.as_mut_ptr().cast(),
                    room as u32,
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
            if result < 0 && result != STATUS_END_OF_FILE {
                return Err(result);
            }
            let read = status.Information as usize;
            if result == STATUS_END_OF_FILE || read == 0 {
                break;
            }
            filled += read.min(room);
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Writes all of `bytes` where the last write ended.
    ///
    /// # Errors
    ///
    /// What ZwWriteFile returned: STATUS_DISK_FULL, for one. Some of it may have been written.
    pub fn write(&self, bytes: &[u8]) -> Result<(), NTSTATUS> {
        for part in bytes.chunks(CHUNK) {
            let mut status = IO_STATUS_BLOCK::default();
            // SAFETY: the file is open for synchronous writing; the bytes are only read.
            let result = unsafe {
                ZwWriteFile(
                    self.0.get(),
                    ptr::null_mut(),
                    None,
                    ptr::null_mut(),
                    &raw mut status,
                    part.as_ptr().cast_mut().cast(),
                    part.len() as u32,
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
            if result < 0 {
                return Err(result);
            }
            if status.Information as usize != part.len() {
                return Err(STATUS_UNSUCCESSFUL);
            }
        }
        Ok(())
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
        let name = to.units();
        let length = RENAME_HEADER.saturating_add(size_of_val(name)).max(size_of::<RenameInformation>());
        let mut information = try_zeroed(length)?;
        let header =
            RenameInformation { replace: 1, root: ptr::null_mut(), name_length: size_of_val(name) as u32, name: 0 };
        let place: *mut RenameInformation = information.as_mut_ptr().cast();
        // SAFETY: the buffer has room for the structure, and pool is aligned for it.
        unsafe { place.write(header) };
        // SAFETY: as above; the name begins within the structure.
        let name_place = unsafe { &raw mut (*place).name };
        // SAFETY: the buffer has room for the name behind the header, and the two do not overlap.
        unsafe { name_place.copy_from_nonoverlapping(name.as_ptr(), name.len()) };
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

/// `FILE_RENAME_INFORMATION` of ntifs.h: the name begins with `name`.
#[repr(C)]
struct RenameInformation {
    replace: u8,
    root: HANDLE,
    name_length: u32,
    name: u16,
}

/// What stands before the name.
const RENAME_HEADER: usize = offset_of!(RenameInformation, name);
