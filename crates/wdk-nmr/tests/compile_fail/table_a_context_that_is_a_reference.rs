//! An entry that takes its context as a reference, which a binding context is not.

mod common;

use common::*;

pub struct Entering;

#[repr(C)]
pub struct Entry {
    header: VersionAndSize,
    add: unsafe extern "system" fn(context: &mut u32, number: u32) -> u32,
}

unsafe impl NpiStructure for Entry {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

unsafe impl Npi for Entering {
    const ID: NPIID = NPIID { Data1: 1, Data2: 2, Data3: 3, Data4: [4; 8] };
    type ProviderDispatch = Entry;
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
    type Npi = Entering;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Entry { header: VersionAndSize::of::<Entry>(1), add: fn Self::add })
    }

    fn attach(&self, _: &ClientOffer<'_, Entering>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn main() {}
