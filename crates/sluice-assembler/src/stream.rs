//! The first bytes of one direction of a conversation.

use sluice_core::stream::Connection;

use crate::hash::StreamId;

/// How many bytes are kept of a direction.
pub const LENGTH: usize = 4096;

/// The bytes, and a bit for each that is there.
pub(crate) const MEMORY: usize = LENGTH + LENGTH / 8;

/// What is known of a stream besides its bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    /// The sequence number of its first byte.
    pub(crate) first: u32,
    /// With what a QUIC connection began.
    pub(crate) connection: Option<Connection>,
    /// When it came, counted in streams of its group.
    pub(crate) came: u32,
    /// 0 if there is no stream.
    pub(crate) tag: u16,
    /// Its name was found, or cannot be: what still comes is compared.
    pub(crate) is_read: bool,
}

/// The memory of a stream.
pub(crate) struct Bytes<'a> {
    bytes: &'a mut [u8],
    present: &'a mut [u8],
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(memory: &'a mut [u8]) -> Option<Self> {
        let (bytes, present) = memory.split_at_mut_checked(LENGTH)?;
        Some(Self { bytes, present })
    }

    pub(crate) fn clear(&mut self) {
        self.present.fill(0);
    }

    /// Puts a byte in its place, if there is one. `false` if there is another byte already, which stays.
    pub(crate) fn put(&mut self, at: usize, byte: u8) -> bool {
        let (Some(place), Some(present)) = (self.bytes.get_mut(at), self.present.get_mut(at >> 3)) else {
            return true;
        };
        let bit = 1 << (at & 7);
        if *present & bit != 0 {
            return *place == byte;
        }
        *present |= bit;
        *place = byte;
        true
    }

    /// The bytes up to the first that is missing.
    pub(crate) fn beginning(&self) -> &[u8] {
        let whole = self.present.iter().take_while(|present| **present == u8::MAX).count();
        let more = self.present.get(whole).map_or(0, |present| present.trailing_ones() as usize);
        self.bytes.get(..whole.wrapping_mul(8).wrapping_add(more)).unwrap_or_default()
    }
}
