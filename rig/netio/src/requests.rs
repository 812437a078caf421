//! Requests (IRPs), from the call of a driver's dispatch routine to their completion, and the unload that waits for
//! handles.
//!
//! When DriverEntry has succeeded, the dispatch routines in the driver object are replaced by [`dispatch`], and the
//! unload routine by [`unload`].

use alloc::collections::BTreeMap;
use core::ffi::c_void;

use crate::bugcheck::{bug_check, bug_check_at, code};
use crate::drivers::{self, DriverId};
use crate::lock::Lock;
use crate::sys::{Dispatch, DriverObject, Irp, NtStatus, STATUS_PENDING};
use crate::{critical, hooked, irql, locks, log, shadow, sys, teb, thunk};

const IRP_MJ_CREATE: u8 = 0;
const IRP_MJ_CLOSE: u8 = 2;
const IRP_MJ_READ: u8 = 3;
const IRP_MJ_DEVICE_CONTROL: u8 = 14;
const METHOD_BUFFERED: u32 = 0;
const METHODS: u32 = 3;
/// STATUS_NO_SUCH_DEVICE: what an open of a device whose driver is on its way out ends with.
const NO_SUCH_DEVICE: NtStatus = 0xC000_000E_u32 as NtStatus;
/// What a buffer holds where neither the caller nor the driver has written to it.
const STALE: [u8; 8] = [0xA7, 0x5C, 0xE1, 0x93, 0x4D, 0xB6, 0x0F, 0x78];

type Unload = unsafe extern "system" fn(*mut DriverObject);

/// The routines that a driver has set.
struct Routines {
    driver: DriverId,
    major: [Option<Dispatch>; sys::IRP_MJ_COUNT],
    unload: *const c_void,
    /// Files of its devices that are open.
    open: usize,
    unloading: bool,
    /// Whether requests are given to it as copies.
    watched: bool,
}

// SAFETY: the pointers are to code.
unsafe impl Send for Routines {}

/// By the address of the driver object.
static ROUTINES: Lock<BTreeMap<usize, Routines>> = Lock::new(BTreeMap::new());

/// A request that a driver has.
#[derive(Clone, Copy)]
struct Request {
    driver: DriverId,
    /// Its completion, once it has been completed: the status, and whether it was marked pending.
    completed: Option<(NtStatus, bool)>,
    /// Whether the dispatch routine has returned.
    returned: bool,
    /// The most that Information may be: the length of the output. None where that is not known.
    longest: Option<usize>,
    /// The buffer, if input and output share one, and how much of it the caller has filled.
    buffer: Option<(usize, usize)>,
}

/// By the address of the IRP.
static REQUESTS: Lock<BTreeMap<usize, Request>> = Lock::new(BTreeMap::new());

/// The threads that are in dispatch routines, and in how many.
static IN_REQUEST: Lock<BTreeMap<usize, u32>> = Lock::new(BTreeMap::new());

/// Whether the calling thread is in a dispatch routine: on Windows, it would be that of a program.
pub(crate) fn is_in_request() -> bool {
    let thread = teb::thread();
    IN_REQUEST.with(|threads| threads.contains_key(&thread))
}

/// Checks the call that a driver is making, which wants a thread of the system: that of a program has its own view of
/// names, and its own rights.
pub(crate) fn check_system_thread(driver: DriverId) {
    if is_in_request() {
        bug_check(driver, code::VERIFIER, format_args!("called on the thread of a request; it wants a system thread"));
    }
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn IofCompleteRequest(irp: *mut Irp, boost: i8);
}

/// Puts itself between the I/O manager and a driver whose DriverEntry has succeeded.
///
/// # Safety
///
/// `object` is its driver object, which nobody uses yet.
pub(crate) unsafe fn watch(driver: DriverId, object: *mut DriverObject) {
    // SAFETY: the caller guarantees it.
    let fields = unsafe { &mut *object };
    // What sends requests on gives them to drivers that are not known here.
    let watched = !hooked::imports(driver, "IofCallDriver");
    let routines =
        Routines { driver, major: fields.major_function, unload: fields.unload, open: 0, unloading: false, watched };
    ROUTINES.with(|all| all.insert(object as usize, routines));
    for routine in fields.major_function.iter_mut().flatten() {
        // What Wine has put there stays.
        if drivers::containing(*routine as *const () as usize) == Some(driver) {
            *routine = dispatch;
        }
    }
    if !fields.unload.is_null() {
        fields.unload = unload as *const c_void;
    }
}

