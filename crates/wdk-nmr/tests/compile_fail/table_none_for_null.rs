//! `None` where the macro has `null`.

mod common;

use core::ffi::c_void;

use common::*;

pub struct Resetting;

#[repr(C)]
pub struct Reset {
    header: VersionAndSize,
    reset: Option<unsafe extern "system" fn(context: *mut c_void)>,
}

unsafe impl NpiStructure for Reset {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

unsafe impl Npi for Resetting {
    const ID: NPIID = NPIID { Data1: 1, Data2: 2, Data3: 3, Data4: [4; 8] };
    type ProviderDispatch = Reset;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

struct Provides;

impl Provider for Provides {
    type Npi = Resetting;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Reset { header: VersionAndSize::of::<Reset>(1), reset: None })
    }

    fn attach(&self, _: &ClientOffer<'_, Resetting>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn main() {}
