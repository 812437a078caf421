//! Detach callbacks and their completion: R43 to R54 of docs/nmr-rules.md.
//!
//! R43, R44 and R50 are promises of a module about calls that NMR does not see: the tests report those calls, as the
//! dispatch functions of a peer would.

mod support;
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use nmr_registrar::{DISPATCH_LEVEL, Function, Place, Strictness, registrar};
use support::*;

/// An attached pair whose `side` answers its detach callback with `on_detach`, the other with STATUS_SUCCESS.
fn pair(
    log: &Log,
    side: Side,
    on_detach: impl Fn(&Module, *mut std::ffi::c_void) -> NTSTATUS + Send + Sync + 'static,
) -> [Box<Module>; 2] {
    let npi = unique_npi();
    let (mut client, mut provider) = (client("C", npi, log), provider("P", npi, log));
    match side {
        Side::Client => client.on_detach = Box::new(on_detach),
        Side::Provider => provider.on_detach = Box::new(on_detach),
    }
    [client.registered(), provider.registered()]
}

fn cleanups(log: &Log) -> [usize; 2] {
    [log.count(Callback::ClientCleanupBindingContext), log.count(Callback::ProviderCleanupBindingContext)]
}

const SIDES: [Side; 2] = [Side::Client, Side::Provider];

/// Ends the registrations of a pair.
fn end(modules: &[Box<Module>; 2]) {
    modules.iter().for_each(|module| assert_eq!(module.deregister(), STATUS_PENDING));
    modules.iter().for_each(|module| module.waited());
}

#[test]
fn r43_a_call_after_the_part_of_the_detach_is_done_is_reported() {
    for side in SIDES {
        let session = Session::new();
        session.set_strictness(Strictness::Lenient);
        let log = Log::default();
        // The other side pends, so the binding is still there.
        let modules = pair(&log, side.peer(), |_, _| STATUS_PENDING);
        let handle = modules[side as usize].binding(0).handle();
        assert!(registrar().call_begins(handle, side), "nobody detaches yet");
        assert!(registrar().call_returns(handle, side, STATUS_SUCCESS));
        modules[0].deregister();
        // R51: the side that is not done may go on.
        assert!(registrar().call_begins(handle, side.peer()));
        assert!(registrar().call_returns(handle, side.peer(), STATUS_SUCCESS));
        assert!(!registrar().call_begins(handle, side));
        assert!(registrar().call_returns(handle, side, STATUS_SUCCESS));
        let violation = session.expect_violation(43);
        let module = violation.module.expect("it is known whose call it is");
        assert_eq!((violation.place, module.side, violation.binding), (Place::Call, side, Some(handle.addr())));
        complete(side.peer(), handle);
        assert!(!registrar().call_begins(handle, side));
        let gone = session.expect_violation(43);
        assert_eq!((gone.module, &*gone.found), (None, "a module called its peer after the end of their binding"));
        modules[1].deregister();
        modules.iter().for_each(|module| module.waited());
    }
}

#[test]
fn r43_a_call_after_the_detach_callback_is_reported_strictly_while_the_detach_is_pending() {
    for (strictness, reported) in [(Strictness::Strict, true), (Strictness::Lenient, false)] {
        let session = Session::new();
        session.set_strictness(strictness);
        let log = Log::default();
        let modules = pair(&log, Side::Client, |_, _| STATUS_PENDING);
        let handle = modules[0].binding(0).handle();
        assert!(registrar().call_begins(handle, Side::Client));
        modules[1].deregister();
        // On another thread it may have been counted before the callback was called.
        std::thread::scope(|scope| {
            let handle = Pointer(handle);
            scope.spawn(move || {
                let Pointer(handle) = { handle };
                registrar().calling(handle, Side::Client, || STATUS_SUCCESS)
            });
        });
        assert_eq!(session.violations(), []);
        registrar().calling(handle, Side::Client, || STATUS_SUCCESS);
        assert_eq!(session.take_violation(43).is_some(), reported);
        assert!(registrar().call_returns(handle, Side::Client, STATUS_SUCCESS));
        complete(Side::Client, handle);
        modules[0].deregister();
        modules.iter().for_each(|module| module.waited());
    }
}

