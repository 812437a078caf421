//! The start of a driver.

use core::ffi::c_void;

use crate::{drivers, hooked, log, requests, sys, thunk};

type Entry =
    unsafe extern "system" fn(object: *mut sys::DriverObject, path: *const sys::UNICODE_STRING) -> sys::NtStatus;

/// Runs DriverEntry. Wine leaves an image in memory whose DriverEntry has failed, with all that it has written to its
/// variables; Windows unloads it, and so does this.
pub(crate) unsafe extern "system" fn enter(
    object: *mut sys::DriverObject,
    path: *const sys::UNICODE_STRING,
) -> sys::NtStatus {
    let driver = thunk::caller();
    let Some(entry) = hooked::entry(driver) else { return sys::STATUS_NOT_SUPPORTED };
    // SAFETY: the address is that of the image's entry point, whose signature this is.
    let entry = unsafe { core::mem::transmute::<usize, Entry>(entry) };
    // SAFETY: both arguments are those of the I/O manager.
    let status = unsafe { entry(object, path) };
    log::event(&drivers::name(driver), "start", format_args!("status={status:#010x}"));
    if status < 0
        && let Some(base) = drivers::base(driver)
    {
        // SAFETY: nothing of the image is running or will be: its DriverEntry has returned, and has failed.
        unsafe { sys::LdrUnloadDll(base as *mut c_void) };
    }
    // SAFETY: the driver object of the I/O manager, whose DriverEntry has returned.
    if status >= 0 && unsafe { (*object).unload }.is_null() {
        let why = "it has no unload routine, so it cannot be unloaded (R72)";
        log::event(&drivers::name(driver), "resident", format_args!("text={}", log::Text(why.as_bytes())));
    }
    if status >= 0 {
        // SAFETY: the driver object of the I/O manager, whose DriverEntry has returned.
        unsafe { requests::watch(driver, object) };
    }
    status
}
