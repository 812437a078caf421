//! A table with a record of each kind.
//!
//! The first forest: IPv4 by two windows and a remainder, IPv6 by a hash, others not at all, and a pair of trees for
//! three names. The second: one rule that counts for IPv4, one that logs for IPv6.

use super::raw::{
    BLOCK, COUNT, HASH, IPV6, LOG, REMAINDER, Raw, empty_leaf, entry4, entry6, filter, inner, leaf, window, windows,
};

/// How many extra words there are.
pub(crate) const EXTRA_WORDS: u32 = 52;
/// The names: two in lines, and one whose text is not.
pub(crate) const NAMES: [&str; 3] = ["example", "bad.example", "a-name-that-no-line-has-room-for.example"];
/// How many lines they are in.
pub(crate) const LINES: u32 = 2;

pub(crate) fn sample() -> Raw {
    let mut raw = Raw::empty();
    raw.tree_pairs = 1;
    raw.observing = 1;
    // No entry says what the last one is.
    raw.rules = vec![[3, 0], [5, BLOCK | 1], [6, COUNT], [9, LOG | 49], [10, 0]];
    raw.extra_words = extra_words();
    let hash = HASH | 64 | 96 << 8 | 1 << 16 | 7 << 21;
    let split = windows(window(1, 24, 1), window(0, 16, 1));
    raw.nodes = vec![
        // The roots of the first forest.
        inner(10, 0, split | REMAINDER, 13, 2),
        inner(15, 0, hash | IPV6, 4, 0),
        empty_leaf(0),
        leaf(0, 14, 1, 0, 0),
        empty_leaf(IPV6),
        // Those of the second.
        leaf(0, 15, 1, 2, 0),
        leaf(IPV6, 2, 1, 3, 0),
        empty_leaf(0),
        empty_leaf(0),
        empty_leaf(IPV6),
        // 10: the children of node 0, the remainder first.
        leaf(0, 0, 1, 1, 0),
        leaf(0, 1, 2, 0, 0),
        empty_leaf(0),
        leaf(0, 3, 9, 0, 4),
        inner(17, 0, windows(0, 0) | REMAINDER, 5, 1),
        // 15: those of node 1.
        leaf(IPV6, 0, 2, 0, 0),
        empty_leaf(IPV6),
        // 17: those of node 14.
        leaf(0, 12, 1, 0, 0),
        leaf(0, 13, 1, 1, 0),
    ];
    raw.entries4 =
        [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2].iter().map(|rule| entry4(&raw.rules, *rule)).collect();
    // The first one has something of everything.
    let source = u32::from_be_bytes([192, 0, 2, 0]);
    raw.entries4[0][..6].copy_from_slice(&[source, 0, 80 << 16, 443 << 16 | 0xFFFF, 6 << 24, 0xFF << 24]);
    raw.entries4[0][7] ^= 32 ^ 8;
    raw.entries6 = [0, 1, 3].iter().map(|rule| entry6(&raw.rules, *rule)).collect();
    raw.entries6[0][0] = 0x2001_0DB8;
    raw.entries6[0][14] = 96 | 128 << 8;
    raw.filters = [vec![0; 4], filter()].concat();
    raw.name(&NAMES, LINES as usize);
    assert_eq!(raw.extra_words.len(), EXTRA_WORDS as usize);
    raw
}

/// One list with a condition of each kind, and a short one.
fn extra_words() -> Vec<u32> {
    let mut words = vec![0];
    let mut condition = |kind: u32, count: u32, items: &[u32]| {
        words.push(kind | count << 8);
        words.extend(items);
    };
    condition(1, 2, &[1, 101]);
    condition(2, 2, &[5 | 7 << 16, 9 | 9 << 16]);
    condition(3, 1, &[0x0806]);
    condition(4, 1, &[0, 0, 0, 0, 0, 0, 0, 1 << 31]);
    condition(5, 1, &[10 | 20 << 16]);
    condition(6, 1, &[80 | 443 << 16]);
    condition(7, 1, &[8 | 1 << 8 | 3 << 16]);
    condition(8, 1, &[0x0A00_0000, 0x0AFF_FFFF]);
    condition(9, 1, &[0x0A00_0000, 0x0AFF_FFFF]);
    condition(10, 1, &[0x2001_0DB8, 0, 0, 0, 0x2001_0DB8, 0, 0, 1]);
    condition(11, 1, &[0x2001_0DB8, 0, 0, 0, 0x2001_0DB8, 0, 0, 1]);
    words.extend([0, 1 | 1 << 8, 1, 0]);
    words
}
