//! The classifier of sluice.sys, in this process.

use std::{iter, slice};

use sluice_core::{CapturedPacket, Direction, Policy, classify};
use sluice_npi::Verdict;

use crate::capture::RecordedPacket;
use crate::failure::Failure;

/// The classifier of the driver with a policy, or without one as the driver starts.
pub(crate) struct Offline {
    policy: Policy<Vec<u8>>,
    /// As the driver counts them: 0 until a policy is loaded.
    generation: u64,
}

impl Offline {
    /// `table` is a compiled policy.
    pub(crate) fn new(table: Option<Vec<u8>>) -> Result<Self, Failure> {
        let Some(table) = table else {
            return Ok(Self { policy: Policy::permit_everything(Vec::new()), generation: 0 });
        };
        let policy = Policy::new(table).map_err(|error| Failure::Input(format!("the policy table is bad: {error}")))?;
        Ok(Self { policy, generation: 1 })
    }

    pub(crate) fn classify(&self, packet: &RecordedPacket) -> Result<Verdict, Failure> {
        let direction = Direction::from_number(packet.direction).unwrap_or_default();
        let RecordedPacket { link_type, wire_length, ref bytes, .. } = *packet;
        let captured = CapturedPacket { direction, link_type, wire_length, bytes };
        let mut verdict = Verdict::default();
        classify(&self.policy, self.generation, iter::once(captured), slice::from_mut(&mut verdict))
            .map_err(|error| Failure::Input(format!("packet {}: {error}", packet.number)))?;
        Ok(verdict)
    }
}
