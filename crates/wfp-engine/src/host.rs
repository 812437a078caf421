//! A host: levels as for NMR, and the functions of the kernel that callout drivers call.

use std::cell::Cell;
use std::ffi::c_void;
use std::time::Duration;

use nmr_registrar::APC_LEVEL;
pub(crate) use nmr_registrar::irql;
use wdk_wfp_sys::{MDL, MDL_MAPPED_TO_SYSTEM_VA, NTSTATUS, STATUS_SUCCESS};

use crate::{Violation, state};

thread_local!(
    static PROCESSOR: Cell<u32> = const { Cell::new(0) };
    static MAPPING_FAILS: Cell<bool> = const { Cell::new(false) };
);

/// The processor on which this thread is said to run.
pub fn set_processor(number: u32) {
    PROCESSOR.set(number);
}

/// Whether mapping the pages of an MDL fails on this thread.
pub fn set_mapping_fails(fails: bool) {
    MAPPING_FAILS.set(fails);
}

/// Nothing yet: the end of the test reports it.
pub(crate) fn broken(_: &Violation) {}

/// A test is no driver.
pub(crate) fn calling_driver() -> Option<String> {
    None
}

/// As above.
pub(crate) fn driver_at(_: usize) -> Option<String> {
    None
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
unsafe extern "system" fn KeDelayExecutionThread(_: i8, _: u8, interval: *const i64) -> NTSTATUS {
    if irql::current() > APC_LEVEL {
        state::lock().violation(7, format!("KeDelayExecutionThread was called at level {}", irql::current()));
    }
    // SAFETY: the caller passes a time.
    let interval = unsafe { *interval };
    std::thread::sleep(Duration::from_nanos(interval.unsigned_abs().saturating_mul(100)));
    STATUS_SUCCESS
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
extern "system" fn KeGetCurrentProcessorNumberEx(_: *mut c_void) -> u32 {
    PROCESSOR.get()
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
unsafe extern "system" fn MmMapLockedPagesSpecifyCache(
    mdl: *mut MDL,
    _: i8,
    _: i32,
    _: *mut c_void,
    bug_check: u32,
    _: u32,
) -> *mut c_void {
    if MAPPING_FAILS.get() {
        assert_eq!(bug_check, 0, "KernelMode and BugCheckOnFailure: a bug check");
        return std::ptr::null_mut();
    }
    // SAFETY: the caller passes an MDL of a `PacketList`, which has the address of its bytes there, and nobody else
    // looks at it meanwhile.
    let mdl = unsafe { &mut *mdl };
    mdl.MappedSystemVa = mdl.StartVa;
    mdl.MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
    mdl.MappedSystemVa
}
