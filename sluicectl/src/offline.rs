//! The classifier of sluice.sys, in this process.

use std::{iter, slice};

use sluice_core::{CapturedPacket, Decision, Direction, Observer, Policy, RuleAction, classify_observed};
use sluice_npi::{Flow, Verdict};

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
        self.classify_observed(packet, |_, _| {})
    }

    /// Also calls `observer` with the id and the action of each rule that counts or logs the packet.
    pub(crate) fn classify_observed(
        &self,
        packet: &RecordedPacket,
        observer: impl FnMut(u32, RuleAction),
    ) -> Result<Verdict, Failure> {
        let direction = Direction::from_number(packet.direction).unwrap_or_default();
        let RecordedPacket { link_type, wire_length, ref bytes, .. } = *packet;
        let captured = CapturedPacket { direction, link_type, wire_length, bytes };
        let mut verdict = Verdict::default();
        let mut observer = RuleObserver { policy: &self.policy, observer };
        let packets = iter::once(captured);
        classify_observed(&self.policy, self.generation, packets, slice::from_mut(&mut verdict), &mut observer)
            .map_err(|error| Failure::Input(format!("packet {}: {error}", packet.number)))?;
        Ok(verdict)
    }
}

/// Passes on the rules that observe.
struct RuleObserver<'a, F> {
    policy: &'a Policy<Vec<u8>>,
    observer: F,
}

impl<F: FnMut(u32, RuleAction)> Observer for RuleObserver<'_, F> {
    fn decided(&mut self, _: u32) {}

    fn observed(&mut self, rule: u32, _: &CapturedPacket<'_>, _: &Flow, _: Decision) {
        if let Some((id, action)) = self.policy.rule(rule) {
            (self.observer)(id, action);
        }
    }
}
