//! `cargo xtask sign`: signs the drivers with a test certificate, for machines on which test signing is on.
//!
//! The certificate is made on first use and kept in target/signing/, since a machine that trusts it should not have to
//! trust a new one after every build. Signed copies go to `target/signed/<arch>/`; what was built stays as it is,
//! because a signature is never the same twice. On Windows the tasks of Makefile.toml do this with the WDK's tools.

use std::path::PathBuf;

use anyhow::{Result, bail};
use cargo_wdk_linux::signature::{self, Certificate, sign_file};

use crate::check_image;
use crate::layout::{self, Arch};

/// The arguments of `cargo xtask sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// An RFC 3161 time stamping server, so that signatures outlive the certificate (none is asked without it)
    #[arg(long, value_name = "URL")]
    timestamp: Option<String>,
}

/// `cargo xtask sign`.
///
/// # Errors
/// No driver has been built, a tool is missing or fails, or a signature does not verify.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut signed = Vec::new();
    for arch in [Arch::X64, Arch::Arm64].into_iter().filter(|arch| layout::drivers(*arch).is_dir()) {
        signed.extend(sign(arch, arguments.timestamp.as_deref())?);
    }
    if signed.is_empty() {
        bail!("there is no driver under target/drivers/; `cargo xtask build` makes them");
    }
    signed.push(certificate()?.der);
    for file in signed {
        println!("{}", file.strip_prefix(layout::root()).unwrap_or(&file).display());
    }
    Ok(())
}

/// Where signed drivers are put.
pub(crate) fn folder(arch: Arch) -> PathBuf {
    layout::root().join("target/signed").join(arch.to_string())
}

/// Signs all drivers of `arch` that have been built, and returns the signed copies.
///
/// # Errors
/// A tool is missing or fails, or a signature does not verify.
pub(crate) fn sign(arch: Arch, timestamp: Option<&str>) -> Result<Vec<PathBuf>> {
    let mut signed = Vec::new();
    for driver in check_image::built_drivers(arch)? {
        let to = folder(arch).join(driver.file_name().unwrap_or_default());
        sign_file(&driver, &to, &certificate()?, "Sluice", timestamp)?;
        signed.push(to);
    }
    Ok(signed)
}

/// The test certificate. Makes it if there is none.
///
/// # Errors
/// openssl is missing or fails.
pub(crate) fn certificate() -> Result<Certificate> {
    signature::certificate(&layout::root().join("target/signing"), "sluice")
}
