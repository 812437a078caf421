//! Rules with host names: a hash table from name suffixes to trees of the rules that name them.
//!
//! Suffixes that the same rules name share a pair of trees, so that a long list of names takes little more than its
//! text. The text of a suffix lies in the line of 64 bytes that its hash leads to: a lookup of a name that is in a long
//! list waits for memory once.
//!
//! Suffixes for the names in answers of DNS end in a mark, which no host name has, and so are never found by the name
//! that a packet asks for.

use sluice_npi::{Flow, name_kind};

use super::entry::Entry;
use super::search::{ParsedPacket, search};
use super::table::{MAX_NAME_LENGTH, Table, root, size};
use crate::parse::for_each_answer_name;

/// What a suffix for the names in answers ends in.
pub(crate) const IN_ANSWER: &str = "=";

/// The same as a byte.
const MARK: u8 = b'=';

/// The longest text of a suffix.
pub(crate) const MAX_SUFFIX: usize = MAX_NAME_LENGTH + IN_ANSWER.len();

/// How many bytes of a name are read at once.
const WORD: usize = 8;

/// A number with this in each of its bytes.
const fn in_each_byte(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WORD])
}

/// The highest bit of each byte.
const HIGH_BITS: u64 = in_each_byte(0x80);

/// The word with its ASCII letters in lower case.
#[inline]
fn to_lower_case(word: u64) -> u64 {
    // In the highest bit of each byte: whether the lower seven are more than Z, or at least A. No byte carries over.
    let low_bits = word & !HIGH_BITS;
    let behind_z = low_bits.wrapping_add(in_each_byte(0x7F - b'Z'));
    let from_a = low_bits.wrapping_add(in_each_byte(0x80 - b'A'));
    let upper = (from_a ^ behind_z) & !word & HIGH_BITS;
    word | upper >> 2
}

/// The highest bit of each byte that is a dot.
#[inline]
fn dots(word: u64) -> u64 {
    let differs = word ^ in_each_byte(b'.');
    !((differs & !HIGH_BITS).wrapping_add(!HIGH_BITS) | differs) & HIGH_BITS
}

/// How many words have room for the longest name and a dot before it.
const WORDS: usize = (MAX_SUFFIX + 1).div_ceil(WORD);

/// How many bytes they are.
const ROOM: usize = WORDS * WORD;

/// Where the dot before the longest name is.
const FIRST_START: usize = ROOM - (MAX_SUFFIX + 1);

/// A host name read from a packet, as rules have it: lower case, labels with dots between them, no dot at the end. It
/// ends where its room ends, so that the words of all its suffixes are the same ones, and a dot stands before it, as
/// before all of them.
pub(crate) struct HostName {
    room: [[u8; WORD]; WORDS],
    /// Where the first dot is.
    start: usize,
}

impl HostName {
    const EMPTY: Self = Self { room: [[0; WORD]; WORDS], start: ROOM };

    /// Becomes the name that `flow` found in `packet`. `None` if it is longer than a name can be.
    fn read(&mut self, packet: &[u8], flow: &Flow) -> Option<()> {
        let start = usize::try_from(flow.name_offset).ok()?;
        let bytes = packet.get(start..)?.get(..usize::from(flow.name_length))?;
        if flow.name_kind == name_kind::DNS {
            self.read_labels(bytes, &[])?;
        } else {
            self.read_text(bytes.strip_suffix(b".").unwrap_or(bytes))?;
        }
        // What looks like the mark of an answer becomes a byte that no rule has.
        if let Some(last) = self.room.as_flattened_mut().last_mut().filter(|last| **last == MARK) {
            *last = 0xFF;
        }
        Some(())
    }

    /// Becomes the name in an answer that has these labels.
    fn read_answer(&mut self, labels: &[u8]) -> Option<()> {
        self.read_labels(labels, &[MARK])
    }

