//! A node sends a packet to the child that docs/policy-table.md says, computed here from that page.

use fastrand::Rng;
use sluice_core::{Direction, Policy};
use sluice_npi::{Flow, flags};

use super::raw::{HASH, IPV6, REMAINDER, Raw, entry4, entry6, inner, leaf, window, windows};

/// A packet of either version with anything in the parts that are hashed.
fn packet(rng: &mut Rng, ip_version: u8) -> Flow {
    let mut flow = Flow {
        flags: flags::ADDRESSES | flags::PROTOCOL | flags::PORTS,
        ip_version,
        protocol: rng.u8(..),
        source_port: rng.u16(..),
        destination_port: rng.u16(..),
        ..Flow::default()
    };
    let size = if ip_version == 4 { 4 } else { 16 };
    flow.source_address[..size].fill_with(|| rng.u8(..));
    flow.destination_address[..size].fill_with(|| rng.u8(..));
    flow
}

/// The highest `bits` bits of the hash of a packet: of its addresses without their low bits, and of those of source
/// port, destination port and protocol whose bit is set in `parts`, in this order.
fn child(flow: &Flow, shifts: [u32; 2], bits: u32, parts: u32) -> u32 {
    let [source, destination] = [(flow.source_address, shifts[0]), (flow.destination_address, shifts[1])];
    let part = |(address, shift): ([u8; 16], u32)| {
        if flow.ip_version == 4 {
            return u64::from(u32::from_be_bytes(address[..4].try_into().unwrap())).checked_shr(shift).unwrap();
        }
        let address = u128::from_be_bytes(address).checked_shr(shift).unwrap_or(0);
        (address as u64) ^ ((address >> 64) as u64).rotate_left(29)
    };
    let of = |bit: u32, value: u64| if parts & bit == 0 { 0 } else { value };
    let rest = of(1, u64::from(flow.source_port) << 16)
        + of(2, flow.destination_port.into())
        + of(4, u64::from(flow.protocol) << 32);
    let hash = part(source).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ part(destination).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
        ^ rest.wrapping_mul(0x1656_67B1_9E37_79F9);
    hash.checked_shr(64 - bits).map_or(0, |child| child as u32)
}

/// A table whose root for this IP version has children of a rule each: its number, counted from 1. If there is a
/// remainder, the last rule is in it.
fn policy(ip_version: u8, control: u32, children: u32) -> Policy<Vec<u8>> {
    let mut raw = Raw::empty();
    let (root, ipv6) = if ip_version == 4 { (0, 0) } else { (1, IPV6) };
    let leaf_of = |index: u32| leaf(ipv6, index, 1, index, 0);
    let remainder = u32::from(control & REMAINDER != 0);
    let count = children + remainder;
    raw.rules = (1..=count).map(|id| [id, 0]).collect();
    if ip_version == 4 {
        raw.entries4 = (0..count).map(|rule| entry4(&raw.rules, rule)).collect();
    } else {
        raw.entries6 = (0..count).map(|rule| entry6(&raw.rules, rule)).collect();
    }
    raw.nodes[root] = inner(3, 0, control | ipv6, 3 + 2 * remainder, remainder);
    raw.nodes.extend((0..remainder).map(|_| leaf_of(children)));
    raw.nodes.extend((0..children).map(leaf_of));
    Policy::new(raw.bytes()).unwrap()
}

fn rule_for(policy: &Policy<Vec<u8>>, flow: &Flow) -> u32 {
    policy.classify(Direction::Inbound, 1, &[], flow).rule_id
}

#[test]
fn a_packet_goes_to_the_child_that_its_hash_names() {
    let rng = &mut Rng::with_seed(1);
    for _ in 0..400 {
        let ip_version = [4, 6][rng.usize(..2)];
        let most = if ip_version == 4 { 32 } else { 128 };
        let shifts = [0, 0].map(|_: u32| [0, most, rng.u32(0..=most)][rng.usize(..3)]);
        let (bits, parts) = (rng.u32(1..8), rng.u32(..8));
        let policy = policy(ip_version, HASH | shifts[0] | shifts[1] << 8 | bits << 16 | parts << 21, 1 << bits);
        for _ in 0..8 {
            let flow = packet(rng, ip_version);
            let expected = 1 + child(&flow, shifts, bits, parts);
            assert_eq!(rule_for(&policy, &flow), expected, "{shifts:?} {bits} {parts:b} {flow:?}");
        }
    }
}

#[test]
fn a_hash_without_bits_names_the_one_child_that_there_is() {
    let rng = &mut Rng::with_seed(1);
    for ip_version in [4, 6] {
        let policy = policy(ip_version, HASH | REMAINDER | 7 << 21, 1);
        for _ in 0..100 {
            assert_eq!(rule_for(&policy, &packet(rng, ip_version)), 1);
        }
    }
}

/// The key of a packet that goes in, with a tag, and has no flags but those of [`packet`] and TCP.
fn key(flow: &Flow) -> [u32; 16] {
    let mut key = [0; 16];
    key[0] = u32::from(flow.source_port) << 16 | u32::from(flow.destination_port);
    key[1] = u32::from(flow.protocol) << 24 | u32::from(flow.tcp_flags) << 16 | 1 << 14 | 1 << 4 | flow.flags;
    let size = if flow.ip_version == 4 { 4 } else { 16 };
    let addresses = [&flow.source_address[..size], &flow.destination_address[..size]].concat();
    for (word, bytes) in key[2..].iter_mut().zip(addresses.chunks(4)) {
        *word = u32::from_be_bytes(bytes.try_into().unwrap());
    }
    key
}

#[test]
fn a_packet_goes_to_the_child_that_its_windows_name_the_first_in_the_higher_bits() {
    let rng = &mut Rng::with_seed(1);
    for round in 0..600 {
        let ip_version = [4, 6][rng.usize(..2)];
        let words = if ip_version == 4 { 4 } else { 16 };
        let mut one = |bits: u32| (rng.u32(..words), rng.u32(..=32 - bits).min(31), bits);
        let (first, second) = (one(round % 4), one(1 + round % 3));
        let control = windows(window(first.0, first.1, first.2), window(second.0, second.1, second.2));
        let policy = policy(ip_version, control, 1 << (first.2 + second.2));
        for _ in 0..8 {
            let mut flow = packet(rng, ip_version);
            (flow.tcp_flags, flow.vlan_count) = (rng.u8(..), 1);
            let key = key(&flow);
            let of = |(word, shift, bits): (u32, u32, u32)| key[word as usize] >> shift & ((1 << bits) - 1);
            let expected = 1 + (of(first) << second.2 | of(second));
            assert_eq!(rule_for(&policy, &flow), expected, "{first:?} {second:?} {flow:?}");
        }
    }
}
