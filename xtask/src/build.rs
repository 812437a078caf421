//! `cargo xtask build`: the drivers, and what runs them in Wine, built on a host that is not Windows.
//!
//! The crates are those that a build on Windows uses, wdk-build alone excepted: that has a stand-in
//! (rig/wdk/wdk-build). Neither Cargo.toml nor Cargo.lock may know, so cargo works in a twin of the workspace (see
//! `twin`).
//!
//! What is built and where it goes:
//!
//! | package | file | place |
//! | --- | --- | --- |
//! | sluice, probe, gate, probe-c | .sys, .pdb | `target/drivers/<arch>/` |
//! | sluicectl | .exe | `target/drivers/<arch>/` |
//! | netio, misfit, adding, meddler, wsk | .sys, .pdb | `target/rig/<arch>/` |
//! | hostile, stress | .exe | `target/rig/<arch>/` |
//! | fwpkclnt | .sys | `target/rig/<arch>/` |
//! | rig/wine | .dll | target/rig/x64/ |

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};
use cargo_wdk_linux::cargo::{Cargo, bcryptprimitives};
use cargo_wdk_linux::content_root;
use cargo_wdk_linux::setup::{self, Tools};

use crate::layout::{self, Arch};
use crate::run::run as run_command;
use crate::{check_image, probe_c};

/// The arguments of `cargo xtask build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The processor architecture of the drivers
    #[arg(long, value_enum, default_value_t = Arch::X64)]
    arch: Arch,
}

/// `cargo xtask build`.
///
/// # Errors
/// A tool is missing, something does not build, or a driver image has findings.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for file in build(arguments.arch)? {
        let size = fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
        println!("{size:>9}  {}", file.strip_prefix(layout::root()).unwrap_or(&file).display());
    }
    check_image::check_drivers(arguments.arch)
}

/// Builds everything for `arch` and returns the files.
///
/// # Errors
/// A tool is missing, or something does not build.
pub(crate) fn build(arch: Arch) -> Result<Vec<PathBuf>> {
    let tools = setup::ensure(&layout::kit(), arch)?;
    content_root::make(&tools, arch)?;
    let workspace = layout::workspace();
    let cargo = Cargo::new(&tools, &workspace)?;

    let drivers = layout::drivers(arch);
    cargo.drivers(&["sluice", "probe", "gate", "adding", "meddler", "wsk"], arch)?;
    let mut files = Vec::new();
    for name in ["sluice", "probe", "gate"] {
        files.extend(cargo.collect_driver(name, arch, &drivers)?);
    }
    files.extend(probe_c::build(&tools, &cargo.link, arch)?);
    let rig = layout::rig(arch);
    for name in ["adding", "meddler", "wsk"] {
        files.extend(cargo.collect_driver(name, arch, &rig)?);
    }
    for name in ["netio", "misfit"] {
        cargo.rig_driver(name, arch)?;
        files.extend(cargo.collect_driver(name, arch, &rig)?);
    }
    for (name, folder) in [("sluicectl", &drivers), ("hostile", &rig), ("stress", &rig)] {
        cargo.program(name, arch)?;
        let file = format!("{name}.exe");
        files.push(cargo.collect(arch.program_target(), &file, &folder.join(&file))?);
    }
    cargo.program_library("fwpkclnt", arch)?;
    files.push(cargo.collect(arch.program_target(), "fwpkclnt.dll", &rig.join("fwpkclnt.sys"))?);
    // The Wine that runs ARM64 is recent enough to have its own.
    if arch == Arch::X64 {
        files.push(bcryptprimitives(&tools, &rig)?);
    }
    Ok(files)
}

/// `cargo xtask clippy`: lints what plain `cargo clippy` on this host does not see: the crates that need a WDK, and
/// what programs have for Windows alone.
///
/// # Errors
/// A tool is missing, or there are findings.
pub(crate) fn lint() -> Result<()> {
    let tools = setup::ensure(&layout::kit(), Arch::X64)?;
    if tools.rust.build_std {
        // Its lints are those of another version, which this repository does not follow.
        println!("The drivers are not linted: the pinned tool chain has no target for Windows here.");
        return Ok(());
    }
    for mut clippy in for_windows(&tools, "clippy")? {
        // clippy lies beside the rustc that builds.
        let bin = tools.rust.rustc.parent().map(Path::to_path_buf);
        let path = env::var_os("PATH").unwrap_or_default();
        clippy.env("PATH", env::join_paths(bin.into_iter().chain(env::split_paths(&path)))?);
        run_command(clippy.args(["--", "--deny", "warnings"]))?;
    }
    Ok(())
}

/// `cargo check` of what plain `cargo check` on this host leaves out, for one message format of cargo's. Nothing is
/// installed for it: none where the tools are missing.
///
/// # Errors
/// A file cannot be written, or a tool fails.
pub(crate) fn check_commands(message_format: &str) -> Result<Option<Vec<Command>>> {
    let Some(tools) = setup::present(&layout::kit(), Arch::X64) else { return Ok(None) };
    let mut commands = for_windows(&tools, "check")?;
    for command in &mut commands {
        command.args(["--keep-going", "--message-format", message_format]);
    }
    Ok(Some(commands))
}

/// A cargo command for all crates that are for Windows alone.
fn for_windows(tools: &Tools, subcommand: &str) -> Result<Vec<Command>> {
    content_root::make(tools, Arch::X64)?;
    let workspace = layout::workspace();
    let cargo = Cargo::new(tools, &workspace)?;
    let mut commands = Vec::new();
    // Each rig driver by itself, as it is built: together, they would share features that one of them cannot have.
    for packages in
        [&["sluice", "probe", "gate", "sluice-wdm", "adding", "meddler", "wsk"][..], &["netio"], &["misfit"]]
    {
        commands.push((cargo.driver_command(subcommand, Arch::X64), packages));
    }
    commands.push((cargo.program_command(subcommand, Arch::X64)?, &["sluicectl", "hostile", "stress", "fwpkclnt"]));
    let with_packages = commands.into_iter().map(|(mut command, packages)| {
        for package in packages {
            command.args(["--package", package]);
        }
        command
    });
    Ok(with_packages.collect())
}