    /// Becomes a name of labels behind their lengths, with something at its end.
    fn read_labels(&mut self, bytes: &[u8], end: &[u8]) -> Option<()> {
        self.put(&[], bytes, end)?;
        let labels_end = ROOM.checked_sub(end.len())?;
        let mut labels = 0_u32;
        let mut at = self.start;
        while at < labels_end {
            let length = self.room.as_flattened_mut().get_mut(at)?;
            at = at.wrapping_add(usize::from(*length)).wrapping_add(1);
            *length = b'.';
            labels = labels.wrapping_add(1);
        }
        if at != labels_end {
            return None;
        }
        if self.make_lower_case() != labels {
            self.hide_dots_in_labels(bytes);
        }
        Some(())
    }

    /// Becomes a name of labels with dots between them.
    fn read_text(&mut self, text: &[u8]) -> Option<()> {
        self.put(b".", text, &[])?;
        self.make_lower_case();
        Some(())
    }

    /// Becomes these bytes, as they are. `None` if there is no room for them.
    fn put(&mut self, before: &[u8], bytes: &[u8], end: &[u8]) -> Option<()> {
        self.room = [[0; WORD]; WORDS];
        let mut place = self.room.as_flattened_mut();
        for part in [end, bytes, before] {
            let (rest, last) = place.split_at_mut_checked(place.len().checked_sub(part.len())?)?;
            last.copy_from_slice(part);
            place = rest;
        }
        self.start = place.len();
        (self.start >= FIRST_START).then_some(())
    }

    /// Answers how many dots there are.
    fn make_lower_case(&mut self) -> u32 {
        let mut count = 0_u32;
        for word in self.room.iter_mut().skip(self.start / WORD) {
            let lower = to_lower_case(u64::from_le_bytes(*word));
            *word = lower.to_le_bytes();
            count = count.wrapping_add(dots(lower).count_ones());
        }
        count
    }

    /// A dot inside a label is not a boundary. It becomes a byte that no rule has.
    #[cold]
    fn hide_dots_in_labels(&mut self, mut bytes: &[u8]) {
        let mut room = self.room.as_flattened_mut().iter_mut().skip(self.start);
        while let Some((length, behind)) = bytes.split_first() {
            let (label, rest) = behind.split_at_checked(usize::from(*length)).unwrap_or_default();
            _ = room.next();
            for (byte, place) in label.iter().zip(&mut room) {
                if *byte == b'.' {
                    *place = 0xFF;
                }
            }
            bytes = rest;
        }
    }

    /// Calls `each` with the hash and the length of every suffix, the shortest first.
    #[inline]
    fn for_each_suffix(&self, mut each: impl FnMut(u64, usize)) {
        let mut hash = SuffixHash::START;
        let mut behind = 0_usize;
        for word in self.room.iter().skip(self.start / WORD).rev() {
            let word = u64::from_le_bytes(*word);
            let mut dots = dots(word);
            while dots != 0 {
                let above = dots.leading_zeros();
                // A byte that is a dot has its highest bit there; the suffix starts at the bit above.
                let rest = word & !(u64::MAX >> above);
                let length = behind.wrapping_add((above / u8::BITS) as usize);
                each(hash.end(rest, length), length);
                dots &= !(1_u64 << 63 >> above);
            }
            hash = hash.push(word);
            behind = behind.wrapping_add(WORD);
        }
    }

    /// Calls `each` with every suffix that the table has, the shortest first.
    #[inline]
    fn for_each_found<'table>(&self, table: &Table<'table>, mut each: impl FnMut(Suffix<'table>)) {
        let mut waiting = [Lookup { hash: 0, length: 0, moved_from_line: 0 }; SIDE_BY_SIDE];
        let mut count = 0_usize;
        let mut look_up = |lookups: Option<&[Lookup]>| {
            for lookup in lookups.unwrap_or_default() {
                let text = self.room.as_flattened();
                let text = text.len().checked_sub(lookup.length).and_then(|start| text.get(start..));
                if let Some(suffix) = text.and_then(|text| lookup.find(table, text)) {
                    each(suffix);
                }
            }
        };
        self.for_each_suffix(|hash, length| {
            if count == SIDE_BY_SIDE {
                look_up(Some(&waiting));
                count = 0;
            }
            if let Some(place) = waiting.get_mut(count) {
                *place = Lookup::new(table, hash, length);
            }
            count = count.wrapping_add(1);
        });
        look_up(waiting.get(..count));
    }
}

