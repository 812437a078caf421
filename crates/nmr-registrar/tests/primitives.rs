//! The core on other primitives than those of std: a spin lock and a flag made of atomics, as in a kernel. It runs
//! without this crate's `std` feature, and, since everything that synchronises is compiled with it, under
//! ThreadSanitizer without a false alarm.

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::hint::spin_loop;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use nmr_registrar::{DISPATCH_LEVEL, Event, Function, Lock, Platform, Registrar, Side, Violation};
use wdk_nmr_sys::*;

/// A spin lock that, like the kernel's, raises the IRQL while it is held.
struct Spin<T> {
    is_held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one thread at a time to the value.
unsafe impl<T: Send> Sync for Spin<T> {}

thread_local! {
    static IRQL: Cell<u8> = const { Cell::new(0) };
    static THREAD: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

impl<T: Send> Lock<T> for Spin<T> {
    fn new(value: T) -> Self {
        Self { is_held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let irql = IRQL.replace(DISPATCH_LEVEL);
        while self.is_held.swap(true, Ordering::Acquire) {
            thread::yield_now();
        }
        // SAFETY: this thread holds the lock.
        let result = f(unsafe { &mut *self.value.get() });
        self.is_held.store(false, Ordering::Release);
        IRQL.set(irql);
        result
    }
}

struct Flag(AtomicBool);

impl Event for Flag {
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn wait(&self, _: Option<Duration>) -> bool {
        while !self.0.load(Ordering::Acquire) {
            spin_loop();
            thread::yield_now();
        }
        true
    }
}

#[derive(Default)]
struct Bare {
    violations: AtomicUsize,
    callbacks_under_lock: AtomicUsize,
}

impl Platform for Bare {
    type Lock<T: Send> = Spin<T>;
    type Event = Flag;

    fn irql(&self) -> u8 {
        IRQL.get()
    }

    fn thread(&self) -> u64 {
        THREAD.with(|thread| *thread)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn violation(&self, violation: &Violation) {
        println!("{violation}");
        self.violations.fetch_add(1, Ordering::Relaxed);
    }

    fn pause(&self, _: &nmr_registrar::PausePoint) {
        // The lock raises the IRQL, so a callback under a lock would be seen here.
        self.callbacks_under_lock.fetch_add(usize::from(IRQL.get() != 0), Ordering::Relaxed);
        thread::yield_now();
    }
}

static NMR: LazyLock<Registrar<Bare>> = LazyLock::new(|| Registrar::new(Bare::default()));
static ATTACHED: AtomicUsize = AtomicUsize::new(0);
static CLEANED: AtomicUsize = AtomicUsize::new(0);
/// A binding handle whose detach is pending, for the thread that completes, and the side that owes it.
static OWED: [AtomicPtr<c_void>; 2] = [AtomicPtr::new(null_mut()), AtomicPtr::new(null_mut())];

/// What a side allocates per binding. Plain memory, so that ThreadSanitizer sees who touches it.
struct Context {
    side: Side,
    handle: HANDLE,
    detaches: u32,
}

fn allocate(side: Side, handle: HANDLE) -> *mut c_void {
    Box::into_raw(Box::new(Context { side, handle, detaches: 0 })).cast()
}

unsafe extern "system" fn client_attach(
    handle: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    let own = allocate(Side::Client, handle);
    let (mut context, mut dispatch) = (null_mut(), null());
    // SAFETY: two variables of ours.
    let status = unsafe { NMR.client_attach_provider(handle, own, null(), &raw mut context, &raw mut dispatch) };
    if status == STATUS_SUCCESS {
        ATTACHED.fetch_add(1, Ordering::Relaxed);
    } else {
        // SAFETY: nobody else has it after a failure (R23).
        drop(unsafe { Box::from_raw(own.cast::<Context>()) });
    }
    status
}

unsafe extern "system" fn provider_attach(
    handle: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
    _: *mut c_void,
    _: *const c_void,
    context: *mut *mut c_void,
    dispatch: *mut *const c_void,
) -> NTSTATUS {
    // SAFETY: the registrar's variable.
    unsafe { context.write(allocate(Side::Provider, handle)) };
    // SAFETY: the registrar's variable.
    unsafe { dispatch.write(null()) };
    STATUS_SUCCESS
}

unsafe extern "system" fn detach(context: *mut c_void) -> NTSTATUS {
    // SAFETY: a context that we attached with; until cleanup, one detach callback alone has it.
    let context = unsafe { &mut *context.cast::<Context>() };
    context.detaches += 1;
    let owed = &OWED[context.side as usize];
    let (empty, handle) = (null_mut(), context.handle);
    // From here on another thread may complete, and the context be gone (R53).
    match owed.compare_exchange(empty, handle, Ordering::AcqRel, Ordering::Relaxed) {
        Ok(_) => STATUS_PENDING,
        Err(_) => STATUS_SUCCESS,
    }
}

unsafe extern "system" fn cleanup(context: *mut c_void) {
    // SAFETY: a context that we attached with; this is its last use.
    let context = unsafe { Box::from_raw(context.cast::<Context>()) };
    CLEANED.fetch_add(context.detaches as usize, Ordering::Relaxed);
}

struct Structures {
    client: NPI_CLIENT_CHARACTERISTICS,
    provider: NPI_PROVIDER_CHARACTERISTICS,
}
// SAFETY: they are only read.
unsafe impl Send for Structures {}
// SAFETY: they are only read.
unsafe impl Sync for Structures {}

static STRUCTURES: LazyLock<Structures> = LazyLock::new(|| {
    let npi: &NPIID = Box::leak(Box::new(GUID { Data1: 9, Data2: 9, Data3: 9, Data4: [9; 8] }));
    let id = NPI_MODULEID { Length: 24, Type: MIT_GUID, Id: NPI_MODULEID_ID { Guid: *npi } };
    let instance = NPI_REGISTRATION_INSTANCE {
        Version: 0,
        Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
        NpiId: npi,
        ModuleId: Box::leak(Box::new(id)),
        Number: 0,
        NpiSpecificCharacteristics: null(),
    };
    Structures {
        client: NPI_CLIENT_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
            ClientAttachProvider: Some(client_attach),
            ClientDetachProvider: Some(detach),
            ClientCleanupBindingContext: Some(cleanup),
            ClientRegistrationInstance: instance,
        },
        provider: NPI_PROVIDER_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
            ProviderAttachClient: Some(provider_attach),
            ProviderDetachClient: Some(detach),
            ProviderCleanupBindingContext: Some(cleanup),
            ProviderRegistrationInstance: instance,
        },
    }
});

fn come_and_go(side: Side) {
    let mut handle = null_mut();
    match side {
        Side::Client => {
            // SAFETY: the structures are static.
            let status = unsafe { NMR.register_client(&raw const STRUCTURES.client, null_mut(), &raw mut handle) };
            assert_eq!(status, STATUS_SUCCESS);
            thread::yield_now();
            assert_eq!(NMR.deregister_client(handle), STATUS_PENDING);
            assert_eq!(NMR.wait_for_client_deregister_complete(handle), STATUS_SUCCESS);
        }
        Side::Provider => {
            // SAFETY: the structures are static.
            let status = unsafe { NMR.register_provider(&raw const STRUCTURES.provider, null_mut(), &raw mut handle) };
            assert_eq!(status, STATUS_SUCCESS);
            thread::yield_now();
            assert_eq!(NMR.deregister_provider(handle), STATUS_PENDING);
            assert_eq!(NMR.wait_for_provider_deregister_complete(handle), STATUS_SUCCESS);
        }
    }
}

#[test]
fn a_platform_that_leaves_out_what_it_may_changes_nothing() {
    let bare = Bare::default();
    assert_eq!(bare.fault(Function::RegisterClient), None);
    assert!(!bare.delays_cleanup(Function::ClientDetachProviderComplete, 1));
    assert_eq!(bare.image(1), None);
    assert!(bare.readable(1, 8));
    let (here, mut there) = (thread::current().id(), None);
    bare.elsewhere(&mut || there = Some(thread::current().id()));
    assert_eq!(there, Some(here), "it has no other thread");
}

#[test]
fn the_core_needs_no_more_than_a_spin_lock_and_a_flag() {
    /// How many bindings there are to be before the threads stop.
    const BINDINGS: usize = 300;
    // Before there are threads: the once of std is not compiled with this test.
    LazyLock::force(&STRUCTURES);
    NMR.set_order(Some(1));
    let done = Arc::new(AtomicBool::new(false));
    let completer = thread::spawn({
        let done = done.clone();
        move || {
            while !done.load(Ordering::Acquire) {
                for (owed, side) in OWED.iter().zip([Side::Client, Side::Provider]) {
                    let handle = owed.swap(null_mut(), Ordering::AcqRel);
                    if !handle.is_null() {
                        match side {
                            Side::Client => NMR.client_detach_provider_complete(handle),
                            Side::Provider => NMR.provider_detach_client_complete(handle),
                        }
                    }
                }
                thread::yield_now();
            }
        }
    });
    let threads = [Side::Client, Side::Provider, Side::Client, Side::Provider].map(|side| {
        thread::spawn(move || {
            while ATTACHED.load(Ordering::Relaxed) < BINDINGS {
                come_and_go(side)
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    done.store(true, Ordering::Release);
    completer.join().unwrap();

    assert_eq!(NMR.platform().violations.load(Ordering::Relaxed), 0);
    assert_eq!(NMR.platform().callbacks_under_lock.load(Ordering::Relaxed), 0);
    assert!(NMR.report().is_empty());
    let attached = ATTACHED.load(Ordering::Relaxed);
    assert!(attached >= BINDINGS);
    assert_eq!(CLEANED.load(Ordering::Relaxed), 2 * attached);
}
