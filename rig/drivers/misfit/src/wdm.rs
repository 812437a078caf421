//! As much of the WDM as the misfit needs.

use core::ffi::c_void;
use core::ptr::{null, null_mut};

pub(crate) type NtStatus = i32;
pub(crate) const STATUS_SUCCESS: NtStatus = 0;
pub(crate) const STATUS_UNSUCCESSFUL: NtStatus = 0xC000_0001_u32 as NtStatus;

const POOL_FLAG_NON_PAGED: u64 = 0x40;
const KERNEL_MODE: i8 = 0;

/// `DRIVER_OBJECT`, up to the field that is set here.
#[repr(C)]
pub struct DriverObject {
    before: [usize; 13],
    unload: Option<extern "system" fn(*mut DriverObject)>,
}

/// `UNICODE_STRING`
#[repr(C)]
pub struct UnicodeString {
    length: u16,
    maximum_length: u16,
    buffer: *const u16,
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn ExAllocatePool2(flags: u64, size: usize, tag: u32) -> *mut c_void;
    fn ExFreePoolWithTag(block: *mut c_void, tag: u32);
    fn KeRaiseIrqlToDpcLevel() -> u8;
    fn KeDelayExecutionThread(mode: i8, alertable: u8, interval: *const i64) -> NtStatus;
    fn PsCreateSystemThread(
        thread: *mut *mut c_void,
        access: u32,
        attributes: *const c_void,
        process: *const c_void,
        client_id: *mut c_void,
        start: extern "system" fn(*mut c_void),
        context: *mut c_void,
    ) -> NtStatus;
    fn ZwClose(handle: *mut c_void) -> NtStatus;
}
#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "C" {
    fn DbgPrint(format: *const u8, ...) -> u32;
}

/// # Safety
///
/// `driver` is the driver object that DriverEntry was given, during that call.
pub(crate) unsafe fn set_unload(driver: *mut DriverObject, unload: extern "system" fn(*mut DriverObject)) {
    // SAFETY: the caller guarantees a driver object that nobody else uses now.
    unsafe { (*driver).unload = Some(unload) };
}

/// The part of a path behind its last backslash.
///
/// # Safety
///
/// `path` points to a counted string that stays valid and unchanged for `'a`.
pub(crate) unsafe fn last_component<'a>(path: *const UnicodeString) -> &'a [u16] {
    // SAFETY: the caller guarantees it.
    let path = unsafe { &*path };
    // SAFETY: a counted string has `length` bytes.
    let characters = unsafe { core::slice::from_raw_parts(path.buffer, usize::from(path.length) / 2) };
    characters.rsplit(|&character| character == u16::from(b'\\')).next().unwrap_or_default()
}

pub(crate) fn equal(wide: &[u16], name: &str) -> bool {
    wide.iter().copied().eq(name.bytes().map(u16::from))
}

pub(crate) fn allocate(size: usize, tag: u32) -> *mut u8 {
    // SAFETY: any size and tag will do.
    unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size, tag) }.cast()
}

pub(crate) fn free(block: *mut u8, tag: u32) {
    // SAFETY: if anything is wrong with it, that is for the rig to find.
    unsafe { ExFreePoolWithTag(block.cast(), tag) };
}

/// Raises the calling thread to DISPATCH_LEVEL, for good.
pub(crate) fn raise_to_dispatch_level() {
    // SAFETY: it is at PASSIVE_LEVEL.
    unsafe { KeRaiseIrqlToDpcLevel() };
}

/// Prints a line `what status`.
pub(crate) fn print(what: &'static core::ffi::CStr, status: NtStatus) {
    // SAFETY: the format takes a string that ends in a zero and a 32-bit number, and gets those.
    unsafe { DbgPrint(c"%s 0x%08X\n".as_ptr().cast(), what.as_ptr(), status) };
}

pub(crate) fn sleep_for_ever() -> ! {
    loop {
        sleep(3_600_000);
    }
}

pub(crate) fn sleep(milliseconds: i64) {
    // Relative times are negative, in units of 100 ns.
    let interval = milliseconds * -10_000;
    // SAFETY: the interval is a local.
    unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &interval) };
}

/// Starts a thread that nobody waits for.
pub(crate) fn spawn(start: extern "system" fn(*mut c_void), context: *mut c_void) -> NtStatus {
    const ALL_ACCESS: u32 = 0x1F_FFFF;
    let mut thread = null_mut();
    // SAFETY: the handle goes to a local; everything that may be NULL is.
    let status = unsafe { PsCreateSystemThread(&mut thread, ALL_ACCESS, null(), null(), null_mut(), start, context) };
    if status >= 0 {
        // SAFETY: the handle was made above. The thread goes on without it.
        unsafe { ZwClose(thread) };
    }
    status
}
