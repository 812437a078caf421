//! Files of a driver's own. PASSIVE_LEVEL.

use alloc::vec::Vec;
use core::ptr;

use wdk_sys::_FILE_INFORMATION_CLASS::{
    FileDispositionInformation, FileDispositionInformationEx, FileRenameInformation, FileRenameInformationEx,
    FileStandardInformation,
};
use wdk_sys::ntddk::{
    ZwCreateFile, ZwFlushBuffersFile, ZwQueryInformationFile, ZwReadFile, ZwSetInformationFile, ZwWriteFile,
};
use wdk_sys::{
    DELETE, DRIVER_OBJECT, FILE_ATTRIBUTE_NORMAL, FILE_CREATE, FILE_INFORMATION_CLASS, FILE_NON_DIRECTORY_FILE,
    FILE_OPEN, FILE_READ_DATA, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_STANDARD_INFORMATION,
    FILE_SYNCHRONOUS_IO_NONALERT, FILE_WRITE_DATA, HANDLE, IO_STATUS_BLOCK, STATUS_END_OF_FILE, SYNCHRONIZE,
};

use super::object::{Handle, with_attributes};
use super::security::administrators_only;
use super::system::wait;
use crate::record::{DELETE_ON_CLOSE, DELETE_POSIX, rename_information};
use crate::replacement::{Steps, patiently, posix_or_old, replace};
use crate::status::STATUS_OBJECT_NAME_NOT_FOUND;
use crate::transfer::{read_up_to, write_all};
use crate::{NTSTATUS, ObjectName};

unsafe extern "system" {
    /// Opens a folder of the driver's own (wdm.h, Windows 10 version 1803; wdk-sys does not declare it). PASSIVE_LEVEL,
    /// on a system thread; fails before the volume is there ("IoGetDriverDirectory").
    fn IoGetDriverDirectory(driver: *mut DRIVER_OBJECT, kind: u32, flags: u32, directory: *mut HANDLE) -> NTSTATUS;
}

/// An open folder.
pub struct Directory(Handle);

impl Directory {
    /// The folder for what the driver stores for itself, which goes with the driver when that is uninstalled.
    /// PASSIVE_LEVEL, in DriverEntry.
    ///
    /// # Errors
    ///
    /// What IoGetDriverDirectory returned.
    pub fn driver_data(driver: &mut DRIVER_OBJECT) -> Result<Self, NTSTATUS> {
        /// `DriverDirectoryData`
        const DATA: u32 = 1;
        // SAFETY: the driver object is that of this driver, and the handle lives through the call.
        Handle::from_call(|handle| unsafe { IoGetDriverDirectory(driver, DATA, 0, handle) }).map(Self)
    }
}

/// A file that is read and replaced whole.
pub struct ReplacedFile {
    directory: Option<Directory>,
    name: ObjectName,
    /// Where its successor is written: in the same folder, since a rename goes no further.
    new: ObjectName,
    /// Its name within the folder.
    last: ObjectName,
}

/// What the name of the successor has more.
const NEW: &str = ".new";

impl ReplacedFile {
    /// A file of a folder.
    ///
    /// # Errors
    ///
    /// STATUS_INSUFFICIENT_RESOURCES.
    pub fn in_directory(directory: Directory, name: &str) -> Result<Self, NTSTATUS> {
        Self::of(Some(directory), ObjectName::new(&[], name)?)
    }

    /// A file with a name of its own in the object manager's name space.
    ///
    /// # Errors
    ///
    /// STATUS_INSUFFICIENT_RESOURCES, or STATUS_NAME_TOO_LONG.
    pub fn named(name: ObjectName) -> Result<Self, NTSTATUS> {
        Self::of(None, name)
    }

    fn of(directory: Option<Directory>, name: ObjectName) -> Result<Self, NTSTATUS> {
        let new = ObjectName::new(name.units(), NEW)?;
        let last = ObjectName::new(name.last_part(), "")?;
        Ok(Self { directory, name, new, last })
    }

