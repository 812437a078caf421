//! A callout driver that breaks a rule of the Windows Filtering Platform (docs/wfp-rules.md): the one that its service
//! is named after, in the table below. It is at the layer of IPv4 packets to be sent, and permits what it does not
//! treat wrongly. Calls at a wrong level are not in it: netio.sys notices them before the platform does.
//!
//! It calls the platform without wdk-wfp, with which none of this could be written.
#![no_std]

extern crate wdk_panic;

use core::ffi::c_void;
use core::mem::zeroed;
use core::ptr::{self, null_mut};
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use wdk_sys::{DRIVER_OBJECT, UNICODE_STRING};
use wdk_wfp_sys::*;

/// What is done wrong, and when.
enum Wrong {
    /// When it starts.
    AtStart(fn()),
    /// In a classification.
    InCall(fn(*mut NET_BUFFER_LIST, &mut FWPS_CLASSIFY_OUT0)),
    /// The same, without the right to answer: a filter before it has permitted for good.
    InCallWithoutRight(fn(*mut NET_BUFFER_LIST, &mut FWPS_CLASSIFY_OUT0)),
    /// Its callout stays when it is unloaded.
    Stays,
}

/// By the names of services.
const TABLE: [(&str, Wrong); 10] = [
    ("w3-answer", Wrong::InCall(|_, out| out.actionType = 0x7777)),
    ("w3-member", Wrong::InCall(|_, out| out.reserved = 1)),
    ("w3-undecided", Wrong::InCall(|_, out| out.actionType = FWP_ACTION_CONTINUE)),
    ("w4-action", Wrong::InCallWithoutRight(|_, out| out.actionType = FWP_ACTION_CONTINUE)),
    ("w4-right", Wrong::InCallWithoutRight(|_, out| out.rights = FWPS_RIGHT_ACTION_WRITE)),
    ("w7-inside", Wrong::InCall(|_, _| begin_transaction(HANDLE_OF_SESSION.load(Ordering::Relaxed)))),
    ("w7-returned", Wrong::InCall(|_, _| raise())),
    ("w8-unknown", Wrong::AtStart(|| unregister(u32::MAX))),
    ("w9-left", Wrong::Stays),
    ("w13-retreated", Wrong::InCall(retreat)),
];

const KEY: GUID = GUID::from_u128(0x6d65_6464_6c65_7200_0000_0000_0000_0001);
const FIRST: GUID = GUID::from_u128(0x6d65_6464_6c65_7200_0000_0000_0000_0002);
const SECOND: GUID = GUID::from_u128(0x6d65_6464_6c65_7200_0000_0000_0000_0003);
const NAME: [u16; 8] = [109, 101, 100, 100, 108, 101, 114, 0];

/// Which of the table it is.
static INDEX: AtomicUsize = AtomicUsize::new(usize::MAX);
static ID: AtomicU32 = AtomicU32::new(0);
static HANDLE_OF_SESSION: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn KeRaiseIrqlToDpcLevel() -> u8;
}

fn wrong() -> Option<&'static Wrong> {
    TABLE.get(INDEX.load(Ordering::Relaxed)).map(|(_, wrong)| wrong)
}

fn raise() {
    // SAFETY: at up to DISPATCH_LEVEL; broken on purpose: nobody lowers it.
    unsafe { KeRaiseIrqlToDpcLevel() };
}

fn begin_transaction(handle: HANDLE) {
    // SAFETY: the handle of a session; broken on purpose: not here, or not at this level.
    unsafe { FwpmTransactionBegin0(handle, 0) };
}

fn unregister(id: u32) {
    // SAFETY: any number may be passed.
    unsafe { FwpsCalloutUnregisterById0(id) };
}

/// Moves the data of a shared list.
fn retreat(list: *mut NET_BUFFER_LIST, _: &mut FWPS_CLASSIFY_OUT0) {
    // SAFETY: a classification of this layer is shown a list.
    let buffer = unsafe { (*list).FirstNetBuffer };
    // SAFETY: the list has a packet; broken on purpose: others see it.
    let buffer = unsafe { &mut *buffer };
    buffer.DataOffset = buffer.DataOffset.saturating_sub(1);
}

unsafe extern "system" fn classify(
    _: *const FWPS_INCOMING_VALUES0,
    _: *const FWPS_INCOMING_METADATA_VALUES0,
    data: *mut c_void,
    _: *const c_void,
    _: *const FWPS_FILTER2,
    _: u64,
    out: *mut FWPS_CLASSIFY_OUT0,
) {
    // SAFETY: the platform passes an answer.
    let out = unsafe { &mut *out };
    if out.rights & FWPS_RIGHT_ACTION_WRITE != 0 {
        out.actionType = FWP_ACTION_PERMIT;
    }
    if let Some(Wrong::InCall(act) | Wrong::InCallWithoutRight(act)) = wrong() {
        act(data.cast(), out);
    }
}

