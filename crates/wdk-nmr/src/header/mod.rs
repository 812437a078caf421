//! What a debugger finds in the memory of a registration.
//!
//! All of these structures are `repr(C)` and start with a magic number, so that `db` shows where one begins. The chain
//! is: [`RegistrationHeader`], which the context that NMR holds for the registration points to; its `chunks`, a list of
//! [`ChunkHeader`]s; in each of them `capacity` slots of `slot_size` bytes from `slots` on, each of which starts with a
//! [`SlotHeader`] and is what NMR holds as a binding context.
//!
//! Offsets in bytes, on 64-bit targets:
//!
//! | registration | | chunk | | slot | |
//! | --- | --- | --- | --- | --- | --- |
//! | 0 | magic | 0 | magic | 0 | magic (4 bytes) |
//! | 8 | layout version (4 bytes) | 8 | next chunk | 4 | state (4 bytes), one of [`slot_state`] |
//! | 12 | role (4 bytes) | 16 | capacity | 8 | registration |
//! | 16 | slot size | 24 | first slot | 16 | binding handle |
//! | 24 | first chunk | | | 24 | context of the peer |
//! | 32 | registration handle | | | 32 | dispatch table of the peer |
//! | | | | | 40 | when the detach began |
//! | | | | | 48 | module id of the peer (24 bytes) |
//! | | | | | 72 | the guard |
//!
//! The guard of one word holds twice the number of calls in progress, plus the highest bit while calls may start, plus
//! 1 when the binding is closing and all calls have ended. A sharded guard is at offset 128: a count of what has calls
//! in progress, then from 256 on such a word every 128 bytes. In a per-processor guard three more words follow each of
//! them: calls started on the processor at DISPATCH_LEVEL, those of them that have ended, and 0 for closed, 1 for open
//! or 2 for draining.
//!
//! A slot in state *draining* has calls of this module in progress: the module itself holds up the unload. One in state
//! *detached* waits for the peer.

// Not in the models of `tests/loom.rs`, which compile this file with atomics of other sizes.
#[cfg(all(target_pointer_width = "64", not(test)))]
mod layout;

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64};

use wdk_nmr_sys::HANDLE;

use crate::sync::{AtomicU32, Ordering, UnsafeCell};

/// The version of the structures in this module.
pub const LAYOUT_VERSION: u32 = 1;
/// `WdkNmrRg` in memory.
pub const REGISTRATION_MAGIC: u64 = u64::from_le_bytes(*b"WdkNmrRg");
/// `WdkNmrCh` in memory.
pub const CHUNK_MAGIC: u64 = u64::from_le_bytes(*b"WdkNmrCh");
/// `Slot` in memory.
pub const SLOT_MAGIC: u32 = u32::from_le_bytes(*b"Slot");

/// [`RegistrationHeader::role`] of a provider.
pub const ROLE_PROVIDER: u32 = 1;
/// [`RegistrationHeader::role`] of a client.
pub const ROLE_CLIENT: u32 = 2;

/// The start of the one block of memory that a registration owns.
#[repr(C)]
pub struct RegistrationHeader {
    /// [`REGISTRATION_MAGIC`].
    pub magic: u64,
    /// [`LAYOUT_VERSION`].
    pub layout_version: u32,
    /// [`ROLE_PROVIDER`] or [`ROLE_CLIENT`].
    pub role: u32,
    /// How many bytes a slot has.
    pub slot_size: u64,
    /// The first [`ChunkHeader`], or NULL.
    pub chunks: AtomicPtr<ChunkHeader>,
    /// The registration handle, once NMR has said what it is.
    pub handle: AtomicPtr<c_void>,
    /// The Complete function of this side.
    pub(crate) complete: unsafe extern "system" fn(HANDLE),
    /// What time it is.
    pub(crate) clock: Option<fn() -> u64>,
    /// Whether one peer at a time is enough.
    pub(crate) one_peer: bool,
    /// Whether that one is there. Used if `one_peer`.
    pub(crate) taken: AtomicU32,
}

impl RegistrationHeader {
    pub(crate) fn new(
        role: u32,
        slot_size: usize,
        complete: unsafe extern "system" fn(HANDLE),
        clock: Option<fn() -> u64>,
        one_peer: bool,
    ) -> Self {
        Self {
            magic: REGISTRATION_MAGIC,
            layout_version: LAYOUT_VERSION,
            role,
            slot_size: slot_size as u64,
            chunks: AtomicPtr::new(ptr::null_mut()),
            handle: AtomicPtr::new(ptr::null_mut()),
            complete,
            clock,
            one_peer,
            taken: AtomicU32::new(0),
        }
    }

    /// Takes the place of a peer if there is one.
    pub(crate) fn take_place(&self) -> bool {
        !self.one_peer || self.taken.swap(1, Ordering::Relaxed) == 0
    }

    /// Gives back what `take_place` took.
    pub(crate) fn free_place(&self) {
        if self.one_peer {
            self.taken.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.map_or(0, |clock| clock())
    }
}

/// A number of slots that were allocated together.
#[repr(C)]
pub struct ChunkHeader {
    /// [`CHUNK_MAGIC`].
    pub magic: u64,
    /// The next one, or NULL.
    pub next: AtomicPtr<ChunkHeader>,
    /// How many slots there are.
    pub capacity: usize,
    /// The first slot.
    pub slots: *mut c_void,
}

/// The values of the state of a [`SlotHeader`], which lies behind its magic number.
pub mod slot_state {
    /// No binding.
    pub const FREE: u32 = 0;
    /// An attach callback is running.
    pub const ATTACHING: u32 = 1;
    /// Attached; calls may start.
    pub const ATTACHED: u32 = 2;
    /// Attached, but the peer's dispatch table is not what the interface says, so it is not called.
    pub const UNUSABLE: u32 = 3;
    /// The detach callback was called. Calls into the peer are in progress, or the callback still runs.
    pub const DRAINING: u32 = 4;
    /// This module has detached. The peer may not have.
    pub const DETACHED: u32 = 5;
}

/// The start of a slot: what the library knows about one binding. The fields are of the binding that is in the slot, or
/// of the last one if the state is *free*.
#[repr(C)]
pub struct SlotHeader {
    /// [`SLOT_MAGIC`].
    pub magic: u32,
    /// One of [`slot_state`].
    pub(crate) state: AtomicU32,
    /// The registration.
    pub registration: *const RegistrationHeader,
    /// The binding handle.
    pub(crate) handle: UnsafeCell<HANDLE>,
    /// What the peer wants back with every call.
    pub(crate) peer_context: UnsafeCell<*mut c_void>,
    /// The peer's dispatch table.
    pub(crate) peer_dispatch: UnsafeCell<*const c_void>,
    /// When the detach callback was called, by the clock of the module.
    pub detach_began: AtomicU64,
    /// The module id of the peer: type (0 if it has none), then the bytes of the identifier.
    pub peer_module: [AtomicU64; 3],
}

impl SlotHeader {
    pub(crate) fn new(registration: *const RegistrationHeader) -> Self {
        Self {
            magic: SLOT_MAGIC,
            state: AtomicU32::new(slot_state::FREE),
            registration,
            handle: UnsafeCell::new(ptr::null_mut()),
            peer_context: UnsafeCell::new(ptr::null_mut()),
            peer_dispatch: UnsafeCell::new(ptr::null()),
            detach_began: AtomicU64::new(0),
            peer_module: [const { AtomicU64::new(0) }; 3],
        }
    }
}
