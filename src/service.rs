//! The registered provider, which answers the requests of the control device.

use sluice_control::Completion;
use sluice_engine::{Control, Engine};
use sluice_wdm::{DriverImage, Requests};
use wdk_nmr::{Leaked, Passive, RegisterError};

use crate::kernel::Kernel;

/// Major, minor, patch, 0.
const VERSION: [u16; 4] = [
    number(env!("CARGO_PKG_VERSION_MAJOR")),
    number(env!("CARGO_PKG_VERSION_MINOR")),
    number(env!("CARGO_PKG_VERSION_PATCH")),
    0,
];

/// What sluice.sys does while it runs.
pub(crate) struct Service(Control<Kernel, DriverImage>);

impl Service {
    /// Registers the provider with NMR.
    pub(crate) fn register(image: DriverImage, passive: Passive<'_>) -> Result<Self, RegisterError> {
        let registration = Engine::new(Kernel).register(image, sluice_wdm::uptime_ms, passive)?;
        Ok(Self(Control::new(registration, VERSION)))
    }
}

impl Requests for Service {
    fn control(&self, code: u32, buffer: &mut [u8], input: usize, output: usize) -> Completion {
        sluice_control::sluice::control(&self.0, code, buffer, input, output)
    }
}

impl sluice_wdm::Service for Service {
    fn deregister(self, passive: Passive<'_>) -> Result<(), Leaked> {
        self.0.deregister(passive)
    }
}

/// The number at one place of a version.
const fn number(digits: &str) -> u16 {
    match u16::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("a version is made of numbers"),
    }
}
