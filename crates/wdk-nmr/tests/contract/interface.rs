//! What interfaces ask for beside two tables of their own: versions of registrations, identifiers at run time, tables
//! that differ from registration to registration, and calls that end later.

use core::ffi::c_void;
use core::ptr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nmr_registrar::{Session, Strictness};
use wdk_nmr::*;
use wdk_nmr_sys::{STATUS_NOINTERFACE, STATUS_SUCCESS};

use crate::common::*;

/// Not strict: the registrar cannot know of an interface that gives the version of an instance a meaning.
fn lenient() -> Session {
    let session = Session::new();
    session.set_strictness(Strictness::Lenient);
    session
}

#[test]
fn r12_a_registration_says_of_which_version_it_is() {
    let _session = lenient();
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    // As XDP for Windows has it.
    provider.on_attach = Box::new(|client| if client.version() == 1 { Ok(()) } else { Err(Refusal::NO_INTERFACE) });
    let provider = provide(provider);
    for (version, attached) in [(0, 0), (1, 1), (2, 0)] {
        let options = RegistrationOptions::new(CLIENT_ID, Characteristics::new(8)).version(version);
        let client =
            ClientRegistration::register(TestClient::new(&log), options, Program::default(), passive()).unwrap();
        assert_eq!(client.providers().count(), attached, "version {version}");
        client.deregister(passive()).unwrap();
    }
    provider.deregister(passive()).unwrap();
}

/// One interface for each of many things.
struct Many;

// SAFETY: no structures at all, whatever the identifier.
unsafe impl Npi for Many {
    const ID: NPIID = ID_AT_RUN_TIME;
    type ProviderDispatch = ();
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

struct One;

impl Provider for One {
    type Npi = Many;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        ProviderTable::none()
    }

    fn attach(&self, _: &ClientOffer<'_, Many>) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Client for One {
    type Npi = Many;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Many>) -> Result<(), Refusal> {
        Ok(())
    }
}

#[test]
fn r2_an_identifier_may_be_known_at_run_time_alone() {
    let _session = Session::new();
    // SAFETY: the interface has no structures.
    let options = |number| unsafe { RegistrationOptions::new(PROVIDER_ID, ()).npi_id(guid(number)) };
    let providers =
        [600, 601].map(|id| ProviderRegistration::register(One, options(id), Program::default(), passive()).unwrap());
    let client = ClientRegistration::register(One, options(601), Program::default(), passive()).unwrap();
    assert_eq!(providers.each_ref().map(|provider| provider.clients().count()), [0, 1]);
    client.deregister(passive()).unwrap();
    for provider in providers {
        provider.deregister(passive()).unwrap();
    }
}

#[test]
fn r2_an_identifier_that_nobody_has_given_is_refused() {
    let _session = Session::new();
    let program = Program::default();
    let options = RegistrationOptions::new(PROVIDER_ID, ());
    let error = ProviderRegistration::register(One, options, program.clone(), passive()).err();
    assert_eq!(error, Some(RegisterError::NoNpiId));
    assert_eq!(
        RegisterError::NoNpiId.to_string(),
        "expected an identifier of the interface in the options, found none"
    );
    assert_eq!(program.0.load(std::sync::atomic::Ordering::Relaxed), 1, "the image is let go");
}

/// An interface in which a client hands over data of its own by its table.
struct Carrying;

#[repr(C)]
struct Carried {
    revision: u32,
    size: u32,
    data: *const u32,
    next: Option<unsafe extern "C" fn(context: *const c_void) -> u32>,
    reserved: Option<unsafe extern "C" fn()>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RevisionAndSize {
    revision: u32,
    size: u32,
}

// SAFETY: `repr(C)`, starts with its header; addresses of what stays as long as the registration.
unsafe impl NpiStructure for Carried {
    type Header = RevisionAndSize;

