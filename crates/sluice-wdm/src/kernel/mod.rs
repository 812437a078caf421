//! What calls the kernel.

mod bug_check;
mod device;
mod driver;
mod error_log;
mod file;
mod object;
mod pool;
mod processors;
mod registry;
mod requester;
mod security;
mod string;
mod system;

pub use bug_check::DumpData;
pub use device::{Answer, ControlDevice};
pub use driver::{Driver, StartError};
pub use error_log::ErrorLog;
pub use file::{Directory, ReplacedFile};
pub use pool::NonPagedPool;
pub use processors::KernelProcessors;
pub use registry::Key;
pub use requester::Requester;
pub use string::units_of;
pub use system::{moment, pause, processor, processors, uptime_ms};
