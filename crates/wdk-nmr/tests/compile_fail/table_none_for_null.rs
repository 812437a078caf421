//! `None` where the macro has `null`.

mod common;

use core::ffi::c_void;

use common::*;

type Reset = Option<unsafe extern "system" fn(context: *mut c_void)>;

fn table() -> ProviderTable<Offering<Reset>> {
    provider_table!(Offering<Reset>, One<Reset> { header: VersionAndSize::of::<One<Reset>>(1), entry: None })
}

fn main() {}
