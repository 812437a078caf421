//! A handler that does not take the call.

mod common;

use common::*;

fn add(number: u32) -> u32 {
    number
}

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: fn add })
}

fn main() {}
