//! The debug directory, and the PDB that it names.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use object::LittleEndian as LE;
use object::pe::{self, ImageDebugDirectory};
use pdb::FallibleIterator;

use super::{Check, Finding, Image};

const DEBUG: &str = "PE Format, The .debug Section";

/// What is of interest in a PDB.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    pub(super) guid: [u8; 16],
    pub(super) age: u32,
    /// Where functions start (relative to the image) and what they are called, in order.
    pub(super) functions: Vec<(u32, String)>,
    /// The whole file.
    pub(super) contents: Vec<u8>,
}

impl Symbols {
    /// Reads the PDB that lies beside `image` and has its name; otherwise says why it cannot.
    pub(super) fn beside(image: &Path) -> Result<Self, String> {
        let path = image.with_extension("pdb");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let contents = fs::read(&path).map_err(|error| format!("{name}: {error}"))?;
        let symbols = Self::read(&contents).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { contents, ..symbols })
    }

    /// The function that the code at `address` belongs to, and where it starts.
    pub(super) fn function_at(&self, address: u32) -> Option<&(u32, String)> {
        let index = self.functions.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        self.functions.get(index)
    }

    fn read(contents: &[u8]) -> pdb::Result<Self> {
        let mut pdb = pdb::PDB::open(Cursor::new(contents))?;
        let information = pdb.pdb_information()?;
        let debug_information = pdb.debug_information()?;
        let address_map = pdb.address_map()?;
        let mut functions = Vec::new();

        let mut modules = debug_information.modules()?;
        while let Some(module) = modules.next()? {
            let Some(module) = pdb.module_info(&module)? else { continue };
            let mut symbols = module.symbols()?;
            while let Some(symbol) = symbols.next()? {
                if let Ok(pdb::SymbolData::Procedure(procedure)) = symbol.parse()
                    && let Some(address) = procedure.offset.to_rva(&address_map)
                {
                    functions.push((address.0, procedure.name.to_string().into_owned()));
                }
            }
        }
        // Code without debug information has public names only.
        let global_symbols = pdb.global_symbols()?;
        let mut symbols = global_symbols.iter();
        while let Some(symbol) = symbols.next()? {
            if let Ok(pdb::SymbolData::Public(public)) = symbol.parse()
                && public.code
                && let Some(address) = public.offset.to_rva(&address_map)
                && !functions.iter().any(|(known, _)| *known == address.0)
            {
                functions.push((address.0, format!("{:#}", rustc_demangle::demangle(&public.name.to_string()))));
            }
        }
        functions.sort();
        let age = debug_information.age().unwrap_or(information.age);
        Ok(Self { guid: information.guid.to_bytes_le(), age, functions, contents: Vec::new() })
    }
}

pub(super) fn check(image: &Image<'_>, symbols: Result<&Symbols, &str>, findings: &mut Vec<Finding>) {
    let entries = debug_directory(image);
    if !entries.iter().any(|entry| entry.typ.get(LE) == pe::IMAGE_DEBUG_TYPE_REPRO) {
        findings.push(Finding::new(
            Check::Reproducible,
            "the image is not marked as reproducible, so its time stamp is the time of day and no two builds are \
             the same",
            "PE Format, Debug Type: IMAGE_DEBUG_TYPE_REPRO",
        ));
    }
    let Some(link) = entries.iter().find_map(|entry| PdbLink::read(image, entry)) else {
        let text = "the image names no PDB, so a debugger finds no symbols for it";
        findings.push(Finding::new(Check::Pdb, text, DEBUG));
        return;
    };
    if link.name.contains(['/', '\\']) {
        let text =
            format!("the image names its PDB with a path, {}, which only the machine that built it has", link.name);
        findings.push(Finding::new(Check::Pdb, text, "/PDBALTPATH (Use alternate PDB path)"));
    }
    match symbols {
        Err(reason) => {
            let text = format!("there are no symbols beside the image ({reason}), so a crash dump cannot be read");
            findings.push(Finding::new(Check::Pdb, text, DEBUG));
        }
        Ok(symbols) if (symbols.guid, symbols.age) != (link.guid, link.age) => {
            let text = "the PDB beside the image is that of another build, so a debugger refuses it";
            findings.push(Finding::new(Check::Pdb, text, "Matching Symbol Names (Windows debugging)"));
        }
        Ok(_) => {}
    }
}

