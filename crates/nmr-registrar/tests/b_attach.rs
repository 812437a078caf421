//! Attach: R16 to R33 of docs/nmr-rules.md.

mod support;
use std::ffi::c_void;
use std::ptr::{null, null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use nmr_registrar::{Function, Place, registrar};
use support::*;

/// STATUS_DEVICE_NOT_READY: some failure that is neither of the two that NMR knows.
const OTHER_FAILURE: NTSTATUS = 0xC000_00A3_u32 as NTSTATUS;

#[test]
fn r16_the_clients_callback_comes_first_whoever_registers_last() {
    let _session = Session::new();
    let log = Log::default();
    for provider_last in [false, true] {
        let npi = unique_npi();
        let (client, provider) = (client("C", npi, &log), provider("P", npi, &log));
        let mut order = [&client, &provider];
        if !provider_last {
            order.reverse();
        }
        log.clear();
        order.iter().for_each(|module| assert_eq!(module.register(), STATUS_SUCCESS));
        assert_eq!(log.calls(), ["C.ClientAttachProvider", "P.ProviderAttachClient"]);
    }
}

#[test]
fn r17_one_offer_per_pair_with_its_own_handle() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _providers = ["P1", "P2"].map(|name| provider(name, npi, &log).registered());
    let _clients = ["C1", "C2"].map(|name| client(name, npi, &log).registered());
    let mut handles: Vec<_> = log
        .entries()
        .iter()
        .filter(|entry| entry.callback == Callback::ClientAttachProvider)
        .map(|entry| entry.subject.0)
        .collect();
    assert_eq!(handles.len(), 4);
    handles.sort();
    handles.dedup();
    assert_eq!(handles.len(), 4);
}

#[test]
fn r18_a_client_that_declines_hears_no_more_of_it() {
    let session = Session::new();
    for status in [STATUS_NOINTERFACE, OTHER_FAILURE] {
        let log = Log::default();
        let npi = unique_npi();
        let provider = provider("P", npi, &log).registered();
        let mut client = client("C", npi, &log);
        client.on_client_attach = Box::new(move |_| status);
        let client = client.registered();
        assert_eq!(session.report().bindings.len(), 0);
        provider.end();
        client.end();
        assert_eq!(log.calls(), ["C.ClientAttachProvider"]);
    }
}

#[test]
fn r19_attaching_after_the_callback_returned_is_refused() {
    let session = Session::new();
    let log = Log::default();
    let (client, _provider) = attached_pair(&log);
    let again = ClientOffer { module: &client, handle: client.binding(0).handle(), instance: null() };
    assert_eq!(again.attach(null_mut(), null()), STATUS_INVALID_PARAMETER);
    let violation = session.expect_violation(19);
    assert_eq!(violation.binding, Some(client.binding(0).handle().addr()));
    assert_eq!(log.count(Callback::ProviderAttachClient), 1);
}

#[test]
fn r19_attaching_to_a_rejected_offer_is_refused() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    let handle = Arc::new(AtomicUsize::new(0));
    let kept = handle.clone();
    client.on_client_attach = Box::new(move |offer| {
        kept.store(offer.handle.addr(), Ordering::SeqCst);
        STATUS_NOINTERFACE
    });
    let client = client.registered();
    let handle = without_provenance_mut(handle.load(Ordering::SeqCst));
    let stale = ClientOffer { module: &client, handle, instance: null() };
    assert_eq!(stale.attach(null_mut(), null()), STATUS_INVALID_PARAMETER);
    session.expect_violation(19);
}

#[test]
fn r19_attaching_on_another_thread_is_reported() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        let (module, handle) = (Pointer((&raw const *offer.module).cast_mut().cast()), Pointer(offer.handle));
        let thread = std::thread::spawn(move || {
            let (module, handle) = (module, handle);
            // SAFETY: the module is registered while its callback runs.
            let module = unsafe { &*module.0.cast::<Module>() };
            ClientOffer { module, handle: handle.0, instance: null() }.accept()
        });
        thread.join().unwrap()
    });
    let _client = client.registered();
    session.expect_violation(19);
    assert_eq!(log.count(Callback::ProviderAttachClient), 1);
}

