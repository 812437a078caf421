//! Registration: R1 to R15 of docs/nmr-rules.md.

mod support;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use nmr_registrar::{DISPATCH_LEVEL, Function, Place, Strictness};
use support::*;

#[test]
fn r1_one_registration_per_interface_and_role() {
    let _session = Session::new();
    let log = Log::default();
    let (first, second) = (unique_npi(), unique_npi());
    let on_first = client("first", first, &log).registered();
    let on_second = client("second", second, &log).registered();
    assert_ne!(on_first.handle(), on_second.handle());
    let _provider = provider("P", first, &log).registered();
    assert_eq!(log.calls(), ["first.ClientAttachProvider", "P.ProviderAttachClient"]);
}

#[test]
fn r2_npiids_are_compared_by_value() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let almost = GUID { Data4: *b"tests-iD", ..npi };
    let provider = provider("P", npi, &log).registered();
    let _other = client("other", almost, &log).registered();
    assert_eq!(log.calls(), [""; 0]);
    let client = client("C", npi, &log).registered();
    assert_ne!(&raw const *client.npi, &raw const *provider.npi);
    assert_eq!(log.calls(), ["C.ClientAttachProvider", "P.ProviderAttachClient"]);
}

#[test]
fn r3_nothing_but_the_npiid_takes_part_in_matching() {
    let session = Session::new();
    session.set_strictness(Strictness::Lenient);
    let log = Log::default();
    let npi = unique_npi();
    let _provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    let instance = client.instance_mut();
    (instance.Number, instance.Version) = (7, 3);
    instance.NpiSpecificCharacteristics = (&raw const DISPATCH).cast();
    client.id.Type = MIT_IF_LUID;
    let _client = client.registered();
    assert_eq!(log.count(Callback::ProviderAttachClient), 1);
}

#[test]
fn r4_whoever_registers_second_triggers_one_offer_per_peer() {
    let _session = Session::new();
    let log = Log::default();
    for side in [Side::Client, Side::Provider] {
        let npi = unique_npi();
        let make = |name, side| match side {
            Side::Client => client(name, npi, &log),
            Side::Provider => provider(name, npi, &log),
        };
        let _present: Vec<_> = ["1", "2", "3"].map(|name| make(name, side.peer()).registered()).into();
        log.clear();
        let _last = make("last", side).registered();
        assert_eq!(log.count(Callback::ClientAttachProvider), 3);
        assert_eq!(log.count(Callback::ProviderAttachClient), 3);
    }
}

#[test]
fn r5_registration_succeeds_when_every_peer_refuses() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let mut refusing = provider("P", npi, &log);
    refusing.on_provider_attach = Box::new(|_| STATUS_NOINTERFACE);
    let _refusing = refusing.registered();
    let client = client("C", npi, &log);
    assert_eq!(client.register(), STATUS_SUCCESS);
    assert_eq!(log.count(Callback::ProviderAttachClient), 1);
}

#[test]
fn r6_offers_are_made_on_the_registering_thread_before_it_returns() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _client = client("C", npi, &log).registered();
    let provider = provider("P", npi, &log);
    let registering = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert_eq!(provider.register(), STATUS_SUCCESS);
            assert_eq!(log.entries().len(), 2);
        });
        let id = thread.thread().id();
        thread.join().unwrap();
        id
    });
    assert!(log.entries().iter().all(|entry| entry.thread == registering));
}

#[test]
fn r7_the_handle_is_not_written_before_the_attach_callbacks_have_run() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _provider = provider("P", npi, &log).registered();
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        // What lies in the variable is recognised as something that may not be used.
        assert!(!offer.module.handle().is_null());
        assert_eq!(offer.module.deregister(), STATUS_INVALID_PARAMETER);
        offer.accept()
    });
    let context = (&raw const *client).cast_mut().cast();
    // SAFETY: the module lies in a box, and so does the variable for the handle.
    let status = unsafe { NmrRegisterClient(&raw const client.client, context, client.handle.as_ptr()) };
    assert_eq!(status, STATUS_SUCCESS);
    assert!(session.expect_violation(68).found.contains("meaningless"));
}

