//! Where things lie in the repository and under target/.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A processor architecture that drivers are built for, under the name that Windows gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    /// AMD64
    X64,
    /// AArch64
    Arm64,
}

impl Arch {
    /// The Rust target of a driver.
    pub(crate) fn driver_target(self) -> &'static str {
        match self {
            Self::X64 => "x86_64-pc-windows-msvc",
            Self::Arm64 => "aarch64-pc-windows-msvc",
        }
    }

    /// The Rust target of a user-mode program. mingw-w64, which links those for x64, has no ARM64 in Debian.
    pub(crate) fn program_target(self) -> &'static str {
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

impl From<Arch> for sluice_rig::Arch {
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

/// The root of the checkout that this program runs in.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(sluice_rig::root)
}

/// What a user installs: sluice.sys, probe.sys, their symbols, and the programs that go with them.
pub(crate) fn drivers(arch: Arch) -> PathBuf {
    sluice_rig::Arch::from(arch).drivers()
}

/// What stands in for Windows and must never get onto one: netio.sys and what else Wine lacks.
pub(crate) fn rig(arch: Arch) -> PathBuf {
    sluice_rig::Arch::from(arch).rig()
}

/// The WDK content root that is made from the headers of mingw-w64.
pub(crate) fn content_root() -> PathBuf {
    root().join("target/rig/wdk")
}

/// The twin of the workspace.
pub(crate) fn twin() -> PathBuf {
    root().join("target/rig/workspace")
}

/// cargo's target directory for everything that runs on Windows or Wine.
pub(crate) fn cargo_target() -> PathBuf {
    root().join("target/rig/cargo")
}