#[test]
fn r20_the_provider_is_asked_on_the_same_thread_and_its_status_comes_back() {
    let _session = Session::new();
    for status in [STATUS_NOINTERFACE, STATUS_INSUFFICIENT_RESOURCES, OTHER_FAILURE] {
        let log = Log::default();
        let npi = unique_npi();
        let mut provider = provider("P", npi, &log);
        provider.on_provider_attach = Box::new(move |_| status);
        let _provider = provider.registered();
        let mut client = client("C", npi, &log);
        client.on_client_attach = Box::new(move |offer| {
            let answer = offer.accept();
            assert_eq!(answer, status);
            answer
        });
        let _client = client.registered();
        let entries = log.entries();
        assert_eq!(entries[0].thread, entries[1].thread);
    }
}

#[test]
fn r21_contexts_and_dispatch_tables_reach_the_other_side_unchanged() {
    let _session = Session::new();
    let (client, provider) = attached_pair(&Log::default());
    let (at_client, at_provider) = (client.binding(0), provider.binding(0));
    assert_eq!(at_client.peer_context.load(Ordering::SeqCst).addr(), (&raw const *at_provider).addr());
    assert_eq!(at_client.peer_dispatch.load(Ordering::SeqCst).addr(), provider.dispatch.addr());
    assert_eq!(at_provider.peer_context.load(Ordering::SeqCst).addr(), (&raw const *at_client).addr());
    assert_eq!(at_provider.peer_dispatch.load(Ordering::SeqCst).addr(), client.dispatch.addr());
}

#[test]
fn r21_out_parameters_left_unset_on_success_are_reported() {
    let session = Session::new();
    let npi = unique_npi();
    let log = Log::default();
    let mut provider = provider("P", npi, &log).without_cleanup();
    unsafe extern "system" fn detach(_: *mut c_void) -> NTSTATUS {
        STATUS_SUCCESS
    }
    provider.provider.ProviderDetachClient = Some(detach);
    provider.on_provider_attach = Box::new(|_| STATUS_SUCCESS);
    let provider = provider.registered();
    let client = client("C", npi, &log).registered();
    assert_eq!(session.expect_violation(21).place, Place::Callback(Callback::ProviderAttachClient));
    assert_eq!(*client.last_out.lock().unwrap(), Some((Pointer(null_mut()), Pointer(null_mut()))));
    client.end();
    provider.end();
}

#[test]
fn r21_one_out_parameter_left_unset_on_success_is_reported_and_the_other_reaches_the_client() {
    for sets_context in [true, false] {
        let session = Session::new();
        let (npi, log) = (unique_npi(), Log::default());
        let mut provider = provider("P", npi, &log).without_cleanup();
        unsafe extern "system" fn detach(_: *mut c_void) -> NTSTATUS {
            STATUS_SUCCESS
        }
        provider.provider.ProviderDetachClient = Some(detach);
        provider.on_provider_attach = Box::new(move |offer| {
            if sets_context {
                // SAFETY: a variable of the registrar.
                unsafe { offer.context_out.write(without_provenance_mut(0x1234)) };
            } else {
                // SAFETY: a variable of the registrar.
                unsafe { offer.dispatch_out.write(without_provenance_mut(0x1234)) };
            }
            STATUS_SUCCESS
        });
        let provider = provider.registered();
        let client = client("C", npi, &log).registered();
        assert_eq!(session.expect_violation(21).place, Place::Callback(Callback::ProviderAttachClient));
        let out = client.last_out.lock().unwrap().map(|(context, dispatch)| (context.0.addr(), dispatch.0.addr()));
        assert_eq!(out, Some(if sets_context { (0x1234, 0) } else { (0, 0x1234) }));
        client.end();
        provider.end();
    }
}

