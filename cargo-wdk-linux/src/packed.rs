//! The kit that the program carries (build.rs packs it), for any folder of any machine.
//!
//! It is unpacked into the user's cache and built there once: `cargo install` keeps nothing but the program, and the
//! checkout that it was installed from may be gone by now. The kit of another version gives way to that of this one,
//! and what did not change is not built again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::cargo::{Cargo, bcryptprimitives};
use crate::kit::{Arch, Kit, Workspace};
use crate::run::{output, remove_file, remove_folder, run, write_if_changed};
use crate::setup::Tools;
use crate::{content_root, new, twin};

include!(concat!(env!("OUT_DIR"), "/kit.rs"));

/// The crates that stand in for those of crates.io, or that it does not have: name, folder in the kit, and the crates
/// that bring it into the workspace of whoever names them.
const CRATES: [(&str, &str, &[&str]); 6] = [
    ("wdk-build", "rig/wdk/wdk-build", &["wdk-sys", "wdk-alloc", "wdk-panic", "wdk"]),
    ("wdk-rig", "rig/harness", &[]),
    ("wdk-nmr", "crates/wdk-nmr", &["wdk-nmr-wdm"]),
    ("wdk-nmr-sys", "crates/wdk-nmr-sys", &["wdk-nmr", "wdk-nmr-wdm"]),
    ("wdk-nmr-wdm", "crates/wdk-nmr-wdm", &[]),
    ("version-resource", "crates/version-resource", &[]),
];

/// In the folder of the kit: what it holds. In the folder of an architecture: of what that was built.
const MADE_OF: &str = ".made-of";

/// Unpacks the kit if that was not done, and says where it is. `toolchain` is the folder whose Rust builds.
///
/// # Errors
/// There is no folder for it, or it cannot be written.
pub fn unpack(toolchain: &Path) -> Result<Kit> {
    let root = cache()?.join("kit");
    unpack_to(&root)?;
    Ok(Kit { made: root.join("target"), sources: root, toolchain: toolchain.to_path_buf() })
}

fn unpack_to(root: &Path) -> Result<()> {
    if !is_made_of_this(root) {
        // What another version had and this one has not would be compiled with the rest.
        for folder in ["crates", "rig"] {
            remove_others(root, Path::new(folder))?;
        }
        for (file, contents) in FILES {
            write_if_changed(&root.join(file), contents)?;
        }
        write_if_changed(&root.join(MADE_OF), FINGERPRINT)?;
    }
    Ok(())
}

fn is_made_of_this(folder: &Path) -> bool {
    fs::read_to_string(folder.join(MADE_OF)).is_ok_and(|of| of == FINGERPRINT)
}

/// Removes what is not packed from a folder of the kit, if it is there.
fn remove_others(root: &Path, folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return Ok(()) };
    for entry in entries {
        let path = folder.join(entry?.file_name());
        if root.join(&path).is_dir() {
            remove_others(root, &path)?;
        } else if !FILES.iter().any(|(file, _)| Path::new(file) == path) {
            remove_file(&root.join(path))?;
        }
    }
    Ok(())
}

/// `$WDK_LINUX_HOME`, or a folder of the user's cache.
///
/// # Errors
/// The environment names none.
pub fn cache() -> Result<PathBuf> {
    let folder = |name, below: &str| env::var_os(name).map(|folder| PathBuf::from(folder).join(below));
    folder("WDK_LINUX_HOME", "")
        .or_else(|| folder("XDG_CACHE_HOME", "cargo-wdk-linux"))
        .or_else(|| folder("HOME", ".cache/cargo-wdk-linux"))
        .context("expected HOME, XDG_CACHE_HOME or WDK_LINUX_HOME in the environment: the kit is unpacked there")
}

/// The packed file of that name.
#[must_use]
pub fn file(name: &str) -> Option<&'static str> {
    let (_, contents) = FILES.iter().find(|(file, _)| *file == name)?;
    std::str::from_utf8(contents).ok()
}

