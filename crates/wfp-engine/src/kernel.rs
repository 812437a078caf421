//! A process in which there is a kernel: a broken rule is a bug check.

use std::ffi::{CString, c_char, c_void};
use std::ptr::{NonNull, null_mut, without_provenance_mut};

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

#[link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn RtlCaptureStackBackTrace(skip: u32, count: u32, frames: *mut *mut c_void, hash: *mut u32) -> u16;
    fn RtlPcToFileHeader(address: *mut c_void, base: *mut *mut c_void) -> *mut c_void;
}

#[link(name = "kernel32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn GetModuleFileNameW(module: *mut c_void, name: *mut u16, length: u32) -> u32;
}

/// Where the image begins that has this address.
fn image_at(address: usize) -> Option<NonNull<c_void>> {
    let mut base = null_mut();
    // SAFETY: the address is only compared with those of images.
    unsafe { RtlPcToFileHeader(without_provenance_mut(address), &mut base) };
    NonNull::new(base)
}

/// The name of the file of the driver that has this address.
pub(crate) fn driver_at(address: usize) -> Option<String> {
    let image = image_at(address)?;
    let mut path = [0; 260];
    // SAFETY: an image that is loaded, and room for as many units as are said.
    let length = unsafe { GetModuleFileNameW(image.as_ptr(), path.as_mut_ptr(), path.len() as u32) };
    let path = String::from_utf16_lossy(path.get(..length as usize)?);
    let name = path.rsplit('\\').next()?;
    (name.ends_with(".sys") && name != "netio.sys").then(|| name.to_owned())
}

/// That of the driver that has called the engine: the innermost on the stack of this thread.
pub(crate) fn calling_driver() -> Option<String> {
    const DEPTH: usize = 48;
    let mut frames = [null_mut(); DEPTH];
    // SAFETY: there is room for as many frames; no hash is asked for.
    let count = unsafe { RtlCaptureStackBackTrace(0, DEPTH as u32, frames.as_mut_ptr(), null_mut()) };
    let engine = image_at(calling_driver as *const () as usize);
    let callers = frames.iter().take(count.into()).map(|frame| frame.addr());
    callers.filter(|frame| image_at(*frame) != engine).find_map(driver_at)
}

/// Says which rule is broken, and stops all drivers.
pub(crate) fn broken(violation: &Violation) {
    let text = CString::new(violation.to_string()).unwrap_or_default();
    // SAFETY: the format takes one string, which lives for the call.
    unsafe { DbgPrint(c"%s\n".as_ptr(), text.as_ptr()) };
    // SAFETY: it does not return.
    unsafe { KeBugCheckEx(BUG_CHECK, violation.rule.into(), 0, 0, 0) }
}