#[test]
fn r21_a_client_without_a_variable_for_an_out_parameter_is_refused() {
    for missing in [[true, false], [false, true], [true, true]] {
        let session = Session::new();
        let (npi, log) = (unique_npi(), Log::default());
        let provider = provider("P", npi, &log).registered();
        let mut client = client("C", npi, &log);
        client.on_client_attach = Box::new(move |offer| {
            let (mut context, mut dispatch) = (null_mut(), null());
            let context = if missing[0] { null_mut() } else { &raw mut context };
            let dispatch = if missing[1] { null_mut() } else { &raw mut dispatch };
            // SAFETY: NULL or a variable of ours.
            unsafe { NmrClientAttachProvider(offer.handle, null_mut(), null(), context, dispatch) }
        });
        let client = client.registered();
        let violation = session.expect_violation(21);
        assert_eq!(violation.place, Place::Function(Function::ClientAttachProvider));
        assert_eq!(violation.found, "a pointer for the provider's context or dispatch is NULL");
        // The refusal is not what a callback of the client returns without an attachment (R26).
        assert_eq!(log.count(Callback::ProviderAttachClient), 0);
        client.end();
        provider.end();
    }
}

#[test]
fn r22_out_parameters_mean_nothing_after_a_failure() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut provider = provider("P", npi, &log);
    let written: *mut c_void = without_provenance_mut(0x1234);
    let leaked = Pointer(written);
    provider.on_provider_attach = Box::new(move |offer| {
        let leaked = leaked;
        offer.set(leaked.0, null());
        STATUS_NOINTERFACE
    });
    let provider = provider.registered();
    let client = client("C", npi, &log).registered();
    let (context, dispatch) = client.last_out.lock().unwrap().unwrap();
    assert!(
        context.0 != written && !context.0.is_null() && !dispatch.0.is_null(),
        "poison, neither NULL nor passed on"
    );
    client.end();
    provider.end();
    assert_eq!(log.count(Callback::ProviderCleanupBindingContext), 0);
    assert_eq!(log.count(Callback::ProviderDetachClient), 0);
}

#[test]
fn r23_no_client_cleanup_when_the_provider_fails() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut provider = provider("P", npi, &log);
    provider.on_provider_attach = Box::new(|_| OTHER_FAILURE);
    let provider = provider.registered();
    let client = client("C", npi, &log).registered();
    client.end();
    provider.end();
    assert_eq!(log.calls(), ["C.ClientAttachProvider", "P.ProviderAttachClient"]);
}

#[test]
fn r24_no_provider_cleanup_when_the_provider_fails_after_allocating() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut provider = provider("P", npi, &log);
    provider.on_provider_attach = Box::new(|offer| {
        let allocated = Box::into_raw(Box::new(7_u64));
        offer.set(allocated.cast(), offer.module.dispatch);
        // SAFETY: allocated above, and nobody else has it after a failure.
        drop(unsafe { Box::from_raw(allocated) });
        STATUS_INSUFFICIENT_RESOURCES
    });
    let provider = provider.registered();
    let _client = client("C", npi, &log).registered();
    provider.end();
    assert_eq!(log.count(Callback::ProviderCleanupBindingContext), 0);
}

#[test]
fn r25_a_client_may_try_again_after_nointerface() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut provider = provider("P", npi, &log);
    provider.on_provider_attach =
        Box::new(|offer| if offer.client_dispatch.is_null() { offer.accept() } else { STATUS_NOINTERFACE });
    let provider = provider.registered();
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        assert_eq!(offer.accept(), STATUS_NOINTERFACE);
        assert_eq!(offer.accept(), STATUS_NOINTERFACE);
        let older = Binding::allocate(offer.module, offer.handle);
        offer.attach(older.cast(), null())
    });
    let client = client.registered();
    assert_eq!(log.count(Callback::ProviderAttachClient), 3);
    client.end();
    provider.end();
    assert_eq!(log.count(Callback::ClientCleanupBindingContext), 1);
}

#[test]
fn r25_a_second_attach_after_success_is_refused() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        let status = offer.accept();
        assert_eq!(offer.attach(null_mut(), null()), STATUS_INVALID_PARAMETER);
        status
    });
    let _client = client.registered();
    session.expect_violation(25);
    assert_eq!(log.count(Callback::ProviderAttachClient), 1);
}

