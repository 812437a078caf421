//! gate.sys: a client driver of Sluice that sees the packets of the network, as a callout driver of the Windows
//! Filtering Platform (WFP). Here it starts and stops; what it does while it runs is `sluice_gate`.
#![no_std]

extern crate alloc;
extern crate wdk_panic;

mod kernel;

use alloc::boxed::Box;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use kernel::Kernel;
use sluice_control::{Completion, Request, name};
use sluice_gate::{Callouts, Gate, Rejected, Settings};
use sluice_wdm::{Driver, Key, NonPagedPool, StartError, try_box};
use wdk::println;
use wdk_nmr::{Leaked, Passive};
use wdk_nmr_wdm::{DriverImage, Running};
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, STATUS_SUCCESS, UNICODE_STRING};
use wdk_wfp::Device;

#[global_allocator]
static ALLOCATOR: NonPagedPool = NonPagedPool::with_tag(*b"Gate");

/// The running driver, from the success of DriverEntry to DriverUnload.
static DRIVER: Running<Box<Driver<RunningGate>>> = Running::new();

/// The gate, and the callouts that refer to it.
struct RunningGate {
    gate: Owned,
    callouts: Callouts,
}

impl RunningGate {
    /// Registers with NMR, then the callouts, for the first device of the driver. What fails is undone.
    fn start(driver: &mut DRIVER_OBJECT, settings: Settings, passive: Passive<'_>) -> Result<Self, StartError> {
        let enable_at_start = settings.enable_at_start;
        // SAFETY: a device of this driver, which has just been made and is deleted after the callouts are gone; those
        // are never forgotten.
        let device = unsafe { Device::new(driver.DeviceObject.cast()) };
        // SAFETY: the driver object of this image, whose allocator is the non-paged pool.
        let image = unsafe { DriverImage::hold(driver) };
        let gate = Owned::start(settings, image, passive)?;
        // SAFETY: it is stopped after the callouts have been unregistered, here and in `stop`.
        let shared = unsafe { gate.shared() };
        let callouts = Callouts::register(shared, device, passive);
        let started = callouts.map_err(|status| ("the Windows Filtering Platform", status)).and_then(|callouts| {
            let enabled = if enable_at_start { shared.enable(None, passive) } else { Ok(()) };
            match enabled {
                Ok(()) => Ok(callouts),
                Err(status) => {
                    callouts.unregister(passive);
                    Err(("the filter engine, which EnableAtStart asks for,", status))
                }
            }
        });
        match started {
            Ok(callouts) => Ok(Self { gate, callouts }),
            Err((what, status)) => {
                // What could not be ended keeps the image.
                let _ = gate.stop(passive);
                Err(StartError::Unusable { what, status })
            }
        }
    }

    /// Answers a request of the device.
    fn answer(&self, request: Request<'_>) -> Completion {
        // SAFETY: requests of the device are answered at PASSIVE_LEVEL and in no callback.
        let passive = unsafe { Passive::new() };
        self.gate.get().answer(request, passive)
    }

    /// Ends the filters, then the callouts, then the registration.
    fn stop(self, passive: Passive<'_>) -> Result<(), Leaked> {
        // No request is inside, so no other one changes the same.
        let _ = self.gate.get().disable(passive);
        self.callouts.unregister(passive);
        self.gate.stop(passive)
    }
}

/// A gate where it stays until it is stopped.
struct Owned(NonNull<Gate<Kernel>>);

// SAFETY: a gate may be used on any thread, and sent to another.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Owned {
    fn start(settings: Settings, image: DriverImage, passive: Passive<'_>) -> Result<Self, StartError> {
        // Before the registration, so that nothing can fail after it.
        let place = try_box(MaybeUninit::uninit()).map_err(StartError::Memory)?;
        let gate = Gate::start(settings, image, passive).map_err(|error| match error {
            sluice_gate::StartError::Memory => StartError::Memory(error.status()),
            sluice_gate::StartError::Registration(error) => StartError::Registration(error),
        })?;
        Ok(Self(NonNull::from(Box::leak(Box::write(place, gate)))))
    }

    fn get(&self) -> &Gate<Kernel> {
        // SAFETY: it is there until `stop`.
        unsafe { self.0.as_ref() }
    }

    /// The gate, for callouts.
    ///
    /// # Safety
    ///
    /// It is not used any more when [`stop`](Self::stop) is called.
    unsafe fn shared(&self) -> &'static Gate<Kernel> {
        // SAFETY: it is there until `stop`; the caller promises the rest.
        unsafe { self.0.as_ref() }
    }

    fn stop(self, passive: Passive<'_>) -> Result<(), Leaked> {
        // SAFETY: from the box of `start`, once, and no callout uses it any more.
        let gate = unsafe { Box::from_raw(self.0.as_ptr()) };
        gate.stop(passive)
    }
}

/// Starts the driver.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _registry_path: &UNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    let started = settings(driver).and_then(|settings| {
        let register = |driver: &mut DRIVER_OBJECT| RunningGate::start(driver, settings, passive);
        Driver::start(driver, name::GATE.encode_utf16(), RunningGate::answer, register)
    });
    match started {
        Ok(running) => {
            // Nothing is there yet: DriverEntry is called once.
            let _ = DRIVER.put(running);
            driver.DriverUnload = Some(driver_unload);
            println!("gate: started");
            STATUS_SUCCESS
        }
        Err(error) => {
            println!("gate: not started: {error}");
            error.status()
        }
    }
}

/// What an administrator has set.
fn settings(driver: &mut DRIVER_OBJECT) -> Result<Settings, StartError> {
    let parameters = Key::parameters(driver);
    let parameters = parameters.map_err(|status| StartError::Unusable { what: "the key Parameters", status })?;
    let read = |name: &'static str| parameters.as_ref().map_or(Ok(None), |key| key.dword(name));
    Settings::read(read).map_err(|Rejected { setting, status }| StartError::Unusable { what: setting, status })
}

/// Stops the driver. The I/O manager calls it at PASSIVE_LEVEL, when no handle of the device is open and no request
/// inside.
unsafe extern "C" fn driver_unload(_driver: *mut DRIVER_OBJECT) {
    let Some(running) = DRIVER.take() else { return };
    // SAFETY: DriverUnload runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    match running.stop(|gate| gate.stop(passive)) {
        Ok(()) => println!("gate: stopped"),
        Err(leaked) => println!("gate: {leaked}"),
    }
}
