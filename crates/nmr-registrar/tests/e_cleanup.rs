//! Cleanup: R55 to R60 of docs/nmr-rules.md.

mod support;
use std::collections::BTreeSet;
use std::sync::Arc;

use nmr_registrar::DISPATCH_LEVEL;
use support::*;

fn cleanups(log: &Log) -> [usize; 2] {
    [log.count(Callback::ClientCleanupBindingContext), log.count(Callback::ProviderCleanupBindingContext)]
}

#[test]
fn r55_cleanup_runs_once_per_side_after_both_parts_in_every_combination() {
    for statuses in [
        [STATUS_SUCCESS, STATUS_SUCCESS],
        [STATUS_SUCCESS, STATUS_PENDING],
        [STATUS_PENDING, STATUS_SUCCESS],
        [STATUS_PENDING, STATUS_PENDING],
    ] {
        for initiator in [0, 1] {
            for client_completes_first in [false, true] {
                let _session = Session::new();
                let log = Log::default();
                let npi = unique_npi();
                let modules = [
                    client("C", npi, &log).detaching_with(statuses[0]).registered(),
                    provider("P", npi, &log).detaching_with(statuses[1]).registered(),
                ];
                modules[initiator].deregister();
                let order = if client_completes_first { [0, 1] } else { [1, 0] };
                let mut owed: Vec<_> = order.into_iter().filter(|side| statuses[*side] == STATUS_PENDING).collect();
                while !owed.is_empty() {
                    assert_eq!(cleanups(&log), [0, 0]);
                    modules[owed.remove(0)].binding(0).complete();
                }
                assert_eq!(cleanups(&log), [1, 1]);
                modules[initiator].waited();
            }
        }
    }
}

#[test]
fn r55_a_null_cleanup_callback_is_not_called() {
    for without in [[true, false], [false, true], [true, true]] {
        let session = Session::new();
        let log = Log::default();
        let npi = unique_npi();
        let (mut client, mut provider) = (client("C", npi, &log), provider("P", npi, &log));
        if without[0] {
            client = client.without_cleanup();
        }
        if without[1] {
            provider = provider.without_cleanup();
        }
        let modules = [client.registered(), provider.registered()];
        modules[0].end();
        modules[1].end();
        assert_eq!(cleanups(&log), without.map(|without| usize::from(!without)));
        assert!(session.report().is_empty());
        for (module, without) in modules.iter().zip(without) {
            if without {
                let context = module.attached.lock().unwrap()[0].0;
                // SAFETY: the default attach allocated it and no cleanup callback freed it (R59).
                drop(unsafe { Box::from_raw(context.cast::<Binding>()) });
            }
        }
    }
}

#[test]
fn r56_the_order_of_the_cleanups_is_fixed_or_drawn_from_the_seed() {
    let first = |seed| {
        let session = Session::new();
        session.set_seed(seed);
        let log = Log::default();
        let (client, _provider) = attached_pair(&log);
        client.end();
        log.calls().into_iter().find(|call| call.contains("Cleanup")).unwrap()
    };
    assert_eq!(first(None), "C.ClientCleanupBindingContext");
    assert_eq!((0..64).map(|seed| first(Some(seed))).collect::<BTreeSet<_>>().len(), 2);
}

#[test]
fn r56_cleanup_runs_on_the_thread_and_at_the_irql_of_the_last_completion() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let client = client("C", npi, &log).detaching_with(STATUS_PENDING).registered();
    let _provider = provider("P", npi, &log).registered();
    client.deregister();
    let binding = client.binding(0).handle();
    session.at_irql(DISPATCH_LEVEL, || complete(Side::Client, binding));
    client.waited();
    let entries = log.entries();
    let here = std::thread::current().id();
    assert!(entries.iter().filter(|e| e.callback.name().contains("Cleanup")).all(|e| e.irql == 2 && e.thread == here));
}

