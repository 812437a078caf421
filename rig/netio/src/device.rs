//! The device `\\.\netio`: opening it writes everything that is alive to the log.

use core::ffi::c_void;
use core::ptr::null_mut;

use crate::sys::{DriverObject, Irp};
use crate::{report, sys};

const FILE_DEVICE_UNKNOWN: u32 = 0x22;
/// IRP_MJ_CREATE, IRP_MJ_CLOSE and IRP_MJ_CLEANUP.
const IRP_MJ_CREATE: usize = 0;
const IRP_MJ_CLOSE: usize = 2;
const IRP_MJ_CLEANUP: usize = 0x12;

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn IoCreateDevice(
        driver: *mut DriverObject,
        extension: u32,
        name: *const sys::UNICODE_STRING,
        kind: u32,
        characteristics: u32,
        exclusive: u8,
        device: *mut *mut c_void,
    ) -> sys::NtStatus;
    fn IoCreateSymbolicLink(link: *const sys::UNICODE_STRING, target: *const sys::UNICODE_STRING) -> sys::NtStatus;
    fn IofCompleteRequest(irp: *mut Irp, boost: i8);
}

/// Makes the device. It lives as long as the process, like netio.sys itself, which has no unload routine.
///
/// # Safety
///
/// `driver` is the driver object that DriverEntry was given, during that call.
pub(crate) unsafe fn create(driver: *mut DriverObject) -> sys::NtStatus {
    // SAFETY: the caller guarantees a driver object that nobody else uses now.
    let functions = unsafe { &mut (*driver).major_function };
    functions[IRP_MJ_CREATE] = Some(opened);
    functions[IRP_MJ_CLOSE] = Some(complete);
    functions[IRP_MJ_CLEANUP] = Some(complete);
    let (name, link) = (sys::Wide::new("\\Device\\netio"), sys::Wide::new("\\DosDevices\\netio"));
    let mut device = null_mut();
    // SAFETY: the caller guarantees the driver object; the other pointers are to locals.
    let status = unsafe { IoCreateDevice(driver, 0, &name.counted(), FILE_DEVICE_UNKNOWN, 0, 0, &mut device) };
    if status < 0 {
        return status;
    }
    // SAFETY: both names are locals.
    unsafe { IoCreateSymbolicLink(&link.counted(), &name.counted()) }
}

unsafe extern "system" fn opened(device: *mut c_void, irp: *mut Irp) -> sys::NtStatus {
    report::everything();
    // SAFETY: the I/O manager's own arguments.
    unsafe { complete(device, irp) }
}

unsafe extern "system" fn complete(_: *mut c_void, irp: *mut Irp) -> sys::NtStatus {
    // SAFETY: the I/O manager passes a request that is this driver's until it completes it.
    unsafe { (*irp).result = sys::IO_STATUS_BLOCK { Status: sys::STATUS_SUCCESS, Information: 0 } };
    // SAFETY: the request is this driver's; it is not touched afterwards.
    unsafe { IofCompleteRequest(irp, 0) };
    sys::STATUS_SUCCESS
}
