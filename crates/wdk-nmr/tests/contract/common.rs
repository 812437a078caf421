//! An interface with everything an interface can have, safe modules that do what a test says, and raw ones that stand
//! for drivers in C.

use core::ffi::c_void;
use core::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wdk_nmr::*;
use wdk_nmr_sys::*;

/// How long a thread may take to come to where a test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The interface: both sides have a table with one function, and characteristics.
pub(crate) struct Testing;

pub(crate) type Function = unsafe extern "system" fn(context: *mut c_void, number: u32) -> u32;

#[repr(C)]
pub(crate) struct Table {
    pub(crate) version: u16,
    pub(crate) size: u16,
    pub(crate) call: Function,
}

impl Table {
    pub(crate) const SIZE: u16 = size_of::<Self>() as u16;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Characteristics {
    pub(crate) version: u16,
    pub(crate) size: u16,
    pub(crate) value: u32,
}

impl Characteristics {
    pub(crate) const fn new(value: u32) -> Self {
        Self { version: 1, size: size_of::<Self>() as u16, value }
    }
}

// SAFETY: `repr(C)`, starts with version and size, never changed.
unsafe impl NpiStructure for Table {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=2)
    }
}
// SAFETY: `repr(C)`, starts with version and size, never changed.
unsafe impl NpiStructure for Characteristics {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

pub(crate) const fn guid(number: u32) -> GUID {
    GUID { Data1: number, Data2: 2, Data3: 3, Data4: [4, 5, 6, 7, 8, 9, 10, 11] }
}

// SAFETY: the modules of these tests keep to it, unless a test is about one that does not.
unsafe impl Npi for Testing {
    const ID: NPIID = guid(1);
    type ProviderDispatch = Table;
    type ClientDispatch = Table;
    type ProviderCharacteristics = Characteristics;
    type ClientCharacteristics = Characteristics;
}

/// What a test wants to see in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, event: impl Into<String>) {
        self.0.lock().unwrap().push(event.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        core::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(crate) fn count(&self, event: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|other| *other == event).count()
    }
}

/// What a module keeps for a peer: says when it is dropped.
pub(crate) struct Kept {
    /// Which of the module's bindings this is, from 1 on.
    pub(crate) number: usize,
    who: &'static str,
    log: Log,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.log.add(format!("{}: drop {}", self.who, self.number));
    }
}

/// An entry point of a test into a module.
pub(crate) type Hook<A, R> = Box<dyn Fn(A) -> R + Send + Sync>;

/// A provider that a test scripts.
pub(crate) struct TestProvider {
    pub(crate) log: Log,
    pub(crate) bindings: AtomicUsize,
    pub(crate) on_attach: Box<dyn Fn(&ClientOffer<'_, Testing>) -> Result<(), Refusal> + Send + Sync>,
    pub(crate) on_call: Box<dyn Fn(&TestProvider, &Kept, u32) -> u32 + Send + Sync>,
    pub(crate) on_refused: Box<dyn Fn(Option<ModuleId>, Refusal) + Send + Sync>,
    pub(crate) on_detaching: Box<dyn Fn(&Kept) + Send + Sync>,
    pub(crate) on_detached: Box<dyn Fn(&Kept) + Send + Sync>,
}

impl TestProvider {
    pub(crate) fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            bindings: AtomicUsize::new(0),
            on_attach: Box::new(|_| Ok(())),
            on_call: Box::new(|_, binding, number| number + binding.number as u32 * 100),
            on_refused: Box::new(|_, _| ()),
            on_detaching: Box::new(|_| ()),
            on_detached: Box::new(|_| ()),
        }
    }

    fn called(call: ProviderCall<'_, Self>, number: u32) -> u32 {
        (call.provider().on_call)(call.provider(), call.binding(), number)
    }
}

impl Drop for TestProvider {
    fn drop(&mut self) {
        self.log.add("provider: gone");
    }
}

impl Provider for TestProvider {
    type Npi = Testing;
    type Binding = Kept;
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Table { version: 1, size: Table::SIZE, call: fn Self::called })
    }

    fn attach(&self, client: &ClientOffer<'_, Testing>) -> Result<Kept, Refusal> {
        self.log.add("provider: attach");
        (self.on_attach)(client)?;
        let number = self.bindings.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Kept { number, who: "provider", log: self.log.clone() })
    }

    fn refused(&self, client: Option<ModuleId>, refusal: Refusal) {
        (self.on_refused)(client, refusal);
    }

    fn detaching(&self, binding: &Kept) {
        self.log.add(format!("provider: detaching {}", binding.number));
        (self.on_detaching)(binding);
    }

    fn detached(&self, binding: &Kept) {
        (self.on_detached)(binding);
    }
}

/// Spreads threads as they come.
pub(crate) struct ByThread;

