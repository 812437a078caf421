//! Section D of the contract: detach callbacks and their completion, R43 to R54.
//!
//! R43, R44 and R50 are promises of a module about calls that NMR does not see; no registrar can show them.

mod support;
use support::*;

use nmr_registrar::{DISPATCH_LEVEL, Function, Place, Strictness};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

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
