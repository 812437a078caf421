//! Objects that are opened by name, and handles.

use core::ptr;

use wdk_sys::ntddk::ZwClose;
use wdk_sys::{HANDLE, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES};

use super::string::unicode_string;
use crate::{NTSTATUS, ObjectName};

/// Calls `open` with the attributes of an object of this name, below `root` if that is one, whose handle will be the
/// kernel's own. `security` is a security descriptor for an object that is made, or NULL.
pub(crate) fn with_attributes<R>(
    root: Option<&Handle>,
    name: &ObjectName,
    security: *mut core::ffi::c_void,
    open: impl FnOnce(&mut OBJECT_ATTRIBUTES) -> R,
) -> R {
    let mut name = unicode_string(name.units());
    open(&mut OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: root.map_or(ptr::null_mut(), Handle::get),
        ObjectName: &raw mut name,
        Attributes: OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: security,
        SecurityQualityOfService: ptr::null_mut(),
    })
}

/// A handle of the kernel's own, closed when it is dropped. PASSIVE_LEVEL.
pub(crate) struct Handle(HANDLE);

// SAFETY: a handle of the kernel's own belongs to no thread and to no process; it is closed once.
unsafe impl Send for Handle {}
// SAFETY: a shared reference only gives access to its number, which the kernel takes on any thread.
unsafe impl Sync for Handle {}

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
