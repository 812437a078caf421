//! A pointer for which nobody vouches.

mod common;

use common::*;

type Data = *const u32;

fn table(data: &u32) -> ProviderTable<Offering<Data>> {
    provider_table!(Offering<Data>, One<Data> { header: VersionAndSize::of::<One<Data>>(1), entry: &raw const *data })
}

fn main() {}
