//! Which names are found, and what is said where one is not: one test for each promise of docs/packets.md, "Names".

mod common;

use common::packets::{
    WRONG, client_hello, ethernet, extension, hello, ipv4, ipv4_with, ipv6, name, over_tcp, over_udp, query, record,
    server_name, tcp, udp, whole, with_name,
};
use common::quic::{Initial, VERSION_1, VERSION_2, crypto};
use sluice_core::stream::{Beginning, read_crypto, read_handshake, read_stream};
use sluice_core::{NameText, parse, parse_into};
use sluice_npi::{Flow, flags, link_type, name_kind};

/// What is wrong, and whether a name is missing.
const SAID: u32 = WRONG | flags::NAME_MISSING;

const CLIENT: u16 = 49152;

// DNS

#[test]
fn the_question_of_dns_over_udp_is_found() {
    for port in [53, 5353, 5355] {
        let packet = ethernet(0x86DD, &ipv6(17, &udp((4000, port), &query())));
        let flow = whole(link_type::ETHERNET, &packet);
        assert!(flow.has(flags::DNS));
        assert_eq!((flow.name_kind, flow.dns_type, flow.flags & SAID), (name_kind::DNS, 28, 0));
        assert_eq!(name(&flow, &packet), b"\x03www\x07example\x03com");
    }
    let elsewhere = over_udp((4000, 54), &query());
    assert!(!elsewhere.has(flags::DNS));
    // Nothing is asked for.
    let flow = over_udp((53, 4000), &[0; 12]);
    assert_eq!((flow.flags & (SAID | flags::DNS), flow.name_kind), (0, name_kind::NONE));
}

#[test]
fn questions_that_cannot_be_are_malformed() {
    let with_name = |name: &[u8]| {
        let mut message = query();
        message.truncate(12);
        message.extend(name);
        over_udp((4000, 53), &message)
    };
    assert!(with_name(b"\xC0\x0C\0\x01\0\x01").has(flags::MALFORMED), "a compression pointer to itself");
    assert!(with_name(b"\x40a\0\0\x01\0\x01").has(flags::MALFORMED), "a reserved kind of label");
    assert!(with_name(b"\x3fabc").has(flags::MALFORMED), "a label behind the end");
    let long = [b"\x3f".to_vec(), vec![b'a'; 63]].concat().repeat(4);
    assert!(with_name(&[long, b"\0\0\x01\0\x01".to_vec()].concat()).has(flags::MALFORMED), "257 bytes");
    assert!(!with_name(b"\0\0\x02\0\x01").has(flags::MALFORMED), "the root is a name");
    let longest = [vec![63], vec![b'a'; 63]].concat();
    let longest = [longest.repeat(3), vec![61], vec![b'a'; 61], b"\0\0\x01\0\x01".to_vec()].concat();
    let flow = with_name(&longest);
    assert_eq!((flow.flags & SAID, flow.name_length), (0, 254), "255 bytes with the root");
}

#[test]
fn a_question_that_the_capture_cuts_is_truncated() {
    let packet = ipv4(17, &udp((4000, 53), &query()));
    let flow = parse(link_type::RAW, &packet[..50], packet.len() as u32).unwrap();
    assert_eq!(flow.flags & (SAID | flags::DNS), flags::TRUNCATED | flags::NAME_MISSING);
}

#[test]
fn a_question_that_a_fragment_cuts_is_missing() {
    let datagram = udp((4000, 53), &query());
    for length in [8, 16, 24, 32] {
        let flow = whole(link_type::RAW, &ipv4_with(17, &[], 0x2000, &datagram[..length]));
        assert_eq!(flow.flags & SAID, flags::NAME_MISSING, "{length} bytes");
    }
}

#[test]
fn two_questions_are_malformed_but_in_multicast_dns() {
    let mut message = query();
    message[5] = 2;
    message.extend(b"\x03bad\x07example\0\0\x01\0\x01");
    for port in [53, 5355] {
        let flow = over_udp((4000, port), &message);
        assert_eq!((flow.flags & SAID, flow.name_kind), (flags::MALFORMED | flags::NAME_MISSING, name_kind::DNS));
    }
    for ports in [(5353, 5353), (4000, 5353), (5353, 4000)] {
        assert_eq!(over_udp(ports, &message).flags & SAID, flags::NAME_MISSING, "{ports:?}: RFC 6762, 5.3");
    }
}

fn in_stream(message: &[u8]) -> Vec<u8> {
    [(message.len() as u16).to_be_bytes().as_slice(), message].concat()
}

#[test]
fn the_question_of_dns_over_tcp_is_found_in_the_first_segment() {
    let message = [&[0, 200], query().as_slice()].concat();
    let (flow, name) = over_tcp((4000, 53), &message);
    assert_eq!((flow.dns_type, name.as_str(), flow.flags & SAID), (28, "\x03www\x07example\x03com", 0));
    let whole = in_stream(&query());
    for length in 1..whole.len() {
        let (cut, _) = over_tcp((4000, 53), &whole[..length]);
        let said = (cut.flags & (flags::DNS | SAID), cut.name_kind);
        assert_eq!(said, (flags::NAME_MISSING, name_kind::NONE), "{length} bytes, and the next segment goes on");
    }
    // A header, the root, type and class: 17 bytes.
    for short in [&[0, 3, 1, 2, 3][..], &[0, 3, 1], &[0, 16, 1]] {
        assert_eq!(over_tcp((4000, 53), short).0.flags & SAID, 0, "nothing that has a name is so short");
    }
    assert_eq!(over_tcp((4000, 53), &[0, 17, 1]).0.flags & SAID, flags::NAME_MISSING);
    let (flow, name) = over_tcp((4000, 53), &[&[0, 3, 1, 2, 3], whole.as_slice()].concat());
    assert_eq!((name.as_str(), flow.flags & (SAID | flags::DNS)), ("", 0), "what begins like this is something else");
}

#[test]
fn messages_one_behind_the_other_have_one_name_or_one_is_missing() {
    let first = in_stream(&query());
    let mut other = query();
    other[12..16].copy_from_slice(b"\x03bad");
    let said = |stream: &[u8]| over_tcp((4000, 53), stream).0.flags & SAID;
    assert_eq!(said(&[first.as_slice(), &first].concat()), 0, "A and AAAA");
    assert_eq!(said(&[first.as_slice(), &in_stream(&other)].concat()), flags::NAME_MISSING);
    assert_eq!(said(&[first.as_slice(), &in_stream(&other)[..7]].concat()), flags::NAME_MISSING);
    let behind_a_short_one = [first.as_slice(), &[0, 3, 1, 2, 3], &in_stream(&other)].concat();
    assert_eq!(said(&behind_a_short_one), flags::NAME_MISSING);
    assert_eq!(said(&first.repeat(17)), flags::NAME_MISSING, "more messages than are looked at");
    let (flow, name) = over_tcp((4000, 53), &[in_stream(&[0; 12]).as_slice(), &first].concat());
    assert_eq!((name.as_str(), flow.flags & SAID), ("\x03www\x07example\x03com", 0), "behind one without a question");
}

#[test]
fn a_question_over_tcp_that_cannot_be_is_malformed_where_all_else_is_dns() {
    let mut message = query();
    message[12] = 0x40;
    assert_eq!(over_tcp((4000, 53), &in_stream(&message)).0.flags & SAID, flags::MALFORMED | flags::NAME_MISSING);
    let mut two = query();
    two[5] = 2;
    let (flow, name) = over_tcp((4000, 53), &in_stream(&two));
    assert_eq!((flow.flags & SAID, name.len()), (flags::MALFORMED | flags::NAME_MISSING, 16));
    let said = |stream: &[u8]| over_tcp((4000, 53), stream).0.flags & SAID;
    let end = in_stream(&query()[..14]);
    assert_eq!(said(&end), flags::MALFORMED | flags::NAME_MISSING, "the message ends in its question");
    // Where something else is not DNS, these may be the bytes of anything.
    assert_eq!(said(&in_stream(&message)[..20]), 0, "a bad question in a message that goes on");
    message[5] = 2;
    assert_eq!(said(&in_stream(&message)), 0, "a bad question of two");
    two[7] = 1;
    assert_eq!(said(&in_stream(&two)), 0, "a query with an answer");
    let middle = [0x5A; 1400];
    assert_eq!(over_tcp((53, 4000), &middle).0.flags & SAID, 0, "the middle of a long answer");
}

