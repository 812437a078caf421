//! A driver: a control device and the service behind it, which is registered with NMR.

use alloc::boxed::Box;
use core::fmt;

use wdk_nmr::{Leaked, Passive, RegisterError};
use wdk_sys::{DRIVER_OBJECT, NTSTATUS};

use crate::memory::try_box;
use crate::{ControlDevice, Requests};

/// What a driver does while it is registered with NMR.
pub trait Service: Requests + Sized {
    /// Ends the registration and waits for that. DriverUnload.
    ///
    /// # Errors
    ///
    /// NMR did not end it: the registration is leaked and the image stays.
    fn deregister(self, passive: Passive<'_>) -> Result<(), Leaked>;
}

/// A driver that has been started.
pub struct Driver<S> {
    device: ControlDevice<S>,
    /// From the success of the registration on.
    service: Option<S>,
}

/// Why a driver did not start. What had been set up has been taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// There is no control device: the kernel's status.
    Device(NTSTATUS),
    /// There is no memory for the driver's state.
    Memory(NTSTATUS),
    /// There is no registration.
    Registration(RegisterError),
}

impl StartError {
    /// What DriverEntry returns.
    #[must_use]
    pub const fn status(&self) -> NTSTATUS {
        match self {
            Self::Device(status) | Self::Memory(status) => *status,
            Self::Registration(error) => error.status(),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(status) => write!(f, "the control device could not be made (status {status:#010x})"),
            Self::Memory(_) => f.write_str("no memory for the driver"),
            Self::Registration(error) => error.fmt(f),
        }
    }
}

impl<S: Service> Driver<S> {
    /// Sets up everything for a driver whose device is called `name`, and calls `register` last: peers attach and call
    /// before a registration returns (R6, R7). PASSIVE_LEVEL, in DriverEntry.
    ///
    /// # Errors
    ///
    /// Something failed; what had been done has been undone.
    pub fn start(
        driver: &mut DRIVER_OBJECT,
        name: impl IntoIterator<Item = u16> + Clone,
        register: impl FnOnce(&mut DRIVER_OBJECT) -> Result<S, RegisterError>,
    ) -> Result<Box<Self>, StartError> {
        let device = ControlDevice::create(driver, name).map_err(StartError::Device)?;
        // Allocated before the registration, so that nothing can fail after it (R73).
        let mut running = try_box(Self { device, service: None }).map_err(StartError::Memory)?;
        let service = register(driver).map_err(StartError::Registration)?;
        let service = running.service.insert(service);
        // SAFETY: the service stays where it is until `stop`, which withdraws it first.
        unsafe { running.device.serve(service) };
        Ok(running)
    }

    /// Takes down what [`start`](Self::start) set up, in the opposite order, and waits for all peers. DriverUnload.
    ///
    /// # Errors
    ///
    /// As [`Service::deregister`].
    #[expect(clippy::boxed_local, reason = "it may be moved out of its box only after the device has let go of it")]
    pub fn stop(self: Box<Self>, passive: Passive<'_>) -> Result<(), Leaked> {
        self.device.withdraw();
        let Self { device, service } = *self;
        let result = service.map_or(Ok(()), |service| service.deregister(passive));
        drop(device);
        result
    }
}
