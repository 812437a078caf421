//! hanger.sys never ends its unload.
#![no_std]

extern crate wdk_panic;

use wdk_sys::ntddk::KeDelayExecutionThread;
use wdk_sys::{_MODE, DRIVER_OBJECT, LARGE_INTEGER, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS};

#[global_allocator]
static ALLOCATOR: wdk_alloc::WdkAllocator = wdk_alloc::WdkAllocator;

/// # Safety
///
/// The I/O manager calls it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
    driver.DriverUnload = Some(driver_unload);
    STATUS_SUCCESS
}

extern "C" fn driver_unload(_driver: *mut DRIVER_OBJECT) {
    // A second, in units of 100 ns from now.
    let mut second = LARGE_INTEGER { QuadPart: -10_000_000 };
    loop {
        // SAFETY: the time is valid during the call; DriverUnload runs at PASSIVE_LEVEL.
        let _ = unsafe { KeDelayExecutionThread(_MODE::KernelMode as i8, 0, &mut second) };
    }
}
