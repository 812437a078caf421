//! The pool, with an account for every driver.
//!
//! It is what Driver Verifier calls special pool, for every block: a block lies on pages of its own, against their end,
//! between two pages that nothing may touch, or, if the harness wants it, against their start. What a driver frees is
//! unmapped, and its addresses are not used again for a long time, so that a second free is recognised for certain, and
//! whoever touches the block again ends there. When a driver has been unloaded, the blocks that it still owns are its
//! leak.
//!
//! Blocks that a driver did not get from here (ntoskrnl hands some out) go back to ntoskrnl as they are.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::fmt;
use core::ptr::null_mut;

use crate::bugcheck::{bug_check, code};
use crate::drivers::DriverId;
use crate::gate::{self, Call};
use crate::lock::Lock;
use crate::pages::Pages;
use crate::{irql, locks, log, sys, teb, thunk};

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn ExFreePoolWithTag(block: *mut c_void, tag: u32);
}

/// What ExAllocatePool2 takes.
mod flag {
    pub(super) const UNINITIALIZED: u64 = 0x2;
    pub(super) const RAISE_ON_FAILURE: u64 = 0x20;
    pub(super) const NON_PAGED: u64 = 0x40;
    pub(super) const NON_PAGED_EXECUTE: u64 = 0x80;
    pub(super) const PAGED: u64 = 0x100;
}
/// POOL_TYPE values whose lowest bit is set are paged.
const PAGED_POOL: i32 = 1;
const NON_PAGED_POOL: i32 = 0;
/// The tag that ExAllocatePool gives: "None".
const NO_TAG: u32 = u32::from_le_bytes(*b"None");

/// What the pages of a block are filled with around it.
const SLACK: u8 = 0xFD;
const FRESH: u8 = 0xCD;
/// How many freed blocks keep their addresses.
const HELD_BACK: usize = 4096;

const PAGE_NOACCESS: u32 = 1;
const PAGE_READWRITE: u32 = 4;

#[derive(Clone, Copy)]
struct Block {
    owner: DriverId,
    tag: u32,
    size: usize,
    paged: bool,
    pages: Pages,
    call: Option<Call>,
}

struct Pool {
    live: BTreeMap<usize, Block>,
    /// The blocks that were freed last, whose addresses are not used again.
    freed: VecDeque<(usize, Block)>,
    /// How many live blocks are paged.
    paged: usize,
    /// How many blocks of each driver were freed in all.
    freed_counts: BTreeMap<DriverId, usize>,
}

static POOL: Lock<Pool> =
    Lock::new(Pool { live: BTreeMap::new(), freed: VecDeque::new(), paged: 0, freed_counts: BTreeMap::new() });

/// A tag as people write it: its characters in memory order.
pub(crate) struct Tag(pub(crate) u32);

impl fmt::Display for Tag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        log::Text(&self.0.to_le_bytes()).fmt(out)
    }
}

/// The sum of some blocks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

fn allocate(owner: DriverId, kind: i32, size: usize, tag: u32, fill: u8) -> *mut c_void {
    if kind & PAGED_POOL != 0 && irql::current() > irql::APC_LEVEL {
        bug_check(owner, code::BAD_POOL_CALLER, format_args!("paged pool allocated at IRQL {}", irql::current()));
    }
    let Some(pages) = Pages::new(size) else { return null_mut() };
    let address = pages.place(size);
    // SAFETY: new pages that nobody else knows.
    unsafe { (pages.start as *mut u8).write_bytes(SLACK, pages.size) };
    // SAFETY: the block lies within them.
    unsafe { (address as *mut u8).write_bytes(fill, size) };
    let (paged, call) = (kind & PAGED_POOL != 0, gate::last_call(owner));
    POOL.with(|pool| {
        pool.paged += usize::from(paged);
        pool.live.insert(address, Block { owner, tag, size, paged, pages, call })
    });
    address as *mut c_void
}

/// ExAllocatePool2: zeroed unless asked otherwise; NULL for flags that name no pool, or several, and without a tag.
pub(crate) extern "system" fn allocate_pool2(flags: u64, size: usize, tag: u32) -> *mut c_void {
    let owner = thunk::caller();
    let kind = match flags & (flag::NON_PAGED | flag::NON_PAGED_EXECUTE | flag::PAGED) {
        flag::NON_PAGED | flag::NON_PAGED_EXECUTE => NON_PAGED_POOL,
        flag::PAGED => PAGED_POOL,
        _ => return null_mut(),
    };
    if tag == 0 {
        return null_mut();
    }
    let fill = if flags & flag::UNINITIALIZED == 0 { 0 } else { FRESH };
    let block = allocate(owner, kind, size, tag, fill);
    if block.is_null() && flags & flag::RAISE_ON_FAILURE != 0 {
        bug_check(owner, code::BAD_POOL_CALLER, format_args!("no memory for an allocation that may not fail"));
    }
    block
}

