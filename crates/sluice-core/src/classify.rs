//! All that sluice.sys does with packets: it reads them, and says what the policy decides.

use sluice_npi::{Flow, Header, Verdict, action, flags, link_type};

use crate::parse::parse_head;
use crate::policy::entry::Found;
use crate::policy::search::LANES;
use crate::{Decision, Direction, NameText, ParsedPacket, Policy, UnknownLinkType, parse_inner, parse_with_name};

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
    /// The bytes are those at the head of a packet that can be shown whole, if more of it would be looked at.
    pub is_head: bool,
}

impl CapturedPacket<'_> {
    /// Whether there is more of it to be shown.
    #[inline]
    fn lacks_its_rest(&self) -> bool {
        self.is_head && self.bytes.len() < self.wire_length as usize
    }
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
/// let packet = CapturedPacket { direction, link_type, wire_length: 28, bytes: &bytes, is_head: false };
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
    classify_observed(policy, generation, packets, verdicts, &mut ()).map(|_| ())
}

/// Does what [`classify`] does, and tells `observer` which rules the packets match. Gives the number of verdicts, at
/// the end of `verdicts`, that are [undecided](flags::UNDECIDED).
///
/// There are none, unless there is a packet of which only the head is there, and more of it would be looked at. Then
/// nothing is done for it and those behind it, as if there had been fewer packets.
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
) -> Result<usize, UnknownLinkType> {
    if let Some(packet) = packets.clone().find(|packet| !link_type::is_known(packet.link_type)) {
        return Err(UnknownLinkType(packet.link_type));
    }
    let mut packets = packets;
    let mut verdicts = verdicts;
    let mut name = None;
    loop {
        let side_by_side = packets.clone();
        let mut count = 0_usize;
        let places = verdicts.len().min(LANES);
        let mut lacks_rest = false;
        for (verdict, packet) in verdicts.get_mut(..places).unwrap_or_default().iter_mut().zip(&mut packets) {
            if packet.lacks_its_rest() {
                let flow = &mut verdict.flow;
                let is_read = parse_head(packet.link_type, packet.bytes, packet.wire_length, flow);
                if !is_read || observer.looks_behind_head(flow) {
                    lacks_rest = true;
                    break;
                }
                count = count.wrapping_add(1);
                continue;
            }
            parse_with_name(packet.link_type, packet.bytes, packet.wire_length, &mut verdict.flow, &mut name)?;
            observer.parsed(&packet, &mut verdict.flow, &mut name);
            count = count.wrapping_add(1);
            // There is room for the text of one name.
            if verdict.flow.has(flags::NAME_ASSEMBLED) {
                break;
            }
        }
        let (now, later) = verdicts.split_at_mut_checked(count).unwrap_or_default();
        if now.is_empty() && !lacks_rest {
            return Ok(0);
        }
        let mut found = [policy.nothing(); LANES];
        find_rules(policy, side_by_side.clone(), now, name.as_ref(), &mut found);
        if policy.observes() && may_observe_any(policy, now) {
            observe(policy, side_by_side.clone(), now, name.as_ref(), &found, observer);
        }
        for (verdict, found) in now.iter_mut().zip(found) {
            observer.decided(found.rule().min(policy.rule_count()));
            let decision = found.decision();
            verdict.header = Header::of::<Verdict>();
            verdict.action = decision.action.number();
            verdict.reserved = [0; 3];
            verdict.rule_id = decision.rule_id;
            verdict.generation = generation;
        }
        if let (Some(name), Some(verdict)) = (&name, now.last())
            && verdict.flow.has(flags::NAME_ASSEMBLED)
            && let Some(packet) = side_by_side.take(count).last()
        {
            observer.named(&packet, verdict, name);
        }
        if later.is_empty() {
            return Ok(0);
        }
        verdicts = later;
        if lacks_rest {
            leave_undecided(verdicts, generation);
            return Ok(verdicts.len());
        }
    }
}

/// Writes what packets get of which nothing was decided. A client that takes it for a decision blocks them.
#[cold]
#[inline(never)]
fn leave_undecided(verdicts: &mut [Verdict], generation: u64) {
    let flow = Flow { flags: flags::UNDECIDED, ..Flow::default() };
    verdicts.fill(Verdict { action: action::BLOCK, generation, flow, ..Verdict::default() });
}

/// What the offset of a packet's name counts in: its bytes, or the text of a name that was put together.
#[inline]
fn named_in<'a>(bytes: &'a [u8], flow: &Flow, name: Option<&'a NameText>) -> &'a [u8] {
    if flow.has(flags::NAME_ASSEMBLED) { name.map_or(&[], NameText::as_bytes) } else { bytes }
}

