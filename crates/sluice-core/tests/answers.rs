//! What is read of the names in answers of DNS, and what rules say about them: one test for each promise of
//! docs/packets.md, "Names in answers".

mod common;

use common::packets::{client_hello, extension, ipv4, ipv4_with, tcp, udp, whole};
use sluice_core::compile::{Conditions, Content, ErrorKind, Rule, compile};
use sluice_core::{Action, CapturedPacket, Decision, Direction, Observer, Policy, RuleAction};
use sluice_core::{classify, classify_observed, parse};
use sluice_npi::{Flow, Verdict, action, flags, link_type};

const CNAME: u16 = 5;
const DNAME: u16 = 39;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
const UNREAD: u32 = flags::ANSWER | flags::ANSWER_UNREAD;
const WRONG: u32 = UNREAD | flags::MALFORMED | flags::TRUNCATED | flags::NAME_MISSING;
/// Where the name of the first question lies in a message.
const QUESTION: [u8; 2] = [0xC0, 12];

fn labels(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[label.len() as u8], label.as_bytes()].concat();
    [name.split('.').flat_map(label).collect(), vec![0]].concat()
}

/// An answer with the owner of the question.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let header = [QUESTION, kind.to_be_bytes(), [0, 1], [0, 0], [0, 60], (data.len() as u16).to_be_bytes()];
    [header.as_flattened(), data].concat()
}

fn alias(name: &str) -> Vec<u8> {
    record(CNAME, &labels(name))
}

/// A response to a question for www.example.org, with these answers. `flags` are the third and fourth byte.
fn response_with(flags: [u8; 2], answers: &[Vec<u8>]) -> Vec<u8> {
    let counts = [0, 1, 0, answers.len() as u8, 0, 0, 0, 0];
    [&[0, 7], &flags[..], &counts, &labels("www.example.org"), &[0, 1, 0, 1], &answers.concat()].concat()
}

fn response(answers: &[Vec<u8>]) -> Vec<u8> {
    response_with([0x81, 0x80], answers)
}

/// A name of three labels of 63 bytes and one of this many: with 61 it has 255 bytes in a packet.
fn long_name(last: usize) -> String {
    ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(last)].join(".")
}

fn over_udp(message: &[u8]) -> Vec<u8> {
    ipv4(17, &udp((53, 40_000), message))
}

fn with_length(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

fn over_tcp(stream: &[u8]) -> Vec<u8> {
    ipv4(6, &tcp((53, 40_000), 0x18, stream))
}

/// The flags of a whole packet that these tests are about.
fn flags_of(packet: &[u8]) -> u32 {
    whole(link_type::RAW, packet).flags & WRONG
}

fn blocks(id: u32, conditions: Conditions) -> Rule {
    Rule { id, action: RuleAction::Block, conditions }
}

fn names_in_answers(names: &[&str]) -> Conditions {
    Conditions { answer_names: names.iter().map(|name| (*name).into()).collect(), ..Conditions::default() }
}

fn captured(bytes: &[u8]) -> CapturedPacket<'_> {
    let (direction, wire_length) = (Direction::Inbound, bytes.len() as u32);
    CapturedPacket { direction, link_type: link_type::RAW, wire_length, bytes, is_head: false }
}

/// The id of the rule that decides on each packet.
fn decided(rules: &[Rule], packets: &[Vec<u8>]) -> Vec<u32> {
    let policy = Policy::new(compile(rules, Action::Permit).expect("it compiles")).expect("it is valid");
    let mut verdicts = vec![Verdict::default(); packets.len()];
    classify(&policy, 1, packets.iter().map(|packet| captured(packet)), &mut verdicts).expect("it is known");
    for verdict in &verdicts {
        assert_eq!(verdict.action, if verdict.rule_id == 0 { action::PERMIT } else { action::BLOCK });
    }
    verdicts.iter().map(|verdict| verdict.rule_id).collect()
}

fn is_blocked(packet: Vec<u8>) -> bool {
    decided(&[blocks(1, names_in_answers(&["bad.example"]))], &[packet]) == [1]
}

