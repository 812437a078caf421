//! A process in which there is a kernel: a broken rule is a bug check.

use std::ffi::{CString, c_char};

use crate::Violation;

/// DRIVER_VERIFIER_DETECTED_VIOLATION
const BUG_CHECK: u32 = 0xC4;

pub(crate) mod irql {
    /// The level of this thread.
    pub(crate) fn current() -> u8 {
        // SAFETY: at any level.
        unsafe { super::KeGetCurrentIrql() }
    }
}

#[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    fn KeGetCurrentIrql() -> u8;
    fn DbgPrint(format: *const c_char, ...) -> u32;
    fn KeBugCheckEx(code: u32, first: usize, second: usize, third: usize, fourth: usize) -> !;
}

/// Says which rule is broken, and stops all drivers.
pub(crate) fn broken(violation: &Violation) {
    let text = CString::new(violation.to_string()).unwrap_or_default();
    // SAFETY: the format takes one string, which lives for the call.
    unsafe { DbgPrint(c"%s\n".as_ptr(), text.as_ptr()) };
    // SAFETY: it does not return.
    unsafe { KeBugCheckEx(BUG_CHECK, violation.rule.into(), 0, 0, 0) }
}
