//! What drivers need of the Windows Driver Model: a control device for administrators, processors and time, files
//! and settings. What providers and clients of NMR need of it is in `wdk_nmr_wdm`.
//!
//! Everything that can go wrong without a kernel is on this level, builds on any host and is tested there: names
//! ([`DeviceName`], [`ObjectName`]), the buffers of a control request ([`Request`]), the records that the kernel takes
//! and gives (`record`), reading and writing in pieces (`transfer`), the replacement of a file (`replacement`), the
//! strings of an entry in the System log (`error_log`). What calls the kernel is in `kernel`, behind the feature of
//! that name.
#![no_std]

extern crate alloc;

mod memory;
mod name;
mod request;
mod shared;
mod status;

#[cfg(any(test, feature = "kernel"))]
mod descriptor;
#[cfg(any(test, feature = "kernel"))]
mod error_log;
#[cfg(any(test, feature = "kernel"))]
mod record;
#[cfg(any(test, feature = "kernel"))]
mod replacement;
#[cfg(any(test, feature = "kernel"))]
mod transfer;

#[cfg(feature = "kernel")]
mod kernel;

#[cfg(feature = "kernel")]
pub use kernel::{
    Answer, ControlDevice, Directory, Driver, DumpData, ErrorLog, KernelProcessors, Key, NonPagedPool, ReplacedFile,
    Requester, StartError, moment, pause, processor, processors, units_of, uptime_ms,
};
pub use memory::try_box;
pub use name::{DeviceName, MAX_NAME, ObjectName, service};
pub use request::{Buffered, Buffers, Completion, Request};
pub use shared::SharedBytes;
pub use status::NTSTATUS;