#[test]
fn r43_a_call_inside_the_detach_callback_is_reported() {
    let session = Session::new();
    let log = Log::default();
    let call = |_: &Module, context: *mut std::ffi::c_void| {
        // SAFETY: the default attach allocated it; it is freed in cleanup.
        let binding = unsafe { &*context.cast::<Binding>() };
        registrar().calling(binding.handle(), Side::Provider, || STATUS_SUCCESS)
    };
    end(&pair(&log, Side::Provider, call));
    assert_eq!(session.expect_violation(43).found, "it called its peer inside its detach callback");
}

#[test]
fn r43_a_call_of_another_thread_while_the_detach_callback_runs_is_not_reported() {
    for side in SIDES {
        let _session = Session::new();
        let log = Log::default();
        let call = move |_: &Module, context: *mut std::ffi::c_void| {
            // SAFETY: the default attach allocated it; it is freed in cleanup.
            let handle = Pointer(unsafe { &*context.cast::<Binding>() }.handle());
            let thread = std::thread::spawn(move || {
                let Pointer(handle) = { handle };
                registrar().calling(handle, side, || STATUS_SUCCESS)
            });
            thread.join().unwrap()
        };
        end(&pair(&log, side, call));
    }
}

#[test]
fn r44_success_while_a_call_is_in_progress_is_reported() {
    for side in SIDES {
        let session = Session::new();
        session.set_strictness(Strictness::Lenient);
        let log = Log::default();
        let modules = pair(&log, side, |_, _| STATUS_SUCCESS);
        let handle = modules[side as usize].binding(0).handle();
        assert!(registrar().call_begins(handle, side));
        end(&modules);
        let violation = session.expect_violation(44);
        assert_eq!(
            violation.place,
            Place::Callback([Callback::ClientDetachProvider, Callback::ProviderDetachClient][side as usize])
        );
        assert_eq!(violation.module.map(|module| module.side), Some(side));
        assert!(!registrar().call_returns(handle, side, STATUS_SUCCESS), "the binding is gone");
    }
}

#[test]
fn r44_pending_without_a_call_in_progress_is_reported_strictly() {
    for (strictness, reported) in [(Strictness::Strict, true), (Strictness::Lenient, false)] {
        let session = Session::new();
        session.set_strictness(strictness);
        let log = Log::default();
        let modules = pair(&log, Side::Client, |_, _| STATUS_PENDING);
        let handle = modules[0].binding(0).handle();
        registrar().calling(handle, Side::Client, || STATUS_SUCCESS);
        modules[0].deregister();
        complete(Side::Client, handle);
        assert_eq!(session.take_violation(44).is_some(), reported);
        modules[1].deregister();
        modules.iter().for_each(|module| module.waited());
    }
}

#[test]
fn r44_pending_is_right_while_a_call_is_in_progress() {
    let _session = Session::new();
    let log = Log::default();
    let modules = pair(&log, Side::Client, |_, _| STATUS_PENDING);
    let handle = modules[0].binding(0).handle();
    registrar().calling(handle, Side::Client, || {
        modules[0].deregister();
        STATUS_SUCCESS
    });
    complete(Side::Client, handle);
    modules[1].deregister();
    modules.iter().for_each(|module| module.waited());
}

#[test]
fn r45_complete_while_a_call_is_in_progress_is_reported() {
    let session = Session::new();
    let log = Log::default();
    let modules = pair(&log, Side::Provider, |_, _| STATUS_PENDING);
    let handle = modules[1].binding(0).handle();
    assert!(registrar().call_begins(handle, Side::Provider));
    modules[0].deregister();
    complete(Side::Provider, handle);
    assert!(session.expect_violation(45).found.contains("a call into the peer was in progress"));
    modules[1].deregister();
    modules.iter().for_each(|module| module.waited());
}

#[test]
fn r50_a_pended_call_is_in_progress_until_it_completes() {
    for side in SIDES {
        let session = Session::new();
        let log = Log::default();
        // Success although a call that returned STATUS_PENDING is not complete.
        let modules = pair(&log, side, |_, _| STATUS_SUCCESS);
        let handle = modules[side as usize].binding(0).handle();
        assert_eq!(registrar().calling(handle, side, || STATUS_PENDING), STATUS_PENDING);
        end(&modules);
        assert!(session.expect_violation(50).found.contains("a pended call"));
        assert!(!registrar().call_completes(handle, side), "the binding is gone");
        // Complete too early.
        let modules = pair(&log, side, |_, _| STATUS_PENDING);
        let handle = modules[side as usize].binding(0).handle();
        registrar().calling(handle, side, || STATUS_PENDING);
        modules[0].deregister();
        complete(side, handle);
        assert!(session.expect_violation(50).found.starts_with("the Complete function"));
        modules[1].deregister();
        modules.iter().for_each(|module| module.waited());
        // As it should be.
        let modules = pair(&log, side, |_, _| STATUS_PENDING);
        let handle = modules[side as usize].binding(0).handle();
        registrar().calling(handle, side, || STATUS_PENDING);
        modules[0].deregister();
        assert!(registrar().call_completes(handle, side));
        assert!(!registrar().call_completes(handle, side), "there is one only");
        complete(side, handle);
        modules[1].deregister();
        modules.iter().for_each(|module| module.waited());
    }
}

