//! The end of a binding: SUCCESS or PENDING, completion, cleanup.

use core::mem;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;

use nmr_registrar::{Callback, DISPATCH_LEVEL, Session, When, irql};
use wdk_nmr::*;
use wdk_nmr_sys::*;

use crate::common::*;

#[test]
fn r35_r36_each_side_detaches_once_and_cleans_up_once() {
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
fn r35_r67_both_sides_deregister_at_the_same_time() {
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
fn r38_m9_detach_and_cleanup_work_at_dispatch_level() {
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
            assert_eq!(log.count("provider: detaching 1"), 0, "R39: not before the attach callback has returned");
            pause.resume();
            deregistering.wait(passive()).unwrap();
            assert_eq!(log.count("provider: drop 1"), 1);
            let client = attaching.join().unwrap();
            assert_eq!(client.providers().count(), 0, "R8: attached and gone before the registration was known");
            client.deregister(passive()).unwrap();
        });
    }
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
fn r44_m8_pending_as_long_as_a_call_is_in_progress_and_success_otherwise() {
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
        assert_eq!(client.providers().count(), 0, "R43: no new call");
        barrier.go_on();
        assert_eq!(caller.join().unwrap(), 9);
        deregistering.wait(passive()).unwrap();
    });
    client.deregister(passive()).unwrap();
    idle.deregister(passive()).unwrap();
}

#[test]
fn r45_m10_m11_many_callers_complete_once() {
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
        // The detach itself does not wait.
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
fn r51_m1_the_peer_may_call_in_until_cleanup() {
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
fn r53_r54_the_last_call_may_end_at_dispatch_level_and_run_the_cleanup() {
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
