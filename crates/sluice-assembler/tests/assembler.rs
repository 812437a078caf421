//! Names that are spread over packets: found with the packet that completes them, or said to be missing.
#![cfg(not(loom))]

#[path = "../../sluice-core/tests/common/packets.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "the tests of sluice-core use the rest")]
mod packets;
#[path = "../../sluice-core/tests/common/quic.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "the tests of sluice-core use the rest")]
mod quic;

use packets::{client_hello, extension, hello, ipv4, server_name, tcp, udp, whole};
use quic::{Initial, crypto};
use sluice_assembler::{Assembler, GROUP_MEMORY, HashKey, KEPT_MS, LENGTH, WAYS};
use sluice_core::{CapturedPacket, Direction, parse_with_name};
use sluice_npi::{Flow, flags, link_type};

const SYN: u8 = 0x02;
const PSH_ACK: u8 = 0x18;
const MISSING: u32 = flags::NAME_MISSING;
const PENDING: u32 = flags::NAME_PENDING;
const CONTRADICTED: u32 = flags::NAME_MISSING | flags::MALFORMED;

fn assembler() -> Assembler {
    Assembler::try_new(GROUP_MEMORY, HashKey::new(7)).unwrap()
}

fn captured(bytes: &[u8]) -> CapturedPacket<'_> {
    let (direction, wire_length) = (Direction::Unspecified, bytes.len() as u32);
    CapturedPacket { direction, link_type: link_type::RAW, wire_length, bytes, is_head: false }
}

/// What is said of a packet, and its name.
fn follow(assembler: &Assembler, packet: &[u8]) -> (u32, String) {
    follow_at(0, assembler, packet)
}

/// The same at a time in milliseconds.
fn follow_at(now: u64, assembler: &Assembler, packet: &[u8]) -> (u32, String) {
    let (mut flow, mut text) = (Flow::default(), None);
    parse_with_name(link_type::RAW, packet, packet.len() as u32, &mut flow, &mut text).unwrap();
    assembler.follow(&captured(packet), &mut flow, &mut text, || now);
    let name = if flow.has(flags::NAME_ASSEMBLED) {
        assert_eq!(flow.name_offset, 0);
        text.unwrap().as_bytes().to_vec()
    } else {
        packets::name(&flow, packet).to_vec()
    };
    assert_eq!(usize::from(flow.name_length), name.len());
    (flow.flags & (CONTRADICTED | PENDING), String::from_utf8(name).unwrap())
}

fn segment(port: u16, tcp_flags: u8, number: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = tcp((port, 443), tcp_flags, payload);
    segment[4..8].copy_from_slice(&number.to_be_bytes());
    ipv4(6, &segment)
}

fn data(number: u32, payload: &[u8]) -> Vec<u8> {
    segment(50_000, PSH_ACK, number, payload)
}

fn found(name: &str) -> (u32, String) {
    (0, name.to_owned())
}

fn missing() -> (u32, String) {
    (MISSING, String::new())
}

fn pending() -> (u32, String) {
    (PENDING, String::new())
}

fn nothing() -> (u32, String) {
    (0, String::new())
}

/// The SYN in front of the byte with this number.
fn syn(number: u32) -> Vec<u8> {
    segment(50_000, SYN, number.wrapping_sub(1), &[])
}

/// A ClientHello of about 600 bytes, and where its name ends.
fn long_hello() -> (Vec<u8>, usize) {
    let hello = client_hello(&[extension(51, &[9; 400]), server_name(b"bad.example"), extension(1, &[9; 99])].concat());
    let end = hello.windows(11).position(|bytes| bytes == b"bad.example").unwrap() + 11;
    (hello, end)
}

#[test]
fn the_segment_that_completes_a_name_is_judged_by_it() {
    let (hello, end) = long_hello();
    for first in [0, 1, 0x7FFF_FF00, u32::MAX - 3] {
        for cut in 1..end {
            let rest = data(first.wrapping_add(cut as u32), &hello[cut..]);
            // Whoever saw its SYN can promise that its name will be judged.
            for (opening, before) in [(None, missing()), (Some(syn(first)), pending())] {
                let assembler = assembler();
                opening.iter().for_each(|syn| assert_eq!(follow(&assembler, syn), nothing()));
                assert_eq!(follow(&assembler, &data(first, &hello[..cut])), before, "cut {cut}");
                assert_eq!(follow(&assembler, &rest), found("bad.example"), "cut {cut}");
            }
        }
    }
}

