//! The table of another interface.

mod common;

use common::*;

#[repr(C)]
struct OtherTable {
    version: u32,
}

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, OtherTable { version: 1 })
}

fn main() {}
