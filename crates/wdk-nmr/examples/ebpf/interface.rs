//! The two interfaces between eBPF for Windows and its extensions, in types. The facts are those of the project's
//! public headers (`ebpf_extension.h`, `ebpf_program_types.h`, `ebpf_windows.h`, `ebpf_extension_uuids.h`) and of
//! `docs/eBpfExtensions.md`, github.com/microsoft/ebpf-for-windows.
//!
//! An extension is the provider of both. By the first it says what programs of a type look like; by the second it runs
//! programs. The runtime, ebpfcore, is the client: once for each program that is loaded, and once for each that is
//! attached to a hook.

use core::ffi::{CStr, c_char, c_void};
use core::mem::offset_of;

use wdk_nmr::{Extensible, GUID, Ignored, NPIID, Npi, NpiStructure, StructureError};

/// What programs of a type look like. The module id of the provider is the program type.
pub struct ProgramInformation;

// SAFETY: whoever registers the identifier keeps to the types below.
unsafe impl Npi for ProgramInformation {
    const ID: NPIID = GUID::from_u128(0x2934ad50_2154_44b6_9622_6c528c068411);
    // By the documentation neither side has a table, and a client no characteristics. ebpfcore passes a table all the
    // same, with nothing in it that a provider could use; other runtimes pass NULL.
    type ProviderDispatch = ();
    type ClientDispatch = Ignored;
    type ProviderCharacteristics = ProgramData;
    type ClientCharacteristics = Ignored;
}

/// Runs programs. The module id of the provider is the attach type.
pub struct Hook;

// SAFETY: whoever registers the identifier keeps to the types below.
unsafe impl Npi for Hook {
    const ID: NPIID = GUID::from_u128(0x5d564054_2736_406d_8b22_12bcffaf0a9f);
    type ProviderDispatch = ();
    // Older runtimes have fewer functions.
    type ClientDispatch = Extensible<ProgramDispatch>;
    type ProviderCharacteristics = AttachProviderData;
    // Older runtimes have no flags.
    type ClientCharacteristics = Extensible<ExtensionData>;
}

/// ebpf_extension_header_t: how the data of extensions starts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Header {
    pub version: u16,
    /// Up to the end of the last field.
    pub size: usize,
    /// With the padding behind it.
    pub total_size: usize,
}

impl Header {
    /// The header of a `T` whose last field ends at `size`.
    pub const fn of<T>(size: usize) -> Self {
        Self { version: 1, size, total_size: size_of::<T>() }
    }

    /// A later minor version adds fields at the end and keeps the version. The padding counts as there.
    fn check(&self) -> Result<usize, StructureError> {
        StructureError::unless_version(self.version, 1..=1)?;
        Ok(self.total_size)
    }
}

/// Structures with that header.
macro_rules! structures {
    ($($structure:ty),* $(,)?) => {
        $(
            // SAFETY: `repr(C)`, starts with its header; numbers, addresses and pointers to functions.
            unsafe impl NpiStructure for $structure {
                type Header = Header;

                fn check(header: &Header) -> Result<usize, StructureError> {
                    header.check()
                }
            }
        )*
    };
}
structures!(ProgramData, AttachProviderData, ExtensionData);

/// ebpf_program_data_t.
#[repr(C)]
pub struct ProgramData {
    pub header: Header,
    pub program_info: *const ProgramInfo,
    pub helper_function_addresses: *const c_void,
    pub global_helper_function_addresses: *const c_void,
    pub context_create: Option<unsafe extern "C" fn()>,
    pub context_destroy: Option<unsafe extern "C" fn()>,
    pub required_irql: u8,
    pub capabilities: u32,
}

/// ebpf_program_info_t.
#[repr(C)]
pub struct ProgramInfo {
    pub header: Header,
    pub program_type_descriptor: *const ProgramTypeDescriptor,
    pub count_of_helpers: u32,
    pub helper_prototype: *const c_void,
    pub count_of_global_helpers: u32,
    pub global_helper_prototype: *const c_void,
}

/// ebpf_program_type_descriptor_t.
#[repr(C)]
pub struct ProgramTypeDescriptor {
    pub header: Header,
    pub name: *const c_char,
    pub context_descriptor: *const ContextDescriptor,
    pub program_type: GUID,
    pub bpf_prog_type: u32,
    pub is_privileged: c_char,
}

