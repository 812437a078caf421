//! A twin of the workspace in which crates of crates.io have stand-ins.
//!
//! Its Cargo.toml is the workspace's with a `[patch]` at the end, its Cargo.lock a copy that cargo may change;
//! everything else is a link to the original. A patch on cargo's command line would do without the twin, but cargo
//! hands such a patch on to the resolution of a core library that it builds, and then wants the network for every
//! build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::kit::Workspace;
use crate::run::{link, remove_file, write_if_changed};

/// What the twin does not have from the original.
const OWN: [&str; 4] = ["Cargo.toml", "Cargo.lock", "target", ".git"];

/// Makes the twin, or brings it up to date, and returns its root.
///
/// # Errors
/// A file cannot be read or written.
pub fn make(workspace: &Workspace) -> Result<PathBuf> {
    make_of(&workspace.root, &workspace.twin(), &stand_ins(&workspace.patches))?;
    Ok(workspace.twin())
}

/// The lines of Cargo.toml that name the stand-ins.
fn stand_ins(patches: &[(String, PathBuf)]) -> String {
    patches.iter().map(|(name, path)| format!("{name} = {{ path = {:?} }}\n", path.to_string_lossy())).collect()
}

/// A Cargo.toml with these lines in its section of patches, which it may have.
fn patched(manifest: &str, stand_ins: &str) -> String {
    const SECTION: &str = "[patch.crates-io]";
    match manifest.lines().find(|line| line.trim() == SECTION) {
        Some(line) => manifest.replacen(line, &format!("{SECTION}\n{}", stand_ins.trim_end()), 1),
        None => format!("{manifest}\n{SECTION}\n{stand_ins}"),
    }
}

fn make_of(original: &Path, twin: &Path, stand_ins: &str) -> Result<()> {
    let read = |name| {
        let path = original.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    write_if_changed(&twin.join("Cargo.toml"), patched(&read("Cargo.toml")?, stand_ins))?;
    // cargo takes the patch into the copy, which then stays as it is until the original changes.
    // A workspace without one gets it here; nothing is written to the original.
    let lock = if original.join("Cargo.lock").is_file() { read("Cargo.lock")? } else { String::new() };
    if write_if_changed(&twin.join("Cargo.lock.original"), &lock)?
        || (!twin.join("Cargo.lock").is_file() && !lock.is_empty())
    {
        let copy = twin.join("Cargo.lock");
        if lock.is_empty() { remove_file(&copy)? } else { write_if_changed(&copy, lock).map(drop)? }
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
    fn the_stand_ins_are_beside_the_patches_that_a_workspace_has() {
        assert_eq!(patched("[workspace]\n", "a = 1\n"), "[workspace]\n\n[patch.crates-io]\na = 1\n");
        let own = "[patch.crates-io]\nb = 2\n\n[profile.dev]\n";
        assert_eq!(patched(own, "a = 1\n"), "[patch.crates-io]\na = 1\nb = 2\n\n[profile.dev]\n");
    }

    #[test]
    fn the_original_stays_as_it_is_and_shows_through() {
        let folder = std::env::temp_dir().join(format!("wdk-linux-twin-{}", std::process::id()));
        let (original, twin) = (folder.join("original"), folder.join("twin"));
        fs::create_dir_all(original.join("src")).unwrap();
        fs::write(original.join("Cargo.toml"), "[workspace]\n").unwrap();
        fs::write(original.join("Cargo.lock"), "1").unwrap();

        make_of(&original, &twin, "").unwrap();
        fs::write(original.join("src/lib.rs"), "later").unwrap();
        fs::write(twin.join("Cargo.lock"), "1, patched").unwrap();
        make_of(&original, &twin, "").unwrap();

        assert_eq!(fs::read_to_string(original.join("Cargo.toml")).unwrap(), "[workspace]\n");
        assert_eq!(fs::read_to_string(original.join("Cargo.lock")).unwrap(), "1");
        assert_eq!(fs::read_to_string(twin.join("src/lib.rs")).unwrap(), "later");
        assert!(fs::read_to_string(twin.join("Cargo.toml")).unwrap().ends_with("[patch.crates-io]\n"));
        assert_eq!(fs::read_to_string(twin.join("Cargo.lock")).unwrap(), "1, patched", "the patched copy is kept");

        fs::write(original.join("Cargo.lock"), "2").unwrap();
        make_of(&original, &twin, "").unwrap();
        assert_eq!(fs::read_to_string(twin.join("Cargo.lock")).unwrap(), "2", "until the original changes");
        fs::remove_dir_all(folder).unwrap();
    }
}
