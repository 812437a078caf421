//! One binding: its life from the attach callback to the cleanup callback, in memory that outlives it.
//!
//! A slot is free, or belongs to one binding. Its memory stays until the registration is over, so an attempt to call a
//! peer that is gone always finds a guard that refuses it. Who does what, in the order of a binding's life:
//!
//! | who | what |
//! | --- | --- |
//! | attach callback | [`claim`](Slot::claim), [`fill`](Slot::fill), then [`publish`](Slot::publish) or [`abandon`](Slot::abandon) |
//! | callers | [`enter`](Slot::enter), [`leave`](Slot::leave) |
//! | detach callback | [`detach`](Slot::detach) |
//! | cleanup callback | [`cleanup`](Slot::cleanup) |

use core::ffi::c_void;
use core::mem::MaybeUninit;

use wdk_nmr_sys::HANDLE;

use crate::guard::{AtDispatch, Count, DispatchGuard, Entry, Guard};
use crate::header::{RegistrationHeader, SlotHeader, slot_state};
use crate::irql::Dispatch;
use crate::sync::{Ordering, UnsafeCell};

/// One binding of type `B`, or room for one.
///
/// # Invariants
///
/// **OWNED**: between `claim` and the opening of the guard in `publish`, the thread that claimed the slot alone uses
/// it; the peer may use the binding from the moment it is handed the context, which comes after `fill`. A claimed slot
/// has no binding: the last one was dropped before the slot was freed.
///
/// **ENTERED**: while a ticket of the guard is out, the header's cells are not written and the binding is not dropped.
/// The guard opens after both have been written, and NMR calls cleanup after the last ticket is back.
#[repr(C)]
pub(crate) struct Slot<B, G> {
    pub(crate) header: SlotHeader,
    pub(crate) guard: G,
    /// There is a value from `fill` to `abandon` or `cleanup`.
    binding: UnsafeCell<MaybeUninit<B>>,
}

// SAFETY: the raw pointers in it are NMR's and the peer's, which may be used on any thread; the rest is Send itself.
unsafe impl<B: Send, G: Send> Send for Slot<B, G> {}
// SAFETY: OWNED and ENTERED say who uses the cells when. A binding is shared between threads and dropped on any.
unsafe impl<B: Send + Sync, G: Sync> Sync for Slot<B, G> {}

impl<B, G: Count> Slot<B, G> {
    pub(crate) fn registration(&self) -> &RegistrationHeader {
        // SAFETY: it outlives the slot (`initialize`).
        unsafe { &*self.header.registration }
    }

    fn state(&self) -> u32 {
        self.header.state.load(Ordering::Relaxed)
    }

    /// Whether there is a binding whose peer is worth a try.
    #[inline]
    pub(crate) fn may_be_attached(&self) -> bool {
        self.state() == slot_state::ATTACHED
    }

    /// The binding.
    ///
    /// # Safety
    ///
    /// The slot stays filled as long as the reference is used.
    #[inline]
    pub(crate) unsafe fn binding<'a>(&self) -> &'a B {
        self.binding.with(|place| {
            // SAFETY: the caller promises a binding; after `fill` nobody writes it until it is dropped.
            unsafe { &*place.cast::<B>() }
        })
    }

    /// How to call the peer: its context and its dispatch table.
    ///
    /// # Safety
    ///
    /// The caller has entered.
    #[inline]
    pub(crate) unsafe fn peer(&self) -> (*mut c_void, *const c_void) {
        // SAFETY: ENTERED.
        let context = self.header.peer_context.with(|place| unsafe { *place });
        // SAFETY: ENTERED.
        let dispatch = self.header.peer_dispatch.with(|place| unsafe { *place });
        (context, dispatch)
    }

    /// Starts a call of the peer, unless the binding is on its way out or not attached yet.
    #[inline]
    pub(crate) fn enter(&self) -> Option<G::Ticket> {
        match self.guard.enter() {
            Entry::Granted(ticket) => Some(ticket),
            Entry::Refused => None,
            Entry::RefusedAsLast => {
                self.complete();
                None
            }
        }
    }

    /// Ends a call of the peer. The caller knows that the slot stays where it is, whoever else leaves.
    #[inline]
    pub(crate) fn leave(&self, ticket: G::Ticket) {
        if self.guard.leave(ticket) {
            self.complete();
        }
    }

    /// The last call into the peer is out: tells NMR, once (R45). It may free the binding at once, on this thread
    /// (R53), so this is the last thing to happen.
    #[cold]
    #[inline(never)]
    fn complete(&self) {
        let complete = self.registration().complete;
        // SAFETY: ENTERED: the last ticket is back, but NMR waits for the completion and has not called cleanup.
        let handle = self.header.handle.with(|place| unsafe { *place });
        self.header.state.store(slot_state::DETACHED, Ordering::Relaxed);
        // SAFETY: this side's function with this binding's handle, once: the guard lets one thread through.
        unsafe { complete(handle) };
    }
}

