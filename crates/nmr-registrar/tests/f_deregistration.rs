//! The end of a registration: R61 to R74 of docs/nmr-rules.md.
//!
//! R72 speaks of drivers without an unload routine, which a registrar does not see.

mod support;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::time::Duration;

use nmr_registrar::{DISPATCH_LEVEL, Function, Place, Strictness};
use support::*;

fn cleanups(log: &Log) -> [usize; 2] {
    [log.count(Callback::ClientCleanupBindingContext), log.count(Callback::ProviderCleanupBindingContext)]
}

#[test]
fn r61_deregister_returns_pending_even_without_bindings() {
    let _session = Session::new();
    for module in [client("C", unique_npi(), &Log::default()), provider("P", unique_npi(), &Log::default())] {
        let module = module.registered();
        assert_eq!(module.deregister(), STATUS_PENDING);
        module.waited();
    }
    let (client, provider) = attached_pair(&Log::default());
    assert_eq!(client.deregister(), STATUS_PENDING);
    client.waited();
    provider.end();
}

#[test]
fn r62_a_wait_before_deregister_or_with_a_bad_handle_is_refused() {
    let session = Session::new();
    let (client, provider) = attached_pair(&Log::default());
    assert_eq!(client.wait(), STATUS_INVALID_PARAMETER);
    let violation = session.expect_violation(62);
    assert_eq!(violation.module.map(|module| module.registration), Some(client.handle().addr()));
    assert_eq!(wait(Side::Client, null_mut()), STATUS_INVALID_PARAMETER);
    session.expect_violation(68);
    assert_eq!(wait(Side::Client, 0x1000 as *mut c_void), STATUS_INVALID_PARAMETER);
    session.expect_violation(68);
    // Nothing happened to the registration.
    client.end();
    provider.end();
}

#[test]
fn r63_wait_covers_cleanup_callbacks_and_attach_callbacks() {
    let session = Session::new();
    for callback in [Callback::ClientCleanupBindingContext, Callback::ProviderCleanupBindingContext] {
        let (client, provider) = attached_pair(&Log::default());
        let parked = session.pause(When::After, callback);
        assert!(!parked.is_reached());
        std::thread::scope(|scope| {
            let deregistering = scope.spawn(|| client.deregister());
            parked.wait_until_reached();
            assert!(parked.is_reached());
            provider.deregister();
            let waits = [&client, &provider].map(|module| scope.spawn(|| module.waited()));
            std::thread::sleep(Duration::from_millis(10));
            assert!(waits.iter().all(|wait| !wait.is_finished()));
            parked.resume();
            deregistering.join().unwrap();
        });
    }
    // A rejected offer is still in the client's callback.
    let npi = unique_npi();
    let log = Log::default();
    let provider = provider("P", npi, &log).registered();
    let mut refusing = client("C", npi, &log);
    refusing.on_client_attach = Box::new(|_| STATUS_NOINTERFACE);
    let parked = session.pause(When::After, Callback::ClientAttachProvider);
    std::thread::scope(|scope| {
        let registering = scope.spawn(|| refusing.register());
        parked.wait_until_reached();
        provider.deregister();
        let waiting = scope.spawn(|| provider.waited());
        std::thread::sleep(Duration::from_millis(10));
        assert!(!waiting.is_finished());
        parked.resume();
        assert_eq!(registering.join().unwrap(), STATUS_SUCCESS);
    });
}

#[test]
fn r64_wait_needs_a_level_below_dispatch() {
    let session = Session::new();
    let client = client("C", unique_npi(), &Log::default()).registered();
    session.at_irql(DISPATCH_LEVEL, || {
        client.deregister();
        client.waited();
    });
    assert_eq!(session.expect_violation(64).place, Place::Function(Function::WaitForClientDeregisterComplete));
}

#[test]
fn r65_an_image_that_goes_away_with_a_registration_is_reported_and_never_called_again() {
    let session = Session::new();
    let log = Log::default();
    let (client, provider) = attached_pair(&log);
    log.clear();
    let callback = client.client.ClientDetachProvider.map_or(0, |callback| callback as usize);
    let image = callback..callback + 1;
    session.name_image("client.sys", image.clone());
    assert_eq!(session.unload_image(image), 1);
    let violation = session.expect_violation(65);
    assert_eq!(violation.place, Place::ImageUnload);
    assert_eq!(violation.module.map(|module| module.registration), Some(client.handle().addr()));
    // The provider gets its two callbacks; the client's two are reported instead of made.
    provider.end();
    assert_eq!(log.calls(), ["P.ProviderDetachClient", "P.ProviderCleanupBindingContext"]);
    assert_eq!(session.expect_violation(65).place, Place::Callback(Callback::ClientDetachProvider));
    assert_eq!(session.expect_violation(65).place, Place::Callback(Callback::ClientCleanupBindingContext));
    client.end();
    let context = client.attached.lock().unwrap()[0].0;
    // SAFETY: the default attach allocated it, and its cleanup callback was not called.
    drop(unsafe { Box::from_raw(context.cast::<Binding>()) });
}

