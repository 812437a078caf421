#![no_std]

extern crate wdk_panic;

mod interface;
mod provider;

use provider::Adder;
use wdk_alloc::WdkAllocator;
use wdk_nmr::{Passive, ProviderRegistration};
use wdk_nmr_wdm::{DriverImage, Running};
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, STATUS_SUCCESS, UNICODE_STRING};

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// The registration, from the success of DriverEntry to DriverUnload.
static RUNNING: Running<ProviderRegistration<Adder, DriverImage>> = Running::new();

/// Starts the driver.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _registry_path: &UNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    // SAFETY: the driver object of this image, whose allocator is that of wdk-alloc.
    let image = unsafe { DriverImage::hold(driver) };
    // The last thing that can fail: clients attach, and call, before it returns.
    match provider::entry(image, passive) {
        Ok(registration) => {
            // Nothing is there yet: DriverEntry is called once.
            let _ = RUNNING.put(registration);
            driver.DriverUnload = Some(driver_unload);
            STATUS_SUCCESS
        }
        Err(error) => error.status(),
    }
}

/// Stops the driver: waits until clients and provider are done.
unsafe extern "C" fn driver_unload(_driver: *mut DRIVER_OBJECT) {
    // SAFETY: DriverUnload runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    if let Some(registration) = RUNNING.take() {
        // If NMR does not end the registration, it is leaked, and the reference in it keeps the image.
        let _ = registration.deregister(passive);
    }
}