#[test]
fn each_name_that_stands_for_another_is_found() {
    let address = || record(1, &[192, 0, 2, 1]);
    for (kind, answers) in [
        ("CNAME", vec![alias("cdn.bad.example")]),
        ("in any case", vec![alias("CDN.Bad.EXAMPLE")]),
        ("CNAME in front of addresses", vec![alias("bad.example"), address(), address()]),
        ("CNAME behind addresses", vec![address(), alias("bad.example")]),
        ("the last of a chain", vec![alias("a.example"), alias("b.example"), alias("bad.example")]),
        ("the first of a chain", vec![alias("bad.example"), alias("a.example"), alias("b.example")]),
        ("DNAME", vec![record(DNAME, &labels("bad.example"))]),
        ("SVCB", vec![record(SVCB, &[&[0, 0], &labels("bad.example")[..]].concat())]),
        ("HTTPS with parameters", vec![record(HTTPS, &[&[0, 1], &labels("bad.example")[..], &[0, 1, 0, 3]].concat())]),
        (
            "a record behind HTTPS with parameters",
            vec![record(HTTPS, &[&[0, 1], &labels("a.example")[..], &[0, 1, 0, 3]].concat()), alias("bad.example")],
        ),
        ("eight aliases", (0..8).map(|index| alias(if index == 7 { "bad.example" } else { "a.example" })).collect()),
    ] {
        let message = response(&answers);
        for packet in [over_udp(&message), over_tcp(&with_length(&message))] {
            assert_eq!(flags_of(&packet), flags::ANSWER, "{kind}");
            assert!(is_blocked(packet), "{kind}");
        }
    }
}

#[test]
fn names_are_read_through_pointers() {
    // The question is for www.example.org: its labels lie at 12, 16 and 24.
    let question = alias("x.example");
    for (kind, data) in [
        ("a name that ends in the question's", [&[4], &b"cdn1"[..], &[0xC0, 16]].concat()),
        ("a pointer alone", vec![0xC0, 16]),
        ("a pointer to a pointer", [&[1], &b"b"[..], &[0xC0, 33]].concat()),
    ] {
        let packet = over_udp(&response(&[question.clone(), record(CNAME, &data)]));
        assert_eq!(flags_of(&packet), flags::ANSWER, "{kind}");
        assert_eq!(decided(&[blocks(1, names_in_answers(&["example.org"]))], &[packet]), [1], "{kind}");
    }
}

#[test]
fn what_is_no_alias_is_no_name_in_an_answer() {
    let bad = labels("bad.example");
    for (kind, answers) in [
        ("NS", vec![record(2, &bad)]),
        ("PTR", vec![record(12, &bad)]),
        ("MX", vec![record(15, &[&[0, 1], &bad[..]].concat())]),
        ("TXT", vec![record(16, &bad)]),
        ("another name", vec![alias("bad.example.net")]),
        ("another label", vec![alias("verybad.example")]),
        ("the root", vec![record(HTTPS, &[0, 1, 0])]),
    ] {
        let packet = over_udp(&response(&answers));
        assert_eq!(flags_of(&packet), flags::ANSWER, "{kind}");
        assert!(!is_blocked(packet), "{kind}");
    }
    // One label with a dot in it, and what looks like the mark of a suffix for answers.
    let dotted = [&[11], &b"bad.example"[..], &[0]].concat();
    assert!(!is_blocked(over_udp(&response(&[record(CNAME, &dotted)]))));
    // A query has no answers, whatever it counts; nor has a response without any, or the response to an update.
    let mut query = response(&[alias("bad.example")]);
    query[2] = 1;
    assert_eq!(flags_of(&over_udp(&query)) & flags::ANSWER, 0);
    assert_eq!(flags_of(&over_udp(&response(&[]))), 0);
    assert_eq!(flags_of(&over_udp(&response_with([0xA8, 0], &[alias("bad.example")]))), 0);
    // Nor has a message behind other ports.
    assert_eq!(flags_of(&ipv4(17, &udp((5300, 40_000), &response(&[alias("bad.example")])))), 0);
}

#[test]
fn the_name_that_is_asked_for_is_another_condition() {
    let asked = |name: &str| Conditions { names: vec![name.into()], ..Conditions::default() };
    let rules = |first, second| [blocks(1, first), blocks(2, second)];
    let packet = [over_udp(&response(&[alias("bad.example")]))];
    assert_eq!(decided(&rules(asked("bad.example"), names_in_answers(&["example.org"])), &packet), [0]);
    assert_eq!(decided(&rules(asked("example.org"), names_in_answers(&["bad.example"])), &packet), [1]);
    assert_eq!(decided(&rules(names_in_answers(&["bad.example"]), asked("example.org")), &packet), [1]);
    assert_eq!(decided(&rules(asked("bad.example"), names_in_answers(&["bad.example"])), &packet), [2]);
    // Nobody gets at a suffix for answers by a question.
    for marked in ["bad.example=", "x.bad.example="] {
        let mut message = response(&[]);
        message.splice(12..29, labels(marked));
        assert!(!is_blocked(over_udp(&message)), "{marked}");
    }
    let both = Conditions { names: vec!["a.example".into()], ..names_in_answers(&["b.example"]) };
    let error = compile(&[blocks(1, both)], Action::Permit).expect_err("they exclude each other");
    assert_eq!((error.rule, &error.kind), (Some(0), &ErrorKind::TwoKindsOfNames));
    assert!(error.to_string().contains("each kind has to have a rule of its own"), "{error}");
}