#[test]
fn a_port_of_dns_hides_no_other_name() {
    let hello = client_hello(&server_name(b"bad.example"));
    let request = b"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n";
    let initial = Initial::of(&crypto(0, &hello[5..])).encrypted();
    for port in [53, 5353, 5355] {
        for ports in [(port, 443), (CLIENT, port)] {
            for payload in [hello.as_slice(), request] {
                let (flow, name) = over_tcp(ports, payload);
                assert_eq!((name.as_str(), flow.flags & SAID), ("bad.example", 0), "{ports:?}");
            }
            let (flow, name) = with_name(&ipv4(17, &udp(ports, &initial)));
            assert_eq!((flow.quic_version, name.as_str(), flow.flags & SAID), (1, "bad.example", 0), "{ports:?}");
        }
    }
}

#[test]
fn bytes_that_are_tls_and_dns_at_once_are_malformed() {
    // The record is the length of a message, the ClientHello its header, and the random has a question.
    let mut hello = client_hello(&server_name(b"good.example"));
    hello[6..9].copy_from_slice(&[0, 1, 0]);
    let question = b"\x03bad\x07example\0\0\x01\0\x01";
    hello[14..14 + question.len()].copy_from_slice(question);
    let (flow, _) = over_tcp((CLIENT, 53), &hello);
    assert!(flow.has(flags::MALFORMED));
    assert!(!over_tcp((CLIENT, 443), &hello).0.has(flags::DNS));

    // To DNS, this has one question, whose labels of 63 and 19 bytes lead to one of 48 that the segment ends in.
    let mut hello = client_hello(&[server_name(b"bad.e0.example"), extension(21, &[0; 200])].concat());
    hello[14] = 63;
    assert_eq!((hello[6..8].to_vec(), hello[78], hello[98]), (vec![0, 1], 19, 48));
    let (flow, name) = over_tcp((CLIENT, 53), &hello[..120]);
    assert_eq!((name.as_str(), flow.flags & SAID), ("bad.e0.example", 0));
}

