//! A callout: a value that WFP asks about packets until it has been unregistered.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wdk_nmr::Passive;
use wdk_wfp_sys::{
    FWPS_CALLOUT_NOTIFY_TYPE, FWPS_CALLOUT2, FWPS_CLASSIFY_OUT0, FWPS_FILTER2, FWPS_INCOMING_METADATA_VALUES0,
    FWPS_INCOMING_VALUES0, FwpsCalloutRegister2, FwpsCalloutUnregisterById0, GUID, KeDelayExecutionThread, KernelMode,
    NTSTATUS, STATUS_FWP_ALREADY_EXISTS, STATUS_FWP_CALLOUT_NOT_FOUND, STATUS_SUCCESS,
};

use crate::{Answer, Classification, Layer};

/// What a callout is. One type is one callout at one layer.
pub trait Callout: Sync + Sized + 'static {
    /// Who it is: filters name it.
    const KEY: GUID;
    /// Where it is.
    const LAYER: Layer;

    /// Where the value lives while it is registered: a static of the driver. WFP passes a callout nothing that it could
    /// be found by, except for a number that anybody who adds a filter chooses.
    fn home() -> &'static Home<Self>;

    /// Says what is to become of a packet. Called at up to DISPATCH_LEVEL, by several threads at a time, until the
    /// callout has been unregistered. Whatever it answers is written only as far as it has the right to.
    fn classify(&self, shown: &Classification<'_>) -> Answer;
}

/// The place of a callout, and the count of the calls that are in progress.
///
/// # Invariants
///
/// The value is there whenever `calls` is not closed, and as long as a call counted while it was open is in progress.
#[repr(align(128))]
pub struct Home<T> {
    /// [`CLOSED`], and [`CALL`] for each call.
    calls: AtomicUsize,
    is_occupied: AtomicBool,
    value: UnsafeCell<MaybeUninit<T>>,
}

const CLOSED: usize = 1;
const CALL: usize = 2;

// SAFETY: the value is shared by calls on any thread, which `T: Sync` allows, and written and dropped by the
// registration alone, on whatever thread that is, which `T: Send` allows.
unsafe impl<T: Send + Sync> Sync for Home<T> {}

impl<T> Default for Home<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Home<T> {
    /// A place in which nothing is.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            calls: AtomicUsize::new(CLOSED),
            is_occupied: AtomicBool::new(false),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    fn place(&self) -> *mut T {
        self.value.get().cast()
    }

    /// Does something with the value, if it is there, and keeps it there meanwhile.
    fn with<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        let is_open = self.calls.fetch_add(CALL, Ordering::Acquire) & CLOSED == 0;
        let result = is_open.then(|| {
            // SAFETY: open, and this call is counted: by the invariant the value is there.
            let value = unsafe { &*self.place() };
            f(value)
        });
        self.calls.fetch_sub(CALL, Ordering::Release);
        result
    }

    /// Moves a value in. False if there is one.
    fn occupy(&self, value: T) -> bool {
        if self.is_occupied.swap(true, Ordering::Acquire) {
            return false;
        }
        // SAFETY: nobody else has occupied the place, and while it is closed nobody looks.
        unsafe { self.place().write(value) };
        self.calls.fetch_and(!CLOSED, Ordering::Release);
        true
    }

    /// Waits for the calls that are in progress, and drops the value.
    ///
    /// # Safety
    ///
    /// [`occupy`](Self::occupy) has returned true, and this is the only call for that.
    unsafe fn vacate(&self) {
        self.calls.fetch_or(CLOSED, Ordering::AcqRel);
        while self.calls.load(Ordering::Acquire) != CLOSED {
            pause();
        }
        // SAFETY: closed and without calls, so nobody looks; `occupy` has written it.
        unsafe { ptr::drop_in_place(self.place()) };
        self.is_occupied.store(false, Ordering::Release);
    }
}

/// Gives others the processor for a millisecond.
fn pause() {
    const MILLISECOND: i64 = -10_000;
    // SAFETY: the level is PASSIVE_LEVEL, as all that wait here demand.
    unsafe { KeDelayExecutionThread(KernelMode, 0, &MILLISECOND) };
}

/// The device object that a driver registers its callouts with.
#[derive(Clone, Copy, Debug)]
pub struct Device(*mut c_void);