#[test]
fn r26_failure_after_success_detaches_and_cleans_up_the_provider_alone() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        assert_eq!(offer.accept(), STATUS_SUCCESS);
        let Pointer(context) = offer.module.attached.lock().unwrap()[0];
        // SAFETY: `accept` allocated it; a client that reports failure frees its context itself (R23).
        drop(unsafe { Box::from_raw(context.cast::<Binding>()) });
        STATUS_NOINTERFACE
    });
    let client = client.registered();
    assert_eq!(session.expect_violation(26).place, Place::Callback(Callback::ClientAttachProvider));
    assert_eq!(log.calls()[2..], ["P.ProviderDetachClient", "P.ProviderCleanupBindingContext"]);
    client.end();
    provider.end();
}

#[test]
fn r26_success_without_an_attachment_is_reported_and_attaches_nothing() {
    let session = Session::new();
    for provider_status in [None, Some(STATUS_NOINTERFACE)] {
        let log = Log::default();
        let npi = unique_npi();
        let mut provider = provider("P", npi, &log);
        if let Some(status) = provider_status {
            provider.on_provider_attach = Box::new(move |_| status);
        }
        let provider = provider.registered();
        let mut client = client("C", npi, &log);
        client.on_client_attach = Box::new(move |offer| {
            if provider_status.is_some() {
                offer.accept();
            }
            STATUS_SUCCESS
        });
        let client = client.registered();
        session.expect_violation(26);
        provider.end();
        client.end();
        assert_eq!(log.count(Callback::ClientDetachProvider) + log.count(Callback::ClientCleanupBindingContext), 0);
    }
}

#[test]
fn r26_another_failure_than_the_providers_is_reported() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut provider = provider("P", npi, &log);
    provider.on_provider_attach = Box::new(|_| STATUS_NOINTERFACE);
    let _provider = provider.registered();
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        offer.accept();
        OTHER_FAILURE
    });
    let _client = client.registered();
    session.expect_violation(26);
}

#[test]
fn r27_the_client_may_use_the_provider_before_its_callback_returns() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        let status = offer.accept();
        let binding = offer.module.binding(0);
        let table = binding.peer_dispatch.load(Ordering::SeqCst).cast::<u64>();
        // SAFETY: the provider's dispatch table is a static of this type.
        assert_eq!(unsafe { table.read() }, DISPATCH);
        status
    });
    let client = client.registered();
    client.end();
    provider.end();
}

#[test]
fn r28_the_provider_may_call_the_client_before_the_attach_function_returned() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).registered();
    let client = client("C", npi, &log);
    let pause = session.pause(When::After, Callback::ProviderAttachClient);
    std::thread::scope(|scope| {
        let registering = scope.spawn(|| client.register());
        pause.wait_until_reached();
        // The provider has agreed; the client knows neither context nor table yet, but its own context is reachable.
        let client_context = provider.binding(0).peer_context.load(Ordering::SeqCst).cast::<Binding>();
        // SAFETY: the client's context is fully initialised before it attaches, and lives until cleanup.
        let binding = unsafe { &*client_context };
        assert!(binding.peer_context.load(Ordering::SeqCst).is_null());
        pause.resume();
        assert_eq!(registering.join().unwrap(), STATUS_SUCCESS);
    });
}

#[test]
fn r29_a_provider_that_calls_the_client_and_then_refuses_it_is_reported() {
    for (answer, reported) in [(STATUS_NOINTERFACE, true), (STATUS_SUCCESS, false)] {
        let session = Session::new();
        let log = Log::default();
        let npi = unique_npi();
        let mut provider = provider("P", npi, &log);
        provider.on_provider_attach = Box::new(move |offer| {
            // R28: allowed if the provider is certain to accept.
            registrar().calling(offer.handle, Side::Provider, || STATUS_SUCCESS);
            if answer == STATUS_SUCCESS { offer.accept() } else { answer }
        });
        let _provider = provider.registered();
        let _client = client("C", npi, &log).registered();
        let violation = session.take_violation(29);
        assert_eq!(violation.is_some(), reported);
        if let Some(violation) = violation {
            assert_eq!(violation.place, Place::Callback(Callback::ProviderAttachClient));
            assert_eq!(violation.module.map(|module| module.side), Some(Side::Provider));
        }
    }
}

