//! What sluice.sys and probe.sys both need of the Windows Driver Model: a control device for administrators, a hold on
//! the driver's own image, processors and time. Everything else that they do is in crates that a host can test.
#![no_std]

extern crate alloc;

mod device;
mod driver;
mod image;
mod memory;
mod security;
mod string;
mod system;

pub use device::{ControlDevice, Requests};
pub use driver::{Driver, Service, StartError};
pub use image::DriverImage;
pub use string::units_of;
pub use system::{pause, processor, processors, uptime_ms};
