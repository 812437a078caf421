//! A pointer for which nobody vouches.

mod common;

use common::*;

struct Pointing;

#[repr(C)]
pub struct WithPointer {
    header: VersionAndSize,
    data: *const u32,
}

unsafe impl NpiStructure for WithPointer {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

unsafe impl Npi for Pointing {
    const ID: NPIID = GUID::from_u128(1);
    type ProviderDispatch = WithPointer;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

struct Pointer(u32);

impl Provider for Pointer {
    type Npi = Pointing;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, WithPointer { header: VersionAndSize::of::<WithPointer>(1), data: &raw const self.0 })
    }

    fn attach(&self, _: &ClientOffer<'_, Pointing>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn main() {}
