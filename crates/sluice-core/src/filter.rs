//! Filters: which entries of a leaf a packet may match, found without a look at the entries.
//!
//! A few bits of a packet tell it from most entries of a leaf. A filter has eight windows of the key and, for each value of
//! a window, the set of the entries that allow it, a bit each. What is in all eight sets is mostly the one entry that
//! matches, and only that is compared in full. Nothing of this depends on the packet but addresses, so that there is
//! nothing for a processor to foresee wrongly (bit vectors: Lakshman and Stiliadis, SIGCOMM 1998).

use crate::key::Key;

/// How many windows a filter has.
pub(crate) const WINDOWS: usize = 8;

/// The bytes of a window's head: its place in the key, which of the low bits there count, and where its sets start (16
/// bits, in units of [`ROW_UNIT`]).
pub(crate) const HEAD: usize = 4;

/// Sets start at multiples of so many bytes.
pub(crate) const ROW_UNIT: usize = 16;

/// How many entries a filter answers for in one step.
pub(crate) const BLOCK: u32 = 128;

/// The bytes that are read for that.
const BLOCK_BYTES: usize = BLOCK as usize / 8;

/// The bytes that hold a set of `count` entries.
#[inline]
pub(crate) const fn stride(count: u32) -> usize {
    (count as usize).wrapping_add(7) >> 3
}

/// The places of a key where a window can be: `WORDS` of its words, least significant byte first, shifted by 0 bits, then by
/// 2, 4 and 6.
#[inline]
pub(crate) fn windows<const WORDS: usize, const BYTES: usize>(key: &Key) -> [u8; BYTES] {
    let mut windows = [0; BYTES];
    for (part, shift) in windows.chunks_exact_mut(WORDS.wrapping_mul(4)).zip([0, 2, 4, 6]) {
        for (bytes, word) in part.chunks_exact_mut(4).zip(key.0) {
            bytes.copy_from_slice(&(word >> shift).to_le_bytes());
        }
    }
    windows
}

/// A filter and the sets that it has for one packet: where in the bytes each of them starts.
pub(crate) struct Filter<'table> {
    bytes: &'table [u8],
    rows: [usize; WINDOWS],
}

impl<'table> Filter<'table> {
    /// Reads the filter of `count` entries at the start of `bytes`.
    #[inline]
    pub(crate) fn read(bytes: &'table [u8], count: u32, windows: &[u8]) -> Option<Self> {
        let stride = stride(count);
        let mut rows = [0; WINDOWS];
        let heads = bytes.first_chunk::<{ WINDOWS * HEAD }>()?.as_chunks::<HEAD>().0;
        for (row, head) in rows.iter_mut().zip(heads) {
            let [place, mask, low, high] = *head;
            let value = windows.get(usize::from(place))? & mask;
            let start = usize::from(u16::from_le_bytes([low, high])).wrapping_mul(ROW_UNIT);
            *row = usize::from(value).wrapping_mul(stride).wrapping_add(start);
        }
        Some(Self { bytes, rows })
    }

    /// Which entries of a block of [`BLOCK`] may match. Bits behind the last entry mean nothing.
    #[inline]
    pub(crate) fn block(&self, block: u32) -> Option<u128> {
        let offset = (block as usize).wrapping_mul(BLOCK_BYTES);
        let mut found = u128::MAX;
        for row in self.rows {
            found &= u128::from_le_bytes(*self.bytes.get(row.wrapping_add(offset)..)?.first_chunk()?);
        }
        Some(found)
    }
}

/// Whether the filter of `count` entries at the start of `bytes` reads nothing behind them, for a key with so many
/// `places`. What the sets say is not looked at: any will do.
pub(crate) fn is_sound(bytes: &[u8], count: u32, places: usize) -> bool {
    let Some(heads) = bytes.first_chunk::<{ WINDOWS * HEAD }>() else {
        return false;
    };
    let blocks = (count as usize).div_ceil(BLOCK as usize).wrapping_mul(BLOCK_BYTES);
    heads.as_chunks::<HEAD>().0.iter().all(|[place, mask, low, high]| {
        let start = usize::from(u16::from_le_bytes([*low, *high])).wrapping_mul(ROW_UNIT);
        let last = usize::from(*mask).wrapping_mul(stride(count)).wrapping_add(start);
        usize::from(*place) < places && mask & mask.wrapping_add(1) == 0 && last.wrapping_add(blocks) <= bytes.len()
    })
}