#[test]
fn other_conditions_of_the_rule_count_as_well() {
    let packets =
        [over_udp(&response(&[alias("bad.example")])), over_tcp(&with_length(&response(&[alias("bad.example")])))];
    let only_tcp = Conditions { protocols: vec![6], ..names_in_answers(&["bad.example"]) };
    assert_eq!(decided(&[blocks(1, only_tcp)], &packets), [0, 1]);
}

#[test]
fn answers_that_contradict_themselves_are_malformed_and_unread() {
    let bad = labels("bad.example");
    let [mut counted, mut longer] = [response(&[alias("a.example")]), response(&[alias("a.example")])];
    counted[7] = 2;
    longer.pop();
    for (kind, message) in [
        ("an answer that is not there", counted),
        ("an answer that ends early", longer),
        ("a pointer to itself", response(&[record(CNAME, &[0xC0, 45])])),
        ("a pointer forward", response(&[record(CNAME, &[0xC0, 60]), alias("a.example")])),
        ("a pointer into the header", response(&[record(CNAME, &[0xC0, 4])])),
        ("a label of a reserved kind", response(&[record(CNAME, &[0x41, 0])])),
        ("data behind the name", response(&[record(CNAME, &[&bad[..], &[0]].concat())])),
        ("a name that ends behind its data", response(&[record(CNAME, &bad[..bad.len() - 1]), vec![0; 30]])),
        ("a name of 256 bytes", response(&[alias(&long_name(62))])),
    ] {
        let flags = flags::ANSWER | flags::ANSWER_UNREAD | flags::MALFORMED;
        assert_eq!(flags_of(&over_udp(&message)), flags, "{kind}");
        assert_eq!(flags_of(&over_tcp(&with_length(&message))), flags, "{kind}");
    }
    let longest = long_name(61);
    let packet = over_udp(&response(&[alias(&longest)]));
    assert_eq!(flags_of(&packet), flags::ANSWER, "a name of 255 bytes can be");
    assert_eq!(decided(&[blocks(1, names_in_answers(&[&longest]))], &[packet]), [1]);
}

#[test]
fn what_was_read_up_to_a_fault_counts() {
    let mut message = response(&[alias("bad.example"), alias("a.example")]);
    message.pop();
    assert!(is_blocked(over_udp(&message)));
}

#[test]
fn answers_that_go_on_elsewhere_are_unread() {
    let message = response(&[alias("a.example"), alias("bad.example")]);
    let packet = over_udp(&message);
    // In the part that the capture lacks.
    for lost in 1..30 {
        let flow = parse(link_type::RAW, &packet[..packet.len() - lost], packet.len() as u32).expect("it is known");
        assert_eq!(flow.flags & WRONG, UNREAD | flags::TRUNCATED, "{lost}");
    }
    // In another fragment.
    let datagram = udp((53, 40_000), &message);
    let first = ipv4_with(17, &[], 0x2000, &datagram[..64]);
    assert_eq!(flags_of(&first), UNREAD);
    // In another segment.
    let stream = with_length(&message);
    assert_eq!(flags_of(&over_tcp(&stream[..stream.len() - 1])), UNREAD);
    // Over TCP, when they are asked for again.
    let cut = response_with([0x83, 0x80], &[alias("a.example"), alias("bad.example")]);
    assert_eq!(flags_of(&over_udp(&cut[..cut.len() - 1])), UNREAD);
    assert_eq!(flags_of(&over_udp(&cut)), flags::ANSWER);
    // Behind a question that cannot be read.
    let mut strange = message.clone();
    strange[12] = 0x80;
    assert_eq!(flags_of(&over_udp(&strange)), UNREAD | flags::MALFORMED | flags::NAME_MISSING);
}

