//! Offers: who is asked, what is seen of the peer, and what becomes of a refusal.

use core::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nmr_registrar::{Callback, Function, Session, Strictness, When};
use wdk_nmr::*;
use wdk_nmr_sys::*;

use crate::common::*;

#[test]
fn m20_an_offer_says_who_the_peer_is() {
    let _session = Session::new();
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    provider.on_attach = Box::new(|client| {
        assert_eq!(client.module_id(), Ok(CLIENT_ID));
        assert_eq!((client.number(), client.version()), (80, 0));
        assert_eq!(client.characteristics(), Ok(&Characteristics::new(8)));
        let shown = format!("{client:?}");
        assert_eq!(shown, format!("Offer {{ module_id: {:?}, number: 80 }}", Ok::<_, StructureError>(CLIENT_ID)));
        Ok(())
    });
    let mut client = TestClient::new(&log);
    client.on_attach = Box::new(|provider| {
        assert_eq!(provider.module_id(), Ok(PROVIDER_ID));
        assert_eq!((provider.number(), provider.version()), (70, 0));
        assert_eq!(provider.characteristics(), Ok(&Characteristics::new(7)));
        Ok(())
    });
    let provider = provide(provider);
    let client = use_it(client);
    assert_eq!((provider.clients().count(), client.providers().count()), (1, 1));
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

/// Lets a raw client with an odd registration instance attach to a provider that looks at it.
fn look_at(change: impl FnOnce(&mut Raw), look: impl Fn(&ClientOffer<'_, Testing>) + Send + Sync + 'static) -> usize {
    let session = Session::new();
    session.set_strictness(Strictness::Lenient);
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    provider.on_attach = Box::new(move |client| {
        look(client);
        Ok(())
    });
    let provider = provide(provider);
    let mut raw = Raw::new();
    change(&mut raw);
    raw.register_client();
    let attached = provider.clients().count();
    raw.deregister();
    provider.deregister(passive()).unwrap();
    attached
}

#[test]
fn m21_a_module_id_is_checked_before_it_is_read() {
    let id = |change: fn(&mut Raw), expected: Result<ModuleId, StructureError>| {
        look_at(change, move |client| assert_eq!(client.module_id(), expected));
    };
    id(|_| (), Ok(ModuleId::Guid(guid(55))));
    id(|raw| raw.instance.ModuleId = ptr::null(), Err(StructureError::Null));
    id(|raw| raw.module_id.Length = 8, Err(StructureError::Size { found: 8, least: 24 }));
    id(|raw| raw.module_id.Type = 0, Err(StructureError::ModuleIdType { found: 0 }));
    id(
        |raw| {
            raw.module_id.Type = MIT_IF_LUID;
            raw.module_id.Id.IfLuid = LUID { LowPart: 1, HighPart: -1 };
        },
        Ok(ModuleId::IfLuid(0xffff_ffff_0000_0001)),
    );
}

#[test]
fn m21_characteristics_are_checked_before_they_are_read() {
    let characteristics = |change: fn(&mut Raw), expected: Result<u32, StructureError>| {
        look_at(change, move |client| assert_eq!(client.characteristics().map(|found| found.value), expected));
    };
    characteristics(|_| (), Ok(9));
    characteristics(|raw| raw.instance.NpiSpecificCharacteristics = ptr::null(), Err(StructureError::Null));
    characteristics(
        |raw| raw.characteristics.version = 2,
        Err(StructureError::Version { found: 2, oldest: 1, newest: 1 }),
    );
    characteristics(|raw| raw.characteristics.size = 4, Err(StructureError::Size { found: 4, least: 8 }));
}

#[test]
fn r12_the_version_of_an_instance_is_the_peers_own_affair() {
    assert_eq!(look_at(|raw| raw.instance.Version = 1, |client| assert_eq!(client.version(), 1)), 1);
}

#[test]
fn m21_an_instance_that_is_too_small_is_refused() {
    assert_eq!(look_at(|raw| raw.instance.Size = 32, |_| panic!("not to be seen")), 0);
}

#[test]
fn m21_a_client_whose_table_is_not_of_the_interface_is_refused() {
    let _session = Session::new();
    let log = Log::default();
    let refused = Arc::new(Mutex::new(Vec::new()));
    let noted = refused.clone();
    let mut provider = TestProvider::new(&log);
    provider.on_refused = Box::new(move |client, refusal| {
        assert!(client.is_some(), "the client says which module it is");
        noted.lock().unwrap().push(refusal.status());
    });
    let provider = provide(provider);
    let cases: [(fn(&mut Raw), NTSTATUS); 3] = [
        (|raw| raw.table.version = 3, STATUS_NOINTERFACE),
        (|raw| raw.table.size = 8, STATUS_INVALID_PARAMETER),
        (
            |raw| {
                raw.attach_as_client = Box::new(|(handle, raw, _)| {
                    let (mut context, mut table) = (ptr::null_mut(), ptr::null());
                    // SAFETY: in the attach callback, with its handle.
                    unsafe {
                        NmrClientAttachProvider(handle, raw.cast(), ptr::null(), &raw mut context, &raw mut table)
                    }
                });
            },
            STATUS_INVALID_PARAMETER,
        ),
    ];
    for (change, expected) in cases {
        let mut raw = Raw::new();
        change(&mut raw);
        let attach = core::mem::replace(&mut raw.attach_as_client, Box::new(|_| 0));
        raw.attach_as_client = Box::new(move |offer| {
            let status = attach(offer);
            assert_eq!(status, expected);
            status
        });
        raw.register_client();
        assert_eq!(provider.clients().count(), 0);
        raw.deregister();
    }
    assert_eq!(log.take(), Vec::<String>::new(), "the provider was not even asked");
    assert_eq!(*refused.lock().unwrap(), [STATUS_NOINTERFACE, STATUS_INVALID_PARAMETER, STATUS_INVALID_PARAMETER]);
    provider.deregister(passive()).unwrap();
}

#[test]
fn r18_a_client_that_refuses_does_not_ask_the_provider() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let mut client = TestClient::new(&log);
    client.on_attach = Box::new(|_| Err(Refusal::from_status(-1).unwrap()));
    let client = use_it(client);
    assert_eq!(log.take(), ["client: attach"]);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
    assert_eq!(log.take(), ["client: gone", "provider: gone"], "R57: no cleanup either");
}

#[test]
fn r23_after_a_refusal_the_client_drops_its_binding_in_the_attach_callback() {
    let _session = Session::new();
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    provider.on_attach = Box::new(|_| Err(Refusal::INSUFFICIENT_RESOURCES));
    let refused = log.clone();
    provider.on_refused = Box::new(move |client, refusal| {
        assert_eq!((client, refusal), (Some(CLIENT_ID), Refusal::INSUFFICIENT_RESOURCES));
        refused.add("provider: refused");
    });
    let provider = provide(provider);
    let client = use_it(TestClient::new(&log));
    assert_eq!(log.take(), ["client: attach", "provider: attach", "provider: refused", "client: drop 1"]);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
    assert_eq!(log.take(), ["client: gone", "provider: gone"], "R57: there is no cleanup");
}

#[test]
fn r3_only_the_identifier_decides_who_is_offered() {
    let _session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    for (id, number) in [(PROVIDER_ID, 0), (CLIENT_ID, 0), (CLIENT_ID, 80), (ModuleId::IfLuid(0), u32::MAX)] {
        let options = RegistrationOptions::new(id, Characteristics::new(number)).number(number);
        let provider =
            ProviderRegistration::register(TestProvider::new(&log), options, Program::default(), passive()).unwrap();
        assert_eq!(client.providers().count(), 1, "{id:?} {number}");
        provider.deregister(passive()).unwrap();
    }
    client.deregister(passive()).unwrap();
}

#[test]
fn r17_each_pair_is_offered_once() {
    let _session = Session::adversary();
    let log = Log::default();
    let clients = [use_it(TestClient::new(&log)), use_it(TestClient::new(&log))];
    let providers = [(); 3].map(|()| provide(TestProvider::new(&log)));
    assert_eq!((log.count("client: attach"), log.count("provider: attach")), (6, 6));
    for client in clients {
        client.deregister(passive()).unwrap();
    }
    for provider in providers {
        provider.deregister(passive()).unwrap();
    }
}

#[test]
fn r19_the_provider_is_asked_within_the_attach_callback() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let returned = session.pause(When::After, Callback::ClientAttachProvider);
    let asked = session.pause(When::Before, Callback::ProviderAttachClient);
    thread::scope(|scope| {
        let registering = scope.spawn(|| use_it(TestClient::new(&log)));
        asked.wait_until_reached();
        assert!(!returned.is_reached());
        asked.resume();
        returned.wait_until_reached();
        returned.resume();
        registering.join().unwrap().deregister(passive()).unwrap();
    });
    provider.deregister(passive()).unwrap();
}

