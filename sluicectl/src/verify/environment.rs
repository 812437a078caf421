//! The machine and the files that were verified.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::plan::{driver_file, names};
use crate::failure::Failure;

#[derive(Debug, Serialize)]
pub(super) struct Environment {
    pub(super) sluicectl: &'static str,
    /// The version of Windows.
    pub(super) windows: String,
    /// The kind of processor, even where this program is emulated.
    pub(super) processor: String,
    pub(super) processors: usize,
    /// The files of the drivers; none for installed ones.
    pub(super) drivers: Vec<DriverFile>,
    /// What Driver Verifier reports at the end; `None` where there is no Driver Verifier.
    pub(super) driver_verifier: Option<DriverVerifier>,
}

#[derive(Debug, Serialize)]
pub(super) struct DriverFile {
    pub(super) name: String,
    pub(super) length: u64,
    pub(super) sha256: String,
}

#[derive(Debug, Serialize)]
pub(super) struct DriverVerifier {
    pub(super) settings: String,
    pub(super) counters: String,
}

impl Environment {
    /// `folder` has the files of the drivers, unless they are installed.
    pub(super) fn look(folder: Option<&Path>, client: &str, has_gate: bool) -> Result<Self, Failure> {
        let names = if folder.is_some() { names(client, has_gate) } else { Vec::new() };
        let drivers =
            names.iter().zip(folder.iter().cycle()).map(|(name, folder)| DriverFile::read(&driver_file(folder, name)));
        Ok(Self {
            sluicectl: env!("CARGO_PKG_VERSION"),
            windows: windows_version(),
            processor: env::var("PROCESSOR_IDENTIFIER").unwrap_or_else(|_| env::consts::ARCH.to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            drivers: drivers.collect::<Result<_, _>>()?,
            driver_verifier: None,
        })
    }

    pub(super) fn ask_driver_verifier(&mut self) {
        let ask = |option| {
            let output = Command::new("verifier").arg(option).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().replace("\r\n", "\n"))
        };
        let answers = ask("/querysettings").zip(ask("/query"));
        self.driver_verifier = answers.map(|(settings, counters)| DriverVerifier { settings, counters });
    }
}

impl DriverFile {
    fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = fs::read(path).map_err(|error| Failure::unreadable(path, &error))?;
        let digest = Sha256::digest(&bytes);
        Ok(Self {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            length: bytes.len() as u64,
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

#[cfg(windows)]
fn windows_version() -> String {
    let windows_version::OsVersion { major, minor, build, .. } = windows_version::OsVersion::current();
    let revision = windows_version::revision();
    format!("{major}.{minor}.{build}.{revision}")
}

#[cfg(not(windows))]
fn windows_version() -> String {
    "none".to_owned()
}
