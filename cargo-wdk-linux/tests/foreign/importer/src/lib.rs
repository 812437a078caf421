//! importer.sys calls a function that Windows has and Wine has not.
#![no_std]

extern crate wdk_panic;

use core::ptr;

use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING};

#[global_allocator]
static ALLOCATOR: wdk_alloc::WdkAllocator = wdk_alloc::WdkAllocator;

unsafe extern "C" {
    fn ExFetchLicenseData(buffer: *mut u8, size: u32, returned: *mut u32) -> NTSTATUS;
}

/// # Safety
///
/// The I/O manager calls it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(_driver: &mut DRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
    let mut size = 0;
    // SAFETY: an empty buffer, and room for its size.
    unsafe { ExFetchLicenseData(ptr::null_mut(), 0, &mut size) }
}
