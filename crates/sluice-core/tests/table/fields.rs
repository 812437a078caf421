//! Every bit of every kind of record: what it may be, and what is said if it is not that.

use sluice_core::{Policy, TableError};

use super::raw::{
    FILTER_HEAD_WORDS, FILTER_SET_WORDS, LEAF, LOG, NO_RULE, REMAINDER, Raw, Section, entry6, hash, hints, homes, used,
};
use super::sample::sample;

/// Some bits of a word of the sample.
struct Field {
    name: &'static str,
    section: Section,
    record: usize,
    word: usize,
    shift: u32,
    bits: u32,
    /// What it may be, with everything else as it is.
    may_be: fn(u32) -> bool,
    /// What is said otherwise.
    error: TableError,
}

/// A field of a record: name, word, place of its lowest bit, number of bits, what it may be, what is said otherwise.
type Bits = (&'static str, usize, u32, u32, fn(u32) -> bool, TableError);

/// The bytes of a record of each section.
fn record_size(section: Section) -> usize {
    match section {
        Section::Header | Section::Entries6 | Section::Lines => 64,
        Section::Rules => 8,
        Section::Nodes => 16,
        Section::Entries4 => 32,
        Section::ExtraWords | Section::Hints | Section::Filters => 4,
        Section::Text => 1,
    }
}

/// The records that are described, and how many words of each.
const RECORDS: &[(Section, usize, usize)] = &[
    (Section::Rules, 4, 2),
    (Section::Nodes, 0, 4),
    (Section::Nodes, 1, 4),
    (Section::Nodes, 2, 4),
    (Section::Nodes, 13, 4),
    (Section::Entries4, 0, 8),
    (Section::Entries6, 0, 16),
];

fn fields() -> Vec<Field> {
    let mut fields = Vec::new();
    let mut of = |section, record, list: &[Bits]| {
        fields.extend(list.iter().map(|(name, word, shift, bits, may_be, error)| Field {
            name,
            section,
            record,
            word: *word,
            shift: *shift,
            bits: *bits,
            may_be: *may_be,
            error: *error,
        }));
    };
    let any: fn(u32) -> bool = |_| true;
    use TableError::{BadEntry, BadNode, BadRule};
    of(
        Section::Rules,
        4,
        &[
            ("id", 0, 0, 32, |id| id != 0, BadRule(4)),
            ("extra conditions", 1, 0, 30, |extra| extra == 0, BadRule(4)),
            ("action", 1, 30, 2, any, BadRule(4)),
        ],
    );
    // An inner node that looks at windows.
    of(
        Section::Nodes,
        0,
        &[
            ("first child", 0, 0, 32, |child| child == 10, BadNode(0)),
            ("first rule", 1, 0, 32, |rule| rule == 0, BadNode(0)),
            ("word of the first window", 2, 0, 4, |word| word < 4, BadNode(0)),
            ("shift of the first window", 2, 4, 5, any, BadNode(0)),
            ("bits of the first window", 2, 9, 4, |bits| bits == 1, BadNode(0)),
            ("word of the second window", 2, 13, 4, |word| word < 4, BadNode(0)),
            ("shift of the second window", 2, 17, 5, any, BadNode(0)),
            ("bits of the second window", 2, 22, 4, |bits| bits == 1, BadNode(0)),
            ("unused", 2, 26, 2, any, BadNode(0)),
            ("kind", 2, 28, 4, |kind| kind == REMAINDER >> 28, BadNode(0)),
            ("work", 3, 0, 24, |work| work == 13, BadNode(0)),
            ("pending", 3, 24, 8, |pending| pending == 2, BadNode(0)),
        ],
    );
    // One that looks at a hash.
    of(
        Section::Nodes,
        1,
        &[
            ("first child", 0, 0, 32, |child| child == 15, BadNode(1)),
            ("first rule", 1, 0, 32, |rule| rule == 0, BadNode(1)),
            ("bits of the source", 2, 0, 8, |bits| bits <= 128, BadNode(1)),
            ("bits of the destination", 2, 8, 8, |bits| bits <= 128, BadNode(1)),
            ("bits of the hash", 2, 16, 5, |bits| bits == 1, BadNode(1)),
            ("parts", 2, 21, 3, any, BadNode(1)),
            ("unused", 2, 24, 4, any, BadNode(1)),
            ("kind", 2, 28, 4, |kind| kind == 0b0011, BadNode(1)),
            ("work", 3, 0, 24, |work| work == 4, BadNode(1)),
            ("pending", 3, 24, 8, |pending| pending == 0, BadNode(1)),
        ],
    );
    // An empty leaf.
    of(
        Section::Nodes,
        2,
        &[
            ("first entry", 0, 0, 32, |entry| entry == 0, BadNode(2)),
            ("first rule", 1, 0, 32, |rule| rule == NO_RULE, BadNode(2)),
            ("entries and kind", 2, 0, 32, |control| control == LEAF, BadNode(2)),
            ("filter", 3, 0, 32, |filter| filter == 0, BadNode(2)),
        ],
    );
    // A leaf with a filter. What its parent reads of it is refused there.
    of(
        Section::Nodes,
        13,
        &[
            // The nine from the next one on are in order as well.
            ("first entry", 0, 0, 32, |entry| entry == 3 || entry == 4, BadNode(13)),
            ("first rule", 1, 0, 32, |rule| rule == 0, BadNode(13)),
            ("entries and kind", 2, 0, 32, |control| control == LEAF | 9, BadNode(0)),
            ("filter", 3, 0, 32, |filter| filter == 0 || filter == 4, BadNode(13)),
        ],
    );
    of(
        Section::Entries4,
        0,
        &[
            // 192.0.2.0/24: the low 8 bits do not count.
            ("source: what does not count", 0, 0, 8, |bits| bits == 0, BadEntry(0)),
            ("source", 0, 8, 24, any, BadEntry(0)),
            ("destination: what does not count", 1, 0, 32, |bits| bits == 0, BadEntry(0)),
            ("first ports", 2, 0, 32, any, BadEntry(0)),
            ("last ports", 3, 0, 32, any, BadEntry(0)),
            ("values without a mask", 4, 0, 24, |bits| bits == 0, BadEntry(0)),
            ("values with a mask", 4, 24, 8, any, BadEntry(0)),
            ("mask", 5, 0, 24, any, BadEntry(0)),
            ("mask of the values", 5, 24, 8, |mask| mask & 6 == 6, BadEntry(0)),
            ("id of the rule", 6, 0, 32, |id| id == 5, BadEntry(0)),
            ("bits of the source", 7, 0, 6, |bits| bits <= 9, BadEntry(0)),
            ("bits of the destination", 7, 6, 6, |bits| bits <= 32, BadEntry(0)),
            ("the rule blocks", 7, 12, 1, |blocks| blocks == 1, BadEntry(0)),
            ("the rule has extra conditions", 7, 13, 1, |has| has == 1, BadEntry(0)),
            ("rule", 7, 14, 18, |rule| rule == 1, BadEntry(0)),
        ],
    );
    of(
        Section::Entries6,
        0,
        &[
            ("source", 0, 0, 32, any, BadEntry(0)),
            ("source: what does not count", 1, 0, 32, |bits| bits == 0, BadEntry(0)),
            ("source: what does not count", 2, 0, 32, |bits| bits == 0, BadEntry(0)),
            ("source: what does not count", 3, 0, 32, |bits| bits == 0, BadEntry(0)),
            ("destination: what does not count", 4, 0, 32, |bits| bits == 0, BadEntry(0)),
            ("destination: what does not count", 5, 0, 32, |bits| bits == 0, BadEntry(0)),
            ("destination: what does not count", 6, 0, 32, |bits| bits == 0, BadEntry(0)),
            ("destination: what does not count", 7, 0, 32, |bits| bits == 0, BadEntry(0)),
            ("first ports", 8, 0, 32, any, BadEntry(0)),
            ("last ports", 9, 0, 32, any, BadEntry(0)),
            ("values without a mask", 10, 0, 32, |bits| bits == 0, BadEntry(0)),
            ("mask", 11, 0, 32, any, BadEntry(0)),
            ("id of the rule", 12, 0, 32, |id| id == 3, BadEntry(0)),
            ("unused", 13, 0, 12, |bits| bits == 0, BadEntry(0)),
            ("the rule blocks", 13, 12, 1, |blocks| blocks == 0, BadEntry(0)),
            ("the rule has extra conditions", 13, 13, 1, |has| has == 0, BadEntry(0)),
            ("rule", 13, 14, 18, |rule| rule == 0, BadEntry(0)),
            ("bits of the source", 14, 0, 8, |bits| bits <= 99, BadEntry(0)),
            ("bits of the destination", 14, 8, 24, |bits| bits <= 128, BadEntry(0)),
            ("unused", 15, 0, 32, |bits| bits == 0, BadEntry(0)),
        ],
    );
    fields
}

/// What to try in a field: everything, if it is small; else each of its bits the other way, its neighbours, its ends.
fn values(field: &Field, now: u32) -> Vec<u32> {
    let all = u32::MAX >> (32 - field.bits);
    if field.bits <= 8 {
        return (0..=all).collect();
    }
    let flipped = (0..field.bits).map(|bit| now ^ 1 << bit);
    flipped.chain([now, 0, all, now.wrapping_add(1) & all, now.wrapping_sub(1) & all]).collect()
}

#[test]
fn every_bit_of_every_record_is_described_once() {
    for (section, record, words) in RECORDS {
        let mut described = vec![0_u32; *words];
        for field in fields().iter().filter(|field| (field.section, field.record) == (*section, *record)) {
            let mask = (u32::MAX >> (32 - field.bits)) << field.shift;
            assert_eq!(described[field.word] & mask, 0, "{section:?} {record}: {} is described twice", field.name);
            described[field.word] |= mask;
        }
        assert!(described.iter().all(|mask| *mask == u32::MAX), "{section:?} {record}: {described:x?}");
        assert_eq!(record_size(*section), words * 4);
    }
}

#[test]
fn every_field_is_what_it_may_be_or_the_table_is_refused_there() {
    let (table, starts) = sample().bytes_and_starts();
    let start_of = |section| starts.iter().find(|(of, _)| *of == section).unwrap().1;
    for field in fields() {
        let at = start_of(field.section) + field.record * record_size(field.section) + 4 * field.word;
        let word = u32::from_le_bytes(table[at..at + 4].try_into().unwrap());
        let mask = (u32::MAX >> (32 - field.bits)) << field.shift;
        let now = (word & mask) >> field.shift;
        for value in values(&field, now) {
            let mut other = table.clone();
            other[at..at + 4].copy_from_slice(&(word & !mask | value << field.shift).to_le_bytes());
            let is_right = value == now || (field.may_be)(value);
            let expected = if is_right { Ok(()) } else { Err(field.error) };
            let what = format!("{:?} {}, {}: {value:#x}", field.section, field.record, field.name);
            assert_eq!(Policy::new(other).map(drop), expected, "{what}");
        }
    }
}

#[test]
fn extra_conditions_are_well_formed() {
    let table = |change: &dyn Fn(&mut Vec<u32>)| {
        let mut raw = sample();
        change(&mut raw.extra_words);
        raw.validate()
    };
    let bad = Err(TableError::BadExtra(1));
    // Where each condition starts, and how many words an item has.
    let starts = [(1, 1), (4, 1), (7, 1), (9, 8), (18, 1), (20, 1), (22, 1), (24, 2), (27, 2), (30, 8), (39, 8)];
    for ((start, words), kind) in starts.into_iter().zip(1..) {
        let head = sample().extra_words[start];
        assert_eq!(head & 0xFF, kind, "the sample has each kind, in order");
        for other in (0..=255).filter(|other| *other != kind) {
            assert!(table(&|extra| extra[start] = head & !0xFF | other).is_err(), "kind {kind} as {other}");
        }
        assert_eq!(table(&|extra| extra[start] = head & 0xFF), bad, "kind {kind} without items");
        assert!(table(&|extra| extra[start] = head + 0x100).is_err(), "kind {kind} with an item too many");
        assert_eq!(table(&|extra| extra[start] = head | 0xFFFF_FF00), bad, "kind {kind} without an end");
        let item = start + 1;
        if matches!(words, 2) || kind >= 10 {
            let half = words / 2;
            // An empty range, and one of a single address.
            assert_eq!(
                table(&|extra| extra[item + half] = extra[item] - 1),
                bad,
                "kind {kind} that ends before it starts"
            );
            let one = |extra: &mut Vec<u32>| extra.copy_within(item..item + half, item + half);
            assert_eq!(table(&one), Ok(()), "kind {kind} of one address");
        }
    }
    assert_eq!(table(&|extra| extra[2] = 0x1_0000), bad, "a link type of 17 bits");
    assert_eq!(table(&|extra| extra[3] = 0x1_0000), bad, "a link type of 17 bits");
    assert_eq!(table(&|extra| extra[3] = 0xFFFF), Ok(()));
    assert_eq!(table(&|extra| extra.swap(2, 3)), bad, "link types out of order");
    assert_eq!(table(&|extra| extra[3] = extra[2]), bad, "a link type twice");
    assert_eq!(table(&|extra| extra[8] = 0x1_0000), bad, "an EtherType of 17 bits");
    assert_eq!(table(&|extra| extra[5] = 7 | 5 << 16), bad, "VLAN ids from 7 to 5");
    assert_eq!(table(&|extra| extra[5] = 5 | 8 << 16), Ok(()));
    assert_eq!(table(&|extra| extra[5] = 5 | 9 << 16), bad, "VLAN ids that overlap the next");
    assert_eq!(table(&|extra| extra[19] = 21 | 20 << 16), bad, "source ports from 21 to 20");
    assert_eq!(table(&|extra| extra[21] = 444 | 443 << 16), bad, "destination ports from 444 to 443");
    assert_eq!(table(&|extra| extra[23] = 8 | 4 << 8 | 3 << 16), bad, "ICMP codes from 4 to 3");
    assert_eq!(table(&|extra| extra[23] |= 1 << 24), bad, "a bit behind the ICMP codes");
    assert_eq!(table(&|extra| extra[23] = 0xFF_FFFF), Ok(()));
    assert_eq!(table(&|extra| extra[9] = 4 | 2 << 8), bad, "two lists of protocols");
    let two_of = |first: u32, second: u32| {
        move |extra: &mut Vec<u32>| {
            extra.splice(22..24, [7 | 2 << 8, first, second]);
        }
    };
    let lengthened = |change: &dyn Fn(&mut Vec<u32>)| {
        let mut raw = sample();
        change(&mut raw.extra_words);
        // The second list starts a word later.
        raw.rules[3][1] += 1;
        raw.validate()
    };
    assert_eq!(lengthened(&two_of(8 | 3 << 16, 9)), Ok(()), "ICMP types in order");
    assert_eq!(lengthened(&two_of(8 | 3 << 16, 8 | 3 << 8 | 4 << 16)), bad, "ICMP codes that overlap");
    assert_eq!(lengthened(&two_of(9, 8 | 3 << 16)), bad, "ICMP types out of order");
    // A list ends, and has something in it.
    assert_eq!(table(&|extra| extra.truncate(51)), Err(TableError::BadExtra(49)), "without an end");
    let only = |words: &[u32]| {
        let mut raw = sample();
        raw.extra_words = words.to_vec();
        raw.rules[3][1] = LOG;
        raw.entries6[2] = entry6(&raw.rules, 3);
        raw.validate()
    };
    assert_eq!(only(&[0, 1 | 1 << 8, 1, 0]), Ok(()));
    assert_eq!(only(&[0, 13 | 1 << 8, 0x18_0000, 0x08_0000, 0]), Ok(()), "flags");
    assert_eq!(only(&[0, 13 | 1 << 8, 0x08_0000, 0x10_0000, 0]), bad, "a flag that does not count");
    assert_eq!(only(&[0, 13 | 1 << 8, 0, 0, 0]), bad, "no flag that counts");
    assert_eq!(only(&[0, 13 | 2 << 8, 8, 8, 16, 16, 0]), bad, "two sets of flags");
    assert_eq!(only(&[0, 1 | 1 << 8, 1, 2 | 1 << 8, 5 | 7 << 16, 0]), Ok(()), "two kinds");
    assert_eq!(only(&[0, 2 | 1 << 8, 5 | 7 << 16, 1 | 1 << 8, 1, 0]), bad, "kinds out of order");
    assert_eq!(only(&[0, 1 | 1 << 8, 1, 1 | 1 << 8, 101, 0]), bad, "a kind twice");
    assert_eq!(only(&[0, 0]), bad, "a list without conditions");
    assert_eq!(only(&[0, 1 | 1 << 8, 1, 1 << 8]), bad, "an end that counts");
    assert_eq!(only(&[0, 1 | 1 << 8, 1]), bad, "an item is the last word");
    assert_eq!(only(&[0, 1 | 1 << 8, 1, 0, 0]), Err(TableError::BadExtra(4)), "a word behind the list");
    assert_eq!(only(&[]), bad, "no words at all");
}

#[test]
fn the_head_of_a_filter_is_checked_and_its_sets_are_free() {
    let table = |word: usize, value: u32| {
        let mut raw = sample();
        raw.filters[4 + word] = value;
        raw.validate()
    };
    let bad = Err(TableError::BadNode(13));
    for place in 0..=255_u8 {
        for window in 0..8 {
            let (word, shift) = (window / 4, window % 4 * 8);
            let now = sample().filters[4 + word];
            let expected = if place < 16 { Ok(()) } else { bad };
            let value = now & !(0xFF << shift) | u32::from(place) << shift;
            assert_eq!(table(word, value), expected, "window {window} at byte {place}");
        }
    }
    for word in [2, 3] {
        for byte in 0..4 {
            assert_eq!(table(word, 1 << (8 * byte)), bad, "the eight bytes of 0");
        }
    }
    for word in [0, 1, FILTER_SET_WORDS - 1] {
        assert_eq!(table(FILTER_HEAD_WORDS + word, u32::MAX), Ok(()), "sets");
    }
}

/// Whether each suffix is in lower case, and in a line where the hint sends a lookup of it.
fn are_found(raw: &Raw) -> bool {
    raw.lines.iter().enumerate().all(|(line, bytes)| {
        suffixes(bytes).into_iter().all(|at| {
            let length = usize::from(bytes[at]);
            let rest = &bytes[at + 4..];
            let text = if length <= 28 {
                &rest[..length]
            } else {
                &raw.text[u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize..][..length]
            };
            let name = std::str::from_utf8(text).unwrap_or(" ");
            let [first, second] = homes(hash(text), raw.lines.len());
            name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
                && [first, second]
                    .into_iter()
                    .zip(hints(hash(text)))
                    .any(|(home, bits)| home == line && raw.hints[first] & bits == bits)
        })
    })
}

/// Where the suffixes of a line start.
fn suffixes(line: &[u8; 64]) -> Vec<usize> {
    (0..64)
        .filter(|at| used(line) > *at && used(&std::array::from_fn(|i| if i < *at { line[i] } else { 0 })) == *at)
        .collect()
}

#[test]
fn every_bit_of_the_lines_and_the_texts_counts() {
    // Hints that send a lookup to both lines of everything.
    let sample = || Raw { hints: vec![u32::MAX; super::sample::LINES as usize], ..sample() };
    let raw = sample();
    assert_eq!(raw.lines.len(), super::sample::LINES as usize);
    assert!(are_found(&raw));
    let mut still_right = 0;
    // Another letter makes another suffix, which may have its place in the same line.
    let mut is_right = |other: &Raw, what: &str, bit: usize, is_text: bool| {
        let said = other.validate();
        assert_eq!(said.is_ok(), is_text && are_found(other), "bit {bit} of {what}: {said:?}");
        assert!(matches!(said, Ok(()) | Err(TableError::BadSuffix(_))), "bit {bit} of {what}: {said:?}");
        still_right += usize::from(said.is_ok());
    };
    for bit in 0..8 * raw.text.len() {
        let mut other = sample();
        other.text[bit / 8] ^= 1 << (bit % 8);
        is_right(&other, "the texts", bit, true);
    }
    for (line, bytes) in raw.lines.iter().enumerate() {
        let starts = suffixes(bytes);
        let in_text = |at: usize| {
            starts
                .iter()
                .any(|start| bytes[*start] <= 28 && (start + 4..start + 4 + usize::from(bytes[*start])).contains(&at))
        };
        for bit in 0..8 * 64 {
            let mut other = sample();
            other.lines[line][bit / 8] ^= 1 << (bit % 8);
            is_right(&other, &format!("line {line}"), bit, in_text(bit / 8));
        }
    }
    assert!(still_right > 10, "{still_right}");
}

#[test]
fn a_hint_has_every_bit_that_its_suffixes_need_and_may_have_more() {
    let raw = sample();
    let mut refused = 0;
    for bit in 0..32 * raw.hints.len() {
        let mut other = sample();
        other.hints[bit / 32] ^= 1 << (bit % 32);
        let said = other.validate();
        let is_more = other.hints[bit / 32] > raw.hints[bit / 32];
        // That a suffix of another line is not found is seen there.
        let line = other.lines.iter().enumerate().position(|(line, bytes)| {
            !are_found(&Raw {
                lines: (0..raw.lines.len()).map(|at| if at == line { *bytes } else { [0; 64] }).collect(),
                ..other.clone()
            })
        });
        let bad = line.map_or(Ok(()), |line| Err(TableError::BadSuffix(u32::try_from(line).unwrap())));
        assert_eq!(said, bad, "bit {bit}");
        assert_eq!(said.is_ok(), is_more, "bit {bit}: the sample has no bit that nothing needs");
        refused += usize::from(said.is_err());
    }
    assert!(refused >= 8, "{refused}: three suffixes, each of which needs three or four bits");
}