    fn check(header: &RevisionAndSize) -> Result<usize, StructureError> {
        StructureError::unless_version(header.revision, 1..=u32::MAX)?;
        Ok(header.size as usize)
    }
}

// SAFETY: the two modules below.
unsafe impl Npi for Carrying {
    const ID: NPIID = guid(610);
    type ProviderDispatch = Ignored;
    type ClientDispatch = Carried;
    type ProviderCharacteristics = Ignored;
    type ClientCharacteristics = Optional<Characteristics>;
}

struct Carrier {
    number: u32,
}

impl Client for Carrier {
    type Npi = Carrying;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        client_table!(Self, Carried {
            revision: 1,
            size: size_of::<Carried>() as u32,
            // SAFETY: the client stays where it is as long as it is registered.
            data: unsafe { by_hand(&raw const self.number) },
            next: fn |call: ClientCall<'_, Self>| call.client().number + 1,
            reserved: null,
        })
    }

    fn attach(&self, provider: &ProviderOffer<'_, Carrying>) -> Result<(), Refusal> {
        assert_eq!((provider.characteristics(), provider.dispatch()), (Ok(ptr::null()), ()));
        Ok(())
    }
}

/// Notes what it sees of the clients that are offered to it.
struct Looker(Arc<Mutex<Vec<(u32, bool, Option<u32>)>>>);

impl Provider for Looker {
    type Npi = Carrying;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        ProviderTable::none()
    }

    fn attach(&self, client: &ClientOffer<'_, Carrying>) -> Result<(), Refusal> {
        let table = client.dispatch();
        let characteristics = client.characteristics()?.map(|characteristics| characteristics.value);
        // SAFETY: the interface says that it is an address of a number.
        let carried = unsafe { *table.data };
        self.0.lock().unwrap().push((carried, table.reserved.is_none(), characteristics));
        // An odd one is not welcome.
        if carried % 2 == 0 { Ok(()) } else { Err(Refusal::NO_INTERFACE) }
    }
}

#[test]
fn r10_each_registration_has_a_table_of_its_own_which_the_provider_may_look_at_before_it_decides() {
    let _session = Session::new();
    let seen = Arc::default();
    let options = RegistrationOptions::new(PROVIDER_ID, ());
    let provider =
        ProviderRegistration::register(Looker(Arc::clone(&seen)), options, Program::default(), passive()).unwrap();
    let register = |number, characteristics| {
        let options = RegistrationOptions::new(CLIENT_ID, characteristics);
        ClientRegistration::register(Carrier { number }, options, Program::default(), passive()).unwrap()
    };
    let clients = [register(10, None), register(21, None), register(30, Some(Characteristics::new(3)))];
    assert_eq!(*seen.lock().unwrap(), [(10, true, None), (21, true, None), (30, true, Some(3))]);
    let answers = provider.clients().map(|client| {
        client.call(|table, context| {
            let next = table.next.expect("the client has it");
            // SAFETY: the context came with the table.
            unsafe { next(context) }
        })
    });
    assert_eq!(answers.collect::<Vec<_>>(), [11, 31], "the context leads to the client whose table it is");
    for client in clients {
        client.deregister(passive()).unwrap();
    }
    provider.deregister(passive()).unwrap();
}