/// For how many suffixes of a name lines are read before one is looked at: while one is waited for, the others are on
/// their way. Most names have fewer.
const SIDE_BY_SIDE: usize = 4;

/// A suffix that is looked for.
#[derive(Clone, Copy)]
struct Lookup {
    hash: u64,
    length: usize,
    /// The first byte of its first line.
    moved_from_line: u8,
}

impl Lookup {
    #[inline]
    fn new(table: &Table<'_>, hash: u64, length: usize) -> Self {
        let [first, _] = homes(hash, table.layout.counts.lines);
        Self { hash, length, moved_from_line: line(table, first).map_or(0, |[moved, ..]| *moved) }
    }

    /// The suffix in the table. `wanted` is its text.
    #[inline]
    fn find<'table>(&self, table: &Table<'table>, wanted: &[u8]) -> Option<Suffix<'table>> {
        let [first, second] = homes(self.hash, table.layout.counts.lines);
        let is_wanted = |suffix: &Suffix<'_>| suffix.length == wanted.len() && suffix.text(table) == Some(wanted);
        let found = Suffixes::of(line(table, first)?).find(is_wanted);
        if found.is_some() || self.moved_from_line & moved(self.hash) == 0 {
            return found;
        }
        Suffixes::of(line(table, second)?).find(is_wanted)
    }
}

/// The hash of a text, read from its end in words, so that the hashes of all suffixes of a name come out on the way.
#[derive(Clone, Copy)]
struct SuffixHash(u64);

impl SuffixHash {
    const START: Self = Self(0);

    #[inline]
    fn push(self, word: u64) -> Self {
        let product = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(product ^ product >> 32)
    }

    /// `rest` are the bytes before the words, fewer than eight, in its highest ones; the lowest has the length.
    #[inline]
    fn end(self, rest: u64, length: usize) -> u64 {
        self.push(rest | length as u64).0
    }
}

/// The hash of a whole text.
pub(crate) fn hash(text: &[u8]) -> u64 {
    let (rest, words) = text.as_rchunks::<WORD>();
    let hash = words.iter().rev().fold(SuffixHash::START, |hash, word| hash.push(u64::from_le_bytes(*word)));
    let rest = rest.iter().fold(0_u64, |word, byte| word >> 8 | u64::from(*byte) << 56);
    hash.end(rest, text.len())
}

/// The lines where a suffix with this hash may be: the second one if there was no room in the first.
#[inline]
pub(crate) fn homes(hash: u64, lines: u32) -> [u32; 2] {
    [hash >> 32, hash & u64::from(u32::MAX)].map(|half| (half.wrapping_mul(lines.into()) >> 32) as u32)
}

/// The longest text that lies in a line. So two of them always have room in one.
pub(crate) const MAX_INLINE: usize = 27;

/// What a suffix has before its text: the length and its pair of trees.
pub(crate) const HEAD: usize = 4;

/// What a longer suffix has in place of its text: where that starts in the section of texts.
pub(crate) const OFFSET: usize = 4;

const _: () = assert!(2 * (HEAD + MAX_INLINE) < size::LINE && MAX_SUFFIX < 1 << u8::BITS);
const _: () = assert!(matches!(IN_ANSWER.as_bytes(), [MARK]));

/// A line of a table.
#[inline]
pub(crate) fn line<'table>(table: &Table<'table>, index: u32) -> Option<&'table [u8; size::LINE]> {
    table.record(table.layout.lines, index)
}

/// The bit in the first byte of a line that says whether a suffix with this hash, for which that line is the first, may
/// be in its second one. Where it is not set, nobody has to look there.
#[inline]
pub(crate) fn moved(hash: u64) -> u8 {
    1 << (hash & 7)
}

