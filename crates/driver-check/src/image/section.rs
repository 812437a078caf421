//! The sections: what is mapped, and what may be done with it.

use object::LittleEndian as LE;
use object::pe::{self, ImageSectionHeader};

use super::header::PAGE;
use super::{Check, Finding, Image};

const TABLE: &str = "PE Format, Section Table (Section Headers)";
const FLAGS: &str = "PE Format, Section Flags";

pub(super) fn check(image: &Image<'_>, findings: &mut Vec<Finding>) {
    let alignment = image.headers.optional_header.section_alignment.get(LE).max(PAGE);
    let mut expected = None;
    for section in image.sections.iter() {
        let name = name(section);
        check_attributes(image, section, &name, findings);

        let start = section.virtual_address.get(LE);
        let size = section.virtual_size.get(LE);
        if !start.is_multiple_of(PAGE) {
            let text = format!(
                "section {name} starts at {start:#x}, within a page, so memory integrity (HVCI) refuses the image"
            );
            findings.push(Finding::new(Check::Sections, text, "Code integrity checking, 0x2004"));
        } else if expected.is_some_and(|expected| expected != start) {
            let text = format!(
                "section {name} starts at {start:#x}, not where the one before it ends, so the loader refuses the image"
            );
            findings.push(Finding::new(Check::Sections, text, TABLE));
        }
        expected = Some(start.saturating_add(size).checked_next_multiple_of(alignment).unwrap_or(u32::MAX));

        let (from, length) = (section.pointer_to_raw_data.get(LE), section.size_of_raw_data.get(LE));
        let end = u64::from(from) + u64::from(length);
        if end > image.bytes.len() as u64 {
            let text = format!("the contents of section {name} end at {end:#x}, beyond the end of the file");
            findings.push(Finding::new(Check::Sections, text, TABLE));
        }
    }
    let size = image.headers.optional_header.size_of_image.get(LE);
    if let Some(expected) = expected.filter(|expected| *expected != size) {
        let text = format!(
            "expected an image of {expected:#x} bytes, where its sections end, found {size:#x}: the loader refuses it"
        );
        findings.push(Finding::new(
            Check::Sections,
            text,
            "PE Format, Optional Header Windows-Specific Fields: SizeOfImage",
        ));
    }
}

fn check_attributes(image: &Image<'_>, section: &ImageSectionHeader, name: &str, findings: &mut Vec<Finding>) {
    const CONTENTS: u32 =
        pe::IMAGE_SCN_CNT_CODE | pe::IMAGE_SCN_CNT_INITIALIZED_DATA | pe::IMAGE_SCN_CNT_UNINITIALIZED_DATA;
    let flags = section.characteristics.get(LE);
    let has = |flag| flags & flag != 0;

    if !has(CONTENTS) || !has(pe::IMAGE_SCN_MEM_READ) {
        let text = format!(
            "section {name} has attributes {flags:#x}, which do not say what it holds or do not let it be read: \
             loading fails with error 998"
        );
        findings.push(Finding::new(
            Check::SectionAttributes,
            text,
            "PE Format, Section Flags; windows-drivers-rs issue 182",
        ));
    }
    if has(pe::IMAGE_SCN_MEM_EXECUTE) && has(pe::IMAGE_SCN_MEM_WRITE) {
        let text = format!("section {name} is executable and writable, so memory integrity (HVCI) refuses the image");
        findings.push(Finding::new(Check::WritableCode, text, "Code integrity checking, 0x2003"));
    }
    if has(pe::IMAGE_SCN_MEM_EXECUTE) && has(pe::IMAGE_SCN_MEM_DISCARDABLE) {
        let text =
            format!("section {name} holds code and is discardable, so the code is gone once the driver has started");
        findings.push(Finding::new(Check::DiscardableCode, text, FLAGS));
    }
    if has(pe::IMAGE_SCN_MEM_EXECUTE) && contains_import_addresses(image, section) {
        let text = format!(
            "the import address table lies in the executable section {name}, so memory integrity (HVCI) refuses the \
             image"
        );
        findings.push(Finding::new(Check::ExecutableImports, text, "Code integrity checking, 0x2005"));
    }
}

fn contains_import_addresses(image: &Image<'_>, section: &ImageSectionHeader) -> bool {
    let start = section.virtual_address.get(LE);
    let end = start.saturating_add(section.virtual_size.get(LE));
    image.directory(pe::IMAGE_DIRECTORY_ENTRY_IAT).is_some_and(|(address, _)| (start..end).contains(&address))
}

/// The name of a section, as far as it can be printed.
pub(super) fn name(section: &ImageSectionHeader) -> String {
    String::from_utf8_lossy(section.raw_name()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings, one_finding};

    const DISCARDABLE: u32 = 0x0200_0000;
    const EXECUTE: u32 = 0x2000_0000;
    const READ: u32 = 0x4000_0000;
    const WRITE: u32 = 0x8000_0000;

    #[test]
    fn a_section_without_attributes_is_found() {
        let mut driver = Driver::new();
        driver.sections[1].flags = 0;
        assert!(one_finding(&driver).starts_with("section .rdata has attributes 0x0"));
        driver.sections[1].flags = READ;
        assert!(one_finding(&driver).starts_with("section .rdata has attributes 0x40000000"), "READ without contents");
        driver.sections[1].flags = 0x40;
        assert!(one_finding(&driver).starts_with("section .rdata has attributes 0x40"), "contents without READ");
    }

    #[test]
    fn a_section_that_is_writable_and_executable_is_found() {
        let mut driver = Driver::new();
        driver.sections[0].flags |= WRITE;
        assert!(one_finding(&driver).starts_with("section .text is executable and writable"));
    }

    #[test]
    fn discardable_code_is_found() {
        let mut driver = Driver::new();
        driver.sections[0].flags |= DISCARDABLE;
        assert!(one_finding(&driver).starts_with("section .text holds code and is discardable"));
    }

    #[test]
    fn an_import_address_table_in_code_is_found() {
        let mut driver = Driver::new();
        driver.sections[1].flags |= EXECUTE;
        assert!(one_finding(&driver).starts_with("the import address table lies in the executable section .rdata"));
    }

    #[test]
    fn a_section_within_a_page_is_found() {
        let mut driver = Driver::new();
        driver.sections.last_mut().unwrap().address += 0x10;
        assert!(findings(&driver).iter().any(|finding| finding.contains("within a page")));
    }

    #[test]
    fn a_gap_between_sections_is_found() {
        let mut driver = Driver::new();
        driver.sections[0].virtual_size = 0x1001;
        assert!(one_finding(&driver).starts_with("section .rdata starts at 0x2000, not where the one before it ends"));
    }

    #[test]
    fn contents_beyond_the_end_of_the_file_are_found() {
        let mut driver = Driver::new();
        driver.sections[3].raw_size += 0x1000;
        assert!(findings(&driver).iter().any(|finding| finding.contains("beyond the end of the file")));
    }

    #[test]
    fn a_wrong_size_of_the_image_is_found() {
        let driver = Driver { size_of_image: Some(0x9000), ..Driver::new() };
        assert!(
            one_finding(&driver).starts_with("expected an image of 0x5000 bytes, where its sections end, found 0x9000")
        );
    }
}
