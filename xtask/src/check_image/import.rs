//! What the image takes from other modules and gives to them, and whether it can be moved.

use std::collections::BTreeMap;

use object::LittleEndian as LE;
use object::pe::{self, ImageNtHeaders64};
use object::read::pe::Import;

use super::{Finding, Image};

/// The oldest Windows that the drivers run on, as its name and its build.
///
/// The first with ExAllocatePool2, and so the first whose pool allocations are zeroed and never executable.
const TARGET: (&str, u32) = ("Windows 10 version 2004", 19041);

/// What Windows exports: module, function, and the build that has it first.
const EXPORTS: &str = include_str!("exports.txt");

/// Functions whose pool is executable unless the caller takes care.
const DEPRECATED: &[&str] =
    &["ExAllocatePool", "ExAllocatePoolWithTag", "ExAllocatePoolWithQuotaTag", "ExAllocatePoolWithTagPriority"];

pub(super) fn check(image: &Image<'_>, wanted_exports: &[String], findings: &mut Vec<Finding>) {
    if let Err(error) = check_imports(image, findings) {
        let text = format!("the import table cannot be read ({error}), so the loader refuses the image");
        findings.push(Finding::new(text, "PE Format, The .idata Section"));
    }
    if image.directory(pe::IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT).is_some() {
        findings.push(Finding::new(
            "the image has delay-loaded imports, which need a user-mode helper",
            "PE Format, Delay-Load Import Tables (Image Only)",
        ));
    }
    if image.directory(pe::IMAGE_DIRECTORY_ENTRY_TLS).is_some() {
        findings.push(Finding::new(
            "the image has thread-local storage, which the kernel does not set up",
            "PE Format, The .tls Section",
        ));
    }
    check_exports(image, wanted_exports, findings);
    check_relocations(image, findings);
}

/// Lower-case module name to function to build.
fn exports_of_windows() -> BTreeMap<String, BTreeMap<&'static str, u32>> {
    let mut modules = BTreeMap::<String, BTreeMap<_, _>>::new();
    for line in EXPORTS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let mut words = line.split_whitespace();
        if let (Some(module), Some(function), Some(Ok(build))) =
            (words.next(), words.next(), words.next().map(str::parse))
        {
            modules.entry(module.to_lowercase()).or_default().insert(function, build);
        }
    }
    modules
}

fn check_imports(image: &Image<'_>, findings: &mut Vec<Finding>) -> object::Result<()> {
    let windows = exports_of_windows();
    let Some(table) = image.directories.import_table(image.bytes, &image.sections)? else { return Ok(()) };
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let module = String::from_utf8_lossy(table.name(descriptor.name.get(LE))?).into_owned();
        let known = windows.get(&module.to_lowercase());
        if known.is_none() {
            let modules: Vec<_> = windows.keys().cloned().collect();
            let text = format!(
                "{module} is imported from, and the modules that drivers may import from are {}",
                modules.join(", ")
            );
            findings.push(Finding::new(text, "docs/image-check.md, Imports"));
        }
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>()? {
            match table.import::<ImageNtHeaders64>(thunk)? {
                Import::Ordinal(ordinal) => {
                    let text = format!(
                        "{module} is asked for export number {ordinal}, which another build of Windows may have given to \
                         something else"
                    );
                    findings.push(Finding::new(text, "PE Format, Import Lookup Table"));
                }
                Import::Name(_, name) => {
                    let name = String::from_utf8_lossy(name);
                    findings.extend(known.and_then(|known| judge(&module, &name, known)));
                }
            }
        }
    }
    Ok(())
}

fn judge(module: &str, name: &str, known: &BTreeMap<&str, u32>) -> Option<Finding> {
    if DEPRECATED.contains(&name) {
        let text = format!("{name} is imported, whose pool is executable unless asked otherwise; use ExAllocatePool2");
        return Some(Finding::new(text, "Code integrity checking, 0x2000"));
    }
    let (version, target) = TARGET;
    let reason = match known.get(name) {
        None => format!("which is not in the list of what {version} exports (xtask/src/check_image/exports.txt)"),
        Some(build) if *build > target => format!("which only build {build} has, and {version} is build {target}"),
        Some(_) => return None,
    };
    let text = format!("{module}!{name} is imported, {reason}; a driver with an import that is missing is not loaded");
    Some(Finding::new(text, "docs/image-check.md, Imports"))
}

fn check_exports(image: &Image<'_>, wanted: &[String], findings: &mut Vec<Finding>) {
    const SOURCE: &str = "PE Format, The .edata Section (Image Only)";
    let table = match image.directories.export_table(image.bytes, &image.sections) {
        Ok(Some(table)) => table,
        Ok(None) => return,
        Err(error) => {
            findings.push(Finding::new(format!("the export table cannot be read ({error})"), SOURCE));
            return;
        }
    };
    let names = table.exports().map(|exports| {
        let name = |export: object::read::pe::Export<'_>| match export.name {
            Some(name) => String::from_utf8_lossy(name).into_owned(),
            None => format!("number {}", export.ordinal),
        };
        exports.into_iter().map(name).filter(|name| !wanted.contains(name)).collect::<Vec<_>>()
    });
    match names {
        Ok(names) if names.is_empty() => {}
        Ok(names) => {
            let text = format!(
                "the image exports {}, though no other module should link to it: they are left over from the build",
                names.join(", ")
            );
            findings.push(Finding::new(text, SOURCE));
        }
        Err(error) => findings.push(Finding::new(format!("the export table cannot be read ({error})"), SOURCE)),
    }
}

