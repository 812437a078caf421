//! Modules for the tests of the rules: a client and a provider whose callbacks a test can replace, and a log of what
//! was called. They are written as an author of a C driver would write them, against the nine functions alone.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(unused_imports, reason = "every test file uses its own part of this")]
#![allow(unreachable_pub, reason = "a module shared by the test files")]

pub mod automaton;
pub mod fuzzed;

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

pub use nmr_registrar::{Callback, Session, Side, When, irql};
pub use wdk_nmr_sys::*;

/// A pointer that threads may pass around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer(pub *mut c_void);
// SAFETY: a number, as far as these tests go.
unsafe impl Send for Pointer {}
// SAFETY: a number, as far as these tests go.
unsafe impl Sync for Pointer {}

/// One callback that was called.
#[derive(Clone, Debug)]
pub struct Entry {
    pub module: &'static str,
    pub callback: Callback,
    /// The handle for attach callbacks, the context for the others.
    pub subject: Pointer,
    pub thread: ThreadId,
    pub irql: u8,
}

/// What was called, in order. Cloning shares it.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Entry>>>);

impl Log {
    pub fn add(&self, module: &'static str, callback: Callback, subject: *mut c_void) {
        let entry = Entry {
            module,
            callback,
            subject: Pointer(subject),
            thread: thread::current().id(),
            irql: irql::current(),
        };
        self.0.lock().unwrap().push(entry);
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// The callbacks so far, as `module.Callback`.
    pub fn calls(&self) -> Vec<String> {
        self.entries().iter().map(|entry| format!("{}.{}", entry.module, entry.callback.name())).collect()
    }

    /// How often a callback was called, for all modules.
    pub fn count(&self, callback: Callback) -> usize {
        self.entries().iter().filter(|entry| entry.callback == callback).count()
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// An NPIID that no other call returns.
pub fn unique_npi() -> NPIID {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    GUID { Data1: NEXT.fetch_add(1, Ordering::Relaxed), Data2: 0x4E4D, Data3: 0x4E50, Data4: *b"tests-id" }
}

/// A module id.
pub fn module_id(last: u8) -> NPI_MODULEID {
    let guid = GUID { Data1: 0x6D6F_6475, Data2: 0, Data3: 0, Data4: [0, 0, 0, 0, 0, 0, 0, last] };
    NPI_MODULEID { Length: size_of::<NPI_MODULEID>() as u16, Type: MIT_GUID, Id: NPI_MODULEID_ID { Guid: guid } }
}

/// One side of a binding: what a module allocates per binding. Freed by its cleanup callback.
pub struct Binding {
    pub owner: *const Module,
    pub handle: AtomicPtr<c_void>,
    pub peer_context: AtomicPtr<c_void>,
    pub peer_dispatch: AtomicPtr<c_void>,
}

impl Binding {
    pub fn allocate(owner: &Module, handle: HANDLE) -> *mut Self {
        Box::into_raw(Box::new(Self {
            owner,
            handle: AtomicPtr::new(handle),
            peer_context: AtomicPtr::new(null_mut()),
            peer_dispatch: AtomicPtr::new(null_mut()),
        }))
    }

    pub fn handle(&self) -> HANDLE {
        self.handle.load(Ordering::SeqCst)
    }

    pub fn module(&self) -> &Module {
        // SAFETY: a module outlives its bindings: it waits for the end of its registration when it is dropped.
        unsafe { &*self.owner }
    }

    /// Calls this side's Complete function.
    pub fn complete(&self) {
        complete(self.module().side, self.handle());
    }
}

/// Calls the Complete function of a side.
pub fn complete(side: Side, handle: HANDLE) {
    match side {
        // SAFETY: the registrar recognises every handle, good or bad.
        Side::Client => unsafe { NmrClientDetachProviderComplete(handle) },
        // SAFETY: the registrar recognises every handle, good or bad.
        Side::Provider => unsafe { NmrProviderDetachClientComplete(handle) },
    }
}

/// What a client sees in its attach callback.
pub struct ClientOffer<'a> {
    pub module: &'a Module,
    pub handle: HANDLE,
    pub instance: *const NPI_REGISTRATION_INSTANCE,
}

impl ClientOffer<'_> {
    /// What a plain client does: allocate, attach, free if that fails, return the status.
    pub fn accept(&self) -> NTSTATUS {
        let binding = Binding::allocate(self.module, self.handle);
        let status = self.attach(binding.cast(), self.module.dispatch);
        if status != STATUS_SUCCESS {
            // SAFETY: the attach failed, so nobody else has it (R23).
            drop(unsafe { Box::from_raw(binding) });
        }
        status
    }

    /// Calls `NmrClientAttachProvider` and, if `context` is one of our bindings, keeps what the provider gave.
    pub fn attach(&self, context: *mut c_void, dispatch: *const c_void) -> NTSTATUS {
        let (mut peer_context, mut peer_dispatch) = (null_mut(), null());
        // SAFETY: two variables of ours, and whatever handle the test wants to be looked at.
        let status = unsafe {
            NmrClientAttachProvider(self.handle, context, dispatch, &raw mut peer_context, &raw mut peer_dispatch)
        };
        self.module.remember(peer_context, peer_dispatch);
        if status == STATUS_SUCCESS {
            self.module.attached.lock().unwrap().push(Pointer(context));
            self.module.save(context, peer_context, peer_dispatch);
        }
        status
    }
}

/// What a provider sees in its attach callback.
pub struct ProviderOffer<'a> {
    pub module: &'a Module,
    pub handle: HANDLE,
    pub instance: *const NPI_REGISTRATION_INSTANCE,
    pub client_context: *mut c_void,
    pub client_dispatch: *const c_void,
    pub context_out: *mut *mut c_void,
    pub dispatch_out: *mut *const c_void,
}

