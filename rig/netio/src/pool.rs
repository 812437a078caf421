//! The pool, with an account for every driver.
//!
//! A block comes from ntoskrnl with a guard behind it. What a driver frees is filled with a pattern and held back for a
//! while, so that a second free is recognised for certain and a write after the free leaves a trace. When a driver has
//! been unloaded, the blocks that it still owns are its leak.
//!
//! Blocks that a driver did not get from here (ntoskrnl hands some out) go back to ntoskrnl as they are.

use alloc::collections::{BTreeMap, VecDeque};
use core::ffi::c_void;
use core::fmt;
use core::ptr::null_mut;

use crate::bugcheck::{bug_check, code};
use crate::drivers::DriverId;
use crate::lock::Lock;
use crate::{irql, log, thunk};

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn ExAllocatePoolWithTag(kind: i32, size: usize, tag: u32) -> *mut c_void;
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

const GUARD_SIZE: usize = 16;
const GUARD: u8 = 0xFD;
const FRESH: u8 = 0xCD;
const FREED: u8 = 0xDD;
/// How many freed blocks are held back.
const HELD_BACK: usize = 512;

#[derive(Clone, Copy)]
struct Block {
    owner: DriverId,
    tag: u32,
    size: usize,
}

struct Pool {
    live: BTreeMap<usize, Block>,
    /// The blocks that were freed last, and are held back.
    freed: VecDeque<(usize, Block)>,
    /// How many blocks of each driver were freed in all.
    freed_counts: BTreeMap<DriverId, usize>,
}

static POOL: Lock<Pool> =
    Lock::new(Pool { live: BTreeMap::new(), freed: VecDeque::new(), freed_counts: BTreeMap::new() });

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
    let Some(whole) = size.checked_add(GUARD_SIZE) else { return null_mut() };
    // SAFETY: any size and tag will do; the type is of ntoskrnl's own kinds.
    let block = unsafe { ExAllocatePoolWithTag(kind & PAGED_POOL, whole, tag) };
    if block.is_null() {
        return block;
    }
    // SAFETY: the block has `size + GUARD_SIZE` bytes and nobody else knows it yet.
    unsafe { block.cast::<u8>().write_bytes(fill, size) };
    // SAFETY: `size` bytes further on there are GUARD_SIZE more.
    let guard = unsafe { block.cast::<u8>().add(size) };
    // SAFETY: the guard is the block's last GUARD_SIZE bytes.
    unsafe { guard.write_bytes(GUARD, GUARD_SIZE) };
    POOL.with(|pool| pool.live.insert(block as usize, Block { owner, tag, size }));
    block
}

/// ExAllocatePool2: zeroed unless asked otherwise; NULL for flags that name no pool, or several.
pub(crate) extern "system" fn allocate_pool2(flags: u64, size: usize, tag: u32) -> *mut c_void {
    let owner = thunk::caller();
    let kind = match flags & (flag::NON_PAGED | flag::NON_PAGED_EXECUTE | flag::PAGED) {
        flag::NON_PAGED | flag::NON_PAGED_EXECUTE => NON_PAGED_POOL,
        flag::PAGED => PAGED_POOL,
        _ => return null_mut(),
    };
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
    let found = POOL.with(|pool| match pool.live.remove(&(address as usize)) {
        Some(block) => Found::Live(block),
        None => match pool.freed.iter().find(|(freed, _)| *freed == address as usize) {
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
            check(address as usize + block.size, GUARD_SIZE, GUARD, block, "written behind its end");
            // SAFETY: the block was live and has left the table, so it is this function's alone.
            unsafe { address.cast::<u8>().write_bytes(FREED, block.size) };
            hold_back(address as usize, block);
        }
        Found::Freed(block) => bug_check(
            caller,
            code::BAD_POOL_CALLER,
            format_args!("block of tag {} and {} bytes freed twice", Tag(block.tag), block.size),
        ),
        // SAFETY: not one of ours, so the driver has it from ntoskrnl, whose business it is.
        Found::Foreign => unsafe { ExFreePoolWithTag(address, tag) },
    }
}

/// Keeps a freed block for a while and lets the oldest one go.
fn hold_back(address: usize, block: Block) {
    let oldest = POOL.with(|pool| {
        *pool.freed_counts.entry(block.owner).or_default() += 1;
        pool.freed.push_back((address, block));
        if pool.freed.len() > HELD_BACK { pool.freed.pop_front() } else { None }
    });
    if let Some((address, block)) = oldest {
        check(address, block.size, FREED, block, "written after it was freed");
        // SAFETY: from ExAllocatePoolWithTag, freed by its owner, and just taken from the only list that knew it.
        unsafe { ExFreePoolWithTag(address as *mut c_void, block.tag) };
    }
}

/// Bug checks the owner of `block` unless `length` bytes from `start` on are all `expected`.
fn check(start: usize, length: usize, expected: u8, block: Block, what: &str) {
    // SAFETY: the caller names bytes of a block that has not been given back to ntoskrnl.
    let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, length) };
    if bytes.iter().any(|&byte| byte != expected) {
        let code = if expected == GUARD { code::BAD_POOL_HEADER } else { code::CORRUPTED_POOL };
        bug_check(
            block.owner,
            code,
            format_args!("block of tag {} and {} bytes was {what}", Tag(block.tag), block.size),
        );
    }
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

/// How many blocks of `owner` were freed; of all drivers together if `None`.
pub(crate) fn freed(owner: Option<DriverId>) -> usize {
    POOL.with(|pool| match owner {
        Some(owner) => pool.freed_counts.get(&owner).copied().unwrap_or(0),
        None => pool.freed_counts.values().sum(),
    })
}

/// Checks everything that a driver, unloaded by now, has left: the guards of its leaked blocks, the pattern in those
/// that it freed.
pub(crate) fn inspect(owner: DriverId) {
    let (live, freed) = POOL.with(|pool| {
        let mine = |block: &Block| block.owner == owner;
        let live: alloc::vec::Vec<_> = pool.live.iter().filter(|(_, b)| mine(b)).map(|(a, b)| (*a, *b)).collect();
        let freed: alloc::vec::Vec<_> = pool.freed.iter().filter(|(_, b)| mine(b)).copied().collect();
        (live, freed)
    });
    for (address, block) in live {
        check(address + block.size, GUARD_SIZE, GUARD, block, "written behind its end");
    }
    for (address, block) in freed {
        check(address, block.size, FREED, block, "written after it was freed");
    }
}