fn check_relocations(image: &Image<'_>, findings: &mut Vec<Finding>) {
    const SOURCE: &str = "PE Format, The .reloc Section (Image Only)";
    let stripped = image.headers.file_header.characteristics.get(LE) & pe::IMAGE_FILE_RELOCS_STRIPPED != 0;
    if stripped || image.directory(pe::IMAGE_DIRECTORY_ENTRY_BASERELOC).is_none() {
        findings.push(Finding::new(
            "the image has no relocations, so Windows cannot load it anywhere but at its preferred address",
            SOURCE,
        ));
        return;
    }
    let walk = || -> object::Result<()> {
        let blocks = image.directories.relocation_blocks(image.bytes, &image.sections)?;
        if let Some(mut blocks) = blocks {
            while blocks.next()?.is_some() {}
        }
        Ok(())
    };
    if let Err(error) = walk() {
        findings.push(Finding::new(
            format!("the relocations cannot be read ({error}), so the loader refuses the image"),
            SOURCE,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings, one_finding};
    use super::*;
    use crate::layout;

    fn with_import(module: &'static str, name: &'static str) -> Driver {
        Driver { imports: vec![(module, vec![name])], ..Driver::new() }
    }

    #[test]
    fn what_the_target_version_exports_may_be_imported() {
        assert_eq!(findings(&with_import("ntoskrnl.exe", "ExAllocatePool2")), Vec::<String>::new());
        assert_eq!(
            findings(&with_import("netio.sys", "NmrRegisterProvider")),
            Vec::<String>::new(),
            "case does not count"
        );
    }

    #[test]
    fn a_name_that_windows_does_not_export_is_found() {
        let found = one_finding(&with_import("ntoskrnl.exe", "RtlUnheardOf"));
        assert!(found.starts_with("ntoskrnl.exe!RtlUnheardOf is imported, which is not in the list"), "{found}");
    }

    #[test]
    fn a_name_that_is_newer_than_the_target_is_found() {
        let newer = BTreeMap::from([("KeFutureThing", 22621)]);
        let found = judge("ntoskrnl.exe", "KeFutureThing", &newer).unwrap().text;
        assert!(found.contains("which only build 22621 has, and Windows 10 version 2004 is build 19041"), "{found}");
    }

    #[test]
    fn a_module_that_no_driver_imports_from_is_found() {
        let found = one_finding(&with_import("kernel32.dll", "CreateFileW"));
        assert!(found.starts_with("kernel32.dll is imported from"), "{found}");
    }

    #[test]
    fn an_import_by_ordinal_is_found() {
        let found = one_finding(&with_import("ntoskrnl.exe", "#7"));
        assert!(found.starts_with("ntoskrnl.exe is asked for export number 7"), "{found}");
    }

    #[test]
    fn pool_that_may_be_executable_is_found() {
        let found = one_finding(&with_import("ntoskrnl.exe", "ExAllocatePoolWithTag"));
        assert!(found.starts_with("ExAllocatePoolWithTag is imported"), "{found}");
    }

    #[test]
    fn an_import_table_that_leads_outside_is_found() {
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_IMPORT, 0x9000, 0x28));
        assert!(one_finding(&driver).starts_with("the import table cannot be read"));
    }

    #[test]
    fn delay_loaded_imports_and_thread_local_storage_are_found() {
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT, 0x2000, 0x40));
        assert!(one_finding(&driver).starts_with("the image has delay-loaded imports"));
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_TLS, 0x2000, 0x28));
        assert!(one_finding(&driver).starts_with("the image has thread-local storage"));
    }

    #[test]
    fn exports_are_found_unless_they_are_wanted() {
        let driver = Driver { exports: vec!["DriverEntry", "_fltused"], ..Driver::new() };
        assert!(one_finding(&driver).starts_with("the image exports DriverEntry, _fltused, though"));
        let driver = Driver { wanted_exports: vec!["DriverEntry".into(), "_fltused".into()], ..driver };
        assert_eq!(findings(&driver), Vec::<String>::new());
    }

    #[test]
    fn missing_or_broken_relocations_are_found() {
        let set = Driver::new().characteristics;
        assert!(
            one_finding(&Driver { characteristics: set | 1, ..Driver::new() })
                .starts_with("the image has no relocations")
        );
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_BASERELOC, 0, 0));
        assert!(one_finding(&driver).starts_with("the image has no relocations"));
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_BASERELOC, 0x9000, 12));
        assert!(one_finding(&driver).starts_with("the relocations cannot be read"));
    }

    #[test]
    fn every_line_of_the_list_is_read() {
        let lines = EXPORTS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
        assert_eq!(
            exports_of_windows().values().map(BTreeMap::len).sum::<usize>(),
            lines,
            "a line is malformed or twice there"
        );
    }

    #[test]
    fn the_list_holds_nothing_that_the_import_library_lacks() {
        let folder = layout::content_root().join("Lib/10.0.26100.0/km/x64/ntoskrnl.def");
        let Ok(definitions) = std::fs::read_to_string(&folder) else {
            println!("{} is not made yet: nothing to compare with", folder.display());
            return;
        };
        // The library may have been made before a name was added to the list that it is made of.
        let added = std::fs::read_to_string(layout::root().join("rig/wdk/lib/ntoskrnl.def")).unwrap();
        let names: Vec<&str> =
            definitions.lines().chain(added.lines()).filter_map(|line| line.split_whitespace().next()).collect();
        let missing: Vec<_> =
            exports_of_windows()["ntoskrnl.exe"].keys().copied().filter(|name| !names.contains(name)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
