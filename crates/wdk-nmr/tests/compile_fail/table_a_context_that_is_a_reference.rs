//! An entry that takes its context as a reference, which a binding context is not.

mod common;

use common::*;

type Add = unsafe extern "system" fn(context: &mut u32, number: u32) -> u32;

fn add(_: ProviderCall<'_, Offering<Add>>, number: u32) -> u32 {
    number
}

fn table() -> ProviderTable<Offering<Add>> {
    provider_table!(Offering<Add>, One<Add> { header: VersionAndSize::of::<One<Add>>(1), entry: fn add })
}

fn main() {}
