//! `cargo xtask build`: the drivers, and what runs them in Wine, built on a host that is not Windows.
//!
//! The crates are those that a build on Windows uses, wdk-build alone excepted: that has a stand-in (rig/wdk/wdk-build),
//! put in its place on cargo's command line. Cargo.lock must not notice, so cargo works on a copy of it.
//!
//! What is built and where it goes:
//!
//! | package | file | place |
//! | --- | --- | --- |
//! | sluice, probe | .sys, .pdb | target/drivers/<arch>/ |
//! | sluicectl | .exe | target/drivers/x64/ |
//! | netio | .sys, .pdb | target/rig/x64/ |
//! | rig/wine | .dll | target/rig/x64/ |

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::content_root;
use crate::layout::{self, Arch};
use crate::run::{run as run_command, write_if_changed};
use crate::setup::{self, Tools};

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
/// A tool is missing, or something does not build.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for file in build(arguments.arch)? {
        let size = fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
        println!("{size:>9}  {}", file.strip_prefix(layout::root()).unwrap_or(&file).display());
    }
    Ok(())
}

/// Builds everything for `arch` and returns the files.
///
/// # Errors
/// A tool is missing, or something does not build.
pub(crate) fn build(arch: Arch) -> Result<Vec<PathBuf>> {
    let tools = setup::ensure(arch)?;
    content_root::make(&tools, arch)?;
    let cargo = Cargo::new(&tools)?;

    let drivers = layout::drivers(arch);
    cargo.drivers(&["sluice", "probe"], arch)?;
    let mut files = Vec::new();
    for name in ["sluice", "probe"] {
        files.extend(cargo.collect_driver(name, arch, &drivers)?);
    }
    if let Some(target) = arch.program_target() {
        cargo.program("sluicectl", target)?;
        files.push(cargo.collect(target, "sluicectl.exe", &drivers.join("sluicectl.exe"))?);

        let rig = layout::rig(arch);
        cargo.netio(arch)?;
        files.extend(cargo.collect_driver("netio", arch, &rig)?);
        files.push(bcryptprimitives(&tools, &rig)?);
    }
    Ok(files)
}

/// cargo, set up to build for Windows.
struct Cargo<'a> {
    tools: &'a Tools,
    lockfile: PathBuf,
    /// The linker of drivers: lld without the list of exports that rustc makes.
    driver_linker: PathBuf,
}

impl<'a> Cargo<'a> {
    fn new(tools: &'a Tools) -> Result<Self> {
        let driver_linker = layout::cargo_target().join("link-driver");
        write_driver_linker(&driver_linker, &tools.linker)?;
        Ok(Self { tools, lockfile: copy_lockfile()?, driver_linker })
    }

    /// `cargo <subcommand>` for `target`, with nothing of the environment that `cargo xtask` itself runs in.
    fn command(&self, subcommand: &str, target: &str, libraries: &str, rustflags: &[OsString]) -> Command {
        let rust = &self.tools.rust;
        let mut command = Command::new(&rust.cargo);
        for inherited in ["RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"]
        {
            command.env_remove(inherited);
        }
        command
            .current_dir(layout::root())
            // The lock file's path, and build-std, are options that a stable cargo has but does not offer.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", &rust.rustc)
            .env("WDKContentRoot", layout::content_root())
            .env("Version_Number", content_root::VERSION)
            .env("LIBCLANG_PATH", &self.tools.libclang)
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join(&OsString::from("\u{1f}")))
            .args([subcommand, "--release", "--target", target, "--target-dir"])
            .arg(layout::cargo_target())
            .arg("-Zlockfile-path")
            .arg("--config")
            .arg(setting("resolver.lockfile-path", &self.lockfile))
            .arg("--config")
            .arg(setting("patch.crates-io.wdk-build.path", &layout::root().join("rig/wdk/wdk-build")));
        if rust.build_std {
            // No features: memcpy and its like come from ntoskrnl.exe, as they do with rustup's compiled libraries.
            command.arg(format!("-Zbuild-std={libraries}")).arg("-Zbuild-std-features=");
        }
        command
    }

    fn driver_command(&self, subcommand: &str, arch: Arch) -> Command {
        let mut flags = remap_flags();
        let mut flag = |flag: &str| flags.push(flag.into());
        flag("-Ctarget-feature=+crt-static");
        flag("-Clinker-flavor=lld-link");
        for argument in LINK_ARGUMENTS {
            flag(&format!("-Clink-arg={argument}"));
        }
        let mut linker = OsString::from("-Clinker=");
        linker.push(&self.driver_linker);
        flags.push(linker);
        self.command(subcommand, arch.driver_target(), "core,alloc,panic_abort", &flags)
    }

    fn drivers(&self, packages: &[&str], arch: Arch) -> Result<()> {
        let mut command = self.driver_command("build", arch);
        for package in packages {
            command.args(["--package", package]);
        }
        run_command(&mut command)
    }

    /// netio.sys has exports and no wdk-build, so it brings along how it is linked.
    fn netio(&self, arch: Arch) -> Result<()> {
        let libraries =
            layout::content_root().join("Lib").join(content_root::VERSION).join("km").join(arch.to_string());
        let mut command = self.driver_command("rustc", arch);
        command.args(["--package", "netio", "--"]);
        for argument in ["/DRIVER", "/SUBSYSTEM:NATIVE", "/ENTRY:DriverEntry", "/NODEFAULTLIB", "ntoskrnl.lib"] {
            command.arg(format!("-Clink-arg={argument}"));
        }
        command.arg(format!("-Clink-arg=/LIBPATH:{}", libraries.display()));
        command.arg(format!("-Clinker={}", self.tools.linker.display()));
        run_command(&mut command)
    }

    fn program(&self, package: &str, target: &str) -> Result<()> {
        let mut flags = remap_flags();
        flags.push("-Ctarget-feature=+crt-static".into());
        let mut linker = OsString::from("-Clinker=");
        linker.push(&self.tools.mingw_gcc);
        flags.push(linker);
        let mut command = self.command("build", target, "std,panic_abort", &flags);
        run_command(command.args(["--package", package]))
    }

    /// Copies what cargo made of a driver package, under the names that a driver has.
    fn collect_driver(&self, name: &str, arch: Arch, to: &Path) -> Result<[PathBuf; 2]> {
        let target = arch.driver_target();
        Ok([
            self.collect(target, &format!("{name}.dll"), &to.join(format!("{name}.sys")))?,
            self.collect(target, &format!("{name}.pdb"), &to.join(format!("{name}.pdb")))?,
        ])
    }

    fn collect(&self, target: &str, file: &str, to: &Path) -> Result<PathBuf> {
        let from = layout::cargo_target().join(target).join("release").join(file);
        let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        write_if_changed(to, bytes)?;
        Ok(to.to_path_buf())
    }
}