impl ProviderOffer<'_> {
    /// What a plain provider does: allocate, set both out parameters, return success.
    pub fn accept(&self) -> NTSTATUS {
        let binding = Binding::allocate(self.module, self.handle);
        self.set(binding.cast(), self.module.dispatch);
        self.module.attached.lock().unwrap().push(Pointer(binding.cast()));
        self.module.save(binding.cast(), self.client_context, self.client_dispatch);
        STATUS_SUCCESS
    }

    /// Sets the out parameters.
    pub fn set(&self, context: *mut c_void, dispatch: *const c_void) {
        // SAFETY: the registrar gives two writable variables.
        unsafe { self.context_out.write(context) };
        // SAFETY: the registrar gives two writable variables.
        unsafe { self.dispatch_out.write(dispatch) };
    }
}

type OnClientAttach = dyn Fn(&ClientOffer<'_>) -> NTSTATUS + Send + Sync;
type OnProviderAttach = dyn Fn(&ProviderOffer<'_>) -> NTSTATUS + Send + Sync;
type OnDetach = dyn Fn(&Module, *mut c_void) -> NTSTATUS + Send + Sync;
type OnCleanup = dyn Fn(&Module, *mut c_void) + Send + Sync;

/// A client or a provider. Deregisters and waits when it is dropped.
pub struct Module {
    pub name: &'static str,
    pub side: Side,
    pub log: Log,
    pub npi: Box<NPIID>,
    pub id: Box<NPI_MODULEID>,
    pub dispatch: *const c_void,
    pub client: NPI_CLIENT_CHARACTERISTICS,
    pub provider: NPI_PROVIDER_CHARACTERISTICS,
    pub handle: AtomicPtr<c_void>,
    /// The binding contexts that attached, oldest first.
    pub attached: Mutex<Vec<Pointer>>,
    /// What the last NmrClientAttachProvider left in the out parameters.
    pub last_out: Mutex<Option<(Pointer, Pointer)>>,
    pub on_client_attach: Box<OnClientAttach>,
    pub on_provider_attach: Box<OnProviderAttach>,
    pub on_detach: Box<OnDetach>,
    pub on_cleanup: Box<OnCleanup>,
}

// SAFETY: the callbacks of one module run on many threads; everything that changes is behind a lock or atomic.
unsafe impl Send for Module {}
// SAFETY: everything that changes is behind a lock or atomic.
unsafe impl Sync for Module {}

/// A dispatch table that nobody calls.
pub static DISPATCH: u64 = 0xD15;

fn boxed_module(name: &'static str, side: Side, npi: NPIID, log: &Log) -> Box<Module> {
    let id = Box::new(module_id(name.bytes().fold(0, u8::wrapping_add)));
    let npi = Box::new(npi);
    let instance = NPI_REGISTRATION_INSTANCE {
        Version: 0,
        Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
        NpiId: &raw const *npi,
        ModuleId: &raw const *id,
        Number: 0,
        NpiSpecificCharacteristics: null(),
    };
    Box::new(Module {
        name,
        side,
        log: log.clone(),
        npi,
        id,
        dispatch: (&raw const DISPATCH).cast(),
        client: NPI_CLIENT_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
            ClientAttachProvider: Some(client_attach),
            ClientDetachProvider: Some(client_detach),
            ClientCleanupBindingContext: Some(client_cleanup),
            ClientRegistrationInstance: instance,
        },
        provider: NPI_PROVIDER_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
            ProviderAttachClient: Some(provider_attach),
            ProviderDetachClient: Some(provider_detach),
            ProviderCleanupBindingContext: Some(provider_cleanup),
            ProviderRegistrationInstance: instance,
        },
        handle: AtomicPtr::new(null_mut()),
        attached: Mutex::default(),
        last_out: Mutex::default(),
        on_client_attach: Box::new(|offer| offer.accept()),
        on_provider_attach: Box::new(|offer| offer.accept()),
        on_detach: Box::new(|_, _| STATUS_SUCCESS),
        // SAFETY: the default attach allocated it, and cleanup is the last use (R59).
        on_cleanup: Box::new(|_, context| drop(unsafe { Box::from_raw(context.cast::<Binding>()) })),
    })
}

