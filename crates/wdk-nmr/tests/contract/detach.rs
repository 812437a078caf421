//! The end of a binding: SUCCESS or PENDING, completion, cleanup.

use core::mem;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread;

use nmr_registrar::{Callback, DISPATCH_LEVEL, Session, When, irql};
use wdk_nmr::*;
use wdk_nmr_sys::*;

use crate::common::*;

#[test]
fn r35_each_side_detaches_once_and_cleans_up_once() {
    for provider_first in [true, false] {
        let _session = Session::adversary();
        let log = Log::default();
        let provider = provide(TestProvider::new(&log));
        let client = use_it(TestClient::new(&log));
        log.take();
        if provider_first {
            provider.deregister(passive()).unwrap();
        } else {
            client.deregister(passive()).unwrap();
            provider.deregister(passive()).unwrap();
            for event in ["client: detaching 1", "provider: detaching 1", "client: drop 1", "provider: drop 1"] {
                assert_eq!(log.count(event), 1, "{event}");
            }
            continue;
        }
        for event in ["client: detaching 1", "provider: detaching 1", "client: drop 1", "provider: drop 1"] {
            assert_eq!(log.count(event), 1, "{event}");
        }
        client.deregister(passive()).unwrap();
        assert_eq!(log.count("client: drop 1"), 1);
    }
}

#[test]
fn r55_a_module_is_told_right_before_its_binding_is_dropped() {
    let _session = Session::new();
    let log = Log::default();
    let (mut provider, mut client) = (TestProvider::new(&log), TestClient::new(&log));
    let (of_provider, of_client) = (log.clone(), log.clone());
    provider.on_detached = Box::new(move |binding| of_provider.add(format!("provider: detached {}", binding.number)));
    client.on_detached = Box::new(move |binding| of_client.add(format!("client: detached {}", binding.number)));
    let provider = provide(provider);
    let client = use_it(client);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
    let log = log.take();
    for who in ["provider", "client"] {
        let detached = log.iter().position(|event| *event == format!("{who}: detached 1")).expect("it was told");
        assert_eq!(log[detached + 1], format!("{who}: drop 1"));
        assert!(log[..detached].contains(&format!("{who}: detaching 1")));
    }
}

#[test]
fn r67_both_sides_deregister_at_the_same_time() {
    for _ in 0..200 {
        let _session = Session::adversary();
        let log = Log::default();
        let provider = provide(TestProvider::new(&log));
        let client = use_it(TestClient::new(&log));
        let barrier = std::sync::Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                provider.deregister(passive()).unwrap();
            });
            barrier.wait();
            client.deregister(passive()).unwrap();
        });
        for event in ["client: detaching 1", "provider: detaching 1", "client: drop 1", "provider: drop 1"] {
            assert_eq!(log.count(event), 1, "{event}");
        }
    }
}

