//! Counted strings of the kernel.

use wdk_sys::UNICODE_STRING;

/// A name of at most 32,767 units in the form that the kernel takes. It points into `units`.
pub(crate) fn unicode_string(units: &[u16]) -> UNICODE_STRING {
    let bytes = size_of_val(units) as u16;
    UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: units.as_ptr().cast_mut() }
}

/// The UTF-16 units of a string that the kernel made.
///
/// # Safety
///
/// `string` describes memory that holds what it says, and goes on to while the result is used.
#[must_use]
pub unsafe fn units_of(string: &UNICODE_STRING) -> &[u16] {
    if string.Buffer.is_null() {
        return &[];
    }
    let count = usize::from(string.Length) / size_of::<u16>();
    // SAFETY: the caller vouches for the memory; the kernel aligns its strings.
    unsafe { core::slice::from_raw_parts(string.Buffer, count) }
}
