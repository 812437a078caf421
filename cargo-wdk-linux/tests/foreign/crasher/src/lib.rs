//! crasher.sys reads where nothing is.
#![no_std]

extern crate wdk_panic;

use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS};

#[global_allocator]
static ALLOCATOR: wdk_alloc::WdkAllocator = wdk_alloc::WdkAllocator;

/// # Safety
///
/// The I/O manager calls it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
    read_nothing((&raw mut *driver).cast_const().cast::<u8>().wrapping_sub((&raw mut *driver).addr()).cast());
    STATUS_SUCCESS
}

#[inline(never)]
fn read_nothing(nothing: *const u32) {
    // SAFETY: none; this is the mistake.
    let _ = unsafe { nothing.read_volatile() };
}
