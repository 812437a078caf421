//! The engine as clients and administrators see it, with a registrar in the place of NMR.

mod dump;
mod events;
mod fuzzed;
mod heads;
mod host;
mod observe;
#[path = "../../../sluice-core/tests/common/packets.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "other tests use more of it")]
mod packets;
mod persist;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{ptr, thread};

use nmr_registrar::Session;
use sluice_control::SharedBytes;
use sluice_control::message::client_state;
use sluice_control::settings::OnPolicyError;
use sluice_control::sluice::{Operations, PolicyInForce};
use sluice_control::status::{STATUS_INVALID_PARAMETER, STATUS_QUOTA_EXCEEDED, STATUS_SUCCESS};
use sluice_engine::{DEFAULT_ASSEMBLY_MEMORY, Engine};
use sluice_npi::{CallSluice, Header, Packet, Verdict, action, direction, flags, link_type};

use crate::host::{
    Host, Regions, attach, blocking, blocking_name, classify, classify_bytes, datagram, load, name_in_two_segments,
    passive, run, start, start_assembling, status,
};

#[test]
fn without_a_policy_everything_is_permitted_in_generation_0() {
    let _session = Session::new();
    let engine = start();
    let client = attach("client");
    let verdicts = classify(&client, &[53, 80]).unwrap();
    assert!(verdicts.iter().all(|verdict| (verdict.action, verdict.generation) == (action::PERMIT, 0)));
    assert_eq!(verdicts[0].flow.destination_port, 53);
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn a_loaded_policy_decides_and_is_announced_to_every_client() {
    let _session = Session::new();
    let early = attach("early");
    let engine = start();
    let late = attach("late");
    assert_eq!(load(&engine, &blocking(53, 11), 0), STATUS_SUCCESS);
    for client in [&early, &late] {
        let verdicts = classify(client, &[53, 80]).unwrap();
        assert_eq!((verdicts[0].action, verdicts[0].rule_id, verdicts[0].generation), (action::BLOCK, 11, 1));
        assert_eq!((verdicts[1].action, verdicts[1].rule_id, verdicts[1].generation), (action::PERMIT, 0, 1));
        assert_eq!(*client.client().announced.lock().unwrap(), [1]);
    }
    early.deregister(passive()).unwrap();
    late.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn a_name_in_two_packets_is_judged_at_the_one_that_completes_it() {
    let _session = Session::new();
    for (memory, expected) in [(DEFAULT_ASSEMBLY_MEMORY, action::BLOCK), (0, action::PERMIT)] {
        let engine = start_assembling(memory);
        let client = attach("client");
        assert_eq!(load(&engine, &blocking_name(5), 0), STATUS_SUCCESS);
        let [syn, first, second] = classify_bytes(&client, &name_in_two_segments());
        assert_eq!((syn.action, first.action), (action::PERMIT, action::PERMIT));
        let said = [flags::NAME_PENDING, flags::NAME_MISSING].map(|bits| first.flow.has(bits));
        assert_eq!(said, [memory != 0, memory == 0]);
        assert_eq!((second.action, second.flow.has(flags::NAME_ASSEMBLED)), (expected, memory != 0));
        client.deregister(passive()).unwrap();
        engine.deregister(passive()).unwrap();
    }
}

#[test]
fn a_load_that_fails_leaves_the_old_policy_in_force() {
    let _session = Session::new();
    let engine = start();
    let client = attach("client");
    let good = blocking(53, 11);
    assert_eq!(load(&engine, &good, 0), STATUS_SUCCESS);
    let mut damaged = blocking(80, 12);
    *damaged.last_mut().unwrap() ^= 0xFF;
    assert_eq!(load(&engine, &damaged, 0), STATUS_INVALID_PARAMETER);
    assert_eq!(load(&engine, b"no table", 0), STATUS_INVALID_PARAMETER);
    assert_eq!(classify(&client, &[53]).unwrap()[0].rule_id, 11);
    let mut place = vec![0; good.len()];
    assert_eq!(
        engine.read_policy(&mut SharedBytes::new(&mut place)),
        PolicyInForce { generation: 1, table_length: good.len() }
    );
    assert_eq!(place, good);
    assert_eq!(*client.client().announced.lock().unwrap(), [1]);
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn clearing_goes_back_to_permitting_in_a_generation_of_its_own() {
    let _session = Session::new();
    let engine = start();
    let client = attach("client");
    assert_eq!(load(&engine, &blocking(53, 11), 0), STATUS_SUCCESS);
    assert_eq!(engine.clear_policy(false), Ok(2));
    let verdict = classify(&client, &[53]).unwrap()[0];
    assert_eq!((verdict.action, verdict.generation), (action::PERMIT, 2));
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn bad_input_of_a_client_is_refused_counted_and_answered_with_no_verdict() {
    let _session = Session::new();
    let engine = start();
    let client = attach("client");
    let bytes = datagram(53);
    let sluice = client.providers().next().unwrap();
    let good = Packet {
        header: Header::of::<Packet>(),
        link_type: link_type::IPV4,
        direction: direction::INBOUND,
        captured_length: 28,
        wire_length: 28,
        data: bytes.as_ptr(),
    };
    let untouched = Verdict { rule_id: 0xABCD, ..classify(&client, &[80]).unwrap()[0] };
    let wrong = [
        Packet { link_type: u16::MAX, ..good },
        Packet { direction: 3, ..good },
        Packet { wire_length: 27, ..good },
        Packet { data: ptr::null(), ..good },
        Packet { header: Header { version: 2, size: 24 }, ..good },
        Packet { header: Header { version: 1, size: 23 }, ..good },
    ];
    for wrong in wrong {
        let packets = [good, wrong];
        let mut verdicts = [untouched; 2];
        let status = sluice.call(|table, context| {
            // SAFETY: two packets and room for two verdicts.
            unsafe { (table.classify)(context, packets.as_ptr(), 2, verdicts.as_mut_ptr()) }
        });
        assert_eq!(status, STATUS_INVALID_PARAMETER, "{wrong:?}");
        assert_eq!(verdicts, [untouched; 2], "{wrong:?}");
    }
    for (packets, count, room) in [
        (ptr::null(), 1, true),
        (&raw const good, 0, true),
        (&raw const good, sluice_npi::MAX_BATCH + 1, true),
        (&raw const good, 1, false),
    ] {
        let mut verdict = untouched;
        let place = if room { &raw mut verdict } else { ptr::null_mut() };
        let status = sluice.call(|table, context| {
            // SAFETY: what is not NULL or out of range is one packet and room for one verdict.
            unsafe { (table.classify)(context, packets, count, place) }
        });
        assert_eq!(status, STATUS_INVALID_PARAMETER);
        assert_eq!(verdict, untouched);
    }
    let statistics = sluice.query_statistics().unwrap();
    assert_eq!((statistics.packets, statistics.rejected_calls), (1, 10));
    drop(sluice);
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn status_lists_each_client_with_its_own_counters() {
    let _session = Session::new();
    let engine = start();
    let (one, two) = (attach("one"), attach("two"));
    assert_eq!(load(&engine, &blocking(53, 11), 0), STATUS_SUCCESS);
    classify(&one, &[53, 80, 81]).unwrap();
    classify(&two, &[53]).unwrap();
    let (fixed, clients) = status(&engine);
    assert_eq!((fixed.driver_version, fixed.generation, fixed.rule_count), ([1, 2, 3, 0], 1, 1));
    assert_eq!((fixed.default_action, fixed.clients_total), (action::PERMIT, 2));
    let counts = |name: &str| {
        let client = clients.iter().find(|client| client.name.starts_with(name.as_bytes())).unwrap();
        assert_eq!((client.state, client.driver_version), (client_state::ATTACHED, 5));
        (client.statistics.packets, client.statistics.blocked)
    };
    assert_eq!((counts("one"), counts("two")), ((3, 1), (1, 1)));
    one.deregister(passive()).unwrap();
    assert_eq!(status(&engine).1.len(), 1);
    two.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn every_batch_is_judged_by_one_policy_while_policies_are_swapped() {
    let _session = Session::new();
    let engine = start();
    let client = attach("client");
    // Odd generations block port 1, even ones port 2: a verdict and its generation belong together.
    let tables = [blocking(2, 2), blocking(1, 1)];
    let (done, batches) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let verdicts = classify(&client, &[1, 2, 1, 2]).unwrap();
                    let generation = verdicts[0].generation;
                    let expected = match generation {
                        0 => [0; 4],
                        odd if odd % 2 == 1 => [1, 0, 1, 0],
                        _ => [0, 2, 0, 2],
                    };
                    assert!(verdicts.iter().all(|verdict| verdict.generation == generation));
                    assert_eq!(verdicts.iter().map(|verdict| verdict.rule_id).collect::<Vec<_>>(), expected);
                    batches.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for generation in 1..=500 {
            assert_eq!(load(&engine, &tables[generation % 2], 0), STATUS_SUCCESS);
        }
        while batches.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(*client.client().announced.lock().unwrap(), (1..=500).collect::<Vec<_>>());
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

#[test]
fn loads_at_the_same_time_get_generations_of_their_own() {
    let _session = Session::new();
    let engine = start();
    let table = blocking(1, 1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(load(&engine, &table, 0), STATUS_SUCCESS)));
        }
    });
    assert_eq!(status(&engine).0.generation, 200);
    engine.deregister(passive()).unwrap();
}

#[test]
fn a_table_above_the_limit_is_refused_whatever_is_in_it() {
    let _session = Session::new();
    let table = blocking(1, 1);
    for (limit, expected) in [(table.len() - 1, STATUS_QUOTA_EXCEEDED), (table.len(), STATUS_SUCCESS)] {
        let engine = run(Engine::start(Host::default(), limit, OnPolicyError::DoNotStart).unwrap());
        assert_eq!(load(&engine, &table, 0), expected, "limit {limit}");
        engine.deregister(passive()).unwrap();
    }
}

#[test]
fn a_thread_that_reads_the_policy_cannot_be_suspended() {
    let _session = Session::new();
    let engine = start();
    let client = attach("client");
    let before = Regions::entered();
    classify(&client, &[53, 80]).unwrap();
    assert_eq!(Regions::entered(), before + 1, "one region a call");
    // The read of the generation and the replacement of the policy each have one, and so has the call of the client.
    assert_eq!(load(&engine, &blocking(53, 11), 0), STATUS_SUCCESS);
    assert_eq!((Regions::entered(), Regions::depth()), (before + 4, 0));
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
}

/// The fuzz target's function with a random generator: bounded, seeded, in every test run.
#[test]
fn arbitrary_requests_are_answered_as_the_contract_says() {
    let mut state = 0x5EED_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let (mut succeeded, mut refused) = (0, 0);
    for round in 0..150 {
        let input: Vec<u8> = (0..20 + round * 10).map(|_| byte()).collect();
        let done = fuzzed::run(&input);
        succeeded += done.succeeded;
        refused += done.refused;
    }
    // The inputs reach what they are for.
    assert!(succeeded > 500 && refused > 500, "{succeeded} succeeded, {refused} were refused");
}

/// What the fuzzer found worth keeping.
#[test]
fn the_requests_of_the_corpus_are_answered_as_the_contract_says() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/control");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "there is nothing in {corpus}");
    for file in files {
        fuzzed::run(&std::fs::read(file).unwrap());
    }
}
