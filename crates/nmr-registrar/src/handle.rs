//! The three kinds of handles. A handle is a number that names a slot of a table and the generation of what lies in it:
//! it is looked up, never dereferenced, so a NULL, stale, foreign or mixed-up one is always recognised.
//!
//! | bits | 63..56 | 55..54 | 53..48 | 47..28 | 27..0 |
//! | --- | --- | --- | --- | --- | --- |
//! | | [`TAG`] | kind | shard | slot | generation |
//!
//! The tag makes the value a non-canonical address on x86-64 and ARM64: a module that dereferences a handle faults.

use core::fmt;
use core::ptr::without_provenance_mut;

use wdk_nmr_sys::HANDLE;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("handles of the registrar need 64 bits");

/// The top byte of every handle.
const TAG: u64 = 0x4E;
/// The top byte of what is written over handles that a module may not use.
const POISON_TAG: u64 = 0x50;
/// How many shards a handle can name.
pub(crate) const MAX_SHARDS: usize = 1 << 6;
/// How many slots of a shard a handle can name.
pub(crate) const MAX_SLOTS: usize = 1 << 20;
/// The generations of a slot, after which they repeat.
const GENERATIONS: u32 = 1 << 28;

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What `NmrRegisterClient` gave.
    Client = 1,
    /// What `NmrRegisterProvider` gave.
    Provider = 2,
    /// What an attach callback was called with.
    Binding = 3,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client registration handle",
            Self::Provider => "provider registration handle",
            Self::Binding => "binding handle",
        })
    }
}

/// A place in the tables and the generation of what was there when the handle was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) shard: u8,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Why a value is no handle at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHandle {
    Null,
    Poison,
    Foreign,
}

impl NoHandle {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Null => "a NULL handle",
            Self::Poison => "a handle variable that the registrar has declared meaningless",
            Self::Foreign => "a value that this registrar never gave out",
        }
    }
}

/// The generation that follows.
pub(crate) fn next_generation(generation: u32) -> u32 {
    (generation + 1) % GENERATIONS
}

pub(crate) fn encode(kind: Kind, key: Key) -> HANDLE {
    let bits = TAG << 56
        | (kind as u64) << 54
        | u64::from(key.shard) << 48
        | u64::from(key.slot) << 28
        | u64::from(key.generation);
    without_provenance_mut(bits as usize)
}

pub(crate) fn decode(handle: HANDLE) -> Result<(Kind, Key), NoHandle> {
    let bits = handle.addr() as u64;
    if bits == 0 {
        return Err(NoHandle::Null);
    }
    match bits >> 56 {
        TAG => {}
        POISON_TAG => return Err(NoHandle::Poison),
        _ => return Err(NoHandle::Foreign),
    }
    let kind = match bits >> 54 & 0b11 {
        1 => Kind::Client,
        2 => Kind::Provider,
        3 => Kind::Binding,
        _ => return Err(NoHandle::Foreign),
    };
    let key = Key {
        shard: (bits >> 48) as u8 & (MAX_SHARDS - 1) as u8,
        slot: (bits >> 28) as u32 & (MAX_SLOTS - 1) as u32,
        generation: bits as u32 & (GENERATIONS - 1),
    };
    Ok((kind, key))
}

/// What the registrar writes where a module may not read: no handle, and an address that faults.
pub(crate) fn poison<T>() -> *mut T {
    without_provenance_mut((POISON_TAG << 56 | 0x0050_4F49_534F_4E00) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_its_kind_and_place() {
        let key = Key { shard: 63, slot: (MAX_SLOTS - 1) as u32, generation: GENERATIONS - 1 };
        for kind in [Kind::Client, Kind::Provider, Kind::Binding] {
            assert_eq!(decode(encode(kind, key)), Ok((kind, key)));
        }
    }

    #[test]
    fn what_is_no_handle_is_told_apart() {
        assert_eq!(decode(core::ptr::null_mut()), Err(NoHandle::Null));
        assert_eq!(decode(poison()), Err(NoHandle::Poison));
        assert_eq!(decode(without_provenance_mut(0x7FFF_1234)), Err(NoHandle::Foreign));
        assert_eq!(decode(without_provenance_mut((TAG << 56) as usize)), Err(NoHandle::Foreign));
    }
}