#[test]
fn r38_detach_and_cleanup_work_at_dispatch_level() {
    let session = Session::new();
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    let levels = log.clone();
    provider.on_detaching = Box::new(move |_| levels.add(format!("level {}", irql::current())));
    let provider = provide(provider);
    let client = use_it(TestClient::new(&log));
    let deregistering = session.at_irql(DISPATCH_LEVEL, || client.start_deregistering());
    assert_eq!(log.count("level 2"), 1);
    assert_eq!(log.count("provider: drop 1"), 1);
    deregistering.wait(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn m9_the_last_call_of_each_kind_ends_a_binding_at_dispatch_level() {
    let session = Session::new();
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    let levels = log.clone();
    provider.on_detaching = Box::new(move |_| levels.add(format!("level {}", irql::current())));
    let provider = provide(provider);
    let client = use_it(TestClient::new(&log));
    let held = client.providers().next().unwrap().hold();
    let deregistering = session.at_irql(DISPATCH_LEVEL, || {
        let deregistering = provider.start_deregistering();
        drop(held);
        deregistering
    });
    assert_eq!((log.count("level 2"), log.count("client: drop 1"), log.count("provider: drop 1")), (1, 1, 1));
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r36_a_pair_that_did_not_attach_is_not_detached() {
    let _session = Session::new();
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    provider.on_attach = Box::new(|_| Err(Refusal::NO_INTERFACE));
    let provider = provide(provider);
    let client = use_it(TestClient::new(&log));
    provider.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
    assert!(!log.take().iter().any(|event| event.contains("detaching")));
}

/// The first events with `word` in them, once the provider deregisters, that 64 random orders lead to.
fn first_events(word: &str) -> BTreeSet<String> {
    let mut events = BTreeSet::new();
    for seed in 0..64 {
        let session = Session::new();
        session.set_seed(Some(seed));
        let log = Log::default();
        let provider = provide(TestProvider::new(&log));
        let client = use_it(TestClient::new(&log));
        log.take();
        provider.deregister(passive()).unwrap();
        events.extend(log.take().into_iter().find(|event| event.contains(word)));
        client.deregister(passive()).unwrap();
    }
    events
}

#[test]
fn r37_either_side_may_be_told_first() {
    let orders = first_events("detaching");
    assert_eq!(orders.len(), 2, "{orders:?}");
}

#[test]
fn r39_no_detach_before_the_attach_callback_has_returned() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let mut client = TestClient::new(&log);
    let attached = log.clone();
    client.on_attached = Box::new(move |_| attached.add("client: attached"));
    // The client has accepted and its callback is about to return.
    let pause = session.pause(When::After, Callback::ProviderAttachClient);
    thread::scope(|scope| {
        let attaching = scope.spawn(|| use_it(client));
        pause.wait_until_reached();
        let deregistering = provider.start_deregistering();
        assert_eq!(log.count("client: detaching 1") + log.count("provider: detaching 1"), 0);
        pause.resume();
        let client = attaching.join().unwrap();
        deregistering.wait(passive()).unwrap();
        client.deregister(passive()).unwrap();
    });
    let events = log.take();
    let at = |event: &str| events.iter().position(|other| other == event).expect("it has happened");
    assert!(at("client: attached") < at("client: detaching 1"), "{events:?}");
    assert!(at("client: attached") < at("provider: detaching 1"), "{events:?}");
}

#[test]
fn r40_deregister_during_attach_detaches_right_after_attach() {
    for side in [Callback::ClientAttachProvider, Callback::ProviderAttachClient] {
        let session = Session::new();
        let log = Log::default();
        let provider = provide(TestProvider::new(&log));
        let pause = session.pause(When::After, side);
        thread::scope(|scope| {
            let attaching = scope.spawn(|| use_it(TestClient::new(&log)));
            pause.wait_until_reached();
            let deregistering = provider.start_deregistering();
            pause.resume();
            deregistering.wait(passive()).unwrap();
            assert_eq!(log.count("provider: drop 1"), 1);
            let client = attaching.join().unwrap();
            assert_eq!(client.providers().count(), 0, "R8: attached and gone before the registration was known");
            client.deregister(passive()).unwrap();
        });
    }
}

#[test]
fn r41_after_deregistering_nobody_is_offered() {
    let _session = Session::new();
    let log = Log::default();
    let deregistering = provide(TestProvider::new(&log)).start_deregistering();
    let client = use_it(TestClient::new(&log));
    assert_eq!(log.count("client: attach"), 0);
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r42_a_pending_side_does_not_hold_up_the_other() {
    let _session = Session::adversary();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    let peers = (client.providers().next().unwrap().hold(), provider.clients().next().unwrap().hold());
    let deregistering = client.start_deregistering();
    assert_eq!((log.count("client: detaching 1"), log.count("provider: detaching 1")), (1, 1));
    drop(peers);
    deregistering.wait(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r43_no_call_starts_once_the_detach_has_begun() {
    let _session = Session::adversary();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = Arc::new(Mutex::new(None::<Used>));
    let mut module = TestClient::new(&log);
    let (registration, seen) = (client.clone(), log.clone());
    module.on_detaching = Box::new(move |_| {
        let registration = registration.lock().unwrap();
        let callable = registration.as_ref().unwrap().providers().count();
        seen.add(format!("callable in the detach callback: {callable}"));
    });
    *client.lock().unwrap() = Some(use_it(module));
    let held = client.lock().unwrap().as_ref().unwrap().providers().next().unwrap().hold();
    let deregistering = provider.start_deregistering();
    assert_eq!(log.count("callable in the detach callback: 0"), 1);
    assert_eq!(client.lock().unwrap().as_ref().unwrap().providers().count(), 0, "nor later, while one is in progress");
    drop(held);
    deregistering.wait(passive()).unwrap();
    client.lock().unwrap().take().unwrap().deregister(passive()).unwrap();
}

/// A provider that is called and does not return until the barrier lets it.
fn slow_provider(log: &Log) -> (TestProvider, Arc<Barrier>) {
    let barrier = Barrier::new();
    let mut provider = TestProvider::new(log);
    let stop = barrier.clone();
    provider.on_call = Box::new(move |_, _, number| {
        stop.stop();
        number
    });
    (provider, barrier)
}

#[test]
fn r44_pending_as_long_as_a_call_is_in_progress_and_success_otherwise() {
    let _session = Session::adversary();
    let log = Log::default();
    let (slow, barrier) = slow_provider(&log);
    let provider = provide(slow);
    let idle = use_it(TestClient::new(&log));
    let client = use_it(TestClient::new(&log));
    thread::scope(|scope| {
        let peer = client.providers().next().unwrap();
        let caller = scope.spawn(move || call(&peer, 9));
        barrier.wait_until_stopped();
        let deregistering = provider.start_deregistering();
        let state = |client: &Used| client.bindings().map(|binding| (binding.state, binding.calls)).next();
        assert_eq!(state(&idle), None, "no call in progress: SUCCESS, and cleaned up already");
        assert_eq!(state(&client), Some((BindingState::Draining, 1)), "R45: PENDING");
        barrier.go_on();
        assert_eq!(caller.join().unwrap(), 9);
        deregistering.wait(passive()).unwrap();
    });
    client.deregister(passive()).unwrap();
    idle.deregister(passive()).unwrap();
}

#[test]
fn r45_many_callers_complete_once() {
    let _session = Session::adversary();
    let log = Log::default();
    let (slow, barrier) = slow_provider(&log);
    let provider = provide(slow);
    let client = use_it(TestClient::new(&log));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|number| {
                let peer = client.providers().next().unwrap();
                let caller = scope.spawn(move || call(&peer, number));
                barrier.wait_until_stopped();
                caller
            })
            .collect();
        let deregistering = provider.start_deregistering();
        assert_eq!(client.bindings().next().unwrap().calls, 8);
        (0..8).for_each(|_| barrier.go_on());
        for caller in callers {
            caller.join().unwrap();
        }
        deregistering.wait(passive()).unwrap();
    });
    assert_eq!(log.count("client: drop 1"), 1);
    client.deregister(passive()).unwrap();
}

/// The strict registrar reports a completion that comes after STATUS_SUCCESS. Late attempts are what might cause one.
#[test]
fn r46_nobody_completes_after_success() {
    let session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    for _ in 0..50 {
        let provider = provide(TestProvider::new(&log));
        thread::scope(|scope| {
            let late = scope.spawn(|| (0..200).map(|_| client.providers().count()).sum::<usize>());
            provider.deregister(passive()).unwrap();
            late.join().unwrap();
        });
    }
    client.deregister(passive()).unwrap();
    assert!(session.violations().is_empty(), "{:?}", session.violations());
}

#[test]
fn r48_the_end_of_a_call_completes_nothing_before_the_detach() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    for _ in 0..3 {
        drop(client.providers().next().unwrap());
        drop(client.providers().next().unwrap().hold());
        drop(provider.clients().next().unwrap());
    }
    assert!(session.violations().is_empty(), "{:?}", session.violations());
    assert_eq!((log.count("client: drop 1"), client.providers().count()), (0, 1));
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

/// The strict registrar reports any other answer than STATUS_SUCCESS and STATUS_PENDING.
#[test]
fn r49_a_detach_is_answered_with_success_or_pending() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let clients = [use_it(TestClient::new(&log)), use_it(TestClient::new(&log))];
    let mut unusable = Raw::new();
    unusable.table.version = 9;
    unusable.register_provider();
    let held = clients[0].providers().next().unwrap().hold();
    let deregistering = provider.start_deregistering();
    unusable.start_deregistering();
    drop(held);
    unusable.wait();
    deregistering.wait(passive()).unwrap();
    for client in clients {
        client.deregister(passive()).unwrap();
    }
    assert!(session.violations().is_empty(), "{:?}", session.violations());
}

#[test]
fn m8_the_answer_to_a_detach_is_counted_and_not_chosen() {
    // Each number of calls in progress, for both roles: PENDING until the last of them has ended.
    for calls in 0..4 {
        let _session = Session::adversary();
        let log = Log::default();
        let provider = provide(TestProvider::new(&log));
        let client = use_it(TestClient::new(&log));
        let mut of_client: Vec<_> = (0..calls).map(|_| client.providers().next().unwrap().hold()).collect();
        let mut of_provider: Vec<_> = (0..calls).map(|_| provider.clients().next().unwrap().hold()).collect();
        let deregistering = client.start_deregistering();
        for left in (0..calls).rev() {
            assert_eq!(deregistering.bindings().map(|binding| binding.calls).collect::<Vec<_>>(), [left + 1]);
            of_client.pop();
            of_provider.pop();
        }
        assert_eq!((deregistering.bindings().count(), provider.bindings().count()), (0, 0));
        deregistering.wait(passive()).unwrap();
        provider.deregister(passive()).unwrap();
    }
}

#[test]
fn m10_the_detach_callback_does_not_wait_for_calls() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    let held = client.providers().next().unwrap().hold();
    let deregistering = provider.start_deregistering();
    // It has returned on this thread, which is the one that ends the call.
    drop(held);
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
    assert!(session.slow_waits().is_empty());
}

