//! Registrations: what they own and what is left when there is none.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;

use nmr_registrar::{Callback, Function, Session, When};
use wdk_nmr::*;
use wdk_nmr_sys::{STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER};

use crate::common::*;

/// Another interface, which has nothing but an identifier.
struct Bare;

// SAFETY: no structures at all.
unsafe impl Npi for Bare {
    const ID: NPIID = guid(2);
    type ProviderDispatch = ();
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

/// Is there for everybody who wants it.
struct Presence(Log);

impl Provider for Presence {
    type Npi = Bare;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        ProviderTable::none()
    }

    fn attach(&self, client: &ClientOffer<'_, Bare>) -> Result<(), Refusal> {
        assert_eq!(client.characteristics(), Ok(()));
        self.0.add("presence: attach");
        Ok(())
    }
}

impl Client for Presence {
    type Npi = Bare;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Bare>) -> Result<(), Refusal> {
        Ok(())
    }
}

#[test]
fn r1_each_interface_and_role_has_a_registration_of_its_own() {
    let _session = Session::new();
    let log = Log::default();
    let options = RegistrationOptions::new(PROVIDER_ID, ());
    let presence =
        ProviderRegistration::register(Presence(log.clone()), options.clone(), Program::default(), passive()).unwrap();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    assert_eq!(log.take(), ["client: attach", "provider: attach"], "modules of one interface only meet each other");
    let other = ClientRegistration::register(Presence(log.clone()), options, Program::default(), passive()).unwrap();
    assert_eq!(log.take(), ["presence: attach"]);
    assert_eq!((presence.clients().count(), other.providers().count()), (1, 1));
    presence.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
    other.deregister(passive()).unwrap();
}

/// The same interface as `Bare`, as another crate would declare it.
struct BareToo;

// SAFETY: as `Bare`.
unsafe impl Npi for BareToo {
    const ID: NPIID = guid(2);
    type ProviderDispatch = ();
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

struct PresentToo;

impl Client for PresentToo {
    type Npi = BareToo;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, BareToo>) -> Result<(), Refusal> {
        Ok(())
    }
}

#[test]
fn r2_an_interface_is_the_value_of_its_identifier() {
    let _session = Session::new();
    let log = Log::default();
    let options = RegistrationOptions::new(PROVIDER_ID, ());
    let provider =
        ProviderRegistration::register(Presence(log.clone()), options.clone(), Program::default(), passive()).unwrap();
    let client = ClientRegistration::register(PresentToo, options, Program::default(), passive()).unwrap();
    assert_eq!((provider.clients().count(), client.providers().count()), (1, 1));
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r6_who_is_there_has_been_offered_when_register_returns() {
    let _session = Session::adversary();
    let log = Log::default();
    let providers: Vec<_> = (0..5).map(|_| provide(TestProvider::new(&log))).collect();
    let client = use_it(TestClient::new(&log));
    assert_eq!((log.count("client: attach"), client.providers().count()), (5, 5));
    client.deregister(passive()).unwrap();
    for provider in providers {
        provider.deregister(passive()).unwrap();
    }
}

#[test]
fn r8_a_binding_may_be_over_before_register_returns() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let pause = session.pause(When::Before, Callback::ClientAttachProvider);
    let (second, other_log) = (provide(TestProvider::new(&log)), log.clone());
    thread::scope(|scope| {
        let registering = scope.spawn(|| use_it(TestClient::new(&other_log)));
        pause.wait_until_reached();
        // Both providers go while the client is asked about the first of them.
        let deregistering = [provider.start_deregistering(), second.start_deregistering()];
        pause.resume();
        let client = registering.join().unwrap();
        assert_eq!(client.providers().count(), 0);
        for provider in deregistering {
            provider.wait(passive()).unwrap();
        }
        assert_eq!(client.bindings().count(), 0);
        client.deregister(passive()).unwrap();
    });
    let dropped = log.take().iter().filter(|event| event.starts_with("client: drop")).count();
    assert!(dropped >= 1, "the first one had been attached");
}

