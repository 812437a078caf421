//! `cargo xtask check-image`: whether a driver image is one that Windows accepts and that we want to ship.
//!
//! Everything that can be read off the file is: [`header`], [`section`], [`import`] (and exports and relocations),
//! [`version`], [`symbols`] (the PDB, and with it the calls that may panic) and [`path`]. What a finding means and which
//! page says so stands in the finding itself; docs/image-check.md lists them all.

mod header;
mod import;
mod path;
mod section;
mod symbols;
#[cfg(test)]
mod testing;
mod version;

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context, Result, bail};
use object::pe::ImageNtHeaders64;
use object::read::pe::{DataDirectories, PeFile64, SectionTable};
use symbols::Symbols;

use crate::layout::{self, Arch};

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
    report(&arguments.files, &Wanted { arch: arguments.arch, exports: &arguments.allow_export })
}

/// Checks all drivers of `arch` that have been built.
///
/// # Errors
/// A file cannot be read, or there are findings; those are printed.
pub(crate) fn check_drivers(arch: Arch) -> Result<()> {
    report(&built_drivers(arch)?, &Wanted { arch: Some(arch), exports: &[] })
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

fn report(files: &[PathBuf], wanted: &Wanted<'_>) -> Result<()> {
    let mut findings = 0;
    for file in files {
        let shown = file.strip_prefix(layout::root()).unwrap_or(file).display();
        let found = check_file(file, wanted)?;
        if found.is_empty() {
            println!("{shown}: nothing found");
        }
        for finding in &found {
            println!("{shown}: {finding}");
        }
        findings += found.len();
    }
    match findings {
        0 => Ok(()),
        1 => bail!("1 finding"),
        _ => bail!("{findings} findings"),
    }
}

/// What the person who asks wants of an image, beyond what Windows does.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// The architecture, if it is known.
    pub(crate) arch: Option<Arch>,
    /// The names that may be exported.
    pub(crate) exports: &'a [String],
}

/// Something in an image that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What is wrong and why it matters, one sentence.
    pub(crate) text: String,
    /// Who says so: a page of Microsoft's documentation and its section.
    pub(crate) source: &'static str,
}

impl Finding {
    fn new(text: impl Into<String>, source: &'static str) -> Self {
        Self { text: text.into(), source }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.text, self.source)
    }
}

/// Checks the image in `file`, with the symbols that lie beside it.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn check_file(file: &Path, wanted: &Wanted<'_>) -> Result<Vec<Finding>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let symbols = Symbols::beside(file);
    Ok(check(&name, &bytes, symbols.as_ref().map_err(String::as_str), &path::of_this_machine(), wanted))
}

/// Checks the image `bytes` of a file that is called `name`.
fn check(
    name: &str,
    bytes: &[u8],
    symbols: Result<&Symbols, &str>,
    local_paths: &[String],
    wanted: &Wanted<'_>,
) -> Vec<Finding> {
    let image = match Image::parse(name, bytes) {
        Ok(image) => image,
        Err(error) => {
            let text = format!("the file is no 64-bit PE image ({error}), so Windows does not load it");
            return vec![Finding::new(text, "PE Format, Optional Header (Image Only)")];
        }
    };
    let mut findings = Vec::new();
    header::check(&image, wanted.arch, &mut findings);
    section::check(&image, &mut findings);
    import::check(&image, wanted.exports, &mut findings);
    version::check(&image, &mut findings);
    symbols::check(&image, symbols, &mut findings);
    path::check(&image, symbols.ok(), local_paths, &mut findings);
    findings
}

/// An image that could be parsed.
struct Image<'a> {
    /// The name of its file.
    name: &'a str,
    bytes: &'a [u8],
    /// Where the PE signature is.
    headers_offset: usize,
    headers: &'a ImageNtHeaders64,
    sections: SectionTable<'a>,
    directories: DataDirectories<'a>,
}

impl<'a> Image<'a> {
    fn parse(name: &'a str, bytes: &'a [u8]) -> object::Result<Self> {
        let file = PeFile64::parse(bytes)?;
        let headers_offset = usize::try_from(file.dos_header().nt_headers_offset()).unwrap_or(usize::MAX);
        Ok(Self {
            name,
            bytes,
            headers_offset,
            headers: file.nt_headers(),
            sections: file.section_table(),
            directories: file.data_directories(),
        })
    }

    /// Where a data directory lies, as address and size; `None` if it is absent or empty.
    fn directory(&self, index: usize) -> Option<(u32, u32)> {
        self.directories.get(index).map(object::pe::ImageDataDirectory::address_range).filter(|(_, size)| *size != 0)
    }
}

/// An image that nothing is wrong with, its symbols aside.
#[cfg(test)]
pub(crate) fn good_image() -> Vec<u8> {
    testing::Driver::new().image()
}

#[cfg(test)]
mod tests {
    use testing::{Driver, findings, one_finding};

    use super::*;

    #[test]
    fn a_good_driver_has_no_findings() {
        assert_eq!(findings(&Driver::new()), Vec::<String>::new());
        assert_eq!(findings(&Driver::arm64()), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_image_is_one_finding() {
        let found = check("sluice.sys", b"MZ but nothing else", Err("none"), &[], &Wanted::default());
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("no 64-bit PE image"), "{}", found[0]);
    }

    #[test]
    fn a_finding_names_its_source() {
        let mut driver = Driver::new();
        driver.subsystem = 2;
        assert!(one_finding(&driver).ends_with("[PE Format, Windows Subsystem]"), "{}", one_finding(&driver));
    }
}
