//! Threads that a session runs: their seed repeats the whole history.

mod support;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nmr_registrar::{Step, Threads};
use support::*;

/// What happened: the choices of the schedule, and the callbacks with the thread of the schedule that they ran on.
#[derive(Debug, PartialEq, Eq)]
struct Happened {
    steps: Vec<Step>,
    callbacks: Vec<String>,
}

/// Two clients and two providers come and go on four threads; a fifth completes what pends.
fn history(seed: u64) -> Happened {
    let session = Session::new();
    session.set_seed(Some(seed));
    let log = Log::default();
    let npi = unique_npi();
    let pending: Arc<Mutex<Vec<(Side, Pointer)>>> = Arc::default();
    let left = AtomicUsize::new(4);
    let modules: Vec<Box<Module>> =
        [("C1", Side::Client), ("P1", Side::Provider), ("C2", Side::Client), ("P2", Side::Provider)]
            .into_iter()
            .map(|(name, side)| {
                let mut module = if side == Side::Client { client(name, npi, &log) } else { provider(name, npi, &log) };
                if name.ends_with('1') {
                    let pending = pending.clone();
                    module.on_detach = Box::new(move |module, context| {
                        // SAFETY: the default attach allocated it; it is freed in cleanup.
                        let handle = unsafe { &*context.cast::<Binding>() }.handle();
                        pending.lock().unwrap().push((module.side, Pointer(handle)));
                        STATUS_PENDING
                    });
                }
                module
            })
            .collect();
    let mut threads = session.threads();
    for module in &modules {
        let left = &left;
        threads.add(module.name, move || {
            for _ in 0..2 {
                assert_eq!(module.register(), STATUS_SUCCESS);
                module.end();
            }
            left.fetch_sub(1, Ordering::SeqCst);
        });
    }
    threads.add("completer", || {
        while left.load(Ordering::SeqCst) > 0 {
            let next = pending.lock().unwrap().pop();
            match next {
                Some((side, handle)) => complete(side, handle.0),
                None => Threads::give_way(),
            }
        }
    });
    let steps = threads.run();
    assert!(session.report().is_empty());
    Happened { steps, callbacks: log.calls() }
}

#[test]
fn a_seed_repeats_a_history_of_several_threads() {
    let mut orders = BTreeSet::new();
    for seed in 0..20 {
        let happened = history(seed);
        assert_eq!(happened, history(seed), "seed {seed}");
        orders.insert(happened.callbacks);
    }
    assert!(orders.len() > 15, "only {} different orders", orders.len());
}

#[test]
fn without_a_seed_the_first_thread_runs_until_it_waits() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let client = client("C", npi, &log);
    let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
    let mut threads = session.threads();
    threads.add("client", || {
        assert_eq!(client.register(), STATUS_SUCCESS);
        client.end();
    });
    threads.add("completer", || provider.binding(0).complete());
    let steps: Vec<String> = threads.run().iter().map(ToString::to_string).collect();
    let waits = steps.iter().position(|step| step == "client: waits").expect("the provider pends");
    let completes = steps.iter().position(|step| step == "completer: NmrProviderDetachClientComplete");
    assert!(completes > Some(waits), "{steps:?}");
    assert!(steps[..waits].iter().all(|step| step.starts_with("client: ")), "{steps:?}");
    assert_eq!(steps.last().map(String::as_str), Some("client: ends"));
}

#[test]
fn a_panic_of_a_thread_ends_the_run_with_its_message() {
    let session = Session::new();
    session.set_seed(Some(1));
    let mut threads = session.threads();
    threads.add("one", || panic!("it fails on purpose"));
    threads.add("two", Threads::give_way);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| threads.run())).expect_err("it panics");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"it fails on purpose"));
}

#[test]
fn a_thread_that_gives_way_lets_the_others_go_on_in_the_fixed_order_too() {
    let session = Session::new();
    let done = AtomicUsize::new(0);
    let mut threads = session.threads();
    for name in ["one", "two"] {
        threads.add(name, || {
            while done.load(Ordering::SeqCst) == 0 {
                Threads::give_way();
            }
        });
    }
    threads.add("three", || done.store(1, Ordering::SeqCst));
    let steps = threads.run();
    assert_eq!(
        steps.iter().map(|step| step.thread.as_str()).collect::<Vec<_>>(),
        ["one", "two", "three", "one", "two"]
    );
}

#[test]
fn threads_outside_of_a_schedule_wake_those_in_it() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
    let client = client("C", npi, &log).registered();
    let handle = Pointer(provider.binding(0).handle());
    let pause = session.pause(When::After, Callback::ProviderDetachClient);
    std::thread::scope(|scope| {
        let watch = pause.watch();
        scope.spawn(move || {
            let Pointer(handle) = { handle };
            watch.wait_until_reached().expect("the client is deregistered");
            drop(pause);
            std::thread::sleep(std::time::Duration::from_millis(20));
            complete(Side::Provider, handle);
        });
        let mut threads = session.threads();
        threads.add("client", || client.end());
        threads.run();
    });
}
