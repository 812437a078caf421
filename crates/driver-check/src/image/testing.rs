//! Makes driver images for tests: a good one, of which a test changes one thing.

use super::pdb::Symbols;
use super::{Expectations, check};
use crate::Arch;

/// What goes into an image. [`Driver::new`] is one that nothing is wrong with.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) machine: u16,
    pub(super) characteristics: u16,
    pub(super) subsystem: u16,
    pub(super) dll_characteristics: u16,
    pub(super) entry: u32,
    pub(super) section_alignment: u32,
    /// Stated in the place of the right one.
    pub(super) checksum: Option<u32>,
    /// Stated in the place of the right one.
    pub(super) size_of_image: Option<u32>,
    /// .text, .rdata, .rsrc, .reloc.
    pub(super) sections: Vec<Section>,
    /// The start of .text.
    pub(super) code: Vec<u8>,
    /// Module and functions; `#7` is number 7.
    pub(super) imports: Vec<(&'static str, Vec<&'static str>)>,
    pub(super) exports: Vec<&'static str>,
    pub(super) version: version_resource::Version<'static>,
    /// A word to look for in the resource; the word so many bytes behind it; its new value.
    pub(super) patch_resource: Option<(u32, usize, u32)>,
    /// In the place of the version resource, if there is anything.
    pub(super) message_table: Vec<u8>,
    pub(super) pdb_name: &'static str,
    /// Data directories in the place of the right ones: index, address, size.
    pub(super) directories: Vec<(usize, u32, u32)>,
    /// Bytes behind the last section.
    pub(super) trailer: Vec<u8>,

    /// What lies beside the image.
    pub(super) symbols: Result<Symbols, String>,
    pub(super) expectations: Expectations,
}

#[derive(Debug, Clone)]
pub(super) struct Section {
    name: &'static [u8; 8],
    pub(super) address: u32,
    pub(super) virtual_size: u32,
    pub(super) raw_size: u32,
    pub(super) flags: u32,
}

const GUID: [u8; 16] = [1; 16];
const RAW_SIZE: u32 = 0x800;
const HEADERS: u32 = 0x400;

impl Driver {
    pub(super) fn new() -> Self {
        let section = |index: u32, name, flags| Section {
            name,
            address: 0x1000 * (index + 1),
            virtual_size: RAW_SIZE,
            raw_size: RAW_SIZE,
            flags,
        };
        Self {
            machine: 0x8664,
            characteristics: 0x2022,
            subsystem: 1,
            dll_characteristics: 0x1e0,
            entry: 0x1000,
            section_alignment: 0x1000,
            checksum: None,
            size_of_image: None,
            sections: vec![
                section(0, b".text\0\0\0", 0x6000_0020),
                section(1, b".rdata\0\0", 0x4000_0040),
                section(2, b".rsrc\0\0\0", 0x4000_0040),
                section(3, b".reloc\0\0", 0x4200_0040),
            ],
            code: vec![0xc3],
            imports: vec![
                ("ntoskrnl.exe", vec!["ExAllocatePool2", "memcpy"]),
                ("NETIO.SYS", vec!["NmrRegisterProvider", "NmrDeregisterProvider"]),
            ],
            exports: Vec::new(),
            version: version_resource::Version {
                number: [1, 2, 3, 0],
                original_file_name: "sluice.sys",
                description: "Classifies packets",
                product: "Sluice",
                company: "The Sluice developers",
                copyright: "Copyright",
            },
            patch_resource: None,
            message_table: Vec::new(),
            pdb_name: "sluice.pdb",
            directories: Vec::new(),
            trailer: Vec::new(),
            symbols: Ok(Symbols { guid: GUID, age: 1, ..Symbols::default() }),
            expectations: Expectations::default(),
        }
    }

    pub(super) fn arm64() -> Self {
        Self { machine: 0xaa64, code: 0xd65f_03c0_u32.to_le_bytes().to_vec(), ..Self::new() }
    }

    /// The same driver, in which `path` must not be found.
    pub(super) fn expecting_no(mut self, path: &str) -> Self {
        self.expectations.local_paths = vec![path.to_owned()];
        self
    }

