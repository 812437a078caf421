//! What a registration is doing: for each binding its state, the calls in progress and since when a detach is pending.
//! A driver that logs this before it waits in DriverUnload can explain an unload that hangs.

use core::sync::atomic::Ordering;

use crate::guard::Guard;
use crate::header::{RegistrationHeader, slot_state};
use crate::module_id::ModuleId;
use crate::slab::Slots;
use crate::slot::Slot;

/// Where a binding is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindingState {
    /// The attach callback is running.
    Attaching,
    /// Attached; calls may start.
    Attached,
    /// Attached, but the dispatch table that the peer returned is not what the interface says, so it is not called.
    Unusable,
    /// The detach has begun, and calls of this module into the peer are in progress: this module holds it up.
    Draining,
    /// This module has detached: if the binding stays, the peer holds it up.
    Detached,
}

/// One binding, as it was at one moment. The values were read one after the other while others may have changed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Binding {
    /// Where it is in its life.
    pub state: BindingState,
    /// Which module the peer is; `None` if it does not say.
    pub peer: Option<ModuleId>,
    /// How many calls into the peer are in progress.
    pub calls: usize,
    /// For how long the detach has been pending, by the clock of the module; `None` if it is not or there is no clock.
    pub detaching_for: Option<u64>,
}

/// The bindings of a registration.
pub struct Bindings<'a, B, G> {
    registration: &'a RegistrationHeader,
    slots: Slots<'a, B, G>,
}

impl<'a, B, G: Guard> Bindings<'a, B, G> {
    pub(crate) fn new(registration: &'a RegistrationHeader, slots: Slots<'a, B, G>) -> Self {
        Self { registration, slots }
    }

    fn describe(&self, slot: &Slot<B, G>) -> Option<Binding> {
        let state = match slot.header.state.load(Ordering::Relaxed) {
            slot_state::ATTACHING => BindingState::Attaching,
            slot_state::ATTACHED => BindingState::Attached,
            slot_state::UNUSABLE => BindingState::Unusable,
            slot_state::DRAINING => BindingState::Draining,
            slot_state::DETACHED => BindingState::Detached,
            _ => return None,
        };
        let detaching = matches!(state, BindingState::Draining | BindingState::Detached);
        let since = slot.header.detach_began.load(Ordering::Relaxed);
        let detaching_for = self.registration.clock.filter(|_| detaching).map(|clock| clock().saturating_sub(since));
        let words = slot.header.peer_module.each_ref().map(|word| word.load(Ordering::Relaxed));
        Some(Binding { state, peer: ModuleId::from_words(words), calls: slot.calls(), detaching_for })
    }
}

impl<B, G: Guard> Iterator for Bindings<'_, B, G> {
    type Item = Binding;

    fn next(&mut self) -> Option<Binding> {
        loop {
            let slot = self.slots.next()?;
            if let Some(binding) = self.describe(slot) {
                return Some(binding);
            }
        }
    }
}
