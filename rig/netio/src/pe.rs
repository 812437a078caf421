//! A driver image in memory: where its headers name the entry point, the sections and the imports.

use core::ffi::CStr;

/// Where the offset of the PE header is, and what lies where in a 64-bit PE header.
const PE_OFFSET: usize = 0x3C;
const ENTRY_POINT: usize = 0x28;
const IMPORT_DIRECTORY: usize = 0x90;
const SECTION_COUNT: usize = 6;
const OPTIONAL_SIZE: usize = 0x14;
const OPTIONAL_HEADER: usize = 0x18;
/// Fields of a section header.
const SECTION_SIZE: usize = 40;
const SECTION_LENGTH: usize = 8;
const SECTION_ADDRESS: usize = 12;
/// Fields of an import descriptor.
const DESCRIPTOR_SIZE: usize = 20;
const DESCRIPTOR_DLL: usize = 12;
const DESCRIPTOR_ADDRESSES: usize = 16;
/// The size of an entry of the name table, and of a slot of the address table.
const SLOT_SIZE: usize = 8;
/// Set in an entry of the name table that is an ordinal.
const BY_ORDINAL: u64 = 1 << 63;
/// An import by name starts with a 16-bit hint.
const HINT_SIZE: usize = 2;

/// An image that the loader has mapped and checked, by the address where it begins.
///
/// INVARIANT: offsets are taken from the image's own headers, which the loader has used before.
#[derive(Clone, Copy)]
pub(crate) struct Image(usize);

/// An import by name.
pub(crate) struct Import {
    pub(crate) dll: &'static CStr,
    pub(crate) name: &'static CStr,
    /// The slot of the address table.
    pub(crate) slot: *mut usize,
}

impl Image {
    /// # Safety
    ///
    /// The loader has just mapped an image there, and it stays while this value is used.
    pub(crate) unsafe fn at(base: usize) -> Self {
        Self(base)
    }

    /// The field of the header that holds the offset of the entry point.
    pub(crate) fn entry_offset(self) -> *mut u32 {
        (self.0 + self.header() + ENTRY_POINT) as *mut u32
    }

    /// The address of the entry point.
    pub(crate) fn entry(self) -> usize {
        self.0 + self.offset(self.header() + ENTRY_POINT)
    }

    /// What an import is bound to. None if the image does not import the function.
    pub(crate) fn bound_to(self, name: &str) -> Option<usize> {
        let import = self.imports().find(|import| import.name.to_bytes() == name.as_bytes())?;
        // SAFETY: a slot of the address table, which the loader has filled.
        Some(unsafe { import.slot.read_unaligned() })
    }

    /// Everything that the image imports by name.
    pub(crate) fn imports(self) -> impl Iterator<Item = Import> {
        let first = self.offset(self.header() + IMPORT_DIRECTORY);
        let descriptors = (first..).step_by(DESCRIPTOR_SIZE).take_while(move |_| first != 0);
        let tables = descriptors.map(move |descriptor| {
            let dll = self.offset(descriptor + DESCRIPTOR_DLL);
            (dll, self.offset(descriptor), self.offset(descriptor + DESCRIPTOR_ADDRESSES))
        });
        let tables = tables.take_while(|&(_, names, addresses)| names != 0 && addresses != 0);
        tables.flat_map(move |(dll, names, addresses)| self.imports_of(dll, names, addresses))
    }

    /// The name, address and size of each section.
    pub(crate) fn sections(self) -> impl Iterator<Item = ([u8; 8], usize, usize)> {
        let count = self.read::<u16>(self.header() + SECTION_COUNT);
        let first = self.header() + OPTIONAL_HEADER + usize::from(self.read::<u16>(self.header() + OPTIONAL_SIZE));
        (first..).step_by(SECTION_SIZE).take(usize::from(count)).map(move |section| {
            let start = self.0 + self.offset(section + SECTION_ADDRESS);
            (self.read(section), start, self.offset(section + SECTION_LENGTH))
        })
    }

    fn imports_of(self, dll: usize, names: usize, addresses: usize) -> impl Iterator<Item = Import> {
        let entries = (0..).step_by(SLOT_SIZE).map(move |place| (place, self.read::<u64>(names + place)));
        let entries = entries.take_while(|&(_, entry)| entry != 0).filter(|(_, entry)| entry & BY_ORDINAL == 0);
        entries.map(move |(place, entry)| Import {
            dll: self.string(dll),
            name: self.string(entry as usize + HINT_SIZE),
            slot: (self.0 + addresses + place) as *mut usize,
        })
    }

    fn header(self) -> usize {
        self.offset(PE_OFFSET)
    }

    fn offset(self, place: usize) -> usize {
        self.read::<u32>(place) as usize
    }

    fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: see the invariant.
        unsafe { ((self.0 + offset) as *const T).read_unaligned() }
    }

    fn string(self, offset: usize) -> &'static CStr {
        // SAFETY: see the invariant. Names in an image end in a zero.
        unsafe { CStr::from_ptr((self.0 + offset) as *const _) }
    }
}