#[test]
fn r33_null_where_a_table_is_optional_and_anything_where_it_is_ignored() {
    struct Loose;
    // SAFETY: who hands over a table, hands over a `Table`.
    unsafe impl Npi for Loose {
        const ID: NPIID = Testing::ID;
        type ProviderDispatch = Optional<Table>;
        type ClientDispatch = Ignored;
        type ProviderCharacteristics = Ignored;
        type ClientCharacteristics = ();
    }
    struct Relaxed;
    impl Client for Relaxed {
        type Npi = Loose;
        type Binding = ();
        type Guard = Single;
        fn dispatch(&self) -> ClientTable<Self> {
            ClientTable::none()
        }
        fn attach(&self, _: &ProviderOffer<'_, Loose>) -> Result<(), Refusal> {
            Ok(())
        }
    }
    impl Provider for Relaxed {
        type Npi = Loose;
        type Binding = ();
        type Guard = Single;
        fn dispatch(&self) -> ProviderTable<Self> {
            ProviderTable::none()
        }
        fn attach(&self, client: &ClientOffer<'_, Loose>) -> Result<(), Refusal> {
            assert!(!client.dispatch().is_null(), "the address can be seen");
            Ok(())
        }
    }
    struct WithTable;
    impl Provider for WithTable {
        type Npi = Loose;
        type Binding = ();
        type Guard = Single;
        fn dispatch(&self) -> ProviderTable<Self> {
            provider_table!(Self, Table {
                version: 1,
                size: Table::SIZE,
                call: fn |_: ProviderCall<'_, Self>, number: u32| number + 1,
            })
        }
        fn attach(&self, _: &ClientOffer<'_, Loose>) -> Result<(), Refusal> {
            Ok(())
        }
    }
    let _session = Session::new();
    // A provider without a table, and one with.
    let options = RegistrationOptions::new(CLIENT_ID, ());
    let client = ClientRegistration::register(Relaxed, options.clone(), Program::default(), passive()).unwrap();
    let tables = |client: &ClientRegistration<Relaxed, Program>| {
        client.providers().map(|provider| provider.call(|table, _| table.is_some())).collect::<Vec<_>>()
    };
    let mut raw = Raw::new();
    raw.attach_as_provider = Box::new(|_| (STATUS_SUCCESS, ptr::without_provenance(1)));
    raw.register_provider();
    assert_eq!(client.bindings().next().map(|binding| binding.state), Some(BindingState::Unusable), "not NULL");
    raw.deregister();
    let mut raw = Raw::new();
    raw.register_provider();
    assert_eq!(tables(&client), [true]);
    raw.deregister();
    client.deregister(passive()).unwrap();
    let provider = ProviderRegistration::register(Relaxed, options.clone(), Program::default(), passive()).unwrap();
    let mut raw = Raw::new();
    raw.register_client();
    let (_, table) = *raw.peer.lock().unwrap();
    assert_eq!(table, 0, "no table of the provider's");
    assert_eq!(provider.clients().count(), 1, "whatever the client's table is");
    raw.deregister();
    provider.deregister(passive()).unwrap();
    let provider = ProviderRegistration::register(WithTable, options, Program::default(), passive()).unwrap();
    let mut raw = Raw::new();
    raw.register_client();
    assert_eq!(raw.call(3), 4);
    raw.deregister();
    provider.deregister(passive()).unwrap();
}

/// A provider whose calls end later, and a client that calls it as soon as it is attached.
struct Later;

type Start = unsafe extern "system" fn(context: *mut c_void, request: *mut c_void) -> i32;
type Finished = unsafe extern "system" fn(context: *mut c_void, request: *mut c_void, status: i32);

#[repr(C)]
struct Starting {
    header: VersionAndSize,
    start: Start,
}

#[repr(C)]
struct Finishing {
    header: VersionAndSize,
    finished: Finished,
}

// SAFETY: starts with its header; a pointer to a function.
unsafe impl NpiStructure for Starting {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

// SAFETY: starts with its header; a pointer to a function.
unsafe impl NpiStructure for Finishing {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

// SAFETY: the two modules below. A call of `start` is over when `finished` has been called for its request.
unsafe impl Npi for Later {
    const ID: NPIID = guid(620);
    type ProviderDispatch = Starting;
    type ClientDispatch = Finishing;
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

const STATUS_PENDING: i32 = 0x103;

/// Takes requests; a test finishes them.
struct Taker {
    pended: Mutex<Vec<(HeldClient<Taker>, usize)>>,
}

impl Taker {
    fn start(call: ProviderCall<'_, Self>, request: *mut c_void) -> i32 {
        // A client that is on its way out gets no answer later.
        let Some(client) = call.client() else { return STATUS_NOINTERFACE };
        call.provider().pended.lock().unwrap().push((client.hold(), request as usize));
        STATUS_PENDING
    }

