//! Memory that a classification borrows.

use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::iter;
use core::ops::{Deref, DerefMut};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use wdk_wfp_sys::KeGetCurrentProcessorNumberEx;

/// Values of which a classification borrows one: what it needs memory for. They are allocated once and non-paged.
///
/// A processor has a value that it tries first, so that processors stay out of each other's cache lines. Below
/// DISPATCH_LEVEL another thread may take its place in the middle of a classification, and an interrupt may bring a
/// packet of its own: then a value that is free is taken.
pub struct Scratch<T> {
    slots: Vec<Slot<T>>,
}

/// Where the bytes of a packet are brought together: buffers of one length.
pub type GatherBuffers = Scratch<Vec<u8>>;

/// A buffer of [`GatherBuffers`].
pub type GatherBuffer<'a> = Borrowed<'a, Vec<u8>>;

/// So far from the next one that they share no cache line. Not by an alignment: the pool's allocator gives 16 bytes.
struct Slot<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
    _apart: [u8; 128],
}

// SAFETY: `value` is used by whoever has set `is_taken`, one at a time.
unsafe impl<T: Send> Sync for Slot<T> {}

impl GatherBuffers {
    /// `count` buffers of `length` bytes each. Two for each processor are enough for as many packets as can be in a
    /// classification at a time, if hardly any thread is preempted in one. `None` if there is no memory.
    #[must_use]
    pub fn new(count: usize, length: usize) -> Option<Self> {
        Self::of(count, || buffer(length))
    }
}

/// That many zeros. `None` if there is no memory.
fn buffer(length: usize) -> Option<Vec<u8>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(length).ok()?;
    // Not by `resize`, which would bring along the code, and the panic, of a vector that has to grow.
    memory.extend(iter::repeat_n(0, length));
    Some(memory)
}

impl<T> Scratch<T> {
    /// `count` values, each made by `make`. `None` if there is no memory, `make` says so, or `count` is 0, with which
    /// no classification would ever get one.
    #[must_use]
    pub fn of(count: usize, mut make: impl FnMut() -> Option<T>) -> Option<Self> {
        if count == 0 {
            return None;
        }
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).ok()?;
        for made in 0..count {
            let slot = Slot { is_taken: AtomicBool::new(false), value: UnsafeCell::new(make()?), _apart: [0; 128] };
            // Not by `push`, for the same reason as in `buffer`.
            slots.spare_capacity_mut().first_mut()?.write(slot);
            // SAFETY: the first `made` slots were written before, and this one has been.
            unsafe { slots.set_len(made.saturating_add(1)) };
        }
        Some(Self { slots })
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Borrows a value. `None` while all are borrowed: the caller does without rather than wait.
    #[must_use]
    pub fn take(&self) -> Option<Borrowed<'_, T>> {
        // SAFETY: the parameter may be NULL, and the function may be called at any level.
        let processor = unsafe { KeGetCurrentProcessorNumberEx(ptr::null_mut()) } as usize;
        let count = self.slots.len();
        // There are as many as processors, mostly, and a division costs more than the rest of this.
        let first = if processor < count { processor } else { processor.checked_rem(count)? };
        let (before, from_first) = self.slots.split_at_checked(first)?;
        let mut slots = (first..).zip(from_first).chain((0..).zip(before));
        let (index, slot) = slots.find(|(_, slot)| !slot.is_taken.swap(true, Ordering::Acquire))?;
        Some(Borrowed { slot, index })
    }
}

/// A value of [`Scratch`], given back when this is dropped.
pub struct Borrowed<'a, T> {
    slot: &'a Slot<T>,
    index: usize,
}

impl<T> Borrowed<'_, T> {
    /// Which one it is, from 0: nobody else has the same at the same time.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }
}

impl<T> Deref for Borrowed<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this value has set `is_taken`, so nobody else uses the value.
        unsafe { &*self.slot.value.get() }
    }
}

impl<T> DerefMut for Borrowed<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and `self` is borrowed alone.
        unsafe { &mut *self.slot.value.get() }
    }
}

impl<T> Drop for Borrowed<'_, T> {
    fn drop(&mut self) {
        self.slot.is_taken.store(false, Ordering::Release);
    }
}
