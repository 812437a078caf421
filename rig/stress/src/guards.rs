//! Clients that call while providers come and go, with each form of the guard.
//!
//! No call may be in progress when a registration is over, and every call has to see what was written before its
//! provider registered. The words of a provider's memory are written and read without ordering: only the guard and NMR
//! order them.

use core::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nmr_registrar::Session;
use wdk_nmr::{
    Client, ClientOffer, ClientRegistration, ClientTable, Count, Dispatch, DispatchGuard, GUID, Guard, ModuleId, NPIID,
    Npi, NpiStructure, Passive, Peer, PerProcessor, Processors, Provider, ProviderCall, ProviderOffer,
    ProviderRegistration, ProviderTable, Refusal, RegistrationOptions, Resident, ShardIndex, Sharded, Single,
    StructureError, VersionAndSize, provider_table,
};

use crate::barrier;

/// Threads that call: more than most emulated machines have processors.
const CALLERS: usize = 4;
/// One call in so many lasts until other threads have run.
const LINGERS: u64 = 1000;
/// A completion that is lost lets a provider wait for ever.
const LOST: Duration = Duration::from_secs(120);

pub(crate) fn single(time: Duration) -> Result<String, String> {
    run::<Single>(time, call)
}

pub(crate) fn sharded(time: Duration) -> Result<String, String> {
    run::<Sharded<Threads, CALLERS>>(time, call)
}

pub(crate) fn per_processor(time: Duration) -> Result<String, String> {
    barrier::prepare()?;
    // In turn, so that both of its counts have to be drained.
    run::<PerProcessor<Threads, CALLERS>>(time, |client, lingers| {
        call_at_dispatch_level(client, lingers) && call(client, false)
    })
}

/// Threads in the place of processors.
struct Threads;

impl ShardIndex for Threads {
    fn current() -> usize {
        barrier::processor()
    }
}

// SAFETY: each number is that of one thread, which is always the same; the barrier is one of all threads.
unsafe impl Processors for Threads {
    fn barrier() {
        barrier::all();
    }
}

/// The interface of the two modules below.
struct Stress;

#[repr(C)]
struct Table {
    version: u16,
    size: u16,
    call: unsafe extern "system" fn(context: *mut c_void),
}

