//! `cargo xtask build`: the drivers, and what runs them in Wine, built on a host that is not Windows.
//!
//! The crates are those that a build on Windows uses, wdk-build alone excepted: that has a stand-in
//! (rig/wdk/wdk-build). Neither Cargo.toml nor Cargo.lock may know, so cargo works in a twin of the workspace (see
//! [`twin`]).
//!
//! What is built and where it goes:
//!
//! | package | file | place |
//! | --- | --- | --- |
//! | sluice, probe, probe-c | .sys, .pdb | `target/drivers/<arch>/` |
//! | sluicectl | .exe | `target/drivers/<arch>/` |
//! | netio, misfit | .sys, .pdb | `target/rig/<arch>/` |
//! | hostile, stress | .exe | `target/rig/<arch>/` |
//! | rig/wine | .dll | target/rig/x64/ |

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::layout::{self, Arch};
use crate::run::{link, run as run_command, write_executable, write_if_changed};
use crate::setup::{self, Tools};
use crate::{check_image, content_root, crt, probe_c, twin};

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
    let tools = setup::ensure(arch)?;
    content_root::make(&tools, arch)?;
    let cargo = Cargo::new(&tools)?;

    let drivers = layout::drivers(arch);
    cargo.drivers(&["sluice", "probe"], arch)?;
    let mut files = Vec::new();
    for name in ["sluice", "probe"] {
        files.extend(cargo.collect_driver(name, arch, &drivers)?);
    }
    files.extend(probe_c::build(&tools, &cargo.link, arch)?);
    let rig = layout::rig(arch);
    for name in ["netio", "misfit"] {
        cargo.rig_driver(name, arch)?;
        files.extend(cargo.collect_driver(name, arch, &rig)?);
    }
    for (name, folder) in [("sluicectl", &drivers), ("hostile", &rig), ("stress", &rig)] {
        cargo.program(name, arch)?;
        let file = format!("{name}.exe");
        files.push(cargo.collect(arch.program_target(), &file, &folder.join(&file))?);
    }
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
    let tools = setup::ensure(Arch::X64)?;
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
    let Some(tools) = setup::present(Arch::X64) else { return Ok(None) };
    let mut commands = for_windows(&tools, "check")?;
    for command in &mut commands {
        command.args(["--keep-going", "--message-format", message_format]);
    }
    Ok(Some(commands))
}

/// A cargo command for all crates that are for Windows alone.
fn for_windows(tools: &Tools, subcommand: &str) -> Result<Vec<Command>> {
    content_root::make(tools, Arch::X64)?;
    let cargo = Cargo::new(tools)?;
    let mut commands = Vec::new();
    // Each rig driver by itself, as it is built: together, they would share features that one of them cannot have.
    for packages in [&["sluice", "probe", "sluice-wdm"][..], &["netio"], &["misfit"]] {
        commands.push((cargo.driver_command(subcommand, Arch::X64), packages));
    }
    commands.push((cargo.program_command(subcommand, Arch::X64)?, &["sluicectl", "hostile", "stress"]));
    let with_packages = commands.into_iter().map(|(mut command, packages)| {
        for package in packages {
            command.args(["--package", package]);
        }
        command
    });
    Ok(with_packages.collect())
}

/// cargo, set up to build for Windows.
struct Cargo<'a> {
    tools: &'a Tools,
    workspace: PathBuf,
    /// Links drivers: lld, called by a script.
    link: PathBuf,
    /// Makes import libraries of programs: that of mingw-w64, called by a script.
    dlltool: PathBuf,
}

impl<'a> Cargo<'a> {
    fn new(tools: &'a Tools) -> Result<Self> {
        let link = layout::cargo_target().join("link");
        write_link_script(&link, &tools.linker)?;
        let dlltool = layout::cargo_target().join("dlltool");
        write_dlltool_script(&dlltool, &tools.mingw_gcc, layout::root())?;
        Ok(Self { tools, workspace: twin::make()?, link, dlltool })
    }

