//! A table whose entry is declared as a function that anybody may call with anything.

mod common;

use core::ffi::c_void;

use common::*;

struct Safe;

#[repr(C)]
pub struct SafeTable {
    header: VersionAndSize,
    add: extern "system" fn(context: *mut c_void, number: u32) -> u32,
}

unsafe impl NpiStructure for SafeTable {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

unsafe impl Npi for Safe {
    const ID: NPIID = GUID::from_u128(1);
    type ProviderDispatch = SafeTable;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

struct Provides;

impl Provides {
    fn add(_: ProviderCall<'_, Self>, number: u32) -> u32 {
        number
    }
}

impl Provider for Provides {
    type Npi = Safe;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, SafeTable { header: VersionAndSize::of::<SafeTable>(1), add: fn Self::add })
    }

    fn attach(&self, _: &ClientOffer<'_, Safe>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn main() {}