/// The stand-ins of a workspace whose packages name `dependencies`, with those that these bring.
#[must_use]
pub fn patches(kit: &Kit, dependencies: &[impl AsRef<str>]) -> Vec<(String, PathBuf)> {
    let is_named = |name: &str| dependencies.iter().any(|named| named.as_ref() == name);
    let used = CRATES.into_iter().filter(|(name, _, by)| is_named(name) || by.iter().any(|name| is_named(name)));
    used.map(|(name, path, _)| (name.to_owned(), kit.sources.join(path))).collect()
}

/// Builds what drivers are built with and run in, for `arch`, as far as that was not done.
///
/// # Errors
/// Something does not build.
pub fn make(tools: &Tools, arch: Arch) -> Result<()> {
    content_root::make(tools, arch)?;
    let rig = tools.kit.rig(arch);
    if is_made_of_this(&rig) {
        return Ok(());
    }
    println!("Building the rig in {}: once.", tools.kit.made.display());
    let workspace = Workspace {
        root: tools.kit.sources.clone(),
        made: tools.kit.made.clone(),
        name: "/wdk-linux".into(),
        patches: Vec::new(),
    };
    let cargo = Cargo::new(tools, &workspace)?;
    if arch == Arch::X64 {
        bcryptprimitives(tools, &rig)?;
    }
    cargo.rig_driver("netio", arch)?;
    cargo.collect_driver("netio", arch, &rig)?;
    write_if_changed(&rig.join(MADE_OF), FINGERPRINT).map(drop)
}

/// Brings the Cargo.lock of a twin in line with its stand-ins; where there was none, makes one of the crates that are
/// on this machine, and if those do not suffice, of those of the registry. What was locked stays so.
///
/// # Errors
/// There is no crate that fits.
pub fn resolve(twin: &Path) -> Result<()> {
    let command = || {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["update", "--workspace", "--quiet"]).current_dir(twin);
        command
    };
    if output(command().arg("--offline")).is_ok() {
        return Ok(());
    }
    run(&mut command()).context(
        "expected every crate that the workspace names on this machine, or a network to fetch them from; `cargo \
         wdk-linux setup` fetches those of a new driver",
    )
}

/// Fetches what a new driver and its tests need, so that building them takes no network.
///
/// # Errors
/// A crate cannot be fetched.
pub fn fetch(kit: &Kit) -> Result<()> {
    let folder = kit.made.join("new");
    remove_folder(&folder)?;
    new::write(&folder, "example", Some(new::Role::Provider))?;
    let driver = folder.join("example");
    let of_driver = &["version-resource", "wdk-nmr-wdm", "wdk-sys"][..];
    for (root, named) in [(driver.clone(), of_driver), (driver.join("tests"), &["wdk-rig"])] {
        let workspace =
            Workspace { made: root.join("target"), root, name: "/example".into(), patches: patches(kit, named) };
        let twin = twin::make(&workspace)?;
        resolve(&twin)?;
        run(Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).arg("fetch").current_dir(twin))?;
    }
    remove_folder(&folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kit_takes_the_place_of_that_of_another_version() {
        let root = env::temp_dir().join(format!("wdk-linux-kit-{}", std::process::id()));
        unpack_to(&root).unwrap();
        let (known, old, made) =
            (root.join("rig/netio/Cargo.toml"), root.join("rig/netio/src/old.rs"), root.join("target/made"));
        write_if_changed(&known, "of another version").unwrap();
        write_if_changed(&old, "").unwrap();
        write_if_changed(&made, "").unwrap();
        write_if_changed(&root.join(MADE_OF), "another version").unwrap();
        unpack_to(&root).unwrap();
        let found = fs::read_to_string(&known).unwrap();
        let (old, made) = (old.exists(), made.exists());
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(Some(found.as_str()), file("rig/netio/Cargo.toml"));
        assert_eq!((old, made), (false, true), "what was built stays");
    }
}
