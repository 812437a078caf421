//! What the fuzz target does with its input: `fuzz/` gives it to a fuzzer, `tests/fuzz.rs` to a generator.
//!
//! The parts of a conversation come in any order, some of them changed, among packets of others. Beside the assembler
//! there is a model of the receiver, which keeps the first copy of each byte. The packet with which its beginning
//! becomes readable has the name, or one until then has said that it is missing.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each user has a part of it")]

#[path = "../../../sluice-core/tests/fuzzed/choices.rs"]
mod choices;
#[path = "../../../sluice-core/tests/common/packets.rs"]
mod packets;
#[path = "../../../sluice-core/tests/common/quic.rs"]
mod quic;

use choices::Choices;
use packets::{client_hello, extension, hello, ipv4, query, server_name, tcp, udp};
use quic::{Initial, crypto};
use sluice_assembler::{Assembler, GROUP_MEMORY, HashKey, LENGTH};
use sluice_core::stream::{Beginning, read_handshake, read_stream};
use sluice_core::{CapturedPacket, Direction, NameText, parse_with_name};
use sluice_npi::{Flow, flags, link_type};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The beginning of a conversation, and the port that it goes to.
fn beginning(choices: &mut Choices<'_>) -> (Vec<u8>, u16) {
    let padding = vec![9; usize::from(choices.byte()) * 4];
    let name = server_name(b"bad.example");
    match choices.byte() % 4 {
        0 => (client_hello(&[extension(51, &padding), name].concat()), 443),
        1 => {
            let decoy = client_hello(&server_name(b"good.example"));
            (client_hello(&[extension(51, &padding), extension(21, &decoy), name].concat()), 443)
        }
        2 => {
            let padding = "a".repeat(padding.len());
            (format!("GET /{padding} HTTP/1.1\r\nHost: bad.example\r\n\r\n").into_bytes(), 80)
        }
        _ => {
            let message = query();
            ([(message.len() as u16).to_be_bytes().as_slice(), &message].concat(), 53)
        }
    }
}

fn segment(ports: (u16, u16), tcp_flags: u8, number: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = tcp(ports, tcp_flags, payload);
    segment[4..8].copy_from_slice(&number.to_be_bytes());
    ipv4(6, &segment)
}

/// What is said of a packet, and its name.
fn follow(assembler: &Assembler, packet: &[u8]) -> (Flow, Vec<u8>) {
    let (mut flow, mut text) = (Flow::default(), None);
    let wire_length = packet.len() as u32;
    parse_with_name(link_type::RAW, packet, wire_length, &mut flow, &mut text).expect("it is known");
    let direction = Direction::Unspecified;
    let captured = CapturedPacket { direction, link_type: link_type::RAW, wire_length, bytes: packet, is_head: false };
    let (before, follows) = (flow, assembler.follows(&flow));
    assembler.follow(&captured, &mut flow, &mut text, || 0);
    assert!(follows || flow == before, "something is said of a packet that is not followed");
    assert!(!flow.has(flags::NAME_PENDING | flags::NAME_MISSING));
    assert!(!flow.has(flags::NAME_PENDING) || flow.name_kind == 0);
    let name = if flow.has(flags::NAME_ASSEMBLED) {
        assert_eq!(flow.name_offset, 0);
        text.expect("the text of the name").as_bytes().to_vec()
    } else {
        packets::name(&flow, packet).to_vec()
    };
    assert_eq!(usize::from(flow.name_length), name.len());
    (flow, name)
}

/// What the receiver has of a stream.
struct Receiver {
    bytes: Vec<Option<u8>>,
    /// Any segment of the stream.
    flow: Flow,
}

impl Receiver {
    fn put(&mut self, offset: usize, payload: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(offset).zip(payload) {
            place.get_or_insert(*byte);
        }
    }

    /// The name, if `read` can read the stream so far.
    fn name(&self, read: fn(&[u8], &mut Flow, &mut Option<NameText>) -> Beginning) -> Option<Vec<u8>> {
        let stream: Vec<u8> = self.bytes.iter().map_while(|byte| *byte).collect();
        let mut name = None;
        let read = read(&stream, &mut { self.flow }, &mut name);
        (read == Beginning::Read).then(|| name.map_or(Vec::new(), |name| name.as_bytes().to_vec()))
    }
}

