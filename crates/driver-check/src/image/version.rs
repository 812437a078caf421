//! The version resource: what the file says about itself.

use object::read::pe::ResourceDirectoryEntryData;
use object::{LittleEndian as LE, pe};

use super::{Check, Finding, Image};

const SOURCE: &str = "VERSIONINFO resource (Menus and Other Resources)";
const SIGNATURE: u32 = 0xfeef_04bd;
/// `VFT_DRV`.
const DRIVER: u32 = 3;

pub(super) fn check(image: &Image<'_>, findings: &mut Vec<Finding>) {
    let Some(resource) = resource(image, pe::RT_VERSION) else {
        findings.push(Finding::new(
            Check::Version,
            "the image has no version resource, so neither Explorer nor a crash dump can tell which driver it is",
            SOURCE,
        ));
        return;
    };
    let Some(root) = Block::parse(resource).filter(|root| root.key == "VS_VERSION_INFO") else {
        findings.push(Finding::new(Check::Version, "the version resource is malformed", SOURCE));
        return;
    };
    let mut report = |text: String| findings.push(Finding::new(Check::Version, text, SOURCE));

    let field = |index: usize| {
        let bytes = root.value.get(index * 4..index * 4 + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if field(0) != Some(SIGNATURE) {
        report("the version resource has no VS_FIXEDFILEINFO, which installers compare".to_owned());
    } else {
        for (name, index) in [("file", 2), ("product", 4)] {
            if field(index) == Some(0) && field(index + 1) == Some(0) {
                report(format!("the {name} version is 0.0.0.0, so an installer takes every other driver for newer"));
            }
        }
        if field(9) != Some(DRIVER) {
            report(format!("expected the file type VFT_DRV (3), found {}", field(9).unwrap_or(0)));
        }
    }
    let texts = texts(&root);
    let text = |wanted: &str| texts.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
    for name in ["FileVersion", "ProductVersion", "FileDescription", "OriginalFilename", "ProductName", "CompanyName"] {
        if text(name).is_none_or(str::is_empty) {
            report(format!("the version resource does not state {name}"));
        }
    }
    if let Some(original) = text("OriginalFilename").filter(|original| !original.eq_ignore_ascii_case(image.name)) {
        report(format!("the version resource names the file {original}, found in a file named {}", image.name));
    }
}

/// The bytes of the first resource of that type.
pub(super) fn resource<'a>(image: &Image<'a>, kind: u16) -> Option<&'a [u8]> {
    let directory = image.directories.resource_directory(image.bytes, &image.sections).ok()??;
    let mut table = directory.root().ok()?;
    let mut wanted = Some(kind);
    // Type, name, language.
    for _ in 0..3 {
        let id = wanted.take();
        let entry = table.entries.iter().find(|entry| id.is_none() || entry.name_or_id().id() == id)?;
        match entry.data(directory).ok()? {
            ResourceDirectoryEntryData::Table(next) => table = next,
            ResourceDirectoryEntryData::Data(data) => {
                let size = usize::try_from(data.size.get(LE)).ok()?;
                return image.sections.pe_data_at(image.bytes, data.offset_to_data.get(LE))?.get(..size);
            }
        }
    }
    None
}

/// The key and value of every text.
fn texts(root: &Block<'_>) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for info in root.children().filter(|block| block.key == "StringFileInfo") {
        for table in info.children() {
            texts.extend(table.children().map(|text| (text.key.clone(), utf16(text.value))));
        }
    }
    texts
}

/// One part of a version resource: VS_VERSIONINFO and all below it have this form.
struct Block<'a> {
    key: String,
    value: &'a [u8],
    rest: &'a [u8],
    /// The bytes from the start of this block to the start of the next.
    size: usize,
}

impl<'a> Block<'a> {
    /// The block that `bytes`, which lie on a multiple of four, start with.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
        let (length, value_length, is_text) = (word(0)?, word(2)?, word(4)? == 1);
        let block = bytes.get(..length)?;
        let key_length = block.get(6..)?.chunks(2).position(|unit| unit == [0, 0])?;
        let key = utf16(&block[6..6 + key_length * 2]);
        let value = (6 + (key_length + 1) * 2).next_multiple_of(4).min(length);
        let value_end = value + if is_text { value_length * 2 } else { value_length };
        Some(Self {
            key,
            value: block.get(value..value_end)?,
            rest: block.get(value_end.next_multiple_of(4)..).unwrap_or_default(),
            size: length.next_multiple_of(4),
        })
    }

    fn children(&self) -> impl Iterator<Item = Block<'a>> {
        let mut rest = self.rest;
        std::iter::from_fn(move || {
            let block = Block::parse(rest)?;
            rest = rest.get(block.size..).unwrap_or_default();
            Some(block)
        })
    }
}

pub(super) fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings, one_finding};

    #[test]
    fn an_image_without_a_version_resource_is_found() {
        let mut driver = Driver::new();
        driver.directories.push((object::pe::IMAGE_DIRECTORY_ENTRY_RESOURCE, 0, 0));
        assert!(one_finding(&driver).starts_with("the image has no version resource"));
    }

    #[test]
    fn a_version_of_zero_is_found_for_the_file_and_for_the_product() {
        let mut driver = Driver::new();
        driver.version.number = [0; 4];
        let found = findings(&driver);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("the file version is 0.0.0.0"));
        assert!(found[1].starts_with("the product version is 0.0.0.0"));
    }

    #[test]
    fn a_version_of_which_one_half_is_zero_is_one() {
        for number in [[0, 0, 0, 5], [0, 0, 6, 0], [0, 2, 0, 0], [1, 0, 0, 0]] {
            let mut driver = Driver::new();
            driver.version.number = number;
            assert_eq!(findings(&driver), Vec::<String>::new(), "{number:?}");
        }
    }

    #[test]
    fn a_text_that_is_missing_is_found() {
        let mut driver = Driver::new();
        driver.version.description = "";
        assert!(one_finding(&driver).starts_with("the version resource does not state FileDescription"));
    }

    #[test]
    fn the_name_of_another_file_is_found() {
        let mut driver = Driver::new();
        driver.version.original_file_name = "probe.sys";
        assert!(
            one_finding(&driver)
                .starts_with("the version resource names the file probe.sys, found in a file named sluice.sys")
        );
    }

    #[test]
    fn a_file_type_other_than_driver_is_found() {
        let driver = Driver { patch_resource: Some((0xfeef_04bd, 36, 1)), ..Driver::new() };
        assert!(one_finding(&driver).starts_with("expected the file type VFT_DRV (3), found 1"));
    }

    #[test]
    fn a_malformed_version_resource_is_found() {
        let driver = Driver { patch_resource: Some((0xfeef_04bd, 0, 1)), ..Driver::new() };
        assert!(one_finding(&driver).starts_with("the version resource has no VS_FIXEDFILEINFO"));
        // "VS_V", the first letters of the key.
        let driver = Driver { patch_resource: Some((0x0053_0056, 0, 0)), ..Driver::new() };
        assert!(one_finding(&driver).starts_with("the version resource is malformed"));
    }
}
