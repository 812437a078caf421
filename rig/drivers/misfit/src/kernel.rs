//! The misfit as a driver that breaks one rule of the kernel's functions: the one that its service is named after.
//!
//! Each breaks a rule at one call, which the rig has to name. What goes unnoticed lets the driver start.

use core::ffi::c_void;
use core::hint::black_box;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::wdm::{self, NtStatus, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};

const TAG: u32 = u32::from_le_bytes(*b"Kern");

/// Breaks the rule that the service is named after; `None` if it is named after none.
pub(crate) fn start(is: impl Fn(&str) -> bool) -> Option<NtStatus> {
    if is("region-left") {
        wdm::leave_region();
    } else if is("pool-slack") {
        // A block of 20 bytes has 12 more to the end of its page.
        poke(wdm::allocate(20, TAG), 20, |block| wdm::free(block, TAG));
    } else if is("pool-before") {
        poke(wdm::allocate(32, TAG), -1, |block| wdm::free(block, TAG));
    } else if is("pool-guard") {
        poke(wdm::allocate(5000, TAG), -1, |_| {});
    } else if is("pool-freed") {
        let block = wdm::allocate(32, TAG);
        wdm::free(block, TAG);
        poke(block, 0, |_| {});
    } else if is("pool-tag") {
        wdm::free(wdm::allocate(32, TAG), u32::from_le_bytes(*b"Gnat"));
    } else if is("pool-inside") {
        wdm::free(wdm::allocate(32, TAG).wrapping_add(16), TAG);
    } else if is("pool-image") {
        static NO_BLOCK: [u64; 4] = [1; 4];
        wdm::free(NO_BLOCK.as_ptr().cast::<u8>().cast_mut(), TAG);
    } else if is("pool-stack") {
        let mut no_block = [1_u64; 4];
        wdm::free(no_block.as_mut_ptr().cast(), TAG);
    } else if is("pool-null") {
        wdm::free(null_mut(), TAG);
    } else if is("pool-nowhere") {
        wdm::free(core::ptr::without_provenance_mut(0x1010), TAG);
    } else if is("pool-allocated") {
        wdm::raise_to_dispatch_level();
        wdm::allocate_paged(32, TAG);
    } else if is("pool-raise") {
        wdm::allocate_or_raise(1 << 47, TAG);
    } else if is("pool-untagged") {
        poke(wdm::allocate(32, 0), 0, |_| {});
    } else if is("pool-leaked") {
        poke(wdm::allocate(20, TAG), 20, |_| {});
    } else if is("pool-level") {
        let block = wdm::allocate_paged(32, TAG);
        wdm::raise_to_dispatch_level();
        wdm::free(block, TAG);
    } else if is("pool-paged") {
        let block = wdm::allocate_paged(32, TAG);
        wdm::raise_to_dispatch_level();
        poke(block, 0, |_| {});
    } else if is("pool-under") {
        poke(wdm::allocate(32, TAG), -1, |_| {});
    } else if is("page-code") {
        wdm::raise_to_dispatch_level();
        pageable();
    } else if is("page-data") {
        wdm::raise_to_dispatch_level();
        touch_pageable();
    } else if is("page-locked") {
        wdm::lock_section(&PAGEABLE);
        wdm::at_dispatch_level(touch_pageable);
    } else if is("page-unlocked") {
        wdm::unlock_section(wdm::lock_section(&PAGEABLE));
        wdm::at_dispatch_level(touch_pageable);
    } else if is("print-nowhere") {
        wdm::print_nowhere();
    } else if is("deep") {
        black_box(frame());
    } else if is("thread-left") {
        wdm::close(wdm::spawn(sleep_for_ever));
    } else if is("delay-race") {
        race();
    } else if is("isolation-value") {
        wdm::write_service_value(&[0x41, 0]);
    } else if is("isolation-delete") {
        wdm::delete_file("\\SystemRoot\\misfit.txt");
    } else if is("isolation-key") {
        wdm::open_key("\\Registry\\Machine\\System\\CurrentControlSet\\Services\\isolation-key\\Parameters");
    } else if is("isolation-file") {
        wdm::create_file("\\SystemRoot\\misfit.txt");
    } else if is("isolation-process") {
        wdm::create_file("\\??\\C:\\misfit.txt");
    } else if is("handle-twice") {
        let directory = wdm::open_folder("\\SystemRoot\\system32");
        wdm::close(directory);
        wdm::close(directory);
    } else if is("handle-left") {
        wdm::open_folder("\\SystemRoot\\system32");
    } else if is("low-leak") {
        return Some(allocate_two());
    } else if is("low-unchecked") {
        poke(wdm::allocate(32, TAG), 0, |block| wdm::free(block, TAG));
    } else if is("low-open") {
        let folder = wdm::open_folder("\\SystemRoot\\system32");
        if !folder.is_null() {
            wdm::close(folder);
        }
    } else {
        return None;
    }
    Some(STATUS_SUCCESS)
}

/// Code that may be paged out, and so may not be called at DISPATCH_LEVEL.
#[unsafe(link_section = "PAGE")]
#[inline(never)]
fn pageable() {
    black_box(());
}

/// Data that may be paged out.
#[unsafe(link_section = "PAGEDATA")]
#[used]
static PAGEABLE: AtomicU32 = AtomicU32::new(0);

fn touch_pageable() {
    // SAFETY: one thread alone does so.
    unsafe { *PAGEABLE.as_ptr() = 1 };
}

/// Has a frame that no kernel stack has room for many times.
#[inline(never)]
fn frame() -> u8 {
    let bytes = black_box([7_u8; 6000]);
    bytes[black_box(5999)]
}

extern "system" fn sleep_for_ever(_: *mut c_void) {
    wdm::sleep_for_ever();
}

/// What two threads free, and whether one has.
static BLOCK: AtomicPtr<u8> = AtomicPtr::new(null_mut());
static FREED: AtomicU32 = AtomicU32::new(0);

/// Lets two threads free a block, one after the other.
fn race() {
    BLOCK.store(wdm::allocate(64, TAG), Ordering::Relaxed);
    let other = wdm::spawn(free_once);
    wdm::sleep(2);
    free_once(null_mut());
    wdm::join(other);
}

/// Frees the block, unless that was done. The look and the note are two steps: a thread that is delayed between them
/// lets the other do the same.
extern "system" fn free_once(_: *mut c_void) {
    if FREED.load(Ordering::Acquire) == 0 {
        wdm::irql();
        FREED.store(1, Ordering::Release);
        wdm::free(BLOCK.load(Ordering::Relaxed), TAG);
    }
}

/// Writes a byte so far from the beginning of a block, and does something with the block.
fn poke(block: *mut u8, offset: isize, then: impl FnOnce(*mut u8)) {
    // SAFETY: broken on purpose: the block does not have that byte, or not at this level.
    unsafe { *block.wrapping_offset(offset) = 0 };
    then(block);
}

/// Forgets the first block when there is no memory for a second.
fn allocate_two() -> NtStatus {
    let first = wdm::allocate(64, TAG);
    if first.is_null() {
        return STATUS_UNSUCCESSFUL;
    }
    let second = wdm::allocate(64, TAG);
    if second.is_null() {
        return STATUS_UNSUCCESSFUL;
    }
    wdm::free(first, TAG);
    wdm::free(second, TAG);
    STATUS_SUCCESS
}
