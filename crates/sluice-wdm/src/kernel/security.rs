//! Puts the security descriptor of what the drivers make where it belongs.

use core::ffi::c_void;
use core::ptr;

use wdk_sys::ntddk::{ObOpenObjectByPointer, ZwClose, ZwSetSecurityObject};
use wdk_sys::{DEVICE_OBJECT, HANDLE, OBJ_KERNEL_HANDLE, STATUS_SUCCESS, WRITE_DAC};

use crate::NTSTATUS;
use crate::descriptor::ADMINISTRATORS_ONLY;

/// `DACL_SECURITY_INFORMATION`: the DACL is what is being set.
const DACL_SECURITY_INFORMATION: u32 = 4;

/// `_MODE::KernelMode`: the handle is the kernel's own.
const KERNEL_MODE: i8 = 0;

/// The descriptor, for the creation of an object. It is only read.
pub(crate) fn administrators_only() -> *mut c_void {
    (&raw const ADMINISTRATORS_ONLY.0).cast_mut().cast()
}

/// Lets only SYSTEM and administrators open `device`. PASSIVE_LEVEL.
///
/// A named device whose descriptor does not come from an INF file has to be made with IoCreateDeviceSecure, says the
/// page of that function, so that there is no moment at which anybody may open it. That function is code of wdmsec.lib,
/// not of the kernel, and no INF file can describe a device that is not one of Plug and Play. What it is there for
/// holds here without it: the descriptor is set before DriverEntry returns, and until then nobody can open the device,
/// because DO_DEVICE_INITIALIZING is set ("What does DO_DEVICE_INITIALIZING really do?"; the I/O manager clears it when
/// DriverEntry has returned). Descriptor and device are the same afterwards, as is the failure: without a descriptor
/// there is no device.
///
/// # Errors
///
/// What ObOpenObjectByPointer or ZwSetSecurityObject returned.
///
/// # Safety
///
/// `device` points to a device object of this driver.
pub(crate) unsafe fn admit_administrators_only(device: *mut DEVICE_OBJECT) -> Result<(), NTSTATUS> {
    let mut handle: HANDLE = ptr::null_mut();
    // SAFETY: the caller owns the device object; `handle` is a place for the result; no type is asked for.
    let status = unsafe {
        ObOpenObjectByPointer(
            device.cast(),
            OBJ_KERNEL_HANDLE,
            ptr::null_mut(),
            WRITE_DAC,
            ptr::null_mut(),
            KERNEL_MODE,
            &raw mut handle,
        )
    };
    if status != STATUS_SUCCESS {
        return Err(status);
    }
    // SAFETY: the handle was opened for WRITE_DAC; the descriptor is well formed, is only read, and is a static.
    let status = unsafe { ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, administrators_only()) };
    // SAFETY: the handle is ours and is not used again.
    let _ = unsafe { ZwClose(handle) };
    if status == STATUS_SUCCESS { Ok(()) } else { Err(status) }
}
