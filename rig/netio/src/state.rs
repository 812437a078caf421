//! What a driver may call its own: its key Parameters and its data directory, which Wine has no functions for.

use core::ffi::c_void;
use core::ptr::{null, null_mut};

use crate::sys::DriverObject;
use crate::{objects, requests, sys, thunk};

/// `DriverRegKeyParameters`.
const PARAMETERS: u32 = 0;
/// `DriverDirectoryData`.
const DATA: u32 = 1;

const SERVICES: &str = r"\Registry\Machine\System\CurrentControlSet\Services\";
/// Where Windows has the data directories of drivers.
const DRIVER_DATA: &str = r"\??\C:\windows\system32\drivers\DriverData";

const OBJ_CASE_INSENSITIVE: u32 = 0x40;
const FILE_LIST_DIRECTORY_TRAVERSE_SYNCHRONIZE: u32 = 0x10_0021;
const FILE_SHARE_ALL: u32 = 7;
const FILE_OPEN_IF: u32 = 3;
const FILE_DIRECTORY_FILE_SYNCHRONOUS: u32 = 0x21;

/// The driver's name as that of its service: what stands behind `\Driver\`.
///
/// # Safety
///
/// `driver` is a driver object.
unsafe fn service<'a>(driver: *const DriverObject) -> &'a [u16] {
    // SAFETY: the caller guarantees it.
    let name = unsafe { &raw const (*driver).name };
    // SAFETY: the kernel made the string when it made the object, and it stays as long.
    let name = unsafe { sys::units(name) };
    name.rsplit(|unit| *unit == u16::from(b'\\')).next().unwrap_or_default()
}

fn attributes(name: &sys::UNICODE_STRING) -> sys::OBJECT_ATTRIBUTES {
    sys::OBJECT_ATTRIBUTES {
        Length: size_of::<sys::OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: null_mut(),
        ObjectName: name,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    }
}

/// IoOpenDriverRegistryKey.
pub(crate) unsafe extern "system" fn open_registry_key(
    driver: *const DriverObject,
    kind: u32,
    access: u32,
    flags: u32,
    key: *mut sys::Handle,
) -> sys::NtStatus {
    let caller = thunk::caller();
    requests::check_system_thread(caller);
    if kind != PARAMETERS || flags != 0 {
        return sys::STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the driver passes its own object.
    let service = unsafe { service(driver) };
    let parameters = r"\Parameters".encode_utf16();
    let name = sys::Wide::of(SERVICES.encode_utf16().chain(service.iter().copied()).chain(parameters), &[]);
    let counted = name.counted();
    // SAFETY: the name lives through the call; the driver passes a place for the handle.
    let status = unsafe { sys::NtOpenKey(key, access, &attributes(&counted)) };
    // SAFETY: the function has put the handle there.
    unsafe { objects::made_handle(caller, status, key) }
}

/// IoGetDriverDirectory.
pub(crate) unsafe extern "system" fn get_directory(
    driver: *const DriverObject,
    kind: u32,
    flags: u32,
    directory: *mut sys::Handle,
) -> sys::NtStatus {
    let caller = thunk::caller();
    requests::check_system_thread(caller);
    if kind != DATA || flags != 0 {
        return sys::STATUS_INVALID_PARAMETER;
    }
    let all = sys::Wide::new(DRIVER_DATA);
    let mut parent = null_mut();
    // SAFETY: the place is a local.
    let status = unsafe { open_or_make(&all, &mut parent) };
    if status < 0 {
        return status;
    }
    // SAFETY: the handle has just been opened and is not used again.
    unsafe { sys::NtClose(parent) };
    // SAFETY: the driver passes its own object.
    let service = unsafe { service(driver) };
    let own = sys::Wide::of(DRIVER_DATA.encode_utf16().chain([u16::from(b'\\')]), service);
    // SAFETY: the driver passes a place for the handle.
    let status = unsafe { open_or_make(&own, directory) };
    // SAFETY: the function has put the handle there.
    unsafe { objects::made_handle(caller, status, directory) }
}

/// Opens a folder, or makes it.
///
/// # Safety
///
/// `directory` is a place for a handle.
unsafe fn open_or_make(name: &sys::Wide, directory: *mut sys::Handle) -> sys::NtStatus {
    let counted = name.counted();
    let mut status = sys::IO_STATUS_BLOCK { Status: 0, Information: 0 };
    // SAFETY: name and status live through the call; the caller guarantees the place.
    unsafe {
        sys::NtCreateFile(
            directory,
            FILE_LIST_DIRECTORY_TRAVERSE_SYNCHRONIZE,
            &attributes(&counted),
            &mut status,
            null(),
            0,
            FILE_SHARE_ALL,
            FILE_OPEN_IF,
            FILE_DIRECTORY_FILE_SYNCHRONOUS,
            null::<c_void>(),
            0,
        )
    }
}
