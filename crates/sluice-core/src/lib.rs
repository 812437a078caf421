//! Packets to flows to verdicts: parser and policy of Sluice, no_std, safe, never panicking.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "compile")]
extern crate alloc;

mod action;
#[cfg(feature = "compile")]
pub mod compile;

pub use action::{Action, Direction};
