//! Event Tracing for Windows as far as a driver sees it when nobody listens: registering works, no event is enabled.
//!
//! Registrations are counted, since one that outlives its driver is a crash on Windows.

use alloc::collections::BTreeMap;
use core::arch::naked_asm;
use core::ffi::c_void;

use crate::drivers::DriverId;
use crate::lock::Lock;
use crate::sys;

const STATUS_INVALID_HANDLE: sys::NtStatus = 0xC000_0008_u32 as sys::NtStatus;

struct Providers {
    last: u64,
    registered: BTreeMap<u64, DriverId>,
}

static PROVIDERS: Lock<Providers> = Lock::new(Providers { last: 0, registered: BTreeMap::new() });

/// `EtwRegister(provider, callback, context, handle)`: the driver, in r10, becomes the fifth argument.
#[unsafe(naked)]
pub(crate) extern "system" fn register() {
    naked_asm!(
        "sub rsp, 56",
        "mov [rsp + 32], r10",
        "call {register}",
        "add rsp, 56",
        "ret",
        register = sym register_for,
    )
}

unsafe extern "system" fn register_for(
    _provider: *const c_void,
    _callback: *const c_void,
    _context: *const c_void,
    handle: *mut u64,
    caller: DriverId,
) -> sys::NtStatus {
    let new = PROVIDERS.with(|providers| {
        providers.last += 1;
        providers.registered.insert(providers.last, caller);
        providers.last
    });
    // SAFETY: the driver passes a place for the handle.
    unsafe { handle.write(new) };
    sys::STATUS_SUCCESS
}

/// EtwUnregister.
pub(crate) extern "system" fn unregister(handle: u64, _: DriverId) -> sys::NtStatus {
    match PROVIDERS.with(|providers| providers.registered.remove(&handle)) {
        Some(_) => sys::STATUS_SUCCESS,
        None => STATUS_INVALID_HANDLE,
    }
}

/// EtwEventEnabled.
pub(crate) extern "system" fn event_enabled(_handle: u64, _event: *const c_void, _: DriverId) -> u8 {
    0
}

/// EtwProviderEnabled.
pub(crate) extern "system" fn provider_enabled(_handle: u64, _level: u8, _keyword: u64, _: DriverId) -> u8 {
    0
}

/// EtwWrite and EtwWriteTransfer.
pub(crate) extern "system" fn write() -> sys::NtStatus {
    sys::STATUS_SUCCESS
}

/// EtwSetInformation.
pub(crate) extern "system" fn set_information() -> sys::NtStatus {
    sys::STATUS_SUCCESS
}

/// EtwActivityIdControl.
pub(crate) extern "system" fn activity_id_control(_code: u32, _id: *mut c_void, _: DriverId) -> sys::NtStatus {
    sys::STATUS_SUCCESS
}

/// How many providers `owner` has registered and not unregistered; all drivers together if `None`.
pub(crate) fn alive(owner: Option<DriverId>) -> usize {
    PROVIDERS.with(|providers| {
        providers.registered.values().filter(|&&driver| owner.is_none_or(|owner| owner == driver)).count()
    })
}
