//! What the engine tells a crash dump of itself.

use core::ptr;
use core::sync::atomic::Ordering::Relaxed;

use sluice_control::dump::{Dump, DumpBinding, MAGIC, VERSION};
use sluice_control::message::ModuleId;
use sluice_control::wire::Wire;
use wdk_nmr::header::{RegistrationHeader, slot_state};
use wdk_nmr::{BindingState, Resident};

use crate::Machine;
use crate::running::{RunningEngine, UNNAMED};

impl<M: Machine, R: Resident> RunningEngine<M, R> {
    /// Writes a [`Dump`] and the bindings to `place`, as far as there is room. Returns how many bytes that is; 0 if
    /// there is no room for the first.
    ///
    /// Up to HIGH_LEVEL, when the machine has stopped: it waits for nothing, takes no hold of a client and allocates
    /// nothing.
    pub fn dump(&self, missed_entries: u32, mut place: &mut [u8]) -> usize {
        let room = place.len();
        let Some((first, mut behind)) = place.split_at_mut_checked(Dump::SIZE) else { return 0 };
        let (mut total, mut listed) = (0_u32, 0_u32);
        for binding in self.bindings() {
            total = total.saturating_add(1);
            let binding = DumpBinding {
                module_id: binding.peer.map_or(UNNAMED, ModuleId::from),
                state: number(binding.state),
                calls: binding.calls as u64,
                detaching: binding.detaching_for.unwrap_or(0),
            };
            listed = listed
                .saturating_add(u32::from(behind.len() >= DumpBinding::SIZE && binding.write(&mut behind).is_some()));
        }
        let left = behind.len();
        let mut status = self.policy_status();
        (status.clients_total, status.clients_listed) = (total, listed);
        let header = self.header();
        let dump = Dump {
            magic: MAGIC,
            version: VERSION,
            missed_entries,
            registration: ptr::from_ref(header).addr() as u64,
            block: words(header),
            status,
        };
        place = first;
        match dump.write(&mut place) {
            Some(()) => room.saturating_sub(left),
            None => 0,
        }
    }
}

/// The header in memory, up to the registration handle.
fn words(header: &RegistrationHeader) -> [u64; 5] {
    [
        header.magic,
        u64::from(header.role) << 32 | u64::from(header.layout_version),
        header.slot_size,
        header.chunks.load(Relaxed).addr() as u64,
        header.handle.load(Relaxed).addr() as u64,
    ]
}

/// The state of the slot.
fn number(state: BindingState) -> u32 {
    match state {
        BindingState::Attaching => slot_state::ATTACHING,
        BindingState::Attached => slot_state::ATTACHED,
        BindingState::Unusable => slot_state::UNUSABLE,
        BindingState::Draining => slot_state::DRAINING,
        BindingState::Detached => slot_state::DETACHED,
        // One that this version does not know.
        _ => slot_state::FREE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_numbers_that_the_header_of_a_slot_has() {
        // As debug/wdk_nmr.js shows them.
        let states = [
            BindingState::Attaching,
            BindingState::Attached,
            BindingState::Unusable,
            BindingState::Draining,
            BindingState::Detached,
        ];
        assert_eq!(states.map(number), [1, 2, 3, 4, 5]);
    }
}