#[test]
fn r8_a_binding_may_attach_and_detach_before_register_returns() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).registered();
    let client = client("C", npi, &log);
    let pause = session.pause(When::After, Callback::ProviderAttachClient);
    std::thread::scope(|scope| {
        let registering = scope.spawn(|| client.register());
        pause.wait_until_reached();
        assert_eq!(provider.deregister(), STATUS_PENDING);
        pause.resume();
        assert_eq!(registering.join().unwrap(), STATUS_SUCCESS);
    });
    // The client sees attach, detach and cleanup, all inside its own registration.
    assert_eq!(log.count(Callback::ClientCleanupBindingContext), 1);
    assert_eq!(session.report().bindings.len(), 0);
    provider.waited();
}

#[test]
fn r9_a_failed_registration_leaves_no_usable_handle() {
    let session = Session::new();
    session.fail(Function::RegisterClient, 0, STATUS_INSUFFICIENT_RESOURCES);
    let client = client("C", unique_npi(), &Log::default());
    let before = null_mut();
    let mut handle: HANDLE = before;
    let context = (&raw const *client).cast_mut().cast();
    // SAFETY: the module lies in a box, the handle variable is ours.
    let status = unsafe { NmrRegisterClient(&raw const client.client, context, &raw mut handle) };
    assert_eq!(status, STATUS_INSUFFICIENT_RESOURCES);
    assert_ne!(handle, before);
    assert_eq!(deregister(Side::Client, handle), STATUS_INVALID_PARAMETER);
    assert!(session.expect_violation(68).found.contains("meaningless"));
    assert!(session.report().is_empty());
}

#[test]
fn r9_in_lenient_mode_a_failed_registration_leaves_the_variable_alone() {
    let session = Session::new();
    session.set_strictness(Strictness::Lenient);
    let client = client("C", unique_npi(), &Log::default());
    // A driver that tests its variable for NULL afterwards, and one that had something else in it.
    for before in [null_mut(), (&raw const *client).cast_mut().cast()] {
        session.fail(Function::RegisterClient, 0, STATUS_INSUFFICIENT_RESOURCES);
        let mut handle: HANDLE = before;
        // SAFETY: the module lies in a box, the handle variable is ours.
        let status = unsafe { NmrRegisterClient(&raw const client.client, null_mut(), &raw mut handle) };
        assert_eq!((status, handle), (STATUS_INSUFFICIENT_RESOURCES, before));
    }
}

#[test]
fn r10_peers_see_the_modules_own_registration_instance() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut provider = provider("P", npi, &log);
    let to_provider = seen.clone();
    provider.on_provider_attach = Box::new(move |offer| {
        to_provider.store(offer.instance.addr(), Ordering::SeqCst);
        offer.accept()
    });
    let provider = provider.registered();
    let mut client = client("C", npi, &log);
    let expected = provider.instance().addr();
    client.on_client_attach = Box::new(move |offer| {
        assert_eq!(offer.instance.addr(), expected);
        offer.accept()
    });
    let client = client.registered();
    assert_eq!(seen.load(Ordering::SeqCst), client.instance().addr());
}

#[test]
fn r10_a_change_of_the_registered_structure_is_noticed() {
    let session = Session::new();
    static EQUAL_ID: LazyLock<NPI_MODULEID> = LazyLock::new(|| module_id(b'C'));
    type Change = fn(&mut Module);
    let changes: [Change; 7] = [
        |module| module.client.Version = 1,
        // An equal module id elsewhere is not where the peers were told that it is.
        |module| module.client.ClientRegistrationInstance.ModuleId = &raw const *EQUAL_ID,
        |module| module.client.ClientCleanupBindingContext = None,
        |module| module.client.ClientRegistrationInstance.Number = 9,
        |module| module.client.ClientRegistrationInstance.NpiId = null(),
        |module| module.npi.Data1 ^= 1,
        |module| module.id.Id.Guid.Data2 = 77,
    ];
    for change in changes {
        let (mut client, provider) = attached_pair(&Log::default());
        change(&mut client);
        // The peer's deregistration notices it, and works all the same.
        provider.end();
        let violation = session.expect_violation(10);
        let module = violation.module.expect("the module is known");
        assert_eq!((module.side, module.registration), (Side::Client, client.handle().addr()));
        client.end();
        assert_eq!(session.violations(), [], "it is reported once");
    }
}

