//! All that sluice.sys does with packets: it reads them, and says what the policy decides.

use sluice_npi::{Header, Verdict, link_type};

use crate::policy::search::LANES;
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
        let mut decisions = [Decision { action: policy.default_action(), rule_id: 0 }; LANES];
        decide(policy, side_by_side, verdicts, &mut decisions);
        for (verdict, decision) in verdicts.iter_mut().zip(decisions) {
            verdict.header = Header::of::<Verdict>();
            verdict.action = decision.action.number();
            verdict.reserved = [0; 3];
            verdict.rule_id = decision.rule_id;
            verdict.generation = generation;
        }
    }
    Ok(())
}

/// Looks up up to [`LANES`] packets, whose flows are in `verdicts`.
#[inline]
fn decide<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packets: impl Iterator<Item = CapturedPacket<'packet>>,
    verdicts: &[Verdict],
    decisions: &mut [Decision; LANES],
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
    policy.classify_batch(parsed.get(..verdicts.len()).unwrap_or_default(), decisions);
}
