//! Speed and size, against the peers, in one run: `cargo bench -p sluice-core [-- parse|classify|path]`.
//!
//! What counts are ratios, so the candidates take turns, round by round; benchmark frameworks measure one after the other.
//! Ratios are those of the fastest rounds, in which nothing else ran. On a quiet machine the medians, which are given in
//! brackets, are hardly larger; on a busy one they say how busy it was.
//!
//! SLUICE_CAPTURES and SLUICE_CLASSBENCH name the data; without them there is less to measure. librte_acl takes part where
//! `pkg-config libdpdk` and `cc` work.
#![allow(missing_docs, reason = "a program")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::{captures, classbench};
use sluice_core::compile::compile;
use sluice_core::{Action, Direction, Policy};
use sluice_npi::{Flow, link_type};

const ROUNDS: usize = 61;

/// Nanoseconds for one item.
#[derive(Clone, Copy)]
struct Time {
    fastest: f64,
    median: f64,
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} [{:.1}] ns", self.fastest, self.median)
    }
}

/// The time of each candidate for one item. A candidate works through all `items`.
fn measure<const N: usize>(items: usize, mut candidates: [&mut dyn FnMut(); N]) -> [Time; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (candidate, times) in candidates.iter_mut().zip(&mut times) {
            let start = Instant::now();
            candidate();
            times.push(start.elapsed().as_nanos() as f64 / items as f64);
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        Time { fastest: times[0], median: times[times.len() / 2] }
    })
}

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("parse") {
        parse::bench();
    }
    if wanted("classify") {
        classify();
    }
    if wanted("path") {
        path();
    }
}

/// What every parser has to find.
#[derive(Clone, Copy, Default)]
struct Tuple {
    source: [u8; 16],
    destination: [u8; 16],
    ports: (u16, u16),
    vlan: u16,
    protocol: u8,
    version: u8,
    fragment: bool,
}

mod parse {
    use super::*;
    use etherparse::{InternetSlice, SlicedPacket, TransportSlice};
    use pnet_packet::Packet as _;
    use pnet_packet::ethernet::{EtherType, EthernetPacket};
    use pnet_packet::{ipv4, ipv6, tcp, udp, vlan};
    use smoltcp::wire;

    /// Writes the larger structure that clients get, where they want it.
    #[inline(never)]
    fn of_sluice(packet: &[u8], flow: &mut Flow) {
        _ = sluice_core::parse_into(link_type::ETHERNET, packet, packet.len() as u32, flow);
    }

