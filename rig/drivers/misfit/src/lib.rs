//! A driver that misbehaves on purpose. The name of the service that it is started as decides how:
//!
//! | service | what it does |
//! | --- | --- |
//! | `leaker` | allocates three blocks and frees none |
//! | `overrunner` | writes one byte behind a block, then frees it |
//! | `doublefreer` | frees a block twice |
//! | `failer` | fails to start, and leaks a block |
//! | `crasher` | reads address 0 when it is started |
//! | `hanger` | never returns from its unload routine |
//! | `refuser` | registers as a provider of Sluice's interface and refuses every client |
//! | `decliner` | registers as a client of Sluice's interface and declines every provider |
//! | `stranger` | registers as a client and offers Sluice a dispatch table of a version that does not exist |
//! | `sluggard` | attaches, and needs a third of a second for its part of a detach, in which it still calls |
//! | `rulebreaker` | registers as a client and waits for its end without having deregistered (R62) |
//! | `deserter` | registers as a client and is unloaded without deregistering (R65) |
//! | `resident` | registers as a client and has no unload routine (R72) |
//! | `r10-change`, ... | breaks the rule of that number, see `rule` |
//! | `pool-slack`, ... | breaks a rule of the kernel's functions, see `kernel` |
//! | `irql-close`, ... | makes a call at the wrong IRQL, see `level` |
//! | `lock-order`, ... | mistreats locks, see `locks` |
//! | `log-size`, ... | mistreats the error log, the crash dump or ETW, see `records` |
//! | `io-twice`, ... | treats a request in the wrong way, see `request` |
//!
//! It talks to NMR without wdk-nmr, with which most of this could not be written.
#![no_std]

mod kernel;
mod level;
mod locks;
mod nmr;
mod records;
mod request;
mod rule;
mod wdm;

use core::panic::PanicInfo;
use core::ptr::null_mut;

use wdm::{DriverObject, NtStatus, STATUS_SUCCESS, STATUS_UNSUCCESSFUL, UnicodeString};

const TAG: u32 = u32::from_le_bytes(*b"Leak");
const BLOCK_SIZE: usize = 32;

/// Called when the service starts.
///
/// # Safety
///
/// The arguments are those that the I/O manager passes.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn DriverEntry(driver: *mut DriverObject, path: *const UnicodeString) -> NtStatus {
    // SAFETY: the I/O manager passes the service's registry path.
    let service = unsafe { wdm::last_component(path) };
    let is = |name: &str| wdm::equal(service, name);
    if !is("resident") {
        // SAFETY: the I/O manager passes its driver object, which nobody else uses yet.
        unsafe { wdm::set_unload(driver, unload) };
    }
    if is("leaker") {
        (0..3).for_each(|_| drop_on_purpose(wdm::allocate(BLOCK_SIZE, TAG)));
        STATUS_SUCCESS
    } else if is("overrunner") {
        let block = wdm::allocate(BLOCK_SIZE, TAG);
        // SAFETY: broken on purpose: the byte is the first one that does not belong to the block.
        unsafe { *block.wrapping_add(BLOCK_SIZE) = 0 };
        wdm::free(block, TAG);
        STATUS_SUCCESS
    } else if is("doublefreer") {
        let block = wdm::allocate(BLOCK_SIZE, TAG);
        wdm::free(block, TAG);
        wdm::free(block, TAG);
        STATUS_SUCCESS
    } else if is("failer") {
        drop_on_purpose(wdm::allocate(BLOCK_SIZE, TAG));
        STATUS_UNSUCCESSFUL
    } else if is("crasher") {
        let nothing: *mut NtStatus = null_mut();
        // SAFETY: broken on purpose: nothing is mapped at address 0.
        unsafe { *nothing }
    } else if is("hanger") {
        // SAFETY: as for `unload`.
        unsafe { wdm::set_unload(driver, hang) };
        STATUS_SUCCESS
    } else {
        // SAFETY: the I/O manager passes its driver object, which nobody else uses yet.
        let with_device = unsafe { request::start(driver, is) };
        // This one is a client of Sluice as well.
        let with_device = with_device.filter(|status| *status < 0 || !is("io-suspended"));
        with_device
            .or_else(|| kernel::start(is))
            .or_else(|| level::start(is))
            .or_else(|| locks::start(driver, is))
            .or_else(|| records::start(driver, is))
            .or_else(|| rule::start(is))
            .unwrap_or_else(|| nmr::start(is))
    }
}

fn drop_on_purpose(_: *mut u8) {}

extern "system" fn unload(_: *mut DriverObject) {
    request::stop();
    nmr::stop();
}

extern "system" fn hang(_: *mut DriverObject) {
    wdm::sleep_for_ever();
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    wdm::sleep_for_ever()
}

/// The linker wants this symbol in every image that uses floating point anywhere, which core does.
#[unsafe(no_mangle)]
pub static _fltused: i32 = 0;