#[test]
fn r20_both_are_asked_on_one_thread() {
    let _session = Session::new();
    let log = Log::default();
    let threads: Arc<Mutex<Vec<thread::ThreadId>>> = Arc::default();
    let mut provider = TestProvider::new(&log);
    let seen = threads.clone();
    provider.on_attach = Box::new(move |_| {
        seen.lock().unwrap().push(thread::current().id());
        Ok(())
    });
    let mut client = TestClient::new(&log);
    let seen = threads.clone();
    client.on_attach = Box::new(move |_| {
        seen.lock().unwrap().push(thread::current().id());
        Ok(())
    });
    let provider = provide(provider);
    let client = use_it(client);
    assert_eq!(*threads.lock().unwrap(), [thread::current().id(); 2]);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r21_contexts_and_tables_reach_the_peer_unchanged() {
    let _session = Session::new();
    let log = Log::default();
    // A raw client sees what the library's provider returns; a raw provider what the library's client proposes.
    let provider = provide(TestProvider::new(&log));
    let mut raw = Raw::new();
    raw.register_client();
    let (context, table) = *raw.peer.lock().unwrap();
    assert_ne!(context, 0);
    // SAFETY: the provider's table.
    assert_eq!(unsafe { (*(table as *const Table)).version }, 1);
    assert_eq!(raw.call(7), 107, "the context leads to binding 1");
    raw.deregister();
    provider.deregister(passive()).unwrap();

    let client = use_it(TestClient::new(&log));
    let mut raw = Raw::new();
    raw.register_provider();
    let (context, table) = *raw.peer.lock().unwrap();
    assert_ne!(context, 0);
    // SAFETY: the client's table.
    assert_eq!(unsafe { (*(table as *const Table)).version }, 2);
    assert_eq!(raw.call(7), 1007);
    let proposed = &raw const *raw;
    let seen = client.providers().map(|provider| provider.call(|table, context| (&raw const *table, context)));
    // SAFETY: the module of this test.
    let table = unsafe { &raw const (*proposed).table };
    assert_eq!(seen.collect::<Vec<_>>(), [(table, proposed.cast_mut().cast())]);
    raw.deregister();
    client.deregister(passive()).unwrap();
}

#[test]
fn r22_the_client_sees_why_the_provider_refused() {
    let _session = Session::new();
    let log = Log::default();
    let other = Refusal::from_status(NTSTATUS::MIN).unwrap();
    for refusal in [Refusal::NO_INTERFACE, Refusal::INSUFFICIENT_RESOURCES, other] {
        let mut provider = TestProvider::new(&log);
        provider.on_attach = Box::new(move |_| Err(refusal));
        let provider = provide(provider);
        let mut raw = Raw::new();
        raw.attach_as_client = Box::new(move |(handle, raw, _)| {
            let status = Raw::propose(handle, raw);
            assert_eq!(status, refusal.status());
            status
        });
        raw.register_client();
        raw.deregister();
        provider.deregister(passive()).unwrap();
    }
}

#[test]
fn r24_a_provider_that_fails_frees_what_it_has_made() {
    let _session = Session::new();
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    let made = Arc::new(());
    let kept = made.clone();
    provider.on_attach = Box::new(move |_| {
        let half_a_binding = kept.clone();
        assert_eq!(Arc::strong_count(&half_a_binding), 3);
        Err(Refusal::INSUFFICIENT_RESOURCES)
    });
    let provider = provide(provider);
    let mut raw = Raw::new();
    raw.register_client();
    assert_eq!(Arc::strong_count(&made), 2, "gone before NMR knows of the refusal");
    assert_eq!((provider.bindings().count(), log.count("provider: drop 1")), (0, 0));
    raw.deregister();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r29_a_client_cannot_be_called_while_it_is_being_looked_at() {
    let _session = Session::new();
    let log = Log::default();
    static REGISTRATION: Mutex<Option<Provided>> = Mutex::new(None);
    let mut provider = TestProvider::new(&log);
    let seen = log.clone();
    provider.on_attach = Box::new(move |_| {
        if let Some(registration) = &*REGISTRATION.lock().unwrap() {
            seen.add(format!("callable: {}", registration.clients().count()));
        }
        Ok(())
    });
    *REGISTRATION.lock().unwrap() = Some(provide(provider));
    let clients = [use_it(TestClient::new(&log)), use_it(TestClient::new(&log))];
    assert_eq!((log.count("callable: 0"), log.count("callable: 1")), (1, 1), "each sees those before it");
    for client in clients {
        client.deregister(passive()).unwrap();
    }
    let provider = REGISTRATION.lock().unwrap().take().unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r32_a_refused_peer_is_not_asked_about_again() {
    let _session = Session::new();
    let log = Log::default();
    let mut client = TestClient::new(&log);
    client.on_attach = Box::new(|_| Err(Refusal::NO_INTERFACE));
    let client = use_it(client);
    let first = provide(TestProvider::new(&log));
    let second = provide(TestProvider::new(&log));
    assert_eq!(log.count("client: attach"), 2);
    first.deregister(passive()).unwrap();
    assert_eq!(log.count("client: attach"), 2);
    let first = provide(TestProvider::new(&log));
    assert_eq!(log.count("client: attach"), 3, "until it registers anew");
    first.deregister(passive()).unwrap();
    second.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r33_an_interface_without_tables_hands_over_null() {
    struct Nothing;
    // SAFETY: no structures at all.
    unsafe impl Npi for Nothing {
        const ID: NPIID = Testing::ID;
        type ProviderDispatch = ();
        type ClientDispatch = ();
        type ProviderCharacteristics = ();
        type ClientCharacteristics = ();
    }
    struct Silent;
    impl Client for Silent {
        type Npi = Nothing;
        type Binding = ();
        type Guard = Single;

        fn dispatch(&self) -> ClientTable<Self> {
            ClientTable::none()
        }
        fn attach(&self, _: &ProviderOffer<'_, Nothing>) -> Result<(), Refusal> {
            Ok(())
        }
    }
    let _session = Session::new();
    let mut raw = Raw::new();
    raw.attach_as_provider = Box::new(|(_, table, context)| {
        assert!(table.is_null() && !context.is_null());
        (STATUS_SUCCESS, ptr::null())
    });
    raw.register_provider();
    let options = RegistrationOptions::new(CLIENT_ID, ());
    let client = ClientRegistration::register(Silent, options, Program::default(), passive()).unwrap();
    assert_eq!(client.bindings().count(), 1);
    client.deregister(passive()).unwrap();
    raw.deregister();
}

#[test]
fn m27_what_a_failed_attach_has_made_goes_once_and_its_place_is_used_again() {
    let _session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    for round in 1..=20 {
        let mut provider = TestProvider::new(&log);
        provider.on_attach = Box::new(|_| Err(Refusal::INSUFFICIENT_RESOURCES));
        let provider = provide(provider);
        assert_eq!(log.count(&format!("client: drop {round}")), 1, "in the attach callback");
        assert_eq!(client.bindings().count(), 0);
        provider.deregister(passive()).unwrap();
        assert_eq!(log.count(&format!("client: drop {round}")), 1, "and not again");
    }
    client.deregister(passive()).unwrap();
}

#[test]
fn r25_a_client_tries_its_older_table_after_no_interface() {
    let _session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    let mut raw = Raw::new();
    let versions = log.clone();
    raw.attach_as_provider = Box::new(move |(_, table, _)| {
        // SAFETY: the client's table.
        let version = unsafe { (*table).version };
        versions.add(format!("version {version}"));
        (if version == 1 { STATUS_SUCCESS } else { STATUS_NOINTERFACE }, ptr::null())
    });
    raw.register_provider();
    assert_eq!(log.take(), ["client: attach", "version 2", "version 1"], "one question to the client, two tables");
    assert_eq!(client.providers().map(|provider| call(&provider, 1)).collect::<Vec<_>>(), [2]);
    raw.deregister();
    client.deregister(passive()).unwrap();
}

#[test]
fn r25_other_failures_are_final() {
    let _session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    let mut raw = Raw::new();
    let asked = log.clone();
    raw.attach_as_provider = Box::new(move |_| {
        asked.add("asked");
        (STATUS_INSUFFICIENT_RESOURCES, ptr::null())
    });
    raw.register_provider();
    assert_eq!(log.count("asked"), 1);
    raw.deregister();
    client.deregister(passive()).unwrap();
}

#[test]
fn m13_the_client_returns_what_nmr_returned() {
    // The registrar reports a violation if it does not.
    let session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    for status in [STATUS_NOINTERFACE, STATUS_INSUFFICIENT_RESOURCES, -1, NTSTATUS::MIN] {
        let mut raw = Raw::new();
        raw.attach_as_provider = Box::new(move |_| (status, ptr::null()));
        raw.register_provider();
        assert_eq!(client.providers().count(), 0);
        raw.deregister();
        session.fail(Function::ClientAttachProvider, 0, if status == STATUS_NOINTERFACE { -2 } else { status });
        let mut raw = Raw::new();
        raw.register_provider();
        assert_eq!(client.providers().count(), 0);
        raw.deregister();
    }
    client.deregister(passive()).unwrap();
}

#[test]
fn r26_a_status_that_is_neither_success_nor_failure_does_no_harm() {
    let session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    let mut raw = Raw::new();
    raw.attach_as_provider = Box::new(|_| (STATUS_PENDING, ptr::null()));
    raw.register_provider();
    assert_eq!(client.providers().count(), 0);
    raw.deregister();
    client.deregister(passive()).unwrap();
    assert_eq!(log.count("client: drop 1"), 1);
    // The provider's mistake, not the library's.
    let rules: Vec<_> = session.violations().iter().map(|violation| violation.rule).collect();
    for rule in rules {
        session.expect_violation(rule);
    }
}

#[test]
fn r28_a_provider_may_call_before_the_client_knows_it() {
    let _session = Session::new();
    let log = Log::default();
    let mut client = TestClient::new(&log);
    client.on_call = Box::new(|call, number| {
        assert!(call.provider().is_none(), "M14: the client cannot call before it knows how");
        number + call.binding().number as u32
    });
    let client = use_it(client);
    let mut raw = Raw::new();
    raw.attach_as_provider = Box::new(|(_, table, context)| {
        // As another thread of the provider may do at this moment.
        let (table, context) = (table as usize, context as usize);
        let answer = thread::spawn(move || {
            // SAFETY: the client's table and context.
            let function = unsafe { (*(table as *const Table)).call };
            // SAFETY: the client's table and context.
            unsafe { function(context as *mut core::ffi::c_void, 41) }
        });
        assert_eq!(answer.join().unwrap(), 42);
        (STATUS_SUCCESS, ptr::null())
    });
    raw.register_provider();
    assert_eq!(client.providers().count(), 1);
    raw.deregister();
    client.deregister(passive()).unwrap();
}

#[test]
fn m14_calling_back_fails_until_the_client_knows_how() {
    let _session = Session::new();
    let log = Log::default();
    let mut client = TestClient::new(&log);
    client.on_call =
        Box::new(|incoming, number| incoming.provider().map_or(number, |provider| call(&provider, number)));
    let client = use_it(client);
    let mut raw = Raw::new();
    raw.called = Box::new(|number| number * 2);
    raw.attach_as_provider = Box::new(|(_, table, context)| {
        // SAFETY: the client's table.
        let function = unsafe { (*table).call };
        // SAFETY: the client's context, at a moment at which another thread of the provider may call.
        assert_eq!(unsafe { function(context, 21) }, 21);
        (STATUS_SUCCESS, ptr::null())
    });
    raw.register_provider();
    assert_eq!(raw.call(21), 42, "it knows now");
    raw.deregister();
    client.deregister(passive()).unwrap();
}

#[test]
fn m12_a_provider_with_an_unusable_table_is_attached_and_never_called() {
    let _session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    let mut raw = Raw::new();
    raw.table.version = 9;
    raw.register_provider();
    assert_eq!(client.providers().count(), 0);
    let states: Vec<_> = client.bindings().map(|binding| binding.state).collect();
    assert_eq!(states, [BindingState::Unusable]);
    log.take();
    raw.deregister();
    assert_eq!(log.take(), ["client: detaching 1", "client: drop 1"], "it ends like every binding");
    client.deregister(passive()).unwrap();
}

#[test]
fn r31_peers_may_attach_at_the_same_time() {
    let _session = Session::new();
    let log = Log::default();
    let barrier = Arc::new(std::sync::Barrier::new(4));
    let mut provider = TestProvider::new(&log);
    let meet = barrier.clone();
    provider.on_attach = Box::new(move |_| {
        // All four are inside the callback at once.
        meet.wait();
        Ok(())
    });
    let provider = provide(provider);
    let clients: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| use_it(TestClient::new(&log)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(provider.clients().count(), 4);
    for client in clients {
        client.deregister(passive()).unwrap();
    }
    provider.deregister(passive()).unwrap();
}

#[test]
fn m16_the_policy_of_one_peer_leaves_the_first_one_alone() {
    let _session = Session::new();
    let log = Log::default();
    let options = RegistrationOptions::new(CLIENT_ID, Characteristics::new(8)).one_peer();
    let client = ClientRegistration::register(TestClient::new(&log), options, Program::default(), passive()).unwrap();
    let first = provide(TestProvider::new(&log));
    assert_eq!(log.take(), ["client: attach", "provider: attach"]);
    let second = provide(TestProvider::new(&log));
    assert_eq!(log.take(), Vec::<String>::new(), "nobody is asked about the second");
    assert_eq!(client.providers().map(|provider| call(&provider, 5)).collect::<Vec<_>>(), [105]);
    second.deregister(passive()).unwrap();
    assert_eq!(client.providers().map(|provider| call(&provider, 6)).collect::<Vec<_>>(), [106]);
    first.deregister(passive()).unwrap();
    let third = provide(TestProvider::new(&log));
    assert_eq!(client.providers().count(), 1, "the place is free again");
    third.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn m16_a_refused_peer_gives_the_one_place_back() {
    let _session = Session::new();
    let log = Log::default();
    let options = RegistrationOptions::new(PROVIDER_ID, Characteristics::new(8)).one_peer();
    let refuse = Arc::new(AtomicU32::new(1));
    let mut provider = TestProvider::new(&log);
    let left = refuse.clone();
    provider.on_attach = Box::new(move |_| match left.swap(0, Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(Refusal::NO_INTERFACE),
    });
    let provider = ProviderRegistration::register(provider, options, Program::default(), passive()).unwrap();
    let first = use_it_once(&log);
    assert_eq!(provider.clients().count(), 0);
    let second = use_it_once(&log);
    assert_eq!(provider.clients().count(), 1);
    let third = use_it_once(&log);
    assert_eq!(provider.clients().count(), 1);
    for client in [first, second, third] {
        client.deregister();
    }
    provider.deregister(passive()).unwrap();
}

/// A client with one table, so that it asks once.
fn use_it_once(_: &Log) -> Box<Raw> {
    let mut raw = Raw::new();
    raw.register_client();
    raw
}

#[test]
fn m17_a_refusing_provider_leaves_the_results_alone() {
    let _session = Session::new();
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    provider.on_attach = Box::new(|_| Err(Refusal::NO_INTERFACE));
    let provider = provide(provider);
    let mut raw = Raw::new();
    raw.attach_as_client = Box::new(|(handle, raw, _)| {
        // SAFETY: the module of this test.
        let this = unsafe { &*raw };
        let (mut context, mut table) = (ptr::without_provenance_mut(8), ptr::without_provenance(16));
        // SAFETY: in the attach callback, with its handle.
        let status = unsafe {
            NmrClientAttachProvider(
                handle,
                raw.cast(),
                (&raw const this.table).cast(),
                &raw mut context,
                &raw mut table,
            )
        };
        assert_eq!(status, STATUS_NOINTERFACE);
        status
    });
    raw.register_client();
    raw.deregister();
    provider.deregister(passive()).unwrap();
}

#[test]
fn a_refusal_is_a_failure() {
    assert_eq!(Refusal::from_status(STATUS_SUCCESS), None);
    assert_eq!(Refusal::from_status(STATUS_PENDING), None);
    assert_eq!(Refusal::from_status(STATUS_NOINTERFACE), Some(Refusal::NO_INTERFACE));
    assert_eq!(Refusal::NO_INTERFACE.status(), STATUS_NOINTERFACE);
}
