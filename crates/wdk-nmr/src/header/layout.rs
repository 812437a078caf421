//! The offsets that the documentation of this module gives, asserted for every 64-bit target.

use core::mem::offset_of;

use crate::guard::{Sharded, Single};
use crate::slot::Slot;

use super::{ChunkHeader, RegistrationHeader, SlotHeader};

const _: () = {
    assert!(offset_of!(RegistrationHeader, layout_version) == 8 && offset_of!(RegistrationHeader, role) == 12);
    assert!(offset_of!(RegistrationHeader, slot_size) == 16 && offset_of!(RegistrationHeader, chunks) == 24);
    assert!(offset_of!(RegistrationHeader, handle) == 32);
    assert!(offset_of!(ChunkHeader, next) == 8 && offset_of!(ChunkHeader, capacity) == 16);
    assert!(offset_of!(ChunkHeader, slots) == 24);
    assert!(offset_of!(SlotHeader, state) == 4 && offset_of!(SlotHeader, registration) == 8);
    assert!(offset_of!(SlotHeader, handle) == 16 && offset_of!(SlotHeader, peer_context) == 24);
    assert!(offset_of!(SlotHeader, peer_dispatch) == 32 && offset_of!(SlotHeader, detach_began) == 40);
    assert!(offset_of!(SlotHeader, peer_module) == 48 && size_of::<SlotHeader>() == 72);
    assert!(offset_of!(Slot<(), Single>, guard) == 72 && offset_of!(Slot<(), Sharded<(), 2>>, guard) == 128);
};