/// How every driver is linked, beyond what wdk-build asks for.
const LINK_ARGUMENTS: &[&str] = &[
    // A checksum in the header: the kernel verifies that of every driver.
    "/RELEASE",
    // No time of day in the image: the same source makes the same bytes.
    "/Brepro",
    "/HIGHENTROPYVA",
    // The symbols are found by the name of their file alone.
    "/PDBALTPATH:%_PDB%",
];

/// Names the folders of this machine neutrally in panic messages and symbols.
fn remap_flags() -> Vec<OsString> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let folders = [Some((layout::root().to_path_buf(), "/sluice")), home.map(|home| (home, "/cargo"))];
    let remap = |(from, to): (PathBuf, &str)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flag
    };
    folders.into_iter().flatten().map(remap).collect()
}

/// A setting for cargo's `--config`, in TOML.
fn setting(key: &str, path: &Path) -> String {
    format!("{key}='{}'", path.display())
}

/// Copies Cargo.lock to where cargo may note that wdk-build is another one, unless that was done since it last changed.
fn copy_lockfile() -> Result<PathBuf> {
    let lockfile = layout::cargo_target().join("lock/Cargo.lock");
    let original = layout::root().join("Cargo.lock");
    let contents = fs::read(&original).with_context(|| format!("cannot read {}", original.display()))?;
    let changed = write_if_changed(&lockfile.with_file_name("Cargo.lock.original"), &contents)?;
    if changed || !lockfile.is_file() {
        write_if_changed(&lockfile, contents)?;
    }
    Ok(lockfile)
}

/// Writes the program that rustc calls to link a driver.
///
/// rustc exports every `#[no_mangle]` symbol of a cdylib and of what it depends on (wdk-sys has four), through a module
/// definition file. A driver has no exports: its header names the entry point.
fn write_driver_linker(path: &Path, linker: &Path) -> Result<()> {
    let script = format!(
        "#!/bin/sh\n\
         # Links a driver: lld, without the list of exports that rustc makes.\n\
         for argument do\n\
         \x20   shift\n\
         \x20   case $argument in\n\
         \x20       /DEF:*) ;;\n\
         \x20       *) set -- \"$@\" \"$argument\" ;;\n\
         \x20   esac\n\
         done\n\
         exec '{}' \"$@\"\n",
        linker.display()
    );
    if write_if_changed(path, script)? {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// Builds what Rust's standard library asks of Windows and older versions of Wine lack.
fn bcryptprimitives(tools: &Tools, to: &Path) -> Result<PathBuf> {
    let source = layout::root().join("rig/wine/bcryptprimitives.c");
    let library = to.join("bcryptprimitives.dll");
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if modified(&library).is_ok_and(|made| modified(&source).is_ok_and(|changed| changed <= made)) {
        return Ok(library);
    }
    let mut gcc = Command::new(&tools.mingw_gcc);
    gcc.args(["-shared", "-Os", "-s", "-Wall", "-Werror", "-nostdlib", "-Wl,--entry=0", "-o"]);
    run_command(gcc.arg(&library).arg(&source).args(["-ladvapi32", "-lkernel32"]))?;
    Ok(library)
}
