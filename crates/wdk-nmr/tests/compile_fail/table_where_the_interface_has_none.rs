//! A table, in an interface that has none for this side.

mod common;

use common::*;

#[repr(C)]
struct Numbers {
    version: u32,
}

fn table() -> ClientTable<Counter> {
    client_table!(Counter, Numbers { version: 1 })
}

fn main() {}