    fn finish_one(&self) {
        let (client, request) = self.pended.lock().unwrap().pop().expect("a request");
        client.binding().lock().unwrap().push(request);
        client.call(|table, context| {
            // SAFETY: the context came with the table; the request is the client's.
            unsafe { (table.finished)(context, request as *mut c_void, 42) }
        });
    }
}

impl Provider for Taker {
    type Npi = Later;
    type Binding = Mutex<Vec<usize>>;
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Starting { header: VersionAndSize::of::<Starting>(1), start: fn Self::start })
    }

    fn attach(&self, _: &ClientOffer<'_, Later>) -> Result<Mutex<Vec<usize>>, Refusal> {
        Ok(Mutex::default())
    }
}

/// Has one request in flight: the provider, held, and where the answer goes.
struct Asker {
    in_flight: Mutex<Option<HeldProvider<Asker>>>,
    answers: SyncSender<i32>,
}

impl Asker {
    fn ask(&self, provider: AttachedProvider<'_, Self>) {
        let held = self.in_flight.lock().unwrap().insert(provider.hold()).call(|table, context| {
            // SAFETY: the context came with the table.
            unsafe { (table.start)(context, 7 as *mut c_void) }
        });
        assert_eq!(held, STATUS_PENDING);
    }

    fn finished(call: ClientCall<'_, Self>, request: *mut c_void, status: i32) {
        assert_eq!(request as usize, 7);
        call.client().answers.send(status).unwrap();
        drop(call.client().in_flight.lock().unwrap().take());
    }
}

impl Client for Asker {
    type Npi = Later;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        client_table!(Self, Finishing { header: VersionAndSize::of::<Finishing>(1), finished: fn Self::finished })
    }

    fn attach(&self, _: &ProviderOffer<'_, Later>) -> Result<(), Refusal> {
        Ok(())
    }

    fn attached(&self, provider: AttachedProvider<'_, Self>) {
        self.ask(provider);
    }
}

fn both() -> (ProviderRegistration<Taker, Program>, ClientRegistration<Asker, Program>, Receiver<i32>) {
    let options = RegistrationOptions::new(PROVIDER_ID, ());
    let taker = Taker { pended: Mutex::default() };
    let provider = ProviderRegistration::register(taker, options, Program::default(), passive()).unwrap();
    let (answers, receiver) = sync_channel(8);
    let asker = Asker { in_flight: Mutex::default(), answers };
    let options = RegistrationOptions::new(CLIENT_ID, ());
    let client = ClientRegistration::register(asker, options, Program::default(), passive()).unwrap();
    (provider, client, receiver)
}

#[test]
fn r50_a_call_that_is_made_when_the_client_attaches_may_end_later() {
    let _session = Session::new();
    let (provider, client, answers) = both();
    assert!(answers.try_recv().is_err(), "it is in flight");
    let deregistering = client.start_deregistering();
    let calls: Vec<_> = deregistering.bindings().map(|binding| (binding.state, binding.calls)).collect();
    assert_eq!(calls, [(BindingState::Draining, 1)]);
    // On another thread, as a completion comes.
    thread::scope(|scope| {
        scope.spawn(|| provider.provider().finish_one());
        deregistering.wait(passive()).unwrap();
    });
    assert_eq!(answers.try_recv(), Ok(42));
    provider.deregister(passive()).unwrap();
}

