//! Pageable sections of images: those whose names begin with `PAGE`.
//!
//! They are inaccessible while a thread is at DISPATCH_LEVEL or above, unless the driver has locked them
//! (<https://learn.microsoft.com/windows-hardware/drivers/kernel/making-drivers-pageable>).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_void;

use crate::drivers::DriverId;
use crate::lock::Lock;
use crate::pe::Image;
use crate::{drivers, irql, sys, thunk};

const PAGE_NOACCESS: u32 = 1;
const PREFIX: &[u8] = b"PAGE";

struct Section {
    driver: DriverId,
    name: [u8; 8],
    start: usize,
    size: usize,
    /// How often the driver has locked it into memory.
    locked: u32,
    /// The protection that it had before it became inaccessible.
    paged_out: Option<u32>,
}

impl Section {
    fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.start) < self.size
    }

    fn page_out(&mut self) {
        if self.locked == 0 && self.paged_out.is_none() {
            self.paged_out = Some(sys::protect(self.start, self.size, PAGE_NOACCESS));
        }
    }

    fn page_in(&mut self) {
        if let Some(protection) = self.paged_out.take() {
            sys::protect(self.start, self.size, protection);
        }
    }
}

static SECTIONS: Lock<Vec<Section>> = Lock::new(Vec::new());

/// Notes the pageable sections of an image.
pub(crate) fn add(driver: DriverId, image: Image) {
    for (name, start, size) in image.sections().filter(|(name, ..)| name.starts_with(PREFIX)) {
        let section = Section { driver, name, start, size, locked: 0, paged_out: None };
        SECTIONS.with(|all| all.push(section));
    }
}

/// Forgets those of an image that is gone.
pub(crate) fn remove(driver: DriverId) {
    SECTIONS.with(|all| all.retain(|section| section.driver != driver));
}

/// Makes them inaccessible, or accessible again: a thread is at DISPATCH_LEVEL now, or none is any more.
pub(crate) fn page_out(out: bool) {
    SECTIONS.with(|all| all.iter_mut().for_each(if out { Section::page_out } else { Section::page_in }));
}

/// Whether an address is of a pageable section.
pub(crate) fn is_pageable(address: usize) -> bool {
    SECTIONS.with(|all| all.iter().any(|section| section.contains(address)))
}

/// Which section an access that failed was to, if it was to one.
pub(crate) fn explain(address: usize) -> Option<String> {
    let (driver, name) = SECTIONS.with(|all| {
        let section = all.iter().find(|section| section.contains(address) && section.paged_out.is_some())?;
        Some((section.driver, section.name))
    })?;
    let name = String::from_utf8_lossy(&name);
    Some(format!("in the pageable section {} of {}.sys", name.trim_end_matches('\0'), drivers::name(driver)))
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn MmMapLockedPagesSpecifyCache(
        mdl: *mut c_void,
        mode: i8,
        cache: i32,
        address: *mut c_void,
        bug_check: u32,
        priority: u32,
    ) -> *mut c_void;
}

/// An MDL, without the pages behind it.
#[repr(C)]
struct Mdl {
    next: *mut c_void,
    size: i16,
    flags: i16,
    process: *mut c_void,
    mapped: *mut c_void,
    start: *mut c_void,
    count: u32,
    offset: u32,
}

/// MDL_MAPPED_TO_SYSTEM_VA and MDL_SOURCE_IS_NONPAGED_POOL: `mapped` is valid. The first is set by a mapping.
const MAPPED: i16 = 1;
const NONPAGED: i16 = 4;

/// MmMapLockedPagesSpecifyCache. Wine maps for no driver; here its memory is where the MDL says already.
pub(crate) unsafe extern "system" fn map(
    mdl: *mut c_void,
    mode: i8,
    cache: i32,
    address: *mut c_void,
    bug_check: u32,
    priority: u32,
) -> *mut c_void {
    const KERNEL_MODE: i8 = 0;
    if mode == KERNEL_MODE {
        let place: *mut Mdl = mdl.cast();
        // SAFETY: the driver passes an MDL, which nobody else changes meanwhile.
        let mdl = unsafe { &mut *place };
        if mdl.flags & (MAPPED | NONPAGED) == 0 {
            mdl.mapped = mdl.start.wrapping_byte_add(mdl.offset as usize);
            mdl.flags |= MAPPED;
        }
        return mdl.mapped;
    }
    irql::up_to(irql::APC_LEVEL, "UserMode", thunk::caller());
    // SAFETY: the driver's own arguments.
    unsafe { MmMapLockedPagesSpecifyCache(mdl, mode, cache, address, bug_check, priority) }
}

/// MmLockPagableDataSection: the section is there from now on. The handle is the address.
pub(crate) extern "system" fn lock(address: *const c_void) -> *const c_void {
    lock_by_handle(address);
    address
}

/// MmLockPagableSectionByHandle.
pub(crate) extern "system" fn lock_by_handle(section: *const c_void) {
    change(section, |section| {
        section.locked += 1;
        section.page_in();
    });
}

/// MmUnlockPagableImageSection.
pub(crate) extern "system" fn unlock(section: *const c_void) {
    change(section, |section| section.locked = section.locked.saturating_sub(1));
}

fn change(address: *const c_void, work: impl FnMut(&mut Section)) {
    SECTIONS.with(|all| all.iter_mut().filter(|section| section.contains(address as usize)).for_each(work));
}