#[test]
fn a_datagram_that_is_dns_and_something_else_is_what_its_port_says_or_malformed() {
    // The id and the flags are the version of a draft of QUIC.
    let mut message = query();
    message[..4].copy_from_slice(&[0xC0, 0xFF, 0, 0]);
    for ports in [(4000, 53), (53, 4789)] {
        let (flow, name) = with_name(&ipv4(17, &udp(ports, &message)));
        assert_eq!((name.as_str(), flow.flags & SAID), ("\x03www\x07example\x03com", 0), "{ports:?}");
    }
    let without_question = [0xC0, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(over_udp((CLIENT, 53), &without_question).flags & (SAID | flags::QUIC), 0);
    assert_eq!(over_udp((CLIENT, 443), &without_question).flags & flags::QUIC, flags::QUIC);
    // No message, and no QUIC on a port that is not that of HTTPS: an unknown version, and one without the fixed bit.
    for datagram in [long(7, 0xC0, &[0, 0xFF]), long(1, 0x80, &[0, 0xFF])] {
        let flow = over_udp((CLIENT, 53), &datagram);
        assert_eq!(flow.flags & (SAID | flags::QUIC), flags::MALFORMED | flags::NAME_MISSING, "{datagram:?}");
    }
    // The number of the record says that there is one question, and its length that this is about the root.
    let length = |padding: usize| {
        let extensions = [server_name(b"good.example"), extension(21, &vec![0; padding])].concat();
        let body = dtls_body(&[], &extensions);
        in_record(&fragment(1, 0, &body, 0..body.len()))
    };
    let mut hello = length(256 - (length(0).len() - 13));
    hello[5] = 1;
    assert_eq!(hello[11..13], [1, 0]);
    let on = |port| with_name(&ipv4(17, &udp((CLIENT, port), &hello)));
    assert_eq!((on(4433).1.as_str(), on(4433).0.flags & SAID), ("good.example", 0));
    assert_eq!((on(53).1.as_str(), on(53).0.flags & SAID), ("good.example", flags::MALFORMED));
    // No question by the header, and a name that cannot be.
    let without = [&hello[..5], &[0], &hello[6..]].concat();
    let mut reserved = length(255 - (length(0).len() - 13));
    reserved[5] = 1;
    assert_eq!(reserved[11..13], [0, 255]);
    for datagram in [without, reserved] {
        let (flow, name) = with_name(&ipv4(17, &udp((CLIENT, 53), &datagram)));
        assert_eq!((name.as_str(), flow.flags & SAID), ("good.example", 0));
    }
}

// TLS

/// What is read of a stream that goes to port 443.
fn tls(stream: &[u8]) -> (Flow, String) {
    over_tcp((CLIENT, 443), stream)
}

fn assert_tls(stream: &[u8], expected: &str, said: u32) {
    let (flow, name) = tls(stream);
    assert_eq!((name.as_str(), flow.flags & SAID), (expected, said));
}

#[test]
fn the_server_name_of_a_client_hello_is_found_on_any_port() {
    let extensions = [&[0x0A, 0x0A, 0, 0, 0, 23, 0, 0], server_name(b"Example.com").as_slice()].concat();
    let packet = ethernet(0x0800, &ipv4(6, &tcp((4000, 8443), 0x18, &client_hello(&extensions))));
    let flow = whole(link_type::ETHERNET, &packet);
    assert_eq!((flow.name_kind, flow.flags & SAID), (name_kind::TLS, 0));
    assert_eq!(name(&flow, &packet), b"Example.com");
}

#[test]
fn a_client_hello_that_the_segment_cuts_has_its_name_or_says_that_it_is_missing() {
    let extensions = [server_name(b"example.com"), extension(21, &[0; 1024])].concat();
    let hello = client_hello(&extensions);
    let end = hello.windows(11).position(|bytes| bytes == b"example.com").unwrap() + 11;
    for length in 1..hello.len() {
        let expected = if length < end { ("", flags::NAME_MISSING) } else { ("example.com", 0) };
        let (flow, name) = tls(&hello[..length]);
        assert_eq!((name.as_str(), flow.flags & SAID), expected, "{length} bytes");
    }
    let packet = ipv4(6, &tcp((4000, 443), 0x18, &hello));
    let flow = parse(link_type::RAW, &packet[..130], packet.len() as u32).unwrap();
    assert_eq!((flow.name_kind, flow.flags & SAID), (name_kind::NONE, flags::TRUNCATED | flags::NAME_MISSING));
}

#[test]
fn a_client_hello_whose_lengths_contradict_each_other_is_malformed() {
    let base = client_hello(&server_name(b"example.com"));
    // The lengths of session id, cipher suites, extensions, extension, list and name.
    for at in [43, 76, 82, 86, 88, 91] {
        let mut hello = base.clone();
        hello[at] = 0xFF;
        let (flow, _) = tls(&hello);
        assert_eq!(flow.flags & SAID, flags::MALFORMED | flags::NAME_MISSING, "byte {at}");
        assert_eq!(flow.name_kind, name_kind::NONE, "byte {at}");
    }
    assert_tls(&client_hello(&server_name(b"")), "", flags::MALFORMED | flags::NAME_MISSING);
    assert_tls(&client_hello(&server_name(&[b'a'; 255])), &"a".repeat(255), 0);
    let long = vec![b'a'; 256];
    assert_tls(&client_hello(&server_name(&long)), "", flags::MALFORMED | flags::NAME_MISSING);
    // Nothing may come behind the extensions.
    let mut message = hello(&server_name(b"example.com"));
    message.push(0);
    message[3] += 1;
    assert_tls(&record(22, &message), "example.com", flags::MALFORMED);
    let mut version = base;
    version[9] = 2;
    assert_tls(&version, "", flags::MALFORMED | flags::NAME_MISSING);
}

#[test]
fn a_client_hello_with_a_part_of_a_length_that_none_has_is_malformed() {
    let extensions = server_name(b"bad.example");
    let assert_said = |session_id: &[u8], cipher_suites: &[u8], methods: &[u8], said: u32| {
        let mut hello = [&[3, 3], [7; 32].as_slice(), &[session_id.len() as u8], session_id].concat();
        hello.extend((cipher_suites.len() as u16).to_be_bytes());
        hello.extend([cipher_suites, &[methods.len() as u8], methods].concat());
        hello.extend((extensions.len() as u16).to_be_bytes());
        hello.extend(&extensions);
        let length = (hello.len() as u16).to_be_bytes();
        assert_tls(&record(22, &[&[1, 0], length.as_slice(), &hello].concat()), "bad.example", said);
    };
    assert_said(&[8; 32], &[0x13, 1], &[0], 0);
    assert_said(&[], &[0x13, 1, 0x13, 2], &[0, 1], 0);
    assert_said(&[8; 33], &[0x13, 1], &[0], flags::MALFORMED);
    for cipher_suites in [&[][..], &[0x13], &[0x13, 1, 0x13]] {
        assert_said(&[8; 32], cipher_suites, &[0], flags::MALFORMED);
    }
    assert_said(&[8; 32], &[0x13, 1], &[], flags::MALFORMED);
    // A later part that is right makes none before it right.
    assert_said(&[8; 33], &[0x13], &[0], flags::MALFORMED);
    // The list of names: nothing behind it, and something in it.
    let list = server_name(b"bad.example")[4..].to_vec();
    assert_tls(&client_hello(&extension(0, &[list.as_slice(), &[0]].concat())), "bad.example", flags::MALFORMED);
    assert_tls(&client_hello(&extension(0, &[0, 0])), "", flags::MALFORMED | flags::NAME_MISSING);
}

#[test]
fn a_client_hello_without_a_server_name_says_that_none_is_there() {
    assert_tls(&client_hello(&[]), "", flags::NAME_MISSING);
    assert_tls(&client_hello(&extension(43, &[2, 3, 4])), "", flags::NAME_MISSING);
    let mut without_extensions = hello(&[]);
    without_extensions.truncate(without_extensions.len() - 2);
    without_extensions[3] -= 2;
    assert_tls(&record(22, &without_extensions), "", flags::NAME_MISSING);
}

#[test]
fn any_number_of_extensions_comes_before_the_server_name() {
    for count in [0_u16, 1, 63, 64, 65, 300, 3900] {
        let before: Vec<u8> = (0..count).flat_map(|kind| extension(0x7000 + kind, &[])).collect();
        assert_tls(&client_hello(&[before, server_name(b"bad.example")].concat()), "bad.example", 0);
    }
}

#[test]
fn two_server_names_are_malformed() {
    let two = [server_name(b"good.example"), server_name(b"bad.example")].concat();
    assert_tls(&client_hello(&two), "good.example", flags::MALFORMED);
    let list = |names: &[(u8, &[u8])]| {
        let names: Vec<u8> =
            names.iter().flat_map(|(kind, name)| [&[*kind, 0, name.len() as u8], *name].concat()).collect();
        client_hello(&extension(0, &[(names.len() as u16).to_be_bytes().as_slice(), &names].concat()))
    };
    let (flow, _) = tls(&list(&[(0, b"good.example"), (0, b"bad.example")]));
    assert!(flow.has(flags::MALFORMED));
    assert_tls(&list(&[(7, b"?"), (0, b"bad.example")]), "bad.example", 0);
    assert_tls(&list(&[(7, b"?")]), "", flags::NAME_MISSING);
}

#[test]
fn a_client_hello_is_read_behind_what_may_come_before_it() {
    let hello = client_hello(&server_name(b"bad.example"));
    let change_cipher_spec = record(20, &[1]);
    let (empty, alert) = (record(22, &[]), record(21, &[1, 90]));
    for before in [
        vec![],
        change_cipher_spec.clone(),
        empty.clone(),
        alert.clone(),
        [empty.as_slice(), &change_cipher_spec, &alert, &empty].concat(),
        empty.repeat(100),
    ] {
        let stream = [before.as_slice(), &hello].concat();
        assert_tls(&stream, "bad.example", 0);
        for length in before.len() + 1..before.len() + 6 {
            assert_tls(&stream[..length], "", flags::NAME_MISSING);
        }
    }
    for said in [&change_cipher_spec[..5], &alert[..6]] {
        assert_tls(said, "", flags::NAME_MISSING);
    }
    for alone in [&change_cipher_spec, &empty, &alert] {
        assert_tls(alone, "", 0);
    }
    let encrypted = [change_cipher_spec.as_slice(), &record(22, &[1; 40])].concat();
    assert_tls(&encrypted, "", 0);
    // Behind a record, only what may come before a hello goes on to one.
    for start in [&[23][..], &[23, 3], &[23, 3, 3], &[23, 3, 3, 0]] {
        assert_tls(&[change_cipher_spec.as_slice(), start].concat(), "", 0);
    }
    // The 1 is no ClientHello: the record is empty, and what follows is no record of a handshake.
    assert_tls(&[empty.as_slice(), &record(1, &hello)].concat(), "", 0);
    assert_tls(&record(22, &[2, 0, 0, 77, 3, 3]), "", 0);
    assert_tls(&record(23, &hello), "", 0);
}

#[test]
fn a_client_hello_over_several_records_has_its_name() {
    let message = hello(&[extension(43, &[2, 3, 4]), server_name(b"bad.example")].concat());
    let start = message.windows(11).position(|bytes| bytes == b"bad.example").unwrap();
    for cut in 1..message.len() {
        let stream = [record(22, &message[..cut]), record(22, &[]), record(22, &message[cut..])].concat();
        assert_tls(&stream, "bad.example", 0);
        let in_pieces = (start + 1..start + 11).contains(&cut);
        assert_eq!(tls(&stream).0.has(flags::NAME_ASSEMBLED), in_pieces, "cut {cut}");
        let mixed = [record(22, &message[..cut]), record(20, &[1]), record(22, &message[cut..])].concat();
        assert!(tls(&mixed).0.has(flags::MALFORMED), "cut {cut}: another record between those of a message");
    }
    let bytes: Vec<u8> = message.iter().flat_map(|byte| record(22, &[*byte])).collect();
    assert_tls(&bytes, "bad.example", 0);
    // The longest record (RFC 8446, 5.1).
    let fill = 16_384 - hello(&[server_name(b"bad.example"), extension(21, &[])].concat()).len();
    let longest = hello(&[extension(21, &vec![0; fill]), server_name(b"bad.example")].concat());
    assert_eq!(longest.len(), 16_384);
    assert_tls(&record(22, &longest), "bad.example", 0);
    let mut too_long = record(22, &message);
    too_long[3..5].copy_from_slice(&0x4001_u16.to_be_bytes());
    assert_tls(&too_long, "", flags::MALFORMED | flags::NAME_MISSING);
}

#[test]
fn an_encrypted_client_hello_is_said_to_be_one() {
    let ech = extension(0xFE0D, &[0; 40]);
    for extensions in [[ech.clone(), server_name(b"outer.example")], [server_name(b"outer.example"), ech]] {
        let (flow, name) = tls(&client_hello(&extensions.concat()));
        assert_eq!((name.as_str(), flow.flags & (SAID | flags::ECH)), ("outer.example", flags::ECH));
    }
    assert!(!tls(&client_hello(&server_name(b"example.com"))).0.has(flags::ECH));
}

// DTLS

/// A record of DTLS.
fn datagram_record(kind: u8, epoch: u8, contents: &[u8]) -> Vec<u8> {
    let length = (contents.len() as u16).to_be_bytes();
    [&[kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 0], length.as_slice(), contents].concat()
}

/// The body of a hello as DTLS has it, with this cookie.
fn dtls_body(cookie: &[u8], extensions: &[u8]) -> Vec<u8> {
    let message = hello(extensions);
    let (before, behind) = message[4..].split_at(2 + 32 + 33);
    [&[0xFE, 0xFD], &before[2..], &[cookie.len() as u8], cookie, behind].concat()
}

/// A fragment of a message of type `kind`.
fn fragment(kind: u8, number: u8, body: &[u8], part: std::ops::Range<usize>) -> Vec<u8> {
    let three = |number: usize| (number as u32).to_be_bytes()[1..].to_vec();
    let [length, offset, count] = [body.len(), part.start, part.len()].map(three);
    [&[kind], length.as_slice(), &[0, number], &offset, &count, &body[part]].concat()
}

fn in_record(fragment: &[u8]) -> Vec<u8> {
    datagram_record(22, 0, fragment)
}

fn dtls(datagram: &[u8]) -> (Flow, String) {
    with_name(&ipv4(17, &udp((CLIENT, 4433), datagram)))
}

fn assert_dtls(datagram: &[u8], expected: &str, said: u32) {
    let (flow, name) = dtls(datagram);
    assert_eq!((name.as_str(), flow.flags & SAID), (expected, said), "{}", datagram.escape_ascii());
    assert!(expected.is_empty() || flow.name_kind == name_kind::TLS);
}

#[test]
fn the_server_name_of_a_dtls_hello_is_found_with_and_without_a_cookie() {
    for (cookie, number, version) in
        [(&[][..], 0, [0xFE, 0xFF]), (&[5; 20], 1, [0xFE, 0xFD]), (&[6; 255], 1, [0xFE, 0])]
    {
        let body = dtls_body(cookie, &[extension(43, &[2, 0xFE, 0xFC]), server_name(b"bad.example")].concat());
        let mut datagram = in_record(&fragment(1, number, &body, 0..body.len()));
        datagram[1..3].copy_from_slice(&version);
        assert_dtls(&datagram, "bad.example", 0);
        assert!(!dtls(&datagram).0.has(flags::NAME_ASSEMBLED));
        for ports in [(53, 4433), (CLIENT, 5353), (CLIENT, 443)] {
            assert_eq!(with_name(&ipv4(17, &udp(ports, &datagram))).1, "bad.example");
        }
    }
    let body = dtls_body(&[], &extension(43, &[2, 0xFE, 0xFC]));
    assert_dtls(&in_record(&fragment(1, 0, &body, 0..body.len())), "", flags::NAME_MISSING);
}

#[test]
fn a_dtls_hello_in_fragments_has_its_name_or_says_that_it_is_missing() {
    let body = dtls_body(&[7; 20], &[extension(43, &[9; 40]), server_name(b"bad.example")].concat());
    let name = body.windows(11).position(|bytes| bytes == b"bad.example").unwrap();
    let part = |range| fragment(1, 0, &body, range);
    for cut in 0..=body.len() {
        let [first, second, longer] = [0..cut, cut..body.len(), cut.saturating_sub(9)..body.len()].map(part);
        for datagram in [
            [in_record(&first), in_record(&second)].concat(),
            [in_record(&second), in_record(&first)].concat(),
            in_record(&[first.as_slice(), &second].concat()),
            [in_record(&first), in_record(&longer)].concat(),
            [in_record(&first), datagram_record(20, 0, &[1]), datagram_record(23, 1, &[9; 30]), in_record(&second)]
                .concat(),
        ] {
            assert_dtls(&datagram, "bad.example", 0);
        }
        let expected = if cut >= name + 11 { ("bad.example", 0) } else { ("", flags::NAME_MISSING) };
        assert_dtls(&in_record(&first), expected.0, expected.1);
        // Of another version, and longer than any: no more than a header is skipped.
        for header in [[20, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50], [20, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1]] {
            assert_dtls(&[header.as_slice(), &in_record(&first), &in_record(&second)].concat(), "bad.example", 0);
        }
        if cut != 0 && cut < body.len() {
            assert_dtls(&in_record(&second), "", flags::NAME_MISSING);
        }
    }
    let bytes = (0..body.len()).map(|at| part(at..at + 1));
    assert_dtls(&in_record(&bytes.flatten().collect::<Vec<u8>>()), "", flags::NAME_MISSING);
}

#[test]
fn a_dtls_hello_that_contradicts_itself_is_malformed() {
    const CONTRADICTED: u32 = flags::MALFORMED | flags::NAME_MISSING;
    let body = dtls_body(&[], &server_name(b"bad.example"));
    let other = dtls_body(&[], &server_name(b"not.example"));
    let [whole, decoy] = [&body, &other].map(|body| fragment(1, 0, body, 0..body.len()));
    assert_dtls(&[in_record(&whole), in_record(&decoy)].concat(), "bad.example", CONTRADICTED);
    let longer = [body.as_slice(), &[0]].concat();
    let with_another_length = fragment(1, 0, &longer, 0..longer.len());
    assert_dtls(&in_record(&[whole.clone(), with_another_length].concat()), "bad.example", CONTRADICTED);
    let mut beyond = whole.clone();
    beyond[3] -= 1;
    assert_dtls(&in_record(&beyond), "", CONTRADICTED);
    for cut in 1..whole.len() {
        assert_dtls(&in_record(&whole[..cut]), "", CONTRADICTED);
    }
    // The second of two hellos has no place.
    let second = fragment(1, 1, &other, 0..other.len());
    assert_dtls(&[in_record(&whole), in_record(&second)].concat(), "bad.example", flags::NAME_MISSING);
    let two_names = dtls_body(&[], &[server_name(b"bad.example"), server_name(b"not.example")].concat());
    let two_names = fragment(1, 0, &two_names, 0..two_names.len());
    assert_dtls(&in_record(&two_names), "bad.example", flags::MALFORMED);
    // An extension that is longer than the list that it is in.
    let mut longer = server_name(b"bad.example");
    longer[3] += 1;
    let longer = dtls_body(&[], &longer);
    assert_dtls(&in_record(&fragment(1, 0, &longer, 0..longer.len())), "", CONTRADICTED);
    let many = [datagram_record(20, 0, &[1]).repeat(32), in_record(&whole)].concat();
    assert_dtls(&many, "", flags::NAME_MISSING);
}

#[test]
fn a_dtls_hello_that_the_datagram_does_not_hold_is_missing() {
    let body = dtls_body(&[], &[extension(43, &[9; 40]), server_name(b"bad.example")].concat());
    let datagram = in_record(&fragment(1, 0, &body, 0..body.len()));
    let end = datagram.windows(11).position(|bytes| bytes == b"bad.example").unwrap() + 11;
    for cut in 1..datagram.len() {
        let expected = if cut >= end { "bad.example" } else { "" };
        let missing = if cut >= end { 0 } else { flags::NAME_MISSING };
        // A datagram that ends before its record does is none that a receiver reads.
        assert_dtls(&datagram[..cut], expected, if cut < 14 { 0 } else { flags::MALFORMED | missing });
        let packet = ipv4(17, &udp((CLIENT, 4433), &datagram));
        let mut flow = Flow::default();
        let captured = &packet[..packet.len() - datagram.len() + cut];
        parse_into(link_type::RAW, captured, packet.len() as u32, &mut flow).unwrap();
        assert_eq!(flow.flags & SAID, flags::TRUNCATED | missing, "cut {cut}");
        assert_eq!(name(&flow, captured), expected.as_bytes());
        // The first fragment of IP, whose rest is in others.
        if cut.is_multiple_of(8) {
            let mut first = packet[..28 + cut].to_vec();
            first[2..4].copy_from_slice(&(28 + cut as u16).to_be_bytes());
            first[6] = 0x20;
            let (flow, name) = with_name(&first);
            assert_eq!((flow.flags & SAID, name.as_str()), (missing, expected), "cut {cut}");
        }
    }
}

#[test]
fn what_is_no_dtls_hello_says_nothing() {
    let body = dtls_body(&[], &server_name(b"bad.example"));
    let whole = fragment(1, 0, &body, 0..body.len());
    for datagram in [
        datagram_record(22, 1, &whole),
        datagram_record(21, 0, &[1, 90]),
        datagram_record(20, 0, &[1]),
        in_record(&fragment(3, 0, &[0xFE, 0xFF, 4, 1, 2, 3, 4], 0..7)),
        in_record(&[2; 9]),
        in_record(&[]),
        vec![22; 60],
        vec![22, 0xFE, 0xFD],
    ] {
        assert_dtls(&datagram, "", 0);
    }
    // The first byte of a message is enough to see that it is no hello.
    let packet = ipv4(17, &udp((CLIENT, 4433), &in_record(&[2; 60])));
    for (length, said) in [(13, flags::NAME_MISSING | flags::TRUNCATED), (14, 0)] {
        let flow = parse(link_type::RAW, &packet[..28 + length], packet.len() as u32).unwrap();
        assert_eq!(flow.flags & SAID, said, "{length} bytes");
    }
}

// What says nothing

#[test]
fn what_no_receiver_takes_for_a_beginning_says_nothing() {
    let hello = client_hello(&server_name(b"bad.example"));
    let mut too_long = hello[..5].to_vec();
    too_long[3] = 0x40;
    too_long[4] = 1;
    for stream in [
        &[0x80, 0x2E, 1, 0, 2, 0, 0x15][..], // SSL 2.0
        &record(23, &hello),
        &record(22, &[2, 0, 0, 1, 0]),
        &[record(22, &[2, 0, 0, 1, 0]), hello.clone()].concat(),
        &[&[22, 2], &hello[2..]].concat(),
        &[record(20, &[1]), record(21, &[1, 90]), record(22, &[])].concat(),
        &too_long,
        &[record(20, &[1]), record(22, &[1, 9, 0, 0])].concat(),
        b"220 mail.example ready\r\n",
        b"get",
        b"\"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n",
    ] {
        let (flow, name) = over_tcp((CLIENT, 8443), stream);
        assert_eq!((flow.flags & SAID, name.as_str()), (0, ""), "{}", stream.escape_ascii());
    }
    for protocol in [33, 132, 136] {
        let (flow, name) = with_name(&ipv4(protocol, &[udp((CLIENT, 443), &[0; 12]), hello.clone()].concat()));
        assert_eq!((flow.flags & flags::NAME_MISSING, name.as_str()), (0, ""));
    }
}

#[test]
fn the_start_of_a_quic_header_that_the_capture_cuts_is_missing() {
    let datagram = Initial::of(&[crypto(0, &hello(&server_name(b"bad.example"))), vec![0; 900]].concat()).encrypted();
    for port in [443, 8443] {
        let packet = ipv4(17, &udp((CLIENT, port), &datagram));
        for length in 1..datagram.len() {
            let mut flow = Flow::default();
            parse_into(link_type::RAW, &packet[..28 + length], packet.len() as u32, &mut flow).unwrap();
            assert_eq!(flow.flags & SAID, flags::NAME_MISSING | flags::TRUNCATED, "{length} bytes to port {port}");
        }
    }
}

#[test]
fn what_is_left_of_a_cut_quic_header_is_taken_for_one_as_far_as_it_can_be() {
    const HTTPS: u16 = 443;
    const OTHER: u16 = 8443;
    for (start, port, may_be_one) in [
        // The bit of a long header, and the one that is always set.
        (&[0xC0][..], OTHER, true),
        (&[0x80], OTHER, false),
        (&[0x40], OTHER, false),
        (&[0x80], HTTPS, true),
        (&[0x40], HTTPS, false),
        // What a record of DTLS may start with.
        (&[0x15], HTTPS, false),
        (&[0x15], OTHER, false),
        // A version, and less than one.
        (&[0xC0, 0x0A, 0x0A, 0x0A], OTHER, true),
        (&[0xC0, 0x0A, 0x0A, 0x0A, 0x0A], OTHER, false),
        (&[0xC0, 0x0A, 0x0A, 0x0A, 0x0A], HTTPS, true),
        (&[0xC0, 0, 0, 0, 1], OTHER, true),
    ] {
        let packet = ipv4(17, &udp((CLIENT, port), &[start, &[0; 100]].concat()));
        let mut flow = Flow::default();
        parse_into(link_type::RAW, &packet[..28 + start.len()], packet.len() as u32, &mut flow).unwrap();
        let expected = if may_be_one { flags::NAME_MISSING | flags::TRUNCATED } else { 0 };
        assert_eq!(flow.flags & SAID, expected, "{start:x?} to port {port}");
    }
}

// HTTP

fn http(stream: &[u8]) -> (Flow, String) {
    over_tcp((CLIENT, 80), stream)
}

fn assert_http(stream: &str, expected: &str, said: u32) {
    let (flow, name) = http(stream.as_bytes());
    assert_eq!((name.as_str(), flow.flags & SAID), (expected, said), "{stream:?}");
    assert!(expected.is_empty() || flow.name_kind == name_kind::HTTP);
}

#[test]
fn the_host_of_an_http_request_is_found_without_its_port() {
    for (host, expected) in
        [(" example.com:8080 ", "example.com"), ("EXAMPLE.com", "EXAMPLE.com"), ("\t[2001:db8::1]:80", "[2001:db8::1]")]
    {
        assert_http(&format!("GET / HTTP/1.1\r\nAccept: */*\r\nhOsT:{host}\r\n\r\n"), expected, 0);
    }
}

#[test]
fn a_request_that_the_segment_cuts_has_its_host_or_says_that_it_is_missing() {
    let request = "GET /a?b=c HTTP/1.1\r\nAccept: */*\r\nHost: bad.example\r\nA: b\r\n\r\n";
    let end = request.find("A: b").unwrap();
    for length in 1..request.len() {
        let expected = if length < end { ("", flags::NAME_MISSING) } else { ("bad.example", 0) };
        assert_http(&request[..length], expected.0, expected.1);
        assert_http(&format!("\r\n\n{}", &request[..length]), expected.0, expected.1);
    }
    for start in ["PROPFIN", "M-SEARC", "GET http://bad.exampl", "CONNECT bad.examp", "OPTIONS *", "GET  /a HTT"] {
        assert_http(start, "", flags::NAME_MISSING);
    }
    for other in [
        "a",
        "GET(/",
        "get example",
        "hello",
        "220 mail.example ESMTP",
        "SSH-2.0-x\r\n",
        "return a / b",
        "\r\n",
        "QUIT\r\n",
        "\n\r\n",
    ] {
        assert_http(other, "", 0);
    }
}

#[test]
fn a_request_that_the_capture_cuts_is_truncated_where_its_host_may_still_come() {
    let said = |head: &str, captured: usize| {
        let packet = ipv4(6, &tcp((CLIENT, 80), 0x18, &[head.as_bytes(), &[b'x'; 50]].concat()));
        parse(link_type::RAW, &packet[..40 + captured], packet.len() as u32).unwrap().flags & SAID
    };
    let without_host = "GET / HTTP/1.1\r\nA: b\r\n\r\n";
    assert_eq!(said(without_host, without_host.len()), flags::NAME_MISSING);
    assert_eq!(said(without_host, without_host.len() - 2), flags::NAME_MISSING | flags::TRUNCATED);
}

#[test]
fn any_token_is_a_method() {
    for method in ["PROPFIND", "REPORT", "MKCOL", "M-SEARCH", "get", "x", "!#$%&'*+-.^_`|~09", &"A".repeat(300)] {
        assert_http(&format!("{method} / HTTP/1.1\r\nHost: bad.example\r\n\r\n"), "bad.example", 0);
    }
    for other in ["GET / FTP/1.1", "(GET) / HTTP/1.1", "HTTP/1.1 200 OK", "EHLO bad.example", "GET bad.example"] {
        assert_http(&format!("{other}\r\nHost: bad.example\r\n\r\n"), "", 0);
    }
    assert_http("GET /\r\n", "", flags::NAME_MISSING);
    assert_http("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", flags::NAME_MISSING);
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    for before in ["\r\n", "\n", "\r\n\r\n\n\r\n", &"\r\n".repeat(500)] {
        assert_http(&format!("{before}GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n"), "bad.example", 0);
    }
    for before in [" ", "\t", "\r\n  ", "\x0b"] {
        assert_http(&format!("{before}GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n"), "bad.example", flags::MALFORMED);
    }
    assert_http(" ", "", 0);
}

#[test]
fn the_host_is_found_wherever_it_is_in_the_segment() {
    for length in [10, 2048, 40_000] {
        let before = "x".repeat(length);
        assert_http(&format!("GET /{before} HTTP/1.1\r\nHost: bad.example\r\n\r\n"), "bad.example", 0);
        assert_http(&format!("GET / HTTP/1.1\r\nA: {before}\r\nHost: bad.example\r\n\r\n"), "bad.example", 0);
    }
}

#[test]
fn an_authority_in_the_target_wins() {
    let with_host = |line: &str, host: &str| format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for line in [
        "GET http://bad.example/",
        "GET HTTP://bad.example",
        "GET http://bad.example:80?a",
        "GET https://bad.example#a",
        "CONNECT bad.example:443",
    ] {
        assert_http(&with_host(line, "bad.example"), "bad.example", 0);
        assert_http(&with_host(line, "good.example"), "bad.example", flags::MALFORMED);
        assert_http(&format!("{line} HTTP/1.1\r\n"), "bad.example", 0);
    }
    assert_http("GET http://bad.example/\r\n", "bad.example", 0);
    assert_http(&with_host("GET http://good.example@bad.example/", "bad.example"), "bad.example", flags::MALFORMED);
    assert_http(&with_host("GET //good.example/", "bad.example"), "bad.example", 0);
    assert_http(&with_host("GET /http://good.example/", "bad.example"), "bad.example", 0);
    assert_http(&with_host("GET good.example", "bad.example"), "bad.example", flags::MALFORMED);
    assert_http(&with_host("GET http:///", "bad.example"), "bad.example", 0);
}

#[test]
fn a_head_that_servers_have_to_refuse_is_malformed() {
    let head = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n");
    let both = flags::MALFORMED | flags::NAME_MISSING;
    assert_http(&head("Host: a.example\r\nHost: b.example"), "a.example", flags::MALFORMED);
    assert_http(&head("Host:\r\n bad.example"), "", both);
    assert_http(&head("Host: a.example\r\nContent-Length: 5\r\nContent-Length: 5"), "a.example", 0);
    assert_http(&head("Host: a.example\r\nContent-Length: 5\r\nContent-Length: 6"), "a.example", flags::MALFORMED);
    assert_http(&head(" Host: bad.example"), "bad.example", flags::MALFORMED);
    assert_http(&head("A: b\r\n\tc\r\nHost: bad.example"), "bad.example", flags::MALFORMED);
    assert_http(&head("Host : bad.example"), "bad.example", flags::MALFORMED);
    assert_http(&head("A\r\nHost: bad.example"), "bad.example", flags::MALFORMED);
    assert_http(&head("A: b\rHost: bad.example"), "", both);
    assert_http(&head("Host: a.example, b.example"), "a.example, b.example", flags::MALFORMED);
    assert_http(&head("Host: user@bad.example"), "bad.example", flags::MALFORMED);
    assert_http(&head("Host: bad.example:x"), "bad.example", flags::MALFORMED);
    assert_http(&head("Host: bad.example\r\nContent-Length: x"), "bad.example", flags::MALFORMED);
    assert_http("GET  / HTTP/1.1\r\nHost: bad.example\r\n\r\n", "bad.example", flags::MALFORMED);
    assert_http("GET / a HTTP/1.1\r\nHost: bad.example\r\n\r\n", "bad.example", flags::MALFORMED);
    assert_http(&head(&format!("Host: {}", "a".repeat(256))), "", flags::NAME_MISSING);
    assert_http(&head("Host: b%61d.example"), "b%61d.example", flags::NAME_MISSING);
}

#[test]
fn a_host_in_the_body_is_none_and_a_second_request_is_said_to_be_there() {
    let request = "GET / HTTP/1.1\r\nHost: good.example\r\n\r\n";
    assert_http("POST / HTTP/1.1\r\nA: b\r\nContent-Length: 17\r\n\r\nHost: a.example\r\n", "", flags::NAME_MISSING);
    assert_http(
        &[request, "GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n"].concat(),
        "good.example",
        flags::NAME_MISSING,
    );
    let post = |fields: &str, rest: &str| format!("POST / HTTP/1.1\r\nHost: good.example\r\n{fields}\r\n\r\n{rest}");
    assert_http(&post("Content-Length: 5", "12345"), "good.example", 0);
    assert_http(&post("Content-Length: 5", "123"), "good.example", 0);
    assert_http(&post("Content-Length: 5", "12345GET"), "good.example", flags::NAME_MISSING);
    let chunks = "5;a=b\r\n12345\r\n0\r\nTrailer: a\r\n\r\n";
    assert_http(&post("Transfer-Encoding: chunked", chunks), "good.example", 0);
    assert_http(&post("Transfer-Encoding: chunked", &chunks[..9]), "good.example", 0);
    assert_http(&post("Transfer-Encoding: chunked", &[chunks, "P"].concat()), "good.example", flags::NAME_MISSING);
    assert_http(&post("Transfer-Encoding: chunked\r\nContent-Length: 5", "12345"), "good.example", flags::MALFORMED);
    // An empty line in a chunk ends nothing, and neither does the first line of a trailer.
    assert_http(&post("Transfer-Encoding: chunked", "2\r\n\r\n\r\n0\r\n\r\n"), "good.example", 0);
    assert_http(&post("Transfer-Encoding: chunked", "0\r\nA: a\r\nB: b\r\n\r\n"), "good.example", 0);
}

// QUIC

/// A long header with connection ids of four bytes and none.
fn long(version: u32, first: u8, rest: &[u8]) -> Vec<u8> {
    let mut datagram = vec![first];
    datagram.extend(version.to_be_bytes());
    datagram.extend([4, 1, 2, 3, 4, 0]);
    datagram.extend(rest);
    datagram
}

#[test]
fn a_quic_long_header_is_recognised_by_its_version() {
    for (version, ports) in [
        (1, (4000, 4433)),
        (VERSION_2, (4000, 4433)),
        (0xFF00_001D, (4000, 4433)),
        (0, (4000, 443)),
        (0x1A2A_3A4A, (4000, 443)),
        (0x1A2A_3A4A, (443, 4000)),
        (0x1A2A_3A4A, (443, 443)),
    ] {
        let flow = over_udp(ports, &long(version, 0xC0, &[0, 0]));
        assert!(flow.has(flags::QUIC), "{version:#x}");
        assert_eq!(flow.quic_version, version);
    }
    for (datagram, port) in [(long(1, 0x40, &[]), 443), (long(7, 0xC0, &[]), 4433), (long(1, 0x80, &[]), 4433)] {
        let flow = over_udp((4000, port), &datagram);
        assert_eq!(flow.flags & (flags::QUIC | SAID), 0, "{datagram:?}");
    }
}

/// What is read of a datagram to port 443, and the name in it.
fn quic(datagram: &[u8]) -> (Flow, String) {
    with_name(&ipv4(17, &udp((CLIENT, 443), datagram)))
}

fn assert_quic(datagram: &[u8], expected: &str, said: u32) {
    let (flow, name) = quic(datagram);
    assert_eq!((name.as_str(), flow.flags & SAID), (expected, said));
    assert!(flow.has(flags::QUIC));
}

/// The CRYPTO frame of RFC 9001, A.2, and of RFC 9369, A.2.
const FRAME_OF_THE_RFC: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c\
    00000413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d001700180010000700050461\
    6c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b\
    0003020304000d0010000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ff\
    ff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|digits| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap()).collect()
}