#[test]
fn what_is_sent_again_is_judged_again() {
    let (hello, end) = long_hello();
    for opening in [None, Some(syn(0))] {
        let assembler = assembler();
        opening.iter().for_each(|syn| assert_eq!(follow(&assembler, syn), nothing()));
        follow(&assembler, &data(0, &hello[..100]));
        let rest = |number: usize, end: usize| data(number as u32, &hello[number..end]);
        for now in 0..9 {
            // The first may have been blocked, in one piece or in others.
            for packet in [rest(100, hello.len()), rest(100, 200), rest(end - 1, end), rest(0, 100)] {
                assert_eq!(follow_at(now * KEPT_MS, &assembler, &packet), found("bad.example"));
            }
        }
        assert_eq!(follow(&assembler, &data(hello.len() as u32, &[0x17; 100])), nothing(), "what follows");
    }
}

#[test]
fn behind_a_syn_segments_may_come_in_any_order() {
    let (hello, end) = long_hello();
    for cut in 1..end {
        let assembler = assembler();
        assert_eq!(follow(&assembler, &syn(100)), nothing());
        let rest = data(100 + cut as u32, &hello[cut..]);
        assert_eq!(follow(&assembler, &rest).1, "", "cut {cut}");
        assert_eq!(follow(&assembler, &data(100, &hello[..cut])), found("bad.example"), "cut {cut}");
    }
    let assembler = assembler();
    let syn = segment(50_000, SYN, 99, &hello[..50]);
    assert_eq!(follow(&assembler, &syn), pending(), "data in the SYN (RFC 7413)");
    assert_eq!(follow(&assembler, &data(150, &hello[50..])), found("bad.example"));
}

#[test]
fn a_hello_may_come_byte_by_byte() {
    let (hello, end) = long_hello();
    for (opening, before) in [(None, missing()), (Some(syn(0)), pending())] {
        let assembler = assembler();
        opening.iter().for_each(|syn| assert_eq!(follow(&assembler, syn), nothing()));
        for (number, byte) in hello[..end].iter().enumerate() {
            let expected = if number + 1 == end { found("bad.example") } else { before.clone() };
            assert_eq!(follow(&assembler, &data(number as u32, &[*byte])), expected, "byte {number}");
        }
    }
}

#[test]
fn what_is_inside_of_a_hello_does_not_count_by_itself() {
    let decoy = client_hello(&server_name(b"good.example"));
    let hello = client_hello(&[extension(51, &decoy), server_name(b"bad.example")].concat());
    let inside = hello.windows(decoy.len()).position(|bytes| bytes == decoy).unwrap();
    let end = inside + decoy.len();
    let assembler = assembler();
    follow(&assembler, &syn(0));
    assert_eq!(follow(&assembler, &data(0, &hello[..inside])), pending());
    assert_eq!(follow(&assembler, &data(inside as u32, &hello[inside..end])), pending());
    assert_eq!(follow(&assembler, &data(end as u32, &hello[end..])), found("bad.example"));
}

#[test]
fn what_was_not_captured_whole_promises_nothing() {
    let (hello, _) = long_hello();
    let assembler = assembler();
    follow(&assembler, &syn(0));
    let packet = data(0, &hello[..300]);
    let cut = CapturedPacket { bytes: &packet[..200], ..captured(&packet) };
    let (mut flow, mut text) = (Flow::default(), None);
    parse_with_name(link_type::RAW, cut.bytes, cut.wire_length, &mut flow, &mut text).unwrap();
    assembler.follow(&cut, &mut flow, &mut text, || 0);
    assert!(flow.has(flags::NAME_MISSING | flags::TRUNCATED) && !flow.has(flags::NAME_PENDING));
}

#[test]
fn the_first_copy_counts_and_another_is_flagged() {
    let (hello, end) = long_hello();
    let decoy = [&hello[..end - 11], b"not.example", &hello[end..]].concat();
    let cut = end - 30;
    let at = |offset: usize, bytes: &[u8]| data(1_000 + offset as u32, bytes);
    let assembler = assembler();
    assert_eq!(follow(&assembler, &syn(1_000)), nothing());
    assert_eq!(follow(&assembler, &at(0, &hello[..cut])), pending());
    assert_eq!(follow(&assembler, &at(0, &hello[..cut])), pending(), "sent again");
    assert_eq!(follow(&assembler, &at(cut - 20, &hello[cut - 20..cut + 5])), pending(), "overlapping");
    assert_eq!(follow(&assembler, &at(cut + 5, &decoy[cut + 5..])), found("not.example"), "the first copy");
    // A server that never got the first copy takes this one.
    let contradiction = follow(&assembler, &at(cut + 5, &hello[cut + 5..]));
    assert_eq!(contradiction, (CONTRADICTED, String::new()));
    assert_eq!(follow(&assembler, &at(cut + 5, &decoy[cut + 5..])), found("not.example"), "sent again");
}

