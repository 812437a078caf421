//! A client's handler in a provider's table.

mod common;

use common::*;

fn add(_: ClientCall<'_, Counter>, number: u32) -> u32 {
    number
}

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: fn add })
}

fn main() {}
