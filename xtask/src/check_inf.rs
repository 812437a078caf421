//! `cargo xtask check-inf`: whether InfVerif would take the INF files of the drivers, as far as crates/driver-check
//! knows its rules. InfVerif itself runs on Windows only (`cargo make package`).

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use driver_check::inf;

use crate::layout;

/// The drivers that are installed, each from an .inx file of its name.
const DRIVERS: [&str; 3] = ["sluice", "probe", "gate"];

/// The arguments of `cargo xtask check-inf`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// INF files, or .inx files that are still to be stamped [default: those of inf/]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// `cargo xtask check-inf`.
///
/// # Errors
/// A file cannot be read, or there are findings; those are printed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let ours = DRIVERS.map(|name| layout::root().join("inf").join(name).with_extension("inx"));
    let files = if arguments.files.is_empty() { &ours[..] } else { &arguments.files };
    let mut count = 0;
    for file in files {
        let shown = file.strip_prefix(layout::root()).unwrap_or(file).display();
        let found = inf::check_file(file, &[]).with_context(|| format!("cannot read {shown}"))?;
        if found.is_empty() {
            println!("{shown}: nothing found");
        }
        for finding in &found {
            println!("{shown}: {finding}");
        }
        count += found.len();
    }
    match count {
        0 => Ok(()),
        1 => bail!("1 finding"),
        _ => bail!("{count} findings"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use driver_check::Arch;

    use super::*;

    #[test]
    fn our_files_are_good_before_and_after_stamping() {
        for name in DRIVERS {
            let text = fs::read_to_string(layout::root().join("inf").join(name).with_extension("inx")).unwrap();
            assert_eq!(inf::check(&text, true), [], "{name}");
            for arch in [Arch::X64, Arch::Arm64] {
                let stamped = inf::stamp(&text, arch, "11/23/2026", "1.2.3.0");
                assert_eq!(inf::check(&stamped, false), [], "{name}, {arch}");
            }
        }
    }
}