#[test]
fn the_packets_of_the_rfcs_are_decrypted() {
    let packets = [
        (
            VERSION_1,
            "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
            "e221af44860018ab0856972e194cd934",
        ),
        (
            VERSION_2,
            "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
            "a18b2faa745b6fe189cf772a9f84cbfc",
        ),
    ];
    for (version, start, tag) in packets {
        let mut frames = from_hex(FRAME_OF_THE_RFC);
        frames.resize(1162, 0);
        let destination = from_hex("8394c8f03e515708");
        let packet = Initial { version, destination, number: 2, number_length: 4, frames, ..Initial::default() };
        let packet = packet.encrypted();
        // The tag covers every byte, so that this is the packet of the RFC.
        assert!(packet.starts_with(&from_hex(start)) && packet.ends_with(&from_hex(tag)), "{version:#x}");
        assert_eq!(packet.len(), 1200);
        assert_quic(&packet, "example.com", 0);
        for at in [0, 6, 20, 30, 700, 1199] {
            let mut changed = packet.clone();
            changed[at] ^= 1;
            assert_eq!(quic(&changed).1, "", "byte {at} is authenticated");
        }
    }
}

#[test]
fn the_frames_of_a_datagram_are_put_in_order() {
    let message = hello(&[extension(43, &[2, 3, 4]), server_name(b"bad.example"), extension(1, &[9; 300])].concat());
    for cut in 1..message.len() {
        let (front, back) = (crypto(0, &message[..cut]), crypto(cut, &message[cut..]));
        let ack = [2, 5, 0x40, 9, 1, 0, 0, 0];
        let in_one = [&[0, 1, 0], back.as_slice(), &ack, &front, &[0; 40]].concat();
        assert_quic(&Initial::of(&in_one).encrypted(), "bad.example", 0);
        let second = Initial { number: 0x0102, number_length: 2, ..Initial::of(&front) };
        assert_quic(&[Initial::of(&back).encrypted(), second.encrypted()].concat(), "bad.example", 0);
    }
    let bytes: Vec<u8> = message[..31]
        .iter()
        .enumerate()
        .flat_map(|(at, byte)| crypto(at, &[*byte]))
        .chain(crypto(31, &message[31..]))
        .collect();
    assert_quic(&Initial::of(&bytes).encrypted(), "bad.example", 0);
}