/// The same for a hello in the datagrams of a QUIC connection, among those of another and of no connection at all.
fn run_quic(choices: &mut Choices<'_>) {
    let padding = vec![9; usize::from(choices.byte()) * 4];
    let message = hello(&[extension(51, &padding), server_name(b"bad.example")].concat());
    let assembler = Assembler::try_new(GROUP_MEMORY, HashKey::new(choices.byte().into())).expect("there is memory");
    let mut receiver = Receiver { bytes: vec![None; LENGTH], flow: Flow::default() };
    let (mut is_named, mut is_said, mut is_changed) = (false, false, false);
    for number in 0..6 {
        if choices.is_used_up() {
            return;
        }
        let kind = choices.byte();
        let mut frames = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..=choices.byte() % 3 {
            let start = (usize::from(choices.byte()) * 7).min(message.len());
            let end = (start + 1 + usize::from(choices.byte()) * 5).min(message.len());
            let mut part = message[start..end].to_vec();
            if (0xD0..0xE0).contains(&kind) {
                is_changed = true;
                part.iter_mut().take(1).for_each(|byte| *byte ^= kind & 15);
            }
            frames.extend(crypto(start, &part));
            parts.push((start, part));
        }
        // As many as a sample takes.
        frames.extend([0; 4]);
        let is_other = kind >= 0xF0;
        let destination = if is_other { vec![9; 8] } else { vec![7; 8] };
        let mut datagram = Initial { number, frames, destination, ..Initial::default() }.encrypted();
        if (0xE0..0xF0).contains(&kind) {
            // One that nobody can decrypt.
            datagram.iter_mut().rev().take(1).for_each(|byte| *byte ^= 0x55);
        }
        // The other connection has a port of its own, or the same.
        let port = if kind >= 0xF8 { 49153 } else { 49152 };
        let (flow, name) = follow(&assembler, &ipv4(17, &udp((port, 443), &datagram)));
        if kind >= 0xE0 {
            continue;
        }
        receiver.flow = flow;
        parts.iter().for_each(|(start, part)| receiver.put(*start, part));
        // A packet may have what is read of a hello by itself, and not all of it.
        is_said |= flow.flags & (flags::NAME_MISSING | flags::MALFORMED) != 0 || name == b"bad.example";
        if let Some(taken) = receiver.name(read_handshake).filter(|_| !is_named) {
            is_named = true;
            let text = name.escape_ascii();
            assert!(is_said || is_changed || name == taken, "{text} where the receiver has {}", taken.escape_ascii());
        }
    }
}

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    // Those of QUIC came later, for inputs whose second byte is 0xE0 or more.
    if data.get(1).is_some_and(|kind| *kind >= 0xE0) {
        _ = [choices.byte(), choices.byte()];
        return run_quic(&mut choices);
    }
    let (stream, port) = beginning(&mut choices);
    let assembler = Assembler::try_new(GROUP_MEMORY, HashKey::new(choices.byte().into())).expect("there is memory");
    let first = u32::from_be_bytes([choices.byte(), choices.byte(), choices.byte(), 0]).wrapping_sub(200);
    let ports = (49152, port);
    let opened = choices.byte() < 0xC0;
    if opened {
        follow(&assembler, &segment(ports, SYN, first.wrapping_sub(1), &[]));
    }
    let flow = follow(&assembler, &segment(ports, ACK, 0, &[])).0;
    let mut receiver = Receiver { bytes: vec![None; LENGTH], flow };
    let (mut is_named, mut is_said, mut is_changed) = (false, false, false);
    for _ in 0..64 {
        if choices.is_used_up() {
            return;
        }
        let kind = choices.byte();
        let start = (usize::from(choices.byte()) * 7 + usize::from(choices.byte() >> 4)).min(stream.len());
        let end = (start + 1 + usize::from(choices.byte()) * 5).min(stream.len());
        let mut payload = stream[start..end].to_vec();
        let number = first.wrapping_add(start as u32);
        match kind {
            0xF0.. => {
                // Of another conversation: of so few that they do not take the place of this one.
                let ports = (ports.0 + 1 + u16::from(kind & 1), port);
                follow(&assembler, &segment(ports, SYN, first.wrapping_sub(1), &[]));
                follow(&assembler, &segment(ports, ACK, number, &payload));
                continue;
            }
            0xE0..0xF0 => {
                // One that the receiver ignores.
                follow(&assembler, &segment(ports, SYN, first.wrapping_add(900), &[]));
                continue;
            }
            0xD0..0xE0 => {
                is_changed = true;
                payload.iter_mut().take(1).for_each(|byte| *byte ^= kind & 15);
            }
            _ => {}
        }
        let (flow, name) = follow(&assembler, &segment(ports, ACK, number, &payload));
        receiver.put(start, &payload);
        is_said |= flow.flags & (flags::NAME_MISSING | flags::MALFORMED) != 0;
        if let Some(taken) = receiver.name(read_stream).filter(|_| !is_named) {
            is_named = true;
            let text = name.escape_ascii();
            // Without its SYN, a part that comes before the beginning is not known to be one.
            let is_known = opened || !is_changed;
            assert!(is_said || !is_known || name == taken, "{text} where the receiver has {}", taken.escape_ascii());
        }
    }
}
