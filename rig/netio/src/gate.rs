//! What every call of a kernel function by a driver passes before the function runs.
//!
//! Here are the checks that need no knowledge of the function but its line in [`hooks`](crate::hooks): the highest IRQL
//! at which it may be called, and what it fails with when the harness wants a failure. What was called last on each
//! thread, and from where, is noted for the report of a broken rule.

use alloc::collections::BTreeMap;
use core::arch::naked_asm;
use core::sync::atomic::Ordering;

use crate::bugcheck::{bug_check, code};
use crate::control::{self, Word};
use crate::drivers::{self, DriverId};
use crate::hooks::HOOKS;
use crate::lock::Lock;
use crate::{critical, delay, irql, log, requests, teb, thunk};

/// A call of a function by a driver.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) driver: DriverId,
    pub(crate) function: &'static str,
    /// Where it returns to.
    pub(crate) site: usize,
}

/// The last call on each thread.
static CALLS: Lock<BTreeMap<usize, Call>> = Lock::new(BTreeMap::new());

/// The last call on this thread, if that driver made it.
pub(crate) fn last_call(driver: DriverId) -> Option<Call> {
    let thread = teb::thread();
    CALLS.with(|calls| calls.get(&thread).copied()).filter(|call| call.driver == driver)
}

/// Answers a failure that the call is to return instead of calling the function, or [`GO_ON`].
///
/// `hook` is an index into [`HOOKS`], `site` where the call returns to.
extern "system" fn before(hook: usize, site: usize) -> usize {
    let driver = thunk::caller();
    let answer = HOOKS.get(hook).map_or(GO_ON, |hook| {
        let call = Call { driver, function: hook.name, site };
        let thread = teb::thread();
        CALLS.with(|calls| calls.insert(thread, call));
        let level = irql::current();
        if level > hook.highest_irql {
            let (name, highest) = (hook.name, hook.highest_irql);
            let rule = format_args!("{name} called at IRQL {level}; it may be called up to {highest}");
            bug_check(driver, code::VERIFIER, rule);
        }
        if requests::is_in_request() {
            critical::suspend(call);
        }
        delay::delay(call);
        hook.failure.filter(|_| is_to_fail(call)).unwrap_or(GO_ON)
    });
    // What ran here may have used the field.
    teb::set_arbitrary_user_pointer(driver.0 as usize);
    answer
}

/// No status and no pointer: the function is to be called.
const GO_ON: usize = usize::MAX;

/// Counts a call that can fail, and says whether it has to.
fn is_to_fail(call: Call) -> bool {
    let words = (control::word(Word::Calls), control::word(Word::FailCall), control::word(Word::Failed));
    let (Some(calls), Some(which), Some(failed)) = words else { return false };
    let name = drivers::name(call.driver);
    if !control::concerns(&name) {
        return false;
    }
    let number = calls.fetch_add(1, Ordering::AcqRel) + 1;
    if number != which.load(Ordering::Acquire) && !control::draw(Word::FailChance, number) {
        return false;
    }
    failed.fetch_add(1, Ordering::AcqRel);
    let place = drivers::Place(call.driver, call.site);
    log::event(&name, "fault", format_args!("function={} call={number} offset={place}", call.function));
    true
}

/// Jumped to by a thunk with the function in rax and the index of the hook in r10: calls [`before`], then the function,
/// with every register that carries an argument as it was. Whoever looks at the stack meanwhile finds the driver: the
/// frame is described as a compiler would describe it.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(crate) extern "system" fn pass() {
    naked_asm!(
        ".seh_proc {pass}",
        "sub rsp, 72",
        ".seh_stackalloc 72",
        ".seh_endprologue",
        "mov [rsp + 32], rax",
        "mov [rsp + 40], rcx",
        "mov [rsp + 48], rdx",
        "mov [rsp + 56], r8",
        "mov [rsp + 64], r9",
        "mov rcx, r10",
        "mov rdx, [rsp + 72]",
        "call {before}",
        "mov r10, [rsp + 32]",
        "mov rcx, [rsp + 40]",
        "mov rdx, [rsp + 48]",
        "mov r8, [rsp + 56]",
        "mov r9, [rsp + 64]",
        "add rsp, 72",
        // From here on there is no frame.
        ".seh_endproc",
        "cmp rax, -1",
        "jne 2f",
        "jmp r10",
        "2: ret",
        pass = sym pass,
        before = sym before,
    )
}

/// Jumped to by a thunk with the function in x16 and the index of the hook in x17: calls [`before`], then the function,
/// with every register that carries an argument as it was. Its frame is described, as on x64.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(crate) extern "system" fn pass() {
    naked_asm!(
        ".seh_proc {pass}",
        "stp x29, x30, [sp, #-96]!",
        ".seh_save_fplr_x 96",
        "mov x29, sp",
        ".seh_set_fp",
        ".seh_endprologue",
        "stp x0, x1, [sp, #16]",
        "stp x2, x3, [sp, #32]",
        "stp x4, x5, [sp, #48]",
        "stp x6, x7, [sp, #64]",
        "stp x8, x16, [sp, #80]",
        "mov x0, x17",
        "mov x1, x30",
        "bl {before}",
        "mov x17, x0",
        "ldp x0, x1, [sp, #16]",
        "ldp x2, x3, [sp, #32]",
        "ldp x4, x5, [sp, #48]",
        "ldp x6, x7, [sp, #64]",
        "ldp x8, x16, [sp, #80]",
        "ldp x29, x30, [sp], #96",
        // From here on there is no frame.
        ".seh_endproc",
        "cmn x17, #1",
        "b.ne 2f",
        "br x16",
        "2: mov x0, x17",
        "ret",
        pass = sym pass,
        before = sym before,
    )
}
