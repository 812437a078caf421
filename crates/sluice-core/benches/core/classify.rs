//! Classification of flows that are ready, one packet a call and 32, beside a linear scan and librte_acl.

use std::hint::black_box;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use sluice_core::compile::{Prefix, Rule, compile};
use sluice_core::{Action, Decision, Direction, ParsedPacket, Policy};
use sluice_npi::{Flow, link_type};

use crate::common::classbench;
use crate::measure;

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
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/core/rte_acl.c");
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

/// Measures the sets of one size, or all.
pub(crate) fn bench(only: Option<&str>) {
    let Some(folder) = classbench::folder() else {
        return;
    };
    let rte_acl = rte_acl();
    if rte_acl.is_none() {
        println!("librte_acl is not installed: it is left out");
    }
    println!("Classification, flows ready, one packet a call and 32");
    for size in ["100", "1k", "10k", "100k"].into_iter().filter(|size| only.is_none_or(|only| only == *size)) {
        let (mut ratios, mut batch_ratios, mut memory) = (Vec::new(), Vec::new(), Vec::new());
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
            let policy = Policy::new(table).expect("what the compiler makes is valid");
            let packed: Vec<scan::Rule> = set.lines.iter().map(scan::Rule::new).collect();
            let flows: Vec<Flow> = set.trace.iter().map(classbench::flow).collect();
            let mut sum = 0;
            let mut ours = || {
                sum = flows.iter().map(|flow| u64::from(decide(&policy, flow))).sum::<u64>();
            };
            // A linear scan of many rules takes so long that part of the trace has to do.
            let part = &set.trace[..set.trace.len().min(4_000_000 / set.lines.len())];
            let mut linear = || _ = black_box(part.iter().map(|h| u64::from(scan::first(&packed, h))).sum::<u64>());
            let packet =
                |flow| ParsedPacket { direction: Direction::Inbound, link_type: link_type::ETHERNET, bytes: &[], flow };
            let packets: Vec<ParsedPacket<'_>> = flows.iter().map(packet).collect();
            let mut batch_sum = 0;
            let mut batches = || {
                batch_sum = packets.chunks(BATCH).map(|packets| decide_batch(&policy, packets)).sum();
            };
            let [ours_time, batch_time, linear_time] = measure(flows.len(), [&mut ours, &mut batches, &mut linear]);
            assert_eq!(batch_sum, sum, "a batch finds the same rules");
            // Apart from the others, whose memory it would take away.
            let (policy6, flows6) = with_ipv6(rules, &flows);
            let mut sum6 = 0;
            let mut ipv6 = || {
                sum6 = flows6.iter().map(|flow| u64::from(decide(&policy6, flow))).sum::<u64>();
            };
            let [ipv6_time] = measure(flows.len(), [&mut ipv6]);
            assert_eq!(sum6, sum, "with IPv6 addresses the same rules are found");
            drop((policy6, flows6));
            let linear_time = linear_time.fastest * flows.len() as f64 / part.len() as f64;
            let acl = rte_acl.as_deref().and_then(|program| run_rte_acl(program, &set));
            print!(
                "{:<10} {:6} rules   sluice {ours_time}, in 32s {batch_time}, as IPv6 {ipv6_time}   \
                 linear {linear_time:9.1} ns   {:6} KiB, {:3} bytes a rule, compiled in {compile_time:.1} ms",
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
                    ours_time.fastest / one,
                    batch_time.fastest / many,
                    bytes as f64 / acl_bytes
                );
                best = best.min(one);
                memory.push(bytes as f64 / acl_bytes);
                batch_ratios.push(batch_time.fastest / many);
            }
            println!();
            ratios.push(ours_time.fastest / best);
        }
        if !ratios.is_empty() {
            let mean = |list: &[f64]| (list.iter().map(|ratio| ratio.ln()).sum::<f64>() / list.len() as f64).exp();
            print!(
                "{size}: geometric mean of the ratios to the better of linear scan and librte_acl {:.2}",
                mean(&ratios)
            );
            if memory.is_empty() {
                println!();
            } else {
                println!("; in 32s to librte_acl {:.2}; of the sizes {:.2}", mean(&batch_ratios), mean(&memory));
            }
        }
    }
}

/// The same with IPv4 addresses in the upper half of IPv6 ones, where those of networks are.
fn with_ipv6(mut rules: Vec<Rule>, flows: &[Flow]) -> (Policy<Vec<u8>>, Vec<Flow>) {
    let in_ipv6 = |address: [u8; 4]| {
        let mut in_ipv6 = [0; 16];
        in_ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
        in_ipv6[4..8].copy_from_slice(&address);
        in_ipv6
    };
    for rule in &mut rules {
        rule.conditions.ip_version = Some(6);
        for prefix in rule.conditions.sources.iter_mut().chain(&mut rule.conditions.destinations) {
            if let IpAddr::V4(address) = prefix.address {
                *prefix = Prefix { address: in_ipv6(address.octets()).into(), length: prefix.length + 32 };
            }
        }
    }
    let flow6 = |flow: &Flow| {
        let [source_address, destination_address] =
            [flow.source_address, flow.destination_address].map(|[a, b, c, d, ..]| in_ipv6([a, b, c, d]));
        Flow { ip_version: 6, source_address, destination_address, ..*flow }
    };
    let table = compile(&rules, Action::Block).expect("the rules compile");
    (Policy::new(table).expect("what the compiler makes is valid"), flows.iter().map(flow6).collect())
}

#[inline(never)]
fn decide(policy: &Policy<Vec<u8>>, flow: &Flow) -> u32 {
    policy.classify(Direction::Inbound, link_type::ETHERNET, &[], flow).rule_id
}

/// How many packets a call has, as with `Classify`.
const BATCH: usize = 32;

/// The sum of the ids of the rules that decide.
#[inline(never)]
fn decide_batch(policy: &Policy<Vec<u8>>, packets: &[ParsedPacket<'_>]) -> u64 {
    let mut decisions = [Decision { action: Action::Block, rule_id: 0 }; BATCH];
    policy.classify_batch(packets, &mut decisions);
    decisions.iter().zip(packets).map(|(decision, _)| u64::from(decision.rule_id)).sum()
}