#[test]
fn violations_name_the_image() {
    let session = Session::new();
    let client = client("C", unique_npi(), &Log::default()).registered();
    let callback = client.client.ClientAttachProvider.map_or(0, |callback| callback as usize);
    session.name_image("client.sys", callback..callback + 1);
    client.wait();
    assert_eq!(session.expect_violation(62).module.and_then(|module| module.image).as_deref(), Some("client.sys"));
}

#[test]
fn r66_a_second_deregister_is_reported_strictly_and_tolerated_leniently() {
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let session = Session::new();
        session.set_strictness(strictness);
        let (client, provider) = attached_pair(&Log::default());
        assert_eq!(client.deregister(), STATUS_PENDING);
        assert_eq!(client.deregister(), STATUS_PENDING);
        client.waited();
        provider.end();
        if strictness == Strictness::Strict {
            session.expect_violation(66);
        }
    }
}

#[test]
fn r66_a_second_wait_is_reported_strictly_and_both_end() {
    for (strictness, reported) in [(Strictness::Strict, true), (Strictness::Lenient, false)] {
        let session = Session::new();
        session.set_strictness(strictness);
        let log = Log::default();
        let npi = unique_npi();
        let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
        let client = client("C", npi, &log).registered();
        let handle = client.handle().addr();
        client.deregister();
        let waiters = || {
            let report = session.report();
            report.registrations.iter().find(|of| of.module.registration == handle).map(|of| of.waiters)
        };
        std::thread::scope(|scope| {
            let waits = [1, 2].map(|count| {
                let wait = scope.spawn(|| client.wait());
                while waiters() != Some(count) {
                    std::thread::yield_now();
                }
                wait
            });
            provider.binding(0).complete();
            assert_eq!(waits.map(|wait| wait.join().unwrap()), [STATUS_SUCCESS; 2]);
        });
        client.handle.store(null_mut(), std::sync::atomic::Ordering::SeqCst);
        let found = session.take_violation(66).map(|violation| violation.found);
        assert_eq!(found.as_deref(), reported.then_some("another thread already waits for this registration"));
        provider.end();
    }
}

#[test]
fn r66_a_handle_is_dead_after_its_wait() {
    let session = Session::new();
    for side in [Side::Client, Side::Provider] {
        let (client, provider) = attached_pair(&Log::default());
        let module = if side == Side::Client { &client } else { &provider };
        let handle = module.handle();
        module.end();
        assert_eq!(deregister(side, handle), STATUS_INVALID_PARAMETER);
        session.expect_violation(66);
        assert_eq!(wait(side, handle), STATUS_INVALID_PARAMETER);
        session.expect_violation(66);
        // Not even when the place has been taken again.
        assert_eq!(module.register(), STATUS_SUCCESS);
        assert_ne!(module.handle(), handle);
        assert_eq!(deregister(side, handle), STATUS_INVALID_PARAMETER);
        session.expect_violation(66);
    }
}

#[test]
fn r66_a_deregistration_without_a_wait_is_a_leak() {
    let session = Session::new();
    let client = client("C", unique_npi(), &Log::default()).registered();
    client.deregister();
    let outcome = session.finish();
    assert_eq!(outcome.leaks.registrations.len(), 1);
    assert!(outcome.leaks.to_string().contains("not waited for"), "{}", outcome.leaks);
    client.handle.store(null_mut(), std::sync::atomic::Ordering::SeqCst);
}

#[test]
fn r67_both_sides_deregister_at_once_and_both_waits_end() {
    for _ in 0..200 {
        let session = Session::new();
        let log = Log::default();
        let npi = unique_npi();
        let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
        let client = client("C", npi, &log).registered();
        std::thread::scope(|scope| {
            scope.spawn(|| client.end());
            scope.spawn(|| provider.end());
            while session.report().pending_parts() == 0 {
                std::thread::yield_now();
            }
            provider.binding(0).complete();
        });
        assert_eq!(cleanups(&log), [1, 1]);
    }
}

#[test]
fn r68_null_and_foreign_registration_handles_are_recognised() {
    let session = Session::new();
    let garbage = [null_mut(), 8 as *mut c_void, usize::MAX as *mut c_void, (&raw const session).cast_mut().cast()];
    for side in [Side::Client, Side::Provider] {
        for handle in garbage {
            assert_eq!(deregister(side, handle), STATUS_INVALID_PARAMETER);
            let violation = session.expect_violation(68);
            assert_eq!(violation.module, None);
        }
    }
}

