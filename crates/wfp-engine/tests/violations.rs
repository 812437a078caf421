//! What the engine reports of drivers that break the rules, each in C's way: by hand.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use wdk_wfp_sys::*;
use wfp_engine::{DISPATCH_LEVEL, Engine, Indication, PacketList, Piece, irql};

type Act = fn(*mut NET_BUFFER_LIST, &mut FWPS_CLASSIFY_OUT0);

thread_local!(
    static ACT: Cell<Act> = const { Cell::new(|_, _| {}) };
    /// What a callout says to a filter that is being added.
    static SAYS: Cell<NTSTATUS> = const { Cell::new(STATUS_SUCCESS) };
    /// What it was told: of filters, whether a key came along, and of flows.
    static TOLD: RefCell<Vec<(FWPS_CALLOUT_NOTIFY_TYPE, bool)>> = const { RefCell::new(Vec::new()) };
    static ENDED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
);

const KEY: GUID = GUID::from_u128(1);
const SUBLAYER: GUID = GUID::from_u128(2);
const LAYER: GUID = FWPM_LAYER_OUTBOUND_IPPACKET_V4;
static NAME: [u16; 2] = [b'n' as u16, 0];

unsafe extern "system" fn classify(
    _: *const FWPS_INCOMING_VALUES0,
    _: *const FWPS_INCOMING_METADATA_VALUES0,
    data: *mut c_void,
    _: *const c_void,
    _: *const FWPS_FILTER2,
    _: u64,
    out: *mut FWPS_CLASSIFY_OUT0,
) {
    // SAFETY: the engine passes an answer.
    ACT.get()(data.cast(), unsafe { &mut *out });
}

unsafe extern "system" fn notify(what: FWPS_CALLOUT_NOTIFY_TYPE, key: *const GUID, _: *const FWPS_FILTER2) -> NTSTATUS {
    TOLD.with_borrow_mut(|told| told.push((what, !key.is_null())));
    SAYS.get()
}

unsafe extern "system" fn flow_ended(_: u16, _: u32, context: u64) {
    ENDED.with_borrow_mut(|ended| ended.push(context));
}

fn callout() -> FWPS_CALLOUT2 {
    FWPS_CALLOUT2 {
        calloutKey: KEY,
        flags: 0,
        classifyFn: Some(classify),
        notifyFn: Some(notify),
        flowDeleteFn: Some(flow_ended),
    }
}

fn register(callout: &FWPS_CALLOUT2) -> (NTSTATUS, u32) {
    let mut id = 0;
    // SAFETY: everything that is passed lives for the call; the device is never looked at.
    let status = unsafe { FwpsCalloutRegister2(ptr::dangling_mut(), callout, &mut id) };
    (status, id)
}

fn open(flags: u32) -> HANDLE {
    // SAFETY: numbers, and pointers that may be NULL.
    let mut session: FWPM_SESSION0 = unsafe { std::mem::zeroed() };
    session.flags = flags;
    let mut handle = ptr::null_mut();
    // SAFETY: everything that is passed lives for the call.
    let status = unsafe { FwpmEngineOpen0(ptr::null(), RPC_C_AUTHN_WINNT, ptr::null(), &session, &mut handle) };
    assert_eq!(status, STATUS_SUCCESS);
    handle
}

fn close(handle: HANDLE) -> NTSTATUS {
    // SAFETY: the engine takes any value for a handle.
    unsafe { FwpmEngineClose0(handle) }
}

fn display() -> FWPM_DISPLAY_DATA0 {
    FWPM_DISPLAY_DATA0 { name: NAME.as_ptr().cast_mut(), description: ptr::null_mut() }
}

fn add_sublayer(handle: HANDLE, flags: u32, name: FWPM_DISPLAY_DATA0) -> NTSTATUS {
    // SAFETY: numbers, and pointers that may be NULL.
    let mut sublayer: FWPM_SUBLAYER0 = unsafe { std::mem::zeroed() };
    (sublayer.subLayerKey, sublayer.displayData, sublayer.flags) = (SUBLAYER, name, flags);
    // SAFETY: everything that is passed lives for the call.
    unsafe { FwpmSubLayerAdd0(handle, &sublayer, ptr::null_mut()) }
}

