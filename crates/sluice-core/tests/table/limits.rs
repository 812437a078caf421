//! Tables that sit exactly on a limit, which are taken, and those one step beyond it.

use sluice_core::{
    Action, Decision, Direction, MAX_NAME_LENGTH, MAX_RULES, MAX_TABLE_SIZE, ParsedPacket, Policy, TableError,
};
use sluice_npi::{Flow, link_type};

use super::of_header;
use super::raw::{HASH, IPV6, REMAINDER, Raw, empty_leaf, entry4, entry6, hash, homes, inner, leaf, window, windows};

/// Whether a table gets past its counts: it is then refused for the size of what is not there.
fn counts(change: fn(&mut [u32; 11])) -> bool {
    let mut counts = Raw::empty().counts();
    change(&mut counts);
    match of_header(counts) {
        TableError::WrongSize { .. } => true,
        TableError::CountOutOfRange => false,
        other => panic!("{other}"),
    }
}

#[test]
fn counts_end_at_their_limits() {
    assert_eq!(MAX_RULES, 200_000);
    assert!(counts(|counts| counts[0] = 200_000));
    assert!(!counts(|counts| counts[0] = 200_001));
    assert!(counts(|counts| counts[2] = 1 << 22));
    assert!(!counts(|counts| counts[2] = (1 << 22) + 1));
    assert!(counts(|counts| counts[3] = 1 << 22));
    assert!(!counts(|counts| counts[3] = (1 << 22) + 1));
    assert!(counts(|counts| counts[4] = (1 << 30) - 1));
    assert!(!counts(|counts| counts[4] = 1 << 30));
    assert!(counts(|counts| [counts[5], counts[6]] = [1, 1]));
    assert!(!counts(|counts| [counts[5], counts[6]] = [0, 1]));
    assert!(!counts(|counts| [counts[5], counts[6]] = [1, 0]));
    assert!(counts(|counts| [counts[1], counts[9]] = [5, 1]));
    assert!(!counts(|counts| [counts[1], counts[9]] = [4, 1]));
    assert!(counts(|counts| [counts[1], counts[10]] = [6, 1]));
    assert!(!counts(|counts| [counts[1], counts[10]] = [5, 1]));
}

#[test]
fn a_table_is_one_gibibyte_at_most() {
    let of_text = |bytes: usize| {
        let mut counts = Raw::empty().counts();
        counts[7] = u32::try_from(bytes).unwrap();
        of_header(counts)
    };
    // The header and three nodes come before the text: 128 bytes.
    let most = MAX_TABLE_SIZE - 128;
    assert_eq!(of_text(most), TableError::WrongSize { expected: Some(MAX_TABLE_SIZE), actual: 64 });
    assert_eq!(of_text(most + 1), TableError::WrongSize { expected: None, actual: 64 });
}

/// A table whose IPv4 tree is a chain: each node has a leaf of `before` entries as its remainder and goes on with the
/// next, the last with a leaf of `last` entries.
fn chain(depth: u32, before: u32, last: u32) -> Result<(), TableError> {
    let mut raw = Raw { rules: vec![[1, 0]], ..Raw::empty() };
    raw.entries4 = vec![entry4(&raw.rules, 0); (before + last) as usize];
    let leaf_before = leaf(0, 0, before, 0, 0);
    let claim = |nodes: u32| nodes * (before + 2) + last + 1;
    let node = |index: u32| {
        let left = depth - index;
        inner(3 + 2 * index, 0, windows(0, 0) | REMAINDER, claim(left), left)
    };
    raw.nodes[0] = node(0);
    for index in 1..depth {
        raw.nodes.extend([leaf_before, node(index)]);
    }
    raw.nodes.extend([leaf_before, leaf(0, before, last, 0, 0)]);
    raw.validate()
}

#[test]
fn a_search_visits_16384_records_at_most() {
    // 15 nodes with 1,024 entries each before the next one, their leaves and themselves, and a last leaf.
    assert_eq!(15 * (1024 + 2) + 993 + 1, 16_384);
    assert_eq!(chain(15, 1024, 993), Ok(()));
    assert_eq!(chain(15, 1024, 994), Err(TableError::BadNode(0)));
}

#[test]
fn sixteen_subtrees_wait_at_most() {
    assert_eq!(chain(16, 1, 1), Ok(()));
    assert_eq!(chain(17, 1, 1), Err(TableError::BadNode(0)));
}

