//! Allocation that can fail.

use alloc::{alloc::alloc, boxed::Box};
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
