//! A type in an interface of which the library does not know how it is recognized.

mod common;

use common::*;

#[repr(C)]
pub struct Unknown {
    number: u32,
}

struct Odd;

unsafe impl Npi for Odd {
    const ID: NPIID = GUID::from_u128(1);
    type ProviderDispatch = Unknown;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

fn main() {}
