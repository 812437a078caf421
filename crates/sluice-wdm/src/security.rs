//! Who may open what the drivers make: SYSTEM and administrators, nobody else.

use core::ffi::c_void;
use core::ptr;

use wdk_sys::ntddk::{ObOpenObjectByPointer, ZwClose, ZwSetSecurityObject};
use wdk_sys::{DEVICE_OBJECT, HANDLE, NTSTATUS, OBJ_KERNEL_HANDLE, STATUS_SUCCESS, WRITE_DAC};

/// `DACL_SECURITY_INFORMATION`: the DACL is what is being set.
const DACL_SECURITY_INFORMATION: u32 = 4;

/// `_MODE::KernelMode`: the handle is the kernel's own.
const KERNEL_MODE: i8 = 0;

/// The security descriptor `D:P(A;;GA;;;SY)(A;;GA;;;BA)` in self-relative form ([MS-DTYP] 2.4.6): a protected DACL with
/// two entries that grant all access to SYSTEM and to the Administrators alias.
#[rustfmt::skip]
static ADMINISTRATORS_ONLY: Aligned<[u8; 72]> = Aligned([
    // SECURITY_DESCRIPTOR: revision 1, SE_DACL_PRESENT | SE_DACL_PROTECTED | SE_SELF_RELATIVE, DACL at 20
    1, 0, 0x04, 0x90,  0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,  20, 0, 0, 0,
    // ACL: revision 2, 52 bytes, 2 entries
    2, 0, 52, 0,  2, 0, 0, 0,
    // ACCESS_ALLOWED_ACE, 20 bytes, GENERIC_ALL, S-1-5-18
    0, 0, 20, 0,  0, 0, 0, 0x10,  1, 1, 0, 0, 0, 0, 0, 5,  18, 0, 0, 0,
    // ACCESS_ALLOWED_ACE, 24 bytes, GENERIC_ALL, S-1-5-32-544
    0, 0, 24, 0,  0, 0, 0, 0x10,  1, 2, 0, 0, 0, 0, 0, 5,  32, 0, 0, 0,  0x20, 2, 0, 0,
]);

/// A security descriptor has to be aligned like its integers.
#[repr(C, align(4))]
struct Aligned<T>(T);

/// The descriptor, for whoever makes an object. It is only read.
pub(crate) fn administrators_only() -> *mut c_void {
    (&raw const ADMINISTRATORS_ONLY.0).cast_mut().cast()
}

/// Lets only SYSTEM and administrators open `device`. PASSIVE_LEVEL.
///
/// IoCreateDeviceSecure would do this while it creates the device, but it is code of wdmsec.lib, not of the kernel. It
/// makes no difference here: a device that DriverEntry creates cannot be opened before DriverEntry has returned, as
/// DO_DEVICE_INITIALIZING is set until then.
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
    // SAFETY: the handle was opened for WRITE_DAC; the descriptor is well formed, is only read, and lives for ever.
    let status = unsafe { ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, administrators_only()) };
    // SAFETY: the handle is ours and is not used again.
    let _ = unsafe { ZwClose(handle) };
    if status == STATUS_SUCCESS { Ok(()) } else { Err(status) }
}
