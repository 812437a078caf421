//! What calls the kernel.

mod device;
mod driver;
mod file;
mod image;
mod object;
mod processors;
mod region;
mod registry;
mod security;
mod string;
mod system;

pub use device::{Answer, ControlDevice};
pub use driver::{Driver, StartError};
pub use file::{Directory, ReplacedFile};
pub use image::DriverImage;
pub use processors::{KernelProcessors, at_dispatch_level};
pub use region::KernelRegion;
pub use registry::Key;
pub use string::units_of;
pub use system::{pause, processor, processors, uptime_ms};
