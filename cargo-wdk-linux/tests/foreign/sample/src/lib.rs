//! sample_driver.sys: one package, its model in its own metadata, a dash in its name.
#![no_std]

#[cfg(not(test))]
extern crate wdk_panic;

use wdk::println;
use wdk_alloc::WdkAllocator;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS};

#[global_allocator]
static GLOBAL_ALLOCATOR: WdkAllocator = WdkAllocator;

/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[export_name = "DriverEntry"]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
    driver.DriverUnload = Some(driver_exit);
    println!("sample: hello");
    STATUS_SUCCESS
}

extern "C" fn driver_exit(_driver: *mut DRIVER_OBJECT) {
    println!("sample: goodbye");
}
