//! Runs drivers in Wine, as a person runs them on a test machine: a fresh Windows, `sc.exe`, and a look at what
//! happened.
//!
//! ```no_run
//! use sluice_rig::Rig;
//!
//! fn main() -> anyhow::Result<()> {
//!     let rig = Rig::boot("example")?;
//!     rig.install("sluice")?;
//!     rig.start("sluice")?;
//!     let left = rig.stop("sluice")?;
//!     assert!(left.is_nothing(), "{left}");
//!     Ok(())
//! }
//! ```
//!
//! A [`Rig`] is a Wine prefix of its own with a wineserver of its own, so rigs do not see each other. In it runs the
//! stand-in netio.sys, which writes what drivers do into a log ([`Event`]); `docs/rig.md` lists the events. Everything
//! has a time limit. When something fails, the error says which driver it was and what it did last.
//!
//! The drivers have to be built: `cargo xtask build`.
#![forbid(unsafe_code)]

mod event;
mod prefix;
mod process;
mod rig;
mod wine;

use std::path::{Path, PathBuf};

pub use event::{Event, Left};
pub use process::Outcome;
pub use rig::{Rig, State};

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR"));
    harness.ancestors().nth(2).unwrap_or(harness).to_path_buf()
}