    /// The file.
    pub(super) fn image(&self) -> Vec<u8> {
        let mut directories = [(0, 0); 16];
        let text = fit(self.code.clone());
        let rdata = fit(self.rdata(&mut directories));
        let rsrc = fit(self.rsrc());
        // One block for the page at 0x1000, with two entries that fill it up.
        let reloc = fit([0x1000_u32, 12, 0].into_iter().flat_map(u32::to_le_bytes).collect());
        directories[2] = (0x3000, RAW_SIZE);
        directories[5] = (0x4000, 12);
        for (index, address, size) in &self.directories {
            directories[*index] = (*address, *size);
        }

        let mut file = self.headers(&directories);
        file.resize(HEADERS as usize, 0);
        for contents in [text, rdata, rsrc, reloc] {
            file.extend(contents);
        }
        file.extend(&self.trailer);

        const CHECKSUM: usize = 0x40 + 24 + 64;
        let checksum = self.checksum.unwrap_or_else(|| {
            let image = super::Image::parse("sluice.sys", &file).unwrap();
            super::header::checksum(&image)
        });
        file[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
        file
    }

    fn headers(&self, directories: &[(u32, u32); 16]) -> Vec<u8> {
        let end = self.sections.iter().map(|section| section.address + section.virtual_size).max().unwrap_or(0);
        let mut file = Bytes(b"MZ".to_vec());
        file.pad_to(0x3c);
        file.u32(&[0x40]);
        file.0.extend(b"PE\0\0");
        file.u16(&[self.machine, u16::try_from(self.sections.len()).unwrap()]);
        file.u32(&[0x1234_5678, 0, 0]);
        file.u16(&[112 + 16 * 8, self.characteristics]);
        // The optional header: standard fields, Windows-specific fields, data directories.
        file.u16(&[0x20b, 14]);
        file.u32(&[RAW_SIZE, 3 * RAW_SIZE, 0, self.entry, 0x1000]);
        file.u32(&[0x4000_0000, 1, self.section_alignment, 0x200]);
        file.u16(&[10, 0, 10, 0, 10, 0]);
        file.u32(&[0, self.size_of_image.unwrap_or(end.next_multiple_of(0x1000)), HEADERS, 0]);
        file.u16(&[self.subsystem, self.dll_characteristics]);
        file.u32(&[0x10_0000, 0, 0x1000, 0, 0x10_0000, 0, 0x1000, 0, 0, 16]);
        for (address, size) in directories {
            file.u32(&[*address, *size]);
        }
        for (index, section) in (0..).zip(&self.sections) {
            file.0.extend(section.name);
            file.u32(&[section.virtual_size, section.address, section.raw_size, HEADERS + index * RAW_SIZE, 0, 0, 0]);
            file.u32(&[section.flags]);
        }
        file.0
    }

    /// Import table, debug directory, export table.
    fn rdata(&self, directories: &mut [(u32, u32); 16]) -> Vec<u8> {
        const BASE: u32 = 0x2000;
        let mut data = Bytes(Vec::new());
        data.pad_to(20 * (self.imports.len() + 1));
        directories[1] = (BASE, data.end(0));
        for (index, (module, functions)) in self.imports.iter().enumerate() {
            let mut thunks = Vec::new();
            for function in functions {
                if let Some(ordinal) = function.strip_prefix('#') {
                    thunks.push(1 << 63 | ordinal.parse::<u64>().unwrap());
                } else {
                    thunks.push(u64::from(data.end(BASE)));
                    data.u16(&[0]);
                    data.text(function);
                }
            }
            let name = data.end(BASE);
            data.text(module);
            data.align();
            let lookup = data.end(BASE);
            thunks.push(0);
            let thunks: Vec<u8> = thunks.into_iter().flat_map(u64::to_le_bytes).collect();
            data.0.extend(&thunks);
            let addresses = data.end(BASE);
            data.0.extend(&thunks);
            directories[12] = (addresses, u32::try_from(thunks.len()).unwrap());
            data.patch(index * 20, &[lookup, 0, 0, name, addresses]);
        }

        data.align();
        let record = data.0.len();
        data.0.extend(b"RSDS");
        data.0.extend(GUID);
        data.u32(&[1]);
        data.text(self.pdb_name);
        let size = u32::try_from(data.0.len() - record).unwrap();
        let offset = u32::try_from(record).unwrap();
        data.align();
        directories[6] = (data.end(BASE), 2 * 28);
        data.u32(&[0, 0x1234_5678, 0, 2, size, BASE + offset, HEADERS + RAW_SIZE + offset]);
        data.u32(&[0, 0x1234_5678, 0, 16, 0, 0, 0]);

        if !self.exports.is_empty() {
            let count = u32::try_from(self.exports.len()).unwrap();
            let start = data.end(BASE);
            let tables = start + 40;
            data.u32(&[0, 0, 0, 0, 1, count, count, tables, tables + 4 * count, tables + 8 * count]);
            data.u32(&vec![0x1000; self.exports.len()]);
            let mut name = tables + 10 * count;
            for export in &self.exports {
                data.u32(&[name]);
                name += u32::try_from(export.len()).unwrap() + 1;
            }
            for index in 0..u16::try_from(count).unwrap() {
                data.u16(&[index]);
            }
            for export in &self.exports {
                data.text(export);
            }
            directories[0] = (start, data.end(BASE) - start);
        }
        data.0
    }

    /// A resource directory with the version resource in it, or the table of messages.
    fn rsrc(&self) -> Vec<u8> {
        // The resource without the headers of the .res file.
        let mut resource = version_resource::res(&self.version, &[]).unwrap().split_off(64);
        if let Some((word, offset, value)) = self.patch_resource {
            let at = resource.windows(4).position(|window| window == word.to_le_bytes()).unwrap() + offset;
            resource[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let mut kind = 16;
        if !self.message_table.is_empty() {
            (kind, resource) = (11, self.message_table.clone());
        }
        let mut data = Bytes(Vec::new());
        let subdirectory = 0x8000_0000;
        // The type at 0, name 1 at 24, language 0x409 at 48, the data entry at 72, the data at 88.
        for (id, offset) in [(kind, subdirectory | 24), (1, subdirectory | 48), (0x409, 72)] {
            data.u32(&[0, 0, 0, 0x0001_0000, id, offset]);
        }
        data.u32(&[0x3000 + 88, u32::try_from(resource.len()).unwrap(), 0, 0]);
        data.0.extend(resource);
        data.0
    }
}

/// The contents of a section.
fn fit(mut contents: Vec<u8>) -> Vec<u8> {
    assert!(contents.len() <= RAW_SIZE as usize, "{} bytes", contents.len());
    contents.resize(RAW_SIZE as usize, 0);
    contents
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, values: &[u16]) {
        self.0.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn u32(&mut self, values: &[u32]) {
        self.0.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn text(&mut self, text: &str) {
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn patch(&mut self, at: usize, values: &[u32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.0[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    fn align(&mut self) {
        self.pad_to(self.0.len().next_multiple_of(8));
    }

    fn pad_to(&mut self, length: usize) {
        self.0.resize(length, 0);
    }

    fn end(&self, base: u32) -> u32 {
        base + u32::try_from(self.0.len()).unwrap()
    }
}

/// What is found in `driver`.
pub(super) fn findings(driver: &Driver) -> Vec<String> {
    let symbols = driver.symbols.as_ref().map_err(String::as_str);
    let found = check("sluice.sys", &driver.image(), symbols, &driver.expectations);
    found.iter().map(ToString::to_string).collect()
}

/// What is found in `driver` if it has to be for `arch`.
pub(super) fn findings_for(driver: Driver, arch: Arch) -> Vec<String> {
    let expectations = Expectations { arch: Some(arch), ..driver.expectations };
    findings(&Driver { expectations, ..driver })
}

/// The only thing that is found in `driver`.
pub(super) fn one_finding(driver: &Driver) -> String {
    let mut found = findings(driver);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}
