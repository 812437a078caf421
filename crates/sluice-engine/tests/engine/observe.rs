//! What is counted by rule, logged and tried, as administrators see it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nmr_registrar::Session;
use sluice_control::code;
use sluice_control::message::{
    CountersAnswer, CountersRequest, DryRunStatus, LogAnswer, LogRequest, PacketRecord, PolicyAnswer, RuleCounter,
    counted_policy, header_of,
};
use sluice_control::status::{STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_SUCCESS};
use sluice_control::wire::Wire;
use sluice_core::compile::{Conditions, Rule, compile};
use sluice_core::{Action, RuleAction};
use sluice_engine::DEFAULT_ASSEMBLY_MEMORY;
use sluice_npi::action;

use crate::host::{
    BROKEN, Fault, Host, Started, attach, blocking, blocking_name, classify, classify_bytes, clear, load, logging,
    name_in_two_segments, passive, policy_message, request, start, start_assembling, start_on, status,
};

fn bytes_of<T: Wire>(message: &T) -> Vec<u8> {
    let mut bytes = vec![0; T::SIZE];
    message.write(&mut bytes.as_mut_slice()).unwrap();
    bytes
}

/// The fixed part of an answer and the list behind it.
fn parts<T: Wire, Item: Wire>(answer: &[u8]) -> (T, Vec<Item>) {
    let mut rest = answer;
    let fixed = T::read(&mut rest).unwrap();
    let mut list = Vec::new();
    while !rest.is_empty() {
        list.push(Item::read(&mut rest).unwrap());
    }
    (fixed, list)
}

/// The counters of a policy from rule `first` on, with room for `room` of them.
pub(crate) fn counters(
    engine: &Started,
    policy: u32,
    first: u32,
    room: usize,
) -> Option<(CountersAnswer, Vec<RuleCounter>)> {
    let message = bytes_of(&CountersRequest { header: header_of::<CountersRequest>(), policy, first, reserved: 0 });
    let room = CountersAnswer::SIZE + room * RuleCounter::SIZE;
    let (status, answer) = request(engine, code::SLUICE_RULE_COUNTERS, &message, room);
    (status == STATUS_SUCCESS).then(|| parts(&answer))
}

/// The packets of each rule of the policy in force, and those of the default.
fn packets(engine: &Started) -> (Vec<(u32, u64)>, u64) {
    let (fixed, rules) = counters(engine, counted_policy::IN_FORCE, 0, 100).unwrap();
    (rules.iter().map(|rule| (rule.id, rule.packets)).collect(), fixed.default_packets)
}

pub(crate) fn log(engine: &Started, next: u64, room: usize) -> (LogAnswer, Vec<PacketRecord>) {
    let message = bytes_of(&LogRequest { header: header_of::<LogRequest>(), reserved: 0, next });
    let (status, answer) =
        request(engine, code::SLUICE_LOG_READ, &message, LogAnswer::SIZE + room * PacketRecord::SIZE);
    assert_eq!(status, STATUS_SUCCESS);
    let (fixed, records): (LogAnswer, Vec<PacketRecord>) = parts(&answer);
    assert_eq!(fixed.listed as usize, records.len());
    (fixed, records)
}

pub(crate) fn dry_run(engine: &Started) -> Option<(DryRunStatus, Vec<PacketRecord>)> {
    let (status, answer) = request(engine, code::SLUICE_DRY_RUN_STATUS, &[], 1 << 16);
    (status == STATUS_SUCCESS).then(|| parts(&answer))
}

pub(crate) fn change(engine: &Started, code: u32, table: &[u8], flags: u32) -> i32 {
    request(engine, code, &policy_message(table, flags), 16).0
}

