//! Where Wine is, and the environment that its programs get.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::arch::Arch;

/// Where Debian and others keep what is not in PATH.
const FOLDERS: [&str; 5] = [
    "/usr/lib/wine",
    // Debian, from 10.0~repack-12 on.
    "/usr/lib/x86_64-linux-gnu/wine",
    "/usr/lib64/wine",
    "/usr/local/bin",
    "/opt/wine-stable/bin",
];

/// What Wine itself reports on standard error: nothing but what explains a failure.
const DEBUG: &str = "-all,err+module,err+ntoskrnl,err+seh,err+sc,err+service,err+virtual";

/// The programs of Wine.
#[derive(Clone, Debug)]
pub(crate) struct Wine {
    loader: PathBuf,
    server: PathBuf,
    /// Whether `setarch` can start programs at addresses that are always the same.
    fixed: bool,
}

impl Wine {
    /// Looks for them.
    ///
    /// # Errors
    /// Wine is not installed.
    pub(crate) fn find(arch: Arch) -> Result<Self> {
        let (loader, server) = match arch {
            Arch::X64 => locate(&folders()).context(
                "Wine (64-bit) is not installed; the command `setup` of `cargo xtask` or `cargo wdk-linux` installs it",
            )?,
            Arch::Arm64 => emulated().context(
                "Wine for ARM64 is not there; `setup --arch arm64` of `cargo xtask` or `cargo wdk-linux` fetches it",
            )?,
        };
        let fixed = fixed("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(Self { loader, server, fixed: fixed.is_ok_and(|status| status.success()) })
    }

    /// A Windows program, by its name or its path in the prefix.
    pub(crate) fn program(&self, prefix: &Path, program: &str) -> Command {
        let mut command = self.in_prefix(&self.loader, prefix);
        command.arg(program);
        command
    }

    /// The server of a prefix.
    pub(crate) fn server(&self, prefix: &Path) -> Command {
        self.in_prefix(&self.server, prefix)
    }

    /// What `wine --version` says.
    pub(crate) fn version(&self) -> Result<String> {
        let output = Command::new(&self.loader).arg("--version").output().context("cannot start Wine")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    fn in_prefix(&self, program: &Path, prefix: &Path) -> Command {
        let mut command = if self.fixed { fixed(program) } else { Command::new(program) };
        command
            .env("WINEPREFIX", prefix)
            .env("WINEARCH", "win64")
            // The file netio.sys of the prefix instead of Wine's own, and no questions about Mono and Gecko.
            .env("WINEDLLOVERRIDES", "netio.sys=n;mscoree=;mshtml=")
            .env("WINEDEBUG", DEBUG)
            .env_remove("WINESERVER")
            .env_remove("WINELOADER")
            // No terminal, as for a service or a remote shell, whoever types the command.
            .env_remove("TERM")
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY");
        command
    }
}

/// The program that starts Windows programs, if it and the server that it needs are installed.
#[must_use]
pub fn loader() -> Option<PathBuf> {
    locate(&folders()).map(|(loader, _)| loader)
}

/// The loader and the server of Wine for ARM64: scripts that have the emulator run them.
fn emulated() -> Option<(PathBuf, PathBuf)> {
    let folder = Arch::Arm64.rig().join("wine/bin");
    let (loader, server) = (folder.join("wine"), folder.join("wineserver"));
    (loader.is_file() && server.is_file()).then_some((loader, server))
}

/// Where Wine may lie, best first.
fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(FOLDERS.map(PathBuf::from)).collect()
}

/// Loader and server. The one is of no use without the other.
fn locate(folders: &[PathBuf]) -> Option<(PathBuf, PathBuf)> {
    let find = |names: [&str; 2]| {
        let candidates = names.into_iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        candidates.into_iter().find(|file| file.is_file())
    };
    find(["wine64", "wine"]).zip(find(["wineserver64", "wineserver"]))
}

/// A program that, with all that it starts, is loaded at addresses that are always the same.
///
/// Debian's loader of Wine lies at 0x7D000000 and has to map a page at 0x7FFE0000. Linux puts a program's heap at a
/// random place up to 1 GiB behind the program. About once in a thousand starts that is where the page belongs: "failed
/// to map the shared user data", and the program ends before it has done anything.
fn fixed(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setarch");
    command.arg("--addr-no-randomize").arg(program);
    command
}

#[cfg(test)]
mod tests {
    use std::{fs, process};

    use super::*;

    #[test]
    fn a_loader_without_its_server_is_not_taken() {
        let folder = env::temp_dir().join(format!("sluice-wine-{}", process::id()));
        let (programs, library) = (folder.join("bin"), folder.join("lib/wine"));
        for path in [&programs, &library] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(programs.join("wine"), "").unwrap();
        let folders = [programs.clone(), library.clone()];
        let alone = locate(&folders);
        fs::write(library.join("wineserver"), "").unwrap();
        let both = locate(&folders);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(alone, None);
        assert_eq!(both, Some((programs.join("wine"), library.join("wineserver"))));
    }
}
