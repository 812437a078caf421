//! What the engine tells whoever traces it.

use std::sync::atomic::Ordering;

use nmr_registrar::Session;
use sluice_control::code;
use sluice_control::message::policy_flags::PERSIST;
use sluice_control::settings::OnPolicyError;
use sluice_control::status::{STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use sluice_engine::{DEFAULT_TABLE_LIMIT, Engine};
use wdk_nmr::{GUID, ModuleId, Provider, Refusal};

use crate::host::{Host, attach, blocking, classify, clear, load, passive, request, start_on};

/// The one event since the last question, which has to contain all of `parts`.
fn one(host: &Host, parts: &[&str]) {
    let events = host.take_events();
    assert_eq!(events.len(), 1, "{events:#?}");
    for part in parts {
        assert!(events[0].contains(part), "`{part}` is not in {}", events[0]);
    }
}

#[test]
fn a_client_is_told_of_when_it_comes_and_when_it_is_gone() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    one(&host, &["Started", "generation: 0", "rules: 0", "default: Permit"]);
    host.now_ms.store(1000, Ordering::Relaxed);
    let client = attach("listener");
    let name = format!("name: {:?}", b"listener");
    one(&host, &["Attached", &name, "driver_version: 5"]);
    classify(&client, &[53, 80]).unwrap();
    host.now_ms.store(3500, Ordering::Relaxed);
    client.deregister(passive()).unwrap();
    one(&host, &["Detached", &name, "attached_ms: 2500", "detaching_ms: 0", "packets: 2"]);
    engine.deregister(passive()).unwrap();
    assert_eq!(host.take_events(), Vec::<String>::new());
}

#[test]
fn a_client_that_is_refused_is_told_of_with_the_reason() {
    let host = Host::default();
    let engine = Engine::start(host.clone(), DEFAULT_TABLE_LIMIT, OnPolicyError::DoNotStart).unwrap();
    let module_id = ModuleId::Guid(GUID { Data1: 0xABCD, ..GUID::default() });
    for (module_id, said) in [(Some(module_id), "Some(Guid("), (None, "None")] {
        engine.refused(module_id, Refusal::INSUFFICIENT_RESOURCES);
        let status = format!("status: {STATUS_INSUFFICIENT_RESOURCES}");
        one(&host, &["Refused", &format!("module_id: {said}"), &status]);
    }
}

#[test]
fn every_change_of_the_policy_is_told_of() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    let _ = host.take_events();
    let table = blocking(53, 11);
    let length = format!("table_length: {}", table.len());
    assert_eq!(load(&engine, &table, 0), STATUS_SUCCESS);
    one(
        &host,
        &[
            "PolicyChanged",
            "generation: 1",
            "rules: 1",
            &length,
            "default: Permit",
            "persisted: false",
            "requested: true",
        ],
    );
    assert_eq!(load(&engine, &table, PERSIST), STATUS_SUCCESS);
    one(&host, &["PolicyChanged", "generation: 2", "persisted: true"]);
    engine.deregister(passive()).unwrap();
    let engine = start_on(&host);
    let events = host.take_events();
    let parts = ["PolicyChanged", "generation: 1", "persisted: true", "requested: false"];
    assert!(parts.iter().all(|part| events[0].contains(part)), "{events:#?}");
    let parts = ["Started", "generation: 1", "rules: 1", "default: Permit"];
    assert!(events.len() == 2 && parts.iter().all(|part| events[1].contains(part)), "{events:#?}");
    assert_eq!(clear(&engine, PERSIST), STATUS_SUCCESS);
    one(&host, &["PolicyChanged", "generation: 2", "rules: 0", "table_length: 0", "persisted: false"]);
    engine.deregister(passive()).unwrap();
}

#[test]
fn refused_requests_are_told_of_once_a_second_with_the_number_of_the_others() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    let _ = host.take_events();
    for _ in 0..100 {
        assert_ne!(load(&engine, b"no table", 0), STATUS_SUCCESS);
    }
    let status = format!("status: {}", 0xC000_000D_u32.cast_signed());
    one(&host, &["RequestRejected", &format!("code: {}", code::SLUICE_POLICY_LOAD), &status, "unreported: 0"]);
    host.now_ms.store(1000, Ordering::Relaxed);
    assert_ne!(request(&engine, 0, &[], 0).0, STATUS_SUCCESS);
    one(&host, &["RequestRejected", "code: 0", "unreported: 99"]);
    engine.deregister(passive()).unwrap();
}

#[test]
fn refused_calls_are_told_of_once_a_second_for_each_client() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    let clients = [attach("one"), attach("two")];
    let _ = host.take_events();
    let wrong_calls = || {
        for client in &clients {
            let sluice = client.providers().next().unwrap();
            for _ in 0..10 {
                // SAFETY: a count of 0 is refused before a pointer is looked at.
                let status = sluice.call(|table, context| unsafe {
                    (table.classify)(context, std::ptr::null(), 0, std::ptr::null_mut())
                });
                assert_ne!(status, STATUS_SUCCESS);
            }
        }
        host.take_events()
    };
    let events = wrong_calls();
    assert_eq!(events.len(), 2, "{events:#?}");
    assert!(events.iter().all(|event| event.starts_with("CallRejected") && event.contains("unreported: 0")));
    host.now_ms.store(1000, Ordering::Relaxed);
    let events = wrong_calls();
    assert_eq!(events.len(), 2, "{events:#?}");
    assert!(events.iter().all(|event| event.contains("unreported: 9")), "{events:#?}");
    for client in clients {
        client.deregister(passive()).unwrap();
    }
    engine.deregister(passive()).unwrap();
}
