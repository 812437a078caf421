//! An entry that is written twice.

mod common;

use common::*;

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: fn Adder::add, add: fn Adder::add })
}

fn main() {}
