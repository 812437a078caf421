//! A handler whose arguments are not those of the entry.

mod common;

use common::*;

fn add(_: ProviderCall<'_, Adder>, number: u64) -> u32 {
    number as u32
}

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: fn add })
}

fn main() {}
