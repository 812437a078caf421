//! Rules with host names: a hash table from name suffixes to trees of the rules that name them.
//!
//! Suffixes that the same rules name share a pair of trees, so that a long list of names takes little more than its
//! text. The text of a suffix lies in one of the two lines of 64 bytes that its hash leads to, and a few bits that stay
//! in the caches for longer say in which: a lookup of a name that is in a long list waits for memory once, and one of a
//! name that is not does not wait at all, mostly.
//!
//! Suffixes for the names in answers of DNS end in a mark, and are never found by the name that a packet asks for.

use sluice_npi::{Flow, name_kind};

use super::entry::{Entry, Found};
use super::search::{ParsedPacket, search};
use super::table::{MAX_NAME_LENGTH, Table, root, size};
use crate::parse::for_each_answer_name;

/// What a suffix for the names in answers ends in.
pub(crate) const IN_ANSWER: &str = "=";

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
const WORDS: usize = (MAX_NAME_LENGTH + 1).div_ceil(WORD);

/// How many bytes they are.
const ROOM: usize = WORDS * WORD;

/// A host name read from a packet, as rules have it: lower case, labels with dots between them, no dot at the end. It
/// ends where its room ends, so that the words of all its suffixes are the same ones, and a dot stands before it, as
/// before all of them.
pub(crate) struct HostName {
    room: [[u8; WORD]; WORDS],
    /// Where the first dot is.
    start: usize,
    /// A bit for each byte of the room: a suffix starts behind it.
    dots: [u64; ROOM / u64::BITS as usize],
    /// Whether it is the name in an answer.
    in_answer: bool,
}

impl HostName {
    const EMPTY: Self =
        Self { room: [[0; WORD]; WORDS], start: 0, dots: [0; ROOM / u64::BITS as usize], in_answer: false };

    /// Becomes the name that `flow` found in `packet`. `None` if it is longer than a name can be.
    fn read(&mut self, packet: &[u8], flow: &Flow) -> Option<()> {
        let start = usize::try_from(flow.name_offset).ok()?;
        let bytes = packet.get(start..)?.get(..usize::from(flow.name_length))?;
        if flow.name_kind == name_kind::DNS {
            self.read_labels(bytes)
        } else {
            self.read_text(bytes.strip_suffix(b".").unwrap_or(bytes))
        }
    }

    /// Becomes a name of labels behind their lengths.
    fn read_labels(&mut self, bytes: &[u8]) -> Option<()> {
        let has_dots = self.put(bytes, 0)?;
        let mut at = 0_usize;
        while let Some(length) = bytes.get(at) {
            self.put_dot(self.start.wrapping_add(at))?;
            at = at.wrapping_add(usize::from(*length)).wrapping_add(1);
        }
        if has_dots {
            self.hide_dots_in_labels(bytes);
        }
        (at == bytes.len()).then_some(())
    }

