//! Whole histories under schedules that shuttle chooses: every lock, event and thread of the registrar is one of
//! shuttle's, so that a schedule that fails can be replayed. A wait that can never end is a deadlock to shuttle.
//!
//! `cargo test -p nmr-registrar --features shuttle --test shuttle`; `SHUTTLE_ITERATIONS` sets how many schedules each
//! test explores.

mod support;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nmr_registrar::{Event, Lock, Platform, Registrar, Side, Violation};
use shuttle::sync::{Condvar, Mutex};
use shuttle::{check_pct, check_random, thread};
use support::automaton::Automaton;
use wdk_nmr_sys::*;

/// The world as shuttle schedules it.
#[derive(Default)]
struct Scheduled {
    /// Not panicked with: a callback of C cannot unwind.
    violations: std::sync::Mutex<Vec<String>>,
}

struct ScheduledLock<T>(Mutex<T>);

impl<T: Send> Lock<T> for ScheduledLock<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

struct ScheduledEvent {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Event for ScheduledEvent {
    fn new() -> Self {
        Self { is_set: Mutex::new(false), changed: Condvar::new() }
    }

    fn set(&self) {
        *self.is_set.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self, _: Option<Duration>) -> bool {
        let mut is_set = self.is_set.lock().unwrap();
        while !*is_set {
            is_set = self.changed.wait(is_set).unwrap();
        }
        true
    }
}

impl Platform for Scheduled {
    type Lock<T: Send> = ScheduledLock<T>;
    type Event = ScheduledEvent;

    fn irql(&self) -> u8 {
        0
    }

    fn thread(&self) -> u64 {
        usize::from(shuttle::current::me()) as u64
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn violation(&self, violation: &Violation) {
        self.violations.lock().unwrap().push(violation.to_string());
    }
}

type Nmr = Registrar<Scheduled>;

/// How a module answers a detach.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detach {
    Done,
    /// Another thread completes, before or after the callback returns (R47).
    CompleteElsewhere,
}

/// A client or a provider, and the context of its registration.
struct Module {
    nmr: Arc<Nmr>,
    automaton: Automaton,
    side: Side,
    number: usize,
    detach: Detach,
    completers: Mutex<Vec<thread::JoinHandle<()>>>,
    client: NPI_CLIENT_CHARACTERISTICS,
    provider: NPI_PROVIDER_CHARACTERISTICS,
}

// SAFETY: the structures are only read, the rest is behind locks.
unsafe impl Send for Module {}
// SAFETY: the structures are only read, the rest is behind locks.
unsafe impl Sync for Module {}

/// A side of a binding.
struct Context {
    module: *const Module,
    handle: HANDLE,
}

static NPI: NPIID = GUID { Data1: 1, Data2: 2, Data3: 3, Data4: *b"schedule" };

struct SharedId(NPI_MODULEID);
// SAFETY: it is never written.
unsafe impl Sync for SharedId {}
static ID: SharedId = SharedId(NPI_MODULEID { Length: 24, Type: MIT_GUID, Id: NPI_MODULEID_ID { Guid: NPI } });

impl Module {
    fn new(nmr: &Arc<Nmr>, automaton: &Automaton, side: Side, number: usize, detach: Detach) -> Arc<Self> {
        let instance = NPI_REGISTRATION_INSTANCE {
            Version: 0,
            Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
            NpiId: &raw const NPI,
            ModuleId: &raw const ID.0,
            Number: 0,
            NpiSpecificCharacteristics: null(),
        };
        Arc::new(Self {
            nmr: nmr.clone(),
            automaton: automaton.clone(),
            side,
            number,
            detach,
            completers: Mutex::default(),
            client: NPI_CLIENT_CHARACTERISTICS {
                Version: 0,
                Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
                ClientAttachProvider: Some(client_attach),
                ClientDetachProvider: Some(detach_callback),
                ClientCleanupBindingContext: Some(cleanup_callback),
                ClientRegistrationInstance: instance,
            },
            provider: NPI_PROVIDER_CHARACTERISTICS {
                Version: 0,
                Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
                ProviderAttachClient: Some(provider_attach),
                ProviderDetachClient: Some(detach_callback),
                ProviderCleanupBindingContext: Some(cleanup_callback),
                ProviderRegistrationInstance: instance,
            },
        })
    }