/// ExAllocatePoolWithTag and its kin.
pub(crate) extern "system" fn allocate_with_tag(kind: i32, size: usize, tag: u32) -> *mut c_void {
    allocate(thunk::caller(), kind, size, tag, FRESH)
}

/// ExAllocatePool and its kin.
pub(crate) extern "system" fn allocate_untagged(kind: i32, size: usize) -> *mut c_void {
    allocate(thunk::caller(), kind, size, NO_TAG, FRESH)
}

/// ExAllocatePoolZero.
pub(crate) extern "system" fn allocate_zeroed(kind: i32, size: usize, tag: u32) -> *mut c_void {
    allocate(thunk::caller(), kind, size, tag, 0)
}

/// ExAllocatePool3, whose further parameters set priority and the like.
pub(crate) extern "system" fn allocate_pool3(
    flags: u64,
    size: usize,
    tag: u32,
    _parameters: *const c_void,
    _count: u32,
) -> *mut c_void {
    allocate_pool2(flags, size, tag)
}

/// ExAllocatePoolWithTagPriority, whose priority says how hard to try.
pub(crate) extern "system" fn allocate_with_tag_priority(
    kind: i32,
    size: usize,
    tag: u32,
    _priority: i32,
) -> *mut c_void {
    allocate_with_tag(kind, size, tag)
}

/// ExFreePool.
pub(crate) extern "system" fn free(block: *mut c_void) {
    free_with_tag(block, 0);
}

/// ExFreePool2, whose further parameters are for memory of special kinds.
pub(crate) extern "system" fn free2(block: *mut c_void, tag: u32, _parameters: *const c_void, _count: u32) {
    free_with_tag(block, tag);
}

/// ExFreePoolWithTag. A tag of 0 fits every block.
pub(crate) extern "system" fn free_with_tag(address: *mut c_void, tag: u32) {
    let caller = thunk::caller();
    enum Found {
        Live(Block),
        Freed(Block),
        Foreign,
    }
    let address = address as usize;
    let found = POOL.with(|pool| match pool.live.remove(&address) {
        Some(block) => {
            pool.paged -= usize::from(block.paged);
            Found::Live(block)
        }
        None => match pool.freed.iter().rfind(|(freed, _)| *freed == address) {
            Some((_, block)) => Found::Freed(*block),
            None => Found::Foreign,
        },
    });
    match found {
        Found::Live(block) => {
            if tag != 0 && tag != block.tag {
                let (given, right) = (Tag(tag), Tag(block.tag));
                bug_check(caller, code::BAD_POOL_CALLER, format_args!("block of tag {right} freed with tag {given}"));
            }
            let level = irql::current();
            if block.paged && level > irql::APC_LEVEL {
                let tag = Tag(block.tag);
                let why = format_args!("block of tag {tag} and of paged pool freed at IRQL {level}");
                bug_check(caller, code::BAD_POOL_CALLER, why);
            }
            check(address, block);
            locks::forget(address..address + block.size);
            block.pages.unmap();
            hold_back(address, block);
        }
        Found::Freed(block) => {
            let (tag, size) = (Tag(block.tag), block.size);
            let why = format_args!("block of tag {tag} and {size} bytes freed twice");
            bug_check(caller, code::BAD_POOL_CALLER, why);
        }
        Found::Foreign => match foreign(address) {
            Some(what) => bug_check(caller, code::BAD_POOL_CALLER, format_args!("{address:#x} freed, which is {what}")),
            // SAFETY: not one of ours, so the driver has it from ntoskrnl, whose business it is.
            None => unsafe { ExFreePoolWithTag(address as *mut c_void, tag) },
        },
    }
}

/// What an address is that no block begins with, if that is known to be no block of ntoskrnl either.
fn foreign(address: usize) -> Option<&'static str> {
    if address == 0 {
        return Some("NULL");
    }
    if POOL.with(|pool| pool.live.values().any(|block| block.pages.contain(address))) {
        return Some("not the beginning of a block");
    }
    if sys::image_of(address).is_some() {
        return Some("memory of an image");
    }
    if teb::on_stack(address) {
        return Some("memory of the stack");
    }
    (!sys::readable(address, 1)).then_some("no memory")
}

