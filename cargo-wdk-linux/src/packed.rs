//! The kit that the program carries (build.rs packs it), for any folder of any machine.
//!
//! It is unpacked into the user's cache, in a folder for each version of its contents, and built there once:
//! `cargo install` keeps nothing but the program, and the checkout that it was installed from may be gone by now.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{Cargo, bcryptprimitives};
use crate::kit::{Arch, Kit, Workspace};
use crate::run::{output, remove_folder, run, write_if_changed};
use crate::setup::Tools;
use crate::{content_root, new, twin};

include!(concat!(env!("OUT_DIR"), "/kit.rs"));

/// The crates that a driver and its tests may name and that are unpacked with the kit: crates.io does not have them.
const CRATES: [(&str, &str); 4] = [
    ("wdk-rig", "rig/harness"),
    ("wdk-nmr", "crates/wdk-nmr"),
    ("wdk-nmr-sys", "crates/wdk-nmr-sys"),
    ("version-resource", "crates/version-resource"),
];

/// Unpacks the kit if that was not done, and says where it is. `toolchain` is the folder whose Rust builds.
///
/// # Errors
/// There is no folder for it, or it cannot be written.
pub fn unpack(toolchain: &Path) -> Result<Kit> {
    let root = cache()?.join(FINGERPRINT);
    for (file, contents) in FILES {
        write_if_changed(&root.join(file), contents)?;
    }
    Ok(Kit { made: root.join("target"), sources: root, toolchain: toolchain.to_path_buf() })
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

/// The stand-ins of a workspace whose packages name `dependencies`: wdk-build's, and those that it uses of the kit.
#[must_use]
pub fn patches(kit: &Kit, uses: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
    let wdk_build = uses("wdk-build").then_some(("wdk-build", "rig/wdk/wdk-build"));
    let named = wdk_build.into_iter().chain(CRATES.into_iter().filter(|(name, _)| uses(name)));
    named.map(|(name, path)| (name.to_owned(), kit.sources.join(path))).collect()
}

/// Builds what drivers are built with and run in, for `arch`, as far as that was not done.
///
/// # Errors
/// Something does not build.
pub fn make(tools: &Tools, arch: Arch) -> Result<()> {
    content_root::make(tools, arch)?;
    let rig = tools.kit.rig(arch);
    if rig.join("netio.sys").is_file() && (arch == Arch::Arm64 || rig.join("bcryptprimitives.dll").is_file()) {
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
    cargo.collect_driver("netio", arch, &rig).map(drop)
}

/// Gives a twin that has no Cargo.lock one of what is on this machine; if that does not suffice, of the registry.
///
/// # Errors
/// There is no crate that fits.
pub fn resolve(twin: &Path) -> Result<()> {
    if twin.join("Cargo.lock").is_file() {
        return Ok(());
    }
    let command = || {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.arg("generate-lockfile").current_dir(twin);
        command
    };
    if output(command().arg("--offline")).is_ok() { Ok(()) } else { run(&mut command()) }
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
    for (root, used) in
        [(driver.clone(), &["wdk-build", "wdk-nmr", "wdk-nmr-sys"][..]), (driver.join("tests"), &["wdk-rig"])]
    {
        let workspace = Workspace {
            made: root.join("target"),
            root,
            name: "/example".into(),
            patches: patches(kit, |name| used.contains(&name)),
        };
        let twin = twin::make(&workspace)?;
        resolve(&twin)?;
        run(Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).arg("fetch").current_dir(twin))?;
    }
    remove_folder(&folder)
}