#[test]
fn r56_a_seed_may_move_cleanup_to_another_thread_at_the_same_irql() {
    let here = std::thread::current().id();
    let moved = |seed| {
        let session = Session::new();
        session.set_seed(Some(seed));
        let log = Log::default();
        let (client, _provider) = attached_pair(&log);
        session.at_irql(DISPATCH_LEVEL, || client.deregister());
        client.waited();
        let cleanup = log.entries().into_iter().find(|entry| entry.callback == Callback::ClientCleanupBindingContext);
        let cleanup = cleanup.expect("cleanup ran inside the deregistration");
        assert_eq!(cleanup.irql, DISPATCH_LEVEL);
        cleanup.thread != here
    };
    let moves: Vec<bool> = (0..16).map(moved).collect();
    assert!(moves.contains(&true) && moves.contains(&false), "{moves:?}");
    assert_eq!((0..16).map(moved).collect::<Vec<_>>(), moves, "a seed repeats its choice");
}

#[test]
fn r57_no_cleanup_after_a_rejected_attach() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut refusing = client("C", npi, &log);
    refusing.on_client_attach = Box::new(|_| STATUS_NOINTERFACE);
    let refusing = refusing.registered();
    let mut failing = provider("P", npi, &log);
    failing.on_provider_attach = Box::new(|_| STATUS_INSUFFICIENT_RESOURCES);
    let failing = failing.registered();
    let other = client("other", npi, &log).registered();
    [&refusing, &failing, &other].iter().for_each(|module| module.end());
    assert_eq!(cleanups(&log), [0, 0]);
}

#[test]
fn r58_cleanup_runs_inside_deregister_when_both_sides_are_done() {
    let _session = Session::new();
    let log = Log::default();
    let (client, provider) = attached_pair(&log);
    assert_eq!(provider.deregister(), STATUS_PENDING);
    assert_eq!(cleanups(&log), [1, 1]);
    provider.waited();
    client.end();
}

#[test]
fn r59_a_context_is_valid_up_to_and_including_cleanup() {
    // `Binding` contexts are freed in cleanup; the callbacks read them. AddressSanitizer is the judge of this test.
    let session = Session::new();
    for seed in 0..50 {
        session.set_seed(Some(seed));
        let log = Log::default();
        let (client, provider) = attached_pair(&log);
        provider.end();
        client.end();
        assert_eq!(cleanups(&log), [1, 1]);
    }
}

#[test]
fn r60_any_function_may_be_called_from_any_callback() {
    // Registers and ends a pair of its own inside each of the six callbacks, cleanup included.
    for callback in Callback::ALL {
        let _session = Session::new();
        let log = Log::default();
        let inner_log = Log::default();
        let npi = unique_npi();
        let (mut client, mut provider) = (client("C", npi, &log), provider("P", npi, &log));
        let log_inside = inner_log.clone();
        let inside = Arc::new(move || {
            let (client, provider) = attached_pair(&log_inside);
            client.end();
            provider.end();
        });
        let run = inside.clone();
        match callback {
            Callback::ClientAttachProvider => {
                client.on_client_attach = Box::new(move |offer| {
                    run();
                    offer.accept()
                });
            }
            Callback::ProviderAttachClient => {
                provider.on_provider_attach = Box::new(move |offer| {
                    run();
                    offer.accept()
                });
            }
            Callback::ClientDetachProvider | Callback::ProviderDetachClient => {
                let module = if callback.side() == Side::Client { &mut client } else { &mut provider };
                module.on_detach = Box::new(move |_, _| {
                    run();
                    STATUS_SUCCESS
                });
            }
            Callback::ClientCleanupBindingContext | Callback::ProviderCleanupBindingContext => {
                let module = if callback.side() == Side::Client { &mut client } else { &mut provider };
                module.on_cleanup = Box::new(move |_, context| {
                    run();
                    // SAFETY: the default attach allocated it, and cleanup is the last use.
                    drop(unsafe { Box::from_raw(context.cast::<Binding>()) });
                });
            }
        }
        let modules = [client.registered(), provider.registered()];
        modules.iter().for_each(|module| module.end());
        assert_eq!(cleanups(&inner_log), [1, 1], "{}", callback.name());
    }
}

#[test]
fn r60_deregistering_ones_own_registration_in_its_callbacks_works() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).registered();
    // With two bindings, the end of the first one deregisters the client, inside the provider's deregistration.
    let mut client = client("C", npi, &log);
    client.on_detach = Box::new(|module, _| {
        assert_eq!(module.deregister(), STATUS_PENDING);
        STATUS_SUCCESS
    });
    let client = client.registered();
    provider.end();
    client.waited();
    assert_eq!(cleanups(&log), [1, 1]);
}