#[test]
fn every_rule_counts_the_packets_that_it_matches() {
    let _session = Session::new();
    let engine = start();
    let client = attach("client");
    classify(&client, &[1]).unwrap();
    assert_eq!(packets(&engine), (vec![], 0), "without a policy there is nothing to count");
    let rule = |id, action, ports: &[u16]| {
        let destination_ports = ports.iter().map(|port| *port..=*port).collect();
        Rule { id, action, conditions: Conditions { destination_ports, ..Conditions::default() } }
    };
    let rules = [
        rule(30, RuleAction::Count, &[1, 2]),
        rule(20, RuleAction::Block, &[1]),
        rule(10, RuleAction::Count, &[]),
        rule(40, RuleAction::Permit, &[2]),
    ];
    let table = compile(&rules, Action::Block).unwrap();
    assert_eq!(load(&engine, &table, 0), STATUS_SUCCESS);
    for ports in [&[1, 2, 3][..], &[1], &[9, 9, 9, 2, 9]] {
        classify(&client, ports).unwrap();
    }
    assert_eq!(packets(&engine), (vec![(30, 4), (20, 2), (10, 7), (40, 2)], 5));
    let (fixed, rules) = counters(&engine, counted_policy::IN_FORCE, 1, 2).unwrap();
    assert_eq!((fixed.rules_total, fixed.listed, fixed.generation, fixed.default_action), (4, 2, 1, action::BLOCK));
    assert_eq!(rules.iter().map(|rule| (rule.id, rule.action)).collect::<Vec<_>>(), [(20, 2), (10, 3)]);

    assert_eq!(load(&engine, &table, 0), STATUS_SUCCESS);
    assert_eq!(packets(&engine), (vec![(30, 0), (20, 0), (10, 0), (40, 0)], 0), "another policy counts anew");
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn logged_packets_are_found_once_and_in_order() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    let client = attach("client");
    host.now_ms.store(10_000, Ordering::Relaxed);
    assert_eq!(load(&engine, &logging(53, 7), 0), STATUS_SUCCESS);
    host.take_events();
    assert_eq!(log(&engine, u64::MAX, 9).0.next, 0);
    classify(&client, &[53, 80, 53]).unwrap();
    let (fixed, records) = log(&engine, 0, 9);
    assert_eq!((fixed.next, fixed.lost, fixed.now, records.len()), (2, 0, 10_000, 2));
    let first = &records[0];
    assert_eq!((first.rule_id, first.decided_by, first.action, first.generation), (7, 8, action::BLOCK, 1));
    assert_eq!((first.matched, records[1].matched, first.time, first.wire_length), (1, 2, 10_000, 28));
    assert_eq!((first.flow.destination_port, first.module_id), (53, status(&engine).1[0].module_id));
    let events = host.take_events();
    assert!(events.len() == 2 && events.iter().all(|event| event.contains("PacketLogged")), "{events:?}");
    // One at a time, and from where the last answer ended.
    let (fixed, records) = log(&engine, 1, 1);
    assert_eq!((fixed.next, records[0].matched), (2, 2));
    assert_eq!(log(&engine, 2, 9).1, []);
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn a_rule_that_logs_much_is_limited_and_what_is_overwritten_is_counted() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    let client = attach("client");
    assert_eq!(load(&engine, &logging(53, 7), 0), STATUS_SUCCESS);
    let start = 1_000_000;
    host.now_ms.store(start, Ordering::Relaxed);
    classify(&client, &[53; 500]).unwrap();
    let (fixed, records) = log(&engine, 0, 999);
    assert_eq!((fixed.next, records.len()), (10, 10), "a burst of ten");
    host.now_ms.store(start + 100, Ordering::Relaxed);
    classify(&client, &[53; 500]).unwrap();
    let (fixed, records) = log(&engine, fixed.next, 999);
    assert_eq!((fixed.next, records.len()), (11, 1), "ten a second");
    // What was not logged in between can be told: 501 less 10, less 1.
    assert_eq!((records[0].matched, packets(&engine).0[0].1), (501, 1000));

    for second in 1..=100 {
        host.now_ms.store(start + 10_000 * second, Ordering::Relaxed);
        classify(&client, &[53; 10]).unwrap();
    }
    let (fixed, records) = log(&engine, 11, 999);
    assert_eq!((fixed.next, fixed.lost, records.len()), (1011, 744, 256));
    assert!(records.is_sorted_by_key(|record| record.matched));
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn rules_that_log_much_together_are_limited_to_a_thousand_packets_at_once() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    let client = attach("client");
    let rules: Vec<_> = (1..=101)
        .map(|port| {
            let conditions = Conditions { destination_ports: vec![port..=port], ..Conditions::default() };
            Rule { id: port.into(), action: RuleAction::Log, conditions }
        })
        .collect();
    assert_eq!(load(&engine, &compile(&rules, Action::Permit).unwrap(), 0), STATUS_SUCCESS);
    host.now_ms.store(1_000_000, Ordering::Relaxed);
    let ports: Vec<u16> = (1..=101).flat_map(|port| [port; 10]).collect();
    classify(&client, &ports).unwrap();
    assert_eq!(log(&engine, 0, 0).1.len(), 0);
    assert_eq!(log(&engine, u64::MAX, 0).0.next, 1000, "of 1010, none of which its rule would hold back");
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn a_dry_run_sees_names_that_are_spread_over_packets() {
    let _session = Session::new();
    let engine = start_assembling(DEFAULT_ASSEMBLY_MEMORY);
    let client = attach("client");
    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_START, &blocking_name(5), 0), STATUS_SUCCESS);
    let verdicts = classify_bytes(&client, &name_in_two_segments());
    assert!(verdicts.iter().all(|verdict| verdict.action == action::PERMIT));
    let (fixed, samples) = dry_run(&engine).unwrap();
    assert_eq!(fixed.packets, [2, 1, 0, 0]);
    assert_eq!((samples.len(), samples[0].rule_id, samples[0].dry_run_action), (1, 5, action::BLOCK));
    assert!(samples[0].name.starts_with(b"bad.example"));
    let (_, rules) = counters(&engine, counted_policy::DRY_RUN, 0, 9).unwrap();
    assert_eq!(rules.iter().map(|rule| (rule.packets, rule.changed)).collect::<Vec<_>>(), [(1, 1)]);
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    let client = attach("client");
    assert_eq!(load(&engine, &blocking(53, 11), 0), STATUS_SUCCESS);
    assert_eq!(request(&engine, code::SLUICE_DRY_RUN_READ, &[], 16).0, STATUS_NOT_FOUND);
    assert!(dry_run(&engine).is_none() && counters(&engine, counted_policy::DRY_RUN, 0, 9).is_none());
    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_STOP, &[], 0), STATUS_NOT_FOUND);
    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_LOAD, &[], 0), STATUS_NOT_FOUND);
    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_START, b"no table", 0), STATUS_INVALID_PARAMETER);
    classify(&client, &[53]).unwrap();
    let tried = logging(80, 20);
    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_START, &tried, 0), STATUS_SUCCESS);
    let (status_of_read, answer) = request(&engine, code::SLUICE_DRY_RUN_READ, &[], 1 << 16);
    let read = PolicyAnswer { header: header_of::<PolicyAnswer>(), table_length: tried.len() as u32, generation: 1 };
    assert_eq!(status_of_read, STATUS_SUCCESS);
    assert_eq!((PolicyAnswer::read(&mut &answer[..]), &answer[PolicyAnswer::SIZE..]), (Some(read), &tried[..]));
    host.now_ms.store(700, Ordering::Relaxed);
    let verdicts = classify(&client, &[53, 80, 80, 99, 80]).unwrap();
    let actions: Vec<_> = verdicts.iter().map(|verdict| (verdict.action, verdict.rule_id)).collect();
    assert_eq!(actions, [(2, 11), (1, 0), (1, 0), (1, 0), (1, 0)], "the policy in force decides");
    assert_eq!(log(&engine, 0, 9).0.next, 0, "what is tried logs nothing");

    let (fixed, samples) = dry_run(&engine).unwrap();
    assert_eq!(fixed.packets, [1, 3, 1, 0]);
    assert_eq!((fixed.started_generation, fixed.generation, fixed.running, fixed.rule_count), (1, 1, 700, 2));
    assert_eq!(fixed.table_length as usize, tried.len());
    assert_eq!((fixed.samples_total, samples.len()), (2, 2), "one of each pair of rules: {samples:?}");
    let sample = samples.iter().find(|sample| sample.flow.destination_port == 80).unwrap();
    assert_eq!((sample.action, sample.decided_by, sample.dry_run_action, sample.rule_id), (1, 0, 2, 21));
    let (fixed, rules) = counters(&engine, counted_policy::DRY_RUN, 0, 9).unwrap();
    assert_eq!((fixed.default_packets, fixed.default_changed), (2, 1));
    let rules: Vec<_> = rules.iter().map(|rule| (rule.id, rule.packets, rule.changed)).collect();
    assert_eq!(rules, [(20, 3, 0), (21, 3, 3)]);
    assert_eq!(packets(&engine), (vec![(11, 2)], 4), "the counters of the policy in force go on");

    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_STOP, &[], 0), STATUS_SUCCESS);
    assert!(dry_run(&engine).is_none());
    assert_eq!(status(&engine).0.generation, 1);
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn what_was_tried_is_put_in_force_as_it_is() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    let client = attach("client");
    assert_eq!(load(&engine, &blocking(53, 11), 0), STATUS_SUCCESS);
    let tried = logging(80, 20);
    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_START, &tried, 0), STATUS_SUCCESS);
    classify(&client, &[80]).unwrap();
    *host.disk.fault.lock().unwrap() = Some(Fault::Replace);
    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_LOAD, &[], 1), BROKEN);
    assert_eq!(dry_run(&engine).unwrap().0.packets, [0, 1, 0, 0], "what cannot be persisted goes on being tried");
    assert_eq!(status(&engine).0.generation, 1);

    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_LOAD, &[], 1), STATUS_SUCCESS);
    assert!(dry_run(&engine).is_none());
    assert_eq!(*client.client().announced.lock().unwrap(), [1, 2]);
    assert_eq!(packets(&engine), (vec![(20, 0), (21, 0)], 0), "it counts anew");
    assert_eq!(classify(&client, &[80]).unwrap()[0].rule_id, 21);
    assert_eq!(log(&engine, 0, 9).1.len(), 1);
    let persisted = host.disk.persisted.lock().unwrap().clone().unwrap();
    assert!(persisted.starts_with(&tried));
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn no_packet_is_missed_while_policies_are_swapped_and_tried() {
    const CALLS: u64 = 2000;
    const PAIRS: u64 = 16;
    let _session = Session::new();
    let engine = start();
    let client = attach("client");
    let (one, other) = (logging(53, 7), blocking(80, 3));
    assert_eq!(load(&engine, &one, 0), STATUS_SUCCESS);
    let (running, swaps) = (AtomicU64::new(3), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            // All on the same processor, so that calls are often not alone.
            scope.spawn(|| {
                for _ in 0..CALLS {
                    classify(&client, &[53, 80]).unwrap();
                }
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            while running.load(Ordering::Relaxed) > 0 {
                for table in [&one, &other] {
                    assert_eq!(load(&engine, table, 0), STATUS_SUCCESS);
                    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_START, table, 0), STATUS_SUCCESS);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(|| {
            let mut next = 0;
            while running.load(Ordering::Relaxed) > 0 {
                let (answer, records) = log(&engine, next, 9);
                assert!(records.iter().all(|record| record.flow.destination_port == 53 && record.rule_id == 7));
                next = answer.next;
                if let Some((status, samples)) = dry_run(&engine) {
                    assert!(samples.iter().all(|sample| sample.action != sample.dry_run_action));
                    assert!(status.packets.iter().sum::<u64>() <= 6 * CALLS);
                }
            }
        });
    });
    assert!(swaps.load(Ordering::Relaxed) > 0);
    assert_eq!(status(&engine).1[0].statistics.packets, 3 * CALLS * 2, "none is lost and none is counted twice");

    // With one policy the rules add up, too, whoever was alone and whoever was not.
    assert_eq!(load(&engine, &one, 0), STATUS_SUCCESS);
    assert_eq!(change(&engine, code::SLUICE_DRY_RUN_START, &other, 0), STATUS_SUCCESS);
    let ports = [53, 80].repeat(PAIRS as usize);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..CALLS).for_each(|_| drop(classify(&client, &ports).unwrap())));
        }
    });
    let each = 3 * CALLS * PAIRS;
    assert_eq!(packets(&engine), (vec![(7, each), (8, each)], each));
    assert_eq!(dry_run(&engine).unwrap().0.packets, [0, each, each, 0]);
    assert_eq!(clear(&engine, 0), STATUS_SUCCESS);
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}
