//! What the registrar costs, beside a straightforward one in the same run.
//!
//! `cargo bench -p nmr-registrar` (or `cargo xtask bench registrar`). Times are medians. A *cycle* is what a client
//! does that comes and goes: register, attach to one provider, deregister with detach and cleanup on both sides, wait.

mod straightforward;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr::{null, null_mut};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nmr_registrar::{Host, Registrar, registrar};
use wdk_nmr_sys::*;

/// Counts what is allocated, to state the memory per registration and binding.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
/// Off while times are taken: the threads would meet at the counter.
static COUNTS: AtomicBool = AtomicBool::new(false);

/// How many bytes `f` allocates and does not free.
fn allocated<R>(f: impl FnOnce() -> R) -> (R, usize) {
    ALLOCATED.store(0, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let result = f();
    COUNTS.store(false, Ordering::Relaxed);
    (result, ALLOCATED.load(Ordering::Relaxed))
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if COUNTS.load(Ordering::Relaxed) {
            ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The registrar under test.
trait Nmr: 'static {
    const NAME: &'static str;
    fn register_client(characteristics: *const NPI_CLIENT_CHARACTERISTICS) -> HANDLE;
    fn register_provider(characteristics: *const NPI_PROVIDER_CHARACTERISTICS) -> HANDLE;
    fn attach(handle: HANDLE, context: *mut *mut c_void, dispatch: *mut *const c_void) -> NTSTATUS;
    fn end_client(handle: HANDLE);
    fn end_provider(handle: HANDLE);
    /// Ends all registrations that are left.
    fn end_all();
}

/// `nmr-registrar`, strict, without a session.
struct Ours;

impl Ours {
    fn get() -> &'static Registrar<Host> {
        registrar()
    }
}

impl Nmr for Ours {
    const NAME: &'static str = "nmr-registrar";

    fn register_client(characteristics: *const NPI_CLIENT_CHARACTERISTICS) -> HANDLE {
        let mut handle = null_mut();
        // SAFETY: the benchmark keeps the structure until the end of the registration.
        let status = unsafe { Self::get().register_client(characteristics, null_mut(), &raw mut handle) };
        assert_eq!(status, STATUS_SUCCESS);
        handle
    }

    fn register_provider(characteristics: *const NPI_PROVIDER_CHARACTERISTICS) -> HANDLE {
        let mut handle = null_mut();
        // SAFETY: the benchmark keeps the structure until the end of the registration.
        let status = unsafe { Self::get().register_provider(characteristics, null_mut(), &raw mut handle) };
        assert_eq!(status, STATUS_SUCCESS);
        handle
    }

    fn attach(handle: HANDLE, context: *mut *mut c_void, dispatch: *mut *const c_void) -> NTSTATUS {
        // SAFETY: the caller's variables.
        unsafe { Self::get().client_attach_provider(handle, null_mut(), null(), context, dispatch) }
    }

    fn end_client(handle: HANDLE) {
        assert_eq!(Self::get().deregister_client(handle), STATUS_PENDING);
        assert_eq!(Self::get().wait_for_client_deregister_complete(handle), STATUS_SUCCESS);
    }

    fn end_provider(handle: HANDLE) {
        assert_eq!(Self::get().deregister_provider(handle), STATUS_PENDING);
        assert_eq!(Self::get().wait_for_provider_deregister_complete(handle), STATUS_SUCCESS);
    }

    fn end_all() {
        Self::get().purge();
    }
}

struct Straightforward;

impl Nmr for Straightforward {
    const NAME: &'static str = "one lock and scan";

    fn register_client(characteristics: *const NPI_CLIENT_CHARACTERISTICS) -> HANDLE {
        straightforward::register_client(characteristics, null_mut())
    }

    fn register_provider(characteristics: *const NPI_PROVIDER_CHARACTERISTICS) -> HANDLE {
        straightforward::register_provider(characteristics, null_mut())
    }

    fn attach(handle: HANDLE, context: *mut *mut c_void, dispatch: *mut *const c_void) -> NTSTATUS {
        straightforward::client_attach_provider(handle, null_mut(), null(), context, dispatch)
    }

    fn end_client(handle: HANDLE) {
        straightforward::deregister(handle);
        straightforward::wait(handle);
    }

    fn end_provider(handle: HANDLE) {
        straightforward::deregister(handle);
        straightforward::wait(handle);
    }

    fn end_all() {
        straightforward::forget_all();
    }
}

unsafe extern "system" fn client_attach<N: Nmr>(
    handle: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    let (mut context, mut dispatch) = (null_mut(), null());
    N::attach(handle, &raw mut context, &raw mut dispatch)
}

unsafe extern "system" fn provider_attach(
    _: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
    _: *mut c_void,
    _: *const c_void,
    context: *mut *mut c_void,
    dispatch: *mut *const c_void,
) -> NTSTATUS {
    // SAFETY: the registrar's variable.
    unsafe { context.write(null_mut()) };
    // SAFETY: the registrar's variable.
    unsafe { dispatch.write(null()) };
    STATUS_SUCCESS
}

unsafe extern "system" fn detach(context: *mut c_void) -> NTSTATUS {
    black_box(context);
    STATUS_SUCCESS
}

unsafe extern "system" fn cleanup(context: *mut c_void) {
    black_box(context);
}

/// The structures of one interface, in place as long as something is registered with them.
struct Interface {
    _npi: Box<NPIID>,
    _id: Box<NPI_MODULEID>,
    client: NPI_CLIENT_CHARACTERISTICS,
    provider: NPI_PROVIDER_CHARACTERISTICS,
}

impl Interface {
    fn new<N: Nmr>(number: usize) -> Box<Self> {
        let npi = Box::new(GUID { Data1: number as u32, Data2: 0xBE7C, Data3: 0, Data4: *b"benchmrk" });
        let guid = GUID { Data1: 0xBE7C, ..GUID::default() };
        let id = Box::new(NPI_MODULEID { Length: 24, Type: MIT_GUID, Id: NPI_MODULEID_ID { Guid: guid } });
        let instance = NPI_REGISTRATION_INSTANCE {
            Version: 0,
            Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
            NpiId: &raw const *npi,
            ModuleId: &raw const *id,
            Number: 0,
            NpiSpecificCharacteristics: null(),
        };
        Box::new(Self {
            _npi: npi,
            _id: id,
            client: NPI_CLIENT_CHARACTERISTICS {
                Version: 0,
                Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
                ClientAttachProvider: Some(client_attach::<N>),
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
        })
    }

    fn cycle<N: Nmr>(&self) {
        N::end_client(N::register_client(&raw const self.client));
    }
}

// SAFETY: the structures are only read.
unsafe impl Sync for Interface {}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The median time of `f`, which is run for about `budget` in batches.
fn time(budget: Duration, mut f: impl FnMut()) -> Duration {
    let started = Instant::now();
    f();
    let batch = (Duration::from_micros(200).as_nanos() / started.elapsed().as_nanos().max(1)).clamp(1, 1000) as u32;
    let mut times = Vec::new();
    while started.elapsed() < budget || times.len() < 5 {
        let began = Instant::now();
        (0..batch).for_each(|_| f());
        times.push(began.elapsed() / batch);
    }
    median(times)
}

/// A cycle while `others` registrations of interfaces of their own exist.
fn cycle_among<N: Nmr>(others: usize) -> (Duration, usize) {
    let interfaces: Vec<_> = (0..others).map(|number| Interface::new::<N>(number + 1)).collect();
    let ((), memory) = allocated(|| {
        interfaces.iter().for_each(|interface| {
            N::register_provider(&raw const interface.provider);
        });
    });
    let own = Interface::new::<N>(0);
    let provider = N::register_provider(&raw const own.provider);
    let time = time(Duration::from_millis(700), || own.cycle::<N>());
    N::end_provider(provider);
    N::end_all();
    (time, memory.checked_div(others).unwrap_or(0))
}

/// Many clients on one provider: the time per attach, per detach when the provider ends, and the bytes per binding.
fn crowd<N: Nmr>(clients: usize) -> [f64; 3] {
    let interface = Interface::new::<N>(0);
    // The clients' registrations are there first, so that what the provider adds are bindings.
    (0..clients).for_each(|_| {
        N::register_client(&raw const interface.client);
    });
    let ((provider, attach), memory) = allocated(|| {
        let began = Instant::now();
        (N::register_provider(&raw const interface.provider), began.elapsed())
    });
    let began = Instant::now();
    N::end_provider(provider);
    let detach = began.elapsed();
    N::end_all();
    let per = |time: Duration| time.as_nanos() as f64 / clients as f64;
    [per(attach), per(detach), memory as f64 / clients as f64]
}

/// Cycles per second, for threads with an interface each.
fn throughput<N: Nmr>(threads: usize) -> f64 {
    const CYCLES: usize = 100_000;
    let rates: Vec<f64> = (0..5)
        .map(|_| {
            let interfaces: Vec<_> = (0..threads).map(|number| Interface::new::<N>(number + 1)).collect();
            let providers: Vec<_> = interfaces.iter().map(|i| N::register_provider(&raw const i.provider)).collect();
            let together = Barrier::new(threads + 1);
            let elapsed = std::thread::scope(|scope| {
                for interface in &interfaces {
                    let together = &together;
                    let interface: &Interface = interface;
                    scope.spawn(move || {
                        together.wait();
                        (0..CYCLES).for_each(|_| interface.cycle::<N>());
                        together.wait();
                    });
                }
                together.wait();
                let began = Instant::now();
                together.wait();
                began.elapsed()
            });
            providers.into_iter().for_each(N::end_provider);
            (CYCLES * threads) as f64 / elapsed.as_secs_f64()
        })
        .collect();
    let mut rates = rates;
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    // Lines for `cargo xtask bench` (xtask/src/figures.rs).
    let figure = |table: &str, row: &str, column: &str, figure: String| {
        println!("figure | registrar {table} | {row} | {column} | {figure}");
    };
    println!("One client comes and goes (register, attach, detach, cleanup, wait), median");
    for others in [10, 1_000, 100_000] {
        let (ours, memory) = cycle_among::<Ours>(others);
        let (plain, _) = cycle_among::<Straightforward>(others);
        let row = format!("{others} other registrations");
        for (name, time) in [(Ours::NAME, ours), (Straightforward::NAME, plain)] {
            figure("cycle", &row, name, format!("{:.0} ns", time.as_nanos()));
        }
        figure("cycle", &row, "bytes a registration", memory.to_string());
    }
    let clients = 10_000;
    println!("{clients} clients on one provider, a binding each");
    for (name, [attach, detach, memory]) in
        [(Ours::NAME, crowd::<Ours>(clients)), (Straightforward::NAME, crowd::<Straightforward>(clients))]
    {
        figure("crowd", name, "attach", format!("{attach:.0} ns"));
        figure("crowd", name, "detach and cleanup", format!("{detach:.0} ns"));
        figure("crowd", name, "bytes a binding", format!("{memory:.0}"));
    }
    println!("Attach and detach, an interface a thread");
    for (name, rates) in [
        (Ours::NAME, [throughput::<Ours>(1), throughput::<Ours>(2)]),
        (Straightforward::NAME, [throughput::<Straightforward>(1), throughput::<Straightforward>(2)]),
    ] {
        for (column, rate) in ["1 thread", "2 threads"].into_iter().zip(rates) {
            figure("rate", name, column, format!("{rate:.0} a second"));
        }
    }
}