/// Calls `each` with every packet, its verdict, what `policy` would have decided on it and the index of the rule, as
/// [`Observer::decided`] has it. The flows in `verdicts` are those of the packets: nothing is parsed again.
///
/// Packets whose name was put together are left out, unless that is `name`. Then `each` sees it in the place of their
/// bytes, as [`Observer::observed`] does. [`Observer::named`] is told of these packets.
pub fn look_up_again<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packets: impl Iterator<Item = CapturedPacket<'packet>> + Clone,
    verdicts: &[Verdict],
    name: Option<&NameText>,
    mut each: impl FnMut(&CapturedPacket<'_>, &Verdict, Decision, u32),
) {
    let mut packets = packets;
    let mut verdicts = verdicts;
    let has_no_name = |verdict: &Verdict| name.is_none() && verdict.flow.has(flags::NAME_ASSEMBLED);
    while let [first, behind @ ..] = verdicts {
        if has_no_name(first) {
            packets.next();
            verdicts = behind;
            continue;
        }
        let count = verdicts.iter().take(LANES).take_while(|verdict| !has_no_name(verdict)).count();
        let (now, later) = verdicts.split_at_checked(count).unwrap_or((verdicts, &[]));
        let mut found = [policy.nothing(); LANES];
        find_rules(policy, packets.clone(), now, name, &mut found);
        // The verdicts come first: a packet that is taken and has none would be lost.
        for ((verdict, found), packet) in now.iter().zip(found).zip(&mut packets) {
            let named = CapturedPacket { bytes: named_in(packet.bytes, &verdict.flow, name), ..packet };
            each(&named, verdict, found.decision(), found.rule().min(policy.rule_count()));
        }
        verdicts = later;
    }
}

/// Who is told which rules the packets match.
pub trait Observer {
    /// `flow` was read from `packet`, and is still to be looked up. Who knows more of the conversation than the packet
    /// says can add a name that had to be put together: its text in `name`, its length and kind in `flow`, with the
    /// flag [`NAME_ASSEMBLED`](flags::NAME_ASSEMBLED).
    #[inline]
    fn parsed(&mut self, packet: &CapturedPacket<'_>, flow: &mut Flow, name: &mut Option<NameText>) {
        let _ = (packet, flow, name);
    }

    /// Whether [`parsed`](Self::parsed) would look at the payload of a packet with this flow, of which only the head is
    /// there. If not, it has nothing to do for the packet and is not called.
    #[inline]
    fn looks_behind_head(&mut self, flow: &Flow) -> bool {
        let _ = flow;
        false
    }

    /// The rule with this index decided on a packet; the number of rules stands for the default.
    fn decided(&mut self, rule: u32);

    /// The rule with this index counts or logs `packet`, from which `flow` was read and on which `decision` was made.
    ///
    /// If `flow` has a name that was put together ([`NAME_ASSEMBLED`](flags::NAME_ASSEMBLED)), that is what the bytes
    /// of `packet` are here.
    fn observed(&mut self, rule: u32, packet: &CapturedPacket<'_>, flow: &Flow, decision: Decision);

    /// `packet` got `verdict`, and `name`, which had to be put together, is known for the last time. See
    /// [`look_up_again`].
    #[inline]
    fn named(&mut self, packet: &CapturedPacket<'_>, verdict: &Verdict, name: &NameText) {
        let _ = (packet, verdict, name);
    }
}

/// Nobody.
impl Observer for () {
    #[inline]
    fn decided(&mut self, _: u32) {}

    #[inline]
    fn observed(&mut self, _: u32, _: &CapturedPacket<'_>, _: &Flow, _: Decision) {}
}

/// Tells `observer` of the rules that count and log. `found` is what decides on each packet.
#[cold]
#[inline(never)]
fn observe<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packets: impl Iterator<Item = CapturedPacket<'packet>>,
    verdicts: &[Verdict],
    name: Option<&NameText>,
    found: &[Found; LANES],
    observer: &mut impl Observer,
) {
    for ((packet, verdict), decided) in packets.zip(verdicts).zip(found) {
        let flow = &verdict.flow;
        let named = CapturedPacket { bytes: named_in(packet.bytes, flow, name), ..packet };
        let CapturedPacket { direction, link_type, bytes, .. } = named;
        policy.observe(&ParsedPacket { direction, link_type, bytes, flow }, decided.rule(), |rule| {
            observer.observed(rule, &named, flow, decided.decision());
        });
        if policy.looks_inside() && flow.has(flags::TUNNEL) {
            with_inner(&packet, |parsed| observe_inner(policy, &packet, parsed, *decided, observer));
        }
    }
}

/// Tells `observer` of the rules that count and log the packet `parsed` in the tunnel whose packet is `packet`.
#[inline(never)]
fn observe_inner<B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packet: &CapturedPacket<'_>,
    parsed: &ParsedPacket<'_>,
    decided: Found,
    observer: &mut impl Observer,
) {
    let named = CapturedPacket { bytes: parsed.bytes, ..*packet };
    policy.observe(parsed, decided.rule(), |rule| {
        observer.observed(rule, &named, parsed.flow, decided.decision());
    });
}