fn add_callout(handle: HANDLE) -> NTSTATUS {
    // SAFETY: numbers, and pointers that may be NULL.
    let mut callout: FWPM_CALLOUT0 = unsafe { std::mem::zeroed() };
    (callout.calloutKey, callout.displayData, callout.applicableLayer) = (KEY, display(), LAYER);
    // SAFETY: everything that is passed lives for the call.
    unsafe { FwpmCalloutAdd0(handle, &callout, ptr::null_mut(), ptr::null_mut()) }
}

/// Adds a filter of some weight: one that asks the callout, or one that acts by itself.
fn add_filter(handle: HANDLE, weight: u8, flags: u32, action: FWP_ACTION_TYPE) -> NTSTATUS {
    // SAFETY: numbers, and pointers that may be NULL.
    let mut filter: FWPM_FILTER0 = unsafe { std::mem::zeroed() };
    (filter.filterKey, filter.displayData, filter.layerKey) =
        (GUID::from_u128(100 + u128::from(weight)), display(), LAYER);
    (filter.subLayerKey, filter.flags, filter.action.r#type) = (SUBLAYER, flags, action);
    filter.action.Anonymous.calloutKey = KEY;
    filter.weight = FWP_VALUE0 { r#type: FWP_UINT8, Anonymous: FWP_VALUE0_0 { uint8: weight } };
    // SAFETY: everything that is passed lives for the call.
    unsafe { FwpmFilterAdd0(handle, &filter, ptr::null_mut(), ptr::null_mut()) }
}

fn send(engine: &Engine) -> bool {
    let list = PacketList::of(&[Piece::mapped(&[1; 40])], 20);
    // SAFETY: numbers, and pointers that may be NULL.
    let metadata: FWPS_INCOMING_METADATA_VALUES0 = unsafe { std::mem::zeroed() };
    let indication = Indication { layer: &LAYER, values: &[], flags: None, metadata: &metadata, list: list.as_ptr() };
    engine.classify(indication).passes
}

/// The rules that a callout breaks which is asked by a filter with this action and does `act`.
fn broken(action: FWP_ACTION_TYPE, act: Act) -> Vec<u8> {
    let engine = Engine::start();
    let (status, id) = register(&callout());
    let handle = open(FWPM_SESSION_FLAG_DYNAMIC);
    let added = [add_sublayer(handle, 0, display()), add_callout(handle), add_filter(handle, 1, 0, action)];
    assert_eq!((status, added), (STATUS_SUCCESS, [STATUS_SUCCESS; 3]));
    ACT.set(act);
    let _ = send(&engine);
    irql::set(0);
    close(handle);
    // SAFETY: registered above.
    assert_eq!(unsafe { FwpsCalloutUnregisterById0(id) }, STATUS_SUCCESS);
    engine.take_violations().iter().map(|violation| violation.rule).collect()
}

#[test]
fn w3_answers_that_are_none_and_members_of_the_system() {
    let unknown = FWP_ACTION_CALLOUT_UNKNOWN;
    assert_eq!(broken(unknown, |_, out| out.actionType = FWP_ACTION_CONTINUE), []);
    assert_eq!(broken(unknown, |_, out| out.actionType = FWP_ACTION_CALLOUT_UNKNOWN), [3]);
    assert_eq!(broken(unknown, |_, out| out.filterId = 1), [3]);
    assert_eq!(broken(FWP_ACTION_CALLOUT_TERMINATING, |_, out| out.actionType = FWP_ACTION_CONTINUE), [3]);
    assert_eq!(broken(FWP_ACTION_CALLOUT_TERMINATING, |_, out| out.actionType = FWP_ACTION_PERMIT), []);
}

#[test]
fn w4_answers_without_the_right() {
    // A filter of another sublayer has permitted and taken the right away: here the callout's own does.
    let engine = Engine::start();
    let (_, id) = register(&callout());
    let handle = open(FWPM_SESSION_FLAG_DYNAMIC);
    assert_eq!(add_sublayer(handle, 0, display()), STATUS_SUCCESS);
    // SAFETY: numbers, and pointers that may be NULL.
    let mut lower: FWPM_SUBLAYER0 = unsafe { std::mem::zeroed() };
    (lower.subLayerKey, lower.displayData, lower.weight) = (GUID::from_u128(3), display(), 1);
    // SAFETY: everything that is passed lives for the call.
    assert_eq!(unsafe { FwpmSubLayerAdd0(handle, &lower, ptr::null_mut()) }, STATUS_SUCCESS);
    // SAFETY: numbers, and pointers that may be NULL.
    let mut hard: FWPM_FILTER0 = unsafe { std::mem::zeroed() };
    (hard.displayData, hard.layerKey, hard.subLayerKey) = (display(), LAYER, lower.subLayerKey);
    (hard.action.r#type, hard.flags) = (FWP_ACTION_PERMIT, FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT);
    // SAFETY: everything that is passed lives for the call.
    assert_eq!(unsafe { FwpmFilterAdd0(handle, &hard, ptr::null_mut(), ptr::null_mut()) }, STATUS_SUCCESS);
    assert_eq!((add_callout(handle), add_filter(handle, 1, 0, FWP_ACTION_CALLOUT_UNKNOWN)), (0, 0));
    let rules = |act: Act| {
        ACT.set(act);
        let passes = send(&engine);
        (passes, engine.take_violations().iter().map(|violation| violation.rule).collect::<Vec<_>>())
    };
    assert_eq!(rules(|_, _| {}), (true, vec![]));
    assert_eq!(rules(|_, out| out.actionType = FWP_ACTION_BLOCK), (false, vec![]), "a veto");
    assert_eq!(rules(|_, out| out.actionType = FWP_ACTION_CONTINUE).1, [4]);
    assert_eq!(rules(|_, out| out.rights = FWPS_RIGHT_ACTION_WRITE).1, [4]);
    close(handle);
    // SAFETY: registered above.
    assert_eq!(unsafe { FwpsCalloutUnregisterById0(id) }, STATUS_SUCCESS);
}

#[test]
fn w7_levels_and_calls_in_a_classification() {
    let unknown = FWP_ACTION_CALLOUT_UNKNOWN;
    let opens: Act = |_, _| {
        close(open(0));
    };
    assert_eq!(broken(unknown, opens), [7, 7]);
    assert_eq!(broken(unknown, |_, _| irql::set(DISPATCH_LEVEL)), [7]);
}

#[test]
fn w8_w9_callouts_that_are_none_and_that_are_left_behind() {
    let engine = Engine::start();
    // SAFETY: the engine takes any number.
    assert_eq!(unsafe { FwpsCalloutUnregisterById0(77) }, STATUS_FWP_CALLOUT_NOT_FOUND);
    assert_eq!(engine.take_violations()[0].rule, 8);
    assert_eq!(register(&callout()).0, STATUS_SUCCESS);
    assert_eq!(register(&callout()).0, STATUS_FWP_ALREADY_EXISTS);
    let ended = catch_unwind(AssertUnwindSafe(|| drop(engine)));
    let said = ended.expect_err("a callout was left behind").downcast::<String>().unwrap();
    assert!(said.starts_with("W9 broken: callout 00000000000000000000000000000001"), "{said}");
}

#[test]
fn w10_filters_of_callouts_that_are_not_registered() {
    for (action, flags, passes) in [
        (FWP_ACTION_CALLOUT_UNKNOWN, 0, false),
        (FWP_ACTION_CALLOUT_TERMINATING, 0, false),
        (FWP_ACTION_CALLOUT_INSPECTION, 0, true),
        (FWP_ACTION_CALLOUT_UNKNOWN, FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED, true),
        (FWP_ACTION_CALLOUT_TERMINATING, FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED, true),
    ] {
        let engine = Engine::start();
        let handle = open(FWPM_SESSION_FLAG_DYNAMIC);
        let added = [add_sublayer(handle, 0, display()), add_callout(handle), add_filter(handle, 1, flags, action)];
        assert_eq!((added, send(&engine)), ([STATUS_SUCCESS; 3], passes), "{action:#x}, {flags}");
        close(handle);
        assert!(send(&engine), "a dynamic session takes its filters with it");
    }
}

#[test]
fn w2_filters_of_more_weight_come_first() {
    for (first, passes) in [(FWP_ACTION_PERMIT, true), (FWP_ACTION_BLOCK, false)] {
        let engine = Engine::start();
        let handle = open(FWPM_SESSION_FLAG_DYNAMIC);
        let second = if passes { FWP_ACTION_BLOCK } else { FWP_ACTION_PERMIT };
        assert_eq!(add_sublayer(handle, 0, display()), STATUS_SUCCESS);
        assert_eq!((add_filter(handle, 1, 0, second), add_filter(handle, 2, 0, first)), (0, 0));
        assert_eq!(send(&engine), passes);
        close(handle);
    }
}

#[test]
fn w13_a_list_that_is_retreated() {
    let retreats: Act = |list, _| {
        // SAFETY: the engine passes a list.
        let buffer = unsafe { (*list).FirstNetBuffer };
        // SAFETY: it has a packet, and this is what drivers do with it.
        unsafe { (*buffer).DataOffset -= 20 };
    };
    assert_eq!(broken(FWP_ACTION_CALLOUT_UNKNOWN, retreats), [13]);
}

#[test]
fn w9_an_image_that_is_gone_with_a_callout() {
    let engine = Engine::start();
    let (_, id) = register(&callout());
    let function = classify as *const () as usize;
    engine.image_unloaded(function + 1..function + 99, "driver.sys");
    assert_eq!(engine.take_violations(), []);
    engine.image_unloaded(function..function + 1, "driver.sys");
    let rules: Vec<u8> = engine.take_violations().iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [9]);
    // SAFETY: any number may be passed.
    assert_eq!(unsafe { FwpsCalloutUnregisterById0(id) }, STATUS_SUCCESS);
    engine.image_unloaded(function..function + 1, "driver.sys");
    assert_eq!(engine.take_violations(), []);
}

#[test]
fn w14_handles_that_are_none() {
    let engine = Engine::start();
    let handle = open(0);
    assert_eq!(close(handle), STATUS_SUCCESS);
    assert_eq!(close(handle), STATUS_INVALID_PARAMETER);
    assert_eq!(add_sublayer(handle, 0, display()), STATUS_INVALID_PARAMETER);
    let rules: Vec<u8> = engine.take_violations().iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [14, 14]);
}

#[test]
fn w15_w16_w17_objects() {
    let engine = Engine::start();
    let handle = open(FWPM_SESSION_FLAG_DYNAMIC);
    let nameless = FWPM_DISPLAY_DATA0 { name: ptr::null_mut(), description: ptr::null_mut() };
    assert_eq!(add_sublayer(handle, 0, nameless), STATUS_FWP_NULL_DISPLAY_NAME);
    assert_eq!(add_sublayer(handle, FWPM_SUBLAYER_FLAG_PERSISTENT, display()), STATUS_FWP_LIFETIME_MISMATCH);
    assert_eq!(add_filter(handle, 1, 0, FWP_ACTION_PERMIT), STATUS_FWP_SUBLAYER_NOT_FOUND);
    assert_eq!(add_sublayer(handle, 0, display()), STATUS_SUCCESS);
    assert_eq!(add_filter(handle, 1, 0, FWP_ACTION_CALLOUT_UNKNOWN), STATUS_FWP_CALLOUT_NOT_FOUND);
    assert_eq!(add_filter(handle, 1, 0, FWP_ACTION_PERMIT), STATUS_SUCCESS);
    // SAFETY: everything that is passed lives for the call.
    assert_eq!(unsafe { FwpmSubLayerDeleteByKey0(handle, &SUBLAYER) }, STATUS_FWP_IN_USE);
    assert_eq!(engine.objects(), [0, 1, 0, 1]);
    close(handle);
    assert_eq!(engine.objects(), [0; 4]);
}

#[test]
fn w19_callouts_are_told_of_filters_that_come_and_go_while_they_are_registered() {
    const ADDED: (FWPS_CALLOUT_NOTIFY_TYPE, bool) = (FWPS_CALLOUT_NOTIFY_ADD_FILTER, true);
    const DELETED: (FWPS_CALLOUT_NOTIFY_TYPE, bool) = (FWPS_CALLOUT_NOTIFY_DELETE_FILTER, false);
    let engine = Engine::start();
    let told = || TOLD.take();
    let handle = open(FWPM_SESSION_FLAG_DYNAMIC);
    assert_eq!([add_sublayer(handle, 0, display()), add_callout(handle)], [STATUS_SUCCESS; 2]);
    let add = |weight| add_filter(handle, weight, 0, FWP_ACTION_CALLOUT_TERMINATING);
    assert_eq!(add(1), STATUS_SUCCESS);
    let (_, id) = register(&callout());
    assert_eq!(told(), [], "of those that were there before, nothing");
    assert_eq!((add(2), told()), (STATUS_SUCCESS, vec![ADDED]));
    SAYS.set(STATUS_INSUFFICIENT_RESOURCES);
    assert_eq!((add(3), told()), (STATUS_INSUFFICIENT_RESOURCES, vec![ADDED]));
    assert_eq!(engine.objects()[3], 2, "one that was refused is not there");
    SAYS.set(STATUS_SUCCESS);
    // SAFETY: the handle is that of a session that is open, here and below.
    assert_eq!(unsafe { FwpmTransactionBegin0(handle, 0) }, STATUS_SUCCESS);
    assert_eq!((add(4), told()), (STATUS_SUCCESS, vec![ADDED]));
    // SAFETY: as above.
    assert_eq!((unsafe { FwpmTransactionAbort0(handle) }, told()), (STATUS_SUCCESS, vec![DELETED]));
    assert_eq!((close(handle), told()), (STATUS_SUCCESS, vec![DELETED; 2]));
    // SAFETY: registered above.
    assert_eq!(unsafe { FwpsCalloutUnregisterById0(id) }, STATUS_SUCCESS);
}

#[test]
fn w8_w20_a_callout_with_contexts_of_flows_is_busy_until_they_are_gone() {
    const FLOW: u64 = 5;
    let engine = Engine::start();
    let (_, id) = register(&callout());
    // SAFETY: numbers, here and below.
    let associate = |flow, context| unsafe { FwpsFlowAssociateContext0(flow, 1, id, context) };
    // SAFETY: as above.
    let unregister = || unsafe { FwpsCalloutUnregisterById0(id) };
    assert_eq!(associate(FLOW, 0), STATUS_INVALID_PARAMETER);
    assert_eq!((associate(FLOW, 70), associate(FLOW, 71), associate(FLOW + 1, 72)), (0, STATUS_OBJECT_NAME_EXISTS, 0));
    assert_eq!(unregister(), STATUS_DEVICE_BUSY);
    // SAFETY: as above.
    let remove = || unsafe { FwpsFlowRemoveContext0(FLOW, 1, id) };
    assert_eq!((remove(), ENDED.take(), remove()), (STATUS_SUCCESS, vec![70], STATUS_UNSUCCESSFUL));
    assert_eq!(unregister(), STATUS_DEVICE_BUSY);
    engine.end_flow(FLOW + 1);
    assert_eq!((ENDED.take(), unregister()), (vec![72], STATUS_SUCCESS));
}