impl<B, G: DispatchGuard> Slot<B, G> {
    /// The slot as a thread at DISPATCH_LEVEL uses it.
    #[inline]
    pub(crate) fn at_dispatch<'a>(&'a self, _: Dispatch<'a>) -> &'a Slot<B, AtDispatch<G>> {
        // SAFETY: the guard in there is the same (`repr(transparent)`, and `repr(C)` around it). The token says that
        // the thread is at DISPATCH_LEVEL for `'a`; what is made of the slot is a peer, which stays on its thread.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

impl<B, G: Guard> Slot<B, G> {
    /// Makes a free slot.
    ///
    /// # Safety
    ///
    /// `place` is valid for writes and aligned. `registration` outlives the slot.
    pub(crate) unsafe fn initialize(place: *mut Self, registration: *const RegistrationHeader) {
        // FIELD: the caller promises a valid place, and so each of its fields is one.
        // SAFETY: FIELD.
        let header = unsafe { &raw mut (*place).header };
        // SAFETY: FIELD.
        unsafe { header.write(SlotHeader::new(registration)) };
        // SAFETY: FIELD.
        let guard = unsafe { &raw mut (*place).guard };
        // SAFETY: FIELD.
        unsafe { G::initialize(guard) };
        // SAFETY: FIELD.
        let binding = unsafe { &raw mut (*place).binding };
        // SAFETY: FIELD.
        unsafe { binding.write(UnsafeCell::new(MaybeUninit::uninit())) };
    }

    /// Whether there is a binding, as far as the calling thread can know. If not, the last one has been dropped before.
    pub(crate) fn is_filled(&self) -> bool {
        !matches!(self.header.state.load(Ordering::Acquire), slot_state::FREE | slot_state::ATTACHING)
    }

    /// Takes a free slot for a new binding.
    pub(crate) fn claim(&self) -> bool {
        let state = &self.header.state;
        // Acquire: the slot's last binding has been dropped before.
        state.compare_exchange(slot_state::FREE, slot_state::ATTACHING, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Gives a claimed slot back that was not filled.
    pub(crate) fn unclaim(&self) {
        self.header.state.store(slot_state::FREE, Ordering::Release);
    }

    /// Puts the binding into a claimed slot. From now on the peer may call in (R28).
    ///
    /// # Safety
    ///
    /// The caller has claimed the slot.
    pub(crate) unsafe fn fill(&self, handle: HANDLE, binding: B) {
        self.header.handle.with_mut(|place| {
            // SAFETY: OWNED.
            unsafe { place.write(handle) }
        });
        self.binding.with_mut(|place| {
            // SAFETY: OWNED.
            unsafe { place.write(MaybeUninit::new(binding)) }
        });
    }

    /// The peer has agreed: stores how to call it and lets calls start. Without a usable table none ever will, and the
    /// binding does not take the place of a peer that can be called.
    ///
    /// # Safety
    ///
    /// The caller has filled the slot. `dispatch` has been checked.
    pub(crate) unsafe fn publish(&self, context: *mut c_void, dispatch: Option<*const c_void>) {
        let Some(dispatch) = dispatch else {
            self.header.state.store(slot_state::UNUSABLE, Ordering::Relaxed);
            self.registration().free_place();
            return;
        };
        self.header.peer_context.with_mut(|place| {
            // SAFETY: OWNED: the guard is closed, so nobody reads it.
            unsafe { place.write(context) }
        });
        self.header.peer_dispatch.with_mut(|place| {
            // SAFETY: OWNED: the guard is closed, so nobody reads it.
            unsafe { place.write(dispatch) }
        });
        self.header.state.store(slot_state::ATTACHED, Ordering::Relaxed);
        self.guard.open();
    }

    /// The peer has not agreed: drops the binding and frees the slot (R23).
    ///
    /// # Safety
    ///
    /// The caller has filled the slot, and no peer knows of it.
    pub(crate) unsafe fn abandon(&self) {
        // SAFETY: the caller filled it and nobody else uses it.
        unsafe { self.drop_binding() };
        self.unclaim();
    }

    /// # Safety
    ///
    /// There is a binding, and nobody uses it any more.
    unsafe fn drop_binding(&self) {
        self.binding.with_mut(|place| {
            // SAFETY: the caller promises that there is a binding and that nobody else uses it.
            unsafe { place.cast::<B>().drop_in_place() }
        });
    }

    /// As [`Slot::leave`], but nothing of the slot is touched once others may have freed it.
    pub(crate) fn leave_at_last(&self, ticket: G::Ticket) {
        if self.guard.leave_at_last(ticket) {
            self.complete();
        }
    }

    /// The detach callback: stops new calls and says whether none is in progress. If one is, the last of them
    /// completes, perhaps before this has returned (R47), and nothing here is touched any more.
    ///
    /// # Safety
    ///
    /// NMR has called the detach callback with this slot.
    pub(crate) unsafe fn detach(&self, detaching: impl FnOnce(&B)) -> bool {
        let registration = self.registration();
        self.header.detach_began.store(registration.now(), core::sync::atomic::Ordering::Relaxed);
        let before = self.header.state.swap(slot_state::DRAINING, Ordering::Relaxed);
        if before != slot_state::UNUSABLE {
            registration.free_place();
        }
        let closing = self.guard.start_closing();
        // SAFETY: the binding stays at least until this side has finished closing.
        detaching(unsafe { self.binding() });
        let done = closing.is_none_or(|closing| self.guard.finish_closing(closing));
        if done {
            // NMR does not know yet, so the slot is still this binding's.
            self.header.state.store(slot_state::DETACHED, Ordering::Relaxed);
        }
        done
    }

    /// The cleanup callback: drops the binding and frees the slot.
    ///
    /// # Safety
    ///
    /// NMR has called the cleanup callback with this slot.
    pub(crate) unsafe fn cleanup(&self) {
        // SAFETY: both sides have detached (R55), so nobody uses the binding any more.
        unsafe { self.drop_binding() };
        // Release: whoever takes the slot next comes after the drop. The registration's wait comes after our return.
        self.unclaim();
    }

    /// Calls in progress.
    pub(crate) fn calls(&self) -> usize {
        self.guard.calls()
    }
}
