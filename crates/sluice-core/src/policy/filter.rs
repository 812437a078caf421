//! Filters: which entries of a leaf a packet may match, found without a look at the entries.
//!
//! A few bits of a packet tell it from most entries of a leaf. A filter has eight windows of the key and, for each
//! value of a window, the set of the entries that allow it, a bit each. What is in all eight sets is usually just
//! the entry that matches, and only that is compared in full. Only addresses of memory depend on the packet, not
//! branches, so that a processor has nothing to foresee wrongly (bit vectors: Lakshman and Stiliadis, SIGCOMM 1998).
//!
//! A window is half a byte of the key, and its sets have a fixed place. So where a set is takes no number but that of
//! the byte, and no read of one has to be checked.

use super::key::Key;
use super::table::{Table, size};

/// How many windows a filter has.
pub(crate) const WINDOWS: usize = 8;

/// So many of them, the first ones, are the lower halves of bytes; the others are upper halves.
pub(crate) const LOWER: usize = 4;

/// The bits of a window.
pub(crate) const WINDOW_BITS: u32 = 4;

/// How many entries a filter answers for in one step.
pub(crate) const GROUP: u32 = 128;

/// The bytes of a set, of the entries of one group.
const SET: usize = GROUP as usize / 8;

/// The bytes before the sets: the place of each window in the key, then zeros.
pub(crate) const HEAD: usize = 16;

/// The bytes of the sets of one window.
const WINDOW: usize = SET << WINDOW_BITS;

/// The bytes of all sets of one group.
const PART: usize = WINDOWS * WINDOW;

const _: () = assert!(SET << WINDOW_BITS == 1 << u8::BITS, "a byte says where in its window a set starts");

/// The words before the sets, and those of the sets of one group.
const HEAD_WORDS: u32 = (HEAD / size::WORD) as u32;
const PART_WORDS: u32 = (PART / size::WORD) as u32;

/// The entries of the first group that may match, by the filter at `index`. Bits behind the last entry mean nothing.
#[inline(always)]
pub(crate) fn first_group(table: &Table<'_>, index: u32, key: &impl Key) -> u128 {
    let found = || {
        let (head, sets) = table.filter::<{ HEAD + PART }>(index)?.split_first_chunk()?;
        Some(in_all(head, sets.first_chunk()?, key))
    };
    found().unwrap_or(0)
}

/// The same of a later group.
pub(crate) fn group(table: &Table<'_>, index: u32, group: u32, key: &impl Key) -> u128 {
    let sets = index.wrapping_add(HEAD_WORDS).wrapping_add(group.wrapping_mul(PART_WORDS));
    let found = || Some(in_all(table.filter(index)?, table.filter(sets)?, key));
    found().unwrap_or(0)
}

/// What is in all of the sets for `key`.
#[inline(always)]
fn in_all(head: &[u8; HEAD], sets: &[u8; PART], key: &impl Key) -> u128 {
    let places = head.iter().take(WINDOWS).enumerate();
    places.fold(u128::MAX, |found, (window, place)| {
        let byte = key.byte(*place);
        let half = if window < LOWER { byte << WINDOW_BITS } else { byte & 0xF0 };
        let start = window.wrapping_mul(WINDOW).wrapping_add(half.into());
        let set = sets.get(start..).and_then(<[u8]>::first_chunk);
        found & set.copied().map_or(0, u128::from_le_bytes)
    })
}

/// Whether the filter at `index`, of `count` entries, is all there and looks at nothing but a key of `words` words. The
/// contents of the sets are not looked at: any are safe.
pub(crate) fn validate(table: &Table<'_>, index: u32, count: u32, words: usize) -> bool {
    let Some((places, unused)) = table.filter::<HEAD>(index).map(|head| head.split_at(WINDOWS)) else {
        return false;
    };
    let length = count.div_ceil(GROUP).wrapping_mul(PART_WORDS).wrapping_add(HEAD_WORDS);
    index.checked_add(length).is_some_and(|end| end <= table.layout.counts.filter_words)
        && places.iter().all(|place| usize::from(*place) < words.wrapping_mul(size::WORD))
        && unused.iter().all(|byte| *byte == 0)
}