    /// Names the folders of this machine neutrally in panic messages and symbols.
    fn remap_flags(&self) -> Vec<OsString> {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
        // bin/rustc lies in the root of its tool chain.
        let library = self.tools.rust.rustc.ancestors().nth(2).map(|root| root.join("lib/rustlib/src/rust"));
        // Where more than one matches, the last is taken.
        let folders = [(layout::root().to_path_buf(), SOURCE), (self.workspace.clone(), SOURCE)].into_iter();
        let folders =
            folders.chain(home.map(|home| (home, "/cargo"))).chain(library.map(|library| (library, "/rustc")));
        let remap = |(from, to): (PathBuf, &str)| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flag
        };
        folders.map(remap).collect()
    }

    /// `cargo <subcommand>` for `target`, with nothing of the environment that `cargo xtask` itself runs in.
    fn command(&self, subcommand: &str, target: &str, linker: &Path, libraries: &str, flags: &[OsString]) -> Command {
        let rust = &self.tools.rust;
        let mut command = Command::new(&rust.cargo);
        for inherited in ["RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"]
        {
            command.env_remove(inherited);
        }
        command
            .current_dir(&self.workspace)
            .env("RUSTC", &rust.rustc)
            .env("WDKContentRoot", layout::content_root())
            .env("Version_Number", content_root::VERSION)
            .env("LIBCLANG_PATH", &self.tools.libclang)
            .env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_")), linker)
            .env("CARGO_ENCODED_RUSTFLAGS", [&self.remap_flags(), flags].concat().join(OsStr::new("\u{1f}")))
            .args([subcommand, "--release", "--target", target, "--target-dir"])
            .arg(layout::cargo_target());
        if rust.build_std {
            // No features: memcpy and its like come from ntoskrnl.exe, as they do with rustup's compiled libraries.
            command.arg(format!("-Zbuild-std={libraries}")).arg("-Zbuild-std-features=");
            // A stable cargo has the option, but does not offer it.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    fn driver_command(&self, subcommand: &str, arch: Arch) -> Command {
        let mut flags = vec!["-Ctarget-feature=+crt-static".into(), "-Clinker-flavor=lld-link".into()];
        flags.extend(LINK_ARGUMENTS.iter().map(|argument| format!("-Clink-arg={argument}").into()));
        self.command(subcommand, arch.driver_target(), &self.link, "core,alloc,panic_abort", &flags)
    }

    fn drivers(&self, packages: &[&str], arch: Arch) -> Result<()> {
        let mut command = self.driver_command("build", arch);
        for package in packages {
            command.args(["--package", package]);
        }
        run_command(&mut command)
    }

    /// The drivers of the rig have no wdk-build, so this says how they are linked; netio.sys has exports.
    fn rig_driver(&self, package: &str, arch: Arch) -> Result<()> {
        let libraries = content_root::libraries(arch);
        let mut command = self.driver_command("rustc", arch);
        command.env(KEEP_EXPORTS, "1");
        command.args(["--package", package, "--"]);
        for argument in
            ["/DRIVER", "/SUBSYSTEM:NATIVE", "/ENTRY:DriverEntry", "/NODEFAULTLIB", "ntoskrnl.lib", NO_UNWINDING]
        {
            command.arg(format!("-Clink-arg={argument}"));
        }
        command.arg(link_argument("/LIBPATH:", &libraries));
        run_command(&mut command)
    }

    fn program_command(&self, subcommand: &str, arch: Arch) -> Result<Command> {
        let mut flags: Vec<OsString> = vec!["-Ctarget-feature=+crt-static".into()];
        let linker = match arch {
            Arch::X64 => {
                let mut dlltool = OsString::from("-Cdlltool=");
                dlltool.push(&self.dlltool);
                flags.push(dlltool);
                &self.tools.mingw_gcc
            }
            Arch::Arm64 => {
                flags.push("-Clinker-flavor=lld-link".into());
                flags.push(link_argument("/LIBPATH:", &crt::make(self.tools)?));
                flags.extend(PROGRAM_LINK_ARGUMENTS.iter().map(|argument| format!("-Clink-arg={argument}").into()));
                &self.link
            }
        };
        let mut command = self.command(subcommand, arch.program_target(), linker, "std,panic_abort", &flags);
        // What the workspace asks of a release is meant for drivers; a program need not wait for it.
        command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        command.env("CARGO_PROFILE_RELEASE_DEBUG", "none");
        Ok(command)
    }

    fn program(&self, package: &str, arch: Arch) -> Result<()> {
        run_command(self.program_command("build", arch)?.args(["--package", package]))
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

/// How a program for ARM64 is linked.
const PROGRAM_LINK_ARGUMENTS: &[&str] = &["/SUBSYSTEM:CONSOLE", "/DEBUG:NONE", "/Brepro", NO_UNWINDING];

/// A core library that was compiled to unwind names the handler. Here panics abort, so it is never called.
const NO_UNWINDING: &str = "/ALTERNATENAME:__CxxFrameHandler3=__C_specific_handler";

/// An argument of the linker that ends in a path.
fn link_argument(name: &str, path: &Path) -> OsString {
    let mut argument = OsString::from("-Clink-arg=");
    argument.push(name);
    argument.push(path);
    argument
}

/// What the repository is called in images and symbols.
const SOURCE: &str = "/sluice";

/// Set to let a driver have exports.
const KEEP_EXPORTS: &str = "KEEP_EXPORTS";

/// Writes the program that rustc calls to link a driver.
///
/// rustc exports every `#[no_mangle]` symbol of a cdylib and of what it depends on (wdk-sys has four), through a module
/// definition file. A driver has no exports: its header names the entry point.
///
/// lld writes its command line into the symbols, and a hash of them into the image. With every path relative to the
/// repository they are the same wherever that lies.
fn write_link_script(path: &Path, linker: &Path) -> Result<()> {
    link(linker, &path.with_file_name("rust-lld"))?;
    let root = shell_quoted(layout::root());
    let script = format!(
        r#"#!/bin/sh
# Links a driver: lld, without the list of exports that rustc makes unless {KEEP_EXPORTS} is set, and with every path
# from the root of the repository.
root={root}
for argument do
    shift
    case ${{{KEEP_EXPORTS}:-}}$argument in /DEF:*) continue ;; esac
    case $argument in *"$root/"*) argument=${{argument%%"$root/"*}}${{argument#*"$root/"}} ;; esac
    set -- "$@" "$argument"
done
cd "$root" && exec target/rig/cargo/rust-lld "$@" /pdbsourcepath:{SOURCE}
"#
    );
    write_executable(path, &script)?;
    Ok(())
}

/// Writes the program that rustc calls to make an import library for mingw-w64.
///
/// The dlltool of GNU binutils calls an assembler through a shell, without quoting the paths that it hands on. Run in
/// the root of the repository with paths from there, it does not see a space in the path of the repository.
fn write_dlltool_script(path: &Path, gcc: &Path, root: &Path) -> Result<()> {
    let gcc = gcc.file_name().unwrap_or_default().to_string_lossy();
    let program = gcc.strip_suffix("gcc").unwrap_or("x86_64-w64-mingw32-").to_owned() + "dlltool";
    let root = shell_quoted(root);
    let script = format!(
        r#"#!/bin/sh
# Makes an import library: {program}, with every path from the root of the repository.
root={root}
for argument do
    shift
    set -- "$@" "${{argument#"$root/"}}"
done
cd "$root" && exec {program} "$@"
"#
    );
    write_executable(path, &script)?;
    Ok(())
}

/// A path as one word of a shell.
fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::program;

    #[test]
    fn an_import_library_is_made_in_a_folder_with_a_space_in_its_name() {
        let gcc = Path::new("x86_64-w64-mingw32-gcc");
        if program("x86_64-w64-mingw32-dlltool").is_none() {
            println!("mingw-w64 is not installed: nothing is tested");
            return;
        }
        let root = env::temp_dir().join(format!("xtask-dlltool-{}/Schleuse für Treiber", std::process::id()));
        let (script, definitions) = (root.join("target/dlltool"), root.join("target/a.def"));
        write_dlltool_script(&script, gcc, &root).unwrap();
        fs::write(&definitions, "LIBRARY a.dll\nEXPORTS\nfunction\n").unwrap();
        // As rustc calls it.
        let mut dlltool = Command::new(&script);
        dlltool.arg("-d").arg(&definitions).args(["-D", "a.dll", "-l"]).arg(root.join("target/a.lib"));
        dlltool.args(["-m", "i386:x86-64", "-f", "--64", "--no-leading-underscore", "--temp-prefix"]);
        let output = dlltool.arg(root.join("target/a")).output().unwrap();
        let is_made = root.join("target/a.lib").is_file();
        fs::remove_dir_all(root.parent().unwrap()).unwrap();
        assert!(output.status.success() && is_made, "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        for path in ["/r/Schleuse für Treiber", "/r/it's $HOME", "/r/\"a\""] {
            let echo =
                Command::new("sh").args(["-c", &format!("printf %s {}", shell_quoted(Path::new(path)))]).output();
            assert_eq!(String::from_utf8(echo.unwrap().stdout).unwrap(), path);
        }
    }
}