impl ShardIndex for ByThread {
    fn current() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static INDEX: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        INDEX.with(|index| *index)
    }
}

/// A client that a test scripts. Its guard is sharded, so that both forms are used.
pub(crate) struct TestClient {
    pub(crate) log: Log,
    pub(crate) bindings: AtomicUsize,
    pub(crate) on_attach: Box<dyn Fn(&ProviderOffer<'_, Testing>) -> Result<(), Refusal> + Send + Sync>,
    pub(crate) on_attached: Box<dyn Fn(AttachedProvider<'_, TestClient>) + Send + Sync>,
    pub(crate) on_unusable: Box<dyn Fn(&Kept, StructureError) + Send + Sync>,
    pub(crate) on_call: Box<dyn Fn(&ClientCall<'_, TestClient>, u32) -> u32 + Send + Sync>,
    pub(crate) on_detaching: Box<dyn Fn(&Kept) + Send + Sync>,
    pub(crate) on_detached: Box<dyn Fn(&Kept) + Send + Sync>,
}

impl TestClient {
    pub(crate) fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            bindings: AtomicUsize::new(0),
            on_attach: Box::new(|_| Ok(())),
            on_attached: Box::new(|_| ()),
            on_unusable: Box::new(|_, _| ()),
            on_call: Box::new(|call, number| number + call.binding().number as u32 * 1000),
            on_detaching: Box::new(|_| ()),
            on_detached: Box::new(|_| ()),
        }
    }

    /// Written by hand: the other table is written by the macro.
    ///
    /// # Safety
    ///
    /// The context is that of a binding of `TestClient`.
    unsafe extern "system" fn called(context: *mut c_void, number: u32) -> u32 {
        // SAFETY: the provider calls with the context that came with the table.
        let call = unsafe { ClientCall::<Self>::new(context) };
        (call.client().on_call)(&call, number)
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        self.log.add("client: gone");
    }
}

impl Client for TestClient {
    type Npi = Testing;
    type Binding = Kept;
    type Guard = Sharded<ByThread, 4>;
    const OLDER_DISPATCHES: usize = 1;

    fn dispatch(&self) -> ClientTable<Self> {
        // SAFETY: the function takes contexts of `TestClient`.
        unsafe { ClientTable::new(Table { version: 2, size: Table::SIZE, call: Self::called }) }
    }

    fn older_dispatch(&self, _: usize) -> ClientTable<Self> {
        // SAFETY: the function takes contexts of `TestClient`.
        unsafe { ClientTable::new(Table { version: 1, size: Table::SIZE, call: Self::called }) }
    }

    fn attach(&self, provider: &ProviderOffer<'_, Testing>) -> Result<Kept, Refusal> {
        self.log.add("client: attach");
        (self.on_attach)(provider)?;
        let number = self.bindings.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Kept { number, who: "client", log: self.log.clone() })
    }

    fn attached(&self, provider: AttachedProvider<'_, Self>) {
        (self.on_attached)(provider);
    }

    fn unusable(&self, binding: &Kept, error: StructureError) {
        (self.on_unusable)(binding, error);
    }

    fn detaching(&self, binding: &Kept) {
        self.log.add(format!("client: detaching {}", binding.number));
        (self.on_detaching)(binding);
    }

    fn detached(&self, binding: &Kept) {
        (self.on_detached)(binding);
    }
}

/// Holds the program, which is there anyway, and counts how often that ends.
#[derive(Clone, Default)]
pub(crate) struct Program(pub Arc<AtomicUsize>);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

pub(crate) fn passive<'a>() -> Passive<'a> {
    // SAFETY: the tests register and deregister on threads of their own, at PASSIVE_LEVEL.
    unsafe { Passive::new() }
}

pub(crate) type Provided = ProviderRegistration<TestProvider, Program>;
pub(crate) type Used = ClientRegistration<TestClient, Program>;

pub(crate) const PROVIDER_ID: ModuleId = ModuleId::Guid(guid(100));
pub(crate) const CLIENT_ID: ModuleId = ModuleId::IfLuid(0x8000_0001_0000_0002);

pub(crate) fn provide(provider: TestProvider) -> Provided {
    let options = RegistrationOptions::new(PROVIDER_ID, Characteristics::new(7)).number(70);
    ProviderRegistration::register(provider, options, Program::default(), passive()).unwrap()
}

pub(crate) fn use_it(client: TestClient) -> Used {
    let options = RegistrationOptions::new(CLIENT_ID, Characteristics::new(8)).number(80);
    ClientRegistration::register(client, options, Program::default(), passive()).unwrap()
}

/// Calls a peer.
pub(crate) fn call<B: Send + Sync, G: Count>(peer: &Peer<'_, B, Table, G>, number: u32) -> u32 {
    peer.call(|table, context| {
        // SAFETY: the context came with the table.
        unsafe { (table.call)(context, number) }
    })
}

