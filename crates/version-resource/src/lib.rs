//! The version resource of a driver: what the Details page of its file's properties shows, and what a crash dump names;
//! and the message table of one that writes to the System log.
//!
//! A build script calls [`link`] or [`link_with_messages`]. The resources are written as a `.res` file, which every
//! linker for Windows takes as an input, so a build needs no resource compiler: it is the same on Windows and
//! elsewhere.
//!
//! The formats: "RESOURCEHEADER structure" for the `.res` file, "VS_VERSIONINFO structure" and the pages that it links
//! to for what is in it (Microsoft, Menus and Other Resources).

#![forbid(unsafe_code)]

mod message_table;

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// `LANGID` of the texts: English (United States).
const LANGUAGE: u16 = 0x0409;
/// The code page of the texts, 1200: UTF-16.
const CODE_PAGE: u16 = 0x04b0;

/// What a version resource says.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    /// Major, minor, patch and build number, of the file and of the product.
    pub number: [u16; 4],
    /// The name that the file had when it was built, such as `sluice.sys`.
    pub original_file_name: &'a str,
    /// What the file is, in a few words.
    pub description: &'a str,
    /// The product that the file belongs to.
    pub product: &'a str,
    /// Who makes it.
    pub company: &'a str,
    /// The copyright notice.
    pub copyright: &'a str,
}

/// Links a version resource into the driver of Sluice that this build script belongs to.
///
/// Version and description are those of its Cargo.toml; the file is named after the package.
///
/// # Errors
/// The version has a part that Windows cannot hold (more than 65535), cargo did not set a variable, or the file cannot
/// be written.
pub fn link() -> Result<(), Box<dyn Error>> {
    link_with_messages(&[])
}

/// Links a version resource as [`link`] does, and a table of messages: the code and the text of each.
///
/// # Errors
/// As [`link`]; or two messages have one code, or a text is longer than a table can hold.
pub fn link_with_messages(messages: &[(u32, &str)]) -> Result<(), Box<dyn Error>> {
    const COPYRIGHT: &str = "Copyright the Sluice developers. MIT or Apache-2.0.";
    link_resources("Sluice", "The Sluice developers", COPYRIGHT, messages)
}

/// Links a version resource as [`link`] does, for a driver of anybody's: a part of `product`, made by `company`.
///
/// # Errors
/// As [`link`].
pub fn link_as(product: &str, company: &str, copyright: &str) -> Result<(), Box<dyn Error>> {
    link_resources(product, company, copyright, &[])
}

fn link_resources(
    product: &str,
    company: &str,
    copyright: &str,
    messages: &[(u32, &str)],
) -> Result<(), Box<dyn Error>> {
    let variable = |name: &str| env::var(name).map_err(|_| format!("{name} is not set: this is for build scripts"));
    let part = |name: &str| -> Result<u16, Box<dyn Error>> {
        let value = variable(name)?;
        value.parse().map_err(|_| format!("{name} is {value}; a version resource holds 0 to 65535").into())
    };
    let version = Version {
        number: [
            part("CARGO_PKG_VERSION_MAJOR")?,
            part("CARGO_PKG_VERSION_MINOR")?,
            part("CARGO_PKG_VERSION_PATCH")?,
            0,
        ],
        original_file_name: &format!("{}.sys", variable("CARGO_PKG_NAME")?),
        description: &variable("CARGO_PKG_DESCRIPTION")?,
        product,
        company,
        copyright,
    };
    let resource = res(&version, messages)?;
    let path = Path::new(&variable("OUT_DIR")?).join("version.res");
    fs::write(&path, resource)?;
    println!("cargo::rustc-cdylib-link-arg={}", path.display());
    println!("cargo::rerun-if-changed=Cargo.toml");
    Ok(())
}

