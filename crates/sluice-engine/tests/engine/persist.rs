//! A policy that is persisted: the driver starts with it the next time.

use std::thread;

use nmr_registrar::Session;
use sluice_control::message::policy_flags::PERSIST;
use sluice_control::message::status_flags;
use sluice_control::status::{STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use sluice_npi::action;

use crate::host::{BROKEN, Fault, Host, Started, attach, blocking, classify, clear, load, passive, start_on, status};

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
fn clearing_with_persist_removes_the_persisted_policy() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
    assert_eq!(clear(&engine, PERSIST), STATUS_SUCCESS);
    assert_eq!(*host.disk.persisted.lock().unwrap(), None);
    let engine = restart(engine, &host);
    assert_eq!((rules(), flags(&engine)), ([0, 0], 0));
    engine.deregister(passive()).unwrap();
}

#[test]
fn wherever_persisting_fails_the_old_policy_stays_in_force_and_persisted() {
    let _session = Session::new();
    let next = blocking(80, 12);
    let writes = (0..next.len()).step_by(97).map(Fault::Write);
    for fault in writes.chain([Fault::Replace]) {
        let host = Host::default();
        let engine = start_on(&host);
        assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
        let persisted = host.disk.persisted.lock().unwrap().clone();
        *host.disk.fault.lock().unwrap() = Some(fault);
        assert_eq!(load(&engine, &next, PERSIST), BROKEN, "{fault:?}");
        let in_force = status(&engine).0;
        assert_eq!((rules(), in_force.generation, in_force.flags), ([11, 0], 1, status_flags::PERSISTED));
        assert_eq!(*host.disk.persisted.lock().unwrap(), persisted, "{fault:?}");
        assert_eq!(*host.disk.new.lock().unwrap(), None, "{fault:?}: what was begun is still there");
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

#[test]
fn a_persisted_policy_that_cannot_be_removed_stays_in_force() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
    *host.disk.fault.lock().unwrap() = Some(Fault::Remove);
    assert_eq!(clear(&engine, PERSIST), BROKEN);
    assert_eq!((rules(), flags(&engine)), ([11, 0], status_flags::PERSISTED));
    engine.deregister(passive()).unwrap();
}

/// Stops the driver, does something to the disk, and starts again with a policy that cannot be used.
fn starts_without(host: &Host, engine: Started, damage: impl FnOnce(&Host)) -> Started {
    engine.deregister(passive()).unwrap();
    damage(host);
    let _ = host.take_events();
    let engine = start_on(host);
    let events = host.take_events();
    assert!(events.iter().any(|event| event.starts_with("PersistedPolicyDamaged")), "{events:?}");
    let started = status(&engine).0;
    assert_eq!((started.generation, started.table_length, started.default_action), (0, 0, action::PERMIT));
    assert_eq!(started.flags, status_flags::PERSISTED_DAMAGED);
    assert_eq!(rules(), [0, 0]);
    engine
}

#[test]
fn a_damaged_policy_is_reported_until_another_one_is_persisted_or_it_is_removed() {
    let _session = Session::new();
    let host = Host::default();
    let mut engine = start_on(&host);
    let damages: [fn(&Host); 4] = [
        |host| *host.disk.persisted.lock().unwrap().as_mut().unwrap().last_mut().unwrap() ^= 1,
        |host| host.disk.persisted.lock().unwrap().as_mut().unwrap()[70] ^= 0x10,
        |host| *host.disk.persisted.lock().unwrap() = Some(Vec::new()),
        |host| *host.disk.fault.lock().unwrap() = Some(Fault::Read),
    ];
    for damage in damages {
        assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
        engine = starts_without(&host, engine, damage);
        // A policy that is only in force changes nothing about what is persisted.
        assert_eq!(load(&engine, &blocking(80, 12), 0), STATUS_SUCCESS);
        assert_eq!(flags(&engine), status_flags::PERSISTED_DAMAGED);
        assert_eq!(load(&engine, &blocking(80, 12), PERSIST), STATUS_SUCCESS);
        assert_eq!(flags(&engine), status_flags::PERSISTED);
    }
    engine = starts_without(&host, engine, damages[0]);
    assert_eq!(clear(&engine, PERSIST), STATUS_SUCCESS);
    assert_eq!(flags(&engine), 0);
    engine.deregister(passive()).unwrap();
}

#[test]
fn what_a_crash_left_of_a_new_file_is_in_nobodys_way() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    assert_eq!(load(&engine, &blocking(53, 11), PERSIST), STATUS_SUCCESS);
    engine.deregister(passive()).unwrap();
    *host.disk.new.lock().unwrap() = Some(b"half of a".to_vec());
    let engine = start_on(&host);
    assert_eq!(rules(), [11, 0]);
    assert_eq!(load(&engine, &blocking(80, 12), PERSIST), STATUS_SUCCESS);
    let engine = restart(engine, &host);
    assert_eq!(rules(), [0, 12]);
    engine.deregister(passive()).unwrap();
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