    /// Registers, deregisters, waits.
    fn come_and_go(&self) {
        let mut handle = null_mut();
        let context = (&raw const *self).cast_mut().cast();
        let status = match self.side {
            // SAFETY: the module lies in an Arc and outlives its registration.
            Side::Client => unsafe { self.nmr.register_client(&raw const self.client, context, &raw mut handle) },
            // SAFETY: the module lies in an Arc and outlives its registration.
            Side::Provider => unsafe { self.nmr.register_provider(&raw const self.provider, context, &raw mut handle) },
        };
        assert_eq!(status, STATUS_SUCCESS);
        thread::yield_now();
        let (deregistered, waited) = match self.side {
            Side::Client => (self.nmr.deregister_client(handle), self.nmr.wait_for_client_deregister_complete(handle)),
            Side::Provider => {
                (self.nmr.deregister_provider(handle), self.nmr.wait_for_provider_deregister_complete(handle))
            }
        };
        assert_eq!((deregistered, waited), (STATUS_PENDING, STATUS_SUCCESS));
        self.automaton.wait_returned(self.number);
        // The binding is gone; what is left of these threads touches nothing of it.
        let completers: Vec<_> = self.completers.lock().unwrap().drain(..).collect();
        completers.into_iter().for_each(|completer| completer.join().unwrap());
    }
}

unsafe extern "system" fn client_attach(
    handle: HANDLE,
    context: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: the context of the registration.
    let module = unsafe { &*context.cast::<Module>() };
    module.automaton.client_attach_called(handle, module.number);
    let own = Box::into_raw(Box::new(Context { module, handle }));
    let (mut context, mut dispatch) = (null_mut(), null());
    // SAFETY: two variables of ours.
    let status =
        unsafe { module.nmr.client_attach_provider(handle, own.cast(), null(), &raw mut context, &raw mut dispatch) };
    if status != STATUS_SUCCESS {
        // SAFETY: nobody else has it after a failure (R23).
        drop(unsafe { Box::from_raw(own) });
    }
    module.automaton.client_attach_returns(handle, status);
    status
}

unsafe extern "system" fn provider_attach(
    handle: HANDLE,
    context: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
    _: *mut c_void,
    _: *const c_void,
    context_out: *mut *mut c_void,
    dispatch_out: *mut *const c_void,
) -> NTSTATUS {
    // SAFETY: the context of the registration.
    let module = unsafe { &*context.cast::<Module>() };
    module.automaton.provider_attach_called(handle, module.number);
    thread::yield_now();
    let own = Box::into_raw(Box::new(Context { module, handle }));
    // SAFETY: the registrar's variables.
    unsafe { context_out.write(own.cast()) };
    // SAFETY: the registrar's variables.
    unsafe { dispatch_out.write(null()) };
    module.automaton.provider_attach_returns(handle, STATUS_SUCCESS);
    STATUS_SUCCESS
}

unsafe extern "system" fn detach_callback(context: *mut c_void) -> NTSTATUS {
    // SAFETY: a context that we attached with, until cleanup.
    let context = unsafe { &*context.cast::<Context>() };
    // SAFETY: the module outlives its bindings.
    let module = unsafe { &*context.module };
    let (side, handle) = (module.side, context.handle);
    module.automaton.detach_called(side, handle, module.number);
    if module.detach == Detach::Done {
        module.automaton.detach_returns(side, handle, STATUS_SUCCESS);
        return STATUS_SUCCESS;
    }
    module.automaton.detach_returns(side, handle, STATUS_PENDING);
    let (nmr, automaton, handle) = (module.nmr.clone(), module.automaton.clone(), support::Pointer(handle));
    let completer = thread::spawn(move || {
        let support::Pointer(handle) = { handle };
        automaton.completes(side, handle);
        match side {
            Side::Client => nmr.client_detach_provider_complete(handle),
            Side::Provider => nmr.provider_detach_client_complete(handle),
        }
    });
    module.completers.lock().unwrap().push(completer);
    STATUS_PENDING
}

unsafe extern "system" fn cleanup_callback(context: *mut c_void) {
    // SAFETY: a context that we attached with; this is its last use.
    let context = unsafe { Box::from_raw(context.cast::<Context>()) };
    // SAFETY: the module outlives its bindings.
    let module = unsafe { &*context.module };
    module.automaton.cleanup_called(module.side, context.handle, module.number);
}

/// Runs modules against each other, a thread each, under many schedules. Returns whether any schedule attached a pair,
/// and whether any did not.
fn explore(modules: &'static [(Side, Detach)], seed: Option<u64>) -> (bool, bool) {
    let iterations = std::env::var("SHUTTLE_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(1500);
    let attached = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
    let seen = attached.clone();
    let history = move || {
        let nmr = Arc::new(Nmr::new(Scheduled::default()));
        nmr.set_order(seed);
        let automaton = Automaton::default();
        let modules: Vec<_> = modules
            .iter()
            .enumerate()
            .map(|(number, (side, detach))| Module::new(&nmr, &automaton, *side, number + 1, *detach))
            .collect();
        let threads: Vec<_> = modules
            .iter()
            .map(|module| {
                let module = module.clone();
                thread::spawn(move || module.come_and_go())
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let (errors, bindings) = automaton.result();
        assert_eq!(errors, [""; 0]);
        assert_eq!(*nmr.platform().violations.lock().unwrap(), [""; 0]);
        assert!(nmr.report().is_empty());
        let flag = if bindings > 0 { &seen.0 } else { &seen.1 };
        flag.store(true, Ordering::Relaxed);
    };
    check_random(history.clone(), iterations);
    check_pct(history, iterations, 3);
    (attached.0.load(Ordering::Relaxed), attached.1.load(Ordering::Relaxed))
}

#[test]
fn a_pair_that_comes_and_goes_at_the_same_time() {
    const PAIR: &[(Side, Detach)] = &[(Side::Client, Detach::Done), (Side::Provider, Detach::Done)];
    assert_eq!(explore(PAIR, None), (true, true), "schedules in which they meet, and in which they do not");
}

#[test]
fn a_pair_whose_detaches_are_completed_on_other_threads() {
    const PAIR: &[(Side, Detach)] =
        &[(Side::Client, Detach::CompleteElsewhere), (Side::Provider, Detach::CompleteElsewhere)];
    assert!(explore(PAIR, Some(3)).0);
}

#[test]
fn two_clients_and_two_providers() {
    const ALL: &[(Side, Detach)] = &[
        (Side::Client, Detach::CompleteElsewhere),
        (Side::Provider, Detach::Done),
        (Side::Client, Detach::Done),
        (Side::Provider, Detach::CompleteElsewhere),
    ];
    assert!(explore(ALL, Some(11)).0);
}
