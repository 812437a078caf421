//! The global allocator: a heap of its own, so that nothing here shows up in the accounts of the pool.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::sys;

const HEAP_GROWABLE: u32 = 2;
/// What RtlAllocateHeap aligns to on 64-bit Windows.
const ALIGNMENT: usize = 16;

struct Heap(AtomicPtr<c_void>);

#[global_allocator]
static HEAP: Heap = Heap(AtomicPtr::new(null_mut()));

/// Makes the heap. Called once, before anything allocates; without it every allocation fails.
pub(crate) fn initialise() {
    // SAFETY: a growable heap with the loader's choice of address, size and lock.
    let heap = unsafe { sys::RtlCreateHeap(HEAP_GROWABLE, null_mut(), 0, 0, null_mut(), null_mut()) };
    HEAP.0.store(heap, Ordering::Release);
}

// SAFETY: blocks come from RtlAllocateHeap, which is thread-safe and aligns to 16; a stricter layout is refused.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let heap = self.0.load(Ordering::Acquire);
        if heap.is_null() || layout.align() > ALIGNMENT {
            return null_mut();
        }
        // SAFETY: the heap was made by `initialise`.
        unsafe { sys::RtlAllocateHeap(heap, 0, layout.size()) }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller passes a block of `alloc`, which came from this heap.
        unsafe { sys::RtlFreeHeap(self.0.load(Ordering::Acquire), 0, block.cast()) };
    }
}
