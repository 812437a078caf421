//! A twin of the workspace under target/, in which wdk-build is the stand-in.
//!
//! Its Cargo.toml is the workspace's with a `[patch]` at the end, its Cargo.lock a copy that cargo may change;
//! everything else is a link to the original. A patch on cargo's command line would do without the twin, but cargo
//! hands such a patch on to the resolution of a core library that it builds, and then wants the network for every
//! build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::layout;
use crate::run::{link, write_if_changed};

/// What the twin does not have from the original.
const OWN: [&str; 4] = ["Cargo.toml", "Cargo.lock", "target", ".git"];

const PATCH: &str = "\n[patch.crates-io]\nwdk-build = { path = \"rig/wdk/wdk-build\" }\n";

/// Makes the twin, or brings it up to date, and returns its root.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn make() -> Result<PathBuf> {
    make_of(layout::root(), &layout::twin())?;
    Ok(layout::twin())
}

fn make_of(original: &Path, twin: &Path) -> Result<()> {
    let read = |name| {
        let path = original.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    write_if_changed(&twin.join("Cargo.toml"), read("Cargo.toml")? + PATCH)?;
    // cargo takes the patch into the copy, which then stays as it is until the original changes.
    let lock = read("Cargo.lock")?;
    if write_if_changed(&twin.join("Cargo.lock.original"), &lock)? || !twin.join("Cargo.lock").is_file() {
        write_if_changed(&twin.join("Cargo.lock"), lock)?;
    }
    for entry in fs::read_dir(original).with_context(|| format!("cannot read {}", original.display()))? {
        let name = entry?.file_name();
        if !OWN.iter().any(|own| name == *own) {
            link(&original.join(&name), &twin.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_stays_as_it_is_and_shows_through() {
        let folder = std::env::temp_dir().join(format!("xtask-twin-{}", std::process::id()));
        let (original, twin) = (folder.join("original"), folder.join("twin"));
        fs::create_dir_all(original.join("src")).unwrap();
        fs::write(original.join("Cargo.toml"), "[workspace]\n").unwrap();
        fs::write(original.join("Cargo.lock"), "1").unwrap();

        make_of(&original, &twin).unwrap();
        fs::write(original.join("src/lib.rs"), "later").unwrap();
        fs::write(twin.join("Cargo.lock"), "1, patched").unwrap();
        make_of(&original, &twin).unwrap();

        assert_eq!(fs::read_to_string(original.join("Cargo.toml")).unwrap(), "[workspace]\n");
        assert_eq!(fs::read_to_string(original.join("Cargo.lock")).unwrap(), "1");
        assert_eq!(fs::read_to_string(twin.join("src/lib.rs")).unwrap(), "later");
        assert!(fs::read_to_string(twin.join("Cargo.toml")).unwrap().ends_with(PATCH));
        assert_eq!(fs::read_to_string(twin.join("Cargo.lock")).unwrap(), "1, patched", "the patched copy is kept");

        fs::write(original.join("Cargo.lock"), "2").unwrap();
        make_of(&original, &twin).unwrap();
        assert_eq!(fs::read_to_string(twin.join("Cargo.lock")).unwrap(), "2", "until the original changes");
        fs::remove_dir_all(folder).unwrap();
    }
}
