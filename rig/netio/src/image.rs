//! Driver images as they come and go: hooks in their import tables, and the account at the end.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::ffi::{CStr, c_void};
use core::ptr::null_mut;

use crate::drivers::{self, Driver, DriverId};
use crate::lock::Lock;
use crate::thunk::Thunks;
use crate::{device, hooks, log, report, sys};

const PAGE_READWRITE: u32 = 4;
/// Where the PE header's offset is, and what lies where in a 64-bit PE header.
const PE_OFFSET: usize = 0x3C;
const ENTRY_POINT: usize = 0x28;
const IMPORT_DIRECTORY: usize = 0x90;
/// Fields of an import descriptor.
const DESCRIPTOR_SIZE: usize = 20;
const DESCRIPTOR_DLL: usize = 12;
const DESCRIPTOR_ADDRESSES: usize = 16;
/// Set in a name table entry that is an ordinal.
const BY_ORDINAL: u64 = 1 << 63;
/// An import by name starts with a 16-bit hint.
const HINT_SIZE: usize = 2;

/// What was done to a loaded image.
#[derive(Clone, Copy)]
struct Hooked {
    thunks: Thunks,
    /// The address of its own entry point.
    entry: usize,
}

static HOOKED: Lock<BTreeMap<DriverId, Hooked>> = Lock::new(BTreeMap::new());

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
    // SAFETY: as above; the name belongs to the structure.
    let mut name = String::from_utf16_lossy(unsafe { counted(data.BaseDllName) });
    name.make_ascii_lowercase();
    if let Some(name) = name.strip_suffix(".sys") {
        loaded(drivers::add(name.into(), data.DllBase as usize, data.SizeOfImage as usize));
    }
}

fn loaded(driver: Driver) {
    log::event(&driver.name, "load", format_args!("base={:#x} size={:#x}", driver.base, driver.size));
    let Some(thunks) = Thunks::new(&driver) else {
        log::event(&driver.name, "error", format_args!("text=\"no memory for hooks\""));
        return;
    };
    hook_imports(&driver, thunks);
    let entry = hook_entry(&driver, thunks);
    HOOKED.with(|all| all.insert(driver.id, Hooked { thunks, entry }));
}

fn unloaded(base: usize) {
    if let Some(driver) = drivers::at(base) {
        report::unloaded(&driver);
        drivers::remove(driver.id);
        if let Some(hooked) = HOOKED.with(|all| all.remove(&driver.id)) {
            hooked.thunks.free();
        }
    }
}

/// The thunk of a loaded driver for a hook.
pub(crate) fn thunk(driver: DriverId, hook: usize) -> Option<usize> {
    HOOKED.with(|all| all.get(&driver).map(|hooked| hooked.thunks.of(hook)))
}

/// Puts a thunk in front of the entry point; returns where that is.
///
/// ntoskrnl takes the entry point from the image's header each time, so it is changed there.
fn hook_entry(driver: &Driver, thunks: Thunks) -> usize {
    let image = Pe(driver.base);
    let header = image.read::<u32>(PE_OFFSET) as usize;
    let entry = driver.base + image.read::<u32>(header + ENTRY_POINT) as usize;
    if let Some(hook) = hooks::find(hooks::ENTRY) {
        replace(driver.base + header + ENTRY_POINT, (thunks.of(hook) - driver.base) as u32);
    }
    entry
}

type Entry = unsafe extern "system" fn(object: *mut c_void, path: *const sys::UNICODE_STRING) -> sys::NtStatus;

