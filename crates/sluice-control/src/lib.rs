//! The device control contract between sluice.sys, probe.sys and sluicectl, and the code that answers it.
//!
//! - [`name`]: what the devices are called, and [`settings`], what can be set for a driver.
//! - [`code`]: the control codes.
//! - [`message`]: what goes into the buffers, and [`wire`], how.
//! - [`sluice`] and [`probe`]: the dispatchers. A driver implements [`sluice::Device`] or [`probe::Device`], makes one
//!   slice of the system buffer, and passes on what [`sluice::control`] or [`probe::control`] returns.
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
mod list;
pub mod message;
pub mod name;
pub mod probe;
pub mod settings;
pub mod sluice;
pub mod status;
pub mod wire;

pub use list::List;
pub use status::NTSTATUS;

/// The version of this contract, in the [`sluice_npi::Header`] of every message. One more with every change.
pub const VERSION: u16 = 1;

/// How a request ends: what a driver puts into the `IoStatus` of the IRP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// `IoStatus.Status`.
    pub status: NTSTATUS,
    /// `IoStatus.Information`: how many bytes of the buffer are the answer. 0 unless `status` is `STATUS_SUCCESS`.
    pub information: usize,
}

impl Completion {
    fn of(outcome: Result<usize, NTSTATUS>) -> Self {
        match outcome {
            Ok(information) => Self { status: status::STATUS_SUCCESS, information },
            Err(status) => Self { status, information: 0 },
        }
    }
}

/// The system buffer of a `METHOD_BUFFERED` request: the input lies in it and the answer is written over it.
struct Buffer<'a> {
    bytes: &'a mut [u8],
    input_length: usize,
    output_length: usize,
}

impl<'a> Buffer<'a> {
    /// The lengths are those of the I/O stack location, so the buffer has room for the longer one.
    fn new(bytes: &'a mut [u8], input_length: usize, output_length: usize) -> Result<Self, NTSTATUS> {
        if bytes.len() < input_length || bytes.len() < output_length {
            return Err(status::STATUS_INVALID_PARAMETER);
        }
        Ok(Self { bytes, input_length, output_length })
    }

    fn input(&self) -> &[u8] {
        self.bytes.get(..self.input_length).unwrap_or_default()
    }

    /// The place for the answer. It overwrites the input, so it is asked for when the input is done with.
    fn output(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.output_length).unwrap_or_default()
    }

    fn expect_no_input(&self) -> Result<(), NTSTATUS> {
        if self.input_length == 0 { Ok(()) } else { Err(status::STATUS_INVALID_BUFFER_SIZE) }
    }

    fn expect_room(&self, length: usize) -> Result<(), NTSTATUS> {
        if self.output_length < length { Err(status::STATUS_BUFFER_TOO_SMALL) } else { Ok(()) }
    }
}