#[test]
fn r69_the_end_of_one_registration_leaves_the_others_alone() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _provider = provider("P", npi, &log).registered();
    let clients = [client("C", npi, &log).registered(), client("C", npi, &log).registered()];
    clients[0].end();
    assert_eq!(session.report().registrations.len(), 2);
    assert_eq!(session.report().bindings.len(), 1);
    assert_eq!(log.count(Callback::ClientDetachProvider), 1);
}

#[test]
fn r70_a_wait_lasts_until_the_peers_pending_part_is_done_and_says_so() {
    let session = Session::new();
    session.set_slow_wait(Duration::from_millis(5));
    let npi = unique_npi();
    let log = Log::default();
    let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
    let client = client("C", npi, &log).registered();
    client.deregister();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.waited());
        while session.slow_waits().is_empty() {
            std::thread::yield_now();
        }
        assert!(!waiting.is_finished());
        provider.binding(0).complete();
    });
    let slow = &session.slow_waits()[0];
    assert_eq!(slow.module.side, Side::Client);
    assert!(slow.waited >= Duration::from_millis(5));
    assert_eq!(slow.bindings[0].pending().collect::<Vec<_>>(), [Side::Provider]);
    assert!(slow.to_string().contains("provider pending"), "{slow}");
}

#[test]
fn r71_a_module_registers_again_and_gets_new_bindings() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
    // Each older binding is still detaching when the next one is offered.
    let clients = ["1", "2", "3"].map(|name| {
        let client = client(name, npi, &log).registered();
        client.deregister();
        client
    });
    assert_eq!(session.report().bindings.len(), 3);
    let handles: Vec<_> = (0..3).map(|index| provider.binding(index).handle()).collect();
    assert!(handles[0] != handles[1] && handles[1] != handles[2]);
    handles.into_iter().for_each(|handle| complete(Side::Provider, handle));
    clients.iter().for_each(|client| client.waited());

    let (client, other) = attached_pair(&log);
    for round in 1..=3 {
        assert_eq!(other.attached.lock().unwrap().len(), round);
        client.end();
        assert_eq!(client.register(), STATUS_SUCCESS);
    }
}

#[test]
fn r73_undoing_a_registration_before_failing_leaves_nothing() {
    let session = Session::new();
    let client = client("C", unique_npi(), &Log::default()).registered();
    client.end();
    assert!(session.report().is_empty());
}

#[test]
fn r74_a_wait_inside_a_callback_of_the_same_registration_is_refused() {
    for callback in Callback::ALL {
        let session = Session::new();
        let log = Log::default();
        let npi = unique_npi();
        let (mut client, mut provider) = (client("C", npi, &log), provider("P", npi, &log));
        // The handle is not known inside the attach callbacks of the registration itself: they wait for the peer.
        fn wait_inside(module: &Module) {
            assert_eq!(module.deregister(), STATUS_PENDING);
            assert_eq!(module.wait(), STATUS_INVALID_PARAMETER);
        }
        match callback {
            Callback::ClientAttachProvider => {
                let peer = Pointer((&raw const *provider).cast_mut().cast());
                client.on_client_attach = Box::new(move |offer| {
                    let peer = peer;
                    // SAFETY: the provider outlives the test's client.
                    wait_inside(unsafe { &*peer.0.cast::<Module>() });
                    offer.accept()
                });
            }
            Callback::ProviderAttachClient => {
                // The provider is there first, so its handle is known.
                provider.on_provider_attach = Box::new(|offer| {
                    wait_inside(offer.module);
                    offer.accept()
                });
            }
            Callback::ClientDetachProvider => {
                client.on_detach = Box::new(|module, _| {
                    wait_inside(module);
                    STATUS_SUCCESS
                });
            }
            Callback::ProviderDetachClient => {
                provider.on_detach = Box::new(|module, _| {
                    assert_eq!(module.wait(), STATUS_INVALID_PARAMETER);
                    STATUS_SUCCESS
                });
            }
            Callback::ClientCleanupBindingContext | Callback::ProviderCleanupBindingContext => {
                let (module, other) =
                    if callback.side() == Side::Client { (&mut client, &provider) } else { (&mut provider, &client) };
                let other = Pointer((&raw const **other).cast_mut().cast());
                module.on_cleanup = Box::new(move |module, context| {
                    let other = other;
                    // SAFETY: both modules outlive their binding.
                    let other = unsafe { &*other.0.cast::<Module>() };
                    let deregistering = if module.side == Side::Provider { module } else { other };
                    assert_eq!(deregistering.wait(), STATUS_INVALID_PARAMETER);
                    // SAFETY: the default attach allocated it, and cleanup is the last use.
                    drop(unsafe { Box::from_raw(context.cast::<Binding>()) });
                });
            }
        }
        let provider = provider.registered();
        let client = client.registered();
        if callback != Callback::ClientAttachProvider && callback != Callback::ProviderAttachClient {
            assert_eq!(provider.deregister(), STATUS_PENDING);
        }
        let violation = session.expect_violation(74);
        assert!(violation.found.contains(callback.name()), "{violation}");
        provider.waited();
        if callback == Callback::ClientDetachProvider {
            client.waited();
        }
    }
}

