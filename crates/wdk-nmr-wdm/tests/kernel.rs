//! The crate against a kernel that is played here: one driver object, and a thread at one level.
#![allow(non_snake_case, reason = "the names are those of the C headers")]

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nmr_registrar::Session;
use wdk_nmr::{
    Client, ClientRegistration, ClientTable, CriticalRegion, GUID, ModuleId, NPIID, Npi, Passive, Processors,
    ProviderOffer, Refusal, Region, RegistrationOptions, ShardIndex, Single,
};
use wdk_nmr_wdm::{DriverImage, KernelProcessors, KernelRegion, Running, at_dispatch_level};

const APC_LEVEL: u8 = 1;
const DISPATCH_LEVEL: u8 = 2;

thread_local! {
    static IRQL: Cell<u8> = const { Cell::new(0) };
    static REGIONS: Cell<i32> = const { Cell::new(0) };
}

static INTERRUPTED: AtomicUsize = AtomicUsize::new(0);

/// A driver object: how many references there are to it.
#[derive(Default)]
struct DriverObject {
    references: AtomicUsize,
}

impl DriverObject {
    fn references(&self) -> usize {
        self.references.load(Ordering::Relaxed)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ObfReferenceObject(object: *mut c_void) -> isize {
    // SAFETY: the tests pass driver objects of theirs.
    let driver = unsafe { &*object.cast::<DriverObject>() };
    driver.references.fetch_add(1, Ordering::Relaxed) as isize + 1
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ObfDereferenceObject(object: *mut c_void) -> isize {
    // SAFETY: the tests pass driver objects of theirs.
    let driver = unsafe { &*object.cast::<DriverObject>() };
    let before = driver.references.fetch_sub(1, Ordering::Relaxed);
    assert_ne!(before, 0, "a reference is given up that nobody has");
    before as isize - 1
}

#[unsafe(no_mangle)]
extern "C" fn KeGetCurrentIrql() -> u8 {
    IRQL.get()
}

#[unsafe(no_mangle)]
extern "C" fn KeEnterCriticalRegion() {
    assert!(IRQL.get() <= APC_LEVEL);
    REGIONS.set(REGIONS.get() + 1);
}

#[unsafe(no_mangle)]
extern "C" fn KeLeaveCriticalRegion() {
    assert!(IRQL.get() <= APC_LEVEL);
    REGIONS.set(REGIONS.get() - 1);
}

#[unsafe(no_mangle)]
extern "C" fn KeGetCurrentProcessorNumberEx(number: *mut c_void) -> u32 {
    assert!(number.is_null());
    70
}

/// Two processors, which run the function one after the other.
#[unsafe(no_mangle)]
unsafe extern "C" fn KeIpiGenericCall(function: unsafe extern "C" fn(usize) -> usize, context: usize) -> usize {
    INTERRUPTED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the function of the caller, with its context.
    thread::scope(|scope| scope.spawn(|| unsafe { function(context) }).join()).expect("no panic");
    // SAFETY: the function of the caller, with its context.
    unsafe { function(context) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn KeAcquireSpinLockRaiseToDpc(lock: *mut usize) -> u8 {
    // SAFETY: the caller's lock.
    assert_eq!(unsafe { lock.replace(1) }, 0, "nobody else has it");
    IRQL.replace(DISPATCH_LEVEL)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn KeReleaseSpinLock(lock: *mut usize, irql: u8) {
    // SAFETY: the caller's lock.
    assert_eq!(unsafe { lock.replace(0) }, 1, "the caller has it");
    assert_eq!(IRQL.replace(irql), DISPATCH_LEVEL);
}

/// Names the interface in types.
struct Nothing;

// SAFETY: nothing is exchanged.
unsafe impl Npi for Nothing {
    const ID: NPIID = GUID::from_u128(0x33b1_6ac2_5a49_4a2b_8f1e_6a0d_9a51_07e4);
    type ProviderDispatch = ();
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

struct Idle;

impl Client for Idle {
    type Npi = Nothing;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Nothing>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn hold(driver: &mut DriverObject) -> DriverImage {
    // SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
    unsafe { DriverImage::hold(driver) }
}

fn register(image: DriverImage, passive: Passive<'_>) -> ClientRegistration<Idle, DriverImage> {
    let options = RegistrationOptions::new(ModuleId::IfLuid(1), ());
    ClientRegistration::register(Idle, options, image, passive).expect("registered")
}

#[test]
fn the_image_is_held_for_as_long_as_there_is_a_registration() {
    static RUNNING: Running<ClientRegistration<Idle, DriverImage>> = Running::new();
    let _session = Session::new();
    // SAFETY: a thread of a program is at PASSIVE_LEVEL, and this is no callback.
    let passive = unsafe { Passive::new() };
    let driver = Box::leak(Box::new(DriverObject::default()));
    let image = hold(driver);
    assert!(RUNNING.put(register(image, passive)).is_ok());
    assert_eq!(driver.references(), 1);
    let registration = RUNNING.take().expect("DriverEntry has put it there");
    registration.deregister(passive).expect("deregistered");
    assert_eq!(driver.references(), 0);
}

#[test]
fn a_registration_that_fails_lets_the_image_go() {
    let session = Session::new();
    // SAFETY: a thread of a program is at PASSIVE_LEVEL, and this is no callback.
    let passive = unsafe { Passive::new() };
    session.fail(nmr_registrar::Function::RegisterClient, 0, wdk_nmr_sys::STATUS_INSUFFICIENT_RESOURCES);
    let mut driver = DriverObject::default();
    let image = hold(&mut driver);
    let options = RegistrationOptions::new(ModuleId::IfLuid(1), ());
    assert!(ClientRegistration::register(Idle, options, image, passive).is_err());
    assert_eq!(driver.references(), 0);
}

#[test]
fn what_runs_is_put_once_and_taken_once() {
    static RUNNING: Running<Box<u32>> = Running::new();
    assert_eq!(RUNNING.take(), None);
    assert_eq!(RUNNING.put(Box::new(1)), Ok(()));
    assert_eq!(RUNNING.put(Box::new(2)), Err(Box::new(2)));
    let taken = thread::scope(|scope| {
        let takers: Vec<_> = (0..4).map(|_| scope.spawn(|| RUNNING.take())).collect();
        takers.into_iter().filter_map(|taker| taker.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(taken, [Box::new(1)]);
    assert_eq!(RUNNING.put(Box::new(3)), Ok(()), "the place is free again");
}

#[test]
fn a_region_is_entered_where_there_is_something_to_keep_out() {
    drop(Region::<KernelRegion>::enter());
    for irql in [0, APC_LEVEL] {
        IRQL.set(irql);
        let outer = Region::<KernelRegion>::enter();
        let inner = Region::<KernelRegion>::enter();
        assert_eq!(REGIONS.get(), 2);
        drop(inner);
        drop(outer);
        assert_eq!(REGIONS.get(), 0);
    }
    IRQL.set(DISPATCH_LEVEL);
    assert!(!KernelRegion::enter());
    assert_eq!(REGIONS.get(), 0);
    IRQL.set(0);
}

#[test]
fn work_at_dispatch_level_comes_back_to_the_level_that_it_came_from() {
    for irql in [0, APC_LEVEL, DISPATCH_LEVEL] {
        IRQL.set(irql);
        assert_eq!(at_dispatch_level(|_| IRQL.get()), DISPATCH_LEVEL);
        assert_eq!(IRQL.get(), irql);
    }
    IRQL.set(0);
}

#[test]
fn a_barrier_interrupts_every_processor() {
    let before = INTERRUPTED.load(Ordering::Relaxed);
    KernelProcessors::barrier();
    assert_eq!(INTERRUPTED.load(Ordering::Relaxed), before + 1);
    assert_eq!(KernelProcessors::current(), 70, "numbers go on across groups");
}