#[test]
fn a_hello_that_a_datagram_does_not_hold_is_missing() {
    let message = hello(&[extension(43, &[2, 3, 4]), server_name(b"bad.example"), extension(1, &[9; 300])].concat());
    let end = message.windows(11).position(|bytes| bytes == b"bad.example").unwrap() + 11;
    for cut in 1..message.len() {
        let front = Initial::of(&crypto(0, &message[..cut])).encrypted();
        let (name, said) = if cut < end { ("", flags::NAME_MISSING) } else { ("bad.example", 0) };
        assert_quic(&front, name, said);
        assert_quic(&Initial::of(&crypto(cut, &message[cut..])).encrypted(), "", flags::NAME_MISSING);
    }
    let more_than_are_put_in_order: Vec<u8> =
        message.iter().take(33).enumerate().flat_map(|(at, byte)| crypto(at, &[*byte])).collect();
    assert_quic(&Initial::of(&more_than_are_put_in_order).encrypted(), "", flags::NAME_MISSING);
    assert_quic(&Initial::of(&[1; 30]).encrypted(), "", flags::NAME_MISSING);
    assert_quic(&Initial::of(&crypto(0, &hello(&[]))).encrypted(), "", flags::NAME_MISSING);
    assert_quic(&Initial::of(&crypto(70_000, &[1])).encrypted(), "", flags::NAME_MISSING);
    let other = Initial { destination: vec![9; 8], ..Initial::of(&crypto(0, &message)) };
    let two = [Initial::of(&[1; 30]).encrypted(), other.encrypted()].concat();
    assert_quic(&two, "", flags::NAME_MISSING);
    // Of two connections, or versions, none is believed: the second packet belongs to neither (RFC 9000, 12.2).
    for other in [other, Initial { version: VERSION_2, ..Initial::of(&crypto(0, &message)) }] {
        let two = [Initial::of(&crypto(0, &message)).encrypted(), other.encrypted()].concat();
        assert_quic(&two, "", flags::NAME_MISSING);
    }
    assert_quic(&Initial::of(&[1; 30]).encrypted().repeat(5), "", flags::NAME_MISSING);
}