// SAFETY: starts with version and size.
unsafe impl NpiStructure for Table {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

// SAFETY: only the two modules below speak it.
unsafe impl Npi for Stress {
    const ID: NPIID = GUID { Data1: 0x7374_7265, Data2: 0x7373, Data3: 1, Data4: [0; 8] };
    type ProviderDispatch = Table;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

/// What a provider works with: the number of its registration in every word while it is registered, 0 otherwise. On
/// several cache lines, so that they may arrive in any order.
#[derive(Default)]
#[repr(align(128))]
struct Memory([Line; 4]);

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Memory {
    fn fill(&self, value: u64) {
        self.0.iter().for_each(|line| line.0.store(value, Ordering::Relaxed));
    }

    fn is_filled_with(&self, value: u64) -> bool {
        // From the end, in the order in which a reordering of the stores would show.
        self.0.iter().rev().all(|line| line.0.load(Ordering::Relaxed) == value)
    }
}

/// Calls that met what they may not meet.
static BROKEN: AtomicUsize = AtomicUsize::new(0);

struct Server {
    number: u64,
    memory: &'static Memory,
}

impl Server {
    fn call(call: ProviderCall<'_, Self>) {
        let server = call.provider();
        if !server.memory.is_filled_with(server.number) {
            BROKEN.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Provider for Server {
    type Npi = Stress;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Table { version: 1, size: size_of::<Table>() as u16, call: fn Self::call })
    }

    fn attach(&self, _: &ClientOffer<'_, Stress>) -> Result<(), Refusal> {
        Ok(())
    }
}

/// A client whose calls a guard of form `G` counts.
struct Caller<G>(std::marker::PhantomData<fn() -> G>);

impl<G: Guard> Client for Caller<G> {
    type Npi = Stress;
    type Binding = ();
    type Guard = G;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Stress>) -> Result<(), Refusal> {
        Ok(())
    }
}

struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

fn passive<'a>() -> Passive<'a> {
    // SAFETY: the threads of a program, which have no IRQL.
    unsafe { Passive::new() }
}

fn dispatch<'a>() -> Dispatch<'a> {
    // SAFETY: a thread that calls this does one thing after the other, and stands for a processor of its own.
    unsafe { Dispatch::new() }
}

type Calling<G> = ClientRegistration<Caller<G>, Program>;

/// Calls the provider, if there is one. With `lingers`, the call lasts until other threads have run.
fn call<G: Guard>(client: &Calling<G>, lingers: bool) -> bool {
    client.providers().next().map(|provider| call_into(&provider, lingers)).is_some()
}

/// The same, counted as it is at DISPATCH_LEVEL.
fn call_at_dispatch_level<G: DispatchGuard>(client: &Calling<G>, lingers: bool) -> bool {
    let mut providers = client.providers().at_dispatch(dispatch());
    providers.next().map(|provider| call_into(&provider, lingers)).is_some()
}

fn call_into<B: Send + Sync, G: Count>(provider: &Peer<'_, B, Table, G>, lingers: bool) {
    if lingers {
        thread::yield_now();
    }
    // SAFETY: the context came with the table.
    provider.call(|table, context| unsafe { (table.call)(context) });
}

fn run<G: Guard>(time: Duration, call: fn(&Calling<G>, bool) -> bool) -> Result<String, String> {
    let _session = Session::new();
    BROKEN.store(0, Ordering::Relaxed);
    let failed = |error: &dyn core::fmt::Debug| format!("{error:?}");
    let options = RegistrationOptions::new(ModuleId::IfLuid(2), ());
    let client =
        ClientRegistration::<_, Program>::register(Caller::<G>(Default::default()), options, Program, passive())
            .map_err(|error| failed(&error))?;
    // Leaked: a call that comes too late is to find it, filled with 0.
    let memory: &'static Memory = Box::leak(Box::default());
    let (calls, lives, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let outcome = thread::scope(|scope| {
        scope.spawn(|| end_if_it_hangs(&lives, &stop));
        for number in 0..CALLERS {
            let (client, calls, stop) = (&client, &calls, &stop);
            scope.spawn(move || {
                barrier::become_processor(number);
                for attempt in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if call(client, attempt.is_multiple_of(LINGERS)) {
                        calls.fetch_add(1, Ordering::Relaxed);
                    } else {
                        thread::yield_now();
                    }
                }
            });
        }
        let outcome = lives_of_providers(time, memory, &calls, &lives);
        stop.store(true, Ordering::Relaxed);
        outcome
    });
    outcome?;
    client.deregister(passive()).map_err(|error| failed(&error))?;
    match BROKEN.load(Ordering::Relaxed) {
        0 => Ok(format!("{} calls into {} providers", calls.into_inner(), lives.into_inner())),
        broken => Err(format!("{broken} calls met a provider before it was registered, or after it was gone")),
    }
}

/// Providers that come, are called, and go, one after the other.
fn lives_of_providers(
    time: Duration,
    memory: &'static Memory,
    calls: &AtomicU64,
    lives: &AtomicU64,
) -> Result<(), String> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let number = lives.load(Ordering::Relaxed) + 1;
        memory.fill(number);
        let options = RegistrationOptions::new(ModuleId::IfLuid(1), ());
        let provider = ProviderRegistration::register(Server { number, memory }, options, Program, passive());
        let provider = provider.map_err(|error| format!("{error:?}"))?;
        let before = calls.load(Ordering::Relaxed);
        while calls.load(Ordering::Relaxed) == before {
            thread::yield_now();
        }
        provider.deregister(passive()).map_err(|error| format!("{error:?}"))?;
        memory.fill(0);
        lives.store(number, Ordering::Relaxed);
    }
    Ok(())
}

/// Ends the program when no provider has come or gone for long.
fn end_if_it_hangs(lives: &AtomicU64, stop: &AtomicBool) {
    let mut last = (lives.load(Ordering::Relaxed), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
        let now = lives.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > LOST {
            eprintln!("error: provider {now} does not end: a completion was lost");
            std::process::exit(1);
        }
    }
}