/// Runs DriverEntry. Wine leaves an image in memory whose DriverEntry has failed, with all that it has written to its
/// variables; Windows unloads it, and so does this.
pub(crate) unsafe extern "system" fn enter(
    object: *mut c_void,
    path: *const sys::UNICODE_STRING,
    id: DriverId,
) -> sys::NtStatus {
    let Some(hooked) = HOOKED.with(|all| all.get(&id).copied()) else { return sys::STATUS_NOT_SUPPORTED };
    // SAFETY: the address is that of the image's entry point, whose signature this is.
    let entry = unsafe { core::mem::transmute::<usize, Entry>(hooked.entry) };
    // SAFETY: both arguments are those of the I/O manager.
    let status = unsafe { entry(object, path) };
    log::event(&drivers::name(id), "start", format_args!("status={status:#010x}"));
    if status < 0
        && let Some(base) = drivers::base(id)
    {
        // SAFETY: nothing of the image is running or will be: its DriverEntry has returned, and has failed.
        unsafe { sys::LdrUnloadDll(base as *mut c_void) };
    }
    // SAFETY: the driver object of the I/O manager, whose DriverEntry has returned.
    if status >= 0 && !unsafe { device::has_unload(object.cast()) } {
        let why = "it has no unload routine, so it cannot be unloaded (R72)";
        log::event(&drivers::name(id), "resident", format_args!("text={}", log::Text(why.as_bytes())));
    }
    status
}

/// The characters of a counted string.
///
/// # Safety
///
/// `text` points to a counted string that stays valid and unchanged for `'a`.
pub(crate) unsafe fn counted<'a>(text: *const sys::UNICODE_STRING) -> &'a [u16] {
    // SAFETY: passed on to the caller.
    let text = unsafe { &*text };
    if text.Buffer.is_null() {
        return &[];
    }
    // SAFETY: a counted string has that many bytes; two make a character.
    unsafe { core::slice::from_raw_parts(text.Buffer, usize::from(text.Length) / 2) }
}

/// An image in memory, read by offsets from its base.
#[derive(Clone, Copy)]
struct Pe(usize);

impl Pe {
    fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the loader has mapped and checked the image; the offsets come from its own headers.
        unsafe { ((self.0 + offset) as *const T).read_unaligned() }
    }

    fn string(self, offset: usize) -> &'static CStr {
        // SAFETY: as above; names in an image end in a zero, and the loader has just used them.
        unsafe { CStr::from_ptr((self.0 + offset) as *const _) }
    }
}

/// Points the imports that have a hook at the driver's thunks, and names those that nobody exports.
fn hook_imports(driver: &Driver, thunks: Thunks) {
    let image = Pe(driver.base);
    let header = image.read::<u32>(PE_OFFSET) as usize;
    let mut descriptor = image.read::<u32>(header + IMPORT_DIRECTORY) as usize;
    if descriptor == 0 {
        return;
    }
    loop {
        let names = image.read::<u32>(descriptor) as usize;
        let addresses = image.read::<u32>(descriptor + DESCRIPTOR_ADDRESSES) as usize;
        if names == 0 || addresses == 0 {
            break;
        }
        let dll = image.string(image.read::<u32>(descriptor + DESCRIPTOR_DLL) as usize);
        for slot in 0.. {
            let entry = image.read::<u64>(names + slot * 8);
            if entry == 0 {
                break;
            }
            if entry & BY_ORDINAL != 0 {
                continue;
            }
            let name = image.string(entry as usize + HINT_SIZE);
            let slot = addresses + slot * 8;
            match name.to_str().ok().and_then(hooks::find) {
                Some(hook) => replace(driver.base + slot, thunks.of(hook)),
                // What nobody exports, Wine binds to code of its own making that ends the process when it is called.
                None if sys::image_of(image.read(slot)).is_none() => {
                    let (name, dll) = (log::Text(name.to_bytes()), log::Text(dll.to_bytes()));
                    log::event(&driver.name, "missing", format_args!("function={name} dll={dll}"));
                }
                None => {}
            }
        }
        descriptor += DESCRIPTOR_SIZE;
    }
}

/// Writes into an image, which is read-only memory by now.
fn replace<T>(address: usize, value: T) {
    let old = sys::protect(address, size_of::<T>(), PAGE_READWRITE);
    // SAFETY: a field of the headers or a slot of the import table, both aligned, writable now, and no code of the
    // driver has run yet.
    unsafe { (address as *mut T).write(value) };
    sys::protect(address, size_of::<T>(), old);
}