#[test]
fn an_initial_that_contradicts_itself_is_malformed() {
    const WRONG: u32 = flags::MALFORMED | flags::NAME_MISSING;
    let message = hello(&server_name(b"bad.example"));
    for frames in [
        [crypto(0, &message), vec![0x1E]].concat(),
        [vec![2, 0, 0, 0x40, 99, 0], vec![0; 20]].concat(),
        vec![6, 0, 0x7F, 0xFF, 1, 1, 1, 1],
        vec![1, 1, 1, 6],
        crypto(0, &[&[2], &message[1..]].concat()),
    ] {
        assert_quic(&Initial::of(&frames).encrypted(), "", WRONG);
    }
    let twice = [crypto(0, &message), crypto(4, &[0xFF])].concat();
    assert_quic(&Initial::of(&twice).encrypted(), "bad.example", WRONG);
    assert_quic(&long(1, 0xC0, &[0, 2, 9, 9]), "", WRONG);
    let mut beyond = Initial::of(&crypto(0, &message)).encrypted();
    beyond.pop();
    assert_quic(&beyond, "", WRONG);
    let closed = [crypto(0, &message), vec![0x1C, 0xFF, 0xFF]].concat();
    assert_quic(&Initial::of(&closed).encrypted(), "bad.example", 0);
}

