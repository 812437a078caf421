//! `cargo xtask check-image`: what the driver images of this repository have to be (crates/driver-check knows what
//! Windows demands of every driver).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use driver_check::image::{self, Expectations, Finding, ImportList, MayPanic, StackLimit};

use crate::layout::{self, Arch};

/// What the drivers may import.
const IMPORTS: &str = include_str!("imports.txt");

/// The oldest Windows that the drivers run on: Windows 10 version 2004, the first with ExAllocatePool2 and so the first
/// whose pool allocations are zeroed and never executable.
const OLDEST_BUILD: u32 = 19041;

/// The most that one frame may take of the stack, in bytes. docs/npi.md states it.
const FRAME_LIMIT: u32 = 1024;

/// The most that functions of drivers take of the stack of a thread that calls them, in bytes, without what functions
/// of the kernel and of other drivers take: driver, function, bytes. docs/npi.md states it.
const STACK_LIMITS: [(&str, &str, u32); 4] = [
    ("sluice.sys", "sluice_npi::nmr::classify", 6144),
    ("sluice.sys", "wdk_nmr::provider::attach", 1536),
    ("sluice.sys", "wdk_nmr::provider::detach", 256),
    ("sluice.sys", "wdk_nmr::provider::cleanup", 1024),
];

/// The stack limits of the functions of this driver.
fn stack_limits(file: &Path) -> Vec<StackLimit> {
    let of_file = STACK_LIMITS.into_iter().filter(|(driver, ..)| file.ends_with(driver));
    of_file.map(|(_, function, bytes)| StackLimit { function: function.to_owned(), bytes }).collect()
}

/// The arguments of `cargo xtask check-image`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Driver images (.sys), each with its .pdb beside it
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The processor architecture that the images must be for; either one without it
    #[arg(long, value_enum)]
    arch: Option<Arch>,

    /// A name that an image may export, beside none
    #[arg(long, value_name = "NAME")]
    allow_export: Vec<String>,
}

/// `cargo xtask check-image`.
///
/// # Errors
/// A file cannot be read, or there are findings; those are printed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    report(&arguments.files, &Expectations { exports: arguments.allow_export.clone(), ..expectations(arguments.arch)? })
}

/// Checks all drivers of `arch` that have been built.
///
/// # Errors
/// A file cannot be read, or there are findings; those are printed.
pub(crate) fn check_drivers(arch: Arch) -> Result<()> {
    report(&built_drivers(arch)?, &expectations(Some(arch))?)
}

/// What every driver of this repository has to be.
///
/// # Errors
/// The list of imports cannot be read.
pub(crate) fn expectations(arch: Option<Arch>) -> Result<Expectations> {
    let mut local_paths = image::paths_of_this_machine();
    local_paths.push(layout::root().to_string_lossy().into_owned());
    // The registration of events, in which the crate tracelogging panics should it happen twice. Like what prints, it
    // is never reached from a dispatch function.
    let mut may_panic = vec![MayPanic::new("trace::start", &["DriverEntry", "driver_entry"])];
    may_panic.extend(MayPanic::printing());
    Ok(Expectations {
        arch: arch.map(Into::into),
        imports: Some(ImportList::parse(IMPORTS, OLDEST_BUILD).context("xtask/src/imports.txt")?),
        may_panic,
        frame_limit: Some(FRAME_LIMIT),
        local_paths,
        ..Expectations::default()
    })
}

/// The drivers of `arch` that have been built, by name.
///
/// # Errors
/// There are none.
pub(crate) fn built_drivers(arch: Arch) -> Result<Vec<PathBuf>> {
    let folder = layout::drivers(arch);
    let entries = fs::read_dir(&folder);
    let entries = entries
        .with_context(|| format!("there are no drivers for {arch}; `cargo xtask build --arch {arch}` makes them"))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sys"));
    files.sort();
    Ok(files)
}

fn report(files: &[PathBuf], expectations: &Expectations) -> Result<()> {
    let mut findings: Vec<Finding> = Vec::new();
    for file in files {
        let shown = file.strip_prefix(layout::root()).unwrap_or(file).display();
        let expectations = Expectations { stack_limits: stack_limits(file), ..expectations.clone() };
        let found = image::check_file(file, &expectations).with_context(|| format!("cannot read {shown}"))?;
        if found.is_empty() {
            println!("{shown}: nothing found");
        }
        for finding in &found {
            println!("{shown}: {finding}");
        }
        findings.extend(found);
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("1 finding"),
        count => bail!("{count} findings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_interface_states_what_is_checked() {
        let page = fs::read_to_string(layout::root().join("docs/npi.md")).unwrap();
        let frame = format!("no frame above {FRAME_LIMIT} bytes");
        assert!(page.contains(&frame), "docs/npi.md does not say: {frame}");
        for (_, function, bytes) in STACK_LIMITS {
            let row = format!("`{function}` | {bytes} |");
            assert!(page.contains(&row), "docs/npi.md does not say: {row}");
        }
    }

    #[test]
    fn the_list_holds_nothing_that_the_import_library_lacks() {
        let made = layout::kit().content_root().join("Lib/10.0.26100.0/km/x64/ntoskrnl.def");
        let Ok(definitions) = fs::read_to_string(&made) else {
            println!("{} is not made yet: nothing to compare with", made.display());
            return;
        };
        // The library may have been made before a name was added to the list that it is made of.
        let added = fs::read_to_string(layout::root().join("rig/wdk/lib/ntoskrnl.def")).unwrap();
        let names: Vec<&str> =
            definitions.lines().chain(added.lines()).filter_map(|line| line.split_whitespace().next()).collect();
        let list = expectations(None).unwrap().imports.unwrap();
        let missing: Vec<_> = list.functions("ntoskrnl.exe").filter(|name| !names.contains(name)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
