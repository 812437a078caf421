//! A function that does not know about bindings, in a table that the macro writes.

mod common;
use common::*;

unsafe extern "system" fn add(_: *mut core::ffi::c_void, number: u32) -> u32 {
    number
}

fn main() {
    let _: ProviderTable<Adder> = provider_table!(Adder, Table { version: 1, size: 16, add: add as unsafe extern "system" fn(*mut core::ffi::c_void, u32) -> u32 });
}