#[test]
fn r13_registrations_that_look_the_same_are_independent() {
    let _session = Session::new();
    let log = Log::default();
    let providers = [provide(TestProvider::new(&log)), provide(TestProvider::new(&log))];
    let client = use_it(TestClient::new(&log));
    let [first, second] = providers;
    assert_eq!((first.clients().count(), second.clients().count()), (1, 1));
    first.deregister(passive()).unwrap();
    assert_eq!((second.clients().count(), client.providers().count()), (1, 1));
    second.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r14_a_driver_may_be_provider_and_client_of_one_interface() {
    let _session = Session::new();
    let log = Log::default();
    let options = RegistrationOptions::new(PROVIDER_ID, ());
    let presence = || Presence(log.clone());
    let provider = ProviderRegistration::register(presence(), options.clone(), Program::default(), passive()).unwrap();
    let client = ClientRegistration::register(presence(), options, Program::default(), passive()).unwrap();
    assert_eq!((provider.clients().count(), client.providers().count()), (1, 1));
    provider.deregister(passive()).unwrap();
    assert_eq!(client.providers().count(), 0);
    client.deregister(passive()).unwrap();
}

#[test]
fn r16_the_client_is_asked_first_whoever_came_last() {
    let _session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    let provider = provide(TestProvider::new(&log));
    assert_eq!(log.take(), ["client: attach", "provider: attach"]);
    let other = use_it(TestClient::new(&log));
    assert_eq!(log.take(), ["client: attach", "provider: attach"]);
    provider.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
    other.deregister(passive()).unwrap();
}

#[test]
fn r69_the_end_of_one_registration_leaves_the_others_alone() {
    let _session = Session::new();
    let log = Log::default();
    let options = RegistrationOptions::new(PROVIDER_ID, ());
    let presence =
        ProviderRegistration::register(Presence(log.clone()), options, Program::default(), passive()).unwrap();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    presence.deregister(passive()).unwrap();
    assert_eq!(client.providers().map(|provider| call(&provider, 5)).collect::<Vec<_>>(), [105]);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r4_the_order_of_registration_does_not_matter() {
    let _session = Session::new();
    let log = Log::default();
    for client_first in [true, false] {
        let (provider, client) = if client_first {
            let client = use_it(TestClient::new(&log));
            (provide(TestProvider::new(&log)), client)
        } else {
            let provider = provide(TestProvider::new(&log));
            (provider, use_it(TestClient::new(&log)))
        };
        assert_eq!(log.take(), ["client: attach", "provider: attach"]);
        assert_eq!(client.providers().map(|provider| call(&provider, 5)).collect::<Vec<_>>(), [105]);
        assert_eq!(provider.clients().map(|client| call(&client, 5)).collect::<Vec<_>>(), [1005]);
        if client_first {
            provider.deregister(passive()).unwrap();
            client.deregister(passive()).unwrap();
        } else {
            client.deregister(passive()).unwrap();
            provider.deregister(passive()).unwrap();
        }
        log.take();
    }
}

#[test]
fn r5_a_refusal_does_not_make_the_registration_fail() {
    let _session = Session::new();
    let log = Log::default();
    let mut refusing = TestProvider::new(&log);
    refusing.on_attach = Box::new(|_| Err(Refusal::INSUFFICIENT_RESOURCES));
    let client = use_it(TestClient::new(&log));
    let provider = provide(refusing);
    assert_eq!((provider.clients().count(), client.providers().count()), (0, 0));
    provider.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r7_callbacks_need_no_registration() {
    let _session = Session::new();
    let log = Log::default();
    // The provider calls back while the client's `register` is still at work.
    let mut client = TestClient::new(&log);
    let seen = log.clone();
    client.on_attached = Box::new(move |provider| seen.add(format!("called: {}", call(&provider, 1))));
    let provider = provide(TestProvider::new(&log));
    let client = use_it(client);
    assert_eq!(log.take(), ["client: attach", "provider: attach", "called: 101"]);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r9_a_registration_that_failed_leaves_nothing_behind() {
    let session = Session::new();
    let log = Log::default();
    let program = Program::default();
    let cases = [
        (STATUS_INSUFFICIENT_RESOURCES, RegisterError::InsufficientResources),
        (STATUS_INVALID_PARAMETER, RegisterError::Status(STATUS_INVALID_PARAMETER)),
    ];
    for (status, error) in cases {
        session.fail(Function::RegisterProvider, 0, status);
        let options = RegistrationOptions::new(PROVIDER_ID, Characteristics::new(1));
        let result = ProviderRegistration::register(TestProvider::new(&log), options, program.clone(), passive());
        assert_eq!(result.err(), Some(error));
        assert_eq!(error.status(), status);
        assert_eq!(log.take(), ["provider: gone"]);
        session.fail(Function::RegisterClient, 0, status);
        let options = RegistrationOptions::new(CLIENT_ID, Characteristics::new(1));
        let result = ClientRegistration::register(TestClient::new(&log), options, program.clone(), passive());
        assert_eq!(result.err(), Some(error));
        assert_eq!(log.take(), ["client: gone"]);
    }
    assert_eq!(program.0.load(Ordering::Relaxed), 4, "the image is let go");
}

#[test]
fn r10_what_nmr_points_to_is_the_registrations_own() {
    let _session = Session::new();
    let log = Log::default();
    // The registrar compares every structure with what it was, each time it comes back to it.
    let provider = provide(TestProvider::new(&log));
    let clients: Vec<_> = (0..3).map(|_| use_it(TestClient::new(&log))).collect();
    assert_eq!(provider.clients().count(), 3);
    for client in clients {
        client.deregister(passive()).unwrap();
    }
    provider.deregister(passive()).unwrap();
}

#[test]
fn m18_nothing_on_the_stack_is_handed_to_nmr() {
    let _session = Session::new();
    let log = Log::default();
    /// Everything that describes the module is gone when this returns.
    #[inline(never)]
    fn register(log: &Log) -> Provided {
        let characteristics = Characteristics::new(7);
        let id = ModuleId::Guid(guid(100));
        let options = RegistrationOptions::new(id, characteristics).number(70);
        ProviderRegistration::register(TestProvider::new(log), options, Program::default(), passive()).unwrap()
    }
    #[inline(never)]
    fn overwrite() -> u64 {
        core::hint::black_box([0xdead_dead_dead_dead_u64; 512]).iter().fold(0, |sum, word| sum ^ word)
    }
    let provider = register(&log);
    assert_eq!(overwrite(), 0);
    let mut client = TestClient::new(&log);
    client.on_attach = Box::new(|provider| {
        assert_eq!(provider.module_id(), Ok(ModuleId::Guid(guid(100))));
        assert_eq!(provider.characteristics(), Ok(&Characteristics::new(7)));
        Ok(())
    });
    let client = use_it(client);
    assert_eq!(client.providers().count(), 1);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn m19_what_nmr_points_to_stays_when_the_registration_moves() {
    let _session = Session::new();
    let log = Log::default();
    let mut moved = Some(Box::new(provide(TestProvider::new(&log))));
    let provider = *moved.take().unwrap();
    let mut holder = vec![provider];
    holder.reserve(100);
    let provider = holder.pop().unwrap();
    let client = use_it(TestClient::new(&log));
    assert_eq!(client.providers().count(), 1);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r11_callbacks_get_the_module_that_was_registered() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let seen = |name: &'static str| {
        let mut client = TestClient::new(&log);
        let seen = log.clone();
        client.on_attach = Box::new(move |_| {
            seen.add(name);
            Ok(())
        });
        client
    };
    let first = use_it(seen("first"));
    let second = use_it(seen("second"));
    assert_eq!((log.count("first"), log.count("second")), (1, 1));
    first.deregister(passive()).unwrap();
    second.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r12_a_structure_of_ones_own_must_have_its_form() {
    let _session = Session::new();
    let log = Log::default();
    let wrong = Characteristics { version: 3, ..Characteristics::new(1) };
    let options = RegistrationOptions::new(PROVIDER_ID, wrong);
    let error = ProviderRegistration::register(TestProvider::new(&log), options, Program::default(), passive());
    let expected = StructureError::Version { found: 3, oldest: 1, newest: 1 };
    assert_eq!(error.err(), Some(RegisterError::OwnStructure(expected)));
    assert_eq!(RegisterError::OwnStructure(expected).status(), STATUS_INVALID_PARAMETER);
    let text = RegisterError::OwnStructure(expected).to_string();
    assert_eq!(
        text,
        "a structure of the module itself is wrong: expected a structure of version 1 to 1, found version 3"
    );
}

#[test]
fn r30_many_clients_and_providers_have_a_binding_for_each_pair() {
    let _session = Session::adversary();
    let log = Log::default();
    let clients: Vec<_> = (0..7).map(|_| use_it(TestClient::new(&log))).collect();
    let providers: Vec<_> = (0..11).map(|_| provide(TestProvider::new(&log))).collect();
    for client in &clients {
        assert_eq!(client.providers().count(), 11);
        let mut bindings: Vec<_> = client.providers().map(|provider| provider.binding().number).collect();
        bindings.sort_unstable();
        assert_eq!(bindings, (1..=11).collect::<Vec<_>>(), "M16: a binding for each peer");
    }
    for provider in &providers {
        let mut numbers: Vec<_> = provider.clients().map(|client| call(&client, 0)).collect();
        assert_eq!(numbers.len(), 7);
        numbers.dedup();
        assert_eq!(numbers.len(), 1, "each client counts its providers in the same order");
    }
    log.take();
    for (number, client) in clients.into_iter().enumerate() {
        client.deregister(passive()).unwrap();
        assert_eq!(providers[0].clients().count(), 6 - number);
    }
    for provider in providers {
        provider.deregister(passive()).unwrap();
    }
    assert_eq!(log.take().iter().filter(|event| event.contains("drop")).count(), 2 * 77);
}

#[test]
fn r60_an_attach_callback_may_register_another_module() {
    let _session = Session::new();
    let log = Log::default();
    static INNER: Mutex<Option<ProviderRegistration<Presence, Program>>> = Mutex::new(None);
    let mut outer = TestProvider::new(&log);
    let inner_log = log.clone();
    outer.on_attach = Box::new(move |client| {
        let options = RegistrationOptions::new(PROVIDER_ID, ());
        let inner =
            ProviderRegistration::register(Presence(inner_log.clone()), options, Program::default(), client.passive());
        *INNER.lock().unwrap() = inner.ok();
        Ok(())
    });
    let provider = provide(outer);
    let client = use_it(TestClient::new(&log));
    let inner = INNER.lock().unwrap().take().expect("registered inside the callback");
    inner.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r71_a_module_can_come_back() {
    let _session = Session::adversary();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    for round in 1..=20 {
        let provider = provide(TestProvider::new(&log));
        let bindings: Vec<_> = client.providers().map(|provider| provider.binding().number).collect();
        assert_eq!(bindings, [round], "a binding of its own each time");
        provider.deregister(passive()).unwrap();
        assert_eq!(client.providers().count(), 0);
    }
    client.deregister(passive()).unwrap();
}

#[test]
fn many_bindings_grow_the_slab_and_reuse_it() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    for _ in 0..2 {
        let clients: Vec<_> = (0..600).map(|_| use_it(TestClient::new(&log))).collect();
        assert_eq!(provider.clients().count(), 600);
        assert_eq!(provider.bindings().count(), 600);
        for client in clients {
            client.deregister(passive()).unwrap();
        }
        assert_eq!(provider.clients().count(), 0);
    }
    provider.deregister(passive()).unwrap();
}
