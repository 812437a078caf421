//! An entry that the table does not have.

mod common;

use common::*;

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, ad: fn Adder::add })
}

fn main() {}
