//! The classifier of sluice.sys, in this process.

use std::{iter, slice};

use jiff::Timestamp;
use sluice_assembler::{Assembler, DEFAULT_MEMORY, HashKey};
use sluice_core::{CapturedPacket, Decision, Direction, NameText, Observer, Policy, RuleAction, classify_observed};
use sluice_npi::{Flow, Verdict, flags};

use crate::capture::RecordedPacket;
use crate::failure::Failure;

/// The classifier of the driver with a policy, or without one as the driver starts.
pub(crate) struct Offline {
    policy: Policy<Vec<u8>>,
    /// As the driver counts them: 0 until a policy is loaded.
    generation: u64,
    assembler: Assembler,
}

impl Offline {
    /// `table` is a compiled policy.
    pub(crate) fn new(table: Option<Vec<u8>>) -> Result<Self, Failure> {
        // Nobody floods a file.
        let assembler = Assembler::try_new(DEFAULT_MEMORY, HashKey::new(0));
        let assembler = assembler.ok_or_else(|| Failure::Input("there is not enough memory".into()))?;
        let Some(table) = table else {
            return Ok(Self { policy: Policy::permit_everything(Vec::new()), generation: 0, assembler });
        };
        let policy = Policy::new(table).map_err(|error| Failure::Input(format!("the policy table is bad: {error}")))?;
        Ok(Self { policy, generation: 1, assembler })
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
        let captured = CapturedPacket { direction, link_type, wire_length, bytes, is_head: false };
        let mut verdict = Verdict::default();
        let mut observer = PacketObserver { offline: self, packet, observer };
        let packets = iter::once(captured);
        classify_observed(&self.policy, self.generation, packets, slice::from_mut(&mut verdict), &mut observer)
            .map_err(|error| Failure::Input(format!("packet {}: {error}", packet.number)))?;
        Ok(verdict)
    }
}

/// Puts names together, and passes on the rules that observe.
struct PacketObserver<'a, F> {
    offline: &'a Offline,
    packet: &'a RecordedPacket,
    observer: F,
}

impl<F: FnMut(u32, RuleAction)> Observer for PacketObserver<'_, F> {
    fn parsed(&mut self, packet: &CapturedPacket<'_>, flow: &mut Flow, name: &mut Option<NameText>) {
        let milliseconds = |time: Timestamp| u64::try_from(time.as_millisecond()).unwrap_or(0);
        self.offline.assembler.follow(packet, flow, name, || self.packet.time.map_or(0, milliseconds));
        if let Some(name) = name.filter(|_| flow.has(flags::NAME_ASSEMBLED)) {
            // A packet that is classified again has the same name.
            let _ = self.packet.assembled.set(Box::new(name));
        }
    }

    fn decided(&mut self, _: u32) {}

    fn observed(&mut self, rule: u32, _: &CapturedPacket<'_>, _: &Flow, _: Decision) {
        if let Some((id, action)) = self.offline.policy.rule(rule) {
            (self.observer)(id, action);
        }
    }
}