    #[inline(never)]
    fn of_etherparse(packet: &[u8], tuple: &mut Tuple) {
        *tuple = Tuple::default();
        let Ok(sliced) = SlicedPacket::from_ethernet(packet) else {
            return;
        };
        if let Some(id) = sliced.vlan_ids().first() {
            tuple.vlan = id.value();
        }
        match &sliced.net {
            Some(InternetSlice::Ipv4(ip)) => {
                tuple.version = 4;
                tuple.source[..4].copy_from_slice(&ip.header().source());
                tuple.destination[..4].copy_from_slice(&ip.header().destination());
                tuple.protocol = ip.payload_ip_number().0;
                tuple.fragment = ip.is_payload_fragmented();
            }
            Some(InternetSlice::Ipv6(ip)) => {
                tuple.version = 6;
                tuple.source = ip.header().source();
                tuple.destination = ip.header().destination();
                tuple.protocol = ip.payload().ip_number.0;
                tuple.fragment = ip.is_payload_fragmented();
            }
            _ => {}
        }
        match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => tuple.ports = (tcp.source_port(), tcp.destination_port()),
            Some(TransportSlice::Udp(udp)) => tuple.ports = (udp.source_port(), udp.destination_port()),
            _ => {}
        }
    }

    fn smoltcp_ports(tuple: &mut Tuple, protocol: u8, payload: &[u8]) {
        tuple.protocol = protocol;
        match protocol {
            6 => {
                if let Ok(tcp) = wire::TcpPacket::new_checked(payload) {
                    tuple.ports = (tcp.src_port(), tcp.dst_port());
                }
            }
            17 => {
                if let Ok(udp) = wire::UdpPacket::new_checked(payload) {
                    tuple.ports = (udp.src_port(), udp.dst_port());
                }
            }
            _ => {}
        }
    }

    #[inline(never)]
    fn of_smoltcp(packet: &[u8], tuple: &mut Tuple) {
        *tuple = Tuple::default();
        let Ok(frame) = wire::EthernetFrame::new_checked(packet) else {
            return;
        };
        // smoltcp has no VLAN tags.
        let mut number = u16::from(frame.ethertype());
        let mut payload = frame.payload();
        while matches!(number, 0x8100 | 0x88A8) {
            let Some((tag, rest)) = payload.split_first_chunk::<4>() else {
                return;
            };
            tuple.vlan = u16::from_be_bytes([tag[0] & 0x0F, tag[1]]);
            number = u16::from_be_bytes([tag[2], tag[3]]);
            payload = rest;
        }
        match number {
            0x0800 => {
                let Ok(ip) = wire::Ipv4Packet::new_checked(payload) else {
                    return;
                };
                tuple.version = 4;
                tuple.source[..4].copy_from_slice(&ip.src_addr().octets());
                tuple.destination[..4].copy_from_slice(&ip.dst_addr().octets());
                tuple.fragment = ip.more_frags() || ip.frag_offset() != 0;
                if ip.frag_offset() == 0 {
                    smoltcp_ports(tuple, ip.next_header().into(), ip.payload());
                }
            }
            0x86DD => {
                let Ok(ip) = wire::Ipv6Packet::new_checked(payload) else {
                    return;
                };
                tuple.version = 6;
                tuple.source = ip.src_addr().octets();
                tuple.destination = ip.dst_addr().octets();
                let mut next = u8::from(ip.next_header());
                let mut payload = ip.payload();
                while matches!(next, 0 | 43 | 60) {
                    let Ok(header) = wire::Ipv6ExtHeader::new_checked(payload) else {
                        return;
                    };
                    let length = usize::from(header.header_len()) * 8 + 8;
                    next = header.next_header().into();
                    let Some(rest) = payload.get(length..) else {
                        return;
                    };
                    payload = rest;
                }
                if next == 44 {
                    let Some(([after, _, high, low, ..], rest)) = payload.split_first_chunk::<8>() else {
                        return;
                    };
                    tuple.fragment = true;
                    if u16::from_be_bytes([*high, *low]) & 0xFFF8 != 0 {
                        return;
                    }
                    next = *after;
                    payload = rest;
                }
                smoltcp_ports(tuple, next, payload);
            }
            _ => {}
        }
    }

    fn pnet_ports(tuple: &mut Tuple, protocol: u8, payload: &[u8]) {
        tuple.protocol = protocol;
        match protocol {
            6 => {
                if let Some(tcp) = tcp::TcpPacket::new(payload) {
                    tuple.ports = (tcp.get_source(), tcp.get_destination());
                }
            }
            17 => {
                if let Some(udp) = udp::UdpPacket::new(payload) {
                    tuple.ports = (udp.get_source(), udp.get_destination());
                }
            }
            _ => {}
        }
    }

    fn pnet_network(tuple: &mut Tuple, number: EtherType, payload: &[u8]) {
        match number.0 {
            0x0800 => {
                let Some(ip) = ipv4::Ipv4Packet::new(payload) else {
                    return;
                };
                tuple.version = 4;
                tuple.source[..4].copy_from_slice(&ip.get_source().octets());
                tuple.destination[..4].copy_from_slice(&ip.get_destination().octets());
                tuple.fragment = ip.get_fragment_offset() != 0 || ip.get_flags() & 1 != 0;
                if ip.get_fragment_offset() == 0 {
                    pnet_ports(tuple, ip.get_next_level_protocol().0, ip.payload());
                }
            }
            0x86DD => {
                let Some(ip) = ipv6::Ipv6Packet::new(payload) else {
                    return;
                };
                tuple.version = 6;
                tuple.source = ip.get_source().octets();
                tuple.destination = ip.get_destination().octets();
                let mut next = ip.get_next_header().0;
                let mut payload = ip.payload();
                while matches!(next, 0 | 43 | 60) {
                    let Some(header) = ipv6::ExtensionPacket::new(payload) else {
                        return;
                    };
                    next = header.get_next_header().0;
                    let Some(rest) = payload.get(usize::from(header.get_hdr_ext_len()) * 8 + 8..) else {
                        return;
                    };
                    payload = rest;
                }
                if next == 44 {
                    let Some(header) = ipv6::FragmentPacket::new(payload) else {
                        return;
                    };
                    tuple.fragment = true;
                    if header.get_fragment_offset() != 0 {
                        return;
                    }
                    next = header.get_next_header().0;
                    let Some(rest) = payload.get(8..) else {
                        return;
                    };
                    payload = rest;
                }
                pnet_ports(tuple, next, payload);
            }
            _ => {}
        }
    }

    #[inline(never)]
    fn of_pnet(packet: &[u8], tuple: &mut Tuple) {
        *tuple = Tuple::default();
        let Some(frame) = EthernetPacket::new(packet) else {
            return;
        };
        let mut number = frame.get_ethertype();
        let mut payload = frame.payload();
        while matches!(number.0, 0x8100 | 0x88A8) {
            let Some(tag) = vlan::VlanPacket::new(payload) else {
                return;
            };
            tuple.vlan = tag.get_vlan_identifier();
            number = tag.get_ethertype();
            let Some(rest) = payload.get(4..) else {
                return;
            };
            payload = rest;
        }
        pnet_network(tuple, number, payload);
    }

    /// Works through all packets with one parser, which writes to the same place each time.
    fn run<T: Default>(packets: &[&[u8]], parse: fn(&[u8], &mut T)) {
        let mut result = T::default();
        for packet in packets {
            parse(packet, &mut result);
            black_box(&mut result);
        }
    }

    fn row(name: &str, packets: &[&[u8]]) {
        let times = measure(
            packets.len(),
            [
                &mut || run(packets, of_sluice),
                &mut || run(packets, of_pnet),
                &mut || run(packets, of_smoltcp),
                &mut || run(packets, of_etherparse),
            ],
        );
        print!("{name:<28}");
        for (name, time) in ["sluice", "pnet", "smoltcp", "etherparse"].iter().zip(times) {
            print!("{name} {time}   ");
        }
        println!(
            "sluice/pnet {:.2} (target 0.95)   sluice/smoltcp {:.2} (0.85)   sluice/etherparse {:.2} (0.75)",
            times[0].fastest / times[1].fastest,
            times[0].fastest / times[2].fastest,
            times[0].fastest / times[3].fastest
        );
    }

    pub(super) fn bench() {
        println!("Parsing to addresses, ports and VLAN id, one packet a call");
        let rng = &mut fastrand::Rng::with_seed(1);
        if let Some(captured) = captures::packets() {
            let all: Vec<&[u8]> = captured
                .iter()
                .filter(|packet| packet.link_type == link_type::ETHERNET)
                .map(|packet| packet.data.as_slice())
                .collect();
            let with_ip: Vec<&[u8]> = all
                .iter()
                .copied()
                .filter(|packet| {
                    sluice_core::parse(link_type::ETHERNET, packet, packet.len() as u32)
                        .is_ok_and(|f| f.ip_version != 0)
                })
                .collect();
            for (name, packets) in [("captures, shuffled", all), ("captures with IP, shuffled", with_ip)] {
                if !packets.is_empty() {
                    let drawn: Vec<&[u8]> = (0..50_000).map(|_| packets[rng.usize(0..packets.len())]).collect();
                    row(&format!("{name} ({})", packets.len()), &drawn);
                }
            }
        }
        let synthetic: Vec<[u8; 64]> = (0..50_000).map(|_| super::tcp_frame(rng)).collect();
        let packets: Vec<&[u8]> = synthetic.iter().map(<[u8; 64]>::as_slice).collect();
        for parse in [of_pnet, of_smoltcp, of_etherparse] {
            let (mut tuple, mut flow) = (Tuple::default(), Flow::default());
            parse(packets[0], &mut tuple);
            of_sluice(packets[0], &mut flow);
            assert_eq!(tuple.ports, (flow.source_port, flow.destination_port), "every parser finds the ports");
            assert_eq!((tuple.source, tuple.destination), (flow.source_address, flow.destination_address));
        }
        row("TCP/IPv4 of 64 bytes", &packets);
        row("the first 4096 of them", &packets[..4096]);
    }
}

