//! A table without one of its entries.

mod common;

use common::*;

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16 })
}

fn main() {}