#[test]
fn m11_the_last_call_and_the_detach_race() {
    let _session = Session::adversary();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    for round in 1..=200 {
        let provider = provide(TestProvider::new(&log));
        let held = [(); 3].map(|()| client.providers().next().unwrap().hold());
        let start = std::sync::Barrier::new(4);
        thread::scope(|scope| {
            for peer in held {
                scope.spawn(|| {
                    start.wait();
                    drop(peer);
                });
            }
            start.wait();
            // Ends if the completion is not lost; the registrar reports it if it comes twice.
            provider.deregister(passive()).unwrap();
        });
        assert_eq!(log.count(&format!("client: drop {round}")), 1);
    }
    client.deregister(passive()).unwrap();
}

#[test]
fn r47_the_last_call_may_complete_before_the_detach_callback_has_returned() {
    let session = Session::new();
    let log = Log::default();
    let (slow, barrier) = slow_provider(&log);
    let provider = provide(slow);
    let client = use_it(TestClient::new(&log));
    thread::scope(|scope| {
        let peer = client.providers().next().unwrap();
        let caller = scope.spawn(move || call(&peer, 1));
        barrier.wait_until_stopped();
        // The registrar does not learn of PENDING before the completion has happened.
        let pause = session.pause(When::After, Callback::ClientDetachProvider);
        let detaching = scope.spawn(|| provider.start_deregistering());
        pause.wait_until_reached();
        barrier.go_on();
        caller.join().unwrap();
        pause.resume();
        detaching.join().unwrap().wait(passive()).unwrap();
    });
    assert_eq!(log.count("client: drop 1"), 1);
    client.deregister(passive()).unwrap();
}

