//! Calls into the peer: the values that keep its detach waiting meanwhile.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::guard::{AtDispatch, Count, DispatchGuard, Guard};
use crate::irql::Dispatch;
use crate::part::Part;
use crate::slab::Slots;
use crate::slot::Slot;

/// A peer that is attached and that the detach waits for as long as this value exists. `B` is the module's binding, `T`
/// what the interface says of the peer's dispatch table.
///
/// ```
/// # use nmr_registrar as _;
/// # mod interface { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/adding/interface.rs")); }
/// # mod provider { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/adding/provider.rs")); }
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/adding/client.rs")); }
/// # use wdk_nmr::*;
/// # struct Program;
/// # // SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
/// # unsafe impl Resident for Program {}
/// # fn main() {
/// # // SAFETY: the main thread of a program.
/// # let passive = unsafe { Passive::new() };
/// # let adder = provider::entry(Program, passive).unwrap();
/// # let client = client::entry(Program, passive).unwrap();
/// // Counted from here on: a detach that begins now waits.
/// let provider = client.providers().next().expect("a provider is attached");
/// let sum = provider.call(|table, context| {
///     // SAFETY: the context came with the table.
///     unsafe { (table.add)(context, 3) }
/// });
/// assert_eq!(sum, 3);
/// // The call is over: the provider may go.
/// drop(provider);
/// adder.deregister(passive).unwrap();
/// assert!(client.providers().next().is_none());
/// # client.deregister(passive).unwrap();
/// # }
/// ```
///
/// Dropping it may finish a pending detach, on this thread. Otherwise it is one atomic subtraction.
///
/// Keep it for as long as a call takes and not longer: the peer's unload waits for it. For a call that ends later, when
/// the peer calls back, there is [`Peer::hold`].
///
/// # Why it holds a reference
///
/// Most guards of this kind hold a raw pointer, since what they point to may be freed at the moment they let go of it,
/// and a reference has to be valid until the function that uses it returns. A peer borrows the registration, or a call
/// that came in, for `'a`. Either keeps the slot in place for longer than the peer exists, even if the drop of the peer
/// is what ends the binding: a slot is freed with its registration, and `deregister` cannot be called while it is
/// borrowed. So the reference is valid throughout, and the compiler checks what a raw pointer would leave to a comment.
/// [`HeldPeer`] borrows nothing, and holds a raw pointer.
pub struct Peer<'a, B: 'static, T, G: Count> {
    /// Before the protection: fields are dropped in order, and the thread is protected until it has left.
    entered: Entered<'a, B, G>,
    #[expect(dead_code, reason = "it is there to be dropped")]
    protection: G::Protection,
    table: PhantomData<fn() -> T>,
}

/// A slot whose guard has been entered.
struct Entered<'a, B, G: Count> {
    slot: &'a Slot<B, G>,
    ticket: G::Ticket,
}

impl<B, G: Count> Drop for Entered<'_, B, G> {
    #[inline]
    fn drop(&mut self) {
        self.slot.leave(self.ticket);
    }
}

impl<'a, B: Send + Sync, T: Part, G: Count> Peer<'a, B, T, G> {
    /// Takes hold of the peer of a slot.
    ///
    /// # Safety
    ///
    /// The slot stays for `'a`, and `T` has accepted the dispatch table of its peer.
    #[inline]
    pub(crate) unsafe fn of(slot: &'a Slot<B, G>) -> Option<Self> {
        let protection = G::protect();
        let ticket = slot.enter()?;
        Some(Self { entered: Entered { slot, ticket }, protection, table: PhantomData })
    }

    /// Lends the peer's dispatch table, and the context that every function of it takes.
    ///
    /// The pointers are good until the closure returns.
    #[inline]
    pub fn call<R>(&self, call: impl FnOnce(T::Ref<'_>, *mut c_void) -> R) -> R {
        // SAFETY: entered.
        let (context, table) = unsafe { self.entered.slot.peer() };
        // SAFETY: the table was accepted when the peer attached, and stays until this side has detached.
        call(unsafe { T::view(table) }, context)
    }

    /// What the module keeps for this peer.
    #[inline]
    #[must_use]
    pub fn binding(&self) -> &B {
        // SAFETY: entered, so the binding has not been cleaned up.
        unsafe { self.entered.slot.binding() }
    }
}

impl<B, T, G: Guard> Peer<'_, B, T, G> {
    /// Keeps the detach waiting beyond this borrow: for a call that the peer has taken and will end later, by calling
    /// back (R50).
    pub fn hold(self) -> HeldPeer<B, T, G> {
        let Self { entered, .. } = self;
        let entered = ManuallyDrop::new(entered);
        HeldPeer { slot: NonNull::from(entered.slot), ticket: entered.ticket, table: PhantomData }
    }
}

