//! The request that a driver gets is a copy on pages of its own, which are unmapped when it has been completed: whoever
//! touches it then ends there.
//!
//! A request can be cancelled as long as it has not been completed. Cancellation comes to the request of the I/O
//! manager, and is passed on to the copy.

use alloc::collections::{BTreeMap, VecDeque};
use core::ffi::c_void;
use core::mem::transmute;
use core::ptr::{null, null_mut};
use core::sync::atomic::Ordering;

use crate::bugcheck::{bug_check_at, code};
use crate::drivers::DriverId;
use crate::lock::Lock;
use crate::pages::Pages;
use crate::sys::{self, Irp};
use crate::{irql, locks};

/// How many completed requests keep their addresses.
const HELD_BACK: usize = 256;

type Cancel = unsafe extern "system" fn(device: *mut c_void, irp: *mut Irp);

#[derive(Clone, Copy)]
struct Shadow {
    driver: DriverId,
    original: usize,
    pages: Pages,
}

struct Shadows {
    /// By the address of the copy.
    live: BTreeMap<usize, Shadow>,
    ended: VecDeque<Pages>,
}

static SHADOWS: Lock<Shadows> = Lock::new(Shadows { live: BTreeMap::new(), ended: VecDeque::new() });

/// Makes the copy. Without memory for one, that is the request itself.
///
/// # Safety
///
/// The request has not been completed, and no driver has it yet.
pub(crate) unsafe fn of(driver: DriverId, original: *mut Irp) -> *mut Irp {
    // SAFETY: the caller guarantees it.
    let size = usize::from(unsafe { (*original).size });
    // SAFETY: as above.
    let location = unsafe { sys::stack_location(original) };
    let Some(pages) = Pages::new(size) else { return original };
    let copy = pages.place(size) as *mut u8;
    // SAFETY: new pages, with room for as many bytes as the request has.
    unsafe { copy.copy_from_nonoverlapping(original.cast(), size) };
    let copy: *mut Irp = copy.cast();
    let distance = (copy as usize).wrapping_sub(original as usize);
    // SAFETY: the copy is nobody else's yet. The stack locations lie behind the request, and were copied with it.
    unsafe { sys::set_stack_location(copy, location.wrapping_byte_add(distance)) };
    SHADOWS.with(|all| all.live.insert(copy as usize, Shadow { driver, original: original as usize, pages }));
    // SAFETY: the caller guarantees it; nobody cancels it before it has been given to its driver.
    unsafe { (*original).cancel_routine = cancel as *const c_void };
    copy
}

/// A request is about to be completed: the result goes to the I/O manager's, which is returned, and the copy is gone.
///
/// # Safety
///
/// The request has not been completed.
pub(crate) unsafe fn end(copy: *mut Irp) -> *mut Irp {
    let Some(shadow) = SHADOWS.with(|all| all.live.remove(&(copy as usize))) else { return copy };
    let original = shadow.original as *mut Irp;
    // SAFETY: the caller guarantees it.
    let result = unsafe { (*copy).result };
    // SAFETY: it has not been completed, and no driver knows it.
    unsafe { (*original).result = result };
    // SAFETY: as for the result.
    let from = unsafe { sys::stack_location(copy) };
    // SAFETY: as for the result.
    let to = unsafe { sys::stack_location(original) };
    // SAFETY: both locations are of requests that have not been completed.
    let control = unsafe { (*from).control };
    // SAFETY: as above.
    unsafe { (*to).control = control };
    // SAFETY: as above.
    unsafe { (*original).cancel_routine = null() };
    shadow.pages.unmap();
    let oldest = SHADOWS.with(|all| {
        all.ended.push_back(shadow.pages);
        if all.ended.len() > HELD_BACK { all.ended.pop_front() } else { None }
    });
    if let Some(oldest) = oldest {
        oldest.release();
    }
    original
}

/// Whether an address is of a request that has been completed.
pub(crate) fn was(address: usize) -> bool {
    SHADOWS.with(|all| all.ended.iter().any(|pages| pages.contain(address)))
}

/// The cancel routine of the I/O manager's request, which is called with the cancel spin lock held: that of the copy
/// runs, if its driver has set one, and has to release the lock.
unsafe extern "system" fn cancel(device: *mut c_void, original: *mut Irp) {
    let found = SHADOWS.with(|all| {
        let mut live = all.live.iter();
        live.find(|(_, shadow)| shadow.original == original as usize).map(|(copy, shadow)| (*copy as *mut Irp, *shadow))
    });
    // SAFETY: the I/O manager holds the lock, and has left the IRQL before that in its request.
    let irql = unsafe { (*original).cancel_irql };
    let routine = found.and_then(|(copy, _)| {
        // SAFETY: it has not been completed.
        unsafe { (*copy).cancel = 1 };
        // SAFETY: as above.
        unsafe { (*copy).cancel_irql = irql };
        // SAFETY: as above. A driver that completes it takes its routine back before, with an exchange as well.
        let routine = unsafe { sys::cancel_routine(copy) }.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: the address of a routine of that signature.
        (!routine.is_null()).then(|| unsafe { transmute::<*mut c_void, Cancel>(routine) })
    });
    let (Some((copy, shadow)), Some(routine)) = (found, routine) else {
        locks::end_of_cancel(irql);
        return;
    };
    let level = irql::set(irql::DISPATCH_LEVEL);
    locks::begin_of_cancel(shadow.driver, level);
    // SAFETY: as the I/O manager would call it.
    unsafe { routine(device, copy) };
    if locks::holds_cancel() {
        let why = format_args!("the cancel routine has returned and holds the cancel spin lock");
        bug_check_at(Some(shadow.driver), code::VERIFIER, why, routine as *const () as usize);
    }
}