    /// Becomes a name of labels with dots between them.
    fn read_text(&mut self, text: &[u8]) -> Option<()> {
        self.put(text, 1)?;
        self.put_dot(self.start)?;
        for (word, index) in self.room.iter().zip(0_usize..).skip(self.start / WORD) {
            // The highest bits of the bytes, side by side.
            let side_by_side = (dots(u64::from_le_bytes(*word)) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            let at = index.wrapping_mul(WORD);
            *self.dots.get_mut(at / 64)? |= side_by_side << (at % 64);
        }
        Some(())
    }

    /// Becomes these bytes in lower case, with room for `before` more at the start of them. Answers whether there are
    /// dots. `None` if there is no room for them.
    #[inline(always)]
    fn put(&mut self, bytes: &[u8], before: usize) -> Option<bool> {
        self.start = ROOM.checked_sub(bytes.len())?.checked_sub(before)?;
        self.dots = [0; ROOM / u64::BITS as usize];
        let (rest, words) = bytes.as_rchunks::<WORD>();
        let mut found = 0;
        let mut places = self.room.iter_mut().rev();
        for (word, place) in words.iter().rev().zip(&mut places) {
            let lower = to_lower_case(u64::from_le_bytes(*word));
            found |= dots(lower);
            *place = lower.to_le_bytes();
        }
        if let Some(place) = places.next() {
            let rest = match bytes.first_chunk() {
                Some(first) => high_bytes(u64::from_le_bytes(*first), rest.len()),
                None => rest.iter().fold(0, |word, byte| word >> 8 | u64::from(*byte) << 56),
            };
            let lower = to_lower_case(rest);
            found |= dots(lower);
            *place = lower.to_le_bytes();
        }
        Some(found != 0)
    }

    /// Puts a dot there, behind which a suffix starts. By words: a processor stalls on a word of which it has just
    /// written a part.
    #[inline(always)]
    fn put_dot(&mut self, at: usize) -> Option<()> {
        let word = self.room.get_mut(at / WORD)?;
        let shift = bits(at);
        let others = u64::from_le_bytes(*word) & !(0xFF << shift);
        *word = (others | u64::from(b'.') << shift).to_le_bytes();
        *self.dots.get_mut(at / 64)? |= 1 << (at % 64);
        Some(())
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

    /// Calls `each` with the hash and the length of every suffix, the longest first.
    #[inline(always)]
    fn for_each_suffix(&self, mut each: impl FnMut(u64, usize)) {
        // Of the last words: none, one, two and so on.
        let mut hashes = [SuffixHash(0); WORDS];
        let mut hash = SuffixHash::of(self.in_answer);
        let words = self.room.get(self.start / WORD..).unwrap_or_default();
        for (word, place) in words.iter().rev().zip(&mut hashes) {
            *place = hash;
            hash = hash.push(u64::from_le_bytes(*word));
        }
        for (dots, base) in self.dots.iter().zip((0_usize..).step_by(64)) {
            let mut dots = *dots;
            while dots != 0 {
                let start = base.wrapping_add(dots.trailing_zeros() as usize).wrapping_add(1);
                let length = ROOM.wrapping_sub(start);
                let words = length / WORD;
                if let Some(hash) = hashes.get(words)
                    && let Some(word) = self.room.get((WORDS - 1).wrapping_sub(words))
                {
                    let rest = u64::from_le_bytes(*word) & !(u64::MAX >> bits(length));
                    each(hash.end(rest, length), length);
                }
                dots &= dots.wrapping_sub(1);
            }
        }
    }

    /// Calls `each` with every suffix that the table has, the longest first.
    #[inline(always)]
    fn for_each_found<'table>(&self, table: &Table<'table>, mut each: impl FnMut(Suffix<'table>)) {
        self.for_each_suffix(|hash, length| {
            if let Some(hint) = Hint::of(table, hash)
                && let Some(start) = ROOM.checked_sub(length)
                && let Some(text) = self.room.as_flattened().get(start..)
                && let Some(suffix) = hint.find(table, hash, text, self.in_answer)
            {
                each(suffix);
            }
        });
    }
}

/// The lowest `count` bytes of a word, fewer than eight, as its highest ones.
#[inline]
fn high_bytes(word: u64, count: usize) -> u64 {
    // In two steps, as a shift by all bits is none.
    word << 8 << bits((WORD - 1).wrapping_sub(count))
}

/// How many bits there are of so many bytes behind whole words.
#[inline]
fn bits(bytes: usize) -> u32 {
    (bytes as u32).wrapping_mul(u8::BITS) % u64::BITS
}

/// What is known of a suffix before a line is read: in which of its two lines it may be.
///
/// There are 32 bits for each line, about the suffixes for which it is the first: a Bloom filter of a few items. So a
/// lookup of what is in no list reads no line, mostly, and that of another one the line that it is in.
#[derive(Clone, Copy)]
struct Hint {
    in_first: bool,
    in_second: bool,
}

impl Hint {
    /// `None` if the suffix is in none of them.
    #[inline(always)]
    fn of(table: &Table<'_>, hash: u64) -> Option<Self> {
        let [first, _] = homes(hash, table.layout.counts.lines);
        let hint = table.word(table.layout.hints, first)?;
        let [in_first, in_second] = hints(hash).map(|bits| hint & bits == bits);
        (in_first || in_second).then_some(Self { in_first, in_second })
    }

    /// The suffix in the table. `wanted` is its text, without the mark.
    fn find<'table>(self, table: &Table<'table>, hash: u64, wanted: &[u8], in_answer: bool) -> Option<Suffix<'table>> {
        let [first, second] = homes(hash, table.layout.counts.lines);
        // With the mark or without: of that length no other text is that name.
        let length = wanted.len().wrapping_add(in_answer.into());
        let is_wanted = |suffix: &Suffix<'_>| {
            suffix.length == length && suffix.text(table).is_some_and(|text| name_of(text).0 == wanted)
        };
        let in_line = |index| Suffixes(line(table, index)?).find(is_wanted);
        let found = if self.in_first { in_line(first) } else { None };
        if found.is_some() || !self.in_second { found } else { in_line(second) }
    }
}