/// A chain as deep as can be whose leaves have an entry each, for a rule and a port of its own.
#[test]
fn every_subtree_that_waits_is_searched() {
    let rules: u32 = 17;
    // The rules come first in the last leaf, in the first one, or anywhere.
    let orders: [fn(u32) -> u32; 3] = [|leaf| 16 - leaf, |leaf| leaf, |leaf| leaf * 5 % 17];
    for rule_of in orders {
        let mut raw = Raw { rules: (1..=rules).map(|id| [id, 0]).collect(), ..Raw::empty() };
        raw.entries4 = (0..rules)
            .map(|leaf| {
                let [.., id, shape] = entry4(&raw.rules, rule_of(leaf));
                [0, 0, leaf, 0xFFFF_0000 | leaf, 0, 0, id, shape]
            })
            .collect();
        let first_from = |leaf: u32| (leaf..rules).map(rule_of).min().unwrap();
        let node = |index: u32| {
            let left = rules - 1 - index;
            inner(3 + 2 * index, first_from(index), windows(0, 0) | REMAINDER, left * 3 + 2, left)
        };
        let leaf_of = |index: u32| leaf(0, index, 1, rule_of(index), 0);
        raw.nodes[0] = node(0);
        for index in 1..rules - 1 {
            raw.nodes.extend([leaf_of(index - 1), node(index)]);
        }
        raw.nodes.extend([leaf_of(rules - 2), leaf_of(rules - 1)]);
        let policy = Policy::new(raw.bytes()).unwrap();
        let flow = |port| Flow { ip_version: 4, destination_port: port, ..Flow::default() };
        let flows: Vec<Flow> = (0..20_u16).map(flow).collect();
        let packet = |flow| ParsedPacket { direction: Direction::Inbound, link_type: link_type::RAW, bytes: &[], flow };
        let packets: Vec<ParsedPacket<'_>> = flows.iter().map(packet).collect();
        let expected: Vec<u32> = (0..20_u32).map(|port| if port < rules { rule_of(port) + 1 } else { 0 }).collect();
        let found = packets.iter().map(|p| policy.classify(p.direction, p.link_type, &[], p.flow).rule_id);
        assert_eq!(found.collect::<Vec<u32>>(), expected);
        let mut decisions = [Decision { action: Action::Permit, rule_id: u32::MAX }; 20];
        policy.classify_batch(&packets, &mut decisions);
        assert_eq!(decisions.map(|decision| decision.rule_id).as_slice(), expected);
    }
}

#[test]
fn a_leaf_has_1024_entries_at_most() {
    let leaf_of = |count: u32| {
        let mut raw = Raw { rules: vec![[1, 0]], ..Raw::empty() };
        raw.entries4 = vec![entry4(&raw.rules, 0); count as usize];
        raw.nodes[0] = leaf(0, 0, count, 0, 0);
        raw.validate()
    };
    assert_eq!(leaf_of(1024), Ok(()));
    assert_eq!(leaf_of(1025), Err(TableError::BadNode(0)));
}

/// A table whose IPv4 root, or that of IPv6, finds one of 2^`bits` empty leaves by `control`.
fn of_empty_leaves(root: usize, control: u32, bits: u32) -> Result<(), TableError> {
    let mut raw = Raw::empty();
    let ipv6 = if root == 1 { IPV6 } else { 0 };
    raw.nodes[root] = inner(3, 0x7FFF_FFFF, control | ipv6, 2, 0);
    raw.nodes.resize(3 + (1 << bits), empty_leaf(ipv6));
    raw.validate()
}

#[test]
fn a_node_has_two_to_the_20_children_at_most() {
    assert_eq!(of_empty_leaves(0, windows(window(0, 0, 10), window(0, 10, 10)), 20), Ok(()));
    assert_eq!(of_empty_leaves(0, windows(window(0, 0, 11), window(0, 11, 10)), 21), Err(TableError::BadNode(0)));
    assert_eq!(of_empty_leaves(0, HASH | 20 << 16, 20), Ok(()));
    assert_eq!(of_empty_leaves(0, HASH | 21 << 16, 21), Err(TableError::BadNode(0)));
}

#[test]
fn windows_lie_in_a_word_of_the_key() {
    let one = |window: u32, bits: u32| of_empty_leaves(0, windows(window, 0), bits);
    let other = |window: u32, bits: u32| of_empty_leaves(0, windows(0, window), bits);
    for of in [one, other] {
        assert_eq!(of(window(3, 31, 1), 1), Ok(()));
        assert_eq!(of(window(3, 17, 15), 15), Ok(()));
        assert_eq!(of(window(3, 18, 15), 15), Err(TableError::BadNode(0)), "a bit behind the word");
        assert_eq!(of(window(3, 31, 2), 2), Err(TableError::BadNode(0)), "a bit behind the word");
        assert_eq!(of(window(4, 0, 1), 1), Err(TableError::BadNode(0)), "a key for IPv4 has four words");
    }
    assert_eq!(of_empty_leaves(1, windows(window(15, 0, 1), 0), 1), Ok(()), "one for IPv6 has sixteen");
    assert_eq!(one(0, 0), Err(TableError::BadNode(0)), "one child, and no remainder");
    // A window beyond the key is one, even if no bit of it counts.
    let with_remainder = |control: u32| {
        let mut raw = Raw::empty();
        raw.nodes[0] = inner(3, 0x7FFF_FFFF, control | REMAINDER, 3, 1);
        raw.nodes.extend([empty_leaf(0); 2]);
        raw.validate()
    };
    assert_eq!(with_remainder(windows(0, 0)), Ok(()));
    assert_eq!(with_remainder(windows(4, 0)), Err(TableError::BadNode(0)));
    assert_eq!(with_remainder(windows(0, 4)), Err(TableError::BadNode(0)));
}