#[test]
fn an_initial_with_other_keys_begins_nothing() {
    let frames = [crypto(0, &hello(&server_name(b"bad.example"))), vec![0; 900]].concat();
    let of_server = Initial { by_server: true, ..Initial::of(&frames) }.encrypted();
    assert_quic(&of_server, "", 0);
    // A receiver ignores it and reads the next.
    assert_quic(&[of_server, Initial::of(&frames).encrypted()].concat(), "bad.example", 0);
}

#[test]
fn every_header_of_an_initial_is_read() {
    let message = hello(&server_name(b"bad.example"));
    for version in [VERSION_1, VERSION_2] {
        for length in 0..=20 {
            for number_length in 1..=4 {
                let packet = Initial {
                    version,
                    destination: vec![7; length],
                    source: vec![8; 20 - length],
                    token: vec![9; length * 40],
                    number: 200,
                    number_length,
                    ..Initial::of(&crypto(0, &message))
                };
                assert_quic(&packet.encrypted(), "bad.example", 0);
            }
        }
    }
}

#[test]
fn an_initial_is_found_among_the_packets_of_a_datagram() {
    let missing = |port: u16, datagram: &[u8]| over_udp((4000, port), datagram).flags & SAID == flags::NAME_MISSING;
    let initial = Initial::of(&crypto(0, &hello(&server_name(b"bad.example")))).encrypted();
    for port in [443, 4433] {
        for first in [0xD0, 0xE0, 0xF0] {
            assert!(!missing(port, &long(1, first, &[2, 9, 9])), "0-RTT, Handshake, Retry");
        }
    }
    assert!(missing(443, &long(0xFF00_001D, 0xC0, &[0, 2, 9, 9])), "of a draft");
    assert!(missing(443, &long(0x1A2A_3A4A, 0xC0, &[])), "of a version that nobody knows");
    assert!(!missing(443, &long(0, 0xC0, &[0, 0, 0, 1])), "Version Negotiation");
    // Behind others in the datagram, whose lengths have one, two or four bytes.
    for length in [vec![2], vec![0x40, 2], vec![0x80, 0, 0, 2]] {
        let mut before = vec![0xE0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0];
        before.extend([length.as_slice(), &[9, 9]].concat());
        assert_quic(&[before.as_slice(), &initial].concat(), "bad.example", 0);
        assert!(!missing(443, &[before.as_slice(), &[0x40; 20]].concat()), "a short header ends the datagram");
        assert!(missing(443, &before.repeat(9)), "more packets than are looked at");
    }
    assert_quic(&[initial.as_slice(), &[0; 100]].concat(), "bad.example", 0);
    // Retry has no length, and is the rest of the datagram (RFC 9000, 17.2.5).
    let initial = Initial { destination: vec![1, 2, 3, 4], ..Initial::of(&crypto(0, &hello(&server_name(b"a.b")))) };
    let initial = initial.encrypted();
    for (first, name) in [(0xF0, ""), (0xE0, "a.b")] {
        assert_quic(&[long(1, first, &[2, 9, 9]).as_slice(), &initial].concat(), name, 0);
    }
    let without_fixed_bit = [&[initial[0] & !0x40], &initial[1..]].concat();
    assert_quic(&without_fixed_bit, "", 0);
}