// Not for AddressSanitizer, which keeps freed memory mapped and reports the look at it by itself: `--skip is_freed`.
#[cfg(target_os = "linux")]
#[test]
fn r10_a_structure_that_is_freed_while_registered_is_noticed() {
    /// Above the size from which allocators give memory back to the system when it is freed.
    const LARGE: usize = 1 << 20;
    let session = Session::new();
    let template = client("C", unique_npi(), &Log::default());
    let mut large = vec![template.client; LARGE];
    let place: *mut NPI_CLIENT_CHARACTERISTICS = large.as_mut_ptr();
    let mut handle = null_mut();
    // SAFETY: the structure is readable now; that it goes away too early is what this test is about.
    assert_eq!(unsafe { NmrRegisterClient(place, null_mut(), &raw mut handle) }, STATUS_SUCCESS);
    drop(large);
    assert_eq!(deregister(Side::Client, handle), STATUS_PENDING);
    session.expect_violation(10);
    assert_eq!(wait(Side::Client, handle), STATUS_SUCCESS);
}

#[test]
fn r11_the_registration_context_is_passed_on_and_may_be_null() {
    let session = Session::new();
    unsafe extern "system" fn attach(
        _: HANDLE,
        context: *mut std::ffi::c_void,
        _: *const NPI_REGISTRATION_INSTANCE,
    ) -> NTSTATUS {
        if context.is_null() { STATUS_NOINTERFACE } else { STATUS_INSUFFICIENT_RESOURCES }
    }
    let log = Log::default();
    let npi = unique_npi();
    let mut client = client("C", npi, &log);
    client.client.ClientAttachProvider = Some(attach);
    let mut handle = null_mut();
    // SAFETY: the module lies in a box, the handle variable is ours.
    let status = unsafe { NmrRegisterClient(&raw const client.client, null_mut(), &raw mut handle) };
    assert_eq!(status, STATUS_SUCCESS);
    let after = session.pause(When::After, Callback::ClientAttachProvider);
    let _provider = std::thread::scope(|scope| {
        let registering = scope.spawn(|| provider("P", npi, &log).registered());
        after.wait_until_reached();
        after.resume();
        registering.join().unwrap()
    });
    client.handle.store(handle, Ordering::SeqCst);
}

#[test]
fn r12_wrong_versions_and_sizes_are_reported_strictly_and_tolerated_leniently() {
    type Change = fn(&mut Module);
    let changes: [(&str, Change); 5] = [
        ("Version of the characteristics is 77, not 0", |module| module.client.Version = 77),
        ("Length of the characteristics is 1, not 72", |module| module.client.Length = 1),
        ("Size of the registration instance is 0, not 40", |module| module.instance_mut().Size = 0),
        ("Length of the module id is 16, not 24", |module| module.id.Length = 16),
        ("ModuleId is NULL", |module| module.instance_mut().ModuleId = null()),
    ];
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let session = Session::new();
        session.set_strictness(strictness);
        for (found, change) in changes {
            let mut client = client("C", unique_npi(), &Log::default());
            change(&mut client);
            assert_eq!(client.register(), STATUS_SUCCESS);
            if strictness == Strictness::Strict {
                let violation = session.expect_violation(12);
                assert_eq!(violation.found, found);
                assert_eq!(violation.place, Place::Function(Function::RegisterClient));
            }
        }
    }
}

#[test]
fn r12_the_version_of_the_registration_instance_is_the_interfaces_own() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let (mut client, mut provider) = (client("C", npi, &log), provider("P", npi, &log));
    client.instance_mut().Version = 1;
    provider.instance_mut().Version = 1;
    provider.on_provider_attach = Box::new(|offer| {
        // SAFETY: NMR's pointer to the client's registration instance, which is alive.
        let version = unsafe { (*offer.instance).Version };
        if version == 1 { offer.accept() } else { STATUS_NOINTERFACE }
    });
    let (_client, _provider) = (client.registered(), provider.registered());
    assert_eq!(log.count(Callback::ProviderAttachClient), 1);
}

