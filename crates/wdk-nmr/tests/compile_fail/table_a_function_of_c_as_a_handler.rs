//! What stands in a table by itself, behind `fn`.

mod common;

use core::ffi::c_void;

use common::*;

unsafe extern "system" fn add(_: *mut c_void, number: u32) -> u32 {
    number
}

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: fn add })
}

fn main() {}
