//! Driver package isolation: a driver keeps its state where the system has put it, and opens that by the handles that
//! IoOpenDriverRegistryKey and IoGetDriverDirectory return
//! (<https://learn.microsoft.com/windows-hardware/drivers/develop/driver-isolation>).
//!
//! A name is a mistake if it is absolute. For a file that holds only if it is written to: reading elsewhere is allowed.

use alloc::string::String;
use core::ffi::c_void;
use core::sync::atomic::Ordering;

use crate::bugcheck::{bug_check, code};
use crate::control::{self, Word};
use crate::drivers::DriverId;
use crate::{file, objects, sys, thunk};

/// Rights to a file with which it can be changed: FILE_WRITE_DATA, FILE_APPEND_DATA, FILE_WRITE_EA,
/// FILE_WRITE_ATTRIBUTES, DELETE, WRITE_DAC, WRITE_OWNER, GENERIC_ALL and GENERIC_WRITE.
const CHANGES: u32 = 0x2 | 0x4 | 0x10 | 0x100 | 0x1_0000 | 0x4_0000 | 0x8_0000 | 0x1000_0000 | 0x4000_0000;
const FILE_OPEN: u32 = 1;

/// What names of files begin with that are resolved for the process that happens to run.
const OF_THE_PROCESS: [&str; 2] = ["\\??\\", "\\DosDevices\\"];

#[cfg_attr(windows, link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn NtCreateKey(
        key: *mut sys::Handle,
        access: u32,
        attributes: *const sys::OBJECT_ATTRIBUTES,
        index: u32,
        class: *const sys::UNICODE_STRING,
        options: u32,
        disposition: *mut u32,
    ) -> sys::NtStatus;
    fn NtOpenKeyEx(
        key: *mut sys::Handle,
        access: u32,
        attributes: *const sys::OBJECT_ATTRIBUTES,
        options: u32,
    ) -> sys::NtStatus;
    fn NtDeleteFile(attributes: *const sys::OBJECT_ATTRIBUTES) -> sys::NtStatus;
    fn RtlWriteRegistryValue(
        relative_to: u32,
        path: *const u16,
        name: *const u16,
        kind: u32,
        data: *const c_void,
        length: u32,
    ) -> sys::NtStatus;
    fn RtlQueryRegistryValues(
        relative_to: u32,
        path: *const u16,
        table: *mut c_void,
        context: *mut c_void,
        environment: *mut c_void,
    ) -> sys::NtStatus;
    fn RtlCheckRegistryKey(relative_to: u32, path: *const u16) -> sys::NtStatus;
    fn RtlCreateRegistryKey(relative_to: u32, path: *const u16) -> sys::NtStatus;
    fn RtlDeleteRegistryValue(relative_to: u32, path: *const u16, name: *const u16) -> sys::NtStatus;
}

/// ZwOpenKey.
pub(crate) unsafe extern "system" fn open_key(
    key: *mut sys::Handle,
    access: u32,
    attributes: *const sys::OBJECT_ATTRIBUTES,
) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own arguments.
    unsafe { check_key(caller, attributes) };
    // SAFETY: as above.
    let status = unsafe { sys::NtOpenKey(key, access, attributes) };
    // SAFETY: the function has put the handle there.
    unsafe { objects::made_handle(caller, status, key) }
}

/// ZwOpenKeyEx.
pub(crate) unsafe extern "system" fn open_key_ex(
    key: *mut sys::Handle,
    access: u32,
    attributes: *const sys::OBJECT_ATTRIBUTES,
    options: u32,
) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own arguments.
    unsafe { check_key(caller, attributes) };
    // SAFETY: as above.
    let status = unsafe { NtOpenKeyEx(key, access, attributes, options) };
    // SAFETY: the function has put the handle there.
    unsafe { objects::made_handle(caller, status, key) }
}

/// ZwCreateKey.
pub(crate) unsafe extern "system" fn create_key(
    key: *mut sys::Handle,
    access: u32,
    attributes: *const sys::OBJECT_ATTRIBUTES,
    index: u32,
    class: *const sys::UNICODE_STRING,
    options: u32,
    disposition: *mut u32,
) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own arguments.
    unsafe { check_key(caller, attributes) };
    // SAFETY: as above.
    let status = unsafe { NtCreateKey(key, access, attributes, index, class, options, disposition) };
    // SAFETY: the function has put the handle there.
    unsafe { objects::made_handle(caller, status, key) }
}

/// # Safety
///
/// `attributes` are those of a key that a driver opens.
unsafe fn check_key(driver: DriverId, attributes: *const sys::OBJECT_ATTRIBUTES) {
    // SAFETY: the caller guarantees it.
    let attributes = unsafe { &*attributes };
    // SAFETY: they point to a counted string, which lives as long.
    let name = unsafe { sys::units(attributes.ObjectName) };
    if attributes.RootDirectory.is_null() && is_enforced() {
        let name = String::from_utf16_lossy(name);
        let why =
            format_args!("DriverIsolation: key {name} is absolute; IoOpenDriverRegistryKey opens the driver's own");
        bug_check(driver, code::VERIFIER, why);
    }
}

/// What [`Path::relative_to`] says of a path that is relative to a handle that the driver has opened.
const RTL_REGISTRY_HANDLE: u32 = 0x4000_0000;

/// A key as the Rtl functions take it: by a path, and what that is relative to.
#[derive(Clone, Copy)]
struct Path {
    relative_to: u32,
    path: *const u16,
}

