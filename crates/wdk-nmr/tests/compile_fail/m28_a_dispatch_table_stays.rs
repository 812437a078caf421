//! A dispatch table on the stack: a registration takes the table itself, not an address of one.

mod common;
use common::*;

unsafe extern "system" fn add(_: *mut core::ffi::c_void, number: u32) -> u32 {
    number
}

fn main() {
    let table = Table { version: 1, size: 16, add };
    let _ = unsafe { ProviderTable::<Adder>::new(&table) };
}
