//! Allocation that can fail.

use alloc::alloc::alloc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES};

/// Moves `value` to non-paged pool.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES, with `value` dropped.
pub(crate) fn try_box<T>(value: T) -> Result<Box<T>, NTSTATUS> {
    const { assert!(size_of::<T>() != 0, "a Box of nothing needs no memory") };
    const { assert!(align_of::<T>() <= 16, "wdk-alloc gives what the pool gives") };
    // SAFETY: the layout's size is not 0, by the assertion above.
    let memory = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if memory.is_null() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the memory was just allocated for a `T` and nobody else knows it.
    unsafe { memory.write(value) };
    // SAFETY: `memory` came from the global allocator with the layout of `T` and holds one.
    Ok(unsafe { Box::from_raw(memory) })
}

/// At most `room` values, in non-paged pool.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES.
pub(crate) fn try_collect<T>(room: usize, values: impl Iterator<Item = T>) -> Result<Vec<T>, NTSTATUS> {
    let mut collected = Vec::new();
    collected.try_reserve_exact(room).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    let mut count = 0;
    // Written in place: a push would bring along the code, and the panic, of a vector that has to grow.
    for (place, value) in collected.spare_capacity_mut().iter_mut().zip(values) {
        place.write(value);
        count += 1;
    }
    // SAFETY: the first `count` places have been written.
    unsafe { collected.set_len(count) };
    Ok(collected)
}

/// So many zeros, in non-paged pool.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES.
pub(crate) fn try_zeroed(length: usize) -> Result<Vec<u8>, NTSTATUS> {
    try_collect(length, core::iter::repeat_n(0, length))
}