fn debug_directory<'a>(image: &Image<'a>) -> &'a [ImageDebugDirectory] {
    let directory = image.directories.get(pe::IMAGE_DIRECTORY_ENTRY_DEBUG);
    let data = directory.and_then(|directory| directory.data(image.bytes, &image.sections).ok());
    data.and_then(|data| object::pod::slice_from_all_bytes(data).ok()).unwrap_or_default()
}

/// What an image says about its PDB: the record "RSDS" of a CodeView entry.
struct PdbLink {
    guid: [u8; 16],
    age: u32,
    name: String,
}

impl PdbLink {
    fn read(image: &Image<'_>, entry: &ImageDebugDirectory) -> Option<Self> {
        if entry.typ.get(LE) != pe::IMAGE_DEBUG_TYPE_CODEVIEW {
            return None;
        }
        let start = usize::try_from(entry.pointer_to_raw_data.get(LE)).ok()?;
        let size = usize::try_from(entry.size_of_data.get(LE)).ok()?;
        let record = image.bytes.get(start..start.checked_add(size)?)?.strip_prefix(b"RSDS")?;
        let (guid, record) = record.split_first_chunk()?;
        let (age, name) = record.split_first_chunk()?;
        let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        Some(Self { guid: *guid, age: u32::from_le_bytes(*age), name })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings, one_finding};
    use super::*;

    #[test]
    fn an_image_that_names_no_pdb_or_is_not_reproducible_is_found() {
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_DEBUG, 0, 0));
        let found = findings(&driver);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("the image is not marked as reproducible"));
        assert!(found[1].starts_with("the image names no PDB"));
    }

    #[test]
    fn an_image_that_names_a_pdb_and_is_not_reproducible_is_found() {
        let mut driver = Driver::new();
        let file = driver.image();
        let image = Image::parse("sluice.sys", &file).unwrap();
        let (address, _) = image.directory(pe::IMAGE_DIRECTORY_ENTRY_DEBUG).unwrap();
        // The first of the two entries.
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_DEBUG, address, 28));
        assert!(one_finding(&driver).starts_with("the image is not marked as reproducible"));
    }

    #[test]
    fn a_pdb_with_a_path_is_found() {
        let driver = Driver { pdb_name: r"D:\build\sluice.pdb", ..Driver::new() };
        assert!(one_finding(&driver).starts_with(r"the image names its PDB with a path, D:\build\sluice.pdb"));
    }

    #[test]
    fn a_pdb_that_is_missing_or_of_another_build_is_found() {
        let driver = Driver { symbols: Err("sluice.pdb: not found".to_owned()), ..Driver::new() };
        assert!(one_finding(&driver).starts_with("there are no symbols beside the image (sluice.pdb: not found)"));

        let other = Symbols { guid: [9; 16], age: 1, ..Symbols::default() };
        let driver = Driver { symbols: Ok(other), ..Driver::new() };
        assert!(one_finding(&driver).starts_with("the PDB beside the image is that of another build"));

        let mut driver = Driver::new();
        if let Ok(symbols) = &mut driver.symbols {
            symbols.age = 2;
        }
        assert!(one_finding(&driver).starts_with("the PDB beside the image is that of another build"));
    }

    #[test]
    fn a_pdb_that_cannot_be_read_is_an_error_that_names_it() {
        let folder = std::env::temp_dir().join(format!("driver-check-pdb-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let image = folder.join("sluice.sys");
        assert!(Symbols::beside(&image).unwrap_err().starts_with("sluice.pdb: "), "missing");
        std::fs::write(folder.join("sluice.pdb"), "no program database").unwrap();
        assert!(Symbols::beside(&image).unwrap_err().starts_with("sluice.pdb: "), "malformed");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
