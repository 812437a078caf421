//! The misfit as a driver that makes a call at the wrong IRQL: the one that its service is named after.
//!
//! That a function has one level for all calls, shows `irql-close`. The others make calls whose level depends on what
//! they pass.

use core::ffi::{CStr, c_void};
use core::ptr::{null, null_mut};

use crate::locks::{self, Object};
use crate::wdm::{self, NtStatus, STATUS_SUCCESS};

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn KeSetEvent(event: *mut c_void, increment: i32, wait: u8) -> i32;
    fn KeWaitForMultipleObjects(
        count: u32,
        objects: *const *mut c_void,
        kind: i32,
        reason: i32,
        mode: i8,
        alertable: u8,
        timeout: *const i64,
        blocks: *mut c_void,
    ) -> NtStatus;
    fn MmMapLockedPagesSpecifyCache(
        mdl: *mut c_void,
        mode: i8,
        cache: i32,
        address: *mut c_void,
        bug_check: u32,
        priority: u32,
    ) -> *mut c_void;
    fn EtwActivityIdControl(code: u32, id: *mut [u32; 4]) -> NtStatus;
}
#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "C" {
    fn DbgPrint(format: *const u8, ...) -> u32;
}

/// Breaks the rule that the service is named after; `None` if it is named after none.
pub(crate) fn start(is: impl Fn(&str) -> bool) -> Option<NtStatus> {
    static EVENT: Object = Object::new();
    if is("irql-close") {
        wdm::raise_to_dispatch_level();
        wdm::close(null_mut());
    } else if is("irql-raise") {
        wdm::raise_to_dispatch_level();
        wdm::raise(1);
    } else if is("irql-lower") {
        wdm::lower(2);
    } else if is("irql-wait") {
        wdm::raise_to_dispatch_level();
        locks::wait_for_ever();
    } else if is("irql-waits") {
        locks::initialize_event(&EVENT);
        wdm::raise_to_dispatch_level();
        let (events, any) = ([EVENT.get()], 1);
        // SAFETY: one event, made above; broken on purpose: nothing waits at DISPATCH_LEVEL.
        unsafe { KeWaitForMultipleObjects(1, events.as_ptr(), any, 0, 0, 0, null(), null_mut()) };
    } else if is("irql-event") {
        locks::initialize_event(&EVENT);
        wdm::raise_to_dispatch_level();
        // SAFETY: made above; broken on purpose: no wait can follow at DISPATCH_LEVEL.
        unsafe { KeSetEvent(EVENT.get(), 0, 1) };
    } else if is("irql-map") {
        const USER_MODE: i8 = 1;
        wdm::raise_to_dispatch_level();
        // SAFETY: broken on purpose: at this level, nothing is mapped for a program.
        unsafe { MmMapLockedPagesSpecifyCache(null_mut(), USER_MODE, 0, null_mut(), 0, 0) };
    } else if is("irql-activity") {
        const GET_ID: u32 = 1;
        wdm::raise_to_dispatch_level();
        // SAFETY: a local for the identifier.
        unsafe { EtwActivityIdControl(GET_ID, &mut [0; 4]) };
    } else if is("irql-print") {
        const FORMAT: &CStr = c"%d%% of %-8ws\n";
        wdm::raise_to_dispatch_level();
        // SAFETY: the format takes a number and a string of Unicode that ends in a zero, and gets those.
        unsafe { DbgPrint(FORMAT.as_ptr().cast(), 7, [0x41_u16, 0].as_ptr()) };
    } else {
        return None;
    }
    Some(STATUS_SUCCESS)
}
