//! The device control contract between sluice.sys, probe.sys, gate.sys and sluicectl, and the code that answers it.
//!
//! - [`name`]: what the devices are called, and [`settings`], what can be set for a driver.
//! - [`code`]: the control codes.
//! - [`dump`]: what sluice.sys adds to a crash dump.
//! - [`event_log`]: what sluice.sys writes to the System log.
//! - [`message`]: what goes into the buffers, and [`wire`], how.
//! - [`RequestHandler`]: what a driver lets answer the requests of its device. It leaves the work to the dispatcher of
//!   [`sluice`], [`probe`] or [`gate`], which reads the buffers, calls the operation that is asked for, and writes the
//!   answer.
//!
//! The buffers come from a user-mode program and may hold anything. Every length, count, offset and version is checked
//! here, on any host, before a driver sees it. No buffer needs an alignment: fields are read byte by byte.
//!
//! # Sizes and errors
//!
//! | what is wrong | answer |
//! | --- | --- |
//! | a control code that the device does not have | `STATUS_INVALID_DEVICE_REQUEST` |
//! | the input is shorter or longer than its fixed part, count or length says | `STATUS_INVALID_BUFFER_SIZE` |
//! | the version of the input is not [`VERSION`] | `STATUS_REVISION_MISMATCH` |
//! | a size field, count, offset, flag or reserved field of the input | `STATUS_INVALID_PARAMETER` |
//! | the output cannot hold the answer, or the fixed part of an answer with a list | `STATUS_BUFFER_TOO_SMALL` |
//!
//! All of this is found before anything is changed: a request that fails has done nothing.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation
)]

pub mod code;
pub mod dump;
pub mod event_log;
pub mod gate;
mod list;
pub mod message;
pub mod name;
pub mod probe;
pub mod settings;
pub mod sluice;
pub mod status;
pub mod wire;

pub use list::List;
pub use sluice_wdm::{Buffered, Buffers, Completion, NTSTATUS, Request, SharedBytes, try_box};

/// The version of this contract, in the [`sluice_npi::Header`] of every message. One more with every change.
pub const VERSION: u16 = 1;

/// What answers the control requests of a device.
pub trait RequestHandler: Sync {
    /// Answers one request. PASSIVE_LEVEL, on any number of threads at once.
    fn answer(&self, request: Request<'_>) -> Completion;
}

/// A request that has no input must come without.
fn expect_no_input(input: &[u8]) -> Result<(), NTSTATUS> {
    if input.is_empty() { Ok(()) } else { Err(status::STATUS_INVALID_BUFFER_SIZE) }
}

/// An answer of a fixed length must have room.
fn expect_room(room: usize, length: usize) -> Result<(), NTSTATUS> {
    if room < length { Err(status::STATUS_BUFFER_TOO_SMALL) } else { Ok(()) }
}
