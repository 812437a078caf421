//! The processor architecture of a rig.

use std::path::PathBuf;
use std::{env, fmt};

use anyhow::{Result, bail};

use crate::folders;

/// Names the architecture of the rigs that tests make.
const VARIABLE: &str = "SLUICE_ARCH";

/// A processor architecture, under the name that Windows gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// AMD64, in the Wine of this machine.
    X64,
    /// AArch64, in a Wine of its own that an emulator runs (`cargo xtask setup --arch arm64`).
    Arm64,
}

impl Arch {
    /// The one that the environment variable `SLUICE_ARCH` names; x64 without it.
    ///
    /// # Errors
    /// It names another.
    pub fn chosen() -> Result<Self> {
        match env::var(VARIABLE) {
            Err(env::VarError::NotPresent) => Ok(Self::X64),
            Ok(name) if name == "x64" => Ok(Self::X64),
            Ok(name) if name == "arm64" => Ok(Self::Arm64),
            other => bail!("expected x64 or arm64 in {VARIABLE}, found {other:?}"),
        }
    }

    /// The variable and its value, for a program that makes rigs of this architecture.
    #[must_use]
    pub fn variable(self) -> (&'static str, String) {
        (VARIABLE, self.to_string())
    }

    /// What a user installs: `target/drivers/<arch>` in a checkout of Sluice, else where [`use_folders`] or the
    /// environment says.
    ///
    /// [`use_folders`]: crate::use_folders
    #[must_use]
    pub fn drivers(self) -> PathBuf {
        folders::drivers().join(self.to_string())
    }

    /// What the rig consists of: `target/rig/<arch>` in a checkout of Sluice.
    #[must_use]
    pub fn rig(self) -> PathBuf {
        folders::rig().join(self.to_string())
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        })
    }
}
