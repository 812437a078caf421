//! leaker.sys forgets a block of memory.
#![no_std]

extern crate alloc;
extern crate wdk_panic;

use alloc::boxed::Box;

use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS};

#[global_allocator]
static ALLOCATOR: wdk_alloc::WdkAllocator = wdk_alloc::WdkAllocator;

/// # Safety
///
/// The I/O manager calls it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
    let block: &mut [u8; 64] = Box::leak(Box::new([0; 64]));
    core::hint::black_box(block);
    driver.DriverUnload = Some(driver_unload);
    STATUS_SUCCESS
}

extern "C" fn driver_unload(_driver: *mut DRIVER_OBJECT) {}
