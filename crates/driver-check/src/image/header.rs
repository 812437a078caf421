//! The headers: for which machine, started how, with which protections.

use object::{LittleEndian as LE, pe};

use super::{Check, Finding, Image};
use crate::Arch;

/// Windows maps images and enforces protections in pages of this size.
pub(super) const PAGE: u32 = 0x1000;

/// DLL characteristics that every driver has.
const PROTECTIONS: &[(u16, &str, &str)] = &[
    (
        pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
        "NX_COMPAT is not set, so data of the image can be executed",
        "/NXCOMPAT (Compatible with Data Execution Prevention)",
    ),
    (
        pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE,
        "DYNAMIC_BASE is not set, so the image is loaded at a predictable address",
        "/DYNAMICBASE (Use address space layout randomization)",
    ),
    (
        pe::IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA,
        "HIGH_ENTROPY_VA is not set, so the image does not get a 64-bit random address",
        "/HIGHENTROPYVA (Support 64-Bit ASLR)",
    ),
    (
        pe::IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY,
        "FORCE_INTEGRITY is not set, so functions that demand a signed image refuse the driver",
        "/INTEGRITYCHECK (Require signature check)",
    ),
];

pub(super) fn check(image: &Image<'_>, arch: Option<Arch>, findings: &mut Vec<Finding>) {
    let file = &image.headers.file_header;
    let optional = &image.headers.optional_header;

    let machine = file.machine.get(LE);
    let expected: &[u16] = match arch {
        Some(Arch::X64) => &[pe::IMAGE_FILE_MACHINE_AMD64],
        Some(Arch::Arm64) => &[pe::IMAGE_FILE_MACHINE_ARM64],
        None => &[pe::IMAGE_FILE_MACHINE_AMD64, pe::IMAGE_FILE_MACHINE_ARM64],
    };
    if !expected.contains(&machine) {
        let expected = arch.map_or_else(|| "x64 (0x8664) or ARM64 (0xaa64)".to_owned(), |arch| arch.to_string());
        let text = format!("expected an image for {expected}, found machine type {machine:#x}");
        findings.push(Finding::new(Check::Machine, text, "PE Format, Machine Types"));
    }

    let characteristics = file.characteristics.get(LE);
    if characteristics & pe::IMAGE_FILE_EXECUTABLE_IMAGE == 0 {
        findings.push(Finding::new(
            Check::Characteristics,
            "EXECUTABLE_IMAGE is not set: the linker marked the image as one that cannot be run",
            "PE Format, Characteristics",
        ));
    }
    if characteristics & pe::IMAGE_FILE_LARGE_ADDRESS_AWARE == 0 {
        findings.push(Finding::new(
            Check::Characteristics,
            "LARGE_ADDRESS_AWARE is not set, though kernel addresses lie far above 2 GiB",
            "PE Format, Characteristics",
        ));
    }

    let subsystem = optional.subsystem.get(LE);
    if subsystem != pe::IMAGE_SUBSYSTEM_NATIVE {
        let text = format!("expected the subsystem of drivers, native (1), found {subsystem}");
        findings.push(Finding::new(Check::Subsystem, text, "PE Format, Windows Subsystem"));
    }

    check_entry_point(image, findings);

    let protections = optional.dll_characteristics.get(LE);
    for (flag, text, source) in PROTECTIONS {
        if protections & flag == 0 {
            findings.push(Finding::new(Check::Protections, *text, source));
        }
    }

    let alignment = optional.section_alignment.get(LE);
    if alignment == 0 || !alignment.is_multiple_of(PAGE) {
        let text = format!(
            "expected sections aligned to pages, found an alignment of {alignment:#x}: memory integrity (HVCI) refuses \
             the image"
        );
        findings.push(Finding::new(
            Check::SectionAlignment,
            text,
            "Driver compatibility with memory integrity and VBS",
        ));
    }

    let (stated, computed) = (optional.check_sum.get(LE), checksum(image));
    if stated != computed {
        let text =
            format!("expected the checksum {computed:#x}, found {stated:#x}; Windows validates that of every driver");
        findings.push(Finding::new(
            Check::Checksum,
            text,
            "PE Format, Optional Header Windows-Specific Fields: CheckSum",
        ));
    }
}

fn check_entry_point(image: &Image<'_>, findings: &mut Vec<Finding>) {
    const SOURCE: &str = "PE Format, Optional Header Standard Fields: AddressOfEntryPoint";
    let entry = image.headers.optional_header.address_of_entry_point.get(LE);
    if entry == 0 {
        findings.push(Finding::new(
            Check::EntryPoint,
            "the image has no entry point, so there is no DriverEntry that Windows could call",
            SOURCE,
        ));
        return;
    }
    let section = image.sections.iter().find(|section| {
        let start = section.virtual_address.get(LE);
        (start..start.saturating_add(section.virtual_size.get(LE))).contains(&entry)
    });
    let executable = section.is_some_and(|section| section.characteristics.get(LE) & pe::IMAGE_SCN_MEM_EXECUTE != 0);
    if !executable {
        let text = format!(
            "the entry point {entry:#x} lies outside the executable sections, so calling DriverEntry would crash"
        );
        findings.push(Finding::new(Check::EntryPoint, text, SOURCE));
    }
}