/// ebpf_context_descriptor_t: offsets in the context of a program, -1 for what it does not have.
#[repr(C)]
pub struct ContextDescriptor {
    pub size: i32,
    pub data: i32,
    pub end: i32,
    pub meta: i32,
}

/// A static of such a structure: what it points to are statics, too.
#[repr(transparent)]
pub struct Static<T>(pub T);

// SAFETY: never written; the addresses in it are those of statics.
unsafe impl<T> Sync for Static<T> {}

impl ProgramTypeDescriptor {
    /// A program type without helpers of its own.
    pub const fn new(name: &'static CStr, context: &'static ContextDescriptor, program_type: GUID) -> Self {
        Self {
            header: Header::of::<Self>(offset_of!(Self, is_privileged) + 1),
            name: name.as_ptr(),
            context_descriptor: context,
            program_type,
            bpf_prog_type: 0,
            is_privileged: 0,
        }
    }
}

/// ebpf_attach_provider_data_t.
#[repr(C)]
pub struct AttachProviderData {
    pub header: Header,
    pub supported_program_type: GUID,
    pub bpf_attach_type: i32,
    pub link_type: i32,
}

/// ebpf_extension_data_t: what a program's owner says to the hook, such as the index of an interface.
#[repr(C)]
pub struct ExtensionData {
    pub header: Header,
    pub data: *const c_void,
    pub data_size: usize,
    /// Not in older runtimes.
    pub prog_attach_flags: u64,
}

/// ebpf_result_t; 0 is success.
pub type Result32 = i32;

/// ebpf_extension_program_dispatch_table_t: a version, a number of functions, and as many functions.
#[repr(C)]
pub struct ProgramDispatch {
    pub version: u16,
    pub count: u16,
    pub invoke: unsafe extern "C" fn(client: *const c_void, context: *mut c_void, result: *mut u32) -> Result32,
    /// This one and what follows are not in older runtimes.
    pub batch_begin: unsafe extern "C" fn(state_size: usize, state: *mut c_void) -> Result32,
    pub batch_invoke: unsafe extern "C" fn(
        client: *const c_void,
        context: *mut c_void,
        result: *mut u32,
        state: *const c_void,
    ) -> Result32,
    pub batch_end: unsafe extern "C" fn(state: *mut c_void) -> Result32,
}

/// How a [`ProgramDispatch`] starts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VersionAndCount {
    pub version: u16,
    pub count: u16,
}

// SAFETY: `repr(C)`, starts with its header; as many pointers to functions as that says.
unsafe impl NpiStructure for ProgramDispatch {
    type Header = VersionAndCount;

    fn check(header: &VersionAndCount) -> Result<usize, StructureError> {
        StructureError::unless_version(header.version, 1..=1)?;
        if header.count == 0 {
            return Err(StructureError::Other { expected: "a table with at least one function" });
        }
        Ok(offset_of!(Self, invoke) + size_of::<usize>() * usize::from(header.count))
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Header>() == 24 && offset_of!(Header, size) == 8 && offset_of!(Header, total_size) == 16);
    assert!(size_of::<ProgramData>() == 72 && offset_of!(ProgramData, program_info) == 24);
    assert!(offset_of!(ProgramData, context_create) == 48 && offset_of!(ProgramData, required_irql) == 64);
    assert!(offset_of!(ProgramData, capabilities) == 68);
    assert!(size_of::<ProgramInfo>() == 64 && offset_of!(ProgramInfo, helper_prototype) == 40);
    assert!(offset_of!(ProgramTypeDescriptor, program_type) == 40 && size_of::<ProgramTypeDescriptor>() == 64);
    assert!(size_of::<ContextDescriptor>() == 16);
    assert!(size_of::<AttachProviderData>() == 48 && offset_of!(AttachProviderData, bpf_attach_type) == 40);
    assert!(size_of::<ExtensionData>() == 48 && offset_of!(ExtensionData, data) == 24);
    assert!(offset_of!(ExtensionData, prog_attach_flags) == 40);
    assert!(size_of::<ProgramDispatch>() == 40 && offset_of!(ProgramDispatch, invoke) == 8);
};
