//! Driver images as they come and go: hooks in their import tables, and the account at the end.

use alloc::string::String;
use core::ffi::c_void;
use core::ptr::null_mut;

use crate::bugcheck::{bug_check_at, code};
use crate::drivers::{self, Driver};
use crate::hooks::{ENTRY, HOOKS};
use crate::pe::Image;
use crate::thunk::Thunks;
use crate::{dump_data, hooked, locks, log, paging, report, sys, threads};

const PAGE_READWRITE: u32 = 4;

/// Asks the loader to be told of every image from now on.
pub(crate) fn watch() -> sys::NtStatus {
    let mut cookie = null_mut();
    // SAFETY: `notified` has the right signature, and this image is never unloaded.
    unsafe { sys::LdrRegisterDllNotification(0, notified, null_mut(), &mut cookie) }
}

unsafe extern "system" fn notified(reason: u32, data: *const sys::LDR_DLL_NOTIFICATION_DATA, _: *mut c_void) {
    // SAFETY: the loader passes a structure that is valid during the call.
    let data = unsafe { &*data };
    if reason != sys::LDR_DLL_NOTIFICATION_REASON_LOADED {
        unloaded(data.DllBase as usize);
        return;
    }
    // SAFETY: the name belongs to the loader's structure.
    let mut name = String::from_utf16_lossy(unsafe { sys::units(data.BaseDllName) });
    name.make_ascii_lowercase();
    if let Some(name) = name.strip_suffix(".sys") {
        loaded(&drivers::add(name.into(), data.DllBase as usize, data.SizeOfImage as usize));
    }
}

fn loaded(driver: &Driver) {
    log::event(&driver.name, "load", format_args!("base={:#x} size={:#x}", driver.base, driver.size));
    // SAFETY: the loader reports the image before any of its code runs, and waits until this returns.
    let image = unsafe { Image::at(driver.base) };
    let Some(thunks) = Thunks::new(driver, image, HOOKS) else {
        log::event(&driver.name, "error", format_args!("text=\"no memory for hooks\""));
        return;
    };
    hook_imports(driver, image, thunks);
    hooked::add(driver.id, thunks, image);
    hook_entry(driver, image, thunks);
    paging::add(driver.id, image);
}

fn unloaded(base: usize) {
    if let Some(driver) = drivers::at(base) {
        if let Some((thread, address)) = threads::inside(&driver) {
            let why = format_args!("unloaded while the thread {thread:#x} is in it");
            bug_check_at(Some(driver.id), code::PENDING_AT_UNLOAD, why, address);
        }
        locks::forget(driver.base..driver.base + driver.size);
        report::unloaded(&driver);
        paging::remove(driver.id);
        dump_data::check_unloaded(driver.id);
        drivers::remove(driver.id);
        hooked::remove(driver.id);
    }
}

/// Puts a thunk in front of the entry point. ntoskrnl takes that from the image's header each time, so it is changed
/// there.
fn hook_entry(driver: &Driver, image: Image, thunks: Thunks) {
    if let Some(thunk) = thunks.of(ENTRY) {
        replace(image.entry_offset(), (thunk - driver.base) as u32);
    }
}

/// Points the imports that have a hook at the driver's thunks, and names those that no image exports.
fn hook_imports(driver: &Driver, image: Image, thunks: Thunks) {
    for import in image.imports() {
        if let Some(thunk) = import.name.to_str().ok().and_then(|name| thunks.of(name)) {
            replace(import.slot, thunk);
            continue;
        }
        // SAFETY: a slot of the address table, which the loader has filled.
        let bound_to = unsafe { import.slot.read_unaligned() };
        // An import that no image exports, Wine binds to code that it generates, which ends the process when called.
        if sys::image_of(bound_to).is_none() {
            let (name, dll) = (log::Text(import.name.to_bytes()), log::Text(import.dll.to_bytes()));
            log::event(&driver.name, "missing", format_args!("function={name} dll={dll}"));
        }
    }
}

/// Writes into an image, which is read-only memory by now.
fn replace<T>(place: *mut T, value: T) {
    let old = sys::protect(place as usize, size_of::<T>(), PAGE_READWRITE);
    // SAFETY: a field of the headers or a slot of the address table, both aligned, writable now, and no code of the
    // driver has run yet.
    unsafe { place.write(value) };
    sys::protect(place as usize, size_of::<T>(), old);
}
