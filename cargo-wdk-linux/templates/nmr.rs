//! NAME.sys: registers the ROLE of an NPI as the last thing that it does when it starts.
#![no_std]

extern crate wdk_panic;

pub mod interface;
pub mod ROLE;

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use wdk::println;
use wdk_alloc::WdkAllocator;
use wdk_nmr::{Passive, REGISTRATION, Resident};
use wdk_sys::ntddk::{ObfDereferenceObject, ObfReferenceObject};
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT, STATUS_SUCCESS};

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// A reference to the driver object. As long as it is held the image stays in memory, even after DriverUnload.
pub struct Image(NonNull<DRIVER_OBJECT>);

// SAFETY: a driver object belongs to no thread; it is only dereferenced, which may be done on any.
unsafe impl Send for Image {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl Sync for Image {}
// SAFETY: the reference keeps code and statics mapped. wdk-alloc's memory is non-paged pool, aligned to 16 bytes.
unsafe impl Resident for Image {}

impl Image {
    fn hold(driver: &mut DRIVER_OBJECT) -> Self {
        let driver = NonNull::from(driver);
        // SAFETY: the driver object exists as long as DriverEntry runs.
        let _ = unsafe { ObfReferenceObject(driver.as_ptr().cast()) };
        Self(driver)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: the reference was taken in `hold`, and is given up once.
        let _ = unsafe { ObfDereferenceObject(self.0.as_ptr().cast()) };
    }
}

/// The registration, from the end of DriverEntry to DriverUnload.
struct Running(UnsafeCell<Option<REGISTRATION<ROLE::MODULE, Image>>>);

// SAFETY: DriverEntry and DriverUnload alone use it, and the I/O manager calls one after the other.
unsafe impl Sync for Running {}

static RUNNING: Running = Running(UnsafeCell::new(None));

/// Starts the driver. What it returns is what `sc start` reports.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    match ROLE::entry(Image::hold(driver), passive) {
        Ok(registration) => {
            // SAFETY: DriverUnload is not called before DriverEntry has returned.
            unsafe { RUNNING.0.get().write(Some(registration)) };
            driver.DriverUnload = Some(driver_unload);
            println!("NAME: started");
            STATUS_SUCCESS
        }
        Err(error) => error.status(),
    }
}

/// Stops the driver: waits until the peers and this driver are done with each other.
unsafe extern "C" fn driver_unload(_driver: PDRIVER_OBJECT) {
    // SAFETY: DriverUnload runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    // SAFETY: DriverEntry has returned, and this is called once.
    let running = unsafe { RUNNING.0.get().replace(None) };
    // If NMR does not end the registration, it is leaked, and the reference in it keeps the image.
    let _ = running.map(|registration| registration.deregister(passive));
    println!("NAME: stopped");
}
