//! breaker.sys breaks a rule in the way that its service is named after; it has a device to be suspended in.
#![no_std]

extern crate wdk_panic;

use core::ptr::null_mut;
use core::slice;

use wdk_sys::ntddk::{
    DbgPrint, ExAllocatePool2, ExFreePool, IoCreateDevice, IoCreateSymbolicLink, IoDeleteDevice, IoDeleteSymbolicLink,
    IofCompleteRequest, KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock, ZwClose, ZwCreateFile,
};
use wdk_sys::{
    DEVICE_OBJECT, DRIVER_OBJECT, HANDLE, IO_STATUS_BLOCK, IRP, KSPIN_LOCK, NTSTATUS, OBJECT_ATTRIBUTES,
    PCUNICODE_STRING, STATUS_SUCCESS, UNICODE_STRING,
};

#[global_allocator]
static ALLOCATOR: wdk_alloc::WdkAllocator = wdk_alloc::WdkAllocator;

/// # Safety
///
/// The I/O manager calls it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, path: PCUNICODE_STRING) -> NTSTATUS {
    driver.DriverUnload = Some(driver_unload);
    // SAFETY: the string is valid while DriverEntry runs; its length is in bytes.
    let path = unsafe { slice::from_raw_parts((*path).Buffer, usize::from((*path).Length) / 2) };
    let is = |name: &str| path.ends_with(&Name::of(name).0[..name.len()]);
    if is("past_end") {
        write_past_the_end();
    } else if is("too_high") {
        close_at_dispatch_level();
    } else if is("left_open") {
        open_folder();
    } else if is("served") {
        return make_device(driver);
    }
    STATUS_SUCCESS
}

/// Characters of the kernel.
struct Name([u16; 32], usize);

impl Name {
    fn of(text: &str) -> Self {
        let mut name = Self([0; 32], text.len());
        name.0.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte.into());
        name
    }

    fn counted(&mut self) -> UNICODE_STRING {
        let bytes = (self.1 * 2) as u16;
        UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: self.0.as_mut_ptr() }
    }
}

fn write_past_the_end() {
    const NON_PAGED: u64 = 0x40;
    // SAFETY: any size and tag will do.
    let block = unsafe { ExAllocatePool2(NON_PAGED, 32, u32::from_le_bytes(*b"Brkr")) }.cast::<u8>();
    // SAFETY: none; this is the mistake.
    unsafe { block.add(32).write_volatile(0) };
    // SAFETY: allocated above.
    unsafe { ExFreePool(block.cast()) };
}

fn close_at_dispatch_level() {
    let mut lock: KSPIN_LOCK = 0;
    // SAFETY: a spin lock that nobody else knows.
    let level = unsafe { KeAcquireSpinLockRaiseToDpc(&mut lock) };
    // SAFETY: none; this is the mistake.
    let _ = unsafe { ZwClose(null_mut()) };
    // SAFETY: acquired above.
    unsafe { KeReleaseSpinLock(&mut lock, level) };
}

fn open_folder() {
    let mut name = Name::of("\\SystemRoot\\system32");
    let mut counted = name.counted();
    let mut attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        ObjectName: &mut counted,
        Attributes: 0x240,
        ..Default::default()
    };
    let (mut folder, mut status): (HANDLE, _) = (null_mut(), IO_STATUS_BLOCK::default());
    // SAFETY: all pointers are to locals. That nobody closes the handle is the mistake.
    let _ = unsafe {
        ZwCreateFile(&mut folder, 0x10_0001, &mut attributes, &mut status, null_mut(), 0, 7, 1, 0x21, null_mut(), 0)
    };
}

fn make_device(driver: &mut DRIVER_OBJECT) -> NTSTATUS {
    const CREATE: usize = 0;
    const CLOSE: usize = 2;
    const READ: usize = 3;
    const CLEANUP: usize = 0x12;
    for major in [CREATE, CLOSE, READ, CLEANUP] {
        driver.MajorFunction[major] = Some(serve);
    }
    let (mut name, mut link) = (Name::of("\\Device\\breaker"), Name::of("\\DosDevices\\breaker"));
    let (mut name, mut link) = (name.counted(), link.counted());
    let mut device = null_mut();
    // SAFETY: the driver object of this driver; the other pointers are to locals.
    let status = unsafe { IoCreateDevice(driver, 0, &mut name, 0x22, 0, 0, &mut device) };
    if status < 0 {
        return status;
    }
    // SAFETY: both names are locals.
    unsafe { IoCreateSymbolicLink(&mut link, &mut name) }
}

unsafe extern "C" fn serve(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a string of C, with a zero at its end and nothing to be filled in.
    unsafe { DbgPrint(c"breaker: a request\n".as_ptr().cast()) };
    // SAFETY: a request of this driver.
    unsafe { IofCompleteRequest(irp, 0) };
    STATUS_SUCCESS
}

unsafe extern "C" fn driver_unload(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object of this driver.
    let device = unsafe { (*driver).DeviceObject };
    if !device.is_null() {
        let mut link = Name::of("\\DosDevices\\breaker");
        // SAFETY: the name is a local.
        let _ = unsafe { IoDeleteSymbolicLink(&mut link.counted()) };
        // SAFETY: the device of this driver.
        unsafe { IoDeleteDevice(device) };
    }
}
