//! Memory that is watched: pages of its own for every block, between two that nothing may touch.

use core::ffi::c_void;
use core::ptr::null_mut;

use crate::control::{self, Word};
use crate::sys;

const PAGE: usize = 0x1000;
/// Blocks of less than a page are aligned to that, as on Windows; others begin with a page.
const ALIGNMENT: usize = 16;

const MEM_COMMIT: u32 = 0x1000;
const MEM_RESERVE: u32 = 0x2000;
const MEM_DECOMMIT: u32 = 0x4000;
const MEM_RELEASE: u32 = 0x8000;
const PAGE_NOACCESS: u32 = 1;
const PAGE_READWRITE: u32 = 4;

/// The pages of a block, with one before and one behind them that are reserved alone.
#[derive(Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) start: usize,
    pub(crate) size: usize,
}

impl Pages {
    /// Makes them, readable and writable. None when there is no memory.
    pub(crate) fn new(size: usize) -> Option<Self> {
        let size = size.max(1).checked_next_multiple_of(PAGE)?;
        let mut base = null_mut();
        let mut reserved = size.checked_add(2 * PAGE)?;
        // SAFETY: a new region; both pointers are to locals.
        let status = unsafe {
            sys::NtAllocateVirtualMemory(sys::THIS_PROCESS, &mut base, 0, &mut reserved, MEM_RESERVE, PAGE_NOACCESS)
        };
        // Of a region that is larger than the address space, Wine says that it succeeds.
        if status < 0 || base.is_null() {
            return None;
        }
        let pages = Self { start: base as usize + PAGE, size };
        let (mut start, mut committed) = (pages.start as *mut c_void, size);
        // SAFETY: within the region, which nobody else knows; both pointers are to locals.
        let status = unsafe {
            sys::NtAllocateVirtualMemory(sys::THIS_PROCESS, &mut start, 0, &mut committed, MEM_COMMIT, PAGE_READWRITE)
        };
        if status < 0 {
            pages.release();
            return None;
        }
        Some(pages)
    }

    /// Where a block of `size` bytes lies: against the end, but for what its alignment takes, unless the harness wants
    /// the start.
    pub(crate) fn place(self, size: usize) -> usize {
        match size {
            PAGE.. => self.start,
            _ if control::value(Word::PoolAtStart) != 0 => self.start,
            _ => self.start + self.size - size.next_multiple_of(ALIGNMENT),
        }
    }

    pub(crate) fn end(self) -> usize {
        self.start + self.size
    }

    /// Whether an address is of these pages or of one of the two around them.
    pub(crate) fn contain(self, address: usize) -> bool {
        (self.start - PAGE..self.end() + PAGE).contains(&address)
    }

    /// Unmaps them; their addresses stay taken.
    pub(crate) fn unmap(self) {
        let (mut start, mut size) = (self.start as *mut c_void, self.size);
        // SAFETY: pages of a block that has been freed.
        unsafe { sys::NtFreeVirtualMemory(sys::THIS_PROCESS, &mut start, &mut size, MEM_DECOMMIT) };
    }

    /// Gives the addresses back.
    pub(crate) fn release(self) {
        let (mut base, mut size) = ((self.start - PAGE) as *mut c_void, 0);
        // SAFETY: the region of `new`, of whose block nothing is left.
        unsafe { sys::NtFreeVirtualMemory(sys::THIS_PROCESS, &mut base, &mut size, MEM_RELEASE) };
    }
}