unsafe extern "system" fn notify(_: FWPS_CALLOUT_NOTIFY_TYPE, _: *const GUID, _: *const FWPS_FILTER2) -> NTSTATUS {
    STATUS_SUCCESS
}

fn display() -> FWPM_DISPLAY_DATA0 {
    FWPM_DISPLAY_DATA0 { name: NAME.as_ptr().cast_mut(), description: null_mut() }
}

/// Adds a filter of a sublayer of its own, made for it, with this weight.
fn add_filter(handle: HANDLE, sublayer: GUID, weight: u16, action: FWP_ACTION_TYPE, flags: u32) -> NTSTATUS {
    // SAFETY: numbers, and pointers that may be NULL.
    let mut layer: FWPM_SUBLAYER0 = unsafe { zeroed() };
    (layer.subLayerKey, layer.displayData, layer.weight) = (sublayer, display(), weight);
    // SAFETY: the handle of a session, and a structure that lives for the call.
    let status = unsafe { FwpmSubLayerAdd0(handle, &layer, null_mut()) };
    if status != STATUS_SUCCESS {
        return status;
    }
    // SAFETY: numbers, and pointers that may be NULL.
    let mut filter: FWPM_FILTER0 = unsafe { zeroed() };
    (filter.filterKey, filter.displayData, filter.flags) = (sublayer, display(), flags);
    (filter.layerKey, filter.subLayerKey) = (FWPM_LAYER_OUTBOUND_IPPACKET_V4, sublayer);
    filter.action = FWPM_ACTION0 { r#type: action, Anonymous: FWPM_ACTION0_0 { calloutKey: KEY } };
    // SAFETY: as above.
    unsafe { FwpmFilterAdd0(handle, &filter, null_mut(), null_mut()) }
}

/// Registers the callout and has it asked.
fn start(driver: *mut DRIVER_OBJECT) -> Result<HANDLE, NTSTATUS> {
    let ok = |status| if status == STATUS_SUCCESS { Ok(()) } else { Err(status) };
    let callout = FWPS_CALLOUT2 {
        calloutKey: KEY,
        flags: 0,
        classifyFn: Some(classify),
        notifyFn: Some(notify),
        flowDeleteFn: None,
    };
    // SAFETY: the engine of the rig looks at no device, and this driver runs nowhere else.
    ok(unsafe { FwpsCalloutRegister2(driver.cast(), &callout, ID.as_ptr()) })?;
    // SAFETY: numbers, and pointers that may be NULL.
    let mut session: FWPM_SESSION0 = unsafe { zeroed() };
    session.flags = FWPM_SESSION_FLAG_DYNAMIC;
    let mut handle = null_mut();
    // SAFETY: the structures live for the call.
    ok(unsafe { FwpmEngineOpen0(ptr::null(), RPC_C_AUTHN_WINNT, ptr::null(), &session, &mut handle) })?;
    // SAFETY: numbers, and pointers that may be NULL.
    let mut callout: FWPM_CALLOUT0 = unsafe { zeroed() };
    (callout.calloutKey, callout.displayData) = (KEY, display());
    callout.applicableLayer = FWPM_LAYER_OUTBOUND_IPPACKET_V4;
    // SAFETY: the handle of a session, and a structure that lives for the call.
    ok(unsafe { FwpmCalloutAdd0(handle, &callout, null_mut(), null_mut()) })?;
    if matches!(wrong(), Some(Wrong::InCallWithoutRight(_))) {
        ok(add_filter(handle, FIRST, 2, FWP_ACTION_PERMIT, FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT))?;
    }
    ok(add_filter(handle, SECOND, 1, FWP_ACTION_CALLOUT_TERMINATING, 0))?;
    Ok(handle)
}

/// The last component of a registry path is the name of a service. Which of the table it is.
fn index(path: &UNICODE_STRING) -> Option<usize> {
    // SAFETY: the I/O manager passes a text of this length.
    let path = unsafe { slice::from_raw_parts(path.Buffer.cast_const(), usize::from(path.Length / 2)) };
    let service = path.rsplit(|unit| *unit == u16::from(b'\\')).next()?;
    TABLE.iter().position(|(name, _)| name.encode_utf16().eq(service.iter().copied()))
}

/// Called when the service starts.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, path: &UNICODE_STRING) -> NTSTATUS {
    let Some(index) = index(path) else { return STATUS_INVALID_PARAMETER };
    INDEX.store(index, Ordering::Relaxed);
    driver.DriverUnload = Some(driver_unload);
    match start(driver) {
        Ok(handle) => {
            HANDLE_OF_SESSION.store(handle, Ordering::Relaxed);
            if let Some(Wrong::AtStart(act)) = wrong() {
                act();
            }
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

unsafe extern "C" fn driver_unload(_: *mut DRIVER_OBJECT) {
    // SAFETY: the handle of a session, used for the last time.
    unsafe { FwpmEngineClose0(HANDLE_OF_SESSION.load(Ordering::Relaxed)) };
    if !matches!(wrong(), Some(Wrong::Stays)) {
        unregister(ID.load(Ordering::Relaxed));
    }
}
