//! Whether the image can be loaded at another address than the one it was linked for.

use object::{LittleEndian as LE, pe};

use super::{Check, Finding, Image};

const SOURCE: &str = "PE Format, The .reloc Section (Image Only)";

pub(super) fn check(image: &Image<'_>, findings: &mut Vec<Finding>) {
    let stripped = image.headers.file_header.characteristics.get(LE) & pe::IMAGE_FILE_RELOCS_STRIPPED != 0;
    if stripped || image.directory(pe::IMAGE_DIRECTORY_ENTRY_BASERELOC).is_none() {
        let text = "the image has no relocations, so Windows can load it at its preferred address only";
        findings.push(Finding::new(Check::Relocations, text, SOURCE));
    } else if let Err(error) = walk(image) {
        let text = format!("the relocations cannot be read ({error}), so the loader refuses the image");
        findings.push(Finding::new(Check::Relocations, text, SOURCE));
    }
}

/// Goes through all blocks of relocations.
fn walk(image: &Image<'_>) -> object::Result<()> {
    if let Some(mut blocks) = image.directories.relocation_blocks(image.bytes, &image.sections)? {
        while blocks.next()?.is_some() {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, one_finding};
    use super::*;

    #[test]
    fn relocations_that_are_missing_or_malformed_are_found() {
        let set = Driver::new().characteristics;
        let stripped = Driver { characteristics: set | 1, ..Driver::new() };
        assert!(one_finding(&stripped).starts_with("the image has no relocations"));
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_BASERELOC, 0, 0));
        assert!(one_finding(&driver).starts_with("the image has no relocations"));
        let mut driver = Driver::new();
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_BASERELOC, 0x9000, 12));
        assert!(one_finding(&driver).starts_with("the relocations cannot be read"));
    }
}
