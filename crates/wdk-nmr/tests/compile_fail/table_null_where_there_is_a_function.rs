//! NULL in an entry that is never NULL.

mod common;

use common::*;

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: null })
}

fn main() {}