/// A suffix in a line.
#[derive(Clone, Copy)]
pub(crate) struct Suffix<'table> {
    pub(crate) length: usize,
    /// The pair of trees of the rules that name it.
    pub(crate) pair: u32,
    /// Its text, or where that is.
    place: &'table [u8],
}

impl<'table> Suffix<'table> {
    /// Where its text starts, if it is not in the line.
    pub(crate) fn offset(&self) -> Option<u32> {
        if self.length <= MAX_INLINE { None } else { self.place.first_chunk().copied().map(u32::from_le_bytes) }
    }

    #[inline]
    pub(crate) fn text(&self, table: &Table<'table>) -> Option<&'table [u8]> {
        if self.length <= MAX_INLINE {
            return Some(self.place);
        }
        let start = (table.layout.text as usize).checked_add(usize::try_from(self.offset()?).ok()?)?;
        table.bytes.get(start..)?.get(..self.length)
    }
}

/// The suffixes of a line, and afterwards what is behind the last one.
pub(crate) struct Suffixes<'table>(pub(crate) &'table [u8]);

impl<'table> Suffixes<'table> {
    #[inline]
    pub(crate) fn of(line: &'table [u8; size::LINE]) -> Self {
        let [_, rest @ ..] = line;
        Self(rest)
    }
}

impl<'table> Iterator for Suffixes<'table> {
    type Item = Suffix<'table>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let ([length, pair @ ..], behind) = self.0.split_first_chunk::<HEAD>()?;
        let length = usize::from(*length);
        let taken = if length <= MAX_INLINE { length } else { OFFSET };
        let (place, rest) = behind.split_at_checked(taken).filter(|_| length != 0)?;
        self.0 = rest;
        let [low, middle, high] = *pair;
        Some(Suffix { length, pair: u32::from_le_bytes([low, middle, high, 0]), place })
    }
}

/// The suffix with this text.
pub(crate) fn find<'table>(table: &Table<'table>, text: &[u8]) -> Option<Suffix<'table>> {
    Lookup::new(table, hash(text), text.len()).find(table, text)
}

impl Suffix<'_> {
    /// The root of the IPv4 tree of its rules. That of the IPv6 tree is the next one.
    #[inline]
    fn root(&self) -> u32 {
        self.pair.wrapping_mul(root::PER_PAIR).wrapping_add(root::FIRST_PAIR)
    }

    /// Whether this is the same place of a table, not only the same text.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        core::ptr::eq(self.place, other.place)
    }
}

/// How many records a search for a packet with the name `text` visits at most, in the trees of all suffixes of it: the
/// search for the rule that decides, or the one for those that observe.
pub(crate) fn work(table: &Table<'_>, text: &[u8]) -> u32 {
    let claimed = |root| table.node(root).map_or(0, |node| node.work());
    let forests = [0, table.observing_forest().unwrap_or(0)];
    // IPv4 and IPv6 of each forest.
    let mut sums = [[0_u32; 2]; 2];
    let mut name = HostName::EMPTY;
    if name.read_text(text).is_some() {
        name.for_each_found(table, |suffix| {
            for (sums, forest) in sums.iter_mut().zip(forests) {
                for (sum, version) in sums.iter_mut().zip(0..) {
                    *sum = sum.saturating_add(claimed(suffix.root().wrapping_add(forest).wrapping_add(version)));
                }
            }
        });
    }
    sums.into_iter().flatten().max().unwrap_or(0)
}

/// How many roots are found before their trees are searched. Few names have more.
const ROOTS: usize = 8;

/// The roots, in the first forest, of the trees of the rules that name a suffix of the packet's name, and then of the
/// names in its answers. A few at a time: the names are not in memory while a tree is searched.
pub(crate) struct Roots {
    found: [u32; ROOTS],
    count: usize,
    next: usize,
    /// How many roots there were before these.
    before: usize,
    /// How many of all are those of the packet's name.
    of_name: usize,
}

impl Roots {
    pub(crate) const NONE_YET: Self = Self { found: [0; ROOTS], count: 0, next: 0, before: 0, of_name: 0 };

