//! Sets up what runs ARM64 drivers on an x64 machine: Wine for ARM64, and an emulator of the processor.
//!
//! Both are packages of Debian 13, downloaded by apt with a configuration of its own and unpacked into the folder of
//! the kit. Nothing is installed, so neither root nor a feature of the kernel is needed: Wine starts its programs
//! through what it takes for its preloader, which is a script here that has the emulator run them.
//!
//! ```text
//! arm64/wine/bin/          wine, wineserver, qemu-aarch64
//! arm64/wine/usr/ ..       the files of the packages for ARM64
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::debian;
use crate::kit::{Arch, Kit};
use crate::run::{line, link, output, program, remove_folder, run, write_executable, write_if_changed};

/// The release of Debian that has the packages: older ones have a Wine for ARM64 that cannot load drivers.
const RELEASE: &str = "trixie";
/// The processor that is emulated. Wine's start does not end on QEMU's default one.
const PROCESSOR: &str = "cortex-a72";
/// What apt trusts to sign the release, if it is where Debian keeps it.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// In the root of the unpacked packages when all is done: which of this module's versions did it.
const DONE: &str = ".made-by";
const VERSION: &str = "1";

/// Sets up what running drivers of `arch` needs beyond [`crate::setup`]: nothing for x64.
///
/// # Errors
/// A tool is missing, or a package cannot be downloaded or unpacked.
pub fn ensure(kit: &Kit, arch: Arch) -> Result<()> {
    let root = kit.rig(Arch::Arm64).join("wine");
    if arch == Arch::X64 || fs::read_to_string(root.join(DONE)).is_ok_and(|version| version == VERSION) {
        return Ok(());
    }
    let missing: Vec<&str> =
        ["apt-get", "dpkg", "dpkg-deb"].into_iter().filter(|name| program(name).is_none()).collect();
    ensure!(missing.is_empty(), "expected Debian or Ubuntu, whose tools fetch Wine for ARM64; missing: {missing:?}");
    let host = output(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    ensure!(host == "amd64", "expected a machine of architecture amd64, which emulates ARM64, found {host}");

    println!("Fetching Wine for ARM64 and an emulator into {}: 200 MB, 1 GB unpacked.", root.display());
    remove_folder(&root)?;
    let apt = Apt::new(&kit.rig(Arch::Arm64).join("apt"), &host)?;
    apt.get(&["update"])?;
    apt.get(&["install", "--yes", "--download-only", "wine64"])?;
    apt.unpack(&root)?;
    let emulator = kit.rig(Arch::Arm64).join("qemu");
    apt.get(&["download", &format!("qemu-user:{host}")])?;
    apt.unpack(&emulator)?;
    write_programs(&root, &emulator)?;
    remove_folder(&emulator)?;
    apt.remove()?;
    // Last: without it, all is done again.
    write_if_changed(&root.join(DONE), VERSION).map(drop)
}

/// Puts the emulator and the scripts that start it in their places.
fn write_programs(root: &Path, emulator: &Path) -> Result<()> {
    let bin = root.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let from = emulator.join("usr/bin/qemu-aarch64");
    fs::rename(&from, bin.join("qemu-aarch64")).with_context(|| format!("cannot move {}", from.display()))?;
    // The packages expect /lib to be a link, as it is in every Debian.
    let lib = root.join("lib");
    if !lib.exists() {
        link(Path::new("usr/lib"), &lib)?;
    }
    let wine = root.join("usr/lib/wine");
    // Wine calls it with the path of its loader and what that is to run.
    script(&wine.join("wine64-preloader"), "../../..", r#""$@""#)?;
    script(&wine.join("wineserver"), "../../..", r#""$root/usr/lib/wine/wineserver64" "$@""#)?;
    script(&bin.join("wine"), "..", r#""$root/usr/lib/wine/wine64" "$@""#)?;
    script(&bin.join("wineserver"), "..", r#""$root/usr/lib/wine/wineserver64" "$@""#)
}

/// Writes a script that has the emulator run a command. It finds the emulator by its own place, so that the folder can
/// be moved.
fn script(path: &Path, root: &str, command: &str) -> Result<()> {
    let text = format!(
        "#!/bin/sh\nroot=$(cd \"${{0%/*}}/{root}\" && pwd -P)\n\
         exec \"$root/bin/qemu-aarch64\" -cpu {PROCESSOR} -L \"$root\" {command}\n"
    );
    // A new file: the one of the package may be a link.
    let _ = fs::remove_file(path);
    write_executable(path, &text).map(drop)
}

/// apt, with a configuration, lists and a cache of its own.
struct Apt {
    folder: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    fn new(folder: &Path, host: &str) -> Result<Self> {
        remove_folder(folder)?;
        for below in ["lists/partial", "cache/archives/partial", "download"] {
            let path = folder.join(below);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        // No package counts as installed.
        write_if_changed(&folder.join("status"), "")?;
        let signed_by = if Path::new(KEYRING).is_file() { format!(" signed-by={KEYRING}") } else { String::new() };
        let source = format!("deb [arch=arm64,{host}{signed_by}] {} {RELEASE} main\n", debian::mirror()?);
        write_if_changed(&folder.join("sources.list"), source)?;
        let configuration = folder.join("apt.conf");
        write_if_changed(&configuration, configure(folder, host))?;
        Ok(Self { folder: folder.to_path_buf(), configuration })
    }

    fn get(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.arg("--quiet").args(arguments);
        command.env("APT_CONFIG", &self.configuration).current_dir(self.folder.join("download"));
        println!("$ {}", line(&command));
        run(&mut command)
    }

    /// Unpacks what has been downloaded into a folder, and forgets it.
    fn unpack(&self, to: &Path) -> Result<()> {
        for folder in ["cache/archives", "download"] {
            let folder = self.folder.join(folder);
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let package = entry?.path();
                if package.extension().is_some_and(|extension| extension == "deb") {
                    run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(to))?;
                    fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))?;
                }
            }
        }
        Ok(())
    }

    fn remove(self) -> Result<()> {
        remove_folder(&self.folder)
    }
}

/// apt's configuration for packages of ARM64, with everything that it writes in a folder.
fn configure(folder: &Path, host: &str) -> String {
    let folder = folder.display();
    format!(
        "APT::Architecture \"arm64\";\nAPT::Architectures {{ \"arm64\"; \"{host}\"; }};\n\
         APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
         Dir::State \"{folder}\";\nDir::State::status \"{folder}/status\";\nDir::Cache \"{folder}/cache\";\n\
         Dir::Etc::sourcelist \"{folder}/sources.list\";\nDir::Etc::sourceparts \"-\";\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_writes_into_its_folder_alone() {
        let text = configure(Path::new("/checkout/apt"), "amd64");
        for name in ["Dir::State ", "Dir::State::status ", "Dir::Cache ", "Dir::Etc::sourcelist "] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            assert!(value.starts_with("\"/checkout/apt"), "{name}{value}");
        }
        assert!(text.contains("APT::Architectures { \"arm64\"; \"amd64\"; };"), "{text}");
    }
}