/// Whether rules that count or log can match one of the packets whose flows are in `verdicts`. It is a call, so that
/// what flows are compared with is read only where there are such rules.
#[inline(never)]
fn may_observe_any<B: AsRef<[u8]>>(policy: &Policy<B>, verdicts: &[Verdict]) -> bool {
    verdicts.iter().any(|verdict| may_observe(policy, &verdict.flow))
}

/// Whether rules that count or log can match a packet with this flow, or one in it.
#[inline]
fn may_observe<B: AsRef<[u8]>>(policy: &Policy<B>, flow: &Flow) -> bool {
    policy.may_observe(flow) || (policy.looks_inside() && flow.has(flags::TUNNEL))
}

/// Replaces what was found for each by an earlier rule that matches the innermost packet in a tunnel, if there is one.
#[cold]
#[inline(never)]
fn look_inside<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packets: impl Iterator<Item = CapturedPacket<'packet>>,
    verdicts: &[Verdict],
    found: &mut [Found; LANES],
) {
    for ((packet, verdict), found) in packets.zip(verdicts).zip(found) {
        if verdict.flow.has(flags::TUNNEL) {
            with_inner(&packet, |parsed| *found = (*found).min(find_rule(policy, parsed)));
        }
    }
}

/// What decides on one packet. Its frame is not there while the packet is read.
#[inline(never)]
fn find_rule<B: AsRef<[u8]>>(policy: &Policy<B>, packet: &ParsedPacket<'_>) -> Found {
    policy.find(packet)
}

/// Calls `then` with the innermost packet in a tunnel, if there is one. Its bytes are those of the whole packet, or of
/// a name that was put together.
fn with_inner(packet: &CapturedPacket<'_>, then: impl FnOnce(&ParsedPacket<'_>)) {
    let CapturedPacket { direction, link_type, wire_length, bytes, .. } = *packet;
    let mut flow = Flow::default();
    let mut name = None;
    if parse_inner(link_type, bytes, wire_length, &mut flow, &mut name) == Ok(true) {
        let bytes = named_in(bytes, &flow, name.as_ref());
        then(&ParsedPacket { direction, link_type, bytes, flow: &flow });
    }
}

/// Writes to `found` what decides on each of up to [`LANES`] packets, whose flows are in `verdicts`. `name` is the one
/// that was put together, if there is one.
#[inline]
fn find_rules<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packets: impl Iterator<Item = CapturedPacket<'packet>> + Clone,
    verdicts: &[Verdict],
    name: Option<&NameText>,
    found: &mut [Found; LANES],
) {
    if let ([verdict], Some(packet)) = (verdicts, packets.clone().next()) {
        found[0] = find_rule(policy, &parsed(&packet, verdict, name));
    } else {
        find_batch(policy, packets.clone(), verdicts, name, found);
    }
    if policy.looks_inside() && verdicts.iter().any(|verdict| verdict.flow.has(flags::TUNNEL)) {
        look_inside(policy, packets, verdicts, found);
    }
}

/// Does that for several packets side by side.
#[inline(never)]
fn find_batch<'packet, B: AsRef<[u8]>>(
    policy: &Policy<B>,
    packets: impl Iterator<Item = CapturedPacket<'packet>>,
    verdicts: &[Verdict],
    name: Option<&NameText>,
    found: &mut [Found; LANES],
) {
    let Some(first) = verdicts.first() else {
        return;
    };
    let nothing = ParsedPacket { direction: Direction::Unspecified, link_type: 0, bytes: &[], flow: &first.flow };
    let mut all = [nothing; LANES];
    for ((place, packet), verdict) in all.iter_mut().zip(packets).zip(verdicts) {
        *place = parsed(&packet, verdict, name);
    }
    policy.find_batch(all.get(..verdicts.len()).unwrap_or_default(), found);
}

/// A packet as it is looked up.
#[inline]
fn parsed<'a>(packet: &CapturedPacket<'a>, verdict: &'a Verdict, name: Option<&'a NameText>) -> ParsedPacket<'a> {
    let CapturedPacket { direction, link_type, bytes, .. } = *packet;
    let flow = &verdict.flow;
    ParsedPacket { direction, link_type, bytes: named_in(bytes, flow, name), flow }
}