/// Stands for every dispatch routine: calls the driver's and looks at what it has done.
unsafe extern "system" fn dispatch(device: *mut c_void, irp: *mut Irp) -> NtStatus {
    // SAFETY: the I/O manager passes a device.
    let object = unsafe { sys::driver_of(device) };
    // SAFETY: the I/O manager passes a request, which has not been completed.
    let location = unsafe { sys::stack_location(irp) };
    // SAFETY: the location stays until the request is completed, and it has not been.
    let major = unsafe { (*location).major };
    let found = ROUTINES.with(|all| {
        let routines = all.get_mut(&(object as usize))?;
        let refused = routines.unloading && major == IRP_MJ_CREATE;
        routines.open += usize::from(major == IRP_MJ_CREATE && !refused);
        Some((routines.driver, routines.major[usize::from(major)]?, routines.watched, refused))
    });
    let Some((driver, routine, watched, false)) = found else {
        // SAFETY: the request has not been given to its driver.
        unsafe { (*irp).result = sys::IO_STATUS_BLOCK { Status: NO_SUCH_DEVICE, Information: 0 } };
        // SAFETY: it is not touched afterwards.
        unsafe { IofCompleteRequest(irp, 0) };
        return NO_SUCH_DEVICE;
    };
    // SAFETY: the request has not been completed, and its driver gets it below.
    let irp = if watched { unsafe { shadow::of(driver, irp) } } else { irp };
    // SAFETY: neither the request nor its copy has been completed.
    let location = unsafe { sys::stack_location(irp) };
    // SAFETY: the request has not been completed.
    let request = unsafe { begin(driver, irp, location) };
    REQUESTS.with(|all| all.insert(irp as usize, request));
    let level = irql::current();
    let (thread, depth, held) = (teb::thread(), critical::depth(), locks::count());
    IN_REQUEST.with(|threads| *threads.entry(thread).or_default() += 1);
    // SAFETY: the I/O manager's own arguments, for the routine that the driver has set.
    let status = unsafe { routine(device, irp) };
    IN_REQUEST.with(|threads| match threads.remove(&thread) {
        Some(nested @ 2..) => threads.insert(thread, nested - 1),
        found => found,
    });
    let broken = |why: core::fmt::Arguments<'_>| -> ! {
        bug_check_at(Some(driver), code::VERIFIER, why, routine as *const () as usize)
    };
    let now = irql::current();
    if now != level {
        broken(format_args!("the dispatch routine for {major:#x} was called at IRQL {level} and returned at {now}"));
    }
    let kept = locks::count();
    if kept != held {
        broken(format_args!("the dispatch routine for {major:#x} returned with {kept} locks held, not {held}"));
    }
    let regions = critical::depth();
    if regions != depth {
        broken(format_args!("the dispatch routine for {major:#x} returned in {regions} critical regions, not {depth}"));
    }
    let request = REQUESTS.with(|all| {
        let request = all.get_mut(&(irp as usize))?;
        request.returned = true;
        let request = *request;
        if request.completed.is_some() {
            all.remove(&(irp as usize));
        }
        Some(request)
    });
    match request.and_then(|request| request.completed) {
        Some((_, false)) if status == STATUS_PENDING => {
            broken(format_args!("STATUS_PENDING returned for {major:#x}, without IoMarkIrpPending"));
        }
        Some((_, true)) if status != STATUS_PENDING => {
            broken(format_args!("{status:#010x} returned for {major:#x}, after IoMarkIrpPending"));
        }
        Some((completed, false)) if completed != status => {
            broken(format_args!("{status:#010x} returned for {major:#x}, which was completed with {completed:#010x}"));
        }
        None if status != STATUS_PENDING => {
            broken(format_args!(
                "{status:#010x} returned for {major:#x}, which was neither completed nor left pending"
            ));
        }
        // SAFETY: not completed, so it is still there.
        None if unsafe { (*location).control } & sys::SL_PENDING_RETURNED == 0 => {
            broken(format_args!("STATUS_PENDING returned for {major:#x}, without IoMarkIrpPending"));
        }
        _ => {}
    }
    let closed = major == IRP_MJ_CLOSE || major == IRP_MJ_CREATE && status < 0;
    if closed {
        ROUTINES.with(|all| {
            if let Some(routines) = all.get_mut(&(object as usize)) {
                routines.open = routines.open.saturating_sub(1);
            }
        });
    }
    status
}

