//! Allocation that can fail.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::NTSTATUS;
use crate::status::STATUS_INSUFFICIENT_RESOURCES;

/// Moves `value` to memory of the global allocator: non-paged pool, in a driver.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES, with `value` dropped.
pub fn try_box<T>(value: T) -> Result<Box<T>, NTSTATUS> {
    const { assert!(size_of::<T>() != 0, "a Box of nothing needs no memory") };
    const { assert!(align_of::<T>() <= 16, "the pool aligns to 16 bytes") };
    // SAFETY: the layout's size is not 0, by the assertion above.
    let memory = unsafe { alloc::alloc::alloc(core::alloc::Layout::new::<T>()) }.cast::<T>();
    if memory.is_null() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the memory was just allocated for a `T` and nobody else knows it.
    unsafe { memory.write(value) };
    // SAFETY: `memory` came from the global allocator with the layout of `T` and holds one.
    Ok(unsafe { Box::from_raw(memory) })
}

/// At most `room` values.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES.
pub(crate) fn try_collect<T>(room: usize, values: impl Iterator<Item = T>) -> Result<Vec<T>, NTSTATUS> {
    let mut collected = Vec::new();
    collected.try_reserve_exact(room).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    let mut count = 0;
    // Written in place: a push would bring along the code, and the panic, of a vector that has to grow.
    for (place, value) in collected.spare_capacity_mut().iter_mut().take(room).zip(values) {
        place.write(value);
        count += 1;
    }
    // SAFETY: the first `count` places have been written.
    unsafe { collected.set_len(count) };
    Ok(collected)
}

/// That many zeros.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES.
#[cfg(any(test, feature = "kernel"))]
pub(crate) fn try_zeroed(length: usize) -> Result<Vec<u8>, NTSTATUS> {
    try_collect(length, core::iter::repeat_n(0, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_until_there_is_no_more_room() {
        assert_eq!(try_collect(3, 1..=9).unwrap(), [1, 2, 3]);
        assert_eq!(try_collect(9, 1..=3).unwrap(), [1, 2, 3]);
        assert_eq!(try_zeroed(4).unwrap(), [0; 4]);
    }

    #[test]
    fn what_cannot_be_allocated_is_an_error() {
        assert_eq!(try_collect(usize::MAX, [0_u16].into_iter()), Err(STATUS_INSUFFICIENT_RESOURCES));
    }

    #[test]
    fn a_boxed_value_is_dropped_once() {
        let counted = alloc::rc::Rc::new(());
        drop(try_box((counted.clone(), 1_u8)).unwrap());
        assert_eq!(alloc::rc::Rc::strong_count(&counted), 1);
    }
}
