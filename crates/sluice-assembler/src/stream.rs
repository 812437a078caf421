//! The first bytes of one direction of a conversation.

use sluice_core::stream::Connection;

use crate::hash::StreamId;

/// How many bytes are kept of a direction.
pub const LENGTH: usize = 4096;

/// The bytes, and a bit for each that is there.
pub(crate) const MEMORY: usize = LENGTH + LENGTH / 8;

/// For how long a stream that packets were said to be kept of keeps its place, in milliseconds from the last of them.
///
/// Servers give up on a client that has not sent the rest of its hello or request after about as long.
pub const KEPT_MS: u64 = 60_000;

/// How far the reading of a stream has come.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Its beginning has not come.
    #[default]
    Opened,
    /// It begins a conversation that names a host; the name is to come.
    Pending,
    /// Its name was found, or cannot be, in the bytes up to here. Who sends these again sends the same name.
    Read(u16),
}

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
    /// When its last packet came, in milliseconds.
    pub(crate) seen: u64,
    /// 0 if there is no stream.
    pub(crate) tag: u16,
    pub(crate) progress: Progress,
    /// No part of it can have passed unseen: whatever completes its name will be judged by it.
    pub(crate) is_gapless: bool,
}

impl Stream {
    /// Whether none may take its place at the time `now`: packets of it were let go by because the name is to be judged
    /// later, or may be sent again because they were blocked by it.
    pub(crate) fn is_kept(&self, now: u64) -> bool {
        self.is_gapless && self.progress != Progress::Opened && now.saturating_sub(self.seen) <= KEPT_MS
    }

    /// Whether a segment that starts at the sequence number `number` has bytes in the part that is looked at.
    pub(crate) fn has(&self, number: u32, length: usize) -> bool {
        let offset = number.wrapping_sub(self.first);
        // In front of the first byte, if it is more than half of all numbers away (RFC 9293, 3.4).
        if offset >> 31 == 0 { (offset as usize) < LENGTH } else { (offset.wrapping_neg() as usize) < length }
    }
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