#[test]
fn r27_a_client_that_calls_the_provider_before_it_has_attached_is_reported() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        registrar().calling(offer.handle, Side::Client, || STATUS_SUCCESS);
        offer.accept()
    });
    let client = client.registered();
    let violation = session.expect_violation(27);
    assert_eq!(violation.module.map(|module| module.registration), Some(client.handle().addr()));
}

#[test]
fn r30_every_pair_has_a_binding_of_its_own() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let providers = ["P1", "P2", "P3"].map(|name| provider(name, npi, &log).registered());
    let clients = ["C1", "C2"].map(|name| client(name, npi, &log).registered());
    assert_eq!(session.report().bindings.len(), 6);
    let mut contexts: Vec<_> = providers
        .iter()
        .chain(&clients)
        .flat_map(|module| module.attached.lock().unwrap().clone())
        .map(|context| context.0)
        .collect();
    contexts.sort();
    contexts.dedup();
    assert_eq!(contexts.len(), 12);
    providers[0].end();
    assert_eq!(session.report().bindings.len(), 4);
}

#[test]
fn r31_two_registrations_attach_at_the_same_time() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let together = Arc::new(Barrier::new(2));
    let mut provider = provider("P", npi, &log);
    provider.on_provider_attach = Box::new(move |offer| {
        // Nobody gets past this unless both attach callbacks of the one registration run at once.
        together.wait();
        offer.accept()
    });
    let _provider = provider.registered();
    let clients = [client("1", npi, &log), client("2", npi, &log)];
    std::thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| assert_eq!(client.register(), STATUS_SUCCESS));
        }
    });
}

#[test]
fn r32_a_rejected_pair_is_offered_again_only_after_a_new_registration() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut refusing = client("C", npi, &log);
    refusing.on_client_attach = Box::new(|_| STATUS_NOINTERFACE);
    let refusing = refusing.registered();
    let provider = provider("P", npi, &log).registered();
    let _another = client("another", npi, &log).registered();
    let offers = || log.calls().iter().filter(|call| *call == "C.ClientAttachProvider").count();
    assert_eq!(offers(), 1);
    provider.end();
    assert_eq!(provider.register(), STATUS_SUCCESS);
    assert_eq!(offers(), 2);
    refusing.end();
    assert_eq!(refusing.register(), STATUS_SUCCESS);
    assert_eq!(offers(), 3);
}

#[test]
fn r33_null_contexts_and_tables_pass_through_and_get_their_callbacks() {
    static CALLS: Mutex<Vec<(&str, usize)>> = Mutex::new(Vec::new());
    unsafe extern "system" fn detach(context: *mut c_void) -> NTSTATUS {
        CALLS.lock().unwrap().push(("detach", context.addr()));
        STATUS_SUCCESS
    }
    unsafe extern "system" fn cleanup(context: *mut c_void) {
        CALLS.lock().unwrap().push(("cleanup", context.addr()));
    }
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut provider = provider("P", npi, &log);
    provider.provider.ProviderDetachClient = Some(detach);
    provider.provider.ProviderCleanupBindingContext = Some(cleanup);
    provider.on_provider_attach = Box::new(|offer| {
        assert!(offer.client_context.is_null() && offer.client_dispatch.is_null());
        offer.set(null_mut(), null());
        STATUS_SUCCESS
    });
    let provider = provider.registered();
    let mut client = client("C", npi, &log);
    client.client.ClientDetachProvider = Some(detach);
    client.client.ClientCleanupBindingContext = Some(cleanup);
    client.on_client_attach = Box::new(|offer| offer.attach(null_mut(), null()));
    let client = client.registered();
    assert_eq!(*client.last_out.lock().unwrap(), Some((Pointer(null_mut()), Pointer(null_mut()))));
    client.end();
    provider.end();
    assert_eq!(*CALLS.lock().unwrap(), [("detach", 0), ("detach", 0), ("cleanup", 0), ("cleanup", 0)]);
}

#[test]
fn a_fault_in_the_attach_function_is_a_failed_attach() {
    let session = Session::new();
    session.fail(Function::ClientAttachProvider, 0, STATUS_INSUFFICIENT_RESOURCES);
    let log = Log::default();
    let (client, provider) = attached_pair(&log);
    assert_eq!(log.calls(), ["C.ClientAttachProvider"]);
    client.end();
    provider.end();
}