/// Only the segment with which an answer begins can say so: nothing shows that the next one goes on with it.
#[test]
fn a_policy_can_fail_closed_on_answers_over_tcp_wherever_their_segment_ends() {
    let unread = Conditions { answer: Some(Content::Unread), ..Conditions::default() };
    let stream = with_length(&response(&[alias("a.example"), alias("bad.example")]));
    let before = with_length(&response(&[alias("a.example")]));
    for end in 1..stream.len() {
        let packets = [over_tcp(&stream[..end]), over_tcp(&[&before, &stream[..end]].concat())];
        assert_eq!(decided(&[blocks(1, unread.clone())], &packets), [1, 1], "{end} bytes");
    }
    assert_eq!(decided(&[blocks(1, unread.clone())], &[over_tcp(&stream), over_tcp(&before)]), [0, 0]);
    // A query is no answer, nor is an answer without one.
    let mut query = with_length(&response_with([1, 0], &[]));
    for is_query in [true, false] {
        for end in 1..query.len() {
            let packet =
                if is_query { ipv4(6, &tcp((40_000, 53), 0x18, &query[..end])) } else { over_tcp(&query[..end]) };
            let may_be_one = !is_query && end < 10;
            assert_eq!(flags_of(&packet) & UNREAD, if may_be_one { UNREAD } else { 0 }, "{end} bytes");
        }
        query[4] |= 0x80;
    }
    // What has the bit of an answer may be one on its way to the port as well, up to the count of its answers.
    for (end, said) in [(4, 0), (5, UNREAD), (9, UNREAD), (10, UNREAD)] {
        assert_eq!(flags_of(&ipv4(6, &tcp((40_000, 53), 0x18, &stream[..end]))) & UNREAD, said, "{end} bytes");
    }
    // Behind another question, and behind the last message that is looked at.
    let mut other = response(&[alias("a.example")]);
    other[13] ^= 1;
    let other = with_length(&other);
    assert_eq!(flags_of(&over_tcp(&[&before[..], &other, &stream].concat())), UNREAD | flags::NAME_MISSING);
    assert_eq!(flags_of(&over_tcp(&[&before[..], &other].concat())), flags::ANSWER | flags::NAME_MISSING);
    assert_eq!(flags_of(&over_tcp(&before.repeat(16))), flags::ANSWER);
    assert_eq!(flags_of(&over_tcp(&[before.repeat(16), stream].concat())), UNREAD | flags::NAME_MISSING);
    // In what can be a hello of TLS as well: the length of its record has the bit of an answer.
    let mut hello = client_hello(&extension(21, &[0; 305]));
    hello[14..21].copy_from_slice(&[1, b'a', 0, 0, 1, 0, 1]);
    assert_eq!(hello[3..10], [0x01, 0x84, 1, 0, 1, 0x80, 3]);
    assert_eq!(flags_of(&over_tcp(&hello)), UNREAD | flags::MALFORMED | flags::NAME_MISSING);
    // With a question that cannot be.
    let mut strange = before.clone();
    strange[14] = 0x80;
    assert_eq!(flags_of(&over_tcp(&strange)), UNREAD | flags::MALFORMED | flags::NAME_MISSING);
}

#[test]
fn more_than_is_looked_at_is_unread() {
    let addresses = |count: usize| vec![record(1, &[192, 0, 2, 1]); count];
    let at_end = |count: usize| [addresses(count), vec![alias("bad.example")]].concat();
    // 64 records, the question among them.
    assert!(
        flags_of(&over_udp(&response(&at_end(62)))) == flags::ANSWER && is_blocked(over_udp(&response(&at_end(62))))
    );
    assert_eq!(flags_of(&over_udp(&response(&at_end(63)))), UNREAD);
    assert_eq!(flags_of(&over_udp(&response(&vec![alias("a.example"); 9]))), UNREAD);
    // Pointers, one behind the other: the names lie in the data of TXT, 43 bytes behind the start.
    let pointers = |count: usize| -> Vec<u8> {
        let step = |index: usize| if index == 0 { QUESTION } else { [0xC0, 43 + 2 * index as u8] };
        (0..count).flat_map(step).collect()
    };
    let chain = |count: usize| {
        let last = [0xC0, 45 + 2 * (count as u8 - 2)];
        over_udp(&response(&[record(16, &pointers(count - 1)), record(CNAME, &last)]))
    };
    assert_eq!(decided(&[blocks(1, names_in_answers(&["example.org"]))], &[chain(8)]), [1]);
    assert_eq!(flags_of(&chain(8)), flags::ANSWER);
    assert_eq!(flags_of(&chain(9)), UNREAD);
}

