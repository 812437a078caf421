//! A handler without `fn` before it.

mod common;

use common::*;

fn add(call: ProviderCall<'_, Adder>, number: u32) -> u32 {
    call.binding() + number
}

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: add })
}

fn main() {}
