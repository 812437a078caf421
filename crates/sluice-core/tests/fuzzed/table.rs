//! Arbitrary bytes as a policy table, and compiled tables with arbitrary changes: validation refuses them, or the table
//! answers within its limits.

use std::ops::RangeInclusive;

use sluice_core::compile::{Conditions, Prefix, Rule, compile};
use sluice_core::{Action, Decision, Direction, ParsedPacket, Policy, RuleAction};
use sluice_npi::{Flow, flags, name_kind};

/// A valid table with something in every section.
fn table(seed: u8) -> Vec<u8> {
    let rng = &mut fastrand::Rng::with_seed(seed.into());
    let rules: Vec<Rule> = (1..=u32::from(seed) * 2)
        .map(|id| {
            let address = [10, 0, rng.u8(0..4), rng.u8(..)];
            let ports: RangeInclusive<u16> = rng.u16(0..100)..=rng.u16(100..);
            let mut conditions = Conditions {
                sources: vec![Prefix { address: address.into(), length: 32 }],
                destination_ports: vec![ports],
                ..Conditions::default()
            };
            match rng.u8(0..6) {
                0 => conditions.names = vec![format!("host{}.example", rng.u8(0..9))],
                1 => conditions.vlans = vec![1..=5, 9..=9],
                2 => conditions.sources = vec![Prefix { address: [rng.u16(..); 8].into(), length: 128 }],
                3 => conditions.protocols = (0..200).step_by(2).collect(),
                _ => {}
            }
            let action = [RuleAction::Permit, RuleAction::Block, RuleAction::Count, RuleAction::Log][rng.usize(0..4)];
            Rule { id, action, conditions }
        })
        .collect();
    compile(&rules, Action::Permit).expect("the rules compile")
}

/// Asks for packets that `data` chooses, one by one and all at once.
fn ask(policy: &Policy<&[u8]>, data: &[u8]) {
    let flows: Vec<Flow> = data.chunks(12).take(8).map(flow).collect();
    let packet = |flow| ParsedPacket {
        direction: Direction::Inbound,
        link_type: 1,
        bytes: b"www.host1.example".as_slice(),
        flow,
    };
    let packets: Vec<ParsedPacket<'_>> = flows.iter().map(packet).collect();
    let mut decisions = vec![Decision { action: policy.default_action(), rule_id: 0 }; packets.len()];
    policy.classify_batch(&packets, &mut decisions);
    for (ParsedPacket { direction, link_type, bytes, flow }, in_batch) in packets.into_iter().zip(decisions) {
        let decision = policy.classify(direction, link_type, bytes, flow);
        assert!(decision.rule_id != 0 || decision.action == policy.default_action());
        assert_eq!(decision, in_batch);
        let packet = ParsedPacket { direction, link_type, bytes, flow };
        policy.observe(&packet, policy.rule_count(), |rule| assert!(rule < policy.rule_count()));
    }
}

fn flow(bytes: &[u8]) -> Flow {
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let mut flow = Flow {
        flags: flags::ADDRESSES | flags::PROTOCOL | flags::PORTS | u32::from(at(0)),
        ip_version: [4, 6, 0, 4][usize::from(at(1) % 4)],
        protocol: at(2),
        source_port: at(3).into(),
        destination_port: at(4).into(),
        vlan_count: at(5) % 2,
        name_kind: [name_kind::NONE, name_kind::DNS, name_kind::TLS, name_kind::HTTP][usize::from(at(6) % 4)],
        name_length: at(7).into(),
        ..Flow::default()
    };
    flow.source_address = [10, 0, at(8), at(9), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, at(10)];
    flow
}

pub fn run(data: &[u8]) {
    if let Ok(policy) = Policy::new(data) {
        ask(&policy, data);
    }
    let Some(([seed, changes], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    thread_local! {
        static TABLES: std::cell::RefCell<Vec<Option<Vec<u8>>>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let seed = seed % 24;
    let mut bytes = TABLES.with_borrow_mut(|tables| {
        tables.resize(24, None);
        tables[usize::from(seed)].get_or_insert_with(|| table(seed)).clone()
    });
    // Most of a small table is the room behind the last filter, where changes change nothing.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let (words, packets) = rest.split_at(rest.len().min(usize::from(changes % 8) * 4));
    for change in words.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % used;
        bytes[at] = if change[2] & 1 == 0 { bytes[at] ^ change[3] } else { change[3] };
    }
    if let Ok(policy) = Policy::new(bytes.as_slice()) {
        ask(&policy, packets);
    }
}
