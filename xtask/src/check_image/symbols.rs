//! The debug directory, the PDB that it names, and what the PDB reveals: which code may panic.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use object::LittleEndian as LE;
use object::pe::{self, ImageDebugDirectory};
use pdb::FallibleIterator;

use super::{Finding, Image};

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
            "the image is not marked as reproducible, so its time stamp is the time of day and no two builds are the same",
            "PE Format, Debug Type: IMAGE_DEBUG_TYPE_REPRO",
        ));
    }
    let Some(link) = entries.iter().find_map(|entry| PdbLink::read(image, entry)) else {
        findings.push(Finding::new("the image names no PDB, so a debugger finds no symbols for it", DEBUG));
        return;
    };
    if link.name.contains(['/', '\\']) {
        let text =
            format!("the image names its PDB with a path, {}, which only the machine that built it has", link.name);
        findings.push(Finding::new(text, "/PDBALTPATH (Use alternate PDB path)"));
    }
    match symbols {
        Err(reason) => {
            let text = format!("there are no symbols beside the image ({reason}), so a crash dump cannot be read");
            findings.push(Finding::new(text, DEBUG));
        }
        Ok(symbols) if (symbols.guid, symbols.age) != (link.guid, link.age) => {
            let text = "the PDB beside the image is that of another build, so a debugger refuses it";
            findings.push(Finding::new(text, "Matching Symbol Names (Windows debugging)"));
        }
        Ok(symbols) => check_panics(image, symbols, findings),
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

/// Whether a function of this name ends in a panic whenever it is called.
fn panics(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "core::panicking::",
        "core::option::unwrap_failed",
        "core::option::expect_failed",
        "core::result::unwrap_failed",
        "core::cell::panic_",
        "core::str::slice_error_fail",
        "core::slice::copy_from_slice_impl::len_mismatch_fail",
        "alloc::alloc::handle_alloc_error",
        "alloc::raw_vec::handle_error",
        "alloc::raw_vec::capacity_overflow",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.starts_with("core::slice::index::") && name.contains("_fail")
}

/// Whether a function of this name belongs to wdk's DbgPrint, which formats into a buffer and holds checks that panic.
fn prints(name: &str) -> bool {
    name.contains("wdk::print::") || name.contains("wdk::fmt::")
}

/// Whether a function of this name registers a provider of events. The crate tracelogging panics in it, should it be called
/// for a provider that is registered.
fn registers_events(name: &str) -> bool {
    name.ends_with("::trace::start")
}

/// Whether a function of this name runs when the driver starts or stops, so never below a dispatch function.
fn starts_or_stops(name: &str) -> bool {
    let function = name.rsplit("::").next().unwrap_or(name);
    ["DriverEntry", "driver_entry", "driver_unload"].contains(&function)
}

/// Finds the calls of functions that panic.
///
/// What no code reaches is not in the image (/OPT:REF), so every such call is one that the driver can make. Printing is
/// let through where only the start and the stop of the driver can reach it, and so is the registration of events.
fn check_panics(image: &Image<'_>, symbols: &Symbols, findings: &mut Vec<Finding>) {
    let callers = callers(image, symbols);
    for (address, name) in &symbols.functions {
        let (why, innocent): (_, fn(&str) -> bool) = if panics(name) {
            ("a panic in a driver stops the machine", |caller| {
                panics(caller) || prints(caller) || registers_events(caller)
            })
        } else if prints(name) {
            ("only DriverEntry and DriverUnload may print: wdk's formatter can panic", |caller| {
                prints(caller) || panics(caller) || starts_or_stops(caller)
            })
        } else if registers_events(name) {
            ("only DriverEntry may register events: a second time it panics", starts_or_stops)
        } else {
            continue;
        };
        let mut callers: Vec<&str> = callers.iter().filter(|(_, to)| to == address).map(|(from, _)| *from).collect();
        callers.retain(|caller| !innocent(caller));
        callers.dedup();
        if callers.is_empty() {
            continue;
        }
        let more = callers.len().saturating_sub(3);
        callers.truncate(3);
        let others = if more == 0 { String::new() } else { format!(" and {more} more") };
        let text = format!("{name} is called by {}{others}, and {why}", callers.join(", "));
        findings.push(Finding::new(text, "docs/image-check.md, Panics"));
    }
}

/// Every direct call and jump from one function to the start of another: the caller's name and the address called.
fn callers<'s>(image: &Image<'_>, symbols: &'s Symbols) -> Vec<(&'s str, u32)> {
    let is_arm64 = image.headers.file_header.machine.get(LE) == pe::IMAGE_FILE_MACHINE_ARM64;
    let function_at = |address: u32| {
        let index = symbols.functions.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        symbols.functions.get(index).map(|(_, name)| name.as_str())
    };
    let mut calls = Vec::new();
    for section in image.sections.iter() {
        if section.characteristics.get(LE) & pe::IMAGE_SCN_MEM_EXECUTE == 0 {
            continue;
        }
        let Ok(code) = section.pe_data(image.bytes) else { continue };
        let mut address = section.virtual_address.get(LE);
        for at in 0..code.len() {
            let target = if is_arm64 { arm64_target(&code[at..], address) } else { x64_target(&code[at..], address) };
            if let Some(target) = target
                && symbols.functions.binary_search_by_key(&target, |(start, _)| *start).is_ok()
                && let Some(caller) = function_at(address)
            {
                calls.push((caller, target));
            }
            address = address.wrapping_add(1);
        }
    }
    calls.sort_unstable();
    calls
}

