// An interface: what a provider and its clients agree on.

use core::ffi::c_void;

use wdk_nmr::{Form, NPIID, Npi, NpiStructure};

/// Names the interface in types.
pub struct Adding;

/// What clients call.
#[repr(C)]
pub struct AddingDispatch {
    pub version: u16,
    pub size: u16,
    pub add: unsafe extern "system" fn(context: *mut c_void, number: u32) -> u32,
}

// SAFETY: `repr(C)`, and starts with a version and a size.
unsafe impl NpiStructure for AddingDispatch {
    const FORM: Form = Form::Versioned { oldest: 1, newest: 1 };
}

// SAFETY: whoever registers this identifier keeps to the above.
unsafe impl Npi for Adding {
    const ID: NPIID = NPIID { Data1: 0x6c6f_23f6, Data2: 0x1a1b, Data3: 0x4a3e, Data4: [0x8e, 1, 2, 3, 4, 5, 6, 7] };
    type ProviderDispatch = AddingDispatch;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}
