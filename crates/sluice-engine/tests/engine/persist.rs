//! A policy that is persisted: the driver starts with it the next time.

use std::thread;

use nmr_registrar::Session;
use sluice_control::message::policy_flags::PERSIST;
use sluice_control::message::status_flags;
use sluice_control::settings::OnPolicyError;
use sluice_control::status::{STATUS_FILE_CORRUPT_ERROR, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use sluice_engine::{DEFAULT_TABLE_LIMIT, Engine};
use sluice_npi::action;

use crate::host::{
    BROKEN, Fault, Host, Started, attach, blocking, classify, clear, load, passive, run, start_on, status,
};

/// Which rule decides on datagrams to ports 53 and 80, asked by a client that attaches for it.
fn rules() -> [u32; 2] {
    let client = attach("client");
    let verdicts = classify(&client, &[53, 80]).unwrap();
    client.deregister(passive()).unwrap();
    [verdicts[0].rule_id, verdicts[1].rule_id]
}

fn restart(engine: Started, host: &Host) -> Started {
    engine.deregister(passive()).unwrap();
    start_on(host)
}

fn flags(engine: &Started) -> u32 {
    status(engine).0.flags
}

#[test]
fn a_persisted_policy_is_in_force_after_a_restart_before_the_first_client_calls() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
    assert_eq!((rules(), flags(&engine)), ([11, 0], status_flags::PERSISTED));
    let engine = restart(engine, &host);
    assert_eq!((rules(), flags(&engine)), ([11, 0], status_flags::PERSISTED));
    assert_eq!(status(&engine).0.generation, 1);
    engine.deregister(passive()).unwrap();
}

#[test]
fn a_policy_that_is_not_persisted_leaves_the_persisted_one_for_the_next_start() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
    assert_eq!(load(&engine, &blocking(80, 12), 0), STATUS_SUCCESS);
    assert_eq!((rules(), flags(&engine)), ([0, 12], 0));
    let engine = restart(engine, &host);
    assert_eq!(rules(), [11, 0]);
    assert_eq!(clear(&engine, 0), STATUS_SUCCESS);
    assert_eq!((rules(), flags(&engine)), ([0, 0], 0));
    let engine = restart(engine, &host);
    assert_eq!(rules(), [11, 0]);
    engine.deregister(passive()).unwrap();
}

#[test]
fn clearing_with_persist_persists_that_there_is_no_policy() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
    assert_eq!(clear(&engine, PERSIST), STATUS_SUCCESS);
    assert!(host.disk.persisted.lock().unwrap().is_some(), "a file that is gone is not one that says so");
    let engine = restart(engine, &host);
    assert_eq!((rules(), flags(&engine), status(&engine).0.generation), ([0, 0], 0, 0));
    engine.deregister(passive()).unwrap();
}

#[test]
fn if_persisting_fails_the_old_policy_stays_in_force_and_persisted() {
    let _session = Session::new();
    let next = blocking(80, 12);
    let changes: [&dyn Fn(&Started) -> i32; 2] =
        [&|engine| load(engine, &next, PERSIST), &|engine| clear(engine, PERSIST)];
    for change in changes {
        let host = Host::default();
        let engine = start_on(&host);
        assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
        let persisted = host.disk.persisted.lock().unwrap().clone();
        *host.disk.fault.lock().unwrap() = Some(Fault::Replace);
        assert_eq!(change(&engine), BROKEN);
        let in_force = status(&engine).0;
        assert_eq!((rules(), in_force.generation, in_force.flags), ([11, 0], 1, status_flags::PERSISTED));
        assert_eq!(*host.disk.persisted.lock().unwrap(), persisted);
        // The disk is well again.
        assert_eq!(load(&engine, &next, PERSIST), STATUS_SUCCESS);
        let engine = restart(engine, &host);
        assert_eq!(rules(), [0, 12]);
        engine.deregister(passive()).unwrap();
    }
}

#[test]
fn a_table_that_is_not_valid_is_not_persisted() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    assert_eq!(load(&engine, b"no table", PERSIST), STATUS_INVALID_PARAMETER);
    assert_eq!(*host.disk.persisted.lock().unwrap(), None);
    engine.deregister(passive()).unwrap();
}

