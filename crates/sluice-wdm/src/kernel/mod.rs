//! What calls the kernel.

mod device;
mod driver;
mod file;
mod image;
mod object;
mod registry;
mod security;
mod string;
mod system;

pub use device::{Answer, ControlDevice};
pub use driver::{Driver, StartError};
pub use file::File;
pub use image::DriverImage;
pub use registry::Key;
pub use string::units_of;
pub use system::{pause, processor, processors, uptime_ms};
