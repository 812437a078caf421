//! Runs drivers in Wine, as a person runs them on a test machine: a fresh Windows, `sc.exe`, and a look at what
//! happened.
//!
//! ```no_run
//! use wdk_rig::Rig;
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
//! The drivers have to be built. `cargo wdk-linux test` builds those of any workspace, and says where they are; in a
//! checkout of Sluice `cargo xtask build` does.
#![forbid(unsafe_code)]

mod arch;
mod capture;
mod event;
mod folders;
mod network;
mod prefix;
mod process;
mod rig;
mod speed;
mod symbols;
mod verifier;
mod wine;
mod words;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
pub use arch::Arch;
pub use capture::{frame_capture, frames, ip_packets, raw_capture};
pub use event::{Event, Left};
pub use folders::{DRIVERS_VARIABLE, RIG_VARIABLE, use_folders};
pub use network::{Network, Play, Played, Playing, Treated};
pub use process::Outcome;
pub use rig::{Rig, State};
pub use symbols::{image_offset, symbolized};
pub use verifier::Verifier;
pub use wine::loader as wine_loader;

/// The root of the checkout that this program works in: that of the package which cargo runs or tests, or, without
/// cargo, that of the current folder. It is looked for whenever a program runs, since a checkout can be moved or copied
/// with everything that was built in it.
///
/// # Errors
/// The program does not run in a checkout of Sluice.
pub fn find_root() -> Result<PathBuf> {
    let start = match env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => PathBuf::from(package),
        None => env::current_dir().context("cannot tell the current folder")?,
    };
    let root = root_above(&start);
    root.with_context(|| {
        format!(
            "expected a folder in a checkout of Sluice, or a test that `cargo wdk-linux test` runs, found {}",
            start.display()
        )
    })
}

/// [`find_root`] for those that run in a checkout only.
///
/// # Panics
/// The program does not run in a checkout of Sluice.
#[must_use]
pub fn root() -> PathBuf {
    find_root().unwrap_or_else(|error| panic!("{error}"))
}

/// The closest folder from `start` upwards that holds the file by which a checkout is recognized.
fn root_above(start: &Path) -> Option<PathBuf> {
    start.ancestors().find(|folder| folder.join("rig/harness/Cargo.toml").is_file()).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_root_is_that_of_the_checkout_around_a_folder() {
        let outside = env::temp_dir().join(format!("sluice-root-{}", std::process::id()));
        let (checkout, package) = (outside.join("Schleuse é"), outside.join("Schleuse é/tests/data"));
        fs::create_dir_all(checkout.join("rig/harness")).unwrap();
        fs::create_dir_all(&package).unwrap();
        fs::write(checkout.join("rig/harness/Cargo.toml"), "").unwrap();
        let found = [&checkout, &package, &outside].map(|folder| root_above(folder));
        fs::remove_dir_all(&outside).unwrap();
        assert_eq!(found, [Some(checkout.clone()), Some(checkout), None]);
    }
}
