//! Calls in a critical region: entered before a call is counted, left after it has ended, on the same thread.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex};
use std::thread;

use nmr_registrar::Session;
use wdk_nmr::*;

use crate::common::*;

thread_local! {
    /// How many regions the thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// What `enter` answers: false stands for DISPATCH_LEVEL.
    static NEEDED: Cell<bool> = const { Cell::new(true) };
}

fn depth() -> usize {
    DEPTH.get()
}

struct Kernel;

impl CriticalRegion for Kernel {
    fn enter() -> bool {
        if NEEDED.get() {
            DEPTH.set(DEPTH.get() + 1);
        }
        NEEDED.get()
    }

    fn leave() {
        DEPTH.set(DEPTH.get().checked_sub(1).expect("left once for each time it was entered"));
    }
}

impl ShardIndex for Kernel {
    fn current() -> usize {
        0
    }
}

// SAFETY: the one thread that the test lets call at DISPATCH_LEVEL also detaches.
unsafe impl Processors for Kernel {
    fn barrier() {}
}

/// Notes at which depth its binding was dropped.
struct Caller<G>(Arc<Mutex<Vec<usize>>>, core::marker::PhantomData<fn() -> G>);

struct NotesDepth(Arc<Mutex<Vec<usize>>>);

impl Drop for NotesDepth {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(depth());
    }
}

impl<G: Guard> Client for Caller<G> {
    type Npi = Testing;
    type Binding = NotesDepth;
    type Guard = InCriticalRegion<Kernel, G>;

    fn dispatch(&self) -> ClientTable<Self> {
        client_table!(Self, Table { version: 1, size: Table::SIZE, call: fn never_called })
    }

    fn attach(&self, _: &ProviderOffer<'_, Testing>) -> Result<NotesDepth, Refusal> {
        Ok(NotesDepth(self.0.clone()))
    }
}

fn never_called<C: Client>(_: ClientCall<'_, C>, number: u32) -> u32 {
    number
}

type Used<G> = ClientRegistration<Caller<G>, Program>;

fn use_it<G: Guard>() -> (Used<G>, Arc<Mutex<Vec<usize>>>) {
    let drops = Arc::default();
    let client = Caller(Arc::clone(&drops), core::marker::PhantomData);
    let options = RegistrationOptions::new(CLIENT_ID, Characteristics::new(8));
    (ClientRegistration::register(client, options, Program::default(), passive()).unwrap(), drops)
}

#[test]
fn a_call_is_in_a_region_from_before_it_is_counted_until_it_has_ended() {
    let _session = Session::new();
    let log = Log::default();
    let mut provider = TestProvider::new(&log);
    provider.on_call = Box::new(|_, _, number| number + 10 * depth() as u32);
    let provider = provide(provider);
    let (client, drops) = use_it::<Single>();
    let peer = client.providers().next().unwrap();
    assert_eq!((depth(), call(&peer, 3)), (1, 13), "the provider is called in the region");
    let deregistering = provider.start_deregistering();
    assert!(client.providers().next().is_none(), "an attempt that is refused");
    assert_eq!(depth(), 1, "leaves its region again");
    drop(peer);
    assert_eq!(depth(), 0);
    assert_eq!(*drops.lock().unwrap(), [1], "the last call out completed the detach before it left the region");
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn a_refused_attempt_that_completes_does_so_in_its_region() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let (client, _) = use_it::<Sharded<Kernel, 2>>();
    assert_eq!(client.providers().filter(|_| depth() == 1).count(), 1);
    provider.deregister(passive()).unwrap();
    assert_eq!((client.providers().count(), depth()), (0, 0));
    client.deregister(passive()).unwrap();
}