/// A TCP/IPv4 frame of 64 bytes with random addresses and ports.
fn tcp_frame(rng: &mut fastrand::Rng) -> [u8; 64] {
    let mut frame = [0; 64];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..18].copy_from_slice(&[0x45, 0, 0, 50]);
    frame[22..24].copy_from_slice(&[64, 6]);
    for byte in frame[26..38].iter_mut() {
        *byte = rng.u8(..);
    }
    frame[46] = 0x50;
    frame[47] = 0x10;
    frame
}

/// A rule set of about 100 lines, drawn evenly from one of about 1,000, with the headers that still match.
fn hundred(mut set: classbench::Set) -> classbench::Set {
    let step = set.lines.len() / 99;
    set.lines = set.lines.into_iter().step_by(step).collect();
    let lines = &set.lines;
    let matching: Vec<_> =
        set.trace.into_iter().filter(|header| classbench::first_match(lines, header).is_some()).collect();
    // So many that a branch predictor does not know them by heart.
    set.trace = matching.into_iter().cycle().take(20_000).collect();
    set.name = set.name.replace("_1k", "_100");
    set
}

/// The linear scan with early exit over packed rules: the peer that is hard to beat for few rules.
mod scan {
    use super::classbench::{Header, Line};

    #[derive(Clone, Copy)]
    pub(super) struct Rule {
        source: (u32, u32),
        destination: (u32, u32),
        source_ports: (u16, u16),
        destination_ports: (u16, u16),
        protocol: (u8, u8),
    }

