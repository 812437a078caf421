//! What names cost: `cargo xtask bench assembler`.
//!
//! For packets that begin nothing, with and without memory for names; and for each beginning that is read.
//! The candidates take turns, and the figures are the fastest round and the median, in lines for `cargo xtask bench`
//! (xtask/src/figures.rs).
#![allow(missing_docs, reason = "a program")]

#[path = "../../sluice-core/tests/common/packets.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of sluice-core use the rest")]
mod packets;
#[path = "../../sluice-core/tests/common/quic.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of sluice-core use the rest")]
mod quic;

use std::hint::black_box;
use std::time::Instant;

use packets::{client_hello, extension, hello, ipv4, server_name, tcp, udp};
use quic::{Initial, crypto};
use sluice_assembler::{Assembler, DEFAULT_MEMORY, HashKey};
use sluice_core::{CapturedPacket, Direction, parse_with_name};
use sluice_npi::{Flow, link_type};

const ROUNDS: usize = 61;
const ACK: u8 = 0x10;
const SYN: u8 = 0x02;

type Candidate<'a> = &'a mut dyn FnMut(&[u8]);

/// Nanoseconds a packet: of the fastest round, and the median.
fn measure(packets: &[Vec<u8>], repeat: usize, candidates: &mut [Candidate<'_>]) -> Vec<[f64; 2]> {
    let mut times = vec![Vec::new(); candidates.len()];
    for _ in 0..ROUNDS {
        for (candidate, times) in candidates.iter_mut().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..repeat {
                packets.iter().for_each(|packet| candidate(black_box(packet)));
            }
            times.push(start.elapsed().as_nanos() as f64 / (repeat * packets.len()) as f64);
        }
    }
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    times.iter().map(|times| [times[0], times[times.len() / 2]]).collect()
}

fn read(packet: &[u8]) -> Flow {
    let (mut flow, mut name) = (Flow::default(), None);
    parse_with_name(link_type::RAW, packet, packet.len() as u32, &mut flow, &mut name).expect("it is known");
    flow
}

fn read_and_follow(assembler: &Assembler, packet: &[u8]) -> Flow {
    let (mut flow, mut name) = (Flow::default(), None);
    let wire_length = packet.len() as u32;
    parse_with_name(link_type::RAW, packet, wire_length, &mut flow, &mut name).expect("it is known");
    let captured = CapturedPacket {
        direction: Direction::Unspecified,
        link_type: link_type::RAW,
        wire_length,
        bytes: packet,
        is_head: false,
    };
    assembler.follow(&captured, &mut flow, &mut name, || 0);
    flow
}

fn segments(tcp_flags: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    (0..1_000).map(|port| ipv4(6, &tcp((10_000 + port, 443), tcp_flags, payload))).collect()
}

fn main() {
    let [without_memory, assembler] =
        [0, DEFAULT_MEMORY].map(|memory| Assembler::try_new(memory, HashKey::new(1)).expect("there is memory"));
    let figure = |table: &str, row: &str, column: &str, [fastest, median]: [f64; 2]| {
        println!("figure | {table} | {row} | {column} | {fastest:.1} ns | median {median:.1}");
    };
    println!("Packets that begin nothing, of 1,000 connections in turn, with memory and without; and beginnings");
    for (what, packets) in [
        ("TCP, 1,000 bytes of a TLS record", segments(ACK, &[0x17; 1_000])),
        ("TCP without payload", segments(ACK, &[])),
        ("UDP", (0..1_000).map(|port| ipv4(17, &udp((10_000 + port, 4_500), &[0x17; 200]))).collect()),
        ("TCP SYN, which takes a place", segments(SYN, &[])),
    ] {
        let [without, with] = measure(
            &packets,
            20,
            &mut [
                &mut |packet| {
                    black_box(read_and_follow(&without_memory, packet));
                },
                &mut |packet| {
                    black_box(read_and_follow(&assembler, packet));
                },
            ],
        )[..] else {
            unreachable!("two candidates have two times")
        };
        let difference = with[0] - without[0];
        figure("assembler", what, "`AssemblyMemory` 0", without);
        figure("assembler", what, "4 MiB", with);
        println!("figure | assembler | {what} | difference | {difference:.1} ns");
    }

    let extensions = [extension(51, &[9; 400]), server_name(b"www.example.com"), extension(1, &[9; 99])].concat();
    let message = hello(&extensions);
    let initial = |frames: Vec<u8>| Initial::of(&[frames, vec![0; 1_162]].concat()[..1_162]).encrypted();
    let halves = [(0, 300), (300, message.len())].map(|(start, end)| initial(crypto(start, &message[start..end])));
    let datagram = |payload: &[u8]| ipv4(17, &udp((50_000, 443), payload));
    for (what, packet) in [
        ("TLS: a hello of 600 bytes", ipv4(6, &tcp((50_000, 443), ACK, &client_hello(&extensions)))),
        ("QUIC: an Initial of 1,200 bytes with all of a hello", datagram(&initial(crypto(0, &message)))),
        ("QUIC: an Initial with half of it", datagram(&halves[0])),
    ] {
        let times = measure(
            &[packet],
            100,
            &mut [&mut |packet| {
                black_box(read(packet));
            }],
        );
        figure("assembler beginnings", what, "time", times[0]);
    }
    let halves = halves.map(|half| datagram(&half));
    let times = measure(
        &halves,
        50,
        &mut [&mut |packet| {
            black_box(read_and_follow(&assembler, packet));
        }],
    );
    figure("assembler beginnings", "QUIC: the same and the other half, put together, each", "time", times[0]);
}