/// A client that is not registered yet.
pub fn client(name: &'static str, npi: NPIID, log: &Log) -> Box<Module> {
    boxed_module(name, Side::Client, npi, log)
}

/// A provider that is not registered yet.
pub fn provider(name: &'static str, npi: NPIID, log: &Log) -> Box<Module> {
    boxed_module(name, Side::Provider, npi, log)
}

/// Two pairs' worth of shorthand: a registered provider and a registered client that are attached.
pub fn attached_pair(log: &Log) -> (Box<Module>, Box<Module>) {
    let npi = unique_npi();
    let provider = provider("P", npi, log).registered();
    let client = client("C", npi, log).registered();
    (client, provider)
}

impl Module {
    fn save(&self, context: *mut c_void, peer_context: *mut c_void, peer_dispatch: *const c_void) {
        // Tests that attach with a context of their own have replaced the cleanup too; they keep what they need.
        if context.is_null() || context.addr() < 4096 {
            return;
        }
        // SAFETY: `accept` allocated it as a `Binding`, and cleanup cannot have run before the attach callback
        // returned.
        let binding = unsafe { &*context.cast::<Binding>() };
        binding.peer_context.store(peer_context, Ordering::SeqCst);
        binding.peer_dispatch.store(peer_dispatch.cast_mut(), Ordering::SeqCst);
    }

    fn remember(&self, context: *mut c_void, dispatch: *const c_void) {
        *self.last_out.lock().unwrap() = Some((Pointer(context), Pointer(dispatch.cast_mut())));
    }

    fn context(&self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }

    pub fn instance(&self) -> *const NPI_REGISTRATION_INSTANCE {
        match self.side {
            Side::Client => &raw const self.client.ClientRegistrationInstance,
            Side::Provider => &raw const self.provider.ProviderRegistrationInstance,
        }
    }

    pub fn instance_mut(&mut self) -> &mut NPI_REGISTRATION_INSTANCE {
        match self.side {
            Side::Client => &mut self.client.ClientRegistrationInstance,
            Side::Provider => &mut self.provider.ProviderRegistrationInstance,
        }
    }

    pub fn without_cleanup(mut self: Box<Self>) -> Box<Self> {
        self.client.ClientCleanupBindingContext = None;
        self.provider.ProviderCleanupBindingContext = None;
        self
    }

    /// Its detach callback returns this.
    pub fn detaching_with(mut self: Box<Self>, status: NTSTATUS) -> Box<Self> {
        self.on_detach = Box::new(move |_, _| status);
        self
    }

    pub fn register(&self) -> NTSTATUS {
        let mut handle = null_mut();
        let status = match self.side {
            // SAFETY: the module lies in a box and outlives its registration.
            Side::Client => unsafe { NmrRegisterClient(&raw const self.client, self.context(), &raw mut handle) },
            // SAFETY: the module lies in a box and outlives its registration.
            Side::Provider => unsafe { NmrRegisterProvider(&raw const self.provider, self.context(), &raw mut handle) },
        };
        if status == STATUS_SUCCESS {
            self.handle.store(handle, Ordering::SeqCst);
        }
        status
    }

    /// Registers, which must succeed.
    pub fn registered(self: Box<Self>) -> Box<Self> {
        assert_eq!(self.register(), STATUS_SUCCESS);
        self
    }

