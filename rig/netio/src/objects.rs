//! What a driver has been given and has to give back before it is gone: handles, devices, symbolic links.
//!
//! The hooks of the functions that make and end them keep the account; what is on it at the unload was left behind.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_void;

use crate::bugcheck::{bug_check, code};
use crate::drivers::DriverId;
use crate::gate::{self, Call};
use crate::lock::Lock;
use crate::{locks, sys, thunk};

/// Something that has to be given back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    Handle(usize),
    Device(usize),
    Link(String),
}

impl Object {
    fn kind(&self) -> &'static str {
        match self {
            Self::Handle(_) => "handle",
            Self::Device(_) => "device",
            Self::Link(_) => "link",
        }
    }
}

/// Whose an object is, and by which call it was made.
#[derive(Clone, Copy)]
struct Made {
    owner: DriverId,
    call: Option<Call>,
}

static OBJECTS: Lock<BTreeMap<Object, Made>> = Lock::new(BTreeMap::new());

/// Puts what the driver's last call has made on its account, if that succeeded.
fn made(owner: DriverId, status: sys::NtStatus, object: impl FnOnce() -> Object) -> sys::NtStatus {
    if status >= 0 {
        let (object, call) = (object(), gate::last_call(owner));
        OBJECTS.with(|objects| objects.insert(object, Made { owner, call }));
    }
    status
}

/// Puts the handle that the driver's last call has made on its account, if that succeeded.
///
/// # Safety
///
/// If the status is one of success, `handle` points to the handle.
pub(crate) unsafe fn made_handle(owner: DriverId, status: sys::NtStatus, handle: *const sys::Handle) -> sys::NtStatus {
    // SAFETY: the caller guarantees it.
    made(owner, status, || Object::Handle(unsafe { handle.read() } as usize))
}

/// How many handles, devices and links a driver, or all of them together, have.
pub(crate) fn alive(owner: Option<DriverId>) -> [usize; 3] {
    OBJECTS.with(|objects| {
        let mut counts = [0; 3];
        for (object, _) in objects.iter().filter(|(_, made)| owner.is_none_or(|owner| made.owner == owner)) {
            let kind = match object {
                Object::Handle(_) => 0,
                Object::Device(_) => 1,
                Object::Link(_) => 2,
            };
            counts[kind] += 1;
        }
        counts
    })
}

/// What a driver has, and by which calls it got it.
pub(crate) fn made_by(owner: DriverId) -> Vec<(&'static str, Call)> {
    OBJECTS.with(|objects| {
        let mine = objects.iter().filter(|(_, made)| made.owner == owner);
        mine.filter_map(|(object, made)| Some((object.kind(), made.call?))).collect()
    })
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn IoCreateDevice(
        driver: *mut sys::DriverObject,
        extension: u32,
        name: *const sys::UNICODE_STRING,
        kind: u32,
        characteristics: u32,
        exclusive: u8,
        device: *mut *mut c_void,
    ) -> sys::NtStatus;
    fn IoDeleteDevice(device: *mut c_void);
    fn IoCreateSymbolicLink(link: *const sys::UNICODE_STRING, target: *const sys::UNICODE_STRING) -> sys::NtStatus;
    fn IoDeleteSymbolicLink(link: *const sys::UNICODE_STRING) -> sys::NtStatus;
    fn ObOpenObjectByPointer(
        object: *mut c_void,
        attributes: u32,
        state: *mut c_void,
        access: u32,
        kind: *mut c_void,
        mode: i8,
        handle: *mut sys::Handle,
    ) -> sys::NtStatus;
}

/// IoCreateDevice.
pub(crate) unsafe extern "system" fn create_device(
    driver: *mut sys::DriverObject,
    extension: u32,
    name: *const sys::UNICODE_STRING,
    kind: u32,
    characteristics: u32,
    exclusive: u8,
    device: *mut *mut c_void,
) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own arguments.
    let status = unsafe { IoCreateDevice(driver, extension, name, kind, characteristics, exclusive, device) };
    if status >= 0 {
        // SAFETY: the function has put the device there.
        let new = unsafe { device.read() };
        // SAFETY: it has an extension of that many bytes.
        unsafe { sys::set_memory_of(new, extension) };
    }
    // SAFETY: the function has put the device there.
    made(caller, status, || Object::Device(unsafe { device.read() } as usize))
}

/// IoDeleteDevice.
pub(crate) unsafe extern "system" fn delete_device(device: *mut c_void) {
    let caller = thunk::caller();
    if OBJECTS.with(|objects| objects.remove(&Object::Device(device as usize))).is_none() {
        bug_check(caller, code::VERIFIER, format_args!("{device:p} deleted, which is no device of a driver"));
    }
    // SAFETY: a device of the driver, whose extension belongs to it.
    locks::forget(unsafe { sys::memory_of(device) });
    // SAFETY: the driver's own argument.
    unsafe { IoDeleteDevice(device) };
}

/// The name of a link, in which case does not matter.
///
/// # Safety
///
/// `name` points to a counted string.
unsafe fn link(name: *const sys::UNICODE_STRING) -> Object {
    // SAFETY: the caller guarantees it.
    Object::Link(String::from_utf16_lossy(unsafe { sys::units(name) }).to_ascii_lowercase())
}

/// IoCreateSymbolicLink.
pub(crate) unsafe extern "system" fn create_link(
    name: *const sys::UNICODE_STRING,
    target: *const sys::UNICODE_STRING,
) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own arguments.
    let status = unsafe { IoCreateSymbolicLink(name, target) };
    // SAFETY: the driver passes a counted string.
    made(caller, status, || unsafe { link(name) })
}

/// IoDeleteSymbolicLink.
pub(crate) unsafe extern "system" fn delete_link(name: *const sys::UNICODE_STRING) -> sys::NtStatus {
    // SAFETY: the driver passes a counted string.
    let link = unsafe { link(name) };
    OBJECTS.with(|objects| objects.remove(&link));
    // SAFETY: the driver's own argument.
    unsafe { IoDeleteSymbolicLink(name) }
}

/// ObOpenObjectByPointer.
pub(crate) unsafe extern "system" fn open_object(
    object: *mut c_void,
    attributes: u32,
    state: *mut c_void,
    access: u32,
    kind: *mut c_void,
    mode: i8,
    handle: *mut sys::Handle,
) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver's own arguments.
    let status = unsafe { ObOpenObjectByPointer(object, attributes, state, access, kind, mode, handle) };
    // SAFETY: the function has put the handle there.
    unsafe { made_handle(caller, status, handle) }
}

/// ZwClose.
pub(crate) unsafe extern "system" fn close(handle: sys::Handle) -> sys::NtStatus {
    let caller = thunk::caller();
    OBJECTS.with(|objects| objects.remove(&Object::Handle(handle as usize)));
    // SAFETY: the driver's own argument.
    let status = unsafe { sys::NtClose(handle) };
    if status < 0 {
        bug_check(caller, code::INVALID_HANDLE, format_args!("{handle:p} closed, which is no handle"));
    }
    status
}