    /// The whole content; `None` if the folder has no such file. `length_of` is given its length and says how much to
    /// read, or why not.
    ///
    /// # Errors
    ///
    /// What `length_of` returned, STATUS_INSUFFICIENT_RESOURCES, or what the kernel returned.
    pub fn read(&self, length_of: impl FnOnce(u64) -> Result<usize, NTSTATUS>) -> Result<Option<Vec<u8>>, NTSTATUS> {
        const SHARE: u32 = FILE_SHARE_READ | FILE_SHARE_DELETE;
        let open = || self.open(&self.name, FILE_READ_DATA, SHARE, FILE_OPEN, ptr::null_mut());
        match patiently(wait, open) {
            Ok(file) => file.read(length_of(file.length()?)?).map(Some),
            Err(STATUS_OBJECT_NAME_NOT_FOUND) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Replaces the file by one with `parts` as its content, which only administrators and SYSTEM can open. Returns
    /// when that is on the disk: whenever the machine fails, the old file is there or the new one, whole.
    ///
    /// # Errors
    ///
    /// What the kernel returned: STATUS_DISK_FULL, for one. The old file is what it was.
    pub fn replace(&self, parts: &[&[u8]]) -> Result<(), NTSTATUS> {
        replace(self, parts)
    }

    fn open(
        &self,
        name: &ObjectName,
        access: u32,
        share: u32,
        disposition: u32,
        security: *mut core::ffi::c_void,
    ) -> Result<File, NTSTATUS> {
        let mut status = IO_STATUS_BLOCK::default();
        let root = self.directory.as_ref().map(|directory| &directory.0);
        let handle = with_attributes(root, name, security, |attributes| {
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
        handle.map(File)
    }
}

impl Steps for ReplacedFile {
    type New = File;

    fn remove_leftover(&self) -> Result<(), NTSTATUS> {
        const SHARE: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        match self.open(&self.new, DELETE, SHARE, FILE_OPEN, ptr::null_mut()) {
            Ok(file) => file.delete(),
            Err(STATUS_OBJECT_NAME_NOT_FOUND) => Ok(()),
            Err(status) => Err(status),
        }
    }

    fn create(&self) -> Result<File, NTSTATUS> {
        self.open(&self.new, FILE_WRITE_DATA | DELETE, 0, FILE_CREATE, administrators_only())
    }

    fn write(&self, new: &File, bytes: &[u8]) -> Result<(), NTSTATUS> {
        new.write(bytes)
    }

    fn flush(&self, new: &File) -> Result<(), NTSTATUS> {
        new.flush()
    }

    fn rename(&self, new: &File) -> Result<(), NTSTATUS> {
        let rename = |class, posix| new.set(class, &mut rename_information(self.last.units(), posix)?);
        posix_or_old(|| rename(FileRenameInformationEx, true), || rename(FileRenameInformation, false))
    }

    fn discard(&self, new: File) {
        let _ = new.delete();
    }

    fn wait(&self, milliseconds: u32) {
        wait(milliseconds);
    }
}

/// An open file.
pub(crate) struct File(Handle);

impl File {
    /// How many bytes the file has.
    fn length(&self) -> Result<u64, NTSTATUS> {
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
    fn read(&self, length: usize) -> Result<Vec<u8>, NTSTATUS> {
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

    /// Writes all of `bytes` where the last write ended. Some of it may have been written if that fails.
    fn write(&self, bytes: &[u8]) -> Result<(), NTSTATUS> {
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
    fn flush(&self) -> Result<(), NTSTATUS> {
        let mut status = IO_STATUS_BLOCK::default();
        // SAFETY: the file is open for writing; the status lives through the call.
        let result = unsafe { ZwFlushBuffersFile(self.0.get(), &raw mut status) };
        if result < 0 { Err(result) } else { Ok(()) }
    }

    /// Removes the file, which is open for that.
    fn delete(self) -> Result<(), NTSTATUS> {
        posix_or_old(
            || self.set(FileDispositionInformationEx, &mut DELETE_POSIX.clone()),
            || self.set(FileDispositionInformation, &mut DELETE_ON_CLOSE.clone()),
        )
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
