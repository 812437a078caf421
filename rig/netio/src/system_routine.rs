//! MmGetSystemRoutineAddress: a driver that looks a function up at run time gets the same one as from its import table.

use alloc::string::String;
use core::ffi::c_void;
use core::ptr::null_mut;

use crate::{hooked, sys, thunk};

/// MmGetSystemRoutineAddress.
pub(crate) unsafe extern "system" fn address(name: *const sys::UNICODE_STRING) -> *mut c_void {
    let caller = thunk::caller();
    // SAFETY: the driver passes a counted string, valid during the call.
    let text = String::from_utf16_lossy(unsafe { sys::units(name) });
    match hooked::thunk(caller, &text) {
        Some(thunk) => thunk as *mut c_void,
        None if text.is_empty() => null_mut(),
        // SAFETY: the driver's own argument.
        None => unsafe { sys::MmGetSystemRoutineAddress(name) },
    }
}
