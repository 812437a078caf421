//! No table, in an interface that has one.

mod common;

use common::*;

fn table() -> ProviderTable<Adder> {
    ProviderTable::none()
}

fn main() {}
