//! Every check of a policy table has a table that only it refuses: one that is otherwise right, with one field changed.
//!
//! [`sample`] has a record of each kind that docs/policy-table.md describes. [`fields`] describes every bit of these
//! records: what it may be, and what is said otherwise. [`limits`] has the tables that sit exactly on each limit.

mod children;
mod conditions;
mod fields;
mod hints;
mod limits;
mod raw;
mod sample;

use sluice_core::{Direction, ParsedPacket, Policy, TableError};
use sluice_npi::{Flow, name_kind};

use raw::{COUNT, FILTER_SET_WORDS, IPV6, Raw, empty_leaf, entry4, hash, header, inner, leaf, window, windows};
use sample::sample;

/// One change of the sample, and what is said about it.
type Case = (&'static str, fn(&mut Raw), TableError);

#[track_caller]
fn are_refused(cases: &[Case]) {
    for (what, change, error) in cases {
        let mut raw = sample();
        change(&mut raw);
        assert_eq!(raw.validate(), Err(*error), "{what}");
    }
}

#[test]
fn the_sample_is_right() {
    sample().validate().unwrap();
    Raw::empty().validate().unwrap();
}

#[test]
fn the_page_describes_the_sections_of_the_sample() {
    let page = include_str!("../../../../docs/policy-table.md");
    let counts = "| 16 | counts of: rules, nodes, IPv4 entries, IPv6 entries, extra words, suffixes, lines, bytes of \
                  text, filter words, pairs of trees |";
    assert!(page.contains(counts), "a count was added: the tables of this test need it, and what may be wrong with it");
    let sections = page.split_once("| section | record |").unwrap().1;
    let sections = sections.lines().skip(2).take_while(|line| line.starts_with('|'));
    let records: Vec<(&str, &str)> = sections
        .map(|line| {
            let mut cells = line.split('|').map(str::trim);
            (cells.nth(1).unwrap(), cells.next().unwrap())
        })
        .collect();
    let known = [
        ("rules", "8"),
        ("nodes", "16"),
        ("IPv4 entries", "32"),
        ("IPv6 entries", "64"),
        ("extra words", "4"),
        ("hints", "4"),
        ("lines", "64"),
        ("text", "1"),
        ("filter words", "4"),
    ];
    assert_eq!(records, known, "a section was added or changed: `fields` has to describe its records");
}

#[test]
fn a_header_that_is_cut_off_or_another_files_is_no_table() {
    let table = sample().bytes();
    let refused = |bytes: &[u8], error| assert_eq!(sluice_core::Policy::new(bytes).map(drop), Err(error));
    refused(&[], TableError::NotATable);
    refused(&table[..63], TableError::NotATable);
    refused(&table[..64], TableError::WrongSize { expected: Some(table.len()), actual: 64 });
    for byte in 0..4 {
        let mut other = table.clone();
        other[byte] ^= 0x20;
        refused(&other, TableError::NotATable);
    }
    for version in [0, 7, 9, u32::MAX] {
        let mut other = table.clone();
        other[4..8].copy_from_slice(&version.to_le_bytes());
        refused(&other, TableError::UnknownVersion(version));
    }
    for action in [0, 3, 4, 1 << 16 | 1, u32::MAX] {
        refused(&Raw { action, ..sample() }.bytes(), TableError::UnknownAction);
    }
    sluice_core::Policy::new(Raw { action: 2, ..sample() }.bytes()).unwrap();
}

#[test]
fn a_table_has_the_size_that_its_header_says() {
    let table = sample().bytes();
    let size = table.len();
    let wrong = |actual| Err(TableError::WrongSize { expected: Some(size), actual });
    let validate = |bytes: Vec<u8>| sluice_core::Policy::new(bytes).map(drop);
    assert_eq!(validate(table[..size - 1].to_vec()), wrong(size - 1));
    assert_eq!(validate(table[..size - 64].to_vec()), wrong(size - 64));
    let mut longer = table.clone();
    longer.push(0);
    assert_eq!(validate(longer), wrong(size + 1));
    // The header says another size than its counts.
    for said in [0, size - 1, size + 1, size + 64] {
        let mut other = table.clone();
        other[8..12].copy_from_slice(&u32::try_from(said).unwrap().to_le_bytes());
        assert_eq!(validate(other), wrong(size), "{said}");
    }
}

#[test]
fn gaps_and_unused_bytes_are_zero() {
    let raw = sample();
    let (table, starts) = raw.bytes_and_starts();
    let counts = raw.counts();
    let [rules, nodes, entries4, entries6, extra_words, _suffixes, lines, text, filter_words, ..] = counts;
    // Suffixes have no section of their own: they are in the lines. Hints have no count of their own.
    let sections = [
        (rules, 8),
        (nodes, 16),
        (entries4, 32),
        (entries6, 64),
        (extra_words, 4),
        (lines, 4),
        (lines, 64),
        (text, 1),
        (filter_words, 4),
    ];
    let mut gaps = 0;
    let ends = starts.iter().skip(2).map(|(_, start)| *start).chain([table.len()]);
    for (((section, start), end), (count, size)) in starts.iter().skip(1).zip(ends).zip(sections) {
        for byte in start + count as usize * size..end {
            let mut other = table.clone();
            other[byte] = 1;
            let said = sluice_core::Policy::new(other).map(drop);
            assert_eq!(said, Err(TableError::ReservedBytes), "byte {byte}, behind {section:?}");
            gaps += 1;
        }
    }
    assert!(gaps > 100, "{gaps}: the sample has a gap behind most sections");
    for byte in 60..64 {
        let mut other = table.clone();
        other[byte] = 1;
        assert_eq!(sluice_core::Policy::new(other).map(drop), Err(TableError::ReservedBytes));
    }
}

#[test]
fn counts_belong_to_the_records() {
    // What is not in a record any more is a gap that is not 0; what is one record too many is one of zeros.
    let changed = |count: usize, change: fn(u32) -> u32| {
        let (mut table, _) = sample().bytes_and_starts();
        let word = &mut table[16 + 4 * count..][..4];
        let old = u32::from_le_bytes(word.try_into().unwrap());
        word.copy_from_slice(&change(old).to_le_bytes());
        sluice_core::Policy::new(table).map(drop)
    };
    let less = |count| changed(count, |count| count - 1);
    let more = |count| changed(count, |count| count + 1);
    let raw = sample();
    let [rules, nodes, .., extra_words, _suffixes, lines, _text, _filters, _pairs, _observing] = raw.counts();
    assert_eq!(less(0), Err(TableError::ReservedBytes), "rules");
    assert_eq!(more(0), Err(TableError::BadRule(rules)), "rules");
    assert_eq!(less(1), Err(TableError::ReservedBytes), "nodes");
    assert_eq!(more(1), Err(TableError::BadNode(nodes)), "nodes");
    assert_eq!(less(2), Err(TableError::ReservedBytes), "IPv4 entries");
    assert_eq!(less(4), Err(TableError::BadExtra(49)), "extra words");
    assert_eq!(more(4), Err(TableError::BadExtra(extra_words)), "extra words");
    assert_eq!(less(5), Err(TableError::BadSuffix(lines)), "suffixes");
    assert_eq!(more(5), Err(TableError::BadSuffix(lines)), "suffixes");
    assert_eq!(changed(5, |_| 0), Err(TableError::CountOutOfRange), "no suffixes");
    assert_eq!(changed(6, |_| 0), Err(TableError::CountOutOfRange), "no lines");
    assert_eq!(less(7), Err(TableError::ReservedBytes), "text");
    assert_eq!(more(7), Err(TableError::BadSuffix(lines)), "text");
    // A root less for each kind of packet with a name: what was one is a node without a parent.
    assert_eq!(less(9), Err(TableError::BadNode(0)), "pairs of trees");
    assert_eq!(more(9), Err(TableError::BadNode(0)), "pairs of trees");
    assert_eq!(changed(10, |_| 0), Err(TableError::BadNode(0)), "forests");
    assert_eq!(changed(10, |_| 2), Err(TableError::CountOutOfRange), "forests");
}

#[test]
fn a_table_without_suffixes_has_no_lines() {
    let raw = Raw { hints: vec![0], lines: vec![[0; 64]], ..Raw::empty() };
    assert_eq!(raw.validate(), Err(TableError::CountOutOfRange));
}

/// Filters come where lines would be. The first one looks like a line with a name, and like the hint for it.
#[test]
fn in_a_table_without_suffixes_no_name_is_looked_for() {
    let hint = 15;
    let is_hinted = |name: &String| raw::hints(hash(name.as_bytes())).iter().any(|bits| hint & bits == *bits);
    let name = (0..).map(|number: u32| format!("name-{number:010}")).find(is_hinted).unwrap();
    let line = [&hint.to_le_bytes()[..], name.as_bytes(), &[0; 64 - 4 - 15]].concat();
    let filters = line.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    let mut raw = Raw { filters, ..Raw::empty() };
    // The name would be searched for from the node behind the roots on, to which the packet does not go.
    let parent = |base| inner(base, 0, windows(window(0, 0, 1), 0), 3, 0);
    let children = [leaf(0, 0, 1, 0, 0), empty_leaf(0)];
    let flow = |port| Flow {
        ip_version: 4,
        destination_port: port,
        name_kind: name_kind::TLS,
        name_length: 15,
        ..Flow::default()
    };

    let rules = vec![[1, 0]];
    let mut deciding = Raw { entries4: vec![entry4(&rules, 0)], rules, ..raw.clone() };
    deciding.nodes[0] = parent(3);
    deciding.nodes.extend(children);
    let policy = Policy::new(deciding.bytes()).unwrap();
    let decided = |port| policy.classify(Direction::Inbound, 1, name.as_bytes(), &flow(port)).rule_id;
    assert_eq!([0, 1].map(decided), [1, 0]);

    (raw.rules, raw.observing) = (vec![[1, COUNT]], 1);
    raw.entries4 = vec![entry4(&raw.rules, 0)];
    raw.nodes.extend([parent(6), empty_leaf(IPV6), empty_leaf(0)]);
    raw.nodes.extend(children);
    let policy = Policy::new(raw.bytes()).unwrap();
    let observed = |port| {
        let packet =
            ParsedPacket { direction: Direction::Inbound, link_type: 1, bytes: name.as_bytes(), flow: &flow(port) };
        let mut count = 0;
        policy.observe(&packet, u32::MAX, |_| count += 1);
        count
    };
    assert_eq!([0, 1].map(observed), [1, 0]);
}

#[test]
fn roots_are_all_there_and_of_their_kind() {
    let mut raw = Raw::empty();
    raw.nodes.pop();
    assert_eq!(raw.validate(), Err(TableError::CountOutOfRange), "the root for what is not IP");
    let raw = Raw { tree_pairs: u32::MAX, ..Raw::empty() };
    assert_eq!(raw.validate(), Err(TableError::CountOutOfRange), "more pairs than a word can count roots of");
    let raw = Raw { observing: 1, ..Raw::empty() };
    assert_eq!(raw.validate(), Err(TableError::CountOutOfRange), "the roots of the second forest");
    for root in 0..10 {
        let mut raw = Raw { tree_pairs: 1, observing: 1, ..Raw::empty() };
        let kinds = [0, IPV6, 0, 0, IPV6, 0, IPV6, 0, 0, IPV6];
        raw.nodes = kinds.map(empty_leaf).to_vec();
        raw.validate().unwrap();
        raw.nodes[root][2] ^= IPV6;
        assert_eq!(raw.validate(), Err(TableError::BadNode(u32::try_from(root).unwrap())));
    }
}

#[test]
fn nodes_that_no_parent_has_are_refused() {
    let mut raw = Raw::empty();
    raw.nodes.push(empty_leaf(0));
    assert_eq!(raw.validate(), Err(TableError::BadNode(3)));
}

#[test]
fn nodes_are_refused_that_reach_beyond_the_section_or_share_children() {
    are_refused(&[
        ("the children of another node", |raw| raw.nodes[1][0] = 10, TableError::BadNode(1)),
        ("children that are not there", |raw| raw.nodes.truncate(18), TableError::BadNode(14)),
        ("a child of the other kind", |raw| raw.nodes[11][2] ^= IPV6, TableError::BadNode(0)),
        ("a child that is not the better one", |raw| raw.nodes[0][1] = 1, TableError::BadNode(0)),
        ("a claim of too little work", |raw| raw.nodes[0][3] -= 1, TableError::BadNode(0)),
        ("a claim of too much work", |raw| raw.nodes[0][3] += 1, TableError::BadNode(0)),
        ("a claim of too little that waits", |raw| raw.nodes[0][3] -= 1 << 24, TableError::BadNode(0)),
        ("a claim of too much that waits", |raw| raw.nodes[0][3] += 1 << 24, TableError::BadNode(0)),
    ]);
}

#[test]
fn leaves_are_refused_that_do_not_have_their_entries() {
    are_refused(&[
        ("entries of the next leaf", |raw| raw.nodes[18][0] = 14, TableError::BadNode(18)),
        ("entries that are not there", |raw| raw.nodes[18][0] = 16, TableError::BadNode(18)),
        ("the rule of another entry", |raw| raw.nodes[5][1] = 1, TableError::BadNode(5)),
        ("an empty leaf with a place", |raw| raw.nodes[2][0] = 1, TableError::BadNode(2)),
        ("an empty leaf with a rule", |raw| raw.nodes[2][1] = 0, TableError::BadNode(2)),
        ("an empty leaf with a filter", |raw| raw.nodes[2][3] = 16, TableError::BadNode(2)),
    ]);
}

#[test]
fn the_entries_of_a_leaf_are_in_the_order_of_their_rules() {
    let leaf_of = |rules: &[u32]| {
        let mut raw = Raw { rules: vec![[1, 0], [2, 0], [3, 0]], ..Raw::empty() };
        raw.entries4 = rules.iter().map(|rule| entry4(&raw.rules, *rule)).collect();
        raw.nodes[0] = leaf(0, 0, u32::try_from(rules.len()).unwrap(), rules[0], 0);
        raw.validate()
    };
    assert_eq!(leaf_of(&[0, 1, 2]), Ok(()));
    assert_eq!(leaf_of(&[1, 1, 1]), Ok(()), "several entries of a rule");
    assert_eq!(leaf_of(&[0, 2, 1]), Err(TableError::BadNode(0)));
    assert_eq!(leaf_of(&[1, 0, 2]), Err(TableError::BadNode(0)));
    assert_eq!(leaf_of(&[0, 1, 3]), Err(TableError::BadEntry(2)), "a rule that is not there");
}

#[test]
fn leaves_that_have_the_same_entries_follow_each_other() {
    // Two rules, an entry of each, and four leaves: the first entry of each, and how many it has.
    let leaves = |leaves: [(u32, u32); 4]| {
        let mut raw = Raw { rules: vec![[1, 0], [2, 0]], ..Raw::empty() };
        raw.entries4 = vec![entry4(&raw.rules, 0), entry4(&raw.rules, 1)];
        let first_rule = leaves.iter().map(|(first, _)| *first).min().unwrap();
        let most = leaves.iter().map(|(_, count)| *count).max().unwrap();
        raw.nodes[0] = inner(3, first_rule, windows(window(0, 0, 1), window(1, 0, 1)), most + 2, 0);
        raw.nodes.extend(leaves.map(|(first, count)| leaf(0, first, count, first, 0)));
        raw.validate()
    };
    assert_eq!(leaves([(0, 1), (0, 1), (1, 1), (1, 1)]), Ok(()));
    assert_eq!(leaves([(1, 1), (1, 1), (1, 1), (0, 1)]), Ok(()));
    assert_eq!(leaves([(0, 2), (0, 2), (0, 2), (0, 2)]), Ok(()));
    assert_eq!(leaves([(0, 1), (1, 1), (1, 1), (0, 1)]), Err(TableError::BadNode(6)));
    assert_eq!(leaves([(0, 2), (1, 1), (1, 1), (1, 1)]), Err(TableError::BadNode(4)));
    assert_eq!(leaves([(0, 1), (0, 2), (0, 2), (0, 2)]), Err(TableError::BadNode(4)));
}

#[test]
fn filters_lie_in_the_section_with_sets_for_every_128_entries() {
    are_refused(&[
        ("a word less than a filter has", |raw| raw.filters.truncate(4 + FILTER_SET_WORDS), TableError::BadNode(13)),
        ("a filter that starts behind", |raw| raw.nodes[13][3] += 4, TableError::BadNode(13)),
        ("half a head", |raw| raw.filters.truncate(6), TableError::BadNode(13)),
    ]);
    let table = |count: u32, groups: usize| {
        let mut raw = Raw { rules: vec![[1, 0]], ..Raw::empty() };
        raw.entries4 = vec![entry4(&raw.rules, 0); count as usize];
        raw.nodes[0] = leaf(0, 0, count, 0, 4);
        raw.filters = [vec![0; 4], raw::filter(), vec![0; (groups - 1) * FILTER_SET_WORDS]].concat();
        raw.validate()
    };
    assert_eq!(table(128, 1), Ok(()));
    assert_eq!(table(129, 1), Err(TableError::BadNode(0)));
    assert_eq!(table(129, 2), Ok(()));
    assert_eq!(table(1024, 8), Ok(()));
    assert_eq!(table(1024, 7), Err(TableError::BadNode(0)));
}

#[test]
fn extra_conditions_are_owned_by_rules_in_order() {
    are_refused(&[
        ("the first word is not zero", |raw| raw.extra_words[0] = 1, TableError::BadExtra(sample::EXTRA_WORDS)),
        ("a list that no rule has", |raw| raw.rules[3][1] = raw::LOG, TableError::BadExtra(49)),
        ("a list that another rule has", |raw| raw.rules[3][1] = raw::LOG | 1, TableError::BadRule(3)),
        ("a list that is not there", |raw| raw.rules[3][1] = raw::LOG | sample::EXTRA_WORDS, TableError::BadRule(3)),
        ("the middle of a list", |raw| raw.rules[1][1] = raw::BLOCK | 2, TableError::BadRule(1)),
    ]);
}

#[test]
fn an_entry_says_whether_its_rule_has_extra_conditions() {
    are_refused(&[
        ("it has, and none is said", |raw| raw.entries4[0][7] &= !raw::HAS_EXTRA, TableError::BadEntry(0)),
        ("it has none, and some are said", |raw| raw.entries4[1][7] |= raw::HAS_EXTRA, TableError::BadEntry(1)),
        ("it has, IPv6", |raw| raw.entries6[1][13] &= !raw::HAS_EXTRA, TableError::BadEntry(1)),
        ("it has none, IPv6", |raw| raw.entries6[0][13] |= raw::HAS_EXTRA, TableError::BadEntry(0)),
    ]);
}

#[test]
fn every_suffix_is_where_a_lookup_finds_it() {
    // In 16 lines; the first of them has room for three names of this length.
    let mut names = (0..)
        .map(|number| format!("a-name-{number:08}"))
        .filter(|name| matches!(raw::homes(raw::hash(name.as_bytes()), 16), [0, second] if second > 1));
    let hints = |name: &str| raw::hints(raw::hash(name.as_bytes()));
    let first: [String; 3] = std::array::from_fn(|_| names.next().unwrap());
    let needed_by_first = first.iter().fold(0, |bits, name| bits | hints(name)[0]);
    // The fourth has its bits for itself: neither those of the others nor its own for the first line say all of them.
    let fourth = names
        .find(|name| {
            let [in_first, in_second] = hints(name);
            in_second & !needed_by_first != 0 && in_first & !(needed_by_first | in_second) != 0
        })
        .unwrap();
    let [_, in_second] = hints(&fourth);
    let [a, b, c] = first;
    let names = [a, b, c, fourth];
    let second = raw::homes(raw::hash(names[3].as_bytes()), 16)[1];
    let table = || {
        let mut raw = Raw { tree_pairs: 1, ..Raw::empty() };
        raw.nodes.extend([empty_leaf(0), empty_leaf(IPV6)]);
        raw.name(&names.each_ref().map(String::as_str), 16);
        raw
    };
    assert_eq!(table().hints[0], needed_by_first | in_second);
    assert_eq!(table().validate(), Ok(()));
    let changed = |change: &dyn Fn(&mut Raw)| {
        let mut raw = table();
        change(&mut raw);
        raw.validate()
    };
    let of_line = |line: usize| Err(TableError::BadSuffix(u32::try_from(line).unwrap()));
    assert_eq!(changed(&|raw| raw.hints[0] = needed_by_first), of_line(second), "nobody looks there");
    assert_eq!(changed(&|raw| raw.hints[0] = u32::MAX), Ok(()), "more may be looked for there");
    assert_eq!(changed(&|raw| raw.lines[second] = [0; 64]), of_line(16), "it is nowhere");
    let in_another = |raw: &mut Raw| {
        raw.lines[second] = [0; 64];
        let record = raw.record(&names[3]);
        raw.add(1, &record);
    };
    assert_eq!(changed(&in_another), of_line(1), "in a line that is not one of the two");
    let twice = |raw: &mut Raw| {
        let record = raw.record(&names[3]);
        raw.add(second, &record);
        raw.suffixes += 1;
    };
    assert_eq!(changed(&twice), of_line(second), "twice");
}

#[test]
fn a_hint_has_every_bit_of_its_name_also_where_two_numbers_are_the_same() {
    let mut counts = std::collections::BTreeSet::new();
    for name in (0..200).map(|number| format!("name-{number}")) {
        let hash = hash(name.as_bytes());
        let homes = raw::homes(hash, 16);
        // In its first line, then in its second one. In one that is both it has the bits of either.
        for (line, hint) in homes.into_iter().zip(raw::hints(hash)).filter(|_| homes[0] != homes[1]) {
            let mut raw = Raw { tree_pairs: 1, suffixes: 1, ..Raw::empty() };
            raw.nodes.extend([empty_leaf(0), empty_leaf(IPV6)]);
            (raw.lines, raw.hints) = (vec![[0; 64]; 16], vec![0; 16]);
            let record = raw.record(&name);
            raw.add(line, &record);
            raw.hints[homes[0]] = hint;
            assert_eq!(raw.validate(), Ok(()), "{name}");
            counts.insert(hint.count_ones());
            for bit in (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| hint & bit != 0) {
                raw.hints[homes[0]] = hint & !bit;
                assert!(raw.validate().is_err(), "{name} without {bit:#x}");
            }
        }
    }
    assert!([3, 4].into_iter().all(|count| counts.contains(&count)), "{counts:?}");
}

#[test]
fn suffixes_are_in_lower_case() {
    let named = |name: &str| {
        let mut raw = Raw { tree_pairs: 1, ..Raw::empty() };
        raw.nodes.extend([empty_leaf(0), empty_leaf(IPV6)]);
        raw.name(&[name], 1);
        raw.validate()
    };
    assert_eq!(named("example"), Ok(()));
    assert_eq!(named("_dmarc.xn--bcher-kva.example"), Ok(()));
    for wrong in ["Example", "exam ple", "ex\u{e4}mple", "exam\u{7f}ple", "exam\u{1f}ple"] {
        assert_eq!(named(wrong), Err(TableError::BadSuffix(0)), "{wrong:?}");
    }
    assert_eq!(named(""), Err(TableError::BadSuffix(1)), "what has no length is no suffix");
}

#[test]
fn texts_that_no_line_has_room_for_follow_each_other() {
    let names = ["a".repeat(29), "b".repeat(253)];
    let table = || {
        let mut raw = Raw { tree_pairs: 1, ..Raw::empty() };
        raw.nodes.extend([empty_leaf(0), empty_leaf(IPV6)]);
        raw.name(&names.each_ref().map(String::as_str), 1);
        raw
    };
    assert_eq!(table().validate(), Ok(()));
    assert_eq!(table().text.len(), 29 + 253);
    let changed = |change: fn(&mut Raw)| {
        let mut raw = table();
        change(&mut raw);
        raw.validate()
    };
    // Two records of eight bytes, the offset in the second half of each.
    let bad = Err(TableError::BadSuffix(0));
    assert_eq!(changed(|raw| raw.lines[0][4] = 1), bad, "the first starts later");
    assert_eq!(changed(|raw| raw.lines[0][12] -= 1), bad, "the second starts earlier");
    assert_eq!(changed(|raw| raw.lines[0][8] = 254), bad, "it ends behind the section");
    assert_eq!(changed(|raw| raw.text[0] = b'A'), bad, "another text");
    assert_eq!(changed(|raw| raw.lines[0][1] = 1), bad, "a pair of trees that is not there");
    assert_eq!(changed(|raw| raw.lines[0][63] = 1), bad, "something behind the last suffix");
    assert_eq!(changed(|raw| raw.text.push(b'c')), Err(TableError::BadSuffix(1)), "a text of none");
}

#[test]
fn a_refusal_says_what_is_wrong_and_where() {
    let said = |error: TableError| error.to_string();
    assert_eq!(
        said(TableError::NotATable),
        "not a policy table: it does not start with \"SLPT\" and a header of 64 bytes"
    );
    assert_eq!(said(TableError::UnknownVersion(9)), "policy table of version 9; only version 8 is known");
    let size = |expected| said(TableError::WrongSize { expected, actual: 65 });
    assert_eq!(size(Some(64)), "policy table of 65 bytes whose header says 64");
    assert_eq!(size(None), "policy table of 65 bytes whose header asks for more than is allowed");
    assert_eq!(said(TableError::CountOutOfRange), "policy table with a count out of range in its header");
    assert_eq!(
        said(TableError::UnknownAction),
        "policy table whose default action is neither permit (1) nor block (2)"
    );
    assert_eq!(said(TableError::ReservedBytes), "policy table with reserved bytes that are not 0");
    assert_eq!(said(TableError::BadRule(1)), "policy table with a bad rule at index 1");
    assert_eq!(said(TableError::BadExtra(2)), "policy table with bad extra conditions at word 2");
    assert_eq!(said(TableError::BadEntry(3)), "policy table with a bad entry at index 3");
    assert_eq!(said(TableError::BadNode(4)), "policy table with a bad node at index 4");
    assert_eq!(said(TableError::BadSuffix(5)), "policy table with a bad name suffix in line 5");
}

/// A header alone, of a table that would have these counts: what its counts are refused for.
fn of_header(counts: [u32; 11]) -> TableError {
    sluice_core::Policy::new(header(64, 1, counts)).map(drop).unwrap_err()
}