/// A peer that the detach waits for, without a borrow: the value can be stored with a call in progress.
///
/// The registration it comes from does not end before it is dropped: a thread that waits for that while it holds one
/// waits for ever. Dropping it may finish a pending detach. The instructions after that still run in the driver's
/// image, while the wait returns on another thread, so the driver has to know that this thread has left the image
/// before DriverUnload returns. A dispatch function or a callback of the peer is safe in that respect, since the peer
/// waits for its return.
///
/// # Invariants
///
/// **HELD**: the guard of the slot was entered, so the registration is not over and the slot stays, with its binding
/// and the peer's table, until this value leaves.
#[must_use]
pub struct HeldPeer<B: 'static, T, G: Guard> {
    slot: NonNull<Slot<B, G>>,
    ticket: G::Ticket,
    table: PhantomData<fn() -> T>,
}

// SAFETY: a guard can be left on any thread. What else there is to reach is a shared binding and a table, which any
// thread may read (`NpiStructure`).
unsafe impl<B: Send + Sync, T, G: Guard> Send for HeldPeer<B, T, G> {}
// SAFETY: all that can be reached is a shared binding and a table, which any thread may read (`NpiStructure`).
unsafe impl<B: Send + Sync, T, G: Guard> Sync for HeldPeer<B, T, G> {}

impl<B: Send + Sync, T: Part, G: Guard> HeldPeer<B, T, G> {
    /// As [`Peer::call`].
    pub fn call<R>(&self, call: impl FnOnce(T::Ref<'_>, *mut c_void) -> R) -> R {
        // SAFETY: HELD.
        let slot = unsafe { self.slot.as_ref() };
        // SAFETY: HELD.
        let (context, table) = unsafe { slot.peer() };
        // SAFETY: the table was accepted when the peer attached; HELD.
        call(unsafe { T::view(table) }, context)
    }

    /// As [`Peer::binding`].
    #[must_use]
    pub fn binding(&self) -> &B {
        // SAFETY: HELD.
        let slot = unsafe { self.slot.as_ref() };
        // SAFETY: HELD.
        unsafe { slot.binding() }
    }
}

impl<B, T, G: Guard> Drop for HeldPeer<B, T, G> {
    #[inline]
    fn drop(&mut self) {
        let ticket = self.ticket;
        let _protection = G::protect();
        // SAFETY: HELD. Leaving at last touches nothing of the slot once it may be gone.
        let slot = unsafe { self.slot.as_ref() };
        slot.leave_at_last(ticket);
    }
}

/// The peers that are attached, each held by the guard. A snapshot: peers come and go while it is walked (M26).
pub struct Peers<'a, B: 'static, T, G: Count> {
    slots: Slots<'a, B, G>,
    table: PhantomData<fn() -> T>,
}

impl<'a, B, T, G: Count> Peers<'a, B, T, G> {
    /// # Safety
    ///
    /// `T` has accepted the dispatch tables of the peers.
    pub(crate) unsafe fn new(slots: Slots<'a, B, G>) -> Self {
        Self { slots, table: PhantomData }
    }
}

impl<'a, B, T, G: DispatchGuard> Peers<'a, B, T, G> {
    /// The same peers, to be called at DISPATCH_LEVEL, without a locked instruction.
    #[inline]
    #[must_use]
    pub fn at_dispatch(self, dispatch: Dispatch<'a>) -> Peers<'a, B, T, AtDispatch<G>> {
        Peers { slots: self.slots.at_dispatch(dispatch), table: PhantomData }
    }
}

impl<'a, B: Send + Sync, T: Part, G: Count> Iterator for Peers<'a, B, T, G> {
    type Item = Peer<'a, B, T, G>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.slots.by_ref().filter(|slot| slot.may_be_attached()).find_map(|slot| {
            // SAFETY: slots stay as long as the iterator borrows; the types are those of `new`.
            unsafe { Peer::of(slot) }
        })
    }
}