    impl Rule {
        pub(super) fn new(line: &Line) -> Self {
            let mask = |length: u8| u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Self {
                source: (line.source.0, mask(line.source.1)),
                destination: (line.destination.0, mask(line.destination.1)),
                source_ports: line.source_ports,
                destination_ports: line.destination_ports,
                protocol: line.protocol.map_or((0, 0), |protocol| (protocol, 0xFF)),
            }
        }
    }

    #[inline(never)]
    pub(super) fn first(
        rules: &[Rule],
        &(source, destination, source_port, destination_port, protocol): &Header,
    ) -> u32 {
        for (rule, number) in rules.iter().zip(1..) {
            if (source ^ rule.source.0) & rule.source.1 == 0
                && (destination ^ rule.destination.0) & rule.destination.1 == 0
                && rule.source_ports.0 <= source_port
                && source_port <= rule.source_ports.1
                && rule.destination_ports.0 <= destination_port
                && destination_port <= rule.destination_ports.1
                && (protocol ^ rule.protocol.0) & rule.protocol.1 == 0
            {
                return number;
            }
        }
        0
    }
}

/// Compiles the C program for librte_acl. `None` where that does not work.
fn rte_acl() -> Option<PathBuf> {
    let flags = |kind: &str| {
        let output = Command::new("pkg-config").args([kind, "libdpdk"]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.split_whitespace().map(String::from).collect::<Vec<_>>())
    };
    let program = std::env::temp_dir().join(format!("sluice-rte-acl-{}", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/rte_acl.c");
    let compiled = Command::new("cc")
        .args(["-O2", "-march=corei7"])
        .arg(source)
        .args(flags("--cflags")?)
        .arg("-o")
        .arg(&program)
        .args(flags("--libs")?)
        .status();
    compiled.is_ok_and(|status| status.success()).then_some(program)
}

/// What the C program says: nanoseconds for one packet a call and for 32, bytes, milliseconds, sum of the rules.
fn run_rte_acl(program: &Path, set: &classbench::Set) -> Option<[f64; 5]> {
    let folder = std::env::temp_dir();
    let (rules, trace) = (folder.join("sluice-bench.rules"), folder.join("sluice-bench.trace"));
    let text: String = set
        .lines
        .iter()
        .map(|l| {
            let (protocol, mask) = l.protocol.map_or((0, 0), |protocol| (protocol, 255));
            let (s, d, sp, dp) = (l.source, l.destination, l.source_ports, l.destination_ports);
            format!("{} {} {} {} {} {} {} {} {protocol} {mask}\n", s.0, s.1, d.0, d.1, sp.0, sp.1, dp.0, dp.1)
        })
        .collect();
    std::fs::write(&rules, text).ok()?;
    let text: String = set.trace.iter().map(|h| format!("{} {} {} {} {}\n", h.0, h.1, h.2, h.3, h.4)).collect();
    std::fs::write(&trace, text).ok()?;
    let output = Command::new(program).arg(&rules).arg(&trace).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let numbers: Vec<f64> = text.split_whitespace().map_while(|number| number.parse().ok()).collect();
    numbers.try_into().ok()
}

fn classify() {
    let Some(folder) = classbench::folder() else {
        return;
    };
    let rte_acl = rte_acl();
    if rte_acl.is_none() {
        println!("librte_acl is not installed: it is left out");
    }
    println!("Classification, one packet a call, keys ready");
    for size in ["100", "1k", "10k", "100k"] {
        let (mut ratios, mut memory) = (Vec::new(), Vec::new());
        for name in classbench::SETS {
            let Some(set) = classbench::load(&folder, &format!("{name}_{}", if size == "100" { "1k" } else { size }))
            else {
                continue;
            };
            let set = if size == "100" { hundred(set) } else { set };
            let rules = classbench::rules(&set.lines);
            let start = Instant::now();
            let table = compile(&rules, Action::Block).expect("the rules compile");
            let compile_time = start.elapsed().as_secs_f64() * 1e3;
            let bytes = table.len();
            let policy = Policy::new(table).expect("the table is sound");
            let packed: Vec<scan::Rule> = set.lines.iter().map(scan::Rule::new).collect();
            let flows: Vec<Flow> = set.trace.iter().map(classbench::flow).collect();
            let mut sum = 0;
            let mut ours = || {
                sum = flows.iter().map(|flow| u64::from(decide(&policy, flow))).sum::<u64>();
            };
            // A linear scan of many rules takes so long that part of the trace has to do.
            let part = &set.trace[..set.trace.len().min(4_000_000 / set.lines.len())];
            let mut linear = || _ = black_box(part.iter().map(|h| u64::from(scan::first(&packed, h))).sum::<u64>());
            let [ours_time, linear_time] = measure(flows.len(), [&mut ours, &mut linear]);
            let (ours_all, ours_time) = (ours_time, ours_time.fastest);
            let linear_time = linear_time.fastest * flows.len() as f64 / part.len() as f64;
            let acl = rte_acl.as_deref().and_then(|program| run_rte_acl(program, &set));
            print!(
                "{:<10} {:6} rules   sluice {ours_all}   linear {linear_time:9.1} ns   {:6} KiB, {:3} bytes a rule, \
                 compiled in {compile_time:.1} ms",
                set.name,
                set.lines.len(),
                bytes / 1024,
                bytes / set.lines.len()
            );
            let mut best = linear_time;
            if let Some([one, many, acl_bytes, acl_build, acl_sum]) = acl {
                assert_eq!(acl_sum as u64, sum, "librte_acl finds the same rules");
                print!(
                    "   librte_acl {one:.1} ns, {many:.1} ns in 32s, {:.0} KiB, {acl_build:.0} ms",
                    acl_bytes / 1024.0
                );
                print!(
                    "   ratios: time {:.2}, in 32s {:.2}, size {:.2}",
                    ours_time / one,
                    ours_time / many,
                    bytes as f64 / acl_bytes
                );
                best = best.min(one);
                memory.push(bytes as f64 / acl_bytes);
            }
            println!();
            ratios.push(ours_time / best);
        }
        if !ratios.is_empty() {
            let mean = |list: &[f64]| (list.iter().map(|ratio| ratio.ln()).sum::<f64>() / list.len() as f64).exp();
            print!(
                "{size}: geometric mean of the ratios to the better of linear scan and librte_acl {:.2}",
                mean(&ratios)
            );
            if memory.is_empty() { println!() } else { println!("; of the sizes {:.2}", mean(&memory)) }
        }
    }
}

#[inline(never)]
fn decide(policy: &Policy<Vec<u8>>, flow: &Flow) -> u32 {
    policy.classify(Direction::Inbound, link_type::ETHERNET, &[], flow).rule_id
}

/// All of what Classify does for a packet but the call through the table: read the swap, parse, decide, write the verdict.
fn path() {
    let set = classbench::folder().and_then(|folder| classbench::load(&folder, "acl1_1k"));
    let rules = set.map(|set| classbench::rules(&set.lines)).unwrap_or_default();
    let policy = Policy::new(compile(&rules, Action::Permit).expect("the rules compile")).expect("the table is sound");
    let swap = sluice_swap::Swap::<_, 64>::new((policy, 1_u64));
    let rng = &mut fastrand::Rng::with_seed(1);
    let frames: Vec<[u8; 64]> = (0..8192).map(|_| tcp_frame(rng)).collect();
    let classify = |(policy, generation): &(Policy<Vec<u8>>, u64), frame: &[u8; 64]| {
        sluice_core::classify(policy, *generation, Direction::Inbound, link_type::ETHERNET, 64, frame)
    };
    let mut one = || {
        for frame in &frames {
            _ = black_box(swap.read(0, |state| classify(state, frame)));
        }
    };
    let mut many = || {
        for frames in frames.chunks(32) {
            swap.read(0, |state| frames.iter().for_each(|frame| _ = black_box(classify(state, frame))));
        }
    };
    let mut call: fn(u64) -> u64 = |value| value + 1;
    let mut empty_read =
        || (0..frames.len() as u64).for_each(|value| _ = black_box(swap.read(0, |_| black_box(value))));
    let mut indirect = || (0..frames.len() as u64).for_each(|value| _ = black_box(black_box(&mut call)(value)));
    let [one, many, read, call] = measure(frames.len(), [&mut one, &mut many, &mut empty_read, &mut indirect]);
    println!("Whole path for TCP frames of 64 bytes, {} rules: parse, decide, verdict", rules.len());
    println!("one a call {one}   32 a call {many}   of which reading the policy pointer {read}");
    println!("an indirect call {call}");
}