#[test]
fn a_report_of_a_call_needs_a_binding_handle() {
    let session = Session::new();
    let log = Log::default();
    let client = client("C", unique_npi(), &log).registered();
    assert!(!registrar().call_begins(client.handle(), Side::Client));
    assert_eq!(session.expect_violation(43).expected, "a binding handle");
    assert!(!registrar().call_returns(client.handle(), Side::Client, STATUS_SUCCESS));
}

#[test]
fn a_delayed_cleanup_comes_after_the_complete_function_and_before_the_end_of_the_wait() {
    for side in SIDES {
        let session = Session::new();
        let log = Log::default();
        let function = [Function::ClientDetachProviderComplete, Function::ProviderDetachClientComplete][side as usize];
        let modules = pair(&log, side, |_, _| STATUS_PENDING);
        let delay = session.delay(function, 0);
        modules.iter().for_each(|module| assert_eq!(module.deregister(), STATUS_PENDING));
        assert!(!delay.is_reached());
        modules[side as usize].binding(0).complete();
        assert!(delay.is_reached());
        assert_eq!((cleanups(&log), session.report().bindings.len()), ([0, 0], 1));
        std::thread::scope(|scope| {
            let wait = scope.spawn(|| modules[0].waited());
            std::thread::sleep(std::time::Duration::from_millis(10));
            assert!(!wait.is_finished(), "the cleanup has not run");
            delay.release();
        });
        modules[1].waited();
        assert_eq!(cleanups(&log), [1, 1]);
    }
}

#[test]
fn a_delay_is_for_the_cleanup_of_its_number_and_function() {
    let session = Session::new();
    let log = Log::default();
    let modules = pair(&log, Side::Client, |_, _| STATUS_PENDING);
    let delay = session.delay(Function::ClientDetachProviderComplete, 1);
    let other = session.delay(Function::ProviderDetachClientComplete, 0);
    for (round, ran, is_reached) in [(0, 1, false), (1, 1, true)] {
        let handle = modules[0].binding(round).handle();
        modules[0].deregister();
        complete(Side::Client, handle);
        assert_eq!((cleanups(&log), delay.is_reached(), other.is_reached()), ([ran; 2], is_reached, false));
        if round == 0 {
            modules[0].waited();
            assert_eq!(modules[0].register(), STATUS_SUCCESS);
        }
    }
    delay.release();
    assert_eq!(cleanups(&log), [2, 2]);
    modules[1].deregister();
    modules.iter().for_each(|module| module.waited());
}

#[test]
fn a_delay_lets_cleanups_before_it_run_in_time_and_ends_with_its_value() {
    let session = Session::new();
    let log = Log::default();
    let delay = session.delay(Function::ClientDetachProviderComplete, 1);
    let modules = pair(&log, Side::Client, |_, _| STATUS_PENDING);
    let handle = modules[0].binding(0).handle();
    modules[0].deregister();
    complete(Side::Client, handle);
    assert_eq!((cleanups(&log), delay.is_reached()), ([1, 1], false));
    drop(delay);
    modules[0].waited();
    assert_eq!(modules[0].register(), STATUS_SUCCESS);
    let handle = modules[0].binding(1).handle();
    modules[0].deregister();
    complete(Side::Client, handle);
    assert_eq!(cleanups(&log), [2, 2]);
    modules[1].deregister();
    modules.iter().for_each(|module| module.waited());
}

