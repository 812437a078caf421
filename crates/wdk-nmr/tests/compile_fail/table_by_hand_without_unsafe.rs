//! A function written by hand, for which nobody vouches.

mod common;

use core::ffi::c_void;

use common::*;

unsafe extern "system" fn add(_: *mut c_void, number: u32) -> u32 {
    number
}

fn table() -> ProviderTable<Adder> {
    provider_table!(Adder, Table { version: 1, size: 16, add: by_hand(add as unsafe extern "system" fn(_, _) -> _) })
}

fn main() {}