/// The checksum that the header should state: the sum of all 16-bit words but those of the checksum, carries added in,
/// plus the length of the file.
pub(super) fn checksum(image: &Image<'_>) -> u32 {
    // The signature and the file header are 24 bytes; the field is at 64 of the optional header.
    let field = image.headers_offset + 24 + 64;
    let mut sum = 0_u32;
    for (index, pair) in image.bytes.chunks(2).enumerate() {
        if (field..field + 4).contains(&(index * 2)) {
            continue;
        }
        sum += u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum + u32::try_from(image.bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings_for, one_finding};
    use crate::Arch;

    #[test]
    fn a_machine_that_no_driver_is_built_for_is_found() {
        let driver = Driver { machine: 0x14c, ..Driver::new() };
        assert!(
            one_finding(&driver)
                .starts_with("expected an image for x64 (0x8664) or ARM64 (0xaa64), found machine type 0x14c")
        );
    }

    #[test]
    fn the_other_machine_is_found_when_one_is_asked_for() {
        let found = findings_for(Driver::new(), Arch::Arm64);
        assert!(found[0].starts_with("expected an image for arm64, found machine type 0x8664"), "{found:?}");
        assert_eq!(findings_for(Driver::arm64(), Arch::Arm64), Vec::<String>::new());
    }

    #[test]
    fn characteristics_that_are_not_set_are_found() {
        let set = Driver::new().characteristics;
        assert!(one_finding(&Driver { characteristics: set & !2, ..Driver::new() }).starts_with("EXECUTABLE_IMAGE"));
        assert!(
            one_finding(&Driver { characteristics: set & !0x20, ..Driver::new() }).starts_with("LARGE_ADDRESS_AWARE")
        );
    }

    #[test]
    fn a_subsystem_other_than_native_is_found() {
        assert!(
            one_finding(&Driver { subsystem: 3, ..Driver::new() })
                .starts_with("expected the subsystem of drivers, native (1), found 3")
        );
    }

    #[test]
    fn an_entry_point_that_is_missing_or_outside_code_is_found() {
        assert!(one_finding(&Driver { entry: 0, ..Driver::new() }).starts_with("the image has no entry point"));
        assert!(
            one_finding(&Driver { entry: 0x2000, ..Driver::new() }).contains("lies outside the executable sections")
        );
        assert!(
            one_finding(&Driver { entry: 0x9000, ..Driver::new() }).contains("lies outside the executable sections")
        );
    }

    #[test]
    fn each_protection_that_is_not_set_is_found() {
        let set = Driver::new().dll_characteristics;
        for (flag, name) in
            [(0x100, "NX_COMPAT"), (0x40, "DYNAMIC_BASE"), (0x20, "HIGH_ENTROPY"), (0x80, "FORCE_INTEGRITY")]
        {
            let driver = Driver { dll_characteristics: set & !flag, ..Driver::new() };
            assert!(one_finding(&driver).starts_with(name), "{name}");
        }
    }

    #[test]
    fn sections_that_are_not_aligned_to_pages_are_found() {
        let driver = Driver { section_alignment: 0x200, ..Driver::new() };
        assert!(one_finding(&driver).starts_with("expected sections aligned to pages, found an alignment of 0x200"));
    }

    #[test]
    fn a_checksum_that_is_missing_or_old_is_found() {
        assert!(one_finding(&Driver { checksum: Some(0), ..Driver::new() }).contains("found 0x0; "));
        assert!(one_finding(&Driver { checksum: Some(1), ..Driver::new() }).contains("found 0x1; "));
    }

    /// One's complement, as it is defined: the words but for those of the checksum, at 0x98 here, modulo 0xffff.
    #[test]
    fn the_checksum_is_the_sum_of_words_and_the_length_of_the_file() {
        for trailer in [vec![], vec![7], vec![0xff; 0x1001], (0..=255).collect()] {
            let mut file = Driver { trailer, ..Driver::new() }.image();
            let stated = u32::from_le_bytes(file[0x98..0x9c].try_into().unwrap());
            let length = u32::try_from(file.len()).unwrap();
            file[0x98..0x9c].fill(0);
            file.resize(file.len().next_multiple_of(2), 0);
            let sum: u32 = file.chunks(2).map(|word| u32::from(word[0]) + 256 * u32::from(word[1])).sum();
            assert_eq!(stated, (sum - 1) % 0xffff + 1 + length, "{length} bytes");
        }
    }
}
