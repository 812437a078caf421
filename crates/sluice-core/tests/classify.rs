//! All of what sluice.sys does with packets: what is parsed and what is decided come together in the verdicts.

use sluice_core::compile::{Conditions, Rule, compile};
use sluice_core::{Action, CapturedPacket, Direction, Policy, RuleAction, UnknownLinkType, classify, parse};
use sluice_npi::{Header, Verdict, action, direction, link_type};

/// An IPv4 packet that carries UDP to a port.
fn udp4(port: u8) -> Vec<u8> {
    vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 68, 0, port, 0, 8, 0, 0]
}

/// The same over IPv6.
fn udp6(port: u8) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
    packet.extend([0xFD; 32]);
    packet.extend([0, 68, 0, port, 0, 8, 0, 0]);
    packet
}

/// Ports of one half are blocked, each by a rule of its number.
fn policy() -> Policy<Vec<u8>> {
    let rules: Vec<Rule> = (1..=100)
        .map(|port| Rule {
            id: port.into(),
            action: RuleAction::Block,
            conditions: Conditions { destination_ports: vec![port..=port], ..Conditions::default() },
        })
        .collect();
    Policy::new(compile(&rules, Action::Permit).unwrap()).unwrap()
}

fn packet(bytes: &[u8]) -> CapturedPacket<'_> {
    CapturedPacket { direction: Direction::Inbound, link_type: link_type::RAW, wire_length: bytes.len() as u32, bytes }
}

/// What nobody writes.
const UNTOUCHED: u16 = 0xABCD;

fn untouched() -> Verdict {
    Verdict { action: UNTOUCHED, ..Verdict::default() }
}

#[test]
fn every_packet_of_a_batch_gets_its_own_verdict() {
    let policy = policy();
    // Runs of each IP version, and things that are no packets.
    let frames: Vec<Vec<u8>> = (0..=200_u8)
        .map(|port| match port % 23 {
            0 => Vec::new(),
            1 => vec![0xFF; 30],
            2..12 => udp4(port),
            12 | 14 | 16 => udp6(port),
            13 | 15 => udp4(port),
            _ => udp6(port),
        })
        .collect();
    for length in (1..40).chain([frames.len()]) {
        for batch in frames.chunks(length) {
            let mut verdicts = vec![untouched(); batch.len()];
            classify(&policy, 7, batch.iter().map(|bytes| packet(bytes)), &mut verdicts).unwrap();
            for (bytes, verdict) in batch.iter().zip(verdicts) {
                let flow = parse(link_type::RAW, bytes, bytes.len() as u32).unwrap();
                let blocked = (1..=100).contains(&flow.destination_port);
                assert_eq!(verdict.rule_id, if blocked { flow.destination_port.into() } else { 0 });
                assert_eq!(verdict.action, if blocked { action::BLOCK } else { action::PERMIT });
                assert_eq!((verdict.generation, verdict.flow), (7, flow));
                assert_eq!(verdict.header, Header::of::<Verdict>());
            }
        }
    }
}

#[test]
fn as_many_verdicts_are_written_as_there_are_packets_and_places() {
    let policy = policy();
    let bytes = udp4(1);
    for (packets, places) in [(0, 3), (3, 0), (3, 20), (20, 3), (9, 8), (8, 9)] {
        let mut verdicts = vec![untouched(); places];
        classify(&policy, 1, (0..packets).map(|_| packet(&bytes)), &mut verdicts).unwrap();
        let written = verdicts.iter().take_while(|verdict| verdict.action == action::BLOCK).count();
        assert_eq!(written, packets.min(places));
        assert!(verdicts[written..].iter().all(|verdict| verdict.action == UNTOUCHED));
    }
}

#[test]
fn an_unknown_link_type_anywhere_leaves_everything_as_it_was() {
    let policy = policy();
    let bytes = udp4(1);
    for at in 0..20 {
        let link = |index| if index == at { 2 } else { link_type::RAW };
        let packets = (0..20).map(|index| CapturedPacket { link_type: link(index), ..packet(&bytes) });
        let mut verdicts = vec![untouched(); 20];
        assert_eq!(classify(&policy, 1, packets, &mut verdicts), Err(UnknownLinkType(2)));
        assert_eq!(verdicts, vec![untouched(); 20]);
    }
}

/// What has a number, of all that there are.
fn numbered<T>(from_number: fn(u16) -> Option<T>) -> Vec<(u16, T)> {
    (0..=u16::MAX).filter_map(|number| Some((number, from_number(number)?))).collect()
}

#[test]
fn what_has_a_number_has_the_one_of_the_contract_and_no_other_number_means_anything() {
    let actions = numbered(Action::from_number);
    assert_eq!(actions, [(action::PERMIT, Action::Permit), (action::BLOCK, Action::Block)]);
    assert!(actions.iter().all(|(number, action)| action.number() == *number));
    let directions = numbered(Direction::from_number);
    let expected = [
        (direction::UNSPECIFIED, Direction::Unspecified),
        (direction::INBOUND, Direction::Inbound),
        (direction::OUTBOUND, Direction::Outbound),
    ];
    assert_eq!(directions, expected);
    assert!(directions.iter().all(|(number, direction)| direction.number() == *number));
    let rules = numbered(RuleAction::from_number);
    let expected = [(1, RuleAction::Permit), (2, RuleAction::Block), (3, RuleAction::Count), (4, RuleAction::Log)];
    assert_eq!(rules, expected);
    assert!(rules.iter().all(|(number, action)| action.number() == *number));
}

#[test]
fn a_rule_permits_and_blocks_as_actions_do_and_counting_and_logging_decide_nothing() {
    let known = [("permit", Some(Action::Permit)), ("block", Some(Action::Block)), ("count", None), ("log", None)];
    let rules = numbered(RuleAction::from_number);
    assert_eq!(rules.iter().map(|(_, rule)| (rule.name(), rule.decision())).collect::<Vec<_>>(), known);
    for (_, rule) in rules {
        assert!(rule.decision().is_none_or(|action| RuleAction::from(action) == rule));
        assert!(RuleAction::NAMES.contains(&(rule, rule.name())));
    }
}