/// # Safety
///
/// The path is a string that ends in a zero, or a handle.
unsafe fn check_path(driver: DriverId, Path { relative_to, path }: Path) {
    if relative_to & RTL_REGISTRY_HANDLE != 0 || !is_enforced() {
        return;
    }
    // SAFETY: the caller guarantees a zero.
    let length = (0..).take_while(|&place| unsafe { path.wrapping_add(place).read() } != 0).count();
    // SAFETY: as above.
    let name = String::from_utf16_lossy(unsafe { core::slice::from_raw_parts(path, length) });
    let why = format_args!(
        "DriverIsolation: key {name}, relative to {relative_to}, is not its own; IoOpenDriverRegistryKey opens that"
    );
    bug_check(driver, code::VERIFIER, why);
}

/// RtlWriteRegistryValue.
pub(crate) unsafe extern "system" fn write_value(
    relative_to: u32,
    path: *const u16,
    name: *const u16,
    kind: u32,
    data: *const c_void,
    length: u32,
) -> sys::NtStatus {
    // SAFETY: the driver's own arguments.
    unsafe { check_path(thunk::caller(), Path { relative_to, path }) };
    // SAFETY: as above.
    unsafe { RtlWriteRegistryValue(relative_to, path, name, kind, data, length) }
}

/// RtlQueryRegistryValues.
pub(crate) unsafe extern "system" fn query_values(
    relative_to: u32,
    path: *const u16,
    table: *mut c_void,
    context: *mut c_void,
    environment: *mut c_void,
) -> sys::NtStatus {
    // SAFETY: the driver's own arguments.
    unsafe { check_path(thunk::caller(), Path { relative_to, path }) };
    // SAFETY: as above.
    unsafe { RtlQueryRegistryValues(relative_to, path, table, context, environment) }
}

/// RtlCheckRegistryKey.
pub(crate) unsafe extern "system" fn check_registry_key(relative_to: u32, path: *const u16) -> sys::NtStatus {
    // SAFETY: the driver's own arguments.
    unsafe { check_path(thunk::caller(), Path { relative_to, path }) };
    // SAFETY: as above.
    unsafe { RtlCheckRegistryKey(relative_to, path) }
}

/// RtlCreateRegistryKey.
pub(crate) unsafe extern "system" fn create_registry_key(relative_to: u32, path: *const u16) -> sys::NtStatus {
    // SAFETY: the driver's own arguments.
    unsafe { check_path(thunk::caller(), Path { relative_to, path }) };
    // SAFETY: as above.
    unsafe { RtlCreateRegistryKey(relative_to, path) }
}

/// RtlDeleteRegistryValue.
pub(crate) unsafe extern "system" fn delete_value(
    relative_to: u32,
    path: *const u16,
    name: *const u16,
) -> sys::NtStatus {
    // SAFETY: the driver's own arguments.
    unsafe { check_path(thunk::caller(), Path { relative_to, path }) };
    // SAFETY: as above.
    unsafe { RtlDeleteRegistryValue(relative_to, path, name) }
}

/// Looks at the name by which a driver opens a file, or renames one (which changes it).
pub(crate) fn check_file(driver: DriverId, name: &[u16], is_absolute: bool, access: u32, disposition: u32) {
    let begins_with = |prefix: &&str| {
        let same = |(unit, byte): (&u16, u8)| u8::try_from(*unit).is_ok_and(|unit| unit.eq_ignore_ascii_case(&byte));
        name.len() >= prefix.len() && name.iter().zip(prefix.bytes()).all(same)
    };
    if !is_absolute || begins_with(&"\\Device\\") {
        return;
    }
    let text = String::from_utf16_lossy(name);
    if OF_THE_PROCESS.iter().any(begins_with) {
        let why = format_args!("{text} is resolved for the process that happens to run; \\GLOBAL??\\ is not");
        bug_check(driver, code::VERIFIER, why);
    }
    if (access & CHANGES != 0 || disposition != FILE_OPEN) && is_enforced() {
        let why =
            format_args!("DriverIsolation: {text} is written to; IoGetDriverDirectory opens the driver's own folder");
        bug_check(driver, code::VERIFIER, why);
    }
}

/// Whether isolation is asked of drivers: the harness can excuse all of them.
fn is_enforced() -> bool {
    control::word(Word::NotIsolated).is_none_or(|word| word.load(Ordering::Acquire) == 0)
}

/// ZwOpenFile.
pub(crate) unsafe extern "system" fn open_file(
    file: *mut sys::Handle,
    access: u32,
    attributes: *const sys::OBJECT_ATTRIBUTES,
    status: *mut sys::IO_STATUS_BLOCK,
    share: u32,
    options: u32,
) -> sys::NtStatus {
    let (none, no_buffer) = (core::ptr::null(), core::ptr::null::<c_void>());
    // SAFETY: the driver's own arguments; with FILE_OPEN the others mean nothing.
    unsafe { file::create(file, access, attributes, status, none, 0, share, FILE_OPEN, options, no_buffer, 0) }
}

/// ZwDeleteFile.
pub(crate) unsafe extern "system" fn delete_file(attributes: *const sys::OBJECT_ATTRIBUTES) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own argument, which lives through the call.
    let given = unsafe { &*attributes };
    // SAFETY: it points to a counted string, which lives as long.
    let name = unsafe { sys::units(given.ObjectName) };
    check_file(caller, name, given.RootDirectory.is_null(), CHANGES, FILE_OPEN);
    let resolved = file::resolved(name);
    let counted = resolved.as_ref().map(sys::Wide::counted);
    let attributes =
        sys::OBJECT_ATTRIBUTES { ObjectName: counted.as_ref().map_or(given.ObjectName, core::ptr::from_ref), ..*given };
    // SAFETY: the driver's own argument, but for the name.
    unsafe { NtDeleteFile(&attributes) }
}
