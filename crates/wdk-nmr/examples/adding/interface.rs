// An interface: what a provider and its clients agree on.

use core::ffi::c_void;

use wdk_nmr::{GUID, NPIID, Npi, NpiStructure, StructureError, VersionAndSize};

/// Names the interface in types.
pub struct Adding;

/// What clients call.
#[repr(C)]
pub struct AddingDispatch {
    pub header: VersionAndSize,
    pub add: unsafe extern "system" fn(context: *mut c_void, number: u32) -> u32,
}

// SAFETY: `repr(C)`, starts with its header; a pointer to a function.
unsafe impl NpiStructure for AddingDispatch {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

// SAFETY: whoever registers this identifier keeps to the above.
unsafe impl Npi for Adding {
    const ID: NPIID = GUID::from_u128(0x6c6f23f6_1a1b_4a3e_8e01_020304050607);
    type ProviderDispatch = AddingDispatch;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}