#[test]
fn a_whole_hello_is_flagged_if_a_part_of_it_came_before_in_another_form() {
    let (hello, end) = long_hello();
    let decoy = [&hello[..end - 11], b"not.example", &hello[end..]].concat();
    let assembler = assembler();
    follow(&assembler, &syn(0));
    assert_eq!(follow(&assembler, &data(end as u32 - 11, &hello[end - 11..end])), nothing());
    assert_eq!(follow(&assembler, &data(0, &decoy)).0, CONTRADICTED);
}

#[test]
fn what_lies_in_front_of_a_stream_is_left_out() {
    let (hello, _) = long_hello();
    let assembler = assembler();
    assert_eq!(follow(&assembler, &data(1_000, &hello[..100])), missing());
    let with_more_in_front = [&[0xEE; 40], &hello[..]].concat();
    assert_eq!(follow(&assembler, &data(960, &with_more_in_front)), found("bad.example"));
}

#[test]
fn a_connection_may_follow_another_between_the_same_ports() {
    let (hello, _) = long_hello();
    let assembler = assembler();
    for first in [1_000, 50_000, 90_000] {
        assert_eq!(follow(&assembler, &syn(first)), nothing());
        assert_eq!(follow(&assembler, &data(first, &hello[..90])), pending());
    }
    // A server ignores a SYN for a connection that it has. So the end of each can still come.
    for first in [1_000, 50_000, 90_000] {
        assert_eq!(follow(&assembler, &data(first + 90, &hello[90..])), found("bad.example"));
    }
}

#[test]
fn a_segment_that_can_be_of_two_connections_says_that_its_name_is_missing() {
    let (hello, _) = long_hello();
    let assembler = assembler();
    [1_000, 1_200].iter().for_each(|first| assert_eq!(follow(&assembler, &syn(*first)), nothing()));
    assert_eq!(follow(&assembler, &data(1_000, &hello[..50])), pending(), "of the first");
    assert_eq!(follow(&assembler, &data(1_050, &hello[50..])), missing());
}

#[test]
fn requests_and_dns_messages_are_put_together_too() {
    let request = b"GET /index HTTP/1.1\r\nAccept: */*\r\nHost: bad.example\r\n\r\n";
    let mut message = packets::query();
    message.splice(0..0, (message.len() as u16).to_be_bytes());
    for (port, bytes, name) in [(80, &request[..], "bad.example"), (53, &message, "\u{3}www\u{7}example\u{3}com")] {
        for cut in [1, 2, 5, 20] {
            let assembler = assembler();
            let part = |number: u32, tcp_flags: u8, bytes: &[u8]| {
                let mut segment = tcp((50_000, port), tcp_flags, bytes);
                segment[4..8].copy_from_slice(&number.to_be_bytes());
                ipv4(6, &segment)
            };
            assert_eq!(follow(&assembler, &part(0, SYN, &[])), nothing());
            assert_eq!(follow(&assembler, &part(1, PSH_ACK, &bytes[..cut])), pending(), "{port} {cut}");
            let rest = part(1 + cut as u32, PSH_ACK, &bytes[cut..]);
            assert_eq!(follow(&assembler, &rest), found(name), "{port} {cut}");
        }
    }
}

#[test]
fn a_name_behind_what_is_kept_stays_missing() {
    let hello = client_hello(&[extension(51, &[9; LENGTH]), server_name(b"bad.example")].concat());
    let assembler = assembler();
    assert_eq!(follow(&assembler, &syn(0)), nothing());
    assert_eq!(follow(&assembler, &data(0, &hello[..1_400])), pending());
    assert_eq!(follow(&assembler, &data(1_400, &hello[1_400..2_800])), pending());
    for _ in 0..2 {
        assert_eq!(follow(&assembler, &data(2_800, &hello[2_800..])), missing());
    }
}

/// Initial packets with parts of a hello, each in a datagram, and where the name ends.
fn quic_hello() -> (Vec<u8>, usize) {
    let message = hello(&[extension(51, &[9; 400]), server_name(b"bad.example"), extension(1, &[9; 99])].concat());
    let end = message.windows(11).position(|bytes| bytes == b"bad.example").unwrap() + 11;
    (message, end)
}

fn datagram(initial: &Initial) -> Vec<u8> {
    ipv4(17, &udp((50_000, 443), &initial.encrypted()))
}