#[test]
fn r51_the_peer_may_call_in_until_cleanup() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let mut raw = Raw::new();
    raw.detach = Box::new(|_| STATUS_PENDING);
    raw.register_client();
    let deregistering = provider.start_deregistering();
    assert_eq!(log.count("provider: detaching 1"), 1);
    assert_eq!(log.count("provider: drop 1"), 0);
    // The provider has detached. The client has not: its calls still find the binding.
    assert_eq!(raw.call(5), 105);
    // SAFETY: this side's function, once, after PENDING.
    unsafe { NmrClientDetachProviderComplete(raw.binding()) };
    assert_eq!(log.count("provider: drop 1"), 1);
    deregistering.wait(passive()).unwrap();
    raw.deregister();
}

#[test]
fn m1_a_binding_outlives_the_detach_callback_as_long_as_the_peer_calls() {
    let session = Session::new();
    let log = Log::default();
    let (slow, barrier) = slow_provider(&log);
    let provider = provide(slow);
    let client = use_it(TestClient::new(&log));
    thread::scope(|scope| {
        let peer = client.providers().next().unwrap();
        let caller = scope.spawn(move || call(&peer, 1));
        barrier.wait_until_stopped();
        let deregistering = session.at_irql(DISPATCH_LEVEL, || provider.start_deregistering());
        // The provider's function still has its binding, though the provider has detached.
        assert_eq!((log.count("provider: detaching 1"), log.count("provider: drop 1")), (1, 0));
        barrier.go_on();
        caller.join().unwrap();
        deregistering.wait(passive()).unwrap();
    });
    assert_eq!(log.count("provider: drop 1"), 1);
    client.deregister(passive()).unwrap();
}

/// The strict registrar reports the other side's function, and one that comes twice.
#[test]
fn r52_each_role_completes_with_its_own_function() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    let of_client = client.providers().next().unwrap().hold();
    let of_provider = provider.clients().next().unwrap().hold();
    let deregistering = provider.start_deregistering();
    drop(of_provider);
    assert_eq!((log.count("client: drop 1"), log.count("provider: drop 1")), (0, 0), "the client's part is left");
    drop(of_client);
    assert_eq!((log.count("client: drop 1"), log.count("provider: drop 1")), (1, 1));
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
    assert!(session.violations().is_empty(), "{:?}", session.violations());
}

