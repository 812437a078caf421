//! Classification of flows that are ready, one packet a call and 32, beside a linear scan and librte_acl.

use std::fmt::Display;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;

use sluice_core::compile::{Prefix, Rule, compile};
use sluice_core::{Action, Decision, Direction, ParsedPacket, Policy};
use sluice_npi::{Flow, link_type};

use crate::common::classbench;
use crate::published::{self, Here};
use crate::{Ratio, figure, mean, measure, rte_acl};

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

/// The sizes of the sets that are measured, if one is asked for that one alone.
pub(crate) fn sizes(only: Option<&str>) -> impl Iterator<Item = &'static str> {
    ["100", "1k", "10k", "100k"].into_iter().filter(move |size| only.is_none_or(|only| only == *size))
}

/// The sets of a size that are at hand, with the names that their figures have.
pub(crate) fn sets(folder: &Path, size: &str) -> impl Iterator<Item = (String, classbench::Set)> {
    let is_hundred = size == "100";
    let stored = if is_hundred { "1k" } else { size };
    classbench::SETS.into_iter().filter_map(move |name| {
        let set = classbench::load(folder, &format!("{name}_{stored}"))?;
        let set = if is_hundred { hundred(set) } else { set };
        Some((format!("{name}, {} rules", set.lines.len()), set))
    })
}

/// Measures the sets of one size, or all.
pub(crate) fn bench(only: Option<&str>) {
    let Some(folder) = classbench::folder() else {
        return;
    };
    let rte_acl = rte_acl::build();
    println!("Classification, flows ready, one packet a call and 32");
    for size in sizes(only) {
        let table = format!("classify {size}");
        let (mut times, mut ratios, mut batch_ratios) = ([const { Vec::new() }; 2], Vec::new(), Vec::new());
        let mut beside_librte_acl = Vec::new();
        for (name, set) in sets(&folder, size) {
            let say = |column: &str, value: &dyn Display| figure(&table, &name, column, value);
            let rules = classbench::rules(&set.lines);
            let compiled = compile(&rules, Action::Block).expect("the rules compile");
            let policy = Policy::new(compiled).expect("what the compiler makes is valid");
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
            let [one, batch, linear] = measure(flows.len(), [&mut ours, &mut batches, &mut linear]);
            assert_eq!(batch_sum, sum, "a batch finds the same rules");
            // Apart from the others, whose memory it would take away.
            let (rules6, flows6) = as_ipv6(rules, &flows);
            let table6 = compile(&rules6, Action::Block).expect("the rules compile");
            let policy6 = Policy::new(table6).expect("what the compiler makes is valid");
            let mut sum6 = 0;
            let mut ipv6 = || {
                sum6 = flows6.iter().map(|flow| u64::from(decide(&policy6, flow))).sum::<u64>();
            };
            let [ipv6] = measure(flows.len(), [&mut ipv6]);
            assert_eq!(sum6, sum, "with IPv6 addresses the same rules are found");
            drop((policy6, flows6));
            let linear = linear.fastest * flows.len() as f64 / part.len() as f64;
            say("1 a call", &one);
            say("32 a call", &batch);
            say("1 a call, as IPv6", &ipv6);
            say("linear scan", &format!("{linear:.0} ns"));
            let mut best = linear;
            if let Some(acl) = rte_acl.as_deref().and_then(|program| rte_acl::run(program, &set)) {
                assert_eq!(acl.sum, sum, "librte_acl finds the same rules");
                say("librte_acl, 1 a call", &format!("{:.1} ns", acl.one));
                say("librte_acl (SSE), 32 a call", &format!("{:.1} ns", acl.in_32s));
                best = best.min(acl.one);
                batch_ratios.push(batch.fastest / acl.in_32s);
                beside_librte_acl.push(Here {
                    row: name.clone(),
                    set: set.name.clone(),
                    sluice: one.fastest,
                    librte_acl: acl.one,
                });
            }
            ratios.push(one.fastest / best);
            say("1 a call", &better(&ratios[ratios.len() - 1..], None));
            if let Some(ratio) = batch_ratios.last() {
                say("32 a call", &Ratio { ratio: *ratio, to: "librte_acl", target: Some(1.0) });
            }
            for (times, time) in times.iter_mut().zip([one, batch]) {
                times.push(time.fastest);
            }
        }
        if ratios.is_empty() {
            continue;
        }
        let say = |column: &str, value: &dyn Display| figure(&table, &format!("mean of {size}"), column, value);
        for (column, times) in ["1 a call", "32 a call"].into_iter().zip(&times) {
            say(column, &format!("{:.1} ns", mean(times)));
        }
        let target = match size {
            "100" => 0.70,
            "1k" => 0.65,
            "10k" => 0.80,
            _ => 0.90,
        };
        say("1 a call", &better(&ratios, Some(target)));
        if !batch_ratios.is_empty() {
            say("32 a call", &Ratio { ratio: mean(&batch_ratios), to: "librte_acl", target: Some(1.0) });
        }
        published::compare(size, &beside_librte_acl);
    }
}

fn better(ratios: &[f64], target: Option<f64>) -> Ratio<'static> {
    Ratio { ratio: mean(ratios), to: "the better of scan and librte_acl", target }
}

/// The same with IPv4 addresses in the upper half of IPv6 ones, where those of networks are.
pub(crate) fn as_ipv6(mut rules: Vec<Rule>, flows: &[Flow]) -> (Vec<Rule>, Vec<Flow>) {
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
    (rules, flows.iter().map(flow6).collect())
}

#[inline(never)]
pub(crate) fn decide(policy: &Policy<Vec<u8>>, flow: &Flow) -> u32 {
    policy.classify(Direction::Inbound, link_type::ETHERNET, &[], flow).rule_id
}

/// How many packets a call has, as with `Classify`.
pub(crate) const BATCH: usize = 32;

/// The sum of the ids of the rules that decide.
#[inline(never)]
pub(crate) fn decide_batch(policy: &Policy<Vec<u8>>, packets: &[ParsedPacket<'_>]) -> u64 {
    let mut decisions = [Decision { action: Action::Block, rule_id: 0 }; BATCH];
    policy.classify_batch(packets, &mut decisions);
    decisions.iter().zip(packets).map(|(decision, _)| u64::from(decision.rule_id)).sum()
}
