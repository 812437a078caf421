//! Memory that can be refused. It comes from the global allocator, which in a driver is the non-paged pool.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;

/// What a pool aligns to. Larger alignments are made here, since allocators for drivers hand the pool's addresses on
/// whatever alignment the layout asks for.
const POOL_ALIGNMENT: usize = 16;

/// A piece of memory, which is freed by [`Memory::free`] alone.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// Allocates memory for `layout` and says where in it that lies.
    pub(crate) fn allocate(layout: Layout) -> Option<(Self, NonNull<u8>)> {
        let spare = layout.align().saturating_sub(POOL_ALIGNMENT);
        // Never empty: the global allocator must not be asked for nothing.
        let size = layout.size().checked_add(spare)?.max(1);
        let layout = Layout::from_size_align(size, layout.align().min(POOL_ALIGNMENT)).ok().zip(Some(layout));
        let (whole, wanted) = layout?;
        // SAFETY: the size is not zero.
        let base = NonNull::new(unsafe { alloc(whole) })?;
        let mask = wanted.align().wrapping_sub(1);
        let offset = base.addr().get().wrapping_neg() & mask;
        // SAFETY: an address that is aligned to POOL_ALIGNMENT is at most `spare` below one aligned as wanted.
        let place = unsafe { base.add(offset) };
        Some((Self { base, layout: whole }, place))
    }

    /// Gives the memory back.
    ///
    /// # Safety
    ///
    /// Nobody uses it any more, and it has not been freed.
    pub(crate) unsafe fn free(self) {
        // SAFETY: `base` came from `alloc` with this layout; the caller promises the rest.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_alignments_are_kept_whatever_the_allocator_does() {
        for align in [1, 8, 16, 32, 128, 4096] {
            let layout = Layout::from_size_align(40, align).unwrap();
            let (memory, place) = Memory::allocate(layout).unwrap();
            assert_eq!(place.addr().get() % align, 0);
            // SAFETY: the memory is as large as asked for.
            unsafe { place.write_bytes(1, layout.size()) };
            // SAFETY: not used any more.
            unsafe { memory.free() };
        }
    }
}