#[test]
fn lenient_mode_still_reports_what_windows_does_not_tolerate() {
    let session = Session::new();
    session.set_strictness(Strictness::Lenient);
    let (client, provider) = attached_pair(&Log::default());
    assert_eq!(client.wait(), STATUS_INVALID_PARAMETER);
    session.expect_violation(62);
    complete(Side::Client, client.handle());
    session.expect_violation(52);
    assert_eq!(deregister(Side::Client, null_mut()), STATUS_INVALID_PARAMETER);
    session.expect_violation(68);
    client.end();
    provider.end();
}

#[test]
fn a_report_says_how_far_a_deregistration_is() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
    let client = client("C", npi, &log).registered();
    let is_told = |parts: &[&str]| {
        let report = session.report().to_string();
        assert!(parts.iter().all(|part| report.contains(part)), "no {parts:?} in {report}");
    };
    is_told(&["2 registrations, 1 bindings, 0 pending parts", ": registered for ", "attached, offered "]);
    client.deregister();
    is_told(&[": deregistering for ", "client done, provider pending, its detach began "]);
    provider.binding(0).complete();
    is_told(&[
        "2 registrations, 0 bindings, 0 pending parts",
        ": deregistered ",
        " ago and not waited for, 0 bindings",
    ]);
    client.waited();
    provider.end();
}

#[test]
fn a_session_fails_its_test_with_what_was_broken_alone_and_with_what_is_left_alone() {
    let client = client("C", unique_npi(), &Log::default());
    let message = |broken: bool| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let session = Session::new();
            assert_eq!(client.register(), STATUS_SUCCESS);
            if broken {
                assert_eq!(client.wait(), STATUS_INVALID_PARAMETER);
                client.end();
            }
            drop(session);
        }));
        client.handle.store(null_mut(), std::sync::atomic::Ordering::SeqCst);
        *outcome.expect_err("the session must fail").downcast::<String>().expect("a formatted message")
    };
    let broken = message(true);
    assert!(broken.contains("R62 broken") && !broken.contains("still alive"), "{broken}");
    let left = message(false);
    assert!(left.contains("still alive: 1 registrations") && !left.contains("broken"), "{left}");
}

#[test]
fn a_session_fails_its_test_with_what_was_broken_and_what_is_left() {
    let client = client("C", unique_npi(), &Log::default());
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let session = Session::new();
        session.set_seed(Some(42));
        assert_eq!(client.register(), STATUS_SUCCESS);
        assert_eq!(client.wait(), STATUS_INVALID_PARAMETER);
        drop(session);
    }));
    client.handle.store(null_mut(), std::sync::atomic::Ordering::SeqCst);
    let message = *outcome.expect_err("the session must fail").downcast::<String>().expect("a formatted message");
    for part in [
        "NMR_REGISTRAR_SEED=42",
        "R62 broken in NmrWaitForClientDeregisterComplete",
        "expected:",
        "1 registrations",
        "client module {6D6F6475",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}

#[test]
fn faults_in_deregister_and_wait_change_nothing() {
    let session = Session::new();
    let (client, provider) = attached_pair(&Log::default());
    session.fail(Function::DeregisterClient, 0, STATUS_INSUFFICIENT_RESOURCES);
    assert_eq!(client.deregister(), STATUS_INSUFFICIENT_RESOURCES);
    assert_eq!(session.report().bindings.len(), 1);
    assert_eq!(client.deregister(), STATUS_PENDING);
    session.fail(Function::WaitForClientDeregisterComplete, 0, STATUS_INSUFFICIENT_RESOURCES);
    assert_eq!(client.wait(), STATUS_INSUFFICIENT_RESOURCES);
    client.waited();
    session.fail(Function::DeregisterProvider, 1, STATUS_INSUFFICIENT_RESOURCES);
    provider.end();
    assert_eq!(provider.register(), STATUS_SUCCESS);
    assert_eq!(provider.deregister(), STATUS_INSUFFICIENT_RESOURCES);
    provider.end();
}
