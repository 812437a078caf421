//! The global allocator of a driver: non-paged pool, under a tag of the driver's own.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

use wdk_sys::POOL_FLAG_NON_PAGED;
use wdk_sys::ntddk::{ExAllocatePool2, ExFreePoolWithTag};

/// What the pool aligns every allocation to (`MEMORY_ALLOCATION_ALIGNMENT` of 64-bit Windows).
const ALIGNMENT: usize = 16;

/// Non-paged pool, for `#[global_allocator]`. Up to DISPATCH_LEVEL.
///
/// What wdk-alloc does, but under a tag of each driver: that of wdk-alloc is the same for all drivers in Rust, which
/// are one row of poolmon then. Another driver's memory cannot be freed by it, which the tag shows as well.
pub struct NonPagedPool {
    tag: u32,
}

impl NonPagedPool {
    /// Allocates under a tag of four characters, which tools show as they are here.
    #[must_use]
    pub const fn with_tag(tag: [u8; 4]) -> Self {
        Self { tag: u32::from_le_bytes(tag) }
    }
}

// SAFETY: memory of the pool is the caller's until it is freed, as large as asked for and aligned to 16 bytes; more is
// refused. Nothing here can panic.
unsafe impl GlobalAlloc for NonPagedPool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGNMENT {
            return ptr::null_mut();
        }
        // SAFETY: the size is not 0, as this function demands; NULL is an answer.
        unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, layout.size() as _, self.tag) }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // ExAllocatePool2 gives zeros unless it is asked not to.
        // SAFETY: the caller keeps the rules of both functions, which are the same.
        unsafe { self.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _: Layout) {
        // SAFETY: allocated above, under this tag; the caller gives it up.
        unsafe { ExFreePoolWithTag(pointer.cast(), self.tag) };
    }
}
