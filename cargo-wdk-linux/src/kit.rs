//! Where things lie: those that stand in for Windows, and those of the workspace that is built.

use std::fmt;
use std::path::PathBuf;

/// A processor architecture that drivers are built for, under the name that Windows gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arch {
    /// AMD64
    X64,
    /// AArch64
    Arm64,
}

impl Arch {
    /// The Rust target of a driver.
    #[must_use]
    pub fn driver_target(self) -> &'static str {
        match self {
            Self::X64 => "x86_64-pc-windows-msvc",
            Self::Arm64 => "aarch64-pc-windows-msvc",
        }
    }

    /// The Rust target of a user-mode program. mingw-w64, which links those for x64, has no ARM64 in Debian.
    #[must_use]
    pub fn program_target(self) -> &'static str {
        match self {
            Self::X64 => "x86_64-pc-windows-gnu",
            Self::Arm64 => "aarch64-pc-windows-msvc",
        }
    }
}

impl From<Arch> for driver_check::Arch {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::X64 => Self::X64,
            Arch::Arm64 => Self::Arm64,
        }
    }
}

impl From<Arch> for wdk_rig::Arch {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::X64 => Self::X64,
            Arch::Arm64 => Self::Arm64,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        })
    }
}

/// What stands in for Windows.
#[derive(Debug, Clone)]
pub struct Kit {
    /// The folder that has its sources, as a checkout of Sluice has: `rig/wdk`, `rig/netio` and so on.
    pub sources: PathBuf,
    /// Where it is made of them: the content root, and a folder for each architecture.
    pub made: PathBuf,
    /// The folder whose Rust tool chain builds.
    pub toolchain: PathBuf,
}

impl Kit {
    /// The WDK content root that is made from the headers of mingw-w64.
    #[must_use]
    pub fn content_root(&self) -> PathBuf {
        self.made.join("wdk")
    }

    /// What drivers of `arch` run in: netio.sys, Wine prefixes, and for arm64 an emulator and a Wine.
    #[must_use]
    pub fn rig(&self, arch: Arch) -> PathBuf {
        self.made.join(arch.to_string())
    }
}

/// A workspace whose packages are built for Windows.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Where its Cargo.toml lies.
    pub root: PathBuf,
    /// A folder below the root for all that is made.
    pub made: PathBuf,
    /// What the root is called in images and symbols.
    pub name: String,
    /// The crates that take the place of those of crates.io: name, and folder (from the root, or absolute).
    pub patches: Vec<(String, PathBuf)>,
}

impl Workspace {
    /// The twin of the workspace, which cargo works in.
    #[must_use]
    pub fn twin(&self) -> PathBuf {
        self.made.join("workspace")
    }

    /// cargo's target directory for everything that runs on Windows or Wine.
    #[must_use]
    pub fn cargo_target(&self) -> PathBuf {
        self.made.join("cargo")
    }
}
