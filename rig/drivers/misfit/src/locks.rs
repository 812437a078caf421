//! The misfit as a driver that mistreats locks, and waits where it may not: in the way that its service is named after.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::{null, null_mut};

use crate::request::{IoCreateDevice, IoDeleteDevice};
use crate::wdm::{self, DriverObject, NtStatus, STATUS_SUCCESS};

/// Memory for a lock or an event, whose contents are the kernel's alone. All zeros is a spin lock that is free.
#[repr(C, align(16))]
pub(crate) struct Object(UnsafeCell<[u64; 16]>);

// SAFETY: the functions of the kernel, to which it is given, are made for several threads.
unsafe impl Sync for Object {}

impl Object {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new([0; 16]))
    }

    pub(crate) fn get(&self) -> *mut c_void {
        self.0.get().cast()
    }
}

/// `FAST_MUTEX`
#[repr(C)]
struct FastMutex {
    count: i32,
    owner: *mut c_void,
    contention: u32,
    event: [u64; 3],
    irql: u32,
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn KeAcquireSpinLockRaiseToDpc(lock: *mut c_void) -> u8;
    fn KeReleaseSpinLock(lock: *mut c_void, irql: u8);
    fn KeAcquireSpinLockAtDpcLevel(lock: *mut c_void);
    fn KeInitializeMutex(mutex: *mut c_void, level: u32);
    fn KeReleaseMutex(mutex: *mut c_void, wait: u8) -> i32;
    fn KeInitializeEvent(event: *mut c_void, kind: i32, state: u8);
    fn KeWaitForSingleObject(
        object: *mut c_void,
        reason: i32,
        mode: i8,
        alertable: u8,
        timeout: *const i64,
    ) -> NtStatus;
    fn ExAcquireFastMutex(mutex: *mut c_void);
    fn ExAcquireFastMutexUnsafe(mutex: *mut c_void);
    fn ExReleaseFastMutex(mutex: *mut c_void);
    fn ExInitializeResourceLite(resource: *mut c_void) -> NtStatus;
    fn ExAcquireResourceExclusiveLite(resource: *mut c_void, wait: u8) -> u8;
    fn ExReleaseResourceLite(resource: *mut c_void);
    fn ExDeleteResourceLite(resource: *mut c_void) -> NtStatus;
    fn IoAcquireCancelSpinLock(irql: *mut u8);
    fn IoReleaseCancelSpinLock(irql: u8);
}

static FIRST: Object = Object::new();
static SECOND: Object = Object::new();

/// Breaks the rule that the service is named after; `None` if it is named after none.
/// `driver` is the driver object.
pub(crate) fn start(driver: *mut DriverObject, is: impl Fn(&str) -> bool) -> Option<NtStatus> {
    if is("lock-order") {
        both(&FIRST, &SECOND);
        both(&SECOND, &FIRST);
    } else if is("lock-mutexes") {
        mutex_and_fast_mutex();
    } else if is("lock-twice") {
        acquire(&FIRST);
        acquire(&FIRST);
    } else if is("lock-foreign") {
        wdm::raise_to_dispatch_level();
        release(&FIRST, 0);
    } else if is("lock-level") {
        acquire(&FIRST);
        release(&FIRST, 1);
    } else if is("lock-low") {
        // SAFETY: all zeros is a spin lock; broken on purpose: this is PASSIVE_LEVEL.
        unsafe { KeAcquireSpinLockAtDpcLevel(FIRST.get()) };
    } else if is("lock-freed") {
        freed();
    } else if is("lock-resource") {
        initialize_resource(&FIRST);
        // SAFETY: made above; broken on purpose: there is no critical region.
        unsafe { ExAcquireResourceExclusiveLite(FIRST.get(), 1) };
    } else if is("lock-region") {
        initialize_resource(&FIRST);
        wdm::enter_region();
        // SAFETY: made above.
        unsafe { ExAcquireResourceExclusiveLite(FIRST.get(), 1) };
        wdm::leave_region();
        // SAFETY: held; broken on purpose: the critical region has been left.
        unsafe { ExReleaseResourceLite(FIRST.get()) };
    } else if is("lock-deleted") {
        initialize_resource(&FIRST);
        wdm::enter_region();
        // SAFETY: made above.
        unsafe { ExAcquireResourceExclusiveLite(FIRST.get(), 1) };
        // SAFETY: made above; broken on purpose: it is held.
        unsafe { ExDeleteResourceLite(FIRST.get()) };
    } else if is("lock-device") {
        deleted_with_its_device(driver);
    } else if is("lock-image") {
        keep_mutex();
    } else if is("lock-lowered") {
        acquire(&FIRST);
        wdm::lower(0);
        release(&FIRST, 0);
    } else if is("lock-fast") {
        initialize_fast_mutex(&SECOND);
        // SAFETY: made above.
        unsafe { ExAcquireFastMutex(SECOND.get()) };
        wdm::lower(0);
        // SAFETY: held; broken on purpose: this is PASSIVE_LEVEL.
        unsafe { ExReleaseFastMutex(SECOND.get()) };
    } else if is("lock-unsafe") {
        initialize_fast_mutex(&SECOND);
        // SAFETY: made above; broken on purpose: there is no critical region.
        unsafe { ExAcquireFastMutexUnsafe(SECOND.get()) };
    } else if is("lock-cancel") {
        let mut irql = 0;
        // SAFETY: a local for the level.
        unsafe { IoAcquireCancelSpinLock(&mut irql) };
        // SAFETY: acquired above; broken on purpose: the level was another.
        unsafe { IoReleaseCancelSpinLock(irql + 1) };
    } else {
        return None;
    }
    Some(STATUS_SUCCESS)
}

