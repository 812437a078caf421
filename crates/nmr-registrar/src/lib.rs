//! A complete, strict Network Module Registrar (NMR) for testing NMR code on any host.
//!
//! The rules that it keeps, R1 to R74, are in [`rules`]. There are three ways to use it:
//!
//! 1. **In Rust tests.** Link this crate (a dev-dependency, and `use nmr_registrar as _;` where nothing else of it is
//!    used); it defines the nine `Nmr*` functions that `wdk-nmr-sys` declares. A test that begins with [`Session::new`]
//!    has every violation and every leak reported as a panic at its end, and can set strictness, order, faults, IRQL
//!    and pause points. Sessions run one after the other. Without a session the nine functions work too, tests may run
//!    in parallel with NPIIDs of their own, and a violation ends the process.
//! 2. **In C and C++ tests**, through the static library of `capi/` and the headers of `include/`.
//! 3. **On other primitives**, such as those of a kernel: `default-features = false` leaves [`Registrar`], which is
//!    generic over [`Platform`] and needs `alloc` alone.
//!
//! ```
//! use nmr_registrar::Session;
//! use wdk_nmr_sys::*;
//!
//! let session = Session::new();
//! // SAFETY: NULL is what this example is about; it is never dereferenced.
//! let status = unsafe { NmrDeregisterClient(core::ptr::null_mut()) };
//! assert_eq!(status, STATUS_INVALID_PARAMETER);
//! // Expected, so it does not fail the test at its end.
//! session.expect_violation(68);
//! ```
//!
//! A test binary either uses sessions in all of its tests or in none: registrations belong to the process, so a test
//! without one would show up in the reports of whichever session is running.
//!
//! What the registrar guarantees and what it cannot know is in `docs/registrar.md`.
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod calls;
mod handle;
#[cfg(feature = "std")]
mod host;
mod life;
mod module;
mod order;
mod platform;
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
mod readme {}
mod registrar;
mod report;
#[cfg(doc)]
#[doc = include_str!("../docs/nmr-rules.md")]
pub mod rules {}
mod tables;
mod violation;

#[cfg(feature = "std")]
pub use host::irql;
#[cfg(feature = "std")]
pub use host::schedule::{Point, Step, Threads};
#[cfg(feature = "std")]
pub use host::session::{Delay, Outcome, Pause, Session, Watch};
#[cfg(feature = "std")]
pub use host::{Host, registrar};
pub use life::{Early, Life, Part, Side};
pub use platform::{APC_LEVEL, DISPATCH_LEVEL, Event, Lock, PASSIVE_LEVEL, PausePoint, Platform, When};
pub use registrar::{Registrar, Strictness};
pub use report::{BindingReport, RegistrationReport, Report, SlowWait};
pub use violation::{Callback, Function, Module, ModuleId, Place, Violation};
pub use wdk_nmr_sys::HANDLE;
