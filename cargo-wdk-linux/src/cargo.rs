//! cargo, set up to build drivers and programs for Windows on a host that is not Windows.
//!
//! The crates are those that a build on Windows uses, wdk-build alone excepted: that has a stand-in
//! (rig/wdk/wdk-build). Neither Cargo.toml nor Cargo.lock may know, so cargo works in a twin of the workspace (see
//! [`twin`]).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::kit::{Arch, Workspace};
use crate::run::{link, run as run_command, write_executable, write_if_changed};
use crate::setup::Tools;
use crate::{c, content_root, crt, twin};

/// cargo, set up to build for Windows.
pub struct Cargo<'a> {
    tools: &'a Tools,
    workspace: &'a Workspace,
    twin: PathBuf,
    /// Whether what is built is optimized. It always aborts at a panic, and always has symbols.
    pub release: bool,
    /// Links drivers: lld, called by a script.
    pub link: PathBuf,
    /// Makes import libraries of programs: that of mingw-w64, called by a script.
    dlltool: PathBuf,
}

impl<'a> Cargo<'a> {
    /// Writes what cargo calls, and the twin of the workspace.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn new(tools: &'a Tools, workspace: &'a Workspace) -> Result<Self> {
        let bin = workspace.made.join("bin");
        let link = bin.join("link");
        write_link_script(&link, tools, workspace)?;
        let dlltool = bin.join("dlltool");
        write_dlltool_script(&dlltool, &tools.mingw_gcc, &workspace.root)?;
        Ok(Self { tools, workspace, twin: twin::make(workspace)?, release: true, link, dlltool })
    }

    /// Names the folders of this machine neutrally in panic messages and symbols.
    fn remap_flags(&self) -> Vec<OsString> {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
        let library = self.tools.rust.root().join("lib/rustlib/src/rust");
        // Where more than one matches, the last is taken.
        let name = self.workspace.name.as_str();
        // The stand-ins of a workspace that has none of its own, first: they may lie in a folder of the next.
        let kit = (self.tools.kit.sources.clone(), "/wdk-linux");
        let folders = [kit, (self.workspace.root.clone(), name), (self.twin.clone(), name)].into_iter();
        let folders = folders.chain(home.map(|home| (home, "/cargo"))).chain([(library, "/rustc")]);
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
            .current_dir(&self.twin)
            .env("RUSTC", &rust.rustc)
            .env("WDKContentRoot", self.tools.kit.content_root())
            .env("Version_Number", content_root::VERSION)
            .env("LIBCLANG_PATH", &self.tools.libclang)
            .env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_")), linker)
            .env("CARGO_ENCODED_RUSTFLAGS", [&self.remap_flags(), flags].concat().join(OsStr::new("\u{1f}")))
            .arg(subcommand)
            .args(self.release.then_some("--release"))
            .args(["--target", target, "--target-dir"])
            .arg(self.workspace.cargo_target());
        if rust.build_std {
            // No features: memcpy and its like come from ntoskrnl.exe, as they do with rustup's compiled libraries.
            command.arg(format!("-Zbuild-std={libraries}")).arg("-Zbuild-std-features=");
            // A stable cargo has the option, but does not offer it.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// cargo for drivers of `arch`.
    #[must_use]
    pub fn driver_command(&self, subcommand: &str, arch: Arch) -> Command {
        let mut flags = vec!["-Ctarget-feature=+crt-static".into(), "-Clinker-flavor=lld-link".into()];
        flags.extend(LINK_ARGUMENTS.iter().map(|argument| format!("-Clink-arg={argument}").into()));
        let target = arch.driver_target();
        let mut command = self.command(subcommand, target, &self.link, "core,alloc,panic_abort", &flags);
        let profile = if self.release { "RELEASE" } else { "DEV" };
        command.env(format!("CARGO_PROFILE_{profile}_PANIC"), "abort");
        command.env(format!("CARGO_PROFILE_{profile}_DEBUG"), "full");
        // Each build script of wdk's crates would bring 45 MB that describe the standard library.
        command.env(format!("CARGO_PROFILE_{profile}_BUILD_OVERRIDE_STRIP"), "debuginfo");
        self.compile_c(&mut command, arch);
        command
    }

    /// Tells build scripts that use the crate cc how C code of a driver is compiled.
    fn compile_c(&self, command: &mut Command, arch: Arch) {
        let bin = self.tools.libclang.with_file_name("bin");
        let target = arch.driver_target();
        let set = |command: &mut Command, name: &str, value: &OsStr| {
            command.env(format!("{name}_{}", target.replace('-', "_")), value);
        };
        set(command, "CC", bin.join("clang").as_os_str());
        // The crate calls what makes libraries for this target as Microsoft's is called.
        set(command, "AR", bin.join("llvm-lib").as_os_str());
        let mut flags = c::arguments(arch, &self.tools.kit.content_root());
        // Names in the symbols that are the same everywhere; clang writes its command line there, too, as it is.
        flags.push(format!("-ffile-compilation-dir={}", self.workspace.name).into());
        flags.extend(["-Xclang".into(), "-object-file-name=c.obj".into()]);
        let flags = flags.iter().map(|flag| OsString::from(shell_quoted(Path::new(flag))));
        let flags = flags.collect::<Vec<_>>().join(OsStr::new(" "));
        set(command, "CFLAGS", &flags);
        command.env("CC_SHELL_ESCAPED_FLAGS", "1");
    }

    /// Builds driver packages.
    ///
    /// # Errors
    /// They do not build.
    pub fn drivers(&self, packages: &[&str], arch: Arch) -> Result<()> {
        let mut command = self.driver_command("build", arch);
        for package in packages {
            command.args(["--package", package]);
        }
        run_command(&mut command)
    }

    /// The drivers of the rig have no wdk-build, so this says how they are linked; netio.sys has exports.
    ///
    /// # Errors
    /// It does not build.
    pub fn rig_driver(&self, package: &str, arch: Arch) -> Result<()> {
        let libraries = content_root::libraries(&self.tools.kit, arch);
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

    /// cargo for user-mode programs of `arch`.
    ///
    /// # Errors
    /// What they are linked with cannot be made.
    pub fn program_command(&self, subcommand: &str, arch: Arch) -> Result<Command> {
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

    /// Builds a user-mode program.
    ///
    /// # Errors
    /// It does not build.
    pub fn program(&self, package: &str, arch: Arch) -> Result<()> {
        run_command(self.program_command("build", arch)?.args(["--package", package]))
    }

    /// Builds a library with exports for user-mode programs.
    ///
    /// # Errors
    /// It does not build.
    pub fn program_library(&self, package: &str, arch: Arch) -> Result<()> {
        let mut command = self.program_command("build", arch)?;
        run_command(command.env(KEEP_EXPORTS, "1").args(["--package", package]))
    }

    /// Copies what cargo made of a driver package, under the names that a driver has.
    ///
    /// # Errors
    /// A file is missing or cannot be written.
    pub fn collect_driver(&self, name: &str, arch: Arch, to: &Path) -> Result<[PathBuf; 2]> {
        // What cargo calls the library of a package.
        let library = name.replace('-', "_");
        let target = arch.driver_target();
        Ok([
            self.collect(target, &format!("{library}.dll"), &to.join(format!("{name}.sys")))?,
            self.collect(target, &format!("{library}.pdb"), &to.join(format!("{library}.pdb")))?,
        ])
    }

    /// The twin of the workspace, which cargo works in.
    #[must_use]
    pub fn twin(&self) -> &Path {
        &self.twin
    }

    /// Copies a file that cargo made.
    ///
    /// # Errors
    /// It is missing, or the copy cannot be written.
    pub fn collect(&self, target: &str, file: &str, to: &Path) -> Result<PathBuf> {
        let from =
            self.workspace.cargo_target().join(target).join(if self.release { "release" } else { "debug" }).join(file);
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

/// Set to let a driver have exports.
const KEEP_EXPORTS: &str = "KEEP_EXPORTS";

/// Writes the program that rustc calls to link a driver.
///
/// rustc exports every `#[no_mangle]` symbol of a cdylib and of what it depends on (wdk-sys has four), through a module
/// definition file. A driver has no exports: its header names the entry point.
///
/// lld writes its command line into the symbols, and a hash of them into the image. With every path relative to the
/// root of the workspace, those of Rust's own libraries and of the kit included, they are the same wherever these lie.
/// So they are if cargo's folder is a link to another: cargo then calls it by the other's path.
fn write_link_script(path: &Path, tools: &Tools, workspace: &Workspace) -> Result<()> {
    let [lld, rust, wdk] = ["rust-lld", "rust", "wdk"].map(|name| path.with_file_name(name));
    let content_root = tools.kit.content_root();
    link(&tools.linker, &lld)?;
    link(tools.rust.root(), &rust)?;
    link(&content_root, &wdk)?;
    let made = workspace.cargo_target();
    fs::create_dir_all(&made).with_context(|| format!("cannot make {}", made.display()))?;
    let made_in = made.canonicalize().with_context(|| format!("cannot find {}", made.display()))?;
    let below = |path: &Path| shell_quoted(path.strip_prefix(&workspace.root).unwrap_or(path));
    let (lld, rust, wdk, made) = (below(&lld), below(&rust), below(&wdk), below(&made));
    let (root, toolchain) = (shell_quoted(&workspace.root), shell_quoted(tools.rust.root()));
    let (content_root, made_in) = (shell_quoted(&content_root), shell_quoted(&made_in));
    let name = &workspace.name;
    let script = format!(
        r#"#!/bin/sh
# Links a driver: lld, without the list of exports that rustc makes unless {KEEP_EXPORTS} is set, and with every path
# from the root of the workspace.
root={root}
toolchain={toolchain}
wdk={content_root}
made={made_in}
for argument do
    shift
    case ${{{KEEP_EXPORTS}:-}}$argument in /DEF:*) continue ;; esac
    case $argument in *"$root/"*) argument=${{argument%%"$root/"*}}${{argument#*"$root/"}} ;; esac
    case $argument in *"$made/"*) argument=${{argument%%"$made/"*}}{made}/${{argument#*"$made/"}} ;; esac
    case $argument in "$toolchain/"*) argument={rust}/${{argument#"$toolchain/"}} ;; esac
    case $argument in *"$wdk/"*) argument=${{argument%%"$wdk/"*}}{wdk}/${{argument#*"$wdk/"}} ;; esac
    set -- "$@" "$argument"
done
cd "$root" && exec {lld} "$@" /pdbsourcepath:{name}
"#
    );
    write_executable(path, &script)?;
    Ok(())
}

/// Writes the program that rustc calls to make an import library for mingw-w64.
///
/// The dlltool of GNU binutils calls an assembler through a shell, without quoting the paths that it hands on. Run in
/// the root of the workspace with paths from there, it does not see a space in the path of the workspace.
fn write_dlltool_script(path: &Path, gcc: &Path, root: &Path) -> Result<()> {
    let gcc = gcc.file_name().unwrap_or_default().to_string_lossy();
    let program = gcc.strip_suffix("gcc").unwrap_or("x86_64-w64-mingw32-").to_owned() + "dlltool";
    let root = shell_quoted(root);
    let script = format!(
        r#"#!/bin/sh
# Makes an import library: {program}, with every path from the root of the workspace.
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
///
/// # Errors
/// A file is missing, or the compiler fails.
pub fn bcryptprimitives(tools: &Tools, to: &Path) -> Result<PathBuf> {
    let source = tools.kit.sources.join("rig/wine/bcryptprimitives.c");
    let library = to.join("bcryptprimitives.dll");
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if modified(&library).is_ok_and(|made| modified(&source).is_ok_and(|changed| changed <= made)) {
        return Ok(library);
    }
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
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
        let root = env::temp_dir().join(format!("wdk-linux-dlltool-{}/Schleuse für Treiber", std::process::id()));
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