#[test]
fn r53_the_cleanup_runs_inside_the_end_of_the_last_call() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    let peer = client.providers().next().unwrap();
    let deregistering = provider.start_deregistering();
    assert_eq!(log.count("client: drop 1"), 0);
    drop(peer);
    assert_eq!(log.count("client: drop 1"), 1);
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r54_the_last_call_may_end_at_dispatch_level() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    let peer = client.providers().next().unwrap();
    let deregistering = provider.start_deregistering();
    assert_eq!(log.count("client: drop 1"), 0);
    session.at_irql(DISPATCH_LEVEL, || drop(peer));
    assert_eq!(log.count("client: drop 1"), 1);
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r55_cleanup_comes_after_both_parts_in_every_combination() {
    for (ours_pending, theirs_pending, ours_first) in
        [(false, false, true), (true, false, true), (false, true, true), (true, true, true), (true, true, false)]
    {
        let _session = Session::adversary();
        let log = Log::default();
        let mut raw = Raw::new();
        raw.detach = Box::new(move |_| if theirs_pending { STATUS_PENDING } else { STATUS_SUCCESS });
        raw.register_provider();
        let client = use_it(TestClient::new(&log));
        let mut ours = ours_pending.then(|| client.providers().next().unwrap().hold());
        let mut theirs = theirs_pending;
        raw.start_deregistering();
        for our_turn in [ours_first, !ours_first] {
            assert_eq!(log.count("client: drop 1") == 0, ours.is_some() || theirs);
            if our_turn {
                drop(ours.take());
            } else if mem::take(&mut theirs) {
                // SAFETY: this side's function, once, after PENDING.
                unsafe { NmrProviderDetachClientComplete(raw.binding()) };
            }
        }
        assert_eq!(log.count("client: drop 1"), 1);
        raw.wait();
        client.deregister(passive()).unwrap();
    }
}

#[test]
fn r56_either_binding_may_be_dropped_first() {
    let orders = first_events("drop");
    assert_eq!(orders.len(), 2, "{orders:?}");
}

#[test]
fn r57_a_failed_attach_is_not_cleaned_up() {
    let session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    let mut raw = Raw::new();
    raw.attach_as_provider = Box::new(|_| (STATUS_INSUFFICIENT_RESOURCES, core::ptr::null()));
    let cleaned = log.clone();
    raw.cleanup = Box::new(move |()| cleaned.add("raw: cleanup"));
    let cleanup = session.pause(When::Before, Callback::ClientCleanupBindingContext);
    raw.register_provider();
    raw.deregister();
    client.deregister(passive()).unwrap();
    assert!(!cleanup.is_reached());
    assert_eq!((log.count("raw: cleanup"), log.count("client: drop 1")), (0, 1));
}

#[test]
fn r58_the_cleanup_may_run_inside_the_deregistration() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    let deregistering = provider.start_deregistering();
    assert_eq!((log.count("client: drop 1"), log.count("provider: drop 1")), (1, 1), "nobody has waited yet");
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r59_every_binding_ends_with_a_cleanup_that_gives_its_place_back() {
    let session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    for _ in 0..3 {
        let cleanup = session.pause(When::After, Callback::ClientCleanupBindingContext);
        let provider = provide(TestProvider::new(&log));
        assert_eq!(client.bindings().count(), 1);
        thread::scope(|scope| {
            // The client stays registered: the cleanup callback is all that tells it.
            scope.spawn(|| provider.deregister(passive()).unwrap());
            cleanup.wait_until_reached();
            assert_eq!(client.bindings().count(), 0);
            cleanup.resume();
        });
    }
    client.deregister(passive()).unwrap();
}

#[test]
fn r63_the_wait_includes_the_cleanup() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    let pause = session.pause(When::Before, Callback::ClientCleanupBindingContext);
    let over = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            client.deregister(passive()).unwrap();
            over.store(1, Ordering::SeqCst);
        });
        pause.wait_until_reached();
        thread::sleep(core::time::Duration::from_millis(30));
        assert_eq!(over.load(Ordering::SeqCst), 0);
        assert_eq!(log.count("client: gone"), 0);
        pause.resume();
    });
    assert_eq!(log.count("client: gone"), 1);
    provider.deregister(passive()).unwrap();
}

#[test]
fn r71_a_new_binding_may_begin_while_the_last_one_is_still_ending() {
    let _session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    let mut first = Raw::new();
    first.detach = Box::new(|_| STATUS_PENDING);
    first.register_provider();
    first.start_deregistering();
    let second = provide(TestProvider::new(&log));
    let states: Vec<_> = client.bindings().map(|binding| binding.state).collect();
    assert_eq!(states, [BindingState::Detached, BindingState::Attached]);
    assert_eq!(client.providers().map(|provider| provider.binding().number).collect::<Vec<_>>(), [2]);
    // SAFETY: this side's function, once, after PENDING.
    unsafe { NmrProviderDetachClientComplete(first.binding()) };
    first.wait();
    assert_eq!(client.providers().count(), 1);
    second.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
}
