//! All that sluice.sys does with packets: it reads them, and says what the policy decides.

use sluice_npi::{Flow, Header, Verdict, link_type};

use crate::policy::search::LANES;
use crate::policy::table::NO_RULE;
use crate::{Decision, Direction, ParsedPacket, Policy, UnknownLinkType, parse_into};

/// A packet to classify, as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct CapturedPacket<'packet> {
    /// Which way it goes.
    pub direction: Direction,
    /// What it starts with: one of [`sluice_npi::link_type`].
    pub link_type: u16,
    /// How many bytes it has on the wire; see [`parse`](crate::parse).
    pub wire_length: u32,
    /// The bytes that were captured.
    pub bytes: &'packet [u8],
}

/// Reads `packets` and writes to `verdicts` what `policy` decides about them, whatever was there. `generation` is the
/// number of the policy, and goes into the verdicts.
///
/// As many verdicts are written as there are packets, or all of them if there are more packets.
///
/// # Errors
///
/// [`UnknownLinkType`] if there is a packet whose link type is none of [`sluice_npi::link_type`]. Then nothing is
/// written.
///
/// # Examples
///
/// ```
/// use sluice_core::{Direction, CapturedPacket, Policy, classify};
/// use sluice_npi::{Verdict, action, link_type};
///
/// let policy = Policy::permit_everything([0_u8; 0]);
/// // An IPv4 packet that carries UDP from port 68 to port 67.
/// let bytes = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 68, 0, 67, 0, 8, 0, 0];
/// let (direction, link_type) = (Direction::Inbound, link_type::RAW);
/// let packet = CapturedPacket { direction, link_type, wire_length: 28, bytes: &bytes };
/// let mut verdicts = [Verdict::default(); 2];
/// classify(&policy, 0, [packet, packet].into_iter(), &mut verdicts)?;
/// assert!(verdicts.iter().all(|verdict| verdict.action == action::PERMIT && verdict.flow.destination_port == 67));
/// # Ok::<(), sluice_core::UnknownLinkType>(())
/// ```
#[inline]
pub fn classify<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    generation: u64,
    packets: impl Iterator<Item = CapturedPacket<'packet>> + Clone,
    verdicts: &mut [Verdict],
) -> Result<(), UnknownLinkType> {
    classify_observed(policy, generation, packets, verdicts, &mut ())
}

/// Does what [`classify`] does, and tells `observer` which rules the packets match.
///
/// # Errors
///
/// As [`classify`]. Then the observer has been told nothing.
#[inline]
pub fn classify_observed<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    generation: u64,
    packets: impl Iterator<Item = CapturedPacket<'packet>> + Clone,
    verdicts: &mut [Verdict],
    observer: &mut impl Observer,
) -> Result<(), UnknownLinkType> {
    if let Some(packet) = packets.clone().find(|packet| !link_type::is_known(packet.link_type)) {
        return Err(UnknownLinkType(packet.link_type));
    }
    let mut packets = packets;
    for verdicts in verdicts.chunks_mut(LANES) {
        let side_by_side = packets.clone();
        let mut count = 0_usize;
        for (verdict, packet) in verdicts.iter_mut().zip(&mut packets) {
            parse_into(packet.link_type, packet.bytes, packet.wire_length, &mut verdict.flow)?;
            count = count.wrapping_add(1);
        }
        let verdicts = verdicts.get_mut(..count).unwrap_or_default();
        let mut rules = [NO_RULE; LANES];
        find_rules(policy, side_by_side.clone(), verdicts, &mut rules);
        if policy.observes() {
            observe(policy, side_by_side, verdicts, &rules, observer);
        }
        for (verdict, rule) in verdicts.iter_mut().zip(rules) {
            observer.decided(rule.min(policy.rule_count()));
            let decision = policy.decision(rule);
            verdict.header = Header::of::<Verdict>();
            verdict.action = decision.action.number();
            verdict.reserved = [0; 3];
            verdict.rule_id = decision.rule_id;
            verdict.generation = generation;
        }
    }
    Ok(())
}

/// Calls `each` with every packet, its verdict, what `policy` would have decided on it and the index of the rule, as
/// [`Observer::decided`] has it. The flows in `verdicts` are those of the packets: nothing is parsed again.
pub fn look_up_again<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packets: impl Iterator<Item = CapturedPacket<'packet>> + Clone,
    verdicts: &[Verdict],
    mut each: impl FnMut(&CapturedPacket<'packet>, &Verdict, Decision, u32),
) {
    let mut packets = packets;
    for verdicts in verdicts.chunks(LANES) {
        let mut rules = [NO_RULE; LANES];
        find_rules(policy, packets.clone(), verdicts, &mut rules);
        // The verdicts come first: a packet that is taken and has none would be lost.
        for ((verdict, rule), packet) in verdicts.iter().zip(rules).zip(&mut packets) {
            each(&packet, verdict, policy.decision(rule), rule.min(policy.rule_count()));
        }
    }
}

/// Who is told which rules the packets match.
pub trait Observer {
    /// The rule with this index decided on a packet; the number of rules stands for the default.
    fn decided(&mut self, rule: u32);

    /// The rule with this index counts or logs `packet`, from which `flow` was read and on which `decision` was made.
    fn observed(&mut self, rule: u32, packet: &CapturedPacket<'_>, flow: &Flow, decision: Decision);
}

/// Nobody.
impl Observer for () {
    #[inline]
    fn decided(&mut self, _: u32) {}

    #[inline]
    fn observed(&mut self, _: u32, _: &CapturedPacket<'_>, _: &Flow, _: Decision) {}
}

/// Tells `observer` of the rules that count and log. `rules` are those that decide.
#[cold]
#[inline(never)]
fn observe<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packets: impl Iterator<Item = CapturedPacket<'packet>>,
    verdicts: &[Verdict],
    rules: &[u32; LANES],
    observer: &mut impl Observer,
) {
    for ((packet, verdict), decided) in packets.zip(verdicts).zip(rules) {
        let CapturedPacket { direction, link_type, bytes, .. } = packet;
        let flow = &verdict.flow;
        let decision = policy.decision(*decided);
        policy.observe(&ParsedPacket { direction, link_type, bytes, flow }, *decided, |rule| {
            observer.observed(rule, &packet, flow, decision);
        });
    }
}

/// Writes to `rules` the rule that decides on each of up to [`LANES`] packets, whose flows are in `verdicts`.
#[inline]
fn find_rules<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packets: impl Iterator<Item = CapturedPacket<'packet>>,
    verdicts: &[Verdict],
    rules: &mut [u32; LANES],
) {
    let Some(first) = verdicts.first() else {
        return;
    };
    let nothing = ParsedPacket { direction: Direction::Unspecified, link_type: 0, bytes: &[], flow: &first.flow };
    let mut parsed = [nothing; LANES];
    for ((parsed, packet), verdict) in parsed.iter_mut().zip(packets).zip(verdicts) {
        let CapturedPacket { direction, link_type, bytes, .. } = packet;
        *parsed = ParsedPacket { direction, link_type, bytes, flow: &verdict.flow };
    }
    policy.find_batch(parsed.get(..verdicts.len()).unwrap_or_default(), rules);
}
