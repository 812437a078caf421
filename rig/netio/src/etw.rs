//! Event Tracing for Windows as a driver sees it while a session listens to all of its events: each becomes a line of
//! the log. Only TraceLogging events describe themselves, so only they can be shown in full.
//!
//! Registrations are counted, since one that outlives its driver is a crash on Windows.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null;

use crate::drivers::{self, DriverId};
use crate::gate::{self, Call};
use crate::lock::Lock;
use crate::log::{self, Guid};
use crate::{irql, requests, sys, thunk, tracelogging};

const STATUS_INVALID_HANDLE: sys::NtStatus = 0xC000_0008_u32 as sys::NtStatus;

struct Providers {
    last: u64,
    registered: BTreeMap<u64, (DriverId, Option<Call>)>,
}

static PROVIDERS: Lock<Providers> = Lock::new(Providers { last: 0, registered: BTreeMap::new() });

/// `ETWENABLECALLBACK`: tells a provider who listens to what.
type EnableCallback = unsafe extern "system" fn(
    source: *const [u8; 16],
    control: u32,
    level: u8,
    any_keyword: u64,
    all_keywords: u64,
    filter: *const c_void,
    context: *mut c_void,
);

/// `EVENT_CONTROL_CODE_ENABLE_PROVIDER`.
const ENABLE_PROVIDER: u32 = 1;
/// `TRACE_LEVEL_VERBOSE`: the highest.
const VERBOSE: u8 = 5;

/// EtwRegister.
pub(crate) unsafe extern "system" fn register(
    provider: *const [u8; 16],
    callback: Option<EnableCallback>,
    context: *mut c_void,
    handle: *mut u64,
) -> sys::NtStatus {
    let caller = thunk::caller();
    requests::check_system_thread(caller);
    let call = gate::last_call(caller);
    let new = PROVIDERS.with(|providers| {
        providers.last += 1;
        providers.registered.insert(providers.last, (caller, call));
        providers.last
    });
    // SAFETY: the driver passes a place for the handle.
    unsafe { handle.write(new) };
    // SAFETY: the driver passes the identifier of its provider.
    let id = unsafe { provider.read() };
    log::event(&drivers::name(caller), "etw_register", format_args!("provider={}", Guid(id)));
    if let Some(callback) = callback {
        // SAFETY: the driver's callback with its context, as a listener that starts now would cause.
        unsafe { callback(&[0; 16], ENABLE_PROVIDER, VERBOSE, u64::MAX, 0, null(), context) };
    }
    sys::STATUS_SUCCESS
}

/// EtwUnregister.
pub(crate) extern "system" fn unregister(handle: u64) -> sys::NtStatus {
    match PROVIDERS.with(|providers| providers.registered.remove(&handle)) {
        Some(_) => sys::STATUS_SUCCESS,
        None => STATUS_INVALID_HANDLE,
    }
}

/// EtwEventEnabled.
pub(crate) extern "system" fn event_enabled(handle: u64, _event: *const c_void) -> u8 {
    u8::from(registered(handle).is_some())
}

/// EtwProviderEnabled.
pub(crate) extern "system" fn provider_enabled(handle: u64, _level: u8, _keyword: u64) -> u8 {
    u8::from(registered(handle).is_some())
}

/// The driver whose registration that is.
fn registered(handle: u64) -> Option<DriverId> {
    PROVIDERS.with(|providers| providers.registered.get(&handle).map(|(driver, _)| *driver))
}

/// `EVENT_DESCRIPTOR`.
#[repr(C)]
pub(crate) struct EventDescriptor {
    id: u16,
    version: u8,
    channel: u8,
    level: u8,
    opcode: u8,
    task: u16,
    keyword: u64,
}

/// `EVENT_DATA_DESCRIPTOR`: a part of an event.
#[repr(C)]
pub(crate) struct DataDescriptor {
    data: *const u8,
    size: u32,
    kind: u32,
}

/// The kinds of a part that describe the event; its values are of kind 0.
const EVENT_METADATA: u32 = 1;
const PROVIDER_METADATA: u32 = 2;

/// EtwWrite.
pub(crate) unsafe extern "system" fn write(
    handle: u64,
    event: *const EventDescriptor,
    activity: *const c_void,
    count: u32,
    parts: *const DataDescriptor,
) -> sys::NtStatus {
    // SAFETY: the driver's own arguments.
    unsafe { write_transfer(handle, event, activity, null(), count, parts) }
}

/// EtwWriteTransfer.
pub(crate) unsafe extern "system" fn write_transfer(
    handle: u64,
    event: *const EventDescriptor,
    _activity: *const c_void,
    _related: *const c_void,
    count: u32,
    parts: *const DataDescriptor,
) -> sys::NtStatus {
    let Some(driver) = registered(handle) else { return STATUS_INVALID_HANDLE };
    // SAFETY: the driver passes the descriptor of the event.
    let event = unsafe { &*event };
    let (mut metadata, mut values) = (Vec::new(), Vec::new());
    let parts = match count {
        0 => &[],
        // SAFETY: the driver passes that many parts.
        count => unsafe { core::slice::from_raw_parts(parts, count as usize) },
    };
    for part in parts {
        let bytes = match part.size {
            0 => &[],
            // SAFETY: the driver says where the bytes of the part are, and how many.
            size => unsafe { core::slice::from_raw_parts(part.data, size as usize) },
        };
        match part.kind & 0xFF {
            PROVIDER_METADATA => {}
            EVENT_METADATA => metadata.extend_from_slice(bytes),
            _ => values.extend_from_slice(bytes),
        }
    }
    let shown = tracelogging::Shown { metadata: &metadata, values: &values };
    let (level, keyword) = (event.level, event.keyword);
    log::event(&drivers::name(driver), "trace", format_args!("level={level} keyword={keyword:#x} {shown}"));
    sys::STATUS_SUCCESS
}

/// EtwSetInformation.
pub(crate) extern "system" fn set_information() -> sys::NtStatus {
    sys::STATUS_SUCCESS
}

/// EtwActivityIdControl. All but making an identifier has to do with the thread.
pub(crate) extern "system" fn activity_id_control(code: u32, _id: *mut c_void) -> sys::NtStatus {
    const CREATE_ID: u32 = 3;
    if code != CREATE_ID {
        irql::up_to(irql::APC_LEVEL, "a code other than EVENT_ACTIVITY_CTRL_CREATE_ID", thunk::caller());
    }
    sys::STATUS_SUCCESS
}

/// How many providers `owner` has registered and not unregistered; all drivers together if `None`.
pub(crate) fn alive(owner: Option<DriverId>) -> usize {
    PROVIDERS.with(|providers| {
        providers.registered.values().filter(|(driver, _)| owner.is_none_or(|owner| owner == *driver)).count()
    })
}

/// By which calls a driver has registered those.
pub(crate) fn made_by(owner: DriverId) -> Vec<(&'static str, Call)> {
    PROVIDERS.with(|providers| {
        let mine = providers.registered.values().filter(|(driver, _)| *driver == owner);
        mine.filter_map(|(_, call)| Some(("etw_provider", (*call)?))).collect()
    })
}
