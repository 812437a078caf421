//! A NETIO.SYS for Wine: the registrar on kernel primitives, and import hooks.
//!
//! Drivers that are loaded after it get the nine Nmr* functions from here, and a kernel that is closer to Windows than
//! Wine's alone: functions that Wine lacks, debug output in a log, an account of every pool allocation, and bug checks
//! that name the driver. It stands in for Windows on a Linux machine and refuses to start anywhere but in Wine: on
//! Windows it would take the place of a file that the network depends on.
//!
//! Each module uses those below it alone:
//!
//! ```text
//! lib                                    start
//! image          device                  a driver comes or goes; somebody opens \\.\netio
//! hooks          report                  which functions are replaced; what is alive
//! entry, pool, debug, etw, error_log, file, state, objects, requests, isolation, waits, threads, system_routine, time,
//! token                                  the replacements
//!                nmr, crash              the nine functions; exceptions
//! irql, processors, critical, locks      what a thread is in: a level, regions, locks
//! shadow, pages, paging                  memory that is watched
//! hooked, pe, thunk, tracelogging        what is done to an image
//! gate, delay                            what every call passes, by its line in hooks
//! access, bugcheck, dump_data, control, drivers, log, lock, heap, teb, sys
//! ```
#![no_std]
#![allow(clippy::missing_safety_doc, reason = "functions that drivers call have the contract of the WDK's functions")]

extern crate alloc;

mod access;
mod bugcheck;
mod control;
mod crash;
mod critical;
mod debug;
mod delay;
mod device;
mod drivers;
mod dump_data;
mod entry;
mod error_log;
mod etw;
mod file;
mod gate;
mod heap;
mod hooked;
mod hooks;
mod image;
mod irql;
mod isolation;
mod lock;
mod locks;
mod log;
mod nmr;
mod objects;
mod pages;
mod paging;
mod pe;
mod pool;
mod processors;
mod report;
mod requests;
mod shadow;
mod state;
mod sys;
mod system_routine;
mod teb;
mod threads;
mod thunk;
mod time;
mod token;
mod tracelogging;
mod waits;
#[path = "../../harness/src/words.rs"]
mod words;

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

/// What the entry point of a DLL gets as its second argument when the DLL is loaded; all four reasons are at most 3.
const DLL_PROCESS_ATTACH: usize = 1;
const LAST_DLL_REASON: usize = 3;

/// Called in two roles: as the entry point of a DLL when a driver imports NETIO.SYS or Wine loads the file (`second` is
/// the reason), and as DriverEntry when the service starts (`second` is the address of the registry path).
///
/// # Safety
///
/// `object` is what the kernel or the loader passes in that role.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn DriverEntry(object: *mut sys::DriverObject, second: usize) -> sys::NtStatus {
    match second {
        DLL_PROCESS_ATTACH => i32::from(start()),
        ..=LAST_DLL_REASON => 1,
        // SAFETY: a driver object, since this is DriverEntry.
        _ if RUNNING.load(Ordering::Acquire) => unsafe { device::create(object) },
        _ => sys::STATUS_NOT_SUPPORTED,
    }
}

static RUNNING: AtomicBool = AtomicBool::new(false);

/// Sets everything up, before any other driver is loaded. False where this is not Wine.
fn start() -> bool {
    heap::initialise();
    if !sys::ntdll_exports(c"wine_get_version") {
        return false;
    }
    let logs = log::open() >= 0;
    control::open();
    nmr::start();
    crash::watch();
    let started = logs && image::watch() >= 0;
    if started {
        log::event("netio", "start", format_args!("version={}", env!("CARGO_PKG_VERSION")));
    }
    RUNNING.store(started, Ordering::Release);
    started
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    bugcheck::bug_check_named("netio", bugcheck::code::NMR_INVALID_STATE, format_args!("{info}"))
}

/// The linker wants this symbol in every image that uses floating point anywhere, which core does.
#[unsafe(no_mangle)]
pub static _fltused: i32 = 0;
