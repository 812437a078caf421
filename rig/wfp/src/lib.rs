//! A FWPKCLNT.SYS for Wine: the filter engine of `wfp-engine`, and a network that is played.
//!
//! Drivers that import it are loaded together with it. Its functions are those of `wfp-engine`; a rule that is broken
//! is a bug check. Packets come from captures that the harness asks to be sent (`job`). It runs in a process of Wine,
//! where what looks like a kernel may use the standard library, and does not start anywhere else.
#![cfg(windows)]

mod capture;
mod image;
mod job;
mod packet;
mod play;

use std::ffi::c_void;
use std::ptr::null_mut;
use std::thread;

use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW, GetModuleHandleW,
    GetProcAddress,
};
use windows_sys::Win32::System::SystemServices::DLL_PROCESS_ATTACH;
use windows_sys::w;

/// Called when the first driver that imports the functions is loaded.
///
/// # Safety
///
/// The loader calls it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn DllMain(_: *mut c_void, reason: u32, _: *mut c_void) -> i32 {
    if reason != DLL_PROCESS_ATTACH {
        return 1;
    }
    let started = is_wine() && stay() && image::watch() && thread::Builder::new().spawn(job::serve).is_ok();
    started.into()
}

fn is_wine() -> bool {
    // SAFETY: the name is a text with a zero behind it.
    let ntdll = unsafe { GetModuleHandleW(w!("ntdll.dll")) };
    // SAFETY: a module that is loaded, and a name with a zero behind it.
    !ntdll.is_null() && unsafe { GetProcAddress(ntdll, c"wine_get_version".as_ptr().cast()) }.is_some()
}

/// Keeps this image when the last driver that imports it is gone, as Windows does: the engine outlives its drivers.
fn stay() -> bool {
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
    let mut module = null_mut();
    let here: *const u16 = (DllMain as *const ()).cast();
    // SAFETY: with these flags the name is an address in the image.
    unsafe { GetModuleHandleExW(flags, here, &raw mut module) != 0 }
}