/// A point at which a thread stops until it is told to go on.
pub(crate) struct Barrier {
    reached: (Mutex<Sender<()>>, Mutex<Receiver<()>>),
    go: (Mutex<Sender<()>>, Mutex<Receiver<()>>),
}

impl Barrier {
    pub(crate) fn new() -> Arc<Self> {
        let pair = || {
            let (sender, receiver) = channel();
            (Mutex::new(sender), Mutex::new(receiver))
        };
        Arc::new(Self { reached: pair(), go: pair() })
    }

    /// Stops here.
    pub(crate) fn stop(&self) {
        self.reached.0.lock().unwrap().send(()).unwrap();
        self.go.1.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    }

    pub(crate) fn wait_until_stopped(&self) {
        self.reached.1.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    }

    pub(crate) fn go_on(&self) {
        self.go.0.lock().unwrap().send(()).unwrap();
    }
}

/// A driver in C: everything is up to the test. It is its own context, as a registration and in every binding.
pub(crate) struct Raw {
    pub(crate) instance: NPI_REGISTRATION_INSTANCE,
    pub(crate) npi: NPIID,
    pub(crate) module_id: NPI_MODULEID,
    pub(crate) characteristics: Characteristics,
    pub(crate) table: Table,
    pub(crate) attach_as_client: Hook<(HANDLE, *mut Raw, NPI_REGISTRATION_INSTANCE), NTSTATUS>,
    pub(crate) attach_as_provider: Hook<(HANDLE, *const Table, *mut c_void), (NTSTATUS, *const Table)>,
    pub(crate) detach: Hook<HANDLE, NTSTATUS>,
    pub(crate) cleanup: Hook<(), ()>,
    pub(crate) called: Hook<u32, u32>,
    /// What the peer handed over: its context and its table.
    pub(crate) peer: Mutex<(usize, usize)>,
    pub(crate) binding: AtomicUsize,
    /// What NMR has a pointer to.
    registered: Option<Registered>,
    handle: HANDLE,
}

#[allow(dead_code, reason = "the boxes are kept for NMR")]
enum Registered {
    Client(Box<NPI_CLIENT_CHARACTERISTICS>),
    Provider(Box<NPI_PROVIDER_CHARACTERISTICS>),
}

// SAFETY: the tests use one from several threads as NMR does, with shared access alone.
unsafe impl Send for Raw {}
// SAFETY: the tests use one from several threads as NMR does, with shared access alone.
unsafe impl Sync for Raw {}

impl Raw {
    pub(crate) fn new() -> Box<Self> {
        let mut raw = Box::new(Self {
            instance: NPI_REGISTRATION_INSTANCE {
                Version: 0,
                Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
                NpiId: ptr::null(),
                ModuleId: ptr::null(),
                Number: 5,
                NpiSpecificCharacteristics: ptr::null(),
            },
            npi: Testing::ID,
            module_id: NPI_MODULEID { Length: 24, Type: MIT_GUID, Id: NPI_MODULEID_ID { Guid: guid(55) } },
            characteristics: Characteristics::new(9),
            table: Table { version: 1, size: Table::SIZE, call: raw_call },
            attach_as_client: Box::new(|(handle, raw, _)| Self::propose(handle, raw)),
            attach_as_provider: Box::new(|_| (STATUS_SUCCESS, ptr::null())),
            detach: Box::new(|_| STATUS_SUCCESS),
            cleanup: Box::new(|()| ()),
            called: Box::new(|number| number + 1),
            peer: Mutex::new((0, 0)),
            binding: AtomicUsize::new(0),
            registered: None,
            handle: ptr::null_mut(),
        });
        raw.instance.NpiId = &raw const raw.npi;
        raw.instance.ModuleId = &raw const raw.module_id;
        raw.instance.NpiSpecificCharacteristics = (&raw const raw.characteristics).cast();
        raw
    }

    /// What a client does that wants every provider.
    pub(crate) fn propose(handle: HANDLE, raw: *mut Self) -> NTSTATUS {
        // SAFETY: the tests keep their modules until they are deregistered.
        let this = unsafe { &*raw };
        let (mut context, mut table) = (ptr::null_mut(), ptr::null());
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
        if status == STATUS_SUCCESS {
            this.binding.store(handle as usize, Ordering::Relaxed);
            *this.peer.lock().unwrap() = (context as usize, table as usize);
        }
        status
    }

    /// Calls the peer as C does: without a guard.
    pub(crate) fn call(&self, number: u32) -> u32 {
        let (context, table) = *self.peer.lock().unwrap();
        let table = table as *const Table;
        // SAFETY: the tests call while the binding is there.
        let function = unsafe { (*table).call };
        // SAFETY: the tests call while the binding is there.
        unsafe { function(context as *mut c_void, number) }
    }

