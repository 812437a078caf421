//! A packet on its way through the filters of a layer.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::Ordering;

use wdk_wfp_sys::*;

use crate::Engine;
use crate::notices::shown;
use crate::packets::Fingerprint;
use crate::state::{self, Filter, number};
use crate::world::{self, irql};

thread_local!(
    /// The address of the function that classifies on this thread; 0 if none does.
    pub(crate) static CLASSIFIES: Cell<usize> = const { Cell::new(0) }
);

/// What a layer indicates to the engine.
#[derive(Clone, Copy)]
pub struct Indication<'a> {
    /// The layer, by the key that filters name.
    pub layer: &'a GUID,
    /// Its values.
    pub values: &'a [FWPS_INCOMING_VALUE0],
    /// Which of them is the flags, that filters may have conditions on.
    pub flags: Option<usize>,
    /// What is known beside them.
    pub metadata: &'a FWPS_INCOMING_METADATA_VALUES0,
    /// The packets. NULL at some layers at some times (W12).
    pub list: *mut NET_BUFFER_LIST,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it passes.
    pub passes: bool,
    /// Whether it vanishes without an error.
    pub absorbed: bool,
    /// How many callouts were asked.
    pub asked: usize,
}

impl Engine {
    /// Sends packets through the filters of a layer, at the level at which the thread is, and says whether they pass:
    /// sublayers by weight, filters within each by weight until one of them decides (W1, W2).
    #[must_use]
    pub fn classify(&self, indication: Indication<'_>) -> Verdict {
        let mut out = FWPS_CLASSIFY_OUT0 {
            actionType: FWP_ACTION_CONTINUE,
            outContext: 0,
            filterId: 0,
            rights: FWPS_RIGHT_ACTION_WRITE,
            flags: 0,
            reserved: 0,
        };
        let mut decided = FWP_ACTION_PERMIT;
        let mut asked = 0;
        for filters in sublayers(number(indication.layer)) {
            for filter in filters.iter().filter(|filter| matches(filter, &indication)) {
                if filter.action & FWP_ACTION_FLAG_CALLOUT == 0 {
                    static_action(filter.action, filter.flags, &mut out);
                } else if let Some(acts) = ask(filter, &indication, &mut out) {
                    asked += usize::from(acts);
                } else {
                    continue;
                }
                if out.actionType == FWP_ACTION_PERMIT || out.actionType == FWP_ACTION_BLOCK {
                    break;
                }
            }
            // A sublayer in which nobody decides leaves the decision as it is.
            if out.actionType == FWP_ACTION_PERMIT || out.actionType == FWP_ACTION_BLOCK {
                decided = out.actionType;
            } else {
                out.actionType = decided;
            }
        }
        Verdict {
            passes: decided == FWP_ACTION_PERMIT,
            absorbed: out.flags & FWPS_CLASSIFY_OUT_FLAG_ABSORB != 0,
            asked,
        }
    }
}

/// The filters of a layer, by sublayers.
fn sublayers(layer: u128) -> Vec<Vec<Filter>> {
    let state = state::lock();
    let mut sublayers = state.objects.sublayers.clone();
    sublayers.sort_by_key(|(_, weight, _)| std::cmp::Reverse(*weight));
    let of = |key| {
        let filters = state.objects.filters.iter().filter(|filter| filter.layer == layer && filter.sublayer == key);
        let mut filters: Vec<Filter> = filters.cloned().collect();
        filters.sort_by_key(|filter| std::cmp::Reverse(filter.weight));
        filters
    };
    sublayers.iter().map(|(key, _, _)| of(*key)).collect()
}

fn matches(filter: &Filter, indication: &Indication<'_>) -> bool {
    let flags = indication.flags.and_then(|index| indication.values.get(index)).map_or(0, |value| {
        // SAFETY: whoever indicates says that this value is the flags, which are 32 bits.
        unsafe { value.value.Anonymous.uint32 }
    });
    filter.conditions.iter().all(|(kind, value)| match *kind {
        FWP_MATCH_EQUAL => flags == *value,
        FWP_MATCH_FLAGS_ALL_SET => flags & value == *value,
        FWP_MATCH_FLAGS_ANY_SET => flags & value != 0,
        _ => flags & value == 0,
    })
}

