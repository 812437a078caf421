//! The global allocator of a driver.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

use wdk_sys::POOL_FLAG_NON_PAGED;
use wdk_sys::ntddk::{ExAllocatePool2, ExFreePoolWithTag};

/// What the pool aligns to on 64-bit systems.
const ALIGNMENT: usize = 16;

/// Non-paged pool under a tag of the driver's own, so that tools which count by tag (poolmon, Driver Verifier,
/// `!poolused`) tell the drivers of a machine apart. The allocator of wdk-alloc gives all drivers in Rust one tag.
pub struct NonPagedPool {
    tag: u32,
}

impl NonPagedPool {
    /// Pool whose tag is shown as these four characters.
    #[must_use]
    pub const fn tagged(tag: &[u8; 4]) -> Self {
        Self { tag: u32::from_le_bytes(*tag) }
    }
}

// SAFETY: the pool gives memory of the size that is asked for, aligned to 16 bytes, to anybody at up to DISPATCH_LEVEL;
// layouts that it cannot serve get none. It neither unwinds nor calls back.
unsafe impl GlobalAlloc for NonPagedPool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGNMENT {
            return ptr::null_mut();
        }
        // SAFETY: at up to DISPATCH_LEVEL, like all code of the drivers; the size is not 0, as the caller promises.
        unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, layout.size() as _, self.tag) }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises. ExAllocatePool2 fills what it gives with zeros.
        unsafe { self.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, _layout: Layout) {
        // SAFETY: from `alloc`, so from this pool with this tag, and not used any more, as the caller promises.
        unsafe { ExFreePoolWithTag(memory.cast(), self.tag) };
    }
}