fn acquire(lock: &Object) -> u8 {
    // SAFETY: all zeros is a spin lock, of which nobody knows but this driver.
    unsafe { KeAcquireSpinLockRaiseToDpc(lock.get()) }
}

fn release(lock: &Object, irql: u8) {
    // SAFETY: held, or else that is for the rig to find.
    unsafe { KeReleaseSpinLock(lock.get(), irql) };
}

/// Takes one and then the other.
fn both(first: &Object, second: &Object) {
    let irql = acquire(first);
    let inner = acquire(second);
    release(second, inner);
    release(first, irql);
}

/// Takes a spin lock, and never gives it back.
pub(crate) fn keep_spin_lock() {
    acquire(&FIRST);
}

/// Takes a mutex, and never gives it back.
pub(crate) fn keep_mutex() {
    // SAFETY: memory for one.
    unsafe { KeInitializeMutex(FIRST.get(), 0) };
    wait(&FIRST);
}

fn wait(object: &Object) {
    // SAFETY: a mutex or an event, made by the caller.
    unsafe { KeWaitForSingleObject(object.get(), 0, 0, 0, null()) };
}

/// Waits for an event that nobody sets.
pub(crate) fn wait_for_ever() {
    static NEVER: Object = Object::new();
    initialize_event(&NEVER);
    wait(&NEVER);
}

/// Makes a notification event that is not set.
pub(crate) fn initialize_event(event: &Object) {
    // SAFETY: memory for one.
    unsafe { KeInitializeEvent(event.get(), 0, 0) };
}

fn initialize_resource(resource: &Object) {
    // SAFETY: memory for one.
    unsafe { ExInitializeResourceLite(resource.get()) };
}

/// ExInitializeFastMutex.
fn initialize_fast_mutex(mutex: &Object) {
    let fast: *mut FastMutex = mutex.get().cast();
    // SAFETY: memory for one.
    unsafe { fast.write(FastMutex { count: 1, owner: null_mut(), contention: 0, event: [0; 3], irql: 0 }) };
    // SAFETY: only the address is taken.
    let event = unsafe { &raw mut (*fast).event };
    // SAFETY: memory for one: a synchronization event.
    unsafe { KeInitializeEvent(event.cast(), 1, 0) };
}

/// Makes a device with a mutex in its extension, and deletes both while the mutex is held.
fn deleted_with_its_device(driver: *mut DriverObject) {
    let mut device = null_mut();
    // SAFETY: the driver object of this driver; a device without a name, and a local for it.
    unsafe { IoCreateDevice(driver, size_of::<Object>() as u32, null(), 0x22, 0, 0, &mut device) };
    // SAFETY: made above.
    let mutex = unsafe { (*device).extension };
    // SAFETY: memory for one.
    unsafe { KeInitializeMutex(mutex, 0) };
    // SAFETY: made above.
    unsafe { KeWaitForSingleObject(mutex, 0, 0, 0, null()) };
    // SAFETY: made above; broken on purpose: the mutex is held.
    unsafe { IoDeleteDevice(device) };
}

fn mutex_and_fast_mutex() {
    keep_mutex();
    initialize_fast_mutex(&SECOND);
    // SAFETY: made above.
    unsafe { ExAcquireFastMutex(SECOND.get()) };
    // SAFETY: held since `keep_mutex`.
    unsafe { KeReleaseMutex(FIRST.get(), 0) };
    wait(&FIRST);
    // SAFETY: held.
    unsafe { ExReleaseFastMutex(SECOND.get()) };
}

/// Frees a lock that is held.
fn freed() {
    const TAG: u32 = u32::from_le_bytes(*b"Kern");
    let block = wdm::allocate(32, TAG);
    // SAFETY: the block is zeroed, and so a spin lock.
    unsafe { KeAcquireSpinLockRaiseToDpc(block.cast()) };
    wdm::free(block, TAG);
}
