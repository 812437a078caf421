//! Who begins a detach, when, and in which order: R34 to R42 of docs/nmr-rules.md.

mod support;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nmr_registrar::DISPATCH_LEVEL;
use support::*;

const DETACHES: [Callback; 2] = [Callback::ClientDetachProvider, Callback::ProviderDetachClient];
const CLEANUPS: [Callback; 2] = [Callback::ClientCleanupBindingContext, Callback::ProviderCleanupBindingContext];

#[test]
fn r34_only_a_deregistration_starts_a_detach() {
    let _session = Session::new();
    for side in [Side::Client, Side::Provider] {
        let log = Log::default();
        let (client, provider) = attached_pair(&log);
        let npi = *client.npi;
        // Others come and go.
        support::client("other", npi, &log).registered().end();
        let detaches = |name| log.calls().iter().filter(|c| c.starts_with(name) && c.contains("Detach")).count();
        assert_eq!(detaches("C."), 0);
        log.clear();
        match side {
            Side::Client => client.end(),
            Side::Provider => provider.end(),
        }
        assert_eq!((detaches("C."), detaches("P.")), (1, 1));
    }
}

#[test]
fn r35_every_binding_of_the_module_is_detached_on_both_sides_once() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).registered();
    let clients = ["1", "2", "3"].map(|name| client(name, npi, &log).registered());
    provider.end();
    assert!(DETACHES.iter().chain(&CLEANUPS).all(|callback| log.count(*callback) == 3));
    clients.iter().for_each(|client| client.end());
    assert!(DETACHES.iter().chain(&CLEANUPS).all(|callback| log.count(*callback) == 3));
}

#[test]
fn r35_both_deregistering_at_once_detach_once() {
    for _ in 0..200 {
        let _session = Session::new();
        let log = Log::default();
        let (client, provider) = attached_pair(&log);
        std::thread::scope(|scope| {
            scope.spawn(|| client.end());
            scope.spawn(|| provider.end());
        });
        assert!(DETACHES.iter().chain(&CLEANUPS).all(|callback| log.count(*callback) == 1));
    }
}

#[test]
fn r36_no_detach_for_a_binding_that_never_attached() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut refusing = provider("P", npi, &log);
    refusing.on_provider_attach = Box::new(|_| STATUS_NOINTERFACE);
    let refusing = refusing.registered();
    let client = client("C", npi, &log).registered();
    client.end();
    refusing.end();
    assert!(DETACHES.iter().all(|callback| log.count(*callback) == 0));
}

/// The callbacks of a provider's end with two clients attached, under a seed.
fn end_of_two_bindings(seed: Option<u64>) -> Vec<String> {
    let session = Session::new();
    session.set_seed(seed);
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).registered();
    let _clients = ["1", "2"].map(|name| client(name, npi, &log).registered());
    log.clear();
    provider.end();
    log.calls()
}

#[test]
fn r37_the_order_of_detaches_is_fixed_or_drawn_from_the_seed() {
    let fixed = end_of_two_bindings(None);
    assert_eq!(fixed[..2], ["1.ClientDetachProvider", "P.ProviderDetachClient"]);
    assert_eq!(end_of_two_bindings(Some(5)), end_of_two_bindings(Some(5)));
    let orders: BTreeSet<_> = (0..64).map(|seed| end_of_two_bindings(Some(seed))).collect();
    let provider_first = |order: &&Vec<String>| order[0] == "P.ProviderDetachClient";
    let interleaved = |order: &&Vec<String>| {
        order[0].contains("Detach")
            && order[1].contains("Client")
            && order[1] != order[0]
            && order[..2].iter().all(|call| call.ends_with("ClientDetachProvider"))
    };
    assert!(orders.iter().any(|order| provider_first(&order)), "{orders:?}");
    assert!(orders.iter().any(|order| interleaved(&order)), "both clients before the provider: {orders:?}");
}

