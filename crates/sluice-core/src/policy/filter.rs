//! Filters: which entries of a leaf a packet may match, found without a look at the entries.
//!
//! A few bits of a packet tell it from most entries of a leaf. A filter has eight windows of the key and, for each
//! value of a window, the set of the entries that allow it, a bit each. What is in all eight sets is usually just
//! the entry that matches, and only that is compared in full. Only addresses of memory depend on the packet, not
//! branches, so that a processor has nothing to foresee wrongly (bit vectors: Lakshman and Stiliadis, SIGCOMM 1998).

use super::key::Key;
use super::table::{MAX_LEAF, halves, size};

/// How many windows a filter has.
pub(crate) const WINDOWS: usize = 8;

/// How many entries a filter answers for in one step.
pub(crate) const GROUP: u32 = 128;

/// The bytes that are read for that.
const GROUP_BYTES: usize = GROUP as usize / 8;

/// How many bytes say where the windows and their sets are.
const USED: usize = WINDOWS * 7;

/// The bytes before the sets.
pub(crate) const HEADS: usize = WINDOWS * 8;

/// The bits of a window, at most.
pub(crate) const WINDOW_BITS: u32 = 5;

/// How many bits above the byte that it is read from a window may start.
pub(crate) const MAX_SHIFT: u32 = 16 - WINDOW_BITS;

/// How far the product of a value and its scale has to be shifted.
const SCALE_SHIFT: u32 = MAX_SHIFT - GROUP_BYTES.ilog2();

/// How many bytes of sets follow the start of every filter, whether it uses them or not, so that no read has to be
/// checked: as many as the largest filter uses, which is a power of two.
const SETS: usize = (WINDOWS << WINDOW_BITS) * (MAX_LEAF / 8) as usize;

/// The places in them where a set can start, as a mask.
const STARTS: usize = SETS - GROUP_BYTES;

const _: () = assert!(SETS.is_power_of_two());

/// The bytes of a filter with all that.
pub(crate) const SPAN: usize = HEADS + SETS;

/// A filter, split into its parts.
struct Filter<'table> {
    /// The byte of the key that each window is read from, with the next one.
    places: [u8; WINDOWS],
    /// Which of these 16 bits count.
    masks: [u16; WINDOWS],
    /// The size of a set, times 2 to the power of [`SCALE_SHIFT`] less that of the lowest bit that counts.
    scales: [u16; WINDOWS],
    /// Where the sets of the window start.
    starts: [u16; WINDOWS],
    sets: &'table [u8; SETS],
}

impl<'table> Filter<'table> {
    #[inline]
    fn read(bytes: &'table [u8]) -> Option<Self> {
        let (heads, rest) = bytes.first_chunk::<SPAN>()?.split_first_chunk::<HEADS>()?;
        let (places, heads) = heads.split_first_chunk()?;
        let (masks, heads) = heads.split_first_chunk::<{ WINDOWS * 2 }>()?;
        let (scales, heads) = heads.split_first_chunk::<{ WINDOWS * 2 }>()?;
        let (starts, _) = heads.split_first_chunk::<{ WINDOWS * 2 }>()?;
        Some(Self {
            places: *places,
            masks: halves(masks),
            scales: halves(scales),
            starts: halves(starts),
            sets: rest.first_chunk()?,
        })
    }

    /// The place, mask, scale and start of each window.
    #[inline]
    fn windows(&self) -> impl Iterator<Item = (u8, u16, u16, u16)> {
        let windows = self.places.iter().zip(self.masks).zip(self.scales).zip(self.starts);
        windows.map(|(((place, mask), scale), start)| (*place, mask, scale, start))
    }

    /// Where the set of each window for `key` starts.
    #[inline]
    fn rows(&self, key: &impl Key) -> impl Iterator<Item = usize> {
        self.windows().map(|(place, mask, scale, start)| row(key.half(place) & mask, scale, start))
    }

    /// What is in all of the sets that start at `rows`, of the group that starts at `offset` in each.
    #[inline]
    fn in_all(&self, rows: impl Iterator<Item = usize>, offset: usize) -> u128 {
        rows.fold(u128::MAX, |found, row| {
            let set = self.sets.get(row.wrapping_add(offset) & STARTS..).and_then(<[u8]>::first_chunk);
            found & set.copied().map_or(0, u128::from_le_bytes)
        })
    }
}

/// The entries of the first group that may match. Bits behind the last entry mean nothing.
#[inline(always)]
pub(crate) fn first_group(filter: &[u8], key: &impl Key) -> u128 {
    match Filter::read(filter) {
        Some(filter) => filter.in_all(filter.rows(key), 0),
        None => 0,
    }
}

/// Where the set for `value` starts, the bits of a window in their place.
#[inline]
fn row(value: u16, scale: u16, start: u16) -> usize {
    (usize::from(value).wrapping_mul(scale.into()) >> SCALE_SHIFT).wrapping_add(start.into())
}

/// The sets that a filter has for one packet, for a leaf of several groups.
pub(crate) struct Groups<'table> {
    filter: Filter<'table>,
    rows: [usize; WINDOWS],
}

impl<'table> Groups<'table> {
    pub(crate) fn read(filter: &'table [u8], key: &impl Key) -> Option<Self> {
        let filter = Filter::read(filter)?;
        let mut rows = [0; WINDOWS];
        for (to, row) in rows.iter_mut().zip(filter.rows(key)) {
            *to = row;
        }
        Some(Self { filter, rows })
    }

    /// The entries of group `index` that may match.
    #[inline]
    pub(crate) fn group(&self, index: u32) -> u128 {
        self.filter.in_all(self.rows.iter().copied(), (index as usize).wrapping_mul(GROUP_BYTES))
    }
}

/// Whether the filter of `count` entries at the start of `bytes` is all there and reads nothing but its own sets, for a
/// key of `words` words. The contents of the sets are not looked at: any are safe.
pub(crate) fn validate(bytes: &[u8], count: u32, words: usize) -> bool {
    let Some(filter) = Filter::read(bytes) else {
        return false;
    };
    let size = (count.div_ceil(GROUP) as usize).wrapping_mul(GROUP_BYTES);
    let unused = bytes.get(USED..HEADS).unwrap_or_default();
    unused.iter().all(|byte| *byte == 0)
        && filter.windows().all(|(place, mask, scale, start)| {
            let is_in_a_word = usize::from(place) < words.wrapping_mul(size::WORD) && place % 4 != 3;
            let last = row(mask, scale, start);
            is_in_a_word && usize::from(start) & !STARTS == 0 && last.wrapping_add(size) <= SETS
        })
}
