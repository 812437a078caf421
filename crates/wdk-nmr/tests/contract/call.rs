//! Calls in both directions, and what may be called when.

use std::sync::{Arc, Mutex};
use std::thread;

use nmr_registrar::Session;
use wdk_nmr::*;

use crate::common::*;

#[test]
fn r27_calls_go_both_ways_with_the_right_binding() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let clients = [use_it(TestClient::new(&log)), use_it(TestClient::new(&log))];
    for (number, client) in clients.iter().enumerate() {
        // The provider knows the clients as its bindings 1 and 2; each client has one provider.
        assert_eq!(client.providers().map(|provider| call(&provider, 7)).sum::<u32>(), 107 + 100 * number as u32);
    }
    assert_eq!(provider.clients().map(|client| call(&client, 7)).collect::<Vec<_>>(), [1007, 1007]);
    for client in clients {
        client.deregister(passive()).unwrap();
    }
    provider.deregister(passive()).unwrap();
}

#[test]
fn a_call_may_be_answered_by_a_call_back() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let mut client = TestClient::new(&log);
    client.on_call = Box::new(|incoming, number| {
        let provider = incoming.provider().expect("attached");
        call(&provider, number) * 2
    });
    let client = use_it(client);
    assert_eq!(provider.clients().map(|client| call(&client, 3)).collect::<Vec<_>>(), [206]);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn m7_after_the_detach_a_peer_cannot_be_called() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let mut client = TestClient::new(&log);
    let barrier = Barrier::new();
    let here = barrier.clone();
    let answers = log.clone();
    // The provider calls in; while the call lasts both sides detach.
    client.on_call = Box::new(move |incoming, number| {
        assert!(incoming.provider().is_some());
        here.stop();
        answers.add(format!("callable: {}", incoming.provider().is_some()));
        number
    });
    let client = use_it(client);
    thread::scope(|scope| {
        let calling = provider.clients().next().unwrap();
        let caller = scope.spawn(move || call(&calling, 1));
        barrier.wait_until_stopped();
        let deregistering = client.start_deregistering();
        log.take();
        barrier.go_on();
        assert_eq!(caller.join().unwrap(), 1);
        deregistering.wait(passive()).unwrap();
        assert_eq!(log.count("callable: false"), 1);
    });
    provider.deregister(passive()).unwrap();
}

#[test]
fn m7_calls_race_with_peers_that_come_and_go() {
    let _session = Session::adversary();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    let rounds = if cfg!(debug_assertions) { 200 } else { 2000 };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut calls = 0_u64;
                    while log.count("over") == 0 {
                        for provider in client.providers() {
                            assert_eq!(call(&provider, 1) % 100, 1);
                            calls += 1;
                        }
                    }
                    calls
                })
            })
            .collect();
        for _ in 0..rounds {
            let other = provide(TestProvider::new(&log));
            other.deregister(passive()).unwrap();
            log.take();
        }
        log.add("over");
        let calls: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        assert!(calls > 0);
    });
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r50_a_call_that_the_peer_ends_later_keeps_the_detach_waiting() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let held: Arc<Mutex<Option<HeldProvider<TestClient>>>> = Arc::default();
    let client = use_it(TestClient::new(&log));
    let peer = client.providers().next().unwrap().hold();
    assert_eq!(peer.binding().number, 1);
    *held.lock().unwrap() = Some(peer);
    let deregistering = provider.start_deregistering();
    let states: Vec<_> = client.bindings().map(|binding| (binding.state, binding.calls)).collect();
    assert_eq!(states, [(BindingState::Draining, 1)]);
    assert_eq!(log.count("client: drop 1"), 0);
    // What the peer does to end the call: it may still be called with what is held.
    let peer = held.lock().unwrap().take().unwrap();
    let answer = peer.call(|table, context| {
        // SAFETY: the context came with the table.
        unsafe { (table.call)(context, 2) }
    });
    assert_eq!(answer, 102);
    drop(peer);
    assert_eq!(log.count("client: drop 1"), 1, "R53: cleanup ran inside the completing call");
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn a_held_peer_may_outlive_the_borrow_but_not_the_registration() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    let peer = client.providers().next().unwrap().hold();
    let other = thread::spawn(move || {
        thread::sleep(std::time::Duration::from_millis(50));
        drop(peer);
    });
    // Waits for the other thread.
    client.deregister(passive()).unwrap();
    assert_eq!(log.count("client: gone"), 1);
    other.join().unwrap();
    provider.deregister(passive()).unwrap();
}
