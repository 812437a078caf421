//! A table whose entry is declared as a function that anybody may call with anything.

mod common;

use core::ffi::c_void;

use common::*;

type Add = extern "system" fn(context: *mut c_void, number: u32) -> u32;

fn add(_: ProviderCall<'_, Offering<Add>>, number: u32) -> u32 {
    number
}

fn table() -> ProviderTable<Offering<Add>> {
    provider_table!(Offering<Add>, One<Add> { header: VersionAndSize::of::<One<Add>>(1), entry: fn add })
}

fn main() {}
