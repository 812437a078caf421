//! NAME.sys: registers the ROLE of an NPI as the last thing that it does when it starts.
#![no_std]

extern crate wdk_panic;

pub mod interface;
pub mod ROLE;

use wdk::println;
use wdk_alloc::WdkAllocator;
use wdk_nmr::{Passive, REGISTRATION};
use wdk_nmr_wdm::{DriverImage, Running};
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT, STATUS_SUCCESS};

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// The registration, from the success of DriverEntry to DriverUnload.
static RUNNING: Running<REGISTRATION<ROLE::MODULE, DriverImage>> = Running::new();

/// Starts the driver. What it returns is what `sc start` reports.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    // SAFETY: the driver object of this image, whose allocator is that of wdk-alloc.
    let image = unsafe { DriverImage::hold(driver) };
    match ROLE::entry(image, passive) {
        Ok(registration) => {
            // Nothing is there yet: DriverEntry is called once.
            let _ = RUNNING.put(registration);
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
    if let Some(registration) = RUNNING.take() {
        // If NMR does not end the registration, it is leaked, and the reference in it keeps the image.
        let _ = registration.deregister(passive);
    }
    println!("NAME: stopped");
}
