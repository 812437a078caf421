//! A driver: a control device, and behind it what is registered with NMR.

use alloc::boxed::Box;
use core::fmt;

use wdk_nmr::{Leaked, RegisterError};
use wdk_sys::DRIVER_OBJECT;

use super::device::{Answer, ControlDevice};
use crate::NTSTATUS;
use crate::memory::try_box;

/// A driver that has been started. `R` is what it has registered with NMR.
pub struct Driver<R> {
    device: ControlDevice<R>,
    /// From the success of the registration on.
    registered: Option<R>,
}

/// Why a driver did not start. What had been set up has been taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// There is no control device: the kernel's status.
    Device(NTSTATUS),
    /// There is no memory for the driver's state.
    Memory(NTSTATUS),
    /// Something that the driver was told to use cannot be used.
    Unusable {
        /// A setting, for example.
        what: &'static str,
        /// Why.
        status: NTSTATUS,
    },
    /// There is no registration.
    Registration(RegisterError),
}

impl From<RegisterError> for StartError {
    fn from(error: RegisterError) -> Self {
        Self::Registration(error)
    }
}

impl StartError {
    /// What DriverEntry returns.
    #[must_use]
    pub const fn status(&self) -> NTSTATUS {
        match self {
            Self::Device(status) | Self::Memory(status) | Self::Unusable { status, .. } => *status,
            Self::Registration(error) => error.status(),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(status) => write!(f, "the control device could not be made (status {status:#010x})"),
            Self::Memory(_) => f.write_str("no memory for the driver"),
            Self::Unusable { what, status } => write!(f, "{what} cannot be used (status {status:#010x})"),
            Self::Registration(error) => error.fmt(f),
        }
    }
}

impl<R: Sync> Driver<R> {
    /// Sets up everything for a driver whose device is called `name`, and calls `register` last: peers attach and call
    /// before a registration returns (R6, R7). From then on `answer` answers the requests of the device. PASSIVE_LEVEL,
    /// in DriverEntry.
    ///
    /// # Errors
    ///
    /// Something failed; what had been done has been undone.
    pub fn start<E: Into<StartError>>(
        driver: &mut DRIVER_OBJECT,
        name: impl IntoIterator<Item = u16> + Clone,
        answer: Answer<R>,
        register: impl FnOnce(&mut DRIVER_OBJECT) -> Result<R, E>,
    ) -> Result<Box<Self>, StartError> {
        let device = ControlDevice::create(driver, name, answer).map_err(StartError::Device)?;
        // Allocated before the registration, so that nothing can fail after it (R73).
        let mut running = try_box(Self { device, registered: None }).map_err(StartError::Memory)?;
        let registered = register(driver).map_err(Into::into)?;
        let registered = running.registered.insert(registered);
        // SAFETY: it stays where it is until `stop`, which withdraws it first.
        unsafe { running.device.serve(registered) };
        Ok(running)
    }

    /// What it has registered with NMR. It stays where it is until [`stop`](Self::stop).
    #[must_use]
    pub fn registered(&self) -> Option<&R> {
        self.registered.as_ref()
    }

    /// Takes down what [`start`](Self::start) set up, in the opposite order. `deregister` ends the registration and
    /// waits for all peers. DriverUnload.
    ///
    /// # Errors
    ///
    /// What `deregister` returned: NMR did not end the registration, and the image stays.
    #[expect(clippy::boxed_local, reason = "it may be moved out of its box only after the device has let go of it")]
    pub fn stop(self: Box<Self>, deregister: impl FnOnce(R) -> Result<(), Leaked>) -> Result<(), Leaked> {
        self.device.withdraw();
        let Self { device, registered } = *self;
        let outcome = registered.map_or(Ok(()), deregister);
        drop(device);
        outcome
    }
}