/// Looks at a request before its driver does, and fills what the caller has not filled.
///
/// # Safety
///
/// The request has not been completed, and `location` is its current one.
unsafe fn begin(driver: DriverId, irp: *mut Irp, location: *const sys::StackLocation) -> Request {
    let request = Request { driver, completed: None, returned: false, longest: None, buffer: None };
    // SAFETY: the caller guarantees it.
    let location = unsafe { &*location };
    // The length of a read is where the length of the output of a device control is.
    let output = location.output_length as usize;
    let (input, is_buffered) = match location.major {
        IRP_MJ_READ => (0, true),
        IRP_MJ_DEVICE_CONTROL => (location.input_length as usize, location.code & METHODS == METHOD_BUFFERED),
        _ => return request,
    };
    let request = Request { longest: Some(output), ..request };
    // SAFETY: the caller guarantees it.
    let buffer = unsafe { (*irp).system_buffer };
    if !is_buffered || buffer.is_null() || output <= input {
        return request;
    }
    // SAFETY: the buffer is as long as the longer of input and output.
    let unfilled = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>().wrapping_add(input), output - input) };
    for (byte, stale) in unfilled.iter_mut().zip(STALE.iter().cycle()) {
        *byte = *stale;
    }
    Request { buffer: Some((buffer as usize, input)), ..request }
}

/// IofCompleteRequest.
pub(crate) unsafe extern "system" fn complete(irp: *mut Irp, boost: i8) {
    let caller = thunk::caller();
    let found = REQUESTS.with(|all| all.get(&(irp as usize)).copied());
    let Some(request) = found.filter(|request| request.completed.is_none()) else {
        bug_check(caller, code::COMPLETED_TWICE, format_args!("a request completed that the driver does not have"));
    };
    if locks::holds_spin() {
        let why = format_args!("a request completed while a spin lock is held, which its completion routines may want");
        bug_check(caller, code::VERIFIER, why);
    }
    // SAFETY: the request has not been completed.
    let result = unsafe { &(*irp).result };
    let (status, information) = (result.Status, result.Information);
    if status == STATUS_PENDING {
        bug_check(caller, code::VERIFIER, format_args!("a request completed with STATUS_PENDING"));
    }
    if let Some(longest) = request.longest.filter(|longest| *longest < information) {
        let why = format_args!("Information is {information}, for an output of {longest} bytes");
        bug_check(caller, code::VERIFIER, why);
    }
    if let Some((buffer, filled)) = request.buffer
        && status >= 0
        && information > filled
    {
        // SAFETY: not more than the output, as was seen above, and the request has not been completed.
        let output = unsafe { core::slice::from_raw_parts(buffer as *const u8, information) };
        if let Some(stale) = output[filled..].chunks_exact(STALE.len()).position(|bytes| bytes == STALE) {
            let offset = filled + stale * STALE.len();
            let why = format_args!("{information} bytes of output, of which those at {offset} were not written");
            bug_check(caller, code::VERIFIER, why);
        }
    }
    // SAFETY: the request has not been completed.
    let location = unsafe { sys::stack_location(irp) };
    // SAFETY: as above.
    let marked = unsafe { (*location).control } & sys::SL_PENDING_RETURNED != 0;
    REQUESTS.with(|all| match request.returned {
        true => all.remove(&(irp as usize)).map(drop),
        false => all.get_mut(&(irp as usize)).map(|request| request.completed = Some((status, marked))),
    });
    // SAFETY: it has not been completed.
    let irp = unsafe { shadow::end(irp) };
    // SAFETY: the request that the I/O manager knows; the rest is the driver's own argument.
    unsafe { IofCompleteRequest(irp, boost) };
}

/// Stands for an unload routine. As on Windows, the driver's own one runs when the last handle to one of its devices
/// has been closed; until then nobody opens another.
unsafe extern "system" fn unload(object: *mut DriverObject) {
    let opened = |all: &mut BTreeMap<usize, Routines>| {
        let routines = all.get_mut(&(object as usize))?;
        routines.unloading = true;
        Some((routines.driver, routines.open, routines.unload))
    };
    let Some((driver, mut open, routine)) = ROUTINES.with(opened) else { return };
    if open > 0 {
        log::event(&drivers::name(driver), "unload_waits", format_args!("handles={open}"));
    }
    while open > 0 {
        irql::pause();
        open = ROUTINES.with(opened).map_or(0, |(_, open, _)| open);
    }
    // SAFETY: the address of the driver's unload routine, whose signature this is.
    let routine = unsafe { core::mem::transmute::<*const c_void, Unload>(routine) };
    // SAFETY: the I/O manager's own argument.
    unsafe { routine(object) };
    ROUTINES.with(|all| all.remove(&(object as usize)));
    let kept = REQUESTS.with(|all| all.values().filter(|request| request.driver == driver).count());
    if kept > 0 {
        let why = format_args!("unloaded with {kept} requests that were not completed");
        bug_check_at(Some(driver), code::PENDING_AT_UNLOAD, why, routine as *const () as usize);
    }
}