/// A `.res` file with `version`, and with a table of `messages` if there are any.
///
/// # Errors
/// Two messages have one code, or a text is longer than a table can hold.
pub fn res(version: &Version<'_>, messages: &[(u32, &str)]) -> Result<Vec<u8>, String> {
    let mut file = Vec::new();
    // An entry without content comes first: it tells a 32-bit .res file from a 16-bit one.
    entry(&mut file, 0, 0, 0, 0, &[]);
    // Movable and pure, as resource compilers mark them.
    const MEMORY_FLAGS: u16 = 0x30;
    if !messages.is_empty() {
        // RT_MESSAGETABLE.
        entry(&mut file, 11, 1, MEMORY_FLAGS, LANGUAGE, &message_table::message_table(messages)?);
    }
    // RT_VERSION, VS_VERSION_INFO.
    entry(&mut file, 16, 1, MEMORY_FLAGS, LANGUAGE, &version_info(version));
    Ok(file)
}

/// RESOURCEHEADER with numbers as type and name, then `data`.
fn entry(file: &mut Vec<u8>, kind: u16, name: u16, memory_flags: u16, language: u16, data: &[u8]) {
    const HEADER_SIZE: u32 = 32;
    file.extend(u32_of(data.len()).to_le_bytes());
    file.extend(HEADER_SIZE.to_le_bytes());
    for word in [0xffff, kind, 0xffff, name, 0, 0, memory_flags, language, 0, 0, 0, 0] {
        file.extend(u16::to_le_bytes(word));
    }
    file.extend(data);
    pad(file);
}

fn version_info(version: &Version<'_>) -> Vec<u8> {
    let [major, minor, patch, build] = version.number;
    let number = format!("{major}.{minor}.{patch}.{build}");
    let strings = [
        ("CompanyName", version.company),
        ("FileDescription", version.description),
        ("FileVersion", &number),
        ("InternalName", version.original_file_name),
        ("LegalCopyright", version.copyright),
        ("OriginalFilename", version.original_file_name),
        ("ProductName", version.product),
        ("ProductVersion", &number),
    ]
    .map(|(key, text)| block(key, &Value::Text(text), &[]));
    let table = block(&format!("{LANGUAGE:04x}{CODE_PAGE:04x}"), &Value::None, &strings);
    let string_file_info = block("StringFileInfo", &Value::None, &[table]);

    let translation = [LANGUAGE.to_le_bytes(), CODE_PAGE.to_le_bytes()].concat();
    let var_file_info = block("VarFileInfo", &Value::None, &[block("Translation", &Value::Binary(&translation), &[])]);

    let fixed = fixed_file_info(version.number);
    block("VS_VERSION_INFO", &Value::Binary(&fixed), &[string_file_info, var_file_info])
}

/// VS_FIXEDFILEINFO.
fn fixed_file_info([major, minor, patch, build]: [u16; 4]) -> Vec<u8> {
    let high = u32::from(major) << 16 | u32::from(minor);
    let low = u32::from(patch) << 16 | u32::from(build);
    let fields = [
        0xfeef_04bd, // dwSignature
        0x0001_0000, // dwStrucVersion
        high,        // dwFileVersionMS
        low,         // dwFileVersionLS
        high,        // dwProductVersionMS
        low,         // dwProductVersionLS
        0x3f,        // dwFileFlagsMask: VS_FFI_FILEFLAGSMASK
        0,           // dwFileFlags
        0x0004_0004, // dwFileOS: VOS_NT_WINDOWS32
        3,           // dwFileType: VFT_DRV
        6,           // dwFileSubtype: VFT2_DRV_NETWORK
        0,           // dwFileDateMS
        0,           // dwFileDateLS
    ];
    fields.into_iter().flat_map(u32::to_le_bytes).collect()
}

