//! Builds drivers for Windows on Linux, and what runs them there.
//!
//! A [`Kit`] stands in for Windows: headers, import libraries, netio.sys. [`setup`] finds the programs that it takes;
//! [`cargo`] builds the packages of a [`Workspace`] with both.

pub mod c;
pub mod cargo;
pub mod content_root;
pub mod crt;
pub mod debian;
pub mod emulator;
pub mod import_library;
pub mod kit;
#[cfg(feature = "kit")]
pub mod new;
#[cfg(feature = "kit")]
pub mod packed;
#[cfg(feature = "kit")]
pub mod project;
pub mod run;
pub mod setup;
pub mod signature;
pub mod told;
pub mod twin;

pub use kit::{Arch, Kit, Workspace};
