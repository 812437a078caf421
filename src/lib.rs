//! sluice.sys: starts and stops. What it does while it runs is `sluice_engine`, and [`provider`] registers that with
//! NMR.
#![no_std]

extern crate alloc;
extern crate wdk_panic;

mod event_log;
mod kernel;
mod policy_file;
mod provider;
mod settings;
mod trace;

use alloc::boxed::Box;

use provider::Classifier;
use sluice_control::{RequestHandler, dump, name};
use sluice_wdm::{Driver, DumpData, NonPagedPool};
use wdk::println;
use wdk_nmr::Passive;
use wdk_nmr_wdm::{DriverImage, Running};
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, STATUS_SUCCESS, UNICODE_STRING};

#[global_allocator]
static ALLOCATOR: NonPagedPool = NonPagedPool::with_tag(*b"Slce");

/// The running driver, from the success of DriverEntry to DriverUnload.
static DRIVER: Running<Box<Driver<Classifier>>> = Running::new();

/// What a crash dump is told of it.
static DUMP_DATA: DumpData<Classifier> =
    DumpData::new(dump::ID, |classifier, place| classifier.dump(event_log::missed(), place));

/// Starts the driver. What it returns is what `sc start` reports.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _registry_path: &UNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    // SAFETY: once in the life of an image. It is stopped below if the driver does not start, or in DriverUnload.
    unsafe { trace::start() };
    event_log::start(driver);
    let started = provider::start(driver).and_then(|engine| {
        let register = |driver: &mut DRIVER_OBJECT| {
            // SAFETY: the driver object of this image, whose allocator is the non-paged pool.
            let image = unsafe { DriverImage::hold(driver) };
            provider::register(engine, image, passive)
        };
        Driver::start(driver, name::SLUICE.encode_utf16(), Classifier::answer, register)
    });
    match started {
        Ok(running) => {
            if let Some(classifier) = running.registered() {
                // SAFETY: it stays where it is until DriverUnload stops the driver, which ends this before.
                let _ = unsafe { DUMP_DATA.register(classifier, b"sluice\0") };
            }
            // Nothing is there yet: DriverEntry is called once.
            let _ = DRIVER.put(running);
            driver.DriverUnload = Some(driver_unload);
            println!("sluice: started, version {}", env!("CARGO_PKG_VERSION"));
            STATUS_SUCCESS
        }
        Err(error) => {
            println!("sluice: not started: {error}");
            trace::driver_not_loaded(error.status());
            event_log::not_started(&error);
            trace::stop();
            error.status()
        }
    }
}

/// Stops the driver. The I/O manager calls it at PASSIVE_LEVEL, when no handle of the device is open and no request
/// inside.
///
/// When it returns the image goes. What could still run in it then: a client's call into the dispatch table has
/// returned, since the client's part of the detach waits for that; a thread that finished a pending detach of ours is
/// one that called PolicyChanged for a control request, and that request is over.
unsafe extern "C" fn driver_unload(_driver: *mut DRIVER_OBJECT) {
    let Some(running) = DRIVER.take() else { return };
    // SAFETY: DriverUnload runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    DUMP_DATA.deregister();
    let outcome = running.stop(|classifier| classifier.deregister(passive));
    match &outcome {
        Ok(()) => println!("sluice: stopped"),
        Err(leaked) => println!("sluice: {leaked}"),
    }
    trace::driver_unloaded(&outcome);
    event_log::stopped(&outcome);
    trace::stop();
}