/// Keeps the addresses of a freed block for a while, and gives those of the oldest one back.
fn hold_back(address: usize, block: Block) {
    let oldest = POOL.with(|pool| {
        *pool.freed_counts.entry(block.owner).or_default() += 1;
        pool.freed.push_back((address, block));
        if pool.freed.len() > HELD_BACK { pool.freed.pop_front() } else { None }
    });
    if let Some((_, block)) = oldest {
        block.pages.release();
    }
}

/// Bug checks the owner of a live block if what its pages hold around it has changed.
fn check(address: usize, block: Block) {
    let end = address + block.size;
    let around = [(block.pages.start, address, "in front of it"), (end, block.pages.end(), "behind its end")];
    for (start, end, place) in around {
        // SAFETY: a part of the pages of a live block.
        let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, end - start) };
        if bytes.iter().any(|&byte| byte != SLACK) {
            let (tag, size) = (Tag(block.tag), block.size);
            let why = format_args!("block of tag {tag} and {size} bytes was written to {place}");
            bug_check(block.owner, code::BAD_POOL_HEADER, why);
        }
    }
}

/// What an access that failed has to do with the pool: the code of its bug check, and which block it was.
pub(crate) fn explain(address: usize) -> Option<(u32, String)> {
    let text = |block: &Block, what| format!("{what} a block of tag {} and {} bytes", Tag(block.tag), block.size);
    POOL.with(|pool| {
        if let Some(block) = pool.live.values().find(|block| block.pages.contain(address)) {
            return Some(match address {
                _ if address < block.pages.start => (code::BEYOND_ALLOCATION, text(block, "in front of")),
                _ if address >= block.pages.end() => (code::BEYOND_ALLOCATION, text(block, "behind the end of")),
                _ => (code::IRQL, text(block, "in paged pool,")),
            });
        }
        let (_, block) = pool.freed.iter().rfind(|(_, block)| block.pages.contain(address))?;
        Some((code::FREED_POOL, text(block, "in") + " that was freed"))
    })
}

/// Makes paged pool inaccessible, or accessible again: a thread is at DISPATCH_LEVEL now, or none is any more.
pub(crate) fn page_out(out: bool) {
    POOL.with(|pool| {
        if pool.paged == 0 {
            return;
        }
        let protection = if out { PAGE_NOACCESS } else { PAGE_READWRITE };
        for block in pool.live.values().filter(|block| block.paged) {
            sys::protect(block.pages.start, block.pages.size, protection);
        }
    });
}

/// Whether an address is of a live block of paged pool.
pub(crate) fn is_paged(address: usize) -> bool {
    POOL.with(|pool| {
        pool.paged != 0
            && pool.live.values().any(|block| block.paged && (block.pages.start..block.pages.end()).contains(&address))
    })
}

/// What `owner` has allocated and not freed, by tag; all drivers together if `None`.
pub(crate) fn alive(owner: Option<DriverId>) -> BTreeMap<u32, Sum> {
    POOL.with(|pool| {
        let mut sums = BTreeMap::<u32, Sum>::new();
        for block in pool.live.values().filter(|block| owner.is_none_or(|owner| owner == block.owner)) {
            let sum = sums.entry(block.tag).or_default();
            sum.count += 1;
            sum.bytes += block.size;
        }
        sums
    })
}

/// By which calls a driver has allocated that: each one once.
pub(crate) fn made_by(owner: DriverId) -> Vec<(&'static str, Call)> {
    let calls: BTreeMap<usize, Call> = POOL.with(|pool| {
        let mine = pool.live.values().filter(|block| block.owner == owner);
        mine.filter_map(|block| block.call.map(|call| (call.site, call))).collect()
    });
    calls.into_values().map(|call| ("block", call)).collect()
}

/// How many blocks of `owner` were freed; of all drivers together if `None`.
pub(crate) fn freed(owner: Option<DriverId>) -> usize {
    POOL.with(|pool| match owner {
        Some(owner) => pool.freed_counts.get(&owner).copied().unwrap_or(0),
        None => pool.freed_counts.values().sum(),
    })
}

/// Checks what a driver, unloaded by now, has left: what lies around its leaked blocks.
pub(crate) fn inspect(owner: DriverId) {
    let live: Vec<_> = POOL.with(|pool| {
        let mine = pool.live.iter().filter(|(_, block)| block.owner == owner);
        mine.map(|(address, block)| (*address, *block)).collect()
    });
    for (address, block) in live {
        check(address, block);
    }
}