enum Value<'a> {
    None,
    Text(&'a str),
    Binary(&'a [u8]),
}

/// The form that all parts of a version resource have: length, length of the value, type, key, value, children.
fn block(key: &str, value: &Value<'_>, children: &[Vec<u8>]) -> Vec<u8> {
    let (length, kind, bytes) = match value {
        Value::None => (0, 1, Vec::new()),
        Value::Text(text) => {
            let text = utf16(text);
            // The length of a text is counted in characters, its end included.
            (u16_of(text.len() / 2), 1, text)
        }
        Value::Binary(bytes) => (u16_of(bytes.len()), 0, bytes.to_vec()),
    };
    let mut block = vec![0; 2];
    block.extend(u16::to_le_bytes(length));
    block.extend(u16::to_le_bytes(kind));
    block.extend(utf16(key));
    pad(&mut block);
    block.extend(bytes);
    for child in children {
        pad(&mut block);
        block.extend(child);
    }
    let length = u16_of(block.len());
    block.splice(..2, length.to_le_bytes());
    block
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// Everything starts on a multiple of four bytes.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn u16_of(length: usize) -> u16 {
    u16::try_from(length).expect("a version resource is smaller than 64 KiB")
}

fn u32_of(length: usize) -> u32 {
    u32::try_from(length).expect("a version resource is smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: Version<'_> = Version {
        number: [1, 2, 3, 0],
        original_file_name: "sluice.sys",
        description: "Classifies packets",
        product: "Sluice",
        company: "The Sluice developers",
        copyright: "Copyright",
    };

    fn word(bytes: &[u8], at: usize) -> usize {
        usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
    }

    #[test]
    fn the_file_starts_with_an_empty_entry_and_has_one_version_resource() {
        let file = res(&VERSION, &[]).unwrap();
        assert_eq!(file[..16], [0, 0, 0, 0, 32, 0, 0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
        assert_eq!(file[40..48], [0xff, 0xff, 16, 0, 0xff, 0xff, 1, 0], "RT_VERSION, number 1");
        assert_eq!(word(&file, 32), word(&file, 64), "the entry is as long as the VS_VERSIONINFO in it");
        assert_eq!(file.len(), (64 + word(&file, 32)).next_multiple_of(4));
    }

    #[test]
    fn a_message_table_comes_before_the_version() {
        let with = res(&VERSION, &[(1, "text")]).unwrap();
        assert_eq!(with[40..48], [0xff, 0xff, 11, 0, 0xff, 0xff, 1, 0], "RT_MESSAGETABLE, number 1");
        let without = res(&VERSION, &[]).unwrap();
        assert!(with.ends_with(&without[32..]));
    }

    #[test]
    fn versions_are_in_the_fixed_part_and_in_the_texts() {
        let info = version_info(&VERSION);
        // 6 bytes of header and 16 characters of key, padded.
        assert_eq!(info[40..44], 0xfeef_04bd_u32.to_le_bytes());
        assert_eq!(info[48..56], [2, 0, 1, 0, 0, 0, 3, 0]);
        let contains = |text: &str| info.windows(text.len() * 2 + 2).any(|window| window == utf16(text));
        for text in ["FileVersion", "ProductVersion", "1.2.3.0", "OriginalFilename", "sluice.sys", "Classifies packets"]
        {
            assert!(contains(text), "{text}");
        }
    }

    #[test]
    fn children_lie_within_their_block_and_start_on_four_bytes() {
        fn walk(block: &[u8]) -> usize {
            let length = word(block, 0);
            assert!(length <= block.len(), "block of {length} bytes in {}", block.len());
            let key = block[6..].chunks(2).position(|unit| unit == [0, 0]).unwrap();
            let value = (6 + 2 * (key + 1)).next_multiple_of(4);
            let value_length = word(block, 2) * if word(block, 4) == 1 { 2 } else { 1 };
            let mut at = (value + value_length).next_multiple_of(4);
            let mut blocks = 1;
            while at < length {
                blocks += walk(&block[at..length]);
                at = (at + word(block, at)).next_multiple_of(4);
            }
            blocks
        }
        // The root, StringFileInfo, its table, eight texts, VarFileInfo, Translation.
        assert_eq!(walk(&version_info(&VERSION)), 13);
    }
}
