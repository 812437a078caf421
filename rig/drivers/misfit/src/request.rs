//! The misfit as a driver with a device, `\\\\.\\misfit`, that treats a request in the wrong way: the one that its
//! service is named after. It happens when the device is opened or read.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::wdm::{self, DriverObject, NtStatus, STATUS_SUCCESS, STATUS_UNSUCCESSFUL, UnicodeString};
use crate::{locks, nmr};

const STATUS_PENDING: NtStatus = 0x103;
const CREATE: usize = 0;
const CLOSE: usize = 2;
const READ: usize = 3;
const CLEANUP: usize = 0x12;
const DO_BUFFERED_IO: u32 = 4;

/// The ways to treat a request, by the name of the service.
const NAMES: [&str; 21] = [
    "io-region",
    "io-spin",
    "io-thread",
    "io-unmarked",
    "io-stranger",
    "io-unfinished",
    "io-marked",
    "io-kept",
    "io-late",
    "io-lock",
    "io-cancel",
    "io-twice",
    "io-pending",
    "io-status",
    "io-forgotten",
    "io-level",
    "io-information",
    "io-stale",
    "io-slow",
    "io-suspended",
    "io-device",
];

/// What is to be done wrong: an index into [`NAMES`].
static MISTAKE: AtomicU32 = AtomicU32::new(0);
static DEVICE: AtomicPtr<Device> = AtomicPtr::new(null_mut());
static DRIVER: AtomicPtr<DriverObject> = AtomicPtr::new(null_mut());

fn makes(name: &str) -> bool {
    NAMES.get(MISTAKE.load(Ordering::Relaxed) as usize).is_some_and(|mistake| *mistake == name)
}

/// `DEVICE_OBJECT`, up to its extension.
#[repr(C)]
pub(crate) struct Device {
    before: [usize; 6],
    flags: u32,
    characteristics: u32,
    volume: usize,
    pub(crate) extension: *mut c_void,
}

/// `IRP`, up to its result.
#[repr(C)]
pub(crate) struct Irp {
    before: [usize; 3],
    buffer: *mut u8,
    between: [usize; 2],
    status: NtStatus,
    information: usize,
    further: [usize; 5],
    cancel_routine: *const c_void,
    beyond: [usize; 9],
    /// `IO_STACK_LOCATION`, whose fourth byte has the flag that says pending.
    location: *mut [u8; 4],
}

const _: () =
    assert!(core::mem::offset_of!(Irp, cancel_routine) == 0x68 && core::mem::offset_of!(Irp, location) == 0xB8);
const _: () = assert!(core::mem::offset_of!(Device, extension) == 0x40);

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    pub(crate) fn IoCreateDevice(
        driver: *mut DriverObject,
        extension: u32,
        name: *const UnicodeString,
        kind: u32,
        characteristics: u32,
        exclusive: u8,
        device: *mut *mut Device,
    ) -> NtStatus;
    pub(crate) fn IoDeleteDevice(device: *mut Device);
    fn IoCreateSymbolicLink(link: *const UnicodeString, target: *const UnicodeString) -> NtStatus;
    fn IoDeleteSymbolicLink(link: *const UnicodeString) -> NtStatus;
    fn IofCompleteRequest(irp: *mut Irp, boost: i8);
}

/// Makes the device; `None` if the service is named after none of the ways.
///
/// # Safety
///
/// `driver` is the driver object that DriverEntry was given, during that call.
pub(crate) unsafe fn start(driver: *mut DriverObject, is: impl Fn(&str) -> bool) -> Option<NtStatus> {
    let mistake = NAMES.iter().position(|name| is(name))?;
    MISTAKE.store(mistake as u32, Ordering::Relaxed);
    DRIVER.store(driver, Ordering::Relaxed);
    let (name, link) = (wdm::Name::of("\\Device\\misfit"), wdm::Name::of("\\DosDevices\\misfit"));
    let mut device = null_mut();
    // SAFETY: the caller guarantees the driver object; the other pointers are to locals.
    let status = unsafe { IoCreateDevice(driver, 0, &name.counted(), 0x22, 0, 0, &mut device) };
    if status < 0 {
        return Some(status);
    }
    // SAFETY: the device was made above, and nobody else knows it.
    unsafe { (*device).flags |= DO_BUFFERED_IO };
    DEVICE.store(device, Ordering::Relaxed);
    for major in [CREATE, CLOSE, READ, CLEANUP] {
        // SAFETY: the caller guarantees a driver object that nobody else uses now.
        unsafe { wdm::set_dispatch(driver, major, if major == READ { read } else { open }) };
    }
    // SAFETY: both names are locals.
    Some(unsafe { IoCreateSymbolicLink(&link.counted(), &name.counted()) })
}

/// Deletes the device, if there is one, unless it is to be left behind.
pub(crate) fn stop() {
    let device = DEVICE.load(Ordering::Relaxed);
    if device.is_null() || makes("io-device") {
        return;
    }
    let link = wdm::Name::of("\\DosDevices\\misfit");
    // SAFETY: the name is a local.
    unsafe { IoDeleteSymbolicLink(&link.counted()) };
    // SAFETY: the device that `start` made.
    unsafe { IoDeleteDevice(device) };
}