    pub(crate) fn binding(&self) -> HANDLE {
        self.binding.load(Ordering::Relaxed) as HANDLE
    }

    pub(crate) fn register_client(self: &mut Box<Self>) {
        let characteristics = Box::new(NPI_CLIENT_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
            ClientAttachProvider: Some(raw_attach_as_client),
            ClientDetachProvider: Some(raw_detach),
            ClientCleanupBindingContext: Some(raw_cleanup),
            ClientRegistrationInstance: self.instance,
        });
        let context: *mut Self = &raw mut **self;
        let place = &raw const *characteristics;
        self.registered = Some(Registered::Client(characteristics));
        let mut handle = ptr::null_mut();
        // SAFETY: everything stays until `deregister`.
        let status = unsafe { NmrRegisterClient(place, context.cast(), &raw mut handle) };
        assert_eq!(status, STATUS_SUCCESS);
        self.handle = handle;
    }

    pub(crate) fn register_provider(self: &mut Box<Self>) {
        let characteristics = Box::new(NPI_PROVIDER_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
            ProviderAttachClient: Some(raw_attach_as_provider),
            ProviderDetachClient: Some(raw_detach),
            ProviderCleanupBindingContext: Some(raw_cleanup),
            ProviderRegistrationInstance: self.instance,
        });
        let context: *mut Self = &raw mut **self;
        let place = &raw const *characteristics;
        self.registered = Some(Registered::Provider(characteristics));
        let mut handle = ptr::null_mut();
        // SAFETY: everything stays until `deregister`.
        let status = unsafe { NmrRegisterProvider(place, context.cast(), &raw mut handle) };
        assert_eq!(status, STATUS_SUCCESS);
        self.handle = handle;
    }

    pub(crate) fn start_deregistering(&self) {
        let status = match &self.registered {
            // SAFETY: the handle of a registration that succeeded.
            Some(Registered::Client(_)) => unsafe { NmrDeregisterClient(self.handle) },
            // SAFETY: the handle of a registration that succeeded.
            Some(Registered::Provider(_)) => unsafe { NmrDeregisterProvider(self.handle) },
            None => panic!("not registered"),
        };
        assert_eq!(status, STATUS_PENDING);
    }

    pub(crate) fn wait(&self) {
        let status = match &self.registered {
            // SAFETY: deregistered before.
            Some(Registered::Client(_)) => unsafe { NmrWaitForClientDeregisterComplete(self.handle) },
            // SAFETY: deregistered before.
            Some(Registered::Provider(_)) => unsafe { NmrWaitForProviderDeregisterComplete(self.handle) },
            None => panic!("not registered"),
        };
        assert_eq!(status, STATUS_SUCCESS);
    }

    pub(crate) fn deregister(&self) {
        self.start_deregistering();
        self.wait();
    }
}

unsafe extern "system" fn raw_attach_as_client(
    handle: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    let raw = context.cast::<Raw>();
    // SAFETY: a module stays until it is deregistered.
    let this = unsafe { &*raw };
    // SAFETY: NMR passes an instance.
    (this.attach_as_client)((handle, raw, unsafe { *instance }))
}

unsafe extern "system" fn raw_attach_as_provider(
    handle: HANDLE,
    context: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    binding_context: *mut *mut c_void,
    dispatch: *mut *const c_void,
) -> NTSTATUS {
    // SAFETY: a module stays until it is deregistered.
    let this = unsafe { &*context.cast::<Raw>() };
    this.binding.store(handle as usize, Ordering::Relaxed);
    *this.peer.lock().unwrap() = (client_context as usize, client_dispatch as usize);
    // SAFETY: NMR passes a place.
    unsafe { binding_context.write(context) };
    // SAFETY: NMR passes a place.
    unsafe { dispatch.write((&raw const this.table).cast()) };
    let (status, other) = (this.attach_as_provider)((handle, client_dispatch.cast(), client_context));
    if !other.is_null() {
        // SAFETY: NMR passes a place.
        unsafe { dispatch.write(other.cast()) };
    }
    status
}

unsafe extern "system" fn raw_detach(context: *mut c_void) -> NTSTATUS {
    // SAFETY: a module stays until it is deregistered.
    let this = unsafe { &*context.cast::<Raw>() };
    (this.detach)(this.binding())
}

unsafe extern "system" fn raw_cleanup(context: *mut c_void) {
    // SAFETY: a module stays until it is deregistered.
    let this = unsafe { &*context.cast::<Raw>() };
    (this.cleanup)(());
}

unsafe extern "system" fn raw_call(context: *mut c_void, number: u32) -> u32 {
    // SAFETY: a module stays until it is deregistered.
    let this = unsafe { &*context.cast::<Raw>() };
    (this.called)(number)
}
