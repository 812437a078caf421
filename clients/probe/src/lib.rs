//! probe.sys: a client driver of Sluice. A user-mode program hands it batches of packets through its device; it has
//! them classified through the dispatch table that NMR gave it, and hands the verdicts back.
//!
//! It is the example of a client in Rust: `client` is all that has to do with Sluice, the rest is any driver's.
#![no_std]

extern crate alloc;
extern crate wdk_panic;

mod client;

use alloc::boxed::Box;

use client::RegisteredProbe;
use sluice_control::RequestHandler;
use sluice_wdm::{Driver, NonPagedPool};
use wdk::println;
use wdk_nmr::Passive;
use wdk_nmr_wdm::{DriverImage, Running};
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_SUCCESS, UNICODE_STRING};

#[global_allocator]
static ALLOCATOR: NonPagedPool = NonPagedPool::with_tag(*b"Prob");

/// The running driver, from the success of DriverEntry to DriverUnload.
static DRIVER: Running<Box<Driver<RegisteredProbe>>> = Running::new();

/// Starts the driver. Its device is called like the service, so that several copies can run side by side.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, registry_path: &UNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    // SAFETY: the I/O manager made the string, and it stays for the call.
    let registry_path = unsafe { sluice_wdm::units_of(registry_path) };
    let Some(service) = sluice_wdm::service(registry_path) else { return STATUS_INVALID_PARAMETER };
    let register = |driver: &mut DRIVER_OBJECT| {
        // SAFETY: the driver object of this image, whose allocator is the non-paged pool.
        let image = unsafe { DriverImage::hold(driver) };
        RegisteredProbe::register(service, image, passive)
    };
    match Driver::start(driver, service.iter().copied(), RegisteredProbe::answer, register) {
        Ok(running) => {
            // Nothing is there yet: DriverEntry is called once.
            let _ = DRIVER.put(running);
            driver.DriverUnload = Some(driver_unload);
            println!("probe: started");
            STATUS_SUCCESS
        }
        Err(error) => {
            println!("probe: not started: {error}");
            error.status()
        }
    }
}

/// Stops the driver. The I/O manager calls it at PASSIVE_LEVEL, when no handle of the device is open and no request
/// inside. So all calls of ours into Sluice are over.
unsafe extern "C" fn driver_unload(_driver: *mut DRIVER_OBJECT) {
    let Some(running) = DRIVER.take() else { return };
    // SAFETY: DriverUnload runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    match running.stop(|probe| probe.deregister(passive)) {
        Ok(()) => println!("probe: stopped"),
        Err(leaked) => println!("probe: {leaked}"),
    }
}
