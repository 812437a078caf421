//! What a guarded call of a peer costs, beside the ways in which others guard it: `cargo xtask bench guard`.
//!
//! Every row calls the same function through a table of function pointers. The rows are taken in turn, over and over,
//! so that what else the machine does falls on all of them; a figure is the median of its runs. Threads are pinned to
//! one processor each where the host lets us.

#[path = "../src/guard/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the library's own file; the benchmark uses a part of it")]
mod guard;
#[path = "../src/sync.rs"]
#[allow(dead_code, unused_imports, reason = "the library's own file")]
mod sync;
#[path = "../tests/threads/mod.rs"]
mod threads;

use core::ffi::c_void;
use core::hint::{black_box, spin_loop};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use guard::{DispatchGuard, Entry, Guard, PerProcessor, ShardIndex, Sharded, Single};
use nmr_registrar as _;
use wdk_nmr::{
    Client, ClientOffer, ClientRegistration, ClientTable, Dispatch, GUID, ModuleId, NPIID, Npi, NpiStructure, Passive,
    Provider, ProviderCall, ProviderOffer, ProviderRegistration, ProviderTable, Refusal, RegistrationOptions, Resident,
    StructureError, VersionAndSize, provider_table,
};

/// Few enough for a run to fit between two interruptions by whatever else the machine does.
const CALLS: u32 = 300_000;
const RUNS: usize = 101;

#[repr(C)]
struct Table {
    version: u16,
    size: u16,
    call: unsafe extern "system" fn(context: *mut c_void, number: u32) -> u32,
}

#[inline(never)]
unsafe extern "system" fn callee(_: *mut c_void, number: u32) -> u32 {
    number.wrapping_add(1)
}

static TABLE: Table = Table { version: 1, size: size_of::<Table>() as u16, call: callee };

/// One way to call the table.
trait Way: Sync {
    fn call(&self, table: &Table, number: u32) -> u32;
}

fn through(table: &Table, number: u32) -> u32 {
    // SAFETY: the callee uses no context.
    unsafe { (table.call)(core::ptr::null_mut(), number) }
}

/// What the last call out does. It never happens here.
#[cold]
#[inline(never)]
fn complete() {
    black_box(());
}

/// Nobody counts.
struct Direct;

impl Way for Direct {
    #[inline]
    fn call(&self, table: &Table, number: u32) -> u32 {
        through(table, number)
    }
}

/// The pattern of the documentation: a spin lock around a counter and a flag, before and after.
#[derive(Default)]
struct SpinLock {
    locked: AtomicBool,
    calls: AtomicUsize,
    closing: AtomicBool,
}

impl SpinLock {
    #[inline]
    fn locked<R>(&self, f: impl FnOnce() -> R) -> R {
        while self.locked.swap(true, Ordering::Acquire) {
            while self.locked.load(Ordering::Relaxed) {
                spin_loop();
            }
        }
        let result = f();
        self.locked.store(false, Ordering::Release);
        result
    }
}