/// Completes a request with that.
///
/// # Safety
///
/// The request is this driver's, unless that is the mistake.
unsafe fn complete(irp: *mut Irp, status: NtStatus, information: usize) -> NtStatus {
    // SAFETY: the caller guarantees it.
    unsafe { (*irp).status = status };
    // SAFETY: the caller guarantees it.
    unsafe { (*irp).information = information };
    // SAFETY: the caller guarantees it.
    unsafe { IofCompleteRequest(irp, 0) };
    status
}

unsafe extern "system" fn open(_: *mut c_void, irp: *mut Irp) -> NtStatus {
    if makes("io-forgotten") {
        return STATUS_SUCCESS;
    }
    if makes("io-level") {
        wdm::raise_to_dispatch_level();
    }
    // SAFETY: the I/O manager passes a request of this driver.
    unsafe { complete(irp, STATUS_SUCCESS, 0) };
    if makes("io-twice") {
        // SAFETY: broken on purpose: only the address is used.
        unsafe { IofCompleteRequest(irp, 0) };
    }
    if makes("io-pending") {
        return STATUS_PENDING;
    }
    if makes("io-status") { STATUS_UNSUCCESSFUL } else { STATUS_SUCCESS }
}

unsafe extern "system" fn read(_: *mut c_void, irp: *mut Irp) -> NtStatus {
    if makes("io-lock") {
        locks::keep_mutex();
    }
    if makes("io-region") {
        wdm::enter_region();
    }
    if makes("io-thread") {
        wdm::open_data_directory(DRIVER.load(Ordering::Relaxed));
    }
    if makes("io-spin") {
        locks::keep_spin_lock();
    }
    if makes("io-unmarked") {
        return STATUS_PENDING;
    }
    if makes("io-stranger") {
        // SAFETY: broken on purpose: that is no device of this driver's.
        unsafe { IoDeleteDevice(DRIVER.load(Ordering::Relaxed).cast()) };
    }
    if makes("io-unfinished") {
        // SAFETY: the I/O manager passes a request of this driver; broken on purpose: that is no end of one.
        return unsafe { complete(irp, STATUS_PENDING, 0) };
    }
    if makes("io-marked") {
        // SAFETY: the I/O manager passes a request of this driver.
        unsafe { mark_pending(irp) };
    }
    if makes("io-kept") {
        // SAFETY: the I/O manager passes a request of this driver.
        unsafe { mark_pending(irp) };
        return STATUS_PENDING;
    }
    if makes("io-cancel") {
        // SAFETY: the I/O manager passes a request of this driver.
        return unsafe { leave_pending(irp) };
    }
    if makes("io-slow") {
        wdm::print(c"misfit: a slow request", STATUS_SUCCESS);
        wdm::sleep(2000);
    }
    if makes("io-suspended") {
        nmr::call_with_guard();
    }
    if makes("io-information") {
        // SAFETY: the I/O manager passes a request of this driver; broken on purpose: nobody has asked for that many.
        return unsafe { complete(irp, STATUS_SUCCESS, 1 << 20) };
    }
    if makes("io-stale") {
        // SAFETY: the I/O manager passes a request of this driver.
        let buffer = unsafe { (*irp).buffer };
        // SAFETY: it has a buffer of more than one byte, since the device asks for that.
        unsafe { buffer.write(b'x') };
        // SAFETY: as above; broken on purpose: 31 bytes more than were written.
        return unsafe { complete(irp, STATUS_SUCCESS, 32) };
    }
    // SAFETY: the I/O manager passes a request of this driver.
    unsafe { complete(irp, STATUS_SUCCESS, 0) };
    if makes("io-late") {
        // SAFETY: broken on purpose: the request has been completed.
        unsafe { (*irp).information = 0 };
    }
    STATUS_SUCCESS
}

/// Leaves a request pending until it is cancelled.
///
/// # Safety
///
/// The request is this driver's.
unsafe fn leave_pending(irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller guarantees it.
    unsafe { mark_pending(irp) };
    // SAFETY: the caller guarantees it.
    unsafe { (*irp).cancel_routine = cancel as *const c_void };
    STATUS_PENDING
}

/// IoMarkIrpPending.
///
/// # Safety
///
/// The request is this driver's.
unsafe fn mark_pending(irp: *mut Irp) {
    const SL_PENDING_RETURNED: u8 = 1;
    // SAFETY: the caller guarantees it.
    let location = unsafe { (*irp).location };
    // SAFETY: the location is that of this driver.
    unsafe { (*location)[3] |= SL_PENDING_RETURNED };
}

/// A cancel routine. Broken on purpose: it does not release the cancel spin lock.
unsafe extern "system" fn cancel(_: *mut c_void, irp: *mut Irp) {
    const STATUS_CANCELLED: NtStatus = 0xC000_0120_u32 as NtStatus;
    // SAFETY: the I/O manager passes a request of this driver.
    unsafe { complete(irp, STATUS_CANCELLED, 0) };
}