#[test]
fn r45_a_pending_part_keeps_the_binding_and_both_deregistrations_open() {
    for side in [Side::Client, Side::Provider] {
        let session = Session::new();
        let log = Log::default();
        let modules = pair(&log, side, |_, _| STATUS_PENDING);
        let pending = &modules[side as usize];
        modules.iter().for_each(|module| assert_eq!(module.deregister(), STATUS_PENDING));
        std::thread::scope(|scope| {
            let waits: Vec<_> = modules.iter().map(|module| scope.spawn(|| module.waited())).collect();
            std::thread::sleep(std::time::Duration::from_millis(10));
            assert!(waits.iter().all(|wait| !wait.is_finished()));
            assert_eq!((session.report().pending_parts(), cleanups(&log)), (1, [0, 0]));
            pending.binding(0).complete();
        });
        assert_eq!(cleanups(&log), [1, 1]);
    }
}

#[test]
fn r45_a_second_complete_is_reported() {
    for side in [Side::Client, Side::Provider] {
        let session = Session::new();
        let log = Log::default();
        let modules = pair(&log, side, |_, _| STATUS_PENDING);
        let handle = modules[side as usize].binding(0).handle();
        modules[0].deregister();
        complete(side, handle);
        complete(side, handle);
        assert_eq!(session.expect_violation(45).module, None, "the binding is gone, so nobody knows whose it was");
        modules[0].waited();
        assert_eq!(cleanups(&log), [1, 1]);
    }
}

#[test]
fn r45_completing_an_offer_that_has_not_attached_is_reported() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        complete(Side::Client, offer.handle);
        offer.accept()
    });
    let client = client.registered();
    session.expect_violation(45);
    client.end();
    assert_eq!(cleanups(&log), [1, 1]);
}

#[test]
fn r46_complete_after_success_is_reported() {
    for side in [Side::Client, Side::Provider] {
        let session = Session::new();
        let log = Log::default();
        // The peer pends, so that the binding is still there.
        let modules = pair(&log, side.peer(), |_, _| STATUS_PENDING);
        modules[0].deregister();
        modules[side as usize].binding(0).complete();
        let violation = session.expect_violation(46);
        assert_eq!(violation.module.map(|module| module.side), Some(side));
        assert_eq!(cleanups(&log), [0, 0]);
        modules[side.peer() as usize].binding(0).complete();
        modules[0].waited();
    }
}

#[test]
fn r46_complete_in_a_callback_that_then_returns_success_is_reported() {
    let session = Session::new();
    let log = Log::default();
    let modules = pair(&log, Side::Client, |module, _| {
        module.binding(0).complete();
        STATUS_SUCCESS
    });
    modules[1].end();
    assert_eq!(session.expect_violation(46).place, Place::Callback(Callback::ClientDetachProvider));
    assert_eq!(cleanups(&log), [1, 1]);
}

#[test]
fn r47_complete_inside_the_detach_callback_counts() {
    for side in [Side::Client, Side::Provider] {
        let _session = Session::new();
        let log = Log::default();
        let modules = pair(&log, side, |module, _| {
            module.binding(0).complete();
            STATUS_PENDING
        });
        modules[0].end();
        assert_eq!(cleanups(&log), [1, 1]);
    }
}

#[test]
fn r47_complete_on_another_thread_before_the_callback_returns_counts_on_both_sides() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let client = client("C", npi, &log).detaching_with(STATUS_PENDING).registered();
    let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
    let client_parked = session.pause(When::After, Callback::ClientDetachProvider);
    let provider_parked = session.pause(When::After, Callback::ProviderDetachClient);
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| client.end());
        client_parked.wait_until_reached();
        client.binding(0).complete();
        client_parked.resume();
        provider_parked.wait_until_reached();
        assert_eq!(cleanups(&log), [0, 0], "not while a detach callback is running");
        provider.binding(0).complete();
        assert_eq!(cleanups(&log), [0, 0], "not while a detach callback is running");
        provider_parked.resume();
        ending.join().unwrap();
    });
    assert_eq!(cleanups(&log), [1, 1]);
}

#[test]
fn r48_complete_before_the_detach_is_tolerated_leniently_and_reported_strictly() {
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let session = Session::new();
        session.set_strictness(strictness);
        let log = Log::default();
        let modules = pair(&log, Side::Provider, |_, _| STATUS_PENDING);
        modules[1].binding(0).complete();
        assert_eq!(cleanups(&log), [0, 0]);
        modules[1].end();
        assert_eq!(cleanups(&log), [1, 1]);
        if strictness == Strictness::Strict {
            session.expect_violation(48);
        }
    }
}

