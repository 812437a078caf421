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
                // Linkers say of code that it is a function, and nothing else.
                && (public.code || public.function)
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

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn halves(halves: &[u16]) -> Vec<u8> {
        halves.iter().flat_map(|half| half.to_le_bytes()).collect()
    }

    /// A file of streams, in pages of 512 bytes: the header, two maps of free pages, which nobody reads, the list of
    /// the directory's pages, the directory, and a page for each stream.
    fn file_of(streams: &[Vec<u8>]) -> Vec<u8> {
        let count = u32::try_from(streams.len()).unwrap();
        let sizes: Vec<u32> = streams.iter().map(|stream| u32::try_from(stream.len()).unwrap()).collect();
        let pages: Vec<u32> = (5..).zip(&sizes).filter(|(_, size)| **size != 0).map(|(page, _)| page).collect();
        let directory = words(&[&[count][..], &sizes, &pages].concat());
        let numbers = words(&[512, 1, 5 + count, u32::try_from(directory.len()).unwrap(), 0, 3]);
        let header = [b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0", &numbers[..]].concat();
        let mut file = Vec::new();
        for page in [header, vec![], vec![], words(&[4]), directory].iter().chain(streams) {
            assert!(page.len() <= 512, "{} bytes", page.len());
            file.extend(page);
            file.resize(file.len().next_multiple_of(512), 0);
            if page.is_empty() {
                file.resize(file.len() + 512, 0);
            }
        }
        file
    }

    /// A record of a symbol, with its length in front and filled up to a multiple of four.
    fn record(kind: u16, fields: &[u32], [offset, section]: [u32; 2], flags: &[u8], name: &str) -> Vec<u8> {
        let mut record = [&halves(&[kind])[..], &words(fields), &words(&[offset])].concat();
        record.extend(halves(&[u16::try_from(section).unwrap()]));
        record.extend(flags);
        record.extend(name.as_bytes());
        record.push(0);
        record.resize((record.len() + 2).next_multiple_of(4) - 2, 0);
        [halves(&[u16::try_from(record.len()).unwrap()]), record].concat()
    }

    /// The PDB of an image with sections at 0x1000 and 0x3000. `age` is stated beside that of the whole file, which
    /// is 7.
    fn written_by_hand(age: u32) -> Vec<u8> {
        let public = |place, flags: u32, name| record(0x110e, &[flags], place, &[], name);
        let procedure = |place, name| record(0x1110, &[0; 7], place, &[0], name);
        let information = [words(&[20_000_404, 0, 7]), (1..=16).collect(), words(&[0])].concat();
        let symbols = [words(&[4]), procedure([0x80, 1], "sluice::classify")].concat();
        let size = u32::try_from(symbols.len()).unwrap();
        // What a module contributes to the image is of no interest.
        let module = |stream, size: u32| {
            let fields = [words(&[0; 8]), halves(&[0, stream]), words(&[size, 0, 0, 0, 0, 0, 0])].concat();
            [&fields[..], b"m\0o\0"].concat()
        };
        let modules = [module(5, size), module(0xffff, 0)].concat();
        let mut streams = vec![0xffff_u16; 11];
        streams[5] = 6;
        let debug_information = [
            words(&[u32::MAX, 19_990_903, age]),
            halves(&[0xffff, 0, 0xffff, 0, 4, 0]),
            words(&[u32::try_from(modules.len()).unwrap(), 0, 0, 0, 0, 0, 22, 0]),
            halves(&[0, 0x8664]),
            words(&[0]),
            modules,
            halves(&streams),
        ]
        .concat();
        let publics = [
            public([0x80, 1], 2, "_ZN6sluice8classify17h0123456789abcdefE"),
            public([0x10, 1], 2, "_ZN6sluice5judge17h0123456789abcdefE"),
            public([0, 2], 0, "TABLE"),
            public([0, 9], 2, "nowhere"),
            public([8, 2], 1, "DriverEntry"),
        ]
        .concat();
        let section = |address| [vec![b'.'; 8], words(&[0x1000, address, 0, 0, 0, 0, 0, 0])].concat();
        let sections = [section(0x1000), section(0x3000)].concat();
        file_of(&[vec![], information, vec![], debug_information, publics, symbols, sections])
    }

    #[test]
    fn functions_of_a_pdb_are_those_with_debug_information_and_all_other_public_code() {
        let folder = std::env::temp_dir().join(format!("driver-check-symbols-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let read = |contents: &[u8]| {
            std::fs::write(folder.join("sluice.pdb"), contents).unwrap();
            Symbols::beside(&folder.join("sluice.sys")).unwrap()
        };
        let contents = written_by_hand(3);
        let symbols = read(&contents);
        let functions: Vec<(u32, &str)> = symbols.functions.iter().map(|(at, name)| (*at, name.as_str())).collect();
        assert_eq!(functions, [(0x1010, "sluice::judge"), (0x1080, "sluice::classify"), (0x3008, "DriverEntry")]);
        assert_eq!(symbols.guid, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(symbols.age, 3);
        assert!(symbols.contents == contents, "the whole file");
        assert_eq!(read(&written_by_hand(0)).age, 7, "an old PDB has one age");
        std::fs::remove_dir_all(folder).unwrap();
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
