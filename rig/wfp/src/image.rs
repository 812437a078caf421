//! Driver images as they go.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::slice;

use wfp_engine::Engine;

/// What the loader tells when an image goes.
#[repr(C)]
struct Notification {
    flags: u32,
    full_name: *const c_void,
    base_name: *const Name,
    base: usize,
    size: u32,
}

/// `UNICODE_STRING`
#[repr(C)]
struct Name {
    length: u16,
    maximum_length: u16,
    buffer: *const u16,
}

const UNLOADED: u32 = 2;

#[link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn LdrRegisterDllNotification(
        flags: u32,
        function: unsafe extern "system" fn(u32, *const Notification, *mut c_void),
        context: *mut c_void,
        cookie: *mut *mut c_void,
    ) -> i32;
}

/// Has the engine look at every image that goes. False if the loader does not want to tell.
pub(crate) fn watch() -> bool {
    let mut cookie = null_mut();
    // SAFETY: the function has the right signature, and this image stays.
    unsafe { LdrRegisterDllNotification(0, notified, null_mut(), &raw mut cookie) >= 0 }
}

unsafe extern "system" fn notified(reason: u32, notification: *const Notification, _: *mut c_void) {
    if reason == UNLOADED {
        // SAFETY: the loader passes a structure that is valid during the call.
        let Notification { base, size, base_name, .. } = unsafe { &*notification };
        // SAFETY: as above.
        let Name { length, buffer, .. } = unsafe { &**base_name };
        // SAFETY: as above, with a length in bytes.
        let name = unsafe { slice::from_raw_parts(*buffer, usize::from(*length) / 2) };
        Engine::resident().image_unloaded(*base..*base + *size as usize, &String::from_utf16_lossy(name));
    }
}
