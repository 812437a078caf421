//! A function that does not know about bindings, in a table that the macro writes.

mod common;

use core::ffi::c_void;

use common::*;

unsafe extern "system" fn add(_: *mut c_void, number: u32) -> u32 {
    number
}

fn main() {
    let add = add as unsafe extern "system" fn(*mut c_void, u32) -> u32;
    let _: ProviderTable<Adder> = provider_table!(Adder, Table { version: 1, size: 16, add: add });
}
