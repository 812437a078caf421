//! The end of everything, as on Windows: a bug check names the driver that broke a rule and stops the process.

use core::fmt;

use crate::drivers::{self, DriverId};
use crate::{log, sys};

/// The codes that are raised here, as Windows numbers them.
pub(crate) mod code {
    /// IRQL_NOT_LESS_OR_EQUAL
    pub(crate) const IRQL: u32 = 0x0A;
    /// BAD_POOL_HEADER
    pub(crate) const BAD_POOL_HEADER: u32 = 0x19;
    /// BAD_POOL_CALLER
    pub(crate) const BAD_POOL_CALLER: u32 = 0xC2;
    /// DRIVER_CORRUPTED_EXPOOL
    pub(crate) const CORRUPTED_POOL: u32 = 0xC5;
    /// KMODE_EXCEPTION_NOT_HANDLED
    pub(crate) const NOT_HANDLED: u32 = 0x1E;
    /// NMR_INVALID_STATE
    pub(crate) const NMR_INVALID_STATE: u32 = 0x125;
}

/// Logs why and stops the process with all its drivers.
pub(crate) fn bug_check(driver: DriverId, code: u32, why: fmt::Arguments<'_>) -> ! {
    bug_check_named(&drivers::name(driver), code, why)
}

/// The same for a driver that has a name only.
pub(crate) fn bug_check_named(driver: &str, code: u32, why: fmt::Arguments<'_>) -> ! {
    let why = alloc::format!("{why}");
    log::event(driver, "bugcheck", format_args!("code={code:#x} why={}", log::Text(why.as_bytes())));
    loop {
        // SAFETY: ends this process; nothing of it is used afterwards.
        unsafe { sys::NtTerminateProcess(sys::THIS_PROCESS, code as sys::NtStatus) };
    }
}
