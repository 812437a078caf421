//! Registrations: what they own and what is left when there is none.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use nmr_registrar::{Function, Session};
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
    const DISPATCH: ProviderTable<Self> = ProviderTable::none();

    fn attach(&self, client: &ClientOffer<'_, Bare>) -> Result<(), Refusal> {
        assert_eq!(client.characteristics(), Ok(&()));
        self.0.add("presence: attach");
        Ok(())
    }
}

impl Client for Presence {
    type Npi = Bare;
    type Binding = ();
    type Guard = Single;
    const DISPATCH: ClientTable<Self> = ClientTable::none();

    fn attach(&self, _: &ProviderOffer<'_, Bare>) -> Result<(), Refusal> {
        Ok(())
    }
}

#[test]
fn r1_each_interface_and_role_has_a_registration_of_its_own() {
    let _session = Session::new();
    let log = Log::default();
    let identity = Identity::new(PROVIDER_ID, ());
    let presence =
        ProviderRegistration::register(Presence(log.clone()), identity.clone(), Program::default(), passive()).unwrap();
    let provider = provide(TestProvider::new(&log));
    let client = use_it(TestClient::new(&log));
    assert_eq!(log.take(), ["client: attach", "provider: attach"], "modules of one interface only meet each other");
    let other = ClientRegistration::register(Presence(log.clone()), identity, Program::default(), passive()).unwrap();
    assert_eq!(log.take(), ["presence: attach"]);
    assert_eq!((presence.clients().count(), other.providers().count()), (1, 1));
    presence.deregister(passive()).unwrap();
    assert_eq!(client.providers().count(), 1, "R69: other registrations do not notice");
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
    other.deregister(passive()).unwrap();
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
        assert_eq!(log.take(), ["client: attach", "provider: attach"], "R16: the client is asked first");
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
    client.on_attached = Box::new(move |provider| seen.add(format!("called: {}", call(provider, 1))));
    let provider = provide(TestProvider::new(&log));
    let client = use_it(client);
    assert_eq!(log.take(), ["client: attach", "provider: attach", "called: 101"]);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn r9_m4_a_registration_that_failed_leaves_nothing_behind() {
    let session = Session::new();
    let log = Log::default();
    let program = Program::default();
    let cases = [
        (STATUS_INSUFFICIENT_RESOURCES, RegisterError::InsufficientResources),
        (STATUS_INVALID_PARAMETER, RegisterError::Status(STATUS_INVALID_PARAMETER)),
    ];
    for (status, error) in cases {
        session.fail(Function::RegisterProvider, 0, status);
        let identity = Identity::new(PROVIDER_ID, Characteristics::new(1));
        let result = ProviderRegistration::register(TestProvider::new(&log), identity, program.clone(), passive());
        assert_eq!(result.err(), Some(error));
        assert_eq!(error.status(), status);
        assert_eq!(log.take(), ["provider: gone"]);
        session.fail(Function::RegisterClient, 0, status);
        let identity = Identity::new(CLIENT_ID, Characteristics::new(1));
        let result = ClientRegistration::register(TestClient::new(&log), identity, program.clone(), passive());
        assert_eq!(result.err(), Some(error));
        assert_eq!(log.take(), ["client: gone"]);
    }
    assert_eq!(program.0.load(Ordering::Relaxed), 4, "the image is let go");
}

#[test]
fn r10_m18_m19_what_nmr_points_to_stays_when_the_registration_moves() {
    let _session = Session::new();
    let log = Log::default();
    // The registrar looks at every structure again in its strict mode.
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
fn r12_a_structure_of_ones_own_must_have_its_form() {
    let _session = Session::new();
    let log = Log::default();
    let wrong = Characteristics { version: 3, ..Characteristics::new(1) };
    let identity = Identity::new(PROVIDER_ID, wrong);
    let error = ProviderRegistration::register(TestProvider::new(&log), identity, Program::default(), passive());
    let expected = StructureError::Version { found: 3, oldest: 1, newest: 1 };
    assert_eq!(error.err(), Some(RegisterError::OwnStructure(expected)));
    assert_eq!(RegisterError::OwnStructure(expected).status(), STATUS_INVALID_PARAMETER);
    let text = RegisterError::OwnStructure(expected).to_string();
    assert_eq!(text, "the module hands out a structure of version 3: 1 to 1 will do");
}

#[test]
fn r13_r30_many_clients_and_providers_have_a_binding_for_each_pair() {
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
        let identity = Identity::new(PROVIDER_ID, ());
        let inner =
            ProviderRegistration::register(Presence(inner_log.clone()), identity, Program::default(), client.passive());
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
