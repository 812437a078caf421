//! The functions under their C names.

use std::ffi::c_void;
use std::slice;
use std::sync::{Arc, MutexGuard};

use wdk_wfp_sys::*;

use crate::filters::CLASSIFIES;
use crate::notices::{tell, telling_of_deleted};
use crate::state::{self, Filter, Life, Objects, Registered, Session, State, number};
use crate::world::{self, irql};

pub(crate) const PASSIVE_LEVEL: u8 = 0;
pub(crate) const DISPATCH_LEVEL: u8 = 2;

/// The state, for a function of this name, which is called at PASSIVE_LEVEL and not in a classification.
fn enter(function: &'static str) -> Result<MutexGuard<'static, State>, NTSTATUS> {
    let classifies = CLASSIFIES.get();
    if classifies != 0 {
        let driver = world::driver_at(classifies);
        state::lock().violation_of(driver, 7, format!("{function} was called in a classification"));
    }
    enter_at(function, PASSIVE_LEVEL)
}

/// The state, for a function of this name: its level is checked, and whether it is to fail.
pub(crate) fn enter_at(function: &'static str, most: u8) -> Result<MutexGuard<'static, State>, NTSTATUS> {
    let mut state = state::lock();
    if irql::current() > most {
        state.violation(7, format!("{function} was called at level {}", irql::current()));
    }
    if let Some((_, status)) = state.fault.take_if(|(name, _)| *name == function) {
        return Err(status);
    }
    // What ends something needs no memory.
    if !matches!(function, "FwpsCalloutUnregisterById0" | "FwpmTransactionAbort0" | "FwpmEngineClose0") {
        match state.failing_call {
            Some((0, status)) => {
                state.failing_call = None;
                return Err(status);
            }
            Some((number, status)) => state.failing_call = Some((number - 1, status)),
            None => {}
        }
    }
    Ok(state)
}

/// Does something with the objects of a session: those of its transaction, or all if it has none.
fn change(
    function: &'static str,
    handle: HANDLE,
    change: impl FnOnce(&mut Objects, Option<usize>, u64) -> Result<(), NTSTATUS>,
) -> NTSTATUS {
    telling_of_deleted(enter(function), |state| {
        let id = state.next() as u64;
        let State { sessions, objects, .. } = &mut *state;
        let Some(session) = sessions.iter_mut().find(|session| session.handle == handle.addr()) else {
            state.violation(14, format!("{function} was called with a handle that is none"));
            return STATUS_INVALID_PARAMETER;
        };
        let owner = session.is_dynamic.then_some(session.handle);
        change(session.transaction.as_mut().unwrap_or(objects), owner, id).err().unwrap_or(STATUS_SUCCESS)
    })
}

/// A key that a caller passes.
///
/// # Safety
///
/// It points to a GUID or is NULL.
unsafe fn key(pointer: *const GUID) -> u128 {
    // SAFETY: the caller promises it.
    unsafe { pointer.as_ref() }.map_or(0, number)
}

/// How long an object lives that a session with this `owner` adds (W15).
fn life(owner: Option<usize>, persistent: bool) -> Result<Life, NTSTATUS> {
    if owner.is_some() && persistent {
        return Err(STATUS_FWP_LIFETIME_MISMATCH);
    }
    Ok(Life { session: owner, persistent })
}

fn named(name: &FWPM_DISPLAY_DATA0) -> Result<(), NTSTATUS> {
    if name.name.is_null() { Err(STATUS_FWP_NULL_DISPLAY_NAME) } else { Ok(()) }
}

fn is_new(key: u128, mut keys: impl Iterator<Item = u128>) -> Result<(), NTSTATUS> {
    if keys.any(|other| other == key) { Err(STATUS_FWP_ALREADY_EXISTS) } else { Ok(()) }
}

fn found(is_there: bool, otherwise: NTSTATUS) -> Result<(), NTSTATUS> {
    if is_there { Ok(()) } else { Err(otherwise) }
}

fn provider_is_there(objects: &Objects, provider: *const GUID) -> Result<(), NTSTATUS> {
    // SAFETY: the structure that has it was passed by a caller, who fills it in.
    let key = unsafe { key(provider) };
    let is_there = provider.is_null() || objects.providers.iter().any(|(other, _)| *other == key);
    found(is_there, STATUS_FWP_PROVIDER_NOT_FOUND)
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
unsafe extern "system" fn FwpsCalloutRegister2(
    device: *mut c_void,
    callout: *const FWPS_CALLOUT2,
    id: *mut u32,
) -> NTSTATUS {
    let mut state = match enter("FwpsCalloutRegister2") {
        Ok(state) => state,
        Err(status) => return status,
    };
    // SAFETY: the caller passes a callout.
    let functions = unsafe { *callout };
    let key = number(&functions.calloutKey);
    if device.is_null() || functions.classifyFn.is_none() || functions.notifyFn.is_none() {
        return STATUS_INVALID_PARAMETER;
    }
    if state.registered.iter().any(|callout| callout.key == key) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    let number = state.next() as u32;
    state.registered.push(Registered { key, id: number, functions, calls: Arc::default() });
    if !id.is_null() {
        // SAFETY: the caller passes a place for the number.
        unsafe { id.write(number) };
    }
    STATUS_SUCCESS
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
extern "system" fn FwpsCalloutUnregisterById0(id: u32) -> NTSTATUS {
    let mut state = match enter("FwpsCalloutUnregisterById0") {
        Ok(state) => state,
        Err(status) => return status,
    };
    if state.busy > 0 {
        state.busy -= 1;
        return STATUS_DEVICE_BUSY;
    }
    if state.flows.iter().any(|flow| flow.callout == id) {
        return STATUS_DEVICE_BUSY;
    }
    let Some(index) = state.registered.iter().position(|callout| callout.id == id) else {
        state.violation(8, format!("callout {id} was unregistered, and there is none"));
        return STATUS_FWP_CALLOUT_NOT_FOUND;
    };
    // Calls that are in progress are not waited for: no page says that they are (W9).
    state.registered.remove(index);
    STATUS_SUCCESS
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
unsafe extern "system" fn FwpmEngineOpen0(
    server: *const u16,
    authentication: u32,
    _: *const c_void,
    session: *const FWPM_SESSION0,
    handle: *mut HANDLE,
) -> NTSTATUS {
    let mut state = match enter("FwpmEngineOpen0") {
        Ok(state) => state,
        Err(status) => return status,
    };
    if !server.is_null() || authentication != RPC_C_AUTHN_WINNT {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the caller passes a session or NULL.
    let is_dynamic = unsafe { session.as_ref() }.is_some_and(|session| session.flags & FWPM_SESSION_FLAG_DYNAMIC != 0);
    let number = state.next();
    state.sessions.push(Session { handle: number, is_dynamic, transaction: None });
    // SAFETY: the caller passes a place for the handle.
    unsafe { handle.write(std::ptr::without_provenance_mut(number)) };
    STATUS_SUCCESS
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
extern "system" fn FwpmEngineClose0(handle: HANDLE) -> NTSTATUS {
    telling_of_deleted(enter("FwpmEngineClose0"), |state| {
        let Some(index) = state.sessions.iter().position(|session| session.handle == handle.addr()) else {
            state.violation(14, "a session was closed, and there is none");
            return STATUS_INVALID_PARAMETER;
        };
        let closed = state.sessions.remove(index);
        if closed.is_dynamic {
            state.objects.retain(|life| life.session != Some(closed.handle));
        }
        STATUS_SUCCESS
    })
}

fn transaction(
    function: &'static str,
    handle: HANDLE,
    act: impl FnOnce(&mut Session, &mut Objects) -> NTSTATUS,
) -> NTSTATUS {
    telling_of_deleted(enter(function), |state| {
        let State { sessions, objects, .. } = &mut *state;
        match sessions.iter_mut().find(|session| session.handle == handle.addr()) {
            Some(session) => act(session, objects),
            None => STATUS_INVALID_PARAMETER,
        }
    })
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
extern "system" fn FwpmTransactionBegin0(handle: HANDLE, _: u32) -> NTSTATUS {
    transaction("FwpmTransactionBegin0", handle, |session, objects| {
        if session.transaction.is_some() {
            return STATUS_FWP_TXN_IN_PROGRESS;
        }
        session.transaction = Some(objects.clone());
        STATUS_SUCCESS
    })
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
extern "system" fn FwpmTransactionCommit0(handle: HANDLE) -> NTSTATUS {
    transaction("FwpmTransactionCommit0", handle, |session, objects| match session.transaction.take() {
        Some(changed) => {
            *objects = changed;
            STATUS_SUCCESS
        }
        None => STATUS_FWP_NO_TXN_IN_PROGRESS,
    })
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
extern "system" fn FwpmTransactionAbort0(handle: HANDLE) -> NTSTATUS {
    transaction("FwpmTransactionAbort0", handle, |session, _| match session.transaction.take() {
        Some(_) => STATUS_SUCCESS,
        None => STATUS_FWP_NO_TXN_IN_PROGRESS,
    })
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
unsafe extern "system" fn FwpmProviderAdd0(
    handle: HANDLE,
    provider: *const FWPM_PROVIDER0,
    _: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller passes a provider.
    let provider = unsafe { *provider };
    change("FwpmProviderAdd0", handle, |objects, owner, _| {
        named(&provider.displayData)?;
        let key = number(&provider.providerKey);
        is_new(key, objects.providers.iter().map(|(key, _)| *key))?;
        let life = life(owner, provider.flags & FWPM_PROVIDER_FLAG_PERSISTENT != 0)?;
        objects.providers.push((key, life));
        Ok(())
    })
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
unsafe extern "system" fn FwpmSubLayerAdd0(
    handle: HANDLE,
    sublayer: *const FWPM_SUBLAYER0,
    _: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller passes a sublayer.
    let sublayer = unsafe { *sublayer };
    change("FwpmSubLayerAdd0", handle, |objects, owner, _| {
        named(&sublayer.displayData)?;
        provider_is_there(objects, sublayer.providerKey)?;
        let key = number(&sublayer.subLayerKey);
        is_new(key, objects.sublayers.iter().map(|(key, _, _)| *key))?;
        let life = life(owner, sublayer.flags & FWPM_SUBLAYER_FLAG_PERSISTENT != 0)?;
        objects.sublayers.push((key, sublayer.weight, life));
        Ok(())
    })
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
unsafe extern "system" fn FwpmCalloutAdd0(
    handle: HANDLE,
    callout: *const FWPM_CALLOUT0,
    _: *mut c_void,
    _: *mut u32,
) -> NTSTATUS {
    // SAFETY: the caller passes a callout.
    let callout = unsafe { *callout };
    change("FwpmCalloutAdd0", handle, |objects, owner, _| {
        named(&callout.displayData)?;
        provider_is_there(objects, callout.providerKey)?;
        let key = number(&callout.calloutKey);
        is_new(key, objects.callouts.iter().map(|(key, _, _)| *key))?;
        let life = life(owner, callout.flags & FWPM_CALLOUT_FLAG_PERSISTENT != 0)?;
        objects.callouts.push((key, number(&callout.applicableLayer), life));
        Ok(())
    })
}

/// Whether filters of a layer may have conditions on the flags: those of frames may not (W18).
fn has_flags(layer: u128) -> bool {
    let of_frames = [FWPM_LAYER_INBOUND_MAC_FRAME_ETHERNET, FWPM_LAYER_OUTBOUND_MAC_FRAME_ETHERNET];
    of_frames.iter().all(|frames| number(frames) != layer)
}

/// The conditions of a filter, all on the flags.
///
/// # Safety
///
/// The filter is as a caller passes one.
unsafe fn conditions(filter: &FWPM_FILTER0) -> Result<Vec<(i32, u32)>, NTSTATUS> {
    if filter.numFilterConditions == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the caller promises that there are as many.
    let conditions = unsafe { slice::from_raw_parts(filter.filterCondition, filter.numFilterConditions as usize) };
    let read = |condition: &FWPM_FILTER_CONDITION0| {
        let is_known = number(&condition.fieldKey) == number(&FWPM_CONDITION_FLAGS)
            && condition.conditionValue.r#type == FWP_UINT32;
        found(is_known, STATUS_INVALID_PARAMETER)?;
        // SAFETY: the type says that this member is valid.
        Ok((condition.matchType, unsafe { condition.conditionValue.Anonymous.uint32 }))
    };
    conditions.iter().map(read).collect()
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
unsafe extern "system" fn FwpmFilterAdd0(
    handle: HANDLE,
    filter: *const FWPM_FILTER0,
    _: *mut c_void,
    _: *mut u64,
) -> NTSTATUS {
    // SAFETY: the caller passes a filter.
    let filter = unsafe { *filter };
    // SAFETY: as above.
    let conditions = unsafe { conditions(&filter) };
    let mut added = None;
    let status = change("FwpmFilterAdd0", handle, |objects, owner, id| {
        named(&filter.displayData)?;
        provider_is_there(objects, filter.providerKey)?;
        let key = number(&filter.filterKey);
        is_new(key, objects.filters.iter().map(|filter| filter.key))?;
        let sublayer = number(&filter.subLayerKey);
        found(objects.sublayers.iter().any(|(key, _, _)| *key == sublayer), STATUS_FWP_SUBLAYER_NOT_FOUND)?;
        let layer = number(&filter.layerKey);
        let has_callout = filter.action.r#type & FWP_ACTION_FLAG_CALLOUT != 0;
        // SAFETY: any 16 bytes are a GUID.
        let callout = number(unsafe { &filter.action.Anonymous.calloutKey });
        let is_there = objects.callouts.iter().any(|(key, of, _)| (*key, *of) == (callout, layer));
        found(!has_callout || is_there, STATUS_FWP_CALLOUT_NOT_FOUND)?;
        let conditions = conditions?;
        found(conditions.is_empty() || has_flags(layer), STATUS_FWP_CONDITION_NOT_FOUND)?;
        let life = life(owner, filter.flags & FWPM_FILTER_FLAG_PERSISTENT != 0)?;
        let flag = |of: u32, is: u32| if filter.flags & of != 0 { is as u16 } else { 0 };
        let weight = match filter.weight.r#type {
            // SAFETY: the type says that this member is valid.
            FWP_UINT8 => u64::from(unsafe { filter.weight.Anonymous.uint8 }) << 60,
            FWP_UINT64 => {
                // SAFETY: as above.
                let number = unsafe { filter.weight.Anonymous.uint64 };
                // SAFETY: the caller passes a number there.
                unsafe { *number }
            }
            _ => 0,
        };
        let filter = Filter {
            key,
            id,
            layer,
            sublayer,
            weight,
            flags: flag(
                FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
                FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
            ) | flag(FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT, FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT),
            action: filter.action.r#type,
            callout,
            // SAFETY: any 8 bytes are a number.
            context: unsafe { filter.Anonymous.rawContext },
            conditions,
            life,
        };
        added = Some(filter.clone());
        objects.filters.push(filter);
        Ok(())
    });
    let refused = added.as_ref().map(|filter| tell(filter, FWPS_CALLOUT_NOTIFY_ADD_FILTER)).filter(|said| *said < 0);
    if let (Some(said), Some(Filter { id, .. })) = (refused, added) {
        state::lock().forget_filter(id);
        return said;
    }
    status
}

/// Deletes what has a key. Objects that others refer to are in use (W16).
macro_rules! deletion {
    ($name:ident, $list:ident, $matches:expr, $missing:ident, $in_use:expr) => {
        // SAFETY: no other definition of this name is linked beside the engine.
        #[unsafe(no_mangle)]
        unsafe extern "system" fn $name(handle: HANDLE, pointer: *const GUID) -> NTSTATUS {
            // SAFETY: the caller passes a key.
            let key = unsafe { key(pointer) };
            change(stringify!($name), handle, |objects, _, _| {
                let index = objects.$list.iter().position(|object| $matches(object, key)).ok_or($missing)?;
                found(!$in_use(objects, key), STATUS_FWP_IN_USE)?;
                objects.$list.remove(index);
                Ok(())
            })
        }
    };
}

deletion!(
    FwpmProviderDeleteByKey0,
    providers,
    |object: &(u128, Life), key| object.0 == key,
    STATUS_FWP_PROVIDER_NOT_FOUND,
    |_: &Objects, _| false
);
deletion!(
    FwpmSubLayerDeleteByKey0,
    sublayers,
    |object: &(u128, u16, Life), key| object.0 == key,
    STATUS_FWP_SUBLAYER_NOT_FOUND,
    |objects: &Objects, key| objects.filters.iter().any(|filter| filter.sublayer == key)
);
deletion!(
    FwpmCalloutDeleteByKey0,
    callouts,
    |object: &(u128, u128, Life), key| object.0 == key,
    STATUS_FWP_CALLOUT_NOT_FOUND,
    |objects: &Objects, key| objects.filters.iter().any(|filter| filter.callout == key)
);
deletion!(
    FwpmFilterDeleteByKey0,
    filters,
    |object: &Filter, key| object.key == key,
    STATUS_FWP_FILTER_NOT_FOUND,
    |_: &Objects, _| false
);
