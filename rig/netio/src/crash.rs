//! A driver that crashes: which one, where, and why, in the log, before the process with all drivers ends.

use alloc::format;
use alloc::string::String;
use core::ffi::{CStr, c_char, c_void};

use crate::bugcheck::{bug_check_at, code};
use crate::{access, drivers, irql, paging, pool, shadow};

const ACCESS_VIOLATION: u32 = 0xC000_0005;
/// EXCEPTION_WINE_STUB; its parameters are the names of an image and of the function that it does not have.
const MISSING_FUNCTION: u32 = 0x8000_0100;

#[repr(C)]
struct ExceptionRecord {
    code: u32,
    flags: u32,
    next: *const c_void,
    address: usize,
    parameter_count: u32,
    parameters: [usize; 15],
}

#[repr(C)]
struct ExceptionPointers {
    record: *const ExceptionRecord,
    context: *const c_void,
}

type Filter = unsafe extern "system" fn(*const ExceptionPointers) -> i32;

#[cfg_attr(windows, link(name = "kernel32.dll", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn SetUnhandledExceptionFilter(filter: Filter) -> Option<Filter>;
}

#[cfg_attr(windows, link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn RtlAddVectoredExceptionHandler(first: u32, handler: Filter) -> *mut c_void;
}

/// Has every unhandled exception end here, instead of in a debugger.
pub(crate) fn watch() {
    // SAFETY: `paged_in` has the right signature, and this image is never unloaded.
    unsafe { RtlAddVectoredExceptionHandler(1, paged_in) };
    // SAFETY: `unhandled` has the right signature, and this image is never unloaded.
    unsafe { SetUnhandledExceptionFilter(unhandled) };
}

/// A thread below DISPATCH_LEVEL may touch pageable memory that is inaccessible because another thread is there.
unsafe extern "system" fn paged_in(pointers: *const ExceptionPointers) -> i32 {
    const CONTINUE_SEARCH: i32 = 0;
    const CONTINUE_EXECUTION: i32 = -1;
    // SAFETY: the exception's dispatcher passes structures that are valid during the call.
    let record = unsafe { (*pointers).record };
    // SAFETY: the record is one of those structures.
    let record = unsafe { &*record };
    let address = record.parameters[1];
    let pages_in = record.code == ACCESS_VIOLATION
        && irql::current() < irql::DISPATCH_LEVEL
        && (pool::is_paged(address) || paging::is_pageable(address));
    if !pages_in {
        return CONTINUE_SEARCH;
    }
    pool::page_out(false);
    paging::page_out(false);
    CONTINUE_EXECUTION
}

/// What memory an access failed to, if there is something to say of it, and the code of its bug check.
fn explain(address: usize) -> Option<(u32, String)> {
    let section = || paging::explain(address).map(|section| (code::MUST_BE_NONPAGED, section));
    let request = || shadow::was(address).then(|| (code::FREED_POOL, "in a request that was completed".into()));
    pool::explain(address).or_else(section).or_else(request)
}

unsafe extern "system" fn unhandled(pointers: *const ExceptionPointers) -> i32 {
    // SAFETY: the exception's dispatcher passes structures that are valid during the call.
    let record = unsafe { (*pointers).record };
    // SAFETY: the record is one of those structures.
    let record = unsafe { &*record };
    let what = match (record.code, record.parameters[0]) {
        // An access to the instruction itself is the one that fetches it, which QEMU does not say for ARM64.
        (ACCESS_VIOLATION, kind @ (0 | 1)) if record.parameters[1] != record.address => {
            let what = if access::is_write(record.address, kind == 1) { "write to" } else { "read of" };
            format!("{what} address {:#x}", record.parameters[1])
        }
        (ACCESS_VIOLATION, _) => format!("jump to address {:#x}", record.parameters[1]),
        (MISSING_FUNCTION, image) if record.parameter_count == 2 => {
            // SAFETY: Wine passes two strings that end in a zero and live as long as the process.
            let image = unsafe { CStr::from_ptr(image as *const c_char) };
            // SAFETY: the second of the two.
            let function = unsafe { CStr::from_ptr(record.parameters[1] as *const c_char) };
            format!("call of {} of {}, which Wine does not have,", function.to_string_lossy(), image.to_string_lossy())
        }
        (exception, _) => format!("exception {exception:#x}"),
    };
    // Where it happened may be code that the driver called; then the driver is further up the stack.
    let (driver, address) = match drivers::containing(record.address) {
        Some(driver) => (Some(driver), record.address),
        None => drivers::calling_place().map_or((None, record.address), |(driver, site)| (Some(driver), site)),
    };
    let place = match drivers::containing(record.address).and_then(drivers::base) {
        Some(base) => format!("at offset {:#x} of the image", record.address - base),
        None => format!("at {:#x}", record.address),
    };
    let (code, memory) = match record.code {
        ACCESS_VIOLATION => explain(record.parameters[1]),
        _ => None,
    }
    .map_or((code::NOT_HANDLED, String::new()), |(code, memory)| (code, format!(" {memory},")));
    let level = irql::current();
    bug_check_at(driver, code, format_args!("{what}{memory} {place}, at IRQL {level}"), address)
}