/// What can have become of the file while the driver was stopped.
const DAMAGES: [fn(&Host); 4] = [
    |host| *host.disk.persisted.lock().unwrap().as_mut().unwrap().last_mut().unwrap() ^= 1,
    |host| host.disk.persisted.lock().unwrap().as_mut().unwrap()[70] ^= 0x10,
    |host| *host.disk.persisted.lock().unwrap() = Some(Vec::new()),
    |host| *host.disk.fault.lock().unwrap() = Some(Fault::Read),
];

/// Persists a policy, stops the driver, damages the file, and starts again.
fn start_on_damage(damage: fn(&Host), reaction: OnPolicyError) -> (Host, Result<Started, i32>) {
    let host = Host::default();
    let engine = start_on(&host);
    assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
    engine.deregister(passive()).unwrap();
    damage(&host);
    let _ = host.take_events();
    let started = Engine::start(host.clone(), DEFAULT_TABLE_LIMIT, reaction);
    let events = host.take_events();
    assert!(events[0].starts_with("PolicyError") && events[0].contains(&format!("{reaction:?}")), "{events:?}");
    (host, started.map(run))
}

#[test]
fn on_a_policy_error_the_driver_does_not_start_unless_it_is_told_otherwise() {
    let _session = Session::new();
    for damage in DAMAGES {
        let (_, started) = start_on_damage(damage, OnPolicyError::default());
        let status = started.err().expect("the driver starts without its policy");
        assert!([STATUS_FILE_CORRUPT_ERROR, BROKEN].contains(&status), "{status:#x}");
    }
}

#[test]
fn a_driver_that_starts_on_a_policy_error_permits_or_blocks_everything() {
    let _session = Session::new();
    for damage in DAMAGES {
        for (reaction, action) in [(OnPolicyError::Permit, action::PERMIT), (OnPolicyError::Block, action::BLOCK)] {
            let (_, started) = start_on_damage(damage, reaction);
            let engine = started.expect("the driver is told to start");
            let fixed = status(&engine).0;
            assert_eq!((fixed.table_length, fixed.default_action), (0, action));
            assert_eq!(fixed.flags, status_flags::PERSISTED_DAMAGED);
            let client = attach("client");
            let verdicts = classify(&client, &[53, 80]).unwrap();
            assert!(verdicts.iter().all(|verdict| (verdict.action, verdict.rule_id) == (action, 0)));
            client.deregister(passive()).unwrap();
            engine.deregister(passive()).unwrap();
        }
    }
}

#[test]
fn a_policy_error_is_shown_until_another_policy_is_persisted() {
    let _session = Session::new();
    for damage in DAMAGES {
        let (_, started) = start_on_damage(damage, OnPolicyError::Block);
        let engine = started.unwrap();
        // A policy that is only in force changes nothing about what is persisted.
        assert_eq!(load(&engine, &blocking(80, 12), 0), STATUS_SUCCESS);
        assert_eq!(flags(&engine), status_flags::PERSISTED_DAMAGED);
        assert_eq!(load(&engine, &blocking(80, 12), PERSIST), STATUS_SUCCESS);
        assert_eq!(flags(&engine), status_flags::PERSISTED);
        engine.deregister(passive()).unwrap();
        let (_, started) = start_on_damage(damage, OnPolicyError::Permit);
        let engine = started.unwrap();
        assert_eq!(clear(&engine, PERSIST), STATUS_SUCCESS);
        assert_eq!(flags(&engine), 0);
        engine.deregister(passive()).unwrap();
    }
}

#[test]
fn of_policies_persisted_at_the_same_time_the_one_in_force_is_persisted() {
    let _session = Session::new();
    let host = Host::default();
    let mut engine = start_on(&host);
    for _ in 0..50 {
        thread::scope(|scope| {
            for (port, id) in [(53, 11), (80, 12)] {
                let engine = &engine;
                scope.spawn(move || assert_eq!(load(engine, &blocking(port, id), PERSIST), STATUS_SUCCESS));
            }
        });
        let before = rules();
        engine = restart(engine, &host);
        assert_eq!(rules(), before);
    }
    engine.deregister(passive()).unwrap();
}