#[test]
fn a_hash_leaves_out_no_more_bits_than_an_address_has() {
    let of = |root: usize, source: u32, destination: u32| {
        of_empty_leaves(root, HASH | 1 << 16 | source | destination << 8, 1)
    };
    assert_eq!(of(0, 32, 32), Ok(()));
    assert_eq!(of(0, 33, 32), Err(TableError::BadNode(0)));
    assert_eq!(of(0, 32, 33), Err(TableError::BadNode(0)));
    assert_eq!(of(1, 128, 128), Ok(()));
    assert_eq!(of(1, 129, 128), Err(TableError::BadNode(1)));
    assert_eq!(of(1, 128, 129), Err(TableError::BadNode(1)));
}

/// A table whose only suffixes are these.
fn named(names: &[&str], lines: usize) -> Result<(), TableError> {
    let mut raw = Raw { tree_pairs: 1, ..Raw::empty() };
    raw.nodes.extend([empty_leaf(0), empty_leaf(IPV6)]);
    raw.name(names, lines);
    raw.validate()
}

#[test]
fn a_name_has_253_bytes_at_most() {
    assert_eq!(MAX_NAME_LENGTH, 253);
    assert_eq!(named(&["a".repeat(253).as_str()], 1), Ok(()));
    assert_eq!(named(&["a".repeat(254).as_str()], 1), Err(TableError::BadSuffix(0)));
    // One for answers has its mark besides.
    assert_eq!(named(&[("a".repeat(253) + "=").as_str()], 1), Ok(()));
    assert_eq!(named(&[("a".repeat(254) + "=").as_str()], 1), Err(TableError::BadSuffix(0)));
    assert_eq!(named(&["a="], 1), Ok(()));
    assert_eq!(named(&["="], 1), Err(TableError::BadSuffix(0)));
}

#[test]
fn a_text_of_28_bytes_lies_in_a_line_and_one_more_does_not() {
    let table = |length: usize| {
        let mut raw = Raw { tree_pairs: 1, ..Raw::empty() };
        raw.nodes.extend([empty_leaf(0), empty_leaf(IPV6)]);
        raw.name(&["a".repeat(length).as_str()], 1);
        assert_eq!(raw.validate(), Ok(()));
        raw.text.len()
    };
    assert_eq!([table(28), table(29)], [0, 29]);
}

/// A table with these two names, the IPv4 root of whose trees claims `work` records, in the forest that observes or in
/// the other.
fn searched_for(names: [&str; 2], work: u32, ipv6: u32, observing: bool) -> Result<(), TableError> {
    let mut raw = Raw { rules: vec![[1, 0]], tree_pairs: 1, observing: 1, ..Raw::empty() };
    let kinds = [0, IPV6, 0, 0, IPV6];
    raw.nodes = [kinds, kinds].concat().into_iter().map(empty_leaf).collect();
    // A chain as above: nodes with 1,024 entries each, and what is left.
    let (depth, last) = (work / 1026, work % 1026 - 1);
    let leaf_before = leaf(ipv6, 0, 1024, 0, 0);
    let last_leaf = if last == 0 { empty_leaf(ipv6) } else { leaf(ipv6, 1024, last, 0, 0) };
    let count = (1024 + last) as usize;
    if ipv6 == 0 {
        raw.entries4 = vec![entry4(&raw.rules, 0); count];
    } else {
        raw.entries6 = vec![entry6(&raw.rules, 0); count];
    }
    let node = |index: u32| {
        let left = depth - index;
        inner(10 + 2 * index, 0, windows(0, 0) | REMAINDER | ipv6, left * 1026 + last + 1, left)
    };
    let root = 3 + usize::from(ipv6 != 0) + if observing { 5 } else { 0 };
    raw.nodes[root] = node(0);
    for index in 1..depth {
        raw.nodes.extend([leaf_before, node(index)]);
    }
    raw.nodes.extend([leaf_before, last_leaf]);
    raw.name(&names, 4);
    raw.validate()
}

#[test]
fn a_name_is_not_searched_for_in_more_than_16384_records_of_all_its_suffixes() {
    for ipv6 in [0, IPV6] {
        for observing in [false, true] {
            // A packet's name ends in both of the first two: their trees are searched one after the other.
            let both = |work| searched_for(["example", "a.example"], work, ipv6, observing);
            assert_eq!(both(8192), Ok(()));
            let [line, _] = homes(hash(b"a.example"), 4);
            let bad = Err(TableError::BadSuffix(u32::try_from(line).unwrap()));
            assert_eq!(both(8193), bad, "IPv6 {ipv6:x}, observing {observing}");
            assert_eq!(searched_for(["example", "a-example"], 8193, ipv6, observing), Ok(()), "no name ends in both");
        }
    }
}