#[test]
fn a_hello_of_quic_is_put_together_from_its_datagrams() {
    let (message, end) = quic_hello();
    for cut in (1..end).step_by(7).chain([end - 1]) {
        let front = datagram(&Initial::of(&crypto(0, &message[..cut])));
        let back = datagram(&Initial { number: 1, ..Initial::of(&crypto(cut, &message[cut..])) });
        let again = datagram(&Initial { number: 2, ..Initial::of(&crypto(cut, &message[cut..])) });
        for [first, second] in [[&front, &back], [&back, &front]] {
            let assembler = assembler();
            assert_eq!(follow(&assembler, first), pending(), "cut {cut}");
            assert_eq!(follow(&assembler, second), found("bad.example"), "cut {cut}");
            assert_eq!(follow(&assembler, second), found("bad.example"), "sent again");
            assert_eq!(follow(&assembler, &again), found("bad.example"), "in another packet");
        }
    }
    let assembler = assembler();
    let front = datagram(&Initial::of(&crypto(0, &message[..200])));
    assert_eq!(follow(&assembler, &front), pending());
    let contradiction = [crypto(0, &[9]), crypto(200, &message[200..])].concat();
    let other = datagram(&Initial { number: 2, ..Initial::of(&contradiction) });
    assert_eq!(follow(&assembler, &other).0, CONTRADICTED);
}

#[test]
fn connections_of_quic_between_the_same_ports_are_told_apart() {
    let (message, _) = quic_hello();
    let of = |id: &'static [u8], number: u32, frames: &[u8]| {
        datagram(&Initial { destination: id.to_vec(), number, ..Initial::of(frames) })
    };
    let ids: [&[u8]; 2] = [b"one one one", b"two two two"];
    let assembler = assembler();
    for id in ids {
        assert_eq!(follow(&assembler, &of(id, 0, &crypto(0, &message[..200]))), pending());
    }
    for id in ids {
        assert_eq!(follow(&assembler, &of(id, 1, &crypto(200, &message[200..]))), found("bad.example"));
    }
}

#[test]
fn a_flood_takes_no_more_memory_and_hides_nothing() {
    let (hello, _) = long_hello();
    let assembler = Assembler::try_new(GROUP_MEMORY * 10, HashKey::new(3)).unwrap();
    assert_eq!(assembler.capacity(), 10 * WAYS);
    assert_eq!(follow(&assembler, &syn(0)), nothing());
    assert_eq!(follow(&assembler, &data(0, &hello[..100])), pending());
    let mut said = [0; 2];
    for port in 0..40_000 {
        assert_eq!(follow(&assembler, &segment(port, SYN, u32::MAX, &[])), nothing());
        let of_flood = follow(&assembler, &segment(port, PSH_ACK, 0, &hello[..100]));
        said[usize::from(of_flood == pending())] += 1;
        assert!(of_flood == pending() || of_flood == missing());
    }
    assert!(said[0] > 39_000 && said[1] >= 10, "{said:?}");
    assert_eq!(follow(&assembler, &data(100, &hello[100..])), found("bad.example"), "it was said to be kept");
    // Whoever stays away longer than a server waits loses the place.
    for port in 40_000..49_000 {
        follow_at(KEPT_MS + 1, &assembler, &segment(port, SYN, u32::MAX, &[]));
    }
    assert_eq!(follow_at(KEPT_MS + 1, &assembler, &data(100, &hello[100..])), nothing());
    assert_eq!(assembler.capacity(), 10 * WAYS);
}

#[test]
fn the_oldest_of_a_group_makes_room() {
    let (hello, _) = long_hello();
    let assembler = Assembler::try_new(GROUP_MEMORY, HashKey::new(3)).unwrap();
    for port in 0..=WAYS as u16 {
        assert_eq!(follow(&assembler, &segment(port, PSH_ACK, 0, &hello[..100])), missing());
    }
    let rest = |port: u16| follow(&assembler, &segment(port, PSH_ACK, 100, &hello[100..]));
    assert_eq!(rest(0), nothing());
    (1..=WAYS as u16).for_each(|port| assert_eq!(rest(port), found("bad.example")));
}

#[test]
fn without_memory_nothing_is_kept() {
    let (hello, _) = long_hello();
    for memory in [0, GROUP_MEMORY - 1] {
        let assembler = Assembler::try_new(memory, HashKey::new(3)).unwrap();
        assert_eq!(follow(&assembler, &data(0, &hello[..100])), missing());
        assert_eq!(follow(&assembler, &data(100, &hello[100..])), nothing());
    }
}

#[test]
fn packets_that_are_no_hello_are_as_they_were_read() {
    let assembler = assembler();
    let (hello, end) = long_hello();
    for packet in [
        data(5, &[0x17; 900]),
        data(5, &hello),
        segment(50_000, SYN, 7, &[]),
        data(8, b"220 mail.example ready"),
        data(9, &hello[end..]),
        ipv4(1, &[8, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let mut flow = whole(link_type::RAW, &packet);
        let before = flow;
        assembler.follow(&captured(&packet), &mut flow, &mut None, || 0);
        assert_eq!(flow, before);
    }
}
