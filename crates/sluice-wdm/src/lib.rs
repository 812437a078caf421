//! What the drivers need of the Windows Driver Model: a control device for administrators, a hold on the driver's own
//! image, processors and time, files and settings. Everything else that they do is in crates that a host can test.
#![no_std]

extern crate alloc;

mod device;
mod driver;
mod file;
mod image;
mod memory;
mod object;
mod registry;
mod security;
mod string;
mod system;

pub use device::{ControlDevice, Requests};
pub use driver::{Driver, Service, StartError};
pub use file::File;
pub use image::DriverImage;
pub use object::ObjectName;
pub use registry::Key;
pub use string::units_of;
pub use system::{pause, processor, processors, uptime_ms};
