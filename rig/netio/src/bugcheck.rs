//! The end of everything, as on Windows: a bug check names the driver that broke a rule and stops the process.

use core::fmt;

use crate::drivers::{self, DriverId};
use crate::gate::{self, Call};
use crate::{dump_data, log, sys};

/// The codes that are raised here, as Windows numbers them.
pub(crate) mod code {
    /// IRQL_NOT_LESS_OR_EQUAL
    pub(crate) const IRQL: u32 = 0x0A;
    /// BAD_POOL_HEADER
    pub(crate) const BAD_POOL_HEADER: u32 = 0x19;
    /// BAD_POOL_CALLER
    pub(crate) const BAD_POOL_CALLER: u32 = 0xC2;
    /// MULTIPLE_IRP_COMPLETE_REQUESTS
    pub(crate) const COMPLETED_TWICE: u32 = 0x44;
    /// INVALID_KERNEL_HANDLE
    pub(crate) const INVALID_HANDLE: u32 = 0x93;
    /// DRIVER_VERIFIER_DETECTED_VIOLATION
    pub(crate) const VERIFIER: u32 = 0xC4;
    /// KMODE_EXCEPTION_NOT_HANDLED
    pub(crate) const NOT_HANDLED: u32 = 0x1E;
    /// DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS
    pub(crate) const PENDING_AT_UNLOAD: u32 = 0xCE;
    /// DRIVER_PORTION_MUST_BE_NONPAGED
    pub(crate) const MUST_BE_NONPAGED: u32 = 0xD3;
    /// DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL
    pub(crate) const FREED_POOL: u32 = 0xD5;
    /// DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION
    pub(crate) const BEYOND_ALLOCATION: u32 = 0xD6;
    /// NMR_INVALID_STATE
    pub(crate) const NMR_INVALID_STATE: u32 = 0x125;
}

/// Logs why, and which call of the driver showed it, and stops the process with all its drivers.
pub(crate) fn bug_check(driver: DriverId, code: u32, why: fmt::Arguments<'_>) -> ! {
    let call = gate::last_call(driver);
    end(&drivers::name(driver), code, why, call)
}

/// The same for a call that another thread has made.
pub(crate) fn bug_check_call(call: Call, code: u32, why: fmt::Arguments<'_>) -> ! {
    end(&drivers::name(call.driver), code, why, Some(call))
}

/// The same for a driver that has a name only.
pub(crate) fn bug_check_named(driver: &str, code: u32, why: fmt::Arguments<'_>) -> ! {
    end(driver, code, why, None)
}

/// The same for an instruction of a driver, or of something that it called, that cannot go on.
pub(crate) fn bug_check_at(driver: Option<DriverId>, code: u32, why: fmt::Arguments<'_>, address: usize) -> ! {
    let Some(id) = driver else { bug_check_named("unknown", code, why) };
    let why = alloc::format!("{why}");
    let why = log::Text(why.as_bytes());
    let place = drivers::Place(id, address);
    log::event(&drivers::name(id), "bugcheck", format_args!("code={code:#x} why={why} offset={place}"));
    stop(code)
}

fn end(driver: &str, code: u32, why: fmt::Arguments<'_>, call: Option<Call>) -> ! {
    let why = alloc::format!("{why}");
    let why = log::Text(why.as_bytes());
    match call {
        Some(Call { driver: id, function, site }) => {
            let place = drivers::Place(id, site);
            log::event(driver, "bugcheck", format_args!("code={code:#x} why={why} function={function} offset={place}"));
        }
        None => log::event(driver, "bugcheck", format_args!("code={code:#x} why={why}")),
    }
    stop(code)
}

fn stop(code: u32) -> ! {
    dump_data::collect();
    loop {
        // SAFETY: ends this process; nothing of it is used afterwards.
        unsafe { sys::NtTerminateProcess(sys::THIS_PROCESS, code as sys::NtStatus) };
    }
}
