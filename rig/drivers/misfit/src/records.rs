//! The misfit as a driver that mistreats what is kept for whoever looks for a mistake later: the error log, the crash
//! dump, ETW. Its service is named after the way.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_void};
use core::mem::size_of;
use core::ptr::null;

use crate::wdm::{self, DriverObject, NtStatus, STATUS_SUCCESS};

/// `IO_ERROR_LOG_PACKET`, up to its strings.
#[repr(C)]
struct Entry {
    major: u16,
    dump_size: u16,
    string_count: u16,
    strings: u16,
    rest: [u32; 10],
}

/// `KBUGCHECK_REASON_CALLBACK_RECORD`
#[repr(C)]
struct Record(UnsafeCell<[usize; 8]>);

// SAFETY: the kernel alone looks into it.
unsafe impl Sync for Record {}

type Collect = unsafe extern "system" fn(reason: u32, record: *mut c_void, data: *mut c_void, length: u32);

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn IoAllocateErrorLogEntry(object: *mut DriverObject, size: u8) -> *mut Entry;
    fn IoWriteErrorLogEntry(entry: *mut Entry);
    fn KeRegisterBugCheckReasonCallback(
        record: *mut c_void,
        routine: Collect,
        reason: u32,
        component: *const c_char,
    ) -> u8;
    fn KeBugCheck(code: u32) -> !;
    fn KeBugCheckEx(code: u32, first: usize, second: usize, third: usize, fourth: usize) -> !;
    fn EtwRegister(
        provider: *const [u32; 4],
        callback: *const c_void,
        context: *mut c_void,
        handle: *mut u64,
    ) -> NtStatus;
}

const MANUALLY_INITIATED_CRASH: u32 = 0xE2;

/// Breaks the rule that the service is named after; `None` if it is named after none. `driver` is the driver object.
pub(crate) fn start(driver: *mut DriverObject, is: impl Fn(&str) -> bool) -> Option<NtStatus> {
    const SIZE: u8 = size_of::<Entry>() as u8;
    if is("log-size") {
        // SAFETY: broken on purpose: an entry is larger.
        unsafe { IoAllocateErrorLogEntry(driver, SIZE - 1) };
    } else if is("log-entry") {
        // SAFETY: broken on purpose: that is no entry.
        unsafe { IoWriteErrorLogEntry(wdm::allocate(usize::from(SIZE), u32::from_le_bytes(*b"Kern")).cast()) };
    } else if is("log-strings") {
        // SAFETY: the driver object of this driver.
        let entry = unsafe { IoAllocateErrorLogEntry(driver, SIZE) };
        // SAFETY: an entry of that size; broken on purpose: its string would begin where it ends.
        unsafe { entry.write(Entry { major: 0, dump_size: 0, string_count: 1, strings: SIZE.into(), rest: [0; 10] }) };
        // SAFETY: allocated above.
        unsafe { IoWriteErrorLogEntry(entry) };
    } else if is("dump-reason") {
        const UNKNOWN: u32 = 99;
        register(UNKNOWN);
    } else if is("dump-left") {
        const SECONDARY_DUMP_DATA: u32 = 2;
        register(SECONDARY_DUMP_DATA);
    } else if is("etw-left") {
        let mut handle = 0;
        // SAFETY: an identifier and a local for the handle; broken on purpose: nobody will unregister it.
        unsafe { EtwRegister(&[0x6D69_7366; 4], null(), core::ptr::null_mut(), &mut handle) };
    } else if is("crash-code") {
        // SAFETY: ends everything, on purpose.
        unsafe { KeBugCheck(MANUALLY_INITIATED_CRASH) };
    } else if is("crash-codes") {
        // SAFETY: ends everything, on purpose.
        unsafe { KeBugCheckEx(MANUALLY_INITIATED_CRASH, 0x1234, 5, 0, 0) };
    } else {
        return None;
    }
    Some(STATUS_SUCCESS)
}

fn register(reason: u32) {
    static RECORD: Record = Record(UnsafeCell::new([0; 8]));
    // SAFETY: a record of this driver's; broken on purpose: the reason is not known, or the record goes with the image.
    unsafe { KeRegisterBugCheckReasonCallback(RECORD.0.get().cast(), collect, reason, c"misfit".as_ptr()) };
}

unsafe extern "system" fn collect(_: u32, _: *mut c_void, _: *mut c_void, _: u32) {}