#[test]
fn r12_what_cannot_work_is_refused() {
    type Change = fn(&mut Module);
    let changes: [Change; 3] = [
        |module| module.client.ClientAttachProvider = None,
        |module| module.client.ClientDetachProvider = None,
        |module| module.instance_mut().NpiId = null(),
    ];
    let session = Session::new();
    for change in changes {
        let mut client = client("C", unique_npi(), &Log::default());
        change(&mut client);
        assert_eq!(client.register(), STATUS_INVALID_PARAMETER);
        session.expect_violation(12);
    }
    let mut handle = null_mut();
    // SAFETY: NULL is recognised, the handle variable is ours.
    assert_eq!(unsafe { NmrRegisterProvider(null(), null_mut(), &raw mut handle) }, STATUS_INVALID_PARAMETER);
    session.expect_violation(10);
    let provider = provider("P", unique_npi(), &Log::default());
    // SAFETY: the module lies in a box, NULL is recognised.
    let status = unsafe { NmrRegisterProvider(&raw const provider.provider, null_mut(), null_mut()) };
    assert_eq!(status, STATUS_INVALID_PARAMETER);
    session.expect_violation(9);
    assert!(session.report().is_empty());
}

#[test]
fn r10_characteristics_that_are_not_aligned_are_refused_and_not_read() {
    let session = Session::new();
    let (npi, log) = (unique_npi(), Log::default());
    let (client, provider) = (client("C", npi, &log), provider("P", npi, &log));
    let mut handle = null_mut();
    let odd = (&raw const client.client).wrapping_byte_add(1);
    // SAFETY: an odd address is recognised, the handle variable is ours.
    assert_eq!(unsafe { NmrRegisterClient(odd, null_mut(), &raw mut handle) }, STATUS_INVALID_PARAMETER);
    let expected = "the pointer to the characteristics is NULL or misaligned";
    assert_eq!(session.expect_violation(10).found, expected);
    let odd = (&raw const provider.provider).wrapping_byte_add(4);
    // SAFETY: as above.
    assert_eq!(unsafe { NmrRegisterProvider(odd, null_mut(), &raw mut handle) }, STATUS_INVALID_PARAMETER);
    assert_eq!(session.expect_violation(10).found, expected);
    assert!(session.report().is_empty());
}

#[test]
fn r13_identical_registrations_are_independent() {
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _providers = [provider("P", npi, &log).registered(), provider("P", npi, &log).registered()];
    let clients = [(); 3].map(|()| client("C", npi, &log).registered());
    assert_eq!(log.count(Callback::ProviderAttachClient), 6);
    clients[0].end();
    assert_eq!(log.count(Callback::ClientDetachProvider), 2);
}

#[test]
fn r14_a_module_in_both_roles_is_offered_to_itself() {
    // Undocumented; matching looks at nothing but the NPIID (R3), so it is not excluded.
    let _session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let _as_provider = provider("both", npi, &log).registered();
    let _as_client = client("both", npi, &log).registered();
    assert_eq!(log.calls(), ["both.ClientAttachProvider", "both.ProviderAttachClient"]);
}

#[test]
fn r15_registering_and_attaching_need_passive_level() {
    let session = Session::new();
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log);
    session.at_irql(DISPATCH_LEVEL, || assert_eq!(provider.register(), STATUS_SUCCESS));
    assert_eq!(session.expect_violation(15).place, Place::Function(Function::RegisterProvider));
    let mut client = client("C", npi, &log);
    client.on_client_attach = Box::new(|offer| {
        let _raised = irql::raise(DISPATCH_LEVEL);
        offer.accept()
    });
    let _client = client.registered();
    assert_eq!(session.expect_violation(15).place, Place::Function(Function::ClientAttachProvider));
}