/// Where the x64 instruction that `code` starts with calls or jumps to: E8, E9, 0F 8x, each with 32 bits.
///
/// It is asked at every byte, so some of what it sees is the inside of another instruction. Such a one leads to the very
/// start of a function about once in a billion.
fn x64_target(code: &[u8], address: u32) -> Option<u32> {
    let (opcode, operand) = match code {
        [0xe8 | 0xe9, rest @ ..] => (1, rest),
        [0x0f, 0x80..=0x8f, rest @ ..] => (2, rest),
        _ => return None,
    };
    let offset = i32::from_le_bytes(*operand.first_chunk()?);
    Some(address.wrapping_add(opcode + 4).wrapping_add_signed(offset))
}

/// Where the ARM64 instruction that `code` starts with calls or jumps to: B, BL, B.cond, CBZ and CBNZ.
fn arm64_target(code: &[u8], address: u32) -> Option<u32> {
    if !address.is_multiple_of(4) {
        return None;
    }
    let instruction = u32::from_le_bytes(*code.first_chunk()?);
    // The offset counts instructions; shifting up and down again keeps its sign.
    let offset = if instruction & 0x7c00_0000 == 0x1400_0000 {
        (instruction << 6).cast_signed() >> 4
    } else if instruction & 0xff00_0000 == 0x5400_0000 || instruction & 0x7e00_0000 == 0x3400_0000 {
        ((instruction >> 5) << 13).cast_signed() >> 11
    } else {
        return None;
    };
    Some(address.wrapping_add_signed(offset & !3))
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
    fn a_file_that_is_no_pdb_is_an_error_that_names_it() {
        let folder = std::env::temp_dir().join(format!("xtask-pdb-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let image = folder.join("sluice.sys");
        assert!(Symbols::beside(&image).unwrap_err().starts_with("sluice.pdb: "), "missing");
        std::fs::write(folder.join("sluice.pdb"), "no program database").unwrap();
        assert!(Symbols::beside(&image).unwrap_err().starts_with("sluice.pdb: "), "malformed");
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// `core::panicking::panic` at 0x1080, and `first` at 0x1000 with `code`.
    fn with_code(driver: Driver, code: &[u8]) -> Driver {
        let mut driver = driver;
        driver.code = code.to_vec();
        if let Ok(symbols) = &mut driver.symbols {
            symbols.functions = vec![(0x1000, "sluice::classify".into()), (0x1080, "core::panicking::panic".into())];
        }
        driver
    }

    #[test]
    fn a_call_that_panics_is_found_with_its_caller() {
        let driver = with_code(Driver::new(), &[0x90, 0xe8, 0x7a, 0, 0, 0]);
        assert!(one_finding(&driver).starts_with("core::panicking::panic is called by sluice::classify, and a panic"));
        let elsewhere = with_code(Driver::new(), &[0x90, 0xe8, 0x7b, 0, 0, 0]);
        assert_eq!(findings(&elsewhere), Vec::<String>::new());
    }

    #[test]
    fn conditional_jumps_and_tail_calls_that_panic_are_found() {
        for code in [&[0xe9, 0x7b, 0, 0, 0][..], &[0x0f, 0x84, 0x7a, 0, 0, 0]] {
            assert!(one_finding(&with_code(Driver::new(), code)).starts_with("core::panicking::panic is called by"));
        }
    }

    #[test]
    fn calls_that_panic_are_found_on_arm64() {
        // BL, B, B.EQ and CBZ, each 32 instructions ahead.
        for instruction in [0x9400_0020_u32, 0x1400_0020, 0x5400_0400, 0xb400_0400] {
            let driver = with_code(Driver::arm64(), &instruction.to_le_bytes());
            assert!(one_finding(&driver).starts_with("core::panicking::panic is called by"), "{instruction:#x}");
        }
    }

    #[test]
    fn printing_is_for_the_start_and_the_stop_of_a_driver() {
        let printing = |caller: &str| {
            let mut driver = with_code(Driver::new(), &[0x90, 0xe8, 0x7a, 0, 0, 0]);
            if let Ok(symbols) = &mut driver.symbols {
                symbols.functions = vec![(0x1000, caller.into()), (0x1080, "wdk::print::_print".into())];
            }
            findings(&driver)
        };
        assert_eq!(printing("sluice::driver_entry"), Vec::<String>::new());
        assert_eq!(printing("probe::driver_unload"), Vec::<String>::new());
        let found = printing("sluice::classify");
        assert!(
            found[0].starts_with("wdk::print::_print is called by sluice::classify, and only DriverEntry"),
            "{found:?}"
        );
    }

    #[test]
    fn registering_events_is_for_the_start_of_a_driver() {
        let registering = |caller: &str| {
            let mut driver = with_code(Driver::new(), &[0x90, 0xe8, 0x7a, 0, 0, 0]);
            if let Ok(symbols) = &mut driver.symbols {
                symbols.functions = vec![(0x1000, caller.into()), (0x1080, "sluice::trace::start".into())];
            }
            findings(&driver)
        };
        assert_eq!(registering("sluice::driver_entry"), Vec::<String>::new());
        assert!(registering("sluice::classify")[0].contains("only DriverEntry may register events"));
    }

    #[test]
    fn jumps_back_are_followed() {
        assert_eq!(x64_target(&[0xe8, 0xfb, 0xff, 0xff, 0xff], 0x1000), Some(0x1000));
        assert_eq!(arm64_target(&0x97ff_ffff_u32.to_le_bytes(), 0x1000), Some(0xffc));
        assert_eq!(arm64_target(&0x54ff_ffe0_u32.to_le_bytes(), 0x1000), Some(0xffc));
    }

    #[test]
    fn only_what_always_panics_is_taken_for_it() {
        assert!(panics("core::panicking::panic_bounds_check"));
        assert!(panics("core::slice::index::slice_index_fail"));
        assert!(panics("core::slice::index::slice_start_index_len_fail"));
        assert!(!panics("core::slice::index::range"));
        assert!(!panics("sluice_core::parse"));
    }
}