#[test]
fn r50_a_pended_call_leads_to_its_binding_until_it_is_ended() {
    let _session = Session::new();
    let (provider, client, answers) = both();
    provider.provider().finish_one();
    let peer = provider.clients().next().expect("attached");
    assert_eq!((answers.try_recv(), peer.binding().lock().unwrap().as_slice()), (Ok(42), &[7][..]));
    drop(peer);
    client.client().ask(client.providers().next().expect("attached"));
    provider.provider().finish_one();
    assert_eq!(answers.try_recv(), Ok(42));
    provider.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r6_a_client_can_wait_for_a_provider() {
    let _session = Session::new();
    let log = Log::default();
    let (attached, wake) = sync_channel(1);
    let mut client = TestClient::new(&log);
    client.on_attached = Box::new(move |_| _ = attached.try_send(()));
    let client = use_it(client);
    let wait_briefly = || wake.recv_timeout(Duration::from_millis(1)).is_ok();
    assert!(client.wait_for_provider(passive(), wait_briefly).is_none());
    thread::scope(|scope| {
        let coming = scope.spawn(|| provide(TestProvider::new(&Log::default())));
        let provider = client.wait_for_provider(passive(), || wake.recv_timeout(PATIENCE).is_ok());
        assert_eq!(provider.map(|provider| call(&provider, 1)), Some(101));
        let provider = coming.join().unwrap();
        // One that is there is found without a wait.
        assert!(client.wait_for_provider(passive(), || panic!("nothing to wait for")).is_some());
        provider.deregister(passive()).unwrap();
        // A provider that came and went while the client waited.
        let mut looks = [true, false].into_iter();
        assert!(client.wait_for_provider(passive(), || looks.next().expect("no further look")).is_none());
    });
    client.deregister(passive()).unwrap();
}

#[test]
fn m12_a_client_learns_of_an_unusable_provider_which_takes_no_place() {
    let _session = Session::new();
    let log = Log::default();
    let options = RegistrationOptions::new(CLIENT_ID, Characteristics::new(8)).one_peer();
    let mut client = TestClient::new(&log);
    let noted = log.clone();
    client.on_unusable = Box::new(move |binding, error| noted.add(format!("unusable: {} {error:?}", binding.number)));
    let client = ClientRegistration::register(client, options, Program::default(), passive()).unwrap();
    let with_version = |version| {
        let mut raw = Raw::new();
        raw.table.version = version;
        raw.register_provider();
        raw
    };
    let bad = with_version(9);
    assert_eq!(log.take(), ["client: attach", "unusable: 1 Version { found: 9, oldest: 1, newest: 2 }"]);
    let good = with_version(1);
    assert_eq!(client.providers().count(), 1, "the place was free");
    assert_eq!(log.take(), ["client: attach"]);
    bad.deregister();
    assert_eq!(log.take(), ["client: detaching 1", "client: drop 1"]);
    let third = with_version(1);
    assert_eq!((client.providers().count(), log.take()), (1, vec![]), "the good one still has the place");
    third.deregister();
    good.deregister();
    client.deregister(passive()).unwrap();
}

#[test]
fn r26_a_provider_that_neither_agreed_nor_refused_takes_no_place() {
    let session = Session::new();
    let log = Log::default();
    let options = RegistrationOptions::new(CLIENT_ID, Characteristics::new(8)).one_peer();
    let client = ClientRegistration::register(TestClient::new(&log), options, Program::default(), passive()).unwrap();
    let mut odd = Raw::new();
    odd.attach_as_provider = Box::new(|_| (STATUS_PENDING, ptr::null()));
    odd.register_provider();
    let good = provide(TestProvider::new(&log));
    assert_eq!(client.providers().count(), 1);
    odd.deregister();
    let mut refusing = Raw::new();
    refusing.attach_as_provider = Box::new(|_| (STATUS_NOINTERFACE, ptr::null()));
    refusing.register_provider();
    assert_eq!(log.count("client: attach"), 2, "the third is not asked about: the good one has the place");
    refusing.deregister();
    good.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
    // The provider's mistake, not the library's.
    let rules: Vec<_> = session.violations().iter().map(|violation| violation.rule).collect();
    for rule in rules {
        session.expect_violation(rule);
    }
}