    pub(crate) fn next<E: Entry>(&mut self, table: &Table<'_>, packet: &ParsedPacket<'_>) -> Option<u32> {
        if self.next == self.count {
            // Those that were found before have filled their places, or are all.
            if self.count != 0 && self.count != ROOTS {
                return None;
            }
            self.find_more(table, packet);
        }
        let root = self.found.get(..self.count)?.get(self.next)?;
        self.next = self.next.wrapping_add(1);
        Some(root.wrapping_add(E::ROOT))
    }

    /// Where the root that was given last stands among those of the names in answers; `None` if it is not one.
    pub(crate) fn place_among_answers(&self) -> Option<usize> {
        self.before.wrapping_add(self.next).checked_sub(self.of_name)?.checked_sub(1)
    }

    #[cold]
    #[inline(never)]
    fn find_more(&mut self, table: &Table<'_>, packet: &ParsedPacket<'_>) {
        let before = self.before.wrapping_add(self.count);
        *self = Self { before, ..Self::NONE_YET };
        let mut seen = 0_usize;
        let mut name = HostName::EMPTY;
        if name.read(packet.bytes, packet.flow).is_some() {
            self.add(table, &name, &mut seen);
        }
        self.of_name = seen;
        if table.layout.reads_answers {
            for_each_answer_name(packet.bytes, packet.flow, |labels| {
                if name.read_answer(labels.as_bytes()).is_some() {
                    self.add(table, &name, &mut seen);
                }
            });
        }
    }

    /// Adds the roots of one name, as far as there is room. `seen` counts all.
    #[inline(never)]
    fn add(&mut self, table: &Table<'_>, name: &HostName, seen: &mut usize) {
        name.for_each_found(table, |suffix| {
            if *seen >= self.before
                && let Some(place) = self.found.get_mut(self.count)
            {
                *place = suffix.root();
                self.count = self.count.wrapping_add(1);
            }
            *seen = seen.wrapping_add(1);
        });
    }
}

/// The first rule before `best` that names a suffix of the packet's name, or of one in its answers, and matches; else
/// `best`.
#[cold]
pub(crate) fn first_rule<E: Entry>(table: &Table<'_>, key: &E::Key, packet: &ParsedPacket<'_>, best: u32) -> u32 {
    let mut roots = Roots::NONE_YET;
    let mut best = best;
    while let Some(root) = roots.next::<E>(table, packet) {
        best = search::<E>(table, root, key, packet, best);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_what_their_bytes_become() {
        let rng = &mut fastrand::Rng::with_seed(1);
        for byte in 0..=u8::MAX {
            for place in 0..WORD {
                let mut bytes: [u8; WORD] = core::array::from_fn(|_| rng.u8(..));
                bytes[place] = byte;
                let word = u64::from_le_bytes(bytes);
                assert_eq!(to_lower_case(word).to_le_bytes(), bytes.map(|byte| byte.to_ascii_lowercase()));
                let expected = bytes.map(|byte| if byte == b'.' { 0x80 } else { 0 });
                assert_eq!(dots(word).to_le_bytes(), expected, "{bytes:x?}");
            }
        }
    }

    #[test]
    fn the_suffixes_of_a_name_are_those_behind_its_dots_and_itself() {
        let rng = &mut fastrand::Rng::with_seed(1);
        let mut name = HostName::EMPTY;
        for length in 1..=MAX_NAME_LENGTH {
            let mut text = [0; MAX_NAME_LENGTH];
            let text = &mut text[..length];
            text.fill_with(|| if rng.u8(..8) == 0 { b'.' } else { rng.u8(b'a'..=b'z') });
            *text.last_mut().unwrap() = b'a';
            name.read_text(text).expect("there is room");
            let starts = (0..length).rev().filter(|start| *start == 0 || text[start - 1] == b'.');
            let mut expected = starts.map(|start| (hash(&text[start..]), length - start));
            name.for_each_suffix(|hash, length| assert_eq!(Some((hash, length)), expected.next()));
            assert_eq!(expected.next(), None, "{}", text.escape_ascii());
        }
    }
}
