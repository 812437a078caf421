//! Calls at DISPATCH_LEVEL, counted without locked instructions: threads stand for processors.

mod threads;

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nmr_registrar::{DISPATCH_LEVEL, Session};
use wdk_nmr::*;

/// How many threads have a count of their own.
const PROCESSORS: usize = 2;

struct Threads;

impl ShardIndex for Threads {
    fn current() -> usize {
        threads::current()
    }
}

// SAFETY: each number is that of one thread, which is always the same; `threads` says what the barrier does.
unsafe impl Processors for Threads {
    fn barrier() {
        threads::barrier();
    }
}

fn passive<'a>() -> Passive<'a> {
    // SAFETY: threads of a test.
    unsafe { Passive::new() }
}

fn dispatch<'a>() -> Dispatch<'a> {
    // SAFETY: a thread that calls this does one thing after the other, and is no other processor.
    unsafe { Dispatch::new() }
}

struct Waiting;

type Function = unsafe extern "system" fn(context: *mut c_void);

#[repr(C)]
struct Table {
    version: u16,
    size: u16,
    call: Function,
}

// SAFETY: starts with version and size.
unsafe impl NpiStructure for Table {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

// SAFETY: the two modules below.
unsafe impl Npi for Waiting {
    const ID: NPIID = GUID { Data1: 77, Data2: 2, Data3: 3, Data4: [4; 8] };
    type ProviderDispatch = Table;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

/// A provider that knows whether its registration is over.
struct Server {
    over: &'static AtomicBool,
    broken: &'static AtomicUsize,
    when_called: fn(),
}

impl Server {
    fn call(call: ProviderCall<'_, Self>) {
        let server = call.provider();
        (server.when_called)();
        if server.over.load(Ordering::Relaxed) {
            server.broken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Provider for Server {
    type Npi = Waiting;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Table { version: 1, size: size_of::<Table>() as u16, call: fn Self::call })
    }

    fn attach(&self, _: &ClientOffer<'_, Waiting>) -> Result<(), Refusal> {
        Ok(())
    }
}

struct User;

impl Client for User {
    type Npi = Waiting;
    type Binding = ();
    type Guard = PerProcessor<Threads, PROCESSORS>;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Waiting>) -> Result<(), Refusal> {
        Ok(())
    }
}

struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

type Used = ClientRegistration<User, Program>;

/// A provider, and the word on which it learns that it is over. Both are leaked: a call that comes too late is to find
/// out.
fn serve(
    broken: &'static AtomicUsize,
    when_called: fn(),
) -> (ProviderRegistration<Server, Program>, &'static AtomicBool) {
    let over: &AtomicBool = Box::leak(Box::default());
    let server = Server { over, broken, when_called };
    let options = RegistrationOptions::new(ModuleId::IfLuid(1), ());
    (ProviderRegistration::register(server, options, Program, passive()).unwrap(), over)
}

fn use_it() -> Used {
    ClientRegistration::register(User, RegistrationOptions::new(ModuleId::IfLuid(2), ()), Program, passive()).unwrap()
}

fn call<B: Send + Sync, G: Count>(peer: &Peer<'_, B, Table, G>) {
    // SAFETY: the context came with the table.
    peer.call(|table, context| unsafe { (table.call)(context) });
}

/// False, with a word, where the tests cannot run.
fn can_run() -> bool {
    let can = threads::have_barrier();
    if !can {
        eprintln!("not run: this host has no barrier for all threads of a process");
    }
    can
}

#[test]
fn r44_a_call_at_dispatch_level_keeps_the_detach_pending() {
    if !can_run() {
        return;
    }
    let session = Session::new();
    static BROKEN: AtomicUsize = AtomicUsize::new(0);
    threads::become_processor(0);
    let client = use_it();
    let (provider, _) = serve(&BROKEN, || ());
    let deregistering = session.at_irql(DISPATCH_LEVEL, || {
        let peer = client.providers().at_dispatch(dispatch()).next().expect("attached");
        call(&peer);
        let deregistering = provider.start_deregistering();
        let states: Vec<_> = client.bindings().map(|binding| (binding.state, binding.calls)).collect();
        assert_eq!(states, [(BindingState::Draining, 1)]);
        assert!(client.providers().at_dispatch(dispatch()).next().is_none(), "no new call");
        assert!(client.providers().next().is_none(), "nor one of the other kind");
        drop(peer);
        assert_eq!(client.bindings().count(), 0, "the last call has completed the detach (R45)");
        deregistering
    });
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

#[test]
fn r45_calls_at_both_levels_complete_once_whichever_is_last() {
    if !can_run() {
        return;
    }
    static BROKEN: AtomicUsize = AtomicUsize::new(0);
    for dispatch_is_last in [true, false] {
        let _session = Session::new();
        threads::become_processor(1);
        let client = use_it();
        let (provider, _) = serve(&BROKEN, || ());
        let above = client.providers().at_dispatch(dispatch()).next().expect("attached");
        let below = client.providers().next().expect("attached");
        let deregistering = provider.start_deregistering();
        assert_eq!(client.bindings().next().map(|binding| binding.calls), Some(2));
        if dispatch_is_last {
            drop(below);
            assert_eq!(client.bindings().count(), 1);
            drop(above);
        } else {
            drop(above);
            assert_eq!(client.bindings().count(), 1);
            drop(below);
        }
        assert_eq!(client.bindings().count(), 0);
        deregistering.wait(passive()).unwrap();
        client.deregister(passive()).unwrap();
    }
}

#[test]
fn a_processor_without_a_count_of_its_own_uses_the_word() {
    if !can_run() {
        return;
    }
    let _session = Session::new();
    static BROKEN: AtomicUsize = AtomicUsize::new(0);
    threads::become_processor(PROCESSORS + 1);
    let client = use_it();
    let (provider, _) = serve(&BROKEN, || ());
    let peer = client.providers().at_dispatch(dispatch()).next().expect("attached");
    let deregistering = provider.start_deregistering();
    assert!(client.providers().at_dispatch(dispatch()).next().is_none());
    assert_eq!(client.bindings().next().map(|binding| binding.calls), Some(1));
    drop(peer);
    deregistering.wait(passive()).unwrap();
    client.deregister(passive()).unwrap();
}

/// A completion that is lost lets the provider wait for ever: nothing that a test could catch.
fn end_if_it_hangs(rounds: &AtomicUsize, stop: &AtomicBool) {
    let mut last = (rounds.load(Ordering::Relaxed), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
        let now = rounds.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > Duration::from_secs(20) {
            eprintln!("round {now} does not end: a completion was lost");
            std::process::exit(1);
        }
    }
}

/// No call is in progress when a registration is over, however calls and detaches meet. Without the barrier some are.
#[test]
fn m8_calls_at_dispatch_level_race_with_providers_that_come_and_go() {
    if !can_run() {
        return;
    }
    let _session = Session::new();
    static BROKEN: AtomicUsize = AtomicUsize::new(0);
    let calls = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let client = use_it();
    let until = Instant::now() + Duration::from_secs(2);
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| end_if_it_hangs(&rounds, &stop));
        for number in 0..PROCESSORS {
            let (client, calls, stop) = (&client, &calls, &stop);
            scope.spawn(move || {
                threads::become_processor(number);
                let mut attempt = 0_usize;
                while !stop.load(Ordering::Relaxed) {
                    attempt += 1;
                    // One of the threads also calls at a lower level.
                    if number == 1 && attempt.is_multiple_of(4) {
                        client.providers().for_each(|provider| call(&provider));
                    }
                    let Some(provider) = client.providers().at_dispatch(dispatch()).next() else {
                        thread::yield_now();
                        continue;
                    };
                    call(&provider);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while Instant::now() < until {
            let before = calls.load(Ordering::Relaxed);
            let (provider, over) = serve(&BROKEN, || (0..20).for_each(|_| core::hint::spin_loop()));
            while calls.load(Ordering::Relaxed) == before {
                thread::yield_now();
            }
            provider.deregister(passive()).unwrap();
            over.store(true, Ordering::Relaxed);
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
    });
    eprintln!("{} rounds, {} calls", rounds.load(Ordering::Relaxed), calls.load(Ordering::Relaxed));
    assert_eq!(BROKEN.load(Ordering::Relaxed), 0, "calls in progress after the end of a registration");
    client.deregister(passive()).unwrap();
}
