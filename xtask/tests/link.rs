//! The drivers' build scripts ask the linker for images that are the same each time: lld, which takes the options of
//! link.exe, is given those that wdk-build 0.6.0 and rustc pass, with ours and without.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use object::pe::{IMAGE_DEBUG_TYPE_REPRO, ImageNtHeaders64};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile64};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, LittleEndian, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use sluice_rig::root;

const BUILD_SCRIPTS: [&str; 2] = ["build.rs", "clients/probe/build.rs"];

/// What wdk-build passes for a WDM driver, and rustc for every image.
const THEIRS: [&str; 11] = [
    "/DRIVER",
    "/NODEFAULTLIB",
    "/SUBSYSTEM:NATIVE",
    "/ENTRY:DriverEntry",
    "/NXCOMPAT",
    "/DYNAMICBASE",
    "/OPT:REF,ICF",
    "/INTEGRITYCHECK",
    "/MANIFEST:NO",
    "/DEBUG",
    "/PDBALTPATH:%_PDB%",
];

/// The options in a build script: all that it writes in capitals behind a slash.
fn ours(script: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(script)).unwrap();
    let words = text.split('"').skip(1).step_by(2);
    words.filter(|word| word.starts_with('/') && word[1..].starts_with(char::is_uppercase)).map(str::to_owned).collect()
}

/// lld, which every tool chain of rustup has.
fn lld() -> PathBuf {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = |argument: &[&str]| {
        let output = Command::new(&rustc).args(argument).current_dir(root()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let version = said(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let name = format!("rust-lld{}", env::consts::EXE_SUFFIX);
    Path::new(said(&["--print", "sysroot"]).trim()).join("lib/rustlib").join(host).join("bin").join(name)
}

/// An object whose only function returns.
fn driver_object() -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Coff, Architecture::X86_64, Endianness::Little);
    let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
    let offset = object.append_section_data(text, &[0xc3], 16);
    object.add_symbol(Symbol {
        name: b"DriverEntry".to_vec(),
        value: offset,
        size: 1,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    object.write().unwrap()
}

/// Links the object, always in the same folder, whose name gets into the symbols; `None` if there is no lld.
fn link(options: &[String]) -> Option<Vec<u8>> {
    let linker = lld();
    if !linker.is_file() {
        eprintln!("not tested: {} is not there", linker.display());
        return None;
    }
    let folder = env::temp_dir().join(format!("xtask-link-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("driver.obj"), driver_object()).unwrap();
    let mut command = Command::new(linker);
    command.args(["-flavor", "link"]).args(THEIRS).args(options).args(["/OUT:driver.sys", "driver.obj"]);
    let output = command.current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let image = fs::read(folder.join("driver.sys")).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    Some(image)
}

/// Whether the debug directory says that the image is reproducible, and the checksum of the header.
fn marks(image: &[u8]) -> (bool, u32) {
    let file = PeFile64::parse(image).unwrap();
    let headers: &ImageNtHeaders64 = file.nt_headers();
    let debug = file.data_directory(object::pe::IMAGE_DIRECTORY_ENTRY_DEBUG).unwrap();
    let entries = debug.data(image, &file.section_table()).unwrap();
    let is_repro = |entry: &[u8]| entry[12..16] == IMAGE_DEBUG_TYPE_REPRO.to_le_bytes();
    let checksum = headers.optional_header().check_sum();
    assert_eq!(checksum, headers.optional_header.check_sum.get(LittleEndian));
    (entries.chunks_exact(28).any(is_repro), checksum)
}

#[test]
fn a_driver_is_linked_to_the_same_bytes_each_time() {
    let options = ours(BUILD_SCRIPTS[0]);
    for script in BUILD_SCRIPTS {
        assert_eq!(ours(script), options, "{script}");
    }
    let (Some(first), Some(plain)) = (link(&options), link(&[])) else { return };
    // The time in a header has a resolution of a second.
    thread::sleep(Duration::from_millis(2100));
    assert!(first == link(&options).unwrap(), "two images of the same object differ");
    let (is_reproducible, checksum) = marks(&first);
    assert!(is_reproducible, "no IMAGE_DEBUG_TYPE_REPRO");
    assert_ne!(checksum, 0);
    // It is our options that do that.
    assert!(plain != link(&[]).unwrap(), "two images are the same without /Brepro");
    assert_eq!(marks(&plain), (false, 0));
}
