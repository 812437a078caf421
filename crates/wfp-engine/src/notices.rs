//! What callouts are told: of filters that name them (W19), and of data flows that end (W20).

use std::ptr;
use std::sync::MutexGuard;

use wdk_wfp_sys::*;

use crate::Engine;
use crate::state::{self, Filter, FlowContext, State};
use crate::symbols::{DISPATCH_LEVEL, enter_at};

/// A filter as its callout is shown it.
pub(crate) fn shown(filter: &Filter, callout: u32) -> FWPS_FILTER2 {
    FWPS_FILTER2 {
        filterId: filter.id,
        weight: FWP_VALUE0 { r#type: FWP_EMPTY, Anonymous: FWP_VALUE0_0 { uint32: 0 } },
        subLayerWeight: 0,
        flags: filter.flags,
        numFilterConditions: 0,
        filterCondition: ptr::null_mut(),
        action: FWPS_ACTION0 { r#type: filter.action, calloutId: callout },
        context: filter.context,
        providerContext: ptr::null_mut(),
    }
}

/// Tells the callout of a filter, if it is registered, what happens to the filter. Without the state being held: the
/// callout may call the engine.
pub(crate) fn tell(filter: &Filter, what: FWPS_CALLOUT_NOTIFY_TYPE) -> NTSTATUS {
    let callout = state::lock().registered.iter().find(|callout| callout.key == filter.callout).cloned();
    let Some(callout) = callout.filter(|_| filter.action & FWP_ACTION_FLAG_CALLOUT != 0) else { return STATUS_SUCCESS };
    let notify = callout.functions.notifyFn.expect("registered with one");
    let key = GUID::from_u128(filter.key);
    let key = if what == FWPS_CALLOUT_NOTIFY_DELETE_FILTER { ptr::null() } else { &raw const key };
    // SAFETY: what is passed lives for the call, and the driver promised that the function may be called.
    unsafe { notify(what, key, &shown(filter, callout.id)) }
}

/// Does something to the state that a function has entered, and tells callouts of the filters that are gone then.
pub(crate) fn telling_of_deleted(
    entered: Result<MutexGuard<'static, State>, NTSTATUS>,
    act: impl FnOnce(&mut State) -> NTSTATUS,
) -> NTSTATUS {
    let mut state = match entered {
        Ok(state) => state,
        Err(status) => return status,
    };
    let before = state.all_filters();
    let status = act(&mut state);
    let after = state.all_filters();
    drop(state);
    for filter in before.iter().filter(|filter| after.iter().all(|other| other.id != filter.id)) {
        tell(filter, FWPS_CALLOUT_NOTIFY_DELETE_FILTER);
    }
    status
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
extern "system" fn FwpsFlowAssociateContext0(flow: u64, layer: u16, callout: u32, context: u64) -> NTSTATUS {
    let mut state = match enter_at("FwpsFlowAssociateContext0", DISPATCH_LEVEL) {
        Ok(state) => state,
        Err(status) => return status,
    };
    if context == 0 || state.registered.iter().all(|registered| registered.id != callout) {
        return STATUS_INVALID_PARAMETER;
    }
    if state.flows.iter().any(|other| (other.flow, other.layer, other.callout) == (flow, layer, callout)) {
        return STATUS_OBJECT_NAME_EXISTS;
    }
    state.flows.push(FlowContext { flow, layer, callout, context });
    STATUS_SUCCESS
}

// SAFETY: no other definition of this name is linked beside the engine.
#[unsafe(no_mangle)]
extern "system" fn FwpsFlowRemoveContext0(flow: u64, layer: u16, callout: u32) -> NTSTATUS {
    match enter_at("FwpsFlowRemoveContext0", DISPATCH_LEVEL) {
        Ok(state) => drop(state),
        Err(status) => return status,
    }
    let is_it = |other: &FlowContext| (other.flow, other.layer, other.callout) == (flow, layer, callout);
    if remove_flows(is_it) == 0 { STATUS_UNSUCCESSFUL } else { STATUS_SUCCESS }
}

/// Removes contexts, and tells their callouts. Returns how many there were.
fn remove_flows(is_it: impl Fn(&FlowContext) -> bool) -> usize {
    let mut state = state::lock();
    let removed: Vec<FlowContext> = state.flows.extract_if(.., |flow| is_it(flow)).collect();
    let registered = state.registered.clone();
    drop(state);
    for FlowContext { layer, callout, context, .. } in &removed {
        let functions = registered.iter().find(|registered| registered.id == *callout).map(|callout| callout.functions);
        if let Some(delete) = functions.and_then(|functions| functions.flowDeleteFn) {
            // SAFETY: numbers, and the driver promised that the function may be called.
            unsafe { delete(*layer, *callout, *context) };
        }
    }
    removed.len()
}

impl Engine {
    /// A data flow ends: whoever has a context of it is told.
    pub fn end_flow(&self, flow: u64) {
        remove_flows(|other| other.flow == flow);
    }
}