#[test]
fn each_byte_of_the_handshake_is_given_with_its_place() {
    let message = hello(&[server_name(b"bad.example"), extension(1, &[9; 300])].concat());
    let (front, back) = message.split_at(99);
    let frames = [crypto(50, &front[50..]), vec![1], crypto(0, &front[..50])].concat();
    let first = Initial::of(&frames).encrypted();
    let second = Initial { number: 1, ..Initial::of(&crypto(99, back)) }.encrypted();
    let read = |datagram: &[u8]| {
        let mut stream = vec![None; message.len()];
        let opened = read_crypto(datagram, None, &mut |place, byte| {
            assert_eq!(stream[place].replace(byte), None, "byte {place} is given once");
        });
        (opened.map(|opened| opened.is_whole), stream.into_iter().map_while(|byte| byte).collect::<Vec<u8>>())
    };
    let both = [first.as_slice(), &second].concat();
    assert_eq!(read(&both), (Some(true), message.clone()));
    assert_eq!(read(&both[..both.len() - 1]), (Some(false), front.to_vec()), "the second packet is cut");
    let of_server = Initial { by_server: true, ..Initial::of(&frames) }.encrypted();
    assert_eq!(read(&of_server), (None, Vec::new()), "of other keys");
}

#[test]
fn no_datagram_is_longer_than_a_length_of_16_bits_says() {
    let mut datagram = Initial::of(&crypto(0, &hello(&server_name(b"bad.example")))).encrypted();
    for (length, is_read) in [(65_534, true), (65_535, true), (65_536, false)] {
        datagram.resize(length, 0);
        let mut count = 0;
        assert_eq!(read_crypto(&datagram, None, &mut |_, _| count += 1).is_some(), is_read, "{length}");
        assert_eq!(count != 0, is_read, "{length}");
    }
}

// Streams, put together from several packets

/// What a segment says by itself, which may be wrong for its stream.
fn segment() -> Flow {
    Flow {
        flags: SEGMENT | flags::NAME_MISSING | flags::ECH | flags::NAME_ASSEMBLED | flags::DNS,
        protocol: 6,
        name_kind: name_kind::DNS,
        name_length: 5,
        name_offset: 3,
        dns_type: 9,
        ..Flow::default()
    }
}

/// Those of its flags that do not depend on the payload.
const SEGMENT: u32 =
    flags::ADDRESSES | flags::PROTOCOL | flags::PORTS | flags::TCP_FLAGS | flags::FRAGMENT | flags::MALFORMED;

/// What is read of a stream: the flow has to be as it was if that is nothing.
fn beginning(read: fn(&[u8], &mut Flow, &mut Option<NameText>) -> Beginning, bytes: &[u8]) -> (Beginning, String, u32) {
    let (mut flow, mut name) = (segment(), None);
    let beginning = read(bytes, &mut flow, &mut name);
    if beginning != Beginning::Read {
        assert_eq!(flow, segment());
        return (beginning, String::new(), 0);
    }
    let text = name.filter(|_| flow.has(flags::NAME_ASSEMBLED)).map_or(Vec::new(), |name| name.as_bytes().to_vec());
    assert_eq!((flow.name_offset, usize::from(flow.name_length), flow.flags & SEGMENT), (0, text.len(), SEGMENT));
    assert!(text.is_empty() == (flow.name_kind == name_kind::NONE) && (flow.dns_type == 0 || flow.has(flags::DNS)));
    (beginning, String::from_utf8(text).unwrap(), flow.flags & !SEGMENT)
}

#[test]
fn a_stream_has_the_name_that_its_segments_have_together() {
    let named = hello(&[server_name(b"bad.example"), extension(0xFE0D, b"x")].concat());
    let two_records = [record(22, &named[..60]), record(22, &named[60..])].concat();
    let request = b"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n".to_vec();
    let whole = |read, bytes: &[u8], said| {
        assert_eq!(beginning(read, bytes), (Beginning::Read, "bad.example".into(), said | flags::NAME_ASSEMBLED));
        let ends = (0..bytes.len()).map(|length| beginning(read, &bytes[..length]).0);
        let states: Vec<_> = ends.skip_while(|state| *state != Beginning::Short).collect();
        let short = states.iter().take_while(|state| **state == Beginning::Short).count();
        assert!(short > 10 && states[short..].iter().all(|state| *state == Beginning::Read), "{states:?}");
    };
    whole(read_stream, &record(22, &named), flags::ECH);
    whole(read_stream, &two_records, flags::ECH);
    whole(read_stream, &request, 0);
    whole(read_handshake, &named, flags::ECH);
    let nameless = hello(&extension(21, &[0; 9]));
    for (read, bytes) in
        [(read_stream as fn(&[u8], &mut _, &mut _) -> _, record(22, &nameless)), (read_handshake, nameless)]
    {
        assert_eq!(beginning(read, &bytes), (Beginning::Read, String::new(), flags::NAME_MISSING));
    }
    assert_eq!(beginning(read_stream, b"220 mail.example ready\r\n").0, Beginning::Other);
    let other = beginning(read_handshake, &[2, 0, 0, 1, 0]);
    assert_eq!(other, (Beginning::Read, String::new(), flags::NAME_MISSING), "a ServerHello, which is malformed here");
}

#[test]
fn the_longest_hello_that_servers_take_is_read() {
    // OpenSSL takes a ClientHello of up to 131,396 bytes: all its lists as long as they can be.
    let list = |count: usize| [&(count as u16).to_be_bytes()[..], &vec![0x13; count]].concat();
    let extensions = [server_name(b"bad.example"), extension(21, &vec![0; 65_535 - 24])].concat();
    let extensions = [&(extensions.len() as u16).to_be_bytes()[..], &extensions].concat();
    let body = [&[3, 3], [7; 32].as_slice(), &[32], &[8; 32], &list(65_534), &[1, 0], &extensions].concat();
    assert!((0x2_0000..=131_396).contains(&body.len()), "{}", body.len());
    let mut hello = [&[1], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    assert_eq!(beginning(read_handshake, &hello), (Beginning::Read, "bad.example".into(), flags::NAME_ASSEMBLED));
    hello[1] = 3;
    assert_eq!(beginning(read_handshake, &hello), (Beginning::Read, String::new(), flags::NAME_MISSING));
}