    pub fn handle(&self) -> HANDLE {
        self.handle.load(Ordering::SeqCst)
    }

    pub fn deregister(&self) -> NTSTATUS {
        deregister(self.side, self.handle())
    }

    pub fn wait(&self) -> NTSTATUS {
        wait(self.side, self.handle())
    }

    /// Waits, which must succeed; it may register again then.
    pub fn waited(&self) {
        assert_eq!(self.wait(), STATUS_SUCCESS);
        self.handle.store(null_mut(), Ordering::SeqCst);
    }

    /// Deregisters and waits; it may register again then.
    pub fn end(&self) {
        assert_eq!(self.deregister(), STATUS_PENDING);
        self.waited();
    }

    /// The binding that attached as number `index`.
    pub fn binding(&self, index: usize) -> &Binding {
        let context = self.attached.lock().unwrap()[index].0;
        // SAFETY: the default attach allocated it; the test does not use it after cleanup.
        unsafe { &*context.cast::<Binding>() }
    }
}

/// Deregisters by handle.
pub fn deregister(side: Side, handle: HANDLE) -> NTSTATUS {
    match side {
        // SAFETY: the registrar recognises every handle, good or bad.
        Side::Client => unsafe { NmrDeregisterClient(handle) },
        // SAFETY: the registrar recognises every handle, good or bad.
        Side::Provider => unsafe { NmrDeregisterProvider(handle) },
    }
}

/// Waits by handle.
pub fn wait(side: Side, handle: HANDLE) -> NTSTATUS {
    match side {
        // SAFETY: the registrar recognises every handle, good or bad.
        Side::Client => unsafe { NmrWaitForClientDeregisterComplete(handle) },
        // SAFETY: the registrar recognises every handle, good or bad.
        Side::Provider => unsafe { NmrWaitForProviderDeregisterComplete(handle) },
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if !self.handle().is_null() && !thread::panicking() {
            self.end();
        }
    }
}

/// # Safety
/// `context` is a registered module.
unsafe fn module<'a>(context: *mut c_void) -> &'a Module {
    // SAFETY: registration passed `Module::context`, and the module outlives its registration.
    unsafe { &*context.cast::<Module>() }
}

unsafe extern "system" fn client_attach(
    handle: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: this is the context of the registration.
    let module = unsafe { module(context) };
    module.log.add(module.name, Callback::ClientAttachProvider, handle);
    (module.on_client_attach)(&ClientOffer { module, handle, instance })
}

unsafe extern "system" fn provider_attach(
    handle: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    context_out: *mut *mut c_void,
    dispatch_out: *mut *const c_void,
) -> NTSTATUS {
    // SAFETY: this is the context of the registration.
    let module = unsafe { module(context) };
    module.log.add(module.name, Callback::ProviderAttachClient, handle);
    let offer = ProviderOffer { module, handle, instance, client_context, client_dispatch, context_out, dispatch_out };
    (module.on_provider_attach)(&offer)
}

/// # Safety
/// `context` is a `Binding` of a module.
unsafe fn owner<'a>(context: *mut c_void) -> &'a Module {
    // SAFETY: the default attach callbacks attach with a `Binding`.
    let binding = unsafe { &*context.cast::<Binding>() };
    // SAFETY: a module outlives its bindings.
    unsafe { &*binding.owner }
}

unsafe extern "system" fn client_detach(context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context that the client attached with.
    let module = unsafe { owner(context) };
    module.log.add(module.name, Callback::ClientDetachProvider, context);
    (module.on_detach)(module, context)
}

unsafe extern "system" fn provider_detach(context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context that the provider attached with.
    let module = unsafe { owner(context) };
    module.log.add(module.name, Callback::ProviderDetachClient, context);
    (module.on_detach)(module, context)
}

unsafe extern "system" fn client_cleanup(context: *mut c_void) {
    // SAFETY: the context that the client attached with.
    let module = unsafe { owner(context) };
    module.log.add(module.name, Callback::ClientCleanupBindingContext, context);
    (module.on_cleanup)(module, context);
}

unsafe extern "system" fn provider_cleanup(context: *mut c_void) {
    // SAFETY: the context that the provider attached with.
    let module = unsafe { owner(context) };
    module.log.add(module.name, Callback::ProviderCleanupBindingContext, context);
    (module.on_cleanup)(module, context);
}
