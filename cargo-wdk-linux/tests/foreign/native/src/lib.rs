//! A part of the driver that is written in C.
#![no_std]

unsafe extern "C" {
    fn NativeSum(bytes: *const u8, count: usize) -> u32;
}

/// The sum of some bytes.
pub fn sum(bytes: &[u8]) -> u32 {
    // SAFETY: pointer and count are those of a slice.
    unsafe { NativeSum(bytes.as_ptr(), bytes.len()) }
}