#[test]
fn r38_detach_callbacks_run_on_the_callers_thread_at_its_irql() {
    let session = Session::new();
    let log = Log::default();
    let (client, provider) = attached_pair(&log);
    log.clear();
    let caller = std::thread::scope(|scope| {
        let thread =
            scope.spawn(|| session.at_irql(DISPATCH_LEVEL, || assert_eq!(provider.deregister(), STATUS_PENDING)));
        let id = thread.thread().id();
        thread.join().unwrap();
        id
    });
    let entries = log.entries();
    assert_eq!(entries.len(), 4);
    assert!(entries.iter().all(|entry| entry.thread == caller && entry.irql == DISPATCH_LEVEL));
    provider.waited();
    client.end();
}

#[test]
fn r38_a_deregistration_above_dispatch_level_is_reported() {
    let session = Session::new();
    let (client, provider) = attached_pair(&Log::default());
    session.at_irql(DISPATCH_LEVEL + 1, || assert_eq!(client.deregister(), STATUS_PENDING));
    session.expect_violation(38);
    client.waited();
    provider.end();
}

#[test]
fn r38_a_callback_that_changes_the_irql_is_reported() {
    let session = Session::new();
    let npi = unique_npi();
    let log = Log::default();
    let provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    client.on_detach = Box::new(|_, _| {
        std::mem::forget(irql::raise(DISPATCH_LEVEL));
        STATUS_SUCCESS
    });
    let client = client.registered();
    client.end();
    session.expect_violation(38);
    assert_eq!(irql::current(), 0);
    provider.end();
}

#[test]
fn r39_no_detach_callback_starts_before_the_attach_callback_has_returned() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    let returned = Arc::new(AtomicBool::new(false));
    let (at_return, at_detach) = (returned.clone(), returned.clone());
    client.on_client_attach = Box::new(move |offer| {
        let status = offer.accept();
        // The other thread deregisters here.
        std::thread::sleep(std::time::Duration::from_millis(20));
        at_return.store(true, Ordering::SeqCst);
        status
    });
    client.on_detach = Box::new(move |_, _| {
        assert!(at_detach.load(Ordering::SeqCst));
        STATUS_SUCCESS
    });
    let pause = session.pause(When::After, Callback::ProviderAttachClient);
    std::thread::scope(|scope| {
        let registering = scope.spawn(|| client.register());
        pause.wait_until_reached();
        assert_eq!(provider.deregister(), STATUS_PENDING);
        pause.resume();
        assert_eq!(registering.join().unwrap(), STATUS_SUCCESS);
    });
    provider.waited();
    assert_eq!(log.count(Callback::ClientDetachProvider), 1);
}

/// Parks the attach of a pair at `when` and `callback`, deregisters the side that was there first, and lets it go on.
fn deregister_during_attach(first: Side, when: When, callback: Callback) {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let (client, provider) = (client("C", npi, &log), provider("P", npi, &log));
    let (first, second) = match first {
        Side::Client => (&client, &provider),
        Side::Provider => (&provider, &client),
    };
    assert_eq!(first.register(), STATUS_SUCCESS);
    let pause = session.pause(when, callback);
    std::thread::scope(|scope| {
        let registering = scope.spawn(|| second.register());
        pause.wait_until_reached();
        assert_eq!(first.deregister(), STATUS_PENDING);
        let waiting = scope.spawn(|| first.waited());
        // The attach callbacks are allowed to finish; until then nothing is detached and nothing is complete.
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert!(!waiting.is_finished());
        assert_eq!(log.count(Callback::ClientDetachProvider) + log.count(Callback::ProviderDetachClient), 0);
        let attaching = registering.thread().id();
        log.clear();
        pause.resume();
        assert_eq!(registering.join().unwrap(), STATUS_SUCCESS);
        waiting.join().unwrap();
        let detach = log.entries().into_iter().find(|entry| entry.callback == Callback::ClientDetachProvider);
        assert_eq!(detach.expect("the binding was detached").thread, attaching);
    });
    assert!(DETACHES.iter().chain(&CLEANUPS).all(|callback| log.count(*callback) == 1), "{:?}", log.calls());
    second.end();
    assert!(DETACHES.iter().chain(&CLEANUPS).all(|callback| log.count(*callback) == 1), "{:?}", log.calls());
}