impl Device {
    /// The device object at this address.
    ///
    /// # Safety
    ///
    /// It is a device object of the driver, and stays until every [`Registration`] that was made with it has ended, by
    /// being dropped at PASSIVE_LEVEL or by [`unregister`](Registration::unregister). So does the driver's image: a
    /// registration must not be forgotten.
    #[must_use]
    pub const unsafe fn new(object: *mut c_void) -> Self {
        Self(object)
    }
}

/// A callout that WFP asks. It unregisters itself when it is dropped, and waits for that: so never in a call of the
/// callout, which would wait for itself.
#[must_use = "the callout is unregistered when this is dropped"]
pub struct Registration<T: Callout> {
    id: u32,
    callout: PhantomData<fn() -> T>,
}

impl<T: Callout + Send> Registration<T> {
    /// Registers a callout. Filters that name it begin to ask it; it asks nobody to add any.
    ///
    /// # Errors
    ///
    /// `STATUS_FWP_ALREADY_EXISTS` if one of this type or this key is registered; what `FwpsCalloutRegister2` returns.
    /// The value is dropped then.
    pub fn register(value: T, device: Device, _: Passive<'_>) -> Result<Self, NTSTATUS> {
        if !T::home().occupy(value) {
            return Err(STATUS_FWP_ALREADY_EXISTS);
        }
        let callout = FWPS_CALLOUT2 {
            calloutKey: T::KEY,
            flags: 0,
            classifyFn: Some(classify::<T>),
            notifyFn: Some(notify),
            flowDeleteFn: None,
        };
        let mut id = 0;
        // SAFETY: a device object of the driver, which stays as long as the registration, as does the image with the
        // functions: who made `device` has promised that.
        let status = unsafe { FwpsCalloutRegister2(device.0, &callout, &mut id) };
        if status != STATUS_SUCCESS {
            // SAFETY: occupied above.
            unsafe { T::home().vacate() };
            return Err(status);
        }
        Ok(Self { id, callout: PhantomData })
    }
}

impl<T: Callout> Registration<T> {
    /// Unregisters the callout, waits until no call of it is in progress, and drops it.
    pub fn unregister(self, _: Passive<'_>) {
        drop(self);
    }
}

impl<T: Callout> Drop for Registration<T> {
    /// PASSIVE_LEVEL, as [`register`](Self::register) demands. As long as WFP says that the callout is busy (W8) or
    /// fails, it is asked again: a driver whose callout is still registered must not go.
    fn drop(&mut self) {
        loop {
            // SAFETY: the level is PASSIVE_LEVEL.
            let status = unsafe { FwpsCalloutUnregisterById0(self.id) };
            if status == STATUS_SUCCESS || status == STATUS_FWP_CALLOUT_NOT_FOUND {
                break;
            }
            pause();
        }
        // WFP makes no new calls; those that it has made are counted (W9).
        // SAFETY: `register` has occupied the place, and this is the end of it.
        unsafe { T::home().vacate() };
    }
}

/// What WFP calls for a packet.
unsafe extern "system" fn classify<T: Callout>(
    values: *const FWPS_INCOMING_VALUES0,
    metadata: *const FWPS_INCOMING_METADATA_VALUES0,
    data: *mut c_void,
    _: *const c_void,
    filter: *const FWPS_FILTER2,
    _: u64,
    out: *mut FWPS_CLASSIFY_OUT0,
) {
    // SAFETY: WFP passes values that stay for the call, or NULL.
    let values = unsafe { values.as_ref() };
    // SAFETY: as above.
    let metadata = unsafe { metadata.as_ref() };
    // SAFETY: as above.
    let filter = unsafe { filter.as_ref() };
    // SAFETY: as above, and nobody else writes to it meanwhile.
    let out = unsafe { out.as_mut() };
    let (Some(values), Some(filter), Some(out)) = (values, filter, out) else { return };
    // SAFETY: all of it stays for the call, and at all layers of `Layer` the data are a list or NULL.
    let shown = unsafe { Classification::new(T::LAYER, values, metadata, data.cast_const().cast(), filter, out) };
    if let Some(answer) = T::home().with(|callout| callout.classify(&shown)) {
        answer.write_to(out, filter.flags);
    }
}

/// What WFP calls for a filter that names the callout: any may.
unsafe extern "system" fn notify(_: FWPS_CALLOUT_NOTIFY_TYPE, _: *const GUID, _: *const FWPS_FILTER2) -> NTSTATUS {
    STATUS_SUCCESS
}
