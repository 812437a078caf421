//! Which sources this program was built from: read by its build script, and again when it runs.
//!
//! cargo goes by the time of the last change. With a target directory that several checkouts share, it takes what one
//! of them has built for up to date in another, older one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The packages that the program is made of.
pub(crate) const PACKAGES: [&str; 4] = ["cargo-wdk-linux", "crates/driver-check", "rig/harness", "xtask"];

/// A number that is another one for other sources, by which two checkouts can be told apart.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn fingerprint(root: &Path) -> io::Result<u64> {
    let mut files = BTreeSet::new();
    for package in PACKAGES {
        files.insert(PathBuf::from(package).join("Cargo.toml"));
        collect(root, &PathBuf::from(package).join("src"), &mut files)?;
    }
    let mut hash = Fnv::default();
    for file in files {
        hash.write(file.to_string_lossy().as_bytes());
        hash.write(&fs::read(root.join(&file))?);
    }
    Ok(hash.0)
}

/// Adds the files below `folder`.
fn collect(root: &Path, folder: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let path = folder.join(entry?.file_name());
        if root.join(&path).is_dir() {
            collect(root, &path, files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}

/// FNV-1a: the same number with every version of Rust.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
