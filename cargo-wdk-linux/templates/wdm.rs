//! NAME.sys: a driver that starts and stops.
#![no_std]

extern crate wdk_panic;

use wdk::println;
use wdk_alloc::WdkAllocator;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT, STATUS_SUCCESS};

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// Starts the driver. What it returns is what `sc start` reports.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
    driver.DriverUnload = Some(driver_unload);
    println!("NAME: started");
    STATUS_SUCCESS
}

/// Stops the driver. When it returns the image goes: nothing may be left that points into it.
unsafe extern "C" fn driver_unload(_driver: PDRIVER_OBJECT) {
    println!("NAME: stopped");
}
