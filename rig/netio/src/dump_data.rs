//! What drivers add to a crash dump: when a driver breaks a rule, their callbacks run as on Windows, at HIGH_LEVEL and
//! one after the other, and what they write becomes a line each.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_void};
use core::fmt::Write;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::bugcheck::{bug_check, bug_check_at, code};
use crate::drivers::{self, DriverId};
use crate::lock::Lock;
use crate::{irql, log, thunk};

/// `KbCallbackSecondaryDumpData`.
const SECONDARY_DUMP_DATA: u32 = 2;
/// How much a callback may write.
const MAXIMUM: u32 = 4096;

pub(crate) type Routine = unsafe extern "system" fn(reason: u32, record: *mut c_void, data: *mut DumpData, length: u32);

/// `KBUGCHECK_SECONDARY_DUMP_DATA`
#[repr(C)]
pub(crate) struct DumpData {
    in_buffer: *mut c_void,
    in_length: u32,
    maximum: u32,
    id: [u8; 16],
    out_buffer: *const u8,
    out_length: u32,
}

#[derive(Clone)]
struct Callback {
    driver: DriverId,
    record: usize,
    routine: Routine,
    component: String,
}

static CALLBACKS: Lock<Vec<Callback>> = Lock::new(Vec::new());
static COLLECTED: AtomicBool = AtomicBool::new(false);

/// KeRegisterBugCheckReasonCallback.
pub(crate) unsafe extern "system" fn register(
    record: *mut c_void,
    routine: Routine,
    reason: u32,
    component: *const c_char,
) -> u8 {
    let driver = thunk::caller();
    if reason != SECONDARY_DUMP_DATA {
        bug_check(driver, code::VERIFIER, format_args!("a bug-check callback for reason {reason}, not known here"));
    }
    // SAFETY: the driver passes a name that ends in a zero.
    let component = unsafe { CStr::from_ptr(component) }.to_string_lossy().into_owned();
    let callback = Callback { driver, record: record as usize, routine, component };
    CALLBACKS.with(|callbacks| {
        let is_new = callbacks.iter().all(|other| other.record != callback.record);
        if is_new {
            callbacks.push(callback);
        }
        u8::from(is_new)
    })
}

/// KeDeregisterBugCheckReasonCallback.
pub(crate) extern "system" fn deregister(record: *mut c_void) -> u8 {
    CALLBACKS.with(|callbacks| {
        let before = callbacks.len();
        callbacks.retain(|callback| callback.record != record as usize);
        u8::from(callbacks.len() < before)
    })
}

/// A driver goes: on Windows, the next bug check would call into memory where it was.
pub(crate) fn check_unloaded(driver: DriverId) {
    let of_driver = |callbacks: &mut Vec<Callback>| {
        callbacks.iter().find(|callback| callback.driver == driver).map(|callback| callback.routine)
    };
    if let Some(routine) = CALLBACKS.with(of_driver) {
        // The dump is collected before the process ends: not from memory that is about to go.
        CALLBACKS.with(|callbacks| callbacks.retain(|callback| callback.driver != driver));
        let why = format_args!("unloaded with a bug-check callback registered");
        bug_check_at(Some(driver), code::PENDING_AT_UNLOAD, why, routine as *const () as usize);
    }
}

/// Calls all callbacks, once. What one of them breaks ends the machine without the others.
pub(crate) fn collect() {
    if COLLECTED.swap(true, Ordering::AcqRel) {
        return;
    }
    irql::set(irql::HIGH_LEVEL);
    for Callback { driver, record, routine, component } in CALLBACKS.with(|callbacks| callbacks.clone()) {
        let mut data = DumpData {
            in_buffer: null_mut(),
            in_length: 0,
            maximum: MAXIMUM,
            id: [0; 16],
            out_buffer: null_mut(),
            out_length: 0,
        };
        let length = size_of::<DumpData>() as u32;
        // SAFETY: the driver is loaded and has registered the routine for this record and reason.
        unsafe { routine(SECONDARY_DUMP_DATA, record as *mut c_void, &mut data, length) };
        let bytes = if data.out_buffer.is_null() {
            &[]
        } else {
            // SAFETY: the routine says that so much is there.
            unsafe { core::slice::from_raw_parts(data.out_buffer, data.out_length.min(MAXIMUM) as usize) }
        };
        let mut digits = String::new();
        for byte in bytes {
            // Writing to a String does not fail.
            let _ = write!(digits, "{byte:02x}");
        }
        let (name, id) = (drivers::name(driver), log::Guid(data.id));
        let component = log::Text(component.as_bytes());
        log::event(&name, "dump", format_args!("id={id} component={component} bytes={digits}"));
    }
}
