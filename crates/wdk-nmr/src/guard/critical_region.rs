//! Calls during which their thread cannot be suspended.
//!
//! A thread that runs in user mode most of the time can be suspended there by whoever may: a debugger, a profiler, the
//! parent of the process. Windows does that with a normal kernel APC, and such an APC also arrives inside a driver that
//! the thread has called at PASSIVE_LEVEL. A thread that stops there while it counts as a call in progress holds up the
//! detach, and with it the unload of two drivers, until somebody lets it go on. A critical region keeps normal kernel
//! APCs away: the thread is suspended when it has left.

use core::fmt;
use core::marker::PhantomData;

use super::sealed::Sealed;
use super::{Count, DispatchGuard, Entry, Guard};

/// How a driver enters and leaves a critical region.
///
/// ```no_run
/// # use wdk_nmr::CriticalRegion;
/// # unsafe extern "system" {
/// #     fn KeGetCurrentIrql() -> u8;
/// #     fn KeEnterCriticalRegion();
/// #     fn KeLeaveCriticalRegion();
/// # }
/// struct Kernel;
///
/// impl CriticalRegion for Kernel {
///     fn enter() -> bool {
///         /// At DISPATCH_LEVEL and above no APC arrives, and the region must not be entered.
///         const APC_LEVEL: u8 = 1;
///         // SAFETY: at any IRQL.
///         if unsafe { KeGetCurrentIrql() } > APC_LEVEL {
///             return false;
///         }
///         // SAFETY: at up to APC_LEVEL. `leave` undoes it on this thread.
///         unsafe { KeEnterCriticalRegion() };
///         true
///     }
///
///     fn leave() {
///         // SAFETY: after `enter` on this thread, at the same IRQL.
///         unsafe { KeLeaveCriticalRegion() };
///     }
/// }
/// ```
///
/// Regions nest, and a thread must leave all of them before it returns to user mode: [`Region`] sees to that.
pub trait CriticalRegion: 'static {
    /// Enters a critical region if the current IRQL needs and allows one, which is below DISPATCH_LEVEL. Returns
    /// whether it did. Called at up to DISPATCH_LEVEL.
    fn enter() -> bool;
    /// Leaves it, on the same thread and at the same IRQL. Called once for each `enter` that returned true.
    fn leave();
}

/// A critical region, from [`Region::enter`] until it is dropped. It stays on its thread.
///
/// The library enters one for each call that an [`InCriticalRegion`] guard counts. A driver has the same need wherever
/// a thread of a user must not stop half-way: while it holds a lock, or reads something that another thread waits to
/// replace.
///
/// A region that was entered below DISPATCH_LEVEL is dropped below DISPATCH_LEVEL.
#[must_use = "the region is left when the value is dropped"]
pub struct Region<K: CriticalRegion> {
    entered: bool,
    /// Not to be sent to another thread.
    thread: PhantomData<*mut ()>,
    platform: PhantomData<fn() -> K>,
}

impl<K: CriticalRegion> Region<K> {
    /// Keeps the calling thread from being suspended. At DISPATCH_LEVEL there is nothing to do, and nothing is done.
    #[inline]
    pub fn enter() -> Self {
        Self { entered: K::enter(), thread: PhantomData, platform: PhantomData }
    }
}

impl<K: CriticalRegion> Drop for Region<K> {
    #[inline]
    fn drop(&mut self) {
        if self.entered {
            K::leave();
        }
    }
}

impl<K: CriticalRegion> fmt::Debug for Region<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("entered", &self.entered).finish_non_exhaustive()
    }
}

/// A guard whose calls are made in a critical region: `type Guard = InCriticalRegion<Kernel, Single>;`.
///
/// Every driver that calls a peer below DISPATCH_LEVEL on threads that are not its own needs this. Without it,
/// suspending such a thread at the wrong moment keeps both drivers from unloading.
///
/// * The region lasts as long as the [`Peer`](crate::Peer). A peer of such a guard therefore stays on its thread, and
///   is dropped at the IRQL at which it was made.
/// * [`Peer::hold`](crate::Peer::hold) leaves the region: a call that the peer has taken is no thread's any more.
///   Whoever drops what is held is in a region meanwhile, so that a thread which has counted down to zero also
///   completes.
/// * At DISPATCH_LEVEL it costs what [`CriticalRegion::enter`] takes to find out; with
///   [`Peers::at_dispatch`](crate::Peers::at_dispatch) it costs nothing.
#[repr(transparent)]
pub struct InCriticalRegion<K, G>(G, PhantomData<fn() -> K>);

impl<K, G: fmt::Debug> fmt::Debug for InCriticalRegion<K, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InCriticalRegion").field(&self.0).finish()
    }
}

impl<K, G> Sealed for InCriticalRegion<K, G> {}

impl<K: CriticalRegion, G: Guard> Count for InCriticalRegion<K, G> {
    type Ticket = G::Ticket;
    type Protection = Region<K>;

    #[inline]
    fn protect() -> Region<K> {
        Region::enter()
    }

    #[inline]
    fn enter(&self) -> Entry<G::Ticket> {
        self.0.enter()
    }

    #[inline]
    fn leave(&self, ticket: G::Ticket) -> bool {
        self.0.leave(ticket)
    }
}

impl<K: CriticalRegion, G: Guard> Guard for InCriticalRegion<K, G> {
    type Closing = G::Closing;

    unsafe fn initialize(place: *mut Self) {
        // SAFETY: `repr(transparent)`, so a place for this is one for the guard within.
        unsafe { G::initialize(place.cast()) };
    }

    fn open(&self) {
        self.0.open();
    }

    fn leave_at_last(&self, ticket: G::Ticket) -> bool {
        self.0.leave_at_last(ticket)
    }

    fn start_closing(&self) -> Option<G::Closing> {
        self.0.start_closing()
    }

    fn finish_closing(&self, closing: G::Closing) -> bool {
        self.0.finish_closing(closing)
    }

    fn calls(&self) -> usize {
        self.0.calls()
    }
}

impl<K: CriticalRegion, G: DispatchGuard> DispatchGuard for InCriticalRegion<K, G> {
    #[inline]
    unsafe fn enter_at_dispatch(&self) -> Entry<usize> {
        // SAFETY: as the caller promises.
        unsafe { self.0.enter_at_dispatch() }
    }

    #[inline]
    unsafe fn leave_at_dispatch(&self, ticket: usize) -> bool {
        // SAFETY: as the caller promises.
        unsafe { self.0.leave_at_dispatch(ticket) }
    }
}