#[test]
fn r50_a_held_call_is_in_no_region_until_it_ends() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let (client, drops) = use_it::<Single>();
    let hold = || client.providers().next().unwrap().hold();
    let (held, held_longer) = (hold(), hold());
    assert_eq!(depth(), 0, "no thread has the call any more");
    assert_eq!(client.bindings().map(|binding| binding.calls).collect::<Vec<_>>(), [2]);
    let deregistering = provider.start_deregistering();
    let end = |held| {
        let other = thread::spawn(move || {
            drop(held);
            depth()
        });
        assert_eq!(other.join().unwrap(), 0);
    };
    end(held);
    assert_eq!(*drops.lock().unwrap(), [], "one call has not ended");
    end(held_longer);
    assert_eq!(*drops.lock().unwrap(), [1], "the thread that ended it completed in a region");
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn at_dispatch_level_there_is_no_region() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let (client, _) = use_it::<PerProcessor<Kernel, 1>>();
    // SAFETY: one thread stands for the one processor.
    let dispatch = unsafe { Dispatch::new() };
    assert_eq!(client.providers().at_dispatch(dispatch).filter(|_| depth() == 0).count(), 1, "nor is one asked for");
    NEEDED.set(false);
    let peer = client.providers().next().unwrap();
    // What was decided at the start of the call also holds at its end.
    NEEDED.set(true);
    drop(peer);
    assert_eq!(depth(), 0);
    let region = Region::<Kernel>::enter();
    assert_eq!(format!("{region:?}"), "Region { entered: true, .. }");
    let peer = client.providers().next().unwrap();
    assert_eq!(depth(), 2, "regions nest");
    drop((region, peer));
    assert_eq!(depth(), 0);
    provider.deregister(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn of_the_calls_at_dispatch_level_the_last_completes() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let (client, drops) = use_it::<PerProcessor<Kernel, 1>>();
    // SAFETY: one thread stands for the one processor.
    let dispatch = unsafe { Dispatch::new() };
    let enter = || client.providers().at_dispatch(dispatch).next().unwrap();
    let (first, last) = (enter(), enter());
    let deregistering = provider.start_deregistering();
    drop(first);
    assert_eq!(*drops.lock().unwrap(), [], "one call has not ended");
    drop(last);
    assert_eq!(*drops.lock().unwrap(), [0]);
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

/// A module that answers a call by a call back, at DISPATCH_LEVEL.
struct CallsBack;

impl CallsBack {
    fn called_by_client(incoming: ProviderCall<'_, Self>, number: u32) -> u32 {
        // SAFETY: one thread stands for the one processor.
        let client = incoming.client_at_dispatch(unsafe { Dispatch::new() }).expect("attached");
        call(&client, number)
    }

    fn called_by_provider(incoming: ClientCall<'_, Self>, number: u32) -> u32 {
        // SAFETY: one thread stands for the one processor.
        let provider = incoming.provider_at_dispatch(unsafe { Dispatch::new() }).expect("attached");
        call(&provider, number)
    }
}

impl Provider for CallsBack {
    type Npi = Testing;
    type Binding = ();
    type Guard = PerProcessor<Kernel, 1>;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Table { version: 1, size: Table::SIZE, call: fn Self::called_by_client })
    }

    fn attach(&self, _: &ClientOffer<'_, Testing>) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Client for CallsBack {
    type Npi = Testing;
    type Binding = ();
    type Guard = PerProcessor<Kernel, 1>;

    fn dispatch(&self) -> ClientTable<Self> {
        client_table!(Self, Table { version: 1, size: Table::SIZE, call: fn Self::called_by_provider })
    }

    fn attach(&self, _: &ProviderOffer<'_, Testing>) -> Result<(), Refusal> {
        Ok(())
    }
}

#[test]
fn a_call_may_be_answered_by_a_call_back_at_dispatch_level() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let options = RegistrationOptions::new(CLIENT_ID, Characteristics::new(8));
    let client = ClientRegistration::register(CallsBack, options, Program::default(), passive()).unwrap();
    assert_eq!(provider.clients().map(|client| call(&client, 3)).collect::<Vec<_>>(), [103]);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();

    let options = RegistrationOptions::new(PROVIDER_ID, Characteristics::new(7));
    let provider = ProviderRegistration::register(CallsBack, options, Program::default(), passive()).unwrap();
    let client = crate::common::use_it(TestClient::new(&log));
    assert_eq!(client.providers().map(|provider| call(&provider, 3)).collect::<Vec<_>>(), [1003]);
    client.deregister(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn a_guard_in_regions_shows_the_guard_within() {
    let mut place = MaybeUninit::<InCriticalRegion<Kernel, Single>>::uninit();
    // SAFETY: a place for a guard.
    unsafe { Guard::initialize(place.as_mut_ptr()) };
    // SAFETY: it has just been filled.
    let guard = unsafe { place.assume_init() };
    let shown = format!("{guard:?}");
    assert!(shown.starts_with("InCriticalRegion(Single("), "{shown}");
}
