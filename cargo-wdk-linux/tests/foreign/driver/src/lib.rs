//! three.sys: a driver in the form of Microsoft's sample, of three crates.
#![no_std]

extern crate alloc;
extern crate wdk_panic;

use alloc::string::String;
use core::slice;

use wdk::println;
use wdk_alloc::WdkAllocator;
use wdk_sys::ntddk::DbgPrint;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS};

#[global_allocator]
static GLOBAL_ALLOCATOR: WdkAllocator = WdkAllocator;

/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: a string of C, with a zero at its end and nothing to be filled in.
    unsafe { DbgPrint(c"three: by DbgPrint\n".as_ptr().cast()) };
    driver.DriverUnload = Some(driver_exit);
    // SAFETY: the string is valid while DriverEntry runs.
    let path = unsafe { &*registry_path };
    // SAFETY: its length is in bytes.
    let path = unsafe { slice::from_raw_parts(path.Buffer, usize::from(path.Length) / 2) };
    println!("three: the service is {}", String::from_utf16_lossy(logic::last_part(path)));
    println!("three: {}", native::sum(&[1, 2, 3]));
    STATUS_SUCCESS
}

extern "C" fn driver_exit(_driver: *mut DRIVER_OBJECT) {
    println!("three: goodbye");
}
