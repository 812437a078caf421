//! What Windows demands of a driver image and of an INF file, checked on any host.
//!
//! [`image::check_file`] reads a driver (`.sys`) with the symbols beside it, [`inf::check_file`] an INF file. Both
//! return [`Finding`]s: what is wrong, why it matters, and the page that says so. What only some drivers want, such as
//! a list of the functions that may be imported, is asked for with [`image::Expectations`].
//!
//! ```no_run
//! use driver_check::{Arch, image};
//!
//! let expectations = image::Expectations { arch: Some(Arch::X64), ..Default::default() };
//! for finding in image::check_file("mydriver.sys".as_ref(), &expectations)? {
//!     println!("{finding}");
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The program of the same name does this for a shell: `driver-check image mydriver.sys`.
#![forbid(unsafe_code)]

#[macro_use]
mod finding;

mod arch;
pub mod image;
pub mod inf;

pub use arch::Arch;
pub use finding::{Check, Finding};
