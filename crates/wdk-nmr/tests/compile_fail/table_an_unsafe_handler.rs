//! A handler that is `unsafe`: what would its caller, which is generated, promise?

mod common;

use common::*;

unsafe fn add(_: ProviderCall<'_, Adder>, number: u32) -> u32 {
    number
}

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: fn add })
}

fn main() {}
