//! Names of objects, and handles.

use alloc::vec::Vec;
use core::ptr;

use wdk_sys::ntddk::ZwClose;
use wdk_sys::{
    HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES, STATUS_NAME_TOO_LONG, UNICODE_STRING,
};

use crate::memory::try_collect;

/// The longest name in UTF-16 units: its length in bytes is a u16.
const MAX_UNITS: usize = u16::MAX as usize / size_of::<u16>();

/// A name in the object manager's name space, of a file or a key, in non-paged pool.
pub struct ObjectName(Vec<u16>);

impl ObjectName {
    /// The parts, one behind the other.
    ///
    /// # Errors
    ///
    /// STATUS_NAME_TOO_LONG, or STATUS_INSUFFICIENT_RESOURCES.
    pub fn new(start: &[u16], end: &str) -> Result<Self, NTSTATUS> {
        Self::of(start.iter().copied().chain(end.encode_utf16()), start.len().saturating_add(end.len()))
    }

    /// A name whose start is text.
    ///
    /// # Errors
    ///
    /// As [`ObjectName::new`].
    pub fn with_prefix(start: &str, end: &[u16]) -> Result<Self, NTSTATUS> {
        Self::of(start.encode_utf16().chain(end.iter().copied()), start.len().saturating_add(end.len()))
    }

    /// At most `room` units.
    fn of(units: impl Iterator<Item = u16>, room: usize) -> Result<Self, NTSTATUS> {
        if room > MAX_UNITS {
            return Err(STATUS_NAME_TOO_LONG);
        }
        try_collect(room, units).map(Self)
    }

    /// The units, without a zero at the end.
    #[must_use]
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// Calls `open` with the attributes of an object of this name, whose handle will be the kernel's own. `security` is a
    /// security descriptor for an object that is made, or NULL.
    pub(crate) fn with_attributes<R>(
        &self,
        security: *mut core::ffi::c_void,
        open: impl FnOnce(&mut OBJECT_ATTRIBUTES) -> R,
    ) -> R {
        let bytes = size_of_val(self.0.as_slice()) as u16;
        let mut name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: self.0.as_ptr().cast_mut() };
        open(&mut OBJECT_ATTRIBUTES {
            Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
            RootDirectory: ptr::null_mut(),
            ObjectName: &raw mut name,
            Attributes: OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE,
            SecurityDescriptor: security,
            SecurityQualityOfService: ptr::null_mut(),
        })
    }
}

/// A handle of the kernel's own, closed when it is dropped. PASSIVE_LEVEL.
pub(crate) struct Handle(HANDLE);

impl Handle {
    /// Takes what `open` has put into its argument, if it succeeded.
    pub(crate) fn from_call(open: impl FnOnce(*mut HANDLE) -> NTSTATUS) -> Result<Self, NTSTATUS> {
        let mut handle = ptr::null_mut();
        let status = open(&raw mut handle);
        if status < 0 { Err(status) } else { Ok(Self(handle)) }
    }

    pub(crate) fn get(&self) -> HANDLE {
        self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is not used again.
        let _ = unsafe { ZwClose(self.0) };
    }
}
