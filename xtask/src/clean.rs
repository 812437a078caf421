//! `cargo xtask clean`: gives back what is not needed to go on working.
//!
//! What stays by default is what would take minutes to make again: the builds of the last `cargo xtask test` and the
//! Wine prefix that all others are copied from. The certificate that drivers are signed with is never removed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::layout;

/// The arguments of `cargo xtask clean`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to remove [default: prefixes, incremental, tools, machines]
    #[arg(value_enum, value_name = "PART")]
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Wine prefixes that failed tests have left
    Prefixes,
    /// What rustc keeps to compile changed crates faster
    Incremental,
    /// The builds of sanitize, models, coverage, bench and fuzzing
    Tools,
    /// The root file systems of `cargo xtask machines`
    Machines,
    /// Everything that `cargo build` and `cargo test` have made
    Host,
    /// Everything that is built for Windows and Wine, drivers and prefixes included
    Drivers,
}

impl Part {
    const DEFAULT: [Self; 4] = [Self::Prefixes, Self::Incremental, Self::Tools, Self::Machines];

    /// Its folders, from that of the builds.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Prefixes => &["rig/x64/prefixes", "rig/arm64/prefixes"],
            Self::Incremental => &["debug/incremental", "release/incremental", "models/incremental"],
            Self::Tools => &[
                "sanitize",
                "models",
                "loom",
                "llvm-cov-target",
                "coverage",
                "release",
                "fuzz",
                "fuzz-coverage",
                "fuzz-edges",
            ],
            Self::Machines => &["machines"],
            Self::Host => &["debug", "release", "tests", "doc"],
            Self::Drivers => &["drivers", "rig", "signed", "dist"],
        }
    }
}

/// `cargo xtask clean`.
///
/// # Errors
/// A folder cannot be removed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let parts = if arguments.parts.is_empty() { &Part::DEFAULT[..] } else { &arguments.parts };
    let target = layout::root().join("target");
    let mut freed = 0;
    for folder in parts.iter().flat_map(|part| part.folders()) {
        let size = remove(&target.join(folder))?;
        if size > 0 {
            println!("{:>6} MB  target/{folder}", megabytes(size));
        }
        freed += size;
    }
    println!("{:>6} MB given back, {} MB left in target/", megabytes(freed), megabytes(used(&target)));
    Ok(())
}

pub(crate) fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Removes a folder if it is there, and returns what it took on the disk.
fn remove(folder: &Path) -> Result<u64> {
    if !folder.is_dir() {
        return Ok(0);
    }
    let size = used(folder);
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(size)
}

/// What the files below a folder take on the disk, in bytes.
pub(crate) fn used(folder: &Path) -> u64 {
    size(folder, &mut HashSet::new())
}

/// The same, but for files that were seen before. Of hard links, such as those in Wine prefixes, one counts.
fn size(path: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path(), seen),
        Ok(metadata) => size_of(&metadata, seen),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(unix)]
fn size_of(metadata: &fs::Metadata, seen: &mut HashSet<(u64, u64)>) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let is_first = metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino()));
    if is_first { metadata.blocks() * 512 } else { 0 }
}

#[cfg(not(unix))]
fn size_of(metadata: &fs::Metadata, _: &mut HashSet<(u64, u64)>) -> u64 {
    metadata.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_holds_the_certificate() {
        for part in Part::value_variants() {
            for folder in part.folders() {
                let folder = Path::new(folder);
                assert!(!folder.starts_with("signing") && folder.components().count() > 0, "{}", folder.display());
            }
        }
    }

    #[test]
    fn hard_links_count_once_and_what_is_not_there_is_nothing() {
        let folder = std::env::temp_dir().join(format!("xtask-clean-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/file"), vec![1; 100_000]).unwrap();
        let one = used(&folder);
        fs::hard_link(folder.join("a/file"), folder.join("a/b/link")).unwrap();
        let linked = used(&folder);
        let removed = remove(&folder).unwrap();
        assert!(one >= 100_000, "{one}");
        assert_eq!((linked, removed), (one, one));
        assert!(!folder.exists());
        assert_eq!(remove(&folder).unwrap(), 0);
    }
}