/// What a filter without a callout does (W6): a block is final, a permit is if its filter says so.
fn static_action(action: u32, flags: u16, out: &mut FWPS_CLASSIFY_OUT0) {
    let has_right = out.rights & FWPS_RIGHT_ACTION_WRITE != 0;
    if !has_right {
        return;
    }
    out.actionType = action;
    if action == FWP_ACTION_BLOCK || u32::from(flags) & FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT != 0 {
        out.rights &= !FWPS_RIGHT_ACTION_WRITE;
    }
}

/// Asks the callout of a filter. `None`: it inspects, is not registered and so is passed over (W10). Otherwise whether
/// it was there to be asked.
fn ask(filter: &Filter, indication: &Indication<'_>, out: &mut FWPS_CLASSIFY_OUT0) -> Option<bool> {
    let callout = {
        let state = state::lock();
        let callout = state.registered.iter().find(|callout| callout.key == filter.callout).cloned();
        if let Some(callout) = &callout {
            callout.calls.fetch_add(1, Ordering::AcqRel);
        }
        callout
    };
    let Some(callout) = callout else {
        if filter.action == FWP_ACTION_CALLOUT_INSPECTION {
            return None;
        }
        let permits = u32::from(filter.flags) & FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED != 0;
        static_action(if permits { FWP_ACTION_PERMIT } else { FWP_ACTION_BLOCK }, filter.flags, out);
        return Some(false);
    };
    let shown = shown(filter, callout.id);
    let values = FWPS_INCOMING_VALUES0 {
        layerId: 0,
        valueCount: u32::try_from(indication.values.len()).expect("a layer has few values"),
        incomingValue: indication.values.as_ptr(),
    };
    let (before, level) = (*out, irql::current());
    let fingerprint = Fingerprint::of(indication.list);
    let classify = callout.functions.classifyFn.expect("registered with one");
    let outer = CLASSIFIES.replace(classify as usize);
    // SAFETY: everything that is passed lives for the call, and the driver promised that the function may be called.
    unsafe {
        classify(&values, indication.metadata, indication.list.cast(), ptr::null(), &shown, 0, out);
    }
    CLASSIFIES.set(outer);
    callout.calls.fetch_sub(1, Ordering::AcqRel);
    check(classify as usize, filter, before, out, level, fingerprint != Fingerprint::of(indication.list));
    Some(true)
}

/// Whether the callout whose function has this address has kept to what it may do.
fn check(
    function: usize,
    filter: &Filter,
    before: FWPS_CLASSIFY_OUT0,
    out: &FWPS_CLASSIFY_OUT0,
    level: u8,
    list_changed: bool,
) {
    let violation = |rule, what: String| state::lock().violation_of(world::driver_at(function), rule, what);
    let had_right = before.rights & FWPS_RIGHT_ACTION_WRITE != 0;
    let is_veto = before.actionType == FWP_ACTION_PERMIT && out.actionType == FWP_ACTION_BLOCK;
    if !had_right && out.actionType != before.actionType && !is_veto {
        violation(4, format!("action {:#x} was written over {:#x}", out.actionType, before.actionType));
    }
    if !had_right && out.rights & FWPS_RIGHT_ACTION_WRITE != 0 {
        violation(4, "a right that had been taken away was given back".into());
    }
    let answers = [FWP_ACTION_PERMIT, FWP_ACTION_BLOCK, FWP_ACTION_CONTINUE, FWP_ACTION_NONE, FWP_ACTION_NONE_NO_MATCH];
    if !answers.contains(&out.actionType) {
        violation(3, format!("{:#x} is no answer", out.actionType));
    }
    if had_right && filter.action == FWP_ACTION_CALLOUT_TERMINATING && out.actionType == FWP_ACTION_CONTINUE {
        violation(3, "a terminating callout did not decide".into());
    }
    if (before.outContext, before.filterId, before.reserved) != (out.outContext, out.filterId, out.reserved) {
        violation(3, "members of the system were written".into());
    }
    if list_changed {
        violation(13, "the NET_BUFFER_LIST is not as it was".into());
    }
    if irql::current() != level {
        violation(7, format!("the callout returned at level {} instead of {level}", irql::current()));
    }
}