#[test]
fn r40_deregister_during_attach_detaches_right_after_attach() {
    for first in [Side::Client, Side::Provider] {
        for callback in [Callback::ClientAttachProvider, Callback::ProviderAttachClient] {
            for when in [When::Before, When::After] {
                deregister_during_attach(first, when, callback);
            }
        }
    }
}

#[test]
fn r40_deregister_during_a_failing_attach_lets_the_binding_disappear() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut provider = provider("P", npi, &log);
    provider.on_provider_attach = Box::new(|_| STATUS_NOINTERFACE);
    let provider = provider.registered();
    let client = client("C", npi, &log);
    let pause = session.pause(When::Before, Callback::ProviderAttachClient);
    std::thread::scope(|scope| {
        let registering = scope.spawn(|| client.register());
        pause.wait_until_reached();
        assert_eq!(provider.deregister(), STATUS_PENDING);
        pause.resume();
        assert_eq!(registering.join().unwrap(), STATUS_SUCCESS);
    });
    provider.waited();
    assert_eq!(log.calls(), ["C.ClientAttachProvider", "P.ProviderAttachClient"]);
}

#[test]
fn r40_deregistering_the_peer_from_inside_the_attach_callback_works() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    // The module moves into the Arc, so it is registered there.
    let provider: Arc<Module> = Arc::from(provider("P", npi, &log));
    assert_eq!(provider.register(), STATUS_SUCCESS);
    let mut client = client("C", npi, &log);
    let peer = provider.clone();
    client.on_client_attach = Box::new(move |offer| {
        let status = offer.accept();
        assert_eq!(peer.deregister(), STATUS_PENDING);
        status
    });
    let client = client.registered();
    provider.waited();
    assert!(CLEANUPS.iter().all(|callback| log.count(*callback) == 1));
    client.end();
}

#[test]
fn r41_no_offer_after_a_deregistration_even_of_those_already_queued() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let providers = ["P1", "P2"].map(|name| provider(name, npi, &log).registered());
    let client = client("C", npi, &log);
    let pause = session.pause(When::Before, Callback::ClientAttachProvider);
    std::thread::scope(|scope| {
        let registering = scope.spawn(|| client.register());
        pause.wait_until_reached();
        // The client's registration has both offers ahead of it and stands before the first.
        assert_eq!(providers[1].deregister(), STATUS_PENDING);
        pause.resume();
        assert_eq!(registering.join().unwrap(), STATUS_SUCCESS);
    });
    providers[1].waited();
    assert_eq!(log.calls(), ["C.ClientAttachProvider", "P1.ProviderAttachClient"]);
}

#[test]
fn r42_a_pending_side_does_not_delay_the_other_sides_detach() {
    for (pending, seed) in [(Side::Client, 0), (Side::Provider, 0), (Side::Client, 1), (Side::Provider, 1)] {
        let session = Session::new();
        session.set_seed(Some(seed));
        let log = Log::default();
        let npi = unique_npi();
        let status = |side| if side == pending { STATUS_PENDING } else { STATUS_SUCCESS };
        let provider = provider("P", npi, &log).detaching_with(status(Side::Provider)).registered();
        let client = client("C", npi, &log).detaching_with(status(Side::Client)).registered();
        assert_eq!(client.deregister(), STATUS_PENDING);
        assert!(DETACHES.iter().all(|callback| log.count(*callback) == 1));
        assert!(CLEANUPS.iter().all(|callback| log.count(*callback) == 0));
        assert_eq!(session.report().bindings[0].pending().collect::<Vec<_>>(), [pending]);
        match pending {
            Side::Client => client.binding(0).complete(),
            Side::Provider => provider.binding(0).complete(),
        }
        client.waited();
    }
}
