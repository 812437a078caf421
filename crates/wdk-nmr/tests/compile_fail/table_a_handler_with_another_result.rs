//! A handler whose result is not that of the entry.

mod common;

use common::*;

fn add(_: ProviderCall<'_, Adder>, number: u32) {
    let _ = number;
}

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: fn add })
}

fn main() {}
