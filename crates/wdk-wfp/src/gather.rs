//! Where the bytes of a packet are brought together.

use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use wdk_wfp_sys::KeGetCurrentProcessorNumberEx;

/// Buffers of one length, of which a classification borrows one. They are allocated once and non-paged.
///
/// A processor has a buffer that it tries first, so that processors stay out of each other's cache lines. Below
/// DISPATCH_LEVEL another thread may take its place in the middle of a classification, and an interrupt may bring a
/// packet of its own: then a buffer that is free is taken.
pub struct GatherBuffers {
    slots: Vec<Slot>,
    length: usize,
}

/// On cache lines of its own.
#[repr(align(128))]
struct Slot {
    is_taken: AtomicBool,
    memory: UnsafeCell<Vec<u8>>,
}

// SAFETY: `memory` is used by whoever has set `is_taken`, one at a time.
unsafe impl Sync for Slot {}

impl GatherBuffers {
    /// `count` buffers of `length` bytes each. Two for each processor are enough for as many packets as can be in a
    /// classification at a time, if hardly any thread is preempted in one. `None` if there is no memory.
    #[must_use]
    pub fn new(count: usize, length: usize) -> Option<Self> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).ok()?;
        for _ in 0..count {
            let mut memory = Vec::new();
            memory.try_reserve_exact(length).ok()?;
            memory.resize(length, 0);
            slots.push(Slot { is_taken: AtomicBool::new(false), memory: UnsafeCell::new(memory) });
        }
        Some(Self { slots, length })
    }

    /// How long each buffer is, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Borrows a buffer. `None` while all are borrowed: the caller does without, and has packets that do not lie
    /// together truncated to nothing rather than wait.
    #[must_use]
    pub fn take(&self) -> Option<GatherBuffer<'_>> {
        // SAFETY: the parameter may be NULL, and the function may be called at any level.
        let processor = unsafe { KeGetCurrentProcessorNumberEx(ptr::null_mut()) } as usize;
        let first = processor.checked_rem(self.slots.len())?;
        let (before, from_first) = self.slots.split_at_checked(first)?;
        let slot = from_first.iter().chain(before).find(|slot| !slot.is_taken.swap(true, Ordering::Acquire))?;
        Some(GatherBuffer { slot })
    }
}

/// A buffer, given back when this is dropped.
pub struct GatherBuffer<'a> {
    slot: &'a Slot,
}

impl Deref for GatherBuffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: this value has set `is_taken`, so nobody else uses the memory.
        unsafe { &*self.slot.memory.get() }
    }
}

impl DerefMut for GatherBuffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `self` is borrowed alone.
        unsafe { &mut *self.slot.memory.get() }
    }
}

impl Drop for GatherBuffer<'_> {
    fn drop(&mut self) {
        self.slot.is_taken.store(false, Ordering::Release);
    }
}