impl Way for SpinLock {
    #[inline]
    fn call(&self, table: &Table, number: u32) -> u32 {
        let open = self.locked(|| {
            let open = !self.closing.load(Ordering::Relaxed);
            if open {
                self.calls.store(self.calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            open
        });
        if !open {
            return 0;
        }
        let result = through(table, number);
        let last = self.locked(|| {
            let calls = self.calls.load(Ordering::Relaxed) - 1;
            self.calls.store(calls, Ordering::Relaxed);
            calls == 0 && self.closing.load(Ordering::Relaxed)
        });
        if last {
            complete();
        }
        result
    }
}

/// EX_RUNDOWN_REF style: one word, compared and swapped up and down.
#[derive(Default)]
struct CompareAndSwap(AtomicUsize);

impl CompareAndSwap {
    #[inline]
    fn acquire(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & 1 == 0 {
            match self.0.compare_exchange_weak(word, word + 2, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// True: it was the last one, and somebody waits for that.
    #[inline]
    fn release(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            match self.0.compare_exchange_weak(word, word - 2, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return word == 3,
                Err(now) => word = now,
            }
        }
    }
}

impl Way for CompareAndSwap {
    #[inline]
    fn call(&self, table: &Table, number: u32) -> u32 {
        if !self.acquire() {
            return 0;
        }
        let result = through(table, number);
        if self.release() {
            complete();
        }
        result
    }
}

/// The same as two functions that are called, as the kernel's ExAcquireRundownProtection and
/// ExReleaseRundownProtection are.
#[derive(Default)]
struct RundownProtection(CompareAndSwap);

impl RundownProtection {
    #[inline(never)]
    fn acquire(&self) -> bool {
        self.0.acquire()
    }

    #[inline(never)]
    fn release(&self) -> bool {
        self.0.release()
    }
}

impl Way for RundownProtection {
    #[inline]
    fn call(&self, table: &Table, number: u32) -> u32 {
        if !self.acquire() {
            return 0;
        }
        let result = through(table, number);
        if self.release() {
            complete();
        }
        result
    }
}

/// One word, added to and subtracted from, without what a detach needs.
#[derive(Default)]
struct FetchAdd(AtomicUsize);

impl Way for FetchAdd {
    #[inline]
    fn call(&self, table: &Table, number: u32) -> u32 {
        if self.0.fetch_add(2, Ordering::Acquire) & 1 != 0 {
            return 0;
        }
        let result = through(table, number);
        if self.0.fetch_sub(2, Ordering::Release) == 3 {
            complete();
        }
        result
    }
}

/// The library's guard.
struct Guarded<G>(G);

impl<G: Guard> Guarded<G> {
    fn new() -> Box<Self> {
        let mut place = Box::new(MaybeUninit::<Self>::uninit());
        // SAFETY: a place of our own; the type has one field.
        unsafe { G::initialize(place.as_mut_ptr().cast()) };
        // SAFETY: initialized.
        let this = unsafe { place.assume_init() };
        this.0.open();
        this
    }
}

impl<G: Guard> Way for Guarded<G> {
    #[inline]
    fn call(&self, table: &Table, number: u32) -> u32 {
        let Entry::Granted(ticket) = self.0.enter() else { return 0 };
        let result = through(table, number);
        if self.0.leave(ticket) {
            complete();
        }
        result
    }
}

/// The same for a thread that is alone on its processor, as one at DISPATCH_LEVEL is.
struct AtDispatch<G>(Box<Guarded<G>>);

impl<G: DispatchGuard> Way for AtDispatch<G> {
    #[inline]
    fn call(&self, table: &Table, number: u32) -> u32 {
        let guard = &self.0.0;
        // SAFETY: threads of this benchmark have numbers of their own.
        let Entry::Granted(ticket) = (unsafe { guard.enter_at_dispatch() }) else { return 0 };
        let result = through(table, number);
        // SAFETY: threads of this benchmark have numbers of their own, and stay on their thread.
        if unsafe { guard.leave_at_dispatch(ticket) } {
            complete();
        }
        result
    }
}

struct Processor;

impl ShardIndex for Processor {
    #[inline]
    fn current() -> usize {
        threads::current()
    }
}

impl wdk_nmr::ShardIndex for Processor {
    #[inline]
    fn current() -> usize {
        threads::current()
    }
}

// SAFETY: the number of a thread is its own, and `threads` says what the barrier does.
unsafe impl guard::Processors for Processor {
    fn barrier() {
        threads::barrier();
    }
}

// SAFETY: the number of a thread is its own, and `threads` says what the barrier does.
unsafe impl wdk_nmr::Processors for Processor {
    fn barrier() {
        threads::barrier();
    }
}

struct Testing;

// SAFETY: starts with version and size.
unsafe impl NpiStructure for Table {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

// SAFETY: the two modules below.
unsafe impl Npi for Testing {
    const ID: NPIID = GUID { Data1: 1, Data2: 2, Data3: 3, Data4: [4; 8] };
    type ProviderDispatch = Table;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

struct Callee;

impl Callee {
    fn call(_: ProviderCall<'_, Self>, number: u32) -> u32 {
        number.wrapping_add(1)
    }
}

impl Provider for Callee {
    type Npi = Testing;
    type Binding = ();
    type Guard = wdk_nmr::Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Table { version: 1, size: size_of::<Table>() as u16, call: fn Self::call })
    }

    fn attach(&self, _: &ClientOffer<'_, Testing>) -> Result<(), Refusal> {
        Ok(())
    }
}

struct Caller<G>(core::marker::PhantomData<fn() -> G>);

impl<G: wdk_nmr::Guard> Client for Caller<G> {
    type Npi = Testing;
    type Binding = ();
    type Guard = G;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Testing>) -> Result<(), Refusal> {
        Ok(())
    }
}

struct Program;

// SAFETY: a program is never unloaded while it runs.
unsafe impl Resident for Program {}

/// The whole of it: finds the provider among the registration's bindings, guards, calls.
struct Library<G: wdk_nmr::Guard>(ClientRegistration<Caller<G>, Program>);

impl<G: wdk_nmr::Guard> Library<G> {
    fn new() -> Self {
        let options = RegistrationOptions::new(ModuleId::IfLuid(1), ());
        let client = Caller(core::marker::PhantomData);
        // SAFETY: the main thread of a program.
        let passive = unsafe { Passive::new() };
        Self(ClientRegistration::register(client, options, Program, passive).expect("registered"))
    }

    fn end(self) {
        // SAFETY: the main thread of a program.
        self.0.deregister(unsafe { Passive::new() }).expect("deregistered");
    }
}

impl<G: wdk_nmr::Guard> Way for Library<G> {
    #[inline]
    fn call(&self, _: &Table, number: u32) -> u32 {
        let Some(provider) = self.0.providers().next() else { return 0 };
        provider.call(|table, context| {
            // SAFETY: the context came with the table.
            unsafe { (table.call)(context, number) }
        })
    }
}

/// The same at DISPATCH_LEVEL.
struct LibraryAtDispatch(Library<wdk_nmr::PerProcessor<Processor, 2>>);

impl Way for LibraryAtDispatch {
    #[inline]
    fn call(&self, _: &Table, number: u32) -> u32 {
        // SAFETY: as in `AtDispatch`.
        let dispatch = unsafe { Dispatch::new() };
        let Some(provider) = self.0.0.providers().at_dispatch(dispatch).next() else { return 0 };
        provider.call(|table, context| {
            // SAFETY: the context came with the table.
            unsafe { (table.call)(context, number) }
        })
    }
}

#[cfg(target_os = "linux")]
fn pin(processor: usize) {
    unsafe extern "C" {
        fn sched_setaffinity(pid: i32, size: usize, mask: *const u64) -> i32;
    }
    let mask = 1_u64 << processor;
    // SAFETY: a mask of 64 processors, read only. It does not matter if it fails.
    unsafe { sched_setaffinity(0, size_of::<u64>(), &raw const mask) };
}

#[cfg(not(target_os = "linux"))]
fn pin(_: usize) {}

/// Nanoseconds for one call, on the slowest of the threads.
fn measure<W: Way + ?Sized>(way: &W, call: fn(&W, &Table, u32), threads: usize) -> f64 {
    let start = Barrier::new(threads);
    let nanoseconds: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|processor| {
                let start = &start;
                scope.spawn(move || {
                    pin(processor);
                    threads::become_processor(processor);
                    let table = black_box(&TABLE);
                    start.wait();
                    let began = Instant::now();
                    call(way, table, CALLS);
                    began.elapsed().as_nanos() as f64 / f64::from(CALLS)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    nanoseconds.into_iter().fold(0.0, f64::max)
}

fn many_calls<W: Way>(way: &W, table: &Table, calls: u32) {
    let mut number = 0;
    for _ in 0..calls {
        number = way.call(table, number);
    }
    assert!(number == calls, "every call was made");
}

type Row<'a> = (&'static str, Box<dyn Fn(usize) -> f64 + 'a>);

fn row<'a, W: Way>(name: &'static str, way: &'a W) -> Row<'a> {
    (name, Box::new(move |threads| measure(way, many_calls, threads)))
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    assert!(threads::have_barrier(), "this host has no barrier for all threads of a process");
    // SAFETY: the main thread of a program.
    let passive = unsafe { Passive::new() };
    let options = RegistrationOptions::new(ModuleId::IfLuid(2), ());
    let provider = ProviderRegistration::register(Callee, options, Program, passive).expect("registered");
    let (spin_lock, compare_and_swap, rundown, fetch_add) = Default::default();
    let single = Guarded::<Single>::new();
    let sharded = Guarded::<Sharded<Processor, 2>>::new();
    let per_processor = AtDispatch(Guarded::<PerProcessor<Processor, 2>>::new());
    let library = Library::<wdk_nmr::Single>::new();
    let sharded_library = Library::<wdk_nmr::Sharded<Processor, 2>>::new();
    let library_at_dispatch = LibraryAtDispatch(Library::new());
    let rows = [
        row("direct call", &Direct),
        row::<SpinLock>("spin lock and counter, as in the documentation of NMR", &spin_lock),
        row::<CompareAndSwap>("compare-and-swap word, as EX_RUNDOWN_REF", &compare_and_swap),
        row::<FetchAdd>("fetch-add word, without a way to detach", &fetch_add),
        row("`Single`", &*single),
        row("`Sharded`", &*sharded),
        row("`Single`, found by `providers().next()`", &library),
        row("`Sharded`, the same way", &sharded_library),
        row::<RundownProtection>("compare-and-swap word, as functions", &rundown),
        row("`PerProcessor`, at DISPATCH_LEVEL", &per_processor),
        row("`PerProcessor`, found by `providers().next()`, at DISPATCH_LEVEL", &library_at_dispatch),
    ];
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut medians = Vec::new();
    for threads in [1, 2] {
        let mut figures = vec![Vec::new(); rows.len()];
        for _ in 0..RUNS {
            for (figures, (_, run)) in figures.iter_mut().zip(&rows) {
                figures.push(run(threads));
            }
        }
        medians.push(figures.iter_mut().map(|figures| median(figures)).collect::<Vec<_>>());
    }
    let [one, two] = &medians[..] else { unreachable!() };
    println!("{RUNS} runs of {CALLS} calls a thread, medians in ns a call; {processors} processors");
    // Lines for `cargo xtask bench` (xtask/src/figures.rs).
    for (index, (name, _)) in rows.iter().enumerate() {
        for (column, times) in [("1 thread", one), ("2 threads on one binding", two)] {
            println!("figure | guard | {name} | {column} | {:.2} ns", times[index]);
            println!("figure | guard | {name} | {column} | {:.3} | to compare-and-swap", times[index] / times[2]);
        }
    }
    for (name, ratio, target) in [
        ("`Single`, 1 thread, to compare-and-swap", one[4] / one[2], 0.75),
        ("`Single`, 1 thread, to the same as functions", one[4] / one[8], 0.75),
        ("`Sharded`, 1 thread, to compare-and-swap", one[5] / one[2], 0.65),
        ("`Sharded`, 1 thread, to the same as functions", one[5] / one[8], 0.65),
        ("`Sharded`, 2 threads, to its own 1 thread", two[5] / one[5], 1.05),
        ("`Sharded`, 2 threads, to compare-and-swap", two[5] / two[2], 0.10),
        ("`PerProcessor`, 1 thread, to compare-and-swap", one[9] / one[2], 0.65),
        ("`PerProcessor`, 2 threads, to its own 1 thread", two[9] / one[9], 1.05),
        ("`PerProcessor`, 2 threads, to compare-and-swap", two[9] / two[2], 0.10),
        ("`PerProcessor`, 1 thread, to a direct call", one[9] / one[0], 1.20),
    ] {
        println!("figure | guard targets | {name} | measured | {ratio:.3} | target {target:.2}");
    }
    drop(rows);
    library.end();
    sharded_library.end();
    library_at_dispatch.0.end();
    provider.deregister(passive).expect("deregistered");
}
