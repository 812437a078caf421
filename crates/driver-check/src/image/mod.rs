//! Driver images: `.sys` files, each with its `.pdb` beside it.
//!
//! Everything that can be read off the file is: `header`, `section`, `import`, `export`, `relocation`, `version`, `pdb`
//! (and with it `panics`, the calls that may panic, and `stack`, how much of it functions take) and `path`.

mod calls;
mod export;
mod header;
mod import;
mod import_list;
mod message;
mod panics;
mod path;
mod pdb;
mod relocation;
mod section;
mod stack;
#[cfg(test)]
mod testing;
mod unwind;
mod version;

use std::path::Path;
use std::{fs, io};

pub use import_list::{ImportList, ImportListError};
pub use message::messages;
use object::pe::ImageNtHeaders64;
use object::read::pe::{DataDirectories, PeFile64, SectionTable};
pub use panics::MayPanic;
pub use path::of_this_machine as paths_of_this_machine;
use pdb::Symbols;
pub use stack::StackLimit;

use crate::Arch;

checks! {
    /// What is checked of an image.
    enum Check {
        /// PE32+.
        Format = "format",
        /// The processor it is for.
        Machine = "machine",
        /// EXECUTABLE_IMAGE and LARGE_ADDRESS_AWARE.
        Characteristics = "characteristics",
        /// Native.
        Subsystem = "subsystem",
        /// There, and in executable code.
        EntryPoint = "entry-point",
        /// NX, dynamic base, high entropy, force integrity.
        Protections = "protections",
        /// Sections begin with pages.
        SectionAlignment = "section-alignment",
        /// That of the file.
        Checksum = "checksum",
        /// Sections follow one another, within the file and the image.
        Sections = "sections",
        /// Sections say what they hold.
        SectionAttributes = "section-attributes",
        /// No section is writable and executable.
        WritableCode = "writable-code",
        /// No code is in a discardable section.
        DiscardableCode = "discardable-code",
        /// The import address table is not in executable code.
        ExecutableImports = "executable-imports",
        /// Imports are of the kernel's, by name, from the list.
        Imports = "imports",
        /// No pool allocation that may be executable.
        ExecutablePool = "executable-pool",
        /// No imports that are loaded late.
        DelayImports = "delay-imports",
        /// None.
        ThreadLocalStorage = "thread-local-storage",
        /// None but those that are expected.
        Exports = "exports",
        /// There and well-formed.
        Relocations = "relocations",
        /// The version resource is there and complete.
        Version = "version",
        /// The image names its PDB, which lies beside it.
        Pdb = "pdb",
        /// The image is marked as reproducible.
        Reproducible = "reproducible",
        /// No call of a function that panics.
        Panics = "panics",
        /// Frames, and the deepest paths from functions, within their limits.
        Stack = "stack",
        /// No path of the machine that built it.
        Paths = "paths",
    }
}

/// Something in an image that is not as it should be.
pub type Finding = crate::Finding<Check>;

impl Finding {
    fn new(check: Check, text: impl Into<String>, source: &'static str) -> Self {
        Self { check, text: text.into(), source }
    }
}

/// What is expected of an image beyond what Windows demands of every driver.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// The processor that it must be for; either one if there is none.
    pub arch: Option<Arch>,
    /// The names that it may export. A driver exports none unless others link to it.
    pub exports: Vec<String>,
    /// The functions that it may import; any kernel function if there is none.
    pub imports: Option<ImportList>,
    /// Functions that may panic, and who may call them.
    pub may_panic: Vec<MayPanic>,
    /// The most that one frame may take of the stack, in bytes; anything if there is none.
    pub frame_limit: Option<u32>,
    /// How much stack functions may take with all that they call.
    pub stack_limits: Vec<StackLimit>,
    /// Folders that must not be named in the image or its symbols; see [`paths_of_this_machine`].
    pub local_paths: Vec<String>,
    /// The checks that are left out.
    pub allow: Vec<Check>,
}

/// Checks the image in `file`, with the symbols that lie beside it.
///
/// # Errors
/// The image cannot be read. Symbols that cannot be are a finding.
pub fn check_file(file: &Path, expectations: &Expectations) -> io::Result<Vec<Finding>> {
    let bytes = fs::read(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let symbols = Symbols::beside(file);
    Ok(check(&name, &bytes, symbols.as_ref().map_err(String::as_str), expectations))
}

/// Checks the image `bytes` of a file that is called `name`.
fn check(name: &str, bytes: &[u8], symbols: Result<&Symbols, &str>, expectations: &Expectations) -> Vec<Finding> {
    let mut findings = Vec::new();
    match Image::parse(name, bytes) {
        Ok(image) => {
            header::check(&image, expectations.arch, &mut findings);
            section::check(&image, &mut findings);
            import::check(&image, expectations.imports.as_ref(), &mut findings);
            export::check(&image, &expectations.exports, &mut findings);
            relocation::check(&image, &mut findings);
            version::check(&image, &mut findings);
            pdb::check(&image, symbols, &mut findings);
            if let Ok(symbols) = symbols {
                panics::check(&image, symbols, &expectations.may_panic, &mut findings);
                stack::check(&image, symbols, expectations.frame_limit, &expectations.stack_limits, &mut findings);
            }
            path::check(&image, symbols.ok(), &expectations.local_paths, &mut findings);
        }
        Err(error) => {
            let text = format!("expected a 64-bit PE image, found a file that Windows does not load ({error})");
            findings.push(Finding::new(Check::Format, text, "PE Format, Optional Header (Image Only)"));
        }
    }
    findings.retain(|finding| !expectations.allow.contains(&finding.check));
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
    fn a_file_that_is_not_an_image_is_one_finding() {
        let found = check("sluice.sys", b"MZ but nothing else", Err("none"), &Expectations::default());
        assert_eq!(found.len(), 1);
        assert!(found[0].text.starts_with("expected a 64-bit PE image"), "{}", found[0]);
    }

    #[test]
    fn a_finding_names_its_check_and_its_source() {
        let mut driver = Driver::new();
        driver.subsystem = 2;
        let found = one_finding(&driver);
        assert!(found.ends_with("[subsystem: PE Format, Windows Subsystem]"), "{found}");
    }

    #[test]
    fn a_check_that_is_left_out_finds_nothing_and_no_other_is() {
        let mut driver = Driver { subsystem: 2, entry: 0, ..Driver::new() };
        driver.expectations.allow = vec![Check::Subsystem];
        assert!(one_finding(&driver).starts_with("the image has no entry point"));
    }
}