/// The name in the text of a suffix, and whether it is for the names in answers.
pub(crate) fn name_of(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(IN_ANSWER.as_bytes()) {
        Some(name) => (name, true),
        None => (text, false),
    }
}

/// The hash of a name, read from its end in words, so that the hashes of all suffixes of a name come out on the way.
#[derive(Clone, Copy)]
struct SuffixHash(u64);

impl SuffixHash {
    /// That of no words.
    const fn of(in_answer: bool) -> Self {
        Self(in_answer as u64)
    }

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

/// The hash of the text of a suffix.
pub(crate) fn hash(text: &[u8]) -> u64 {
    let (name, in_answer) = name_of(text);
    let (rest, words) = name.as_rchunks::<WORD>();
    let start = SuffixHash::of(in_answer);
    let hash = words.iter().rev().fold(start, |hash, word| hash.push(u64::from_le_bytes(*word)));
    let rest = rest.iter().fold(0_u64, |word, byte| word >> 8 | u64::from(*byte) << 56);
    hash.end(rest, name.len())
}

/// The lines where a suffix with this hash may be.
#[inline]
pub(crate) fn homes(hash: u64, lines: u32) -> [u32; 2] {
    [hash >> 32, hash & u64::from(u32::MAX)].map(|half| (half.wrapping_mul(lines.into()) >> 32) as u32)
}

/// The bits that the hint of its first line has if a suffix with this hash is there, and those if it is in its second
/// line. The first three are the same.
#[inline]
pub(crate) fn hints(hash: u64) -> [u32; 2] {
    // Bits that say which lines it has would say nothing more.
    let mixed = hash.wrapping_mul(0xC2B2_AE3D_27D4_EB4F) >> 44;
    let bit = |shift: u32| 1_u32 << (mixed >> shift & 31);
    let both = bit(0) | bit(5) | bit(10);
    let last = bit(15);
    [both | last, both | last.rotate_left(16)]
}

/// The longest text that lies in a line. So two of them always have room in one.
pub(crate) const MAX_INLINE: usize = 28;

/// What a suffix has before its text: the length and its pair of trees.
pub(crate) const HEAD: usize = 4;

/// What a longer suffix has in place of its text: where that starts in the section of texts.
pub(crate) const OFFSET: usize = 4;

const _: () = assert!(2 * (HEAD + MAX_INLINE) <= size::LINE && MAX_SUFFIX < 1 << u8::BITS);
const _: () = assert!(IN_ANSWER.len() == 1);

/// A line of a table.
#[inline]
pub(crate) fn line<'table>(table: &Table<'table>, index: u32) -> Option<&'table [u8; size::LINE]> {
    table.record(table.layout.lines, index)
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
    let (hash, (name, in_answer)) = (hash(text), name_of(text));
    Hint::of(table, hash)?.find(table, hash, name, in_answer)
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
    let (text, in_answer) = name_of(text);
    name.in_answer = in_answer;
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
            name.in_answer = true;
            for_each_answer_name(packet.bytes, packet.flow, |labels| {
                if name.read_labels(labels.as_bytes()).is_some() {
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
pub(crate) fn first_rule<E: Entry>(table: Table<'_>, key: &E::Key, packet: ParsedPacket<'_>, best: Found) -> Found {
    let (table, packet) = (&table, &packet);
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
            let starts = (0..length).filter(|start| *start == 0 || text[start - 1] == b'.');
            let mut expected = starts.map(|start| (hash(&text[start..]), length - start));
            name.for_each_suffix(|hash, length| assert_eq!(Some((hash, length)), expected.next()));
            assert_eq!(expected.next(), None, "{}", text.escape_ascii());
        }
    }
}
