//! probe.sys: a client driver of Sluice. A user-mode program hands it batches of packets through its device; it has
//! them classified through the dispatch table that NMR gave it, and hands the verdicts back.
//!
//! It is the example of a client in Rust: `client` is all that has to do with Sluice, the rest is any driver's.
#![no_std]

extern crate alloc;
extern crate wdk_panic;

mod client;

use alloc::boxed::Box;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use client::RegisteredProbe;
use sluice_control::RequestHandler;
use sluice_wdm::{Driver, DriverImage};
use wdk::println;
use wdk_alloc::WdkAllocator;
use wdk_nmr::Passive;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_SUCCESS, UNICODE_STRING};

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// The running driver, from the success of DriverEntry to DriverUnload.
static DRIVER: AtomicPtr<Driver<RegisteredProbe>> = AtomicPtr::new(ptr::null_mut());

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
    let register = |driver: &mut DRIVER_OBJECT| RegisteredProbe::register(service, DriverImage::hold(driver), passive);
    match Driver::start(driver, service.iter().copied(), RegisteredProbe::answer, register) {
        Ok(running) => {
            DRIVER.store(Box::into_raw(running), Ordering::Release);
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
    let running = DRIVER.swap(ptr::null_mut(), Ordering::AcqRel);
    if running.is_null() {
        return;
    }
    // SAFETY: DriverEntry made the pointer from a box, and the swap took it out: it is owned once.
    let running = unsafe { Box::from_raw(running) };
    // SAFETY: DriverUnload runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    match running.stop(|probe| probe.deregister(passive)) {
        Ok(()) => println!("probe: stopped"),
        Err(leaked) => println!("probe: {leaked}"),
    }
}
