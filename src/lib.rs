//! sluice.sys: starts and stops. What it does while it runs is `sluice_engine`, and [`provider`] registers that with NMR.
#![no_std]

extern crate alloc;
extern crate wdk_panic;

mod kernel;
mod provider;

use alloc::boxed::Box;
use core::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use provider::Service;
use sluice_control::name;
use sluice_wdm::{Driver, DriverImage};
use wdk::println;
use wdk_alloc::WdkAllocator;
use wdk_nmr::Passive;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS};

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// The running driver, from the success of DriverEntry to DriverUnload.
static DRIVER: AtomicPtr<Driver<Service>> = AtomicPtr::new(ptr::null_mut());

/// Starts the driver. What it returns is what `sc start` reports.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    let register = |driver: &mut DRIVER_OBJECT| Service::register(DriverImage::hold(driver), passive);
    match Driver::start(driver, name::SLUICE.encode_utf16(), register) {
        Ok(running) => {
            DRIVER.store(Box::into_raw(running), Ordering::Release);
            driver.DriverUnload = Some(driver_unload);
            println!("sluice: started, version {}", env!("CARGO_PKG_VERSION"));
            STATUS_SUCCESS
        }
        Err(error) => {
            println!("sluice: not started: {error}");
            error.status()
        }
    }
}

/// Stops the driver. The I/O manager calls it at PASSIVE_LEVEL, when no handle of the device is open and no request
/// inside.
///
/// When it returns the image goes. What could still run in it then: a client's call into the dispatch table has returned,
/// since the client's part of the detach waits for that; a thread that finished a pending detach of ours is one that
/// called PolicyChanged for a control request, and that request is over.
unsafe extern "C" fn driver_unload(_driver: *mut DRIVER_OBJECT) {
    let running = DRIVER.swap(ptr::null_mut(), Ordering::AcqRel);
    if running.is_null() {
        return;
    }
    // SAFETY: DriverEntry made the pointer from a box, and the swap took it out: it is owned once.
    let running = unsafe { Box::from_raw(running) };
    // SAFETY: DriverUnload runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    match running.stop(passive) {
        Ok(()) => println!("sluice: stopped"),
        Err(leaked) => println!("sluice: {leaked}"),
    }
}