#[test]
fn each_message_of_a_segment_is_read() {
    let message = |name| with_length(&response(&[alias(name)]));
    for stream in [[message("bad.example"), message("a.example")], [message("a.example"), message("bad.example")]] {
        assert_eq!(flags_of(&over_tcp(&stream.concat())), flags::ANSWER);
        assert!(is_blocked(over_tcp(&stream.concat())));
    }
}

#[test]
fn answers_in_tunnels_are_those_of_the_inner_packet() {
    let packet = ipv4(4, &over_udp(&response(&[alias("bad.example")])));
    assert!(!is_blocked(packet.clone()));
    let inner = Conditions { inner: true, ..names_in_answers(&["bad.example"]) };
    assert_eq!(decided(&[blocks(1, inner)], &[packet]), [1]);
}

#[test]
fn a_policy_can_fail_closed_on_answers() {
    let answer = |answer| Conditions { answer: Some(answer), ..Conditions::default() };
    let mut cut = response(&[alias("a.example")]);
    cut.pop();
    let packets = [over_udp(&response(&[])), over_udp(&response(&[alias("a.example")])), over_udp(&cut)];
    assert_eq!(decided(&[blocks(1, answer(Content::Unread))], &packets), [0, 0, 1]);
    assert_eq!(decided(&[blocks(1, answer(Content::Any))], &packets), [0, 1, 1]);
    assert_eq!(decided(&[blocks(1, answer(Content::No))], &packets), [1, 0, 0]);
}

/// The names of a packet are found a few at a time: here are more.
#[test]
fn rules_on_many_parents_of_a_name_are_all_found() {
    let name = (1..=20).rev().map(|label| format!("l{label}.")).collect::<String>() + "example";
    let parent = |depth: usize| name.splitn(21 - depth, '.').last().expect("there is one").to_owned();
    let packet = [over_udp(&response(&[alias(&format!("other.{}", parent(5))), alias(&name)]))];
    let query = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &labels(&name)[..], &[0, 1, 0, 1]].concat();
    let asked = [over_udp(&query)];
    for depth in 1..=20 {
        // All but one of these rules are for TCP.
        let rules = |conditions: fn(String) -> Conditions| -> Vec<Rule> {
            let protocols = |of: usize| if of == depth { Vec::new() } else { vec![6] };
            let conditions = |of| Conditions { protocols: protocols(of), ..conditions(parent(of)) };
            (1..=20).map(|of| blocks(of as u32, conditions(of))).collect()
        };
        let in_answer = |name| Conditions { answer_names: vec![name], ..Conditions::default() };
        assert_eq!(decided(&rules(in_answer), &packet), [depth as u32]);
        assert_eq!(
            decided(&rules(|name| Conditions { names: vec![name], ..Conditions::default() }), &asked),
            [depth as u32]
        );
    }
    let counts = |of: usize| Rule { action: RuleAction::Count, ..blocks(of as u32, names_in_answers(&[&parent(of)])) };
    assert_eq!(observed(&(1..=20).map(counts).collect::<Vec<_>>(), &packet[0]), (0..20).collect::<Vec<_>>());
}

/// The indices of the rules that count a packet, in order.
fn observed(rules: &[Rule], packet: &[u8]) -> Vec<u32> {
    struct Seen(Vec<u32>);
    impl Observer for Seen {
        fn decided(&mut self, _: u32) {}
        fn observed(&mut self, rule: u32, _: &CapturedPacket<'_>, _: &Flow, _: Decision) {
            self.0.push(rule);
        }
    }
    let policy = Policy::new(compile(rules, Action::Permit).expect("it compiles")).expect("it is valid");
    let (mut seen, mut verdict) = (Seen(Vec::new()), [Verdict::default()]);
    classify_observed(&policy, 1, [captured(packet)].into_iter(), &mut verdict, &mut seen).expect("it is known");
    seen.0.sort_unstable();
    seen.0
}

#[test]
fn a_rule_that_observes_sees_a_packet_once() {
    let counts = |id, names: &[&str]| Rule { action: RuleAction::Count, ..blocks(id, names_in_answers(names)) };
    let rules =
        [counts(1, &["a.example", "b.example"]), counts(2, &["b.example", "c.example"]), counts(3, &["d.example"])];
    let aliases = ["x.a.example", "b.example", "a.example", "c.example", "b.example"].map(alias);
    assert_eq!(observed(&rules, &over_udp(&response(&aliases))), [0, 1]);
}