#[test]
fn r49_other_statuses_count_as_done() {
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let session = Session::new();
        session.set_strictness(strictness);
        let log = Log::default();
        let modules = pair(&log, Side::Client, |_, _| STATUS_INVALID_PARAMETER);
        modules[0].end();
        assert_eq!(cleanups(&log), [1, 1]);
        if strictness == Strictness::Strict {
            session.expect_violation(49);
        }
    }
}

#[test]
fn r51_a_detached_sides_context_is_not_cleaned_up_while_the_peer_is_pending() {
    let _session = Session::new();
    let log = Log::default();
    let modules = pair(&log, Side::Provider, |_, _| STATUS_PENDING);
    modules[0].deregister();
    // The client has returned STATUS_SUCCESS. The provider still calls it: its context and table have to be there.
    let context = modules[1].binding(0).peer_context.load(Ordering::SeqCst).cast::<Binding>();
    // SAFETY: the client's context lives until its cleanup callback, which has not run.
    assert_eq!(unsafe { &*context }.module().name, "C");
    assert_eq!(cleanups(&log), [0, 0]);
    modules[1].binding(0).complete();
    modules[0].waited();
}

#[test]
fn r52_the_wrong_kind_of_handle_is_recognised() {
    let session = Session::new();
    let (client, provider) = attached_pair(&Log::default());
    let binding = client.binding(0).handle();
    complete(Side::Client, client.handle());
    assert!(session.expect_violation(52).found.contains("client registration handle"));
    complete(Side::Provider, provider.handle());
    assert!(session.expect_violation(52).found.contains("provider registration handle"));
    assert_eq!(deregister(Side::Client, binding), STATUS_INVALID_PARAMETER);
    assert!(session.expect_violation(52).found.contains("binding handle"));
    assert_eq!(deregister(Side::Client, provider.handle()), STATUS_INVALID_PARAMETER);
    session.expect_violation(52);
    assert_eq!(wait(Side::Provider, client.handle()), STATUS_INVALID_PARAMETER);
    session.expect_violation(52);
    let offer = ClientOffer { module: &client, handle: client.handle(), instance: std::ptr::null() };
    assert_eq!(offer.attach(null_mut(), std::ptr::null()), STATUS_INVALID_PARAMETER);
    session.expect_violation(52);
    complete(Side::Client, null_mut());
    assert!(session.expect_violation(52).found.contains("NULL"));
    complete(Side::Client, (&raw const *client).cast_mut().cast());
    assert!(session.expect_violation(52).found.contains("never gave out"));
}

#[test]
fn r52_the_other_sides_complete_function_is_the_other_sides_business() {
    // Both sides may be given one handle value (R30), so this is seen as the peer's early completion.
    let session = Session::new();
    let log = Log::default();
    let modules = pair(&log, Side::Client, |_, _| STATUS_PENDING);
    modules[0].deregister();
    complete(Side::Provider, modules[0].binding(0).handle());
    session.expect_violation(46);
    modules[0].binding(0).complete();
    modules[0].waited();
}

#[test]
fn r53_cleanup_runs_inside_the_last_complete() {
    let session = Session::new();
    let log = Log::default();
    let modules = pair(&log, Side::Client, |_, _| STATUS_PENDING);
    modules[0].deregister();
    let binding = modules[0].binding(0).handle();
    std::thread::scope(|scope| {
        let completing = scope.spawn(|| {
            modules[0].binding(0).complete();
            cleanups(&log)
        });
        let thread = completing.thread().id();
        assert_eq!(completing.join().unwrap(), [1, 1]);
        let entries = log.entries();
        assert!(entries[entries.len() - 2..].iter().all(|entry| entry.thread == thread));
    });
    // Nothing of the binding may be used any more.
    complete(Side::Client, binding);
    session.expect_violation(45);
    modules[0].waited();
}

#[test]
fn r54_complete_works_at_dispatch_level_and_not_above() {
    let session = Session::new();
    let log = Log::default();
    let modules = pair(&log, Side::Client, |_, _| STATUS_PENDING);
    modules[0].deregister();
    let binding = modules[0].binding(0).handle();
    session.at_irql(DISPATCH_LEVEL, || complete(Side::Client, binding));
    assert_eq!(log.entries().last().map(|entry| entry.irql), Some(DISPATCH_LEVEL));
    modules[0].waited();
    session.at_irql(DISPATCH_LEVEL + 1, || complete(Side::Client, null_mut()));
    assert_eq!(session.expect_violation(54).place, Place::Function(Function::ClientDetachProviderComplete));
    session.expect_violation(52);
}
