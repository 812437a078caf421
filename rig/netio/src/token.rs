//! Tokens that drivers open, whose handles are on their account.

use crate::{objects, sys, thunk};

#[cfg_attr(windows, link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn NtOpenProcessTokenEx(
        process: sys::Handle,
        access: u32,
        attributes: u32,
        token: *mut sys::Handle,
    ) -> sys::NtStatus;
    fn NtOpenThreadTokenEx(
        thread: sys::Handle,
        access: u32,
        as_self: u8,
        attributes: u32,
        token: *mut sys::Handle,
    ) -> sys::NtStatus;
}

/// ZwOpenProcessTokenEx.
pub(crate) unsafe extern "system" fn open_of_process(
    process: sys::Handle,
    access: u32,
    attributes: u32,
    token: *mut sys::Handle,
) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own arguments.
    let status = unsafe { NtOpenProcessTokenEx(process, access, attributes, token) };
    // SAFETY: the function has put the handle there.
    unsafe { objects::made_handle(caller, status, token) }
}

/// ZwOpenThreadTokenEx.
pub(crate) unsafe extern "system" fn open_of_thread(
    thread: sys::Handle,
    access: u32,
    as_self: u8,
    attributes: u32,
    token: *mut sys::Handle,
) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own arguments.
    let status = unsafe { NtOpenThreadTokenEx(thread, access, as_self, attributes, token) };
    // SAFETY: the function has put the handle there.
    unsafe { objects::made_handle(caller, status, token) }
}
