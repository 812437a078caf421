//! The NMR provider: who attaches, and what their calls are answered with.

use core::sync::atomic::{AtomicU64, Ordering};
use core::{iter, slice};

use sluice_assembler::{Assembler, HashKey};
use sluice_control::NTSTATUS;
use sluice_control::settings::OnPolicyError;
use sluice_control::status::STATUS_INSUFFICIENT_RESOURCES;
use sluice_core::{CapturedPacket, Decision, Direction, NameText, Observer, RuleAction, classify_observed};
use sluice_npi::{
    Answered, CallClient, ClassifyCall, Flow, Header, Invalid, MAX_BATCH, PacketRef, ProviderCharacteristics,
    SluiceNpi, SluiceProvider, Statistics, Verdict, direction, flags, link_type, provider_dispatch,
};
use wdk_nmr::{
    ClientOffer, GUID, InCriticalRegion, ModuleId, Passive, Provider, ProviderRegistration, ProviderTable, Refusal,
    RegisterError, RegistrationOptions, Resident, Single,
};

use crate::counters::{Counters, Tally};
use crate::event::Limiter;
use crate::log::{self, Circumstances, Log};
use crate::policy::{CurrentPolicy, InstalledPolicy};
use crate::{Event, Machine};

/// What sluice.sys calls itself in NMR: b302fe84-ec62-4627-996b-fe90daddcfb2.
pub const MODULE_ID: ModuleId = ModuleId::Guid(GUID {
    Data1: 0xb302_fe84,
    Data2: 0xec62,
    Data3: 0x4627,
    Data4: [0x99, 0x6b, 0xfe, 0x90, 0xda, 0xdd, 0xcf, 0xb2],
});

/// The provider: one policy for all clients, and counters for each.
pub struct Engine<M: Machine> {
    pub(crate) machine: M,
    pub(crate) policy: CurrentPolicy<M::Processors>,
    pub(crate) log: Log,
    assembler: Assembler,
}

/// What the engine knows of one client.
pub struct AttachedClient {
    pub(crate) module_id: ModuleId,
    pub(crate) driver_version: u32,
    pub(crate) name: [u8; 32],
    pub(crate) attached_at_ms: u64,
    detaching_since_ms: AtomicU64,
    counters: Counters,
    rejections: Limiter,
}

impl AttachedClient {
    /// What it has been answered since it attached.
    pub(crate) fn statistics(&self) -> Statistics {
        self.counters.sum()
    }

    /// What it calls itself, without the zeros that fill it up.
    fn name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl<M: Machine> Engine<M> {
    /// An engine with the persisted policy in force, or none if there is none: then it permits everything. It takes no
    /// table of more than `table_limit` bytes ([`DEFAULT_TABLE_LIMIT`](crate::DEFAULT_TABLE_LIMIT)). PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// STATUS_INSUFFICIENT_RESOURCES; or why the persisted policy cannot be put in force, if `on_policy_error` says
    /// that the driver does not start then.
    pub fn start(machine: M, table_limit: usize, on_policy_error: OnPolicyError) -> Result<Self, NTSTATUS> {
        let policy = CurrentPolicy::try_new(table_limit).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let log = Log::try_new().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let assembler = Assembler::try_new(0, HashKey::new(0)).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        policy.restore(on_policy_error, &machine)?;
        Ok(Self { machine, policy, log, assembler })
    }

    /// The same engine, which puts names together that are spread over packets, in that much memory
    /// ([`DEFAULT_ASSEMBLY_MEMORY`](crate::DEFAULT_ASSEMBLY_MEMORY)). 0 is none, and names stay missing. Whoever
    /// guesses `seed` can choose whose names these are. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// STATUS_INSUFFICIENT_RESOURCES.
    pub fn assembling(self, memory: usize, seed: u64) -> Result<Self, NTSTATUS> {
        let assembler = Assembler::try_new(memory, HashKey::new(seed)).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(Self { assembler, ..self })
    }

    /// Registers with NMR, which offers the engine to all clients that are there and to all that come.
    ///
    /// # Errors
    ///
    /// As [`ProviderRegistration::register`].
    pub fn register<R: Resident>(
        self,
        image: R,
        clock: fn() -> u64,
        passive: Passive<'_>,
    ) -> Result<ProviderRegistration<Self, R>, RegisterError> {
        let characteristics =
            ProviderCharacteristics { header: Header::of::<ProviderCharacteristics>(), max_batch: MAX_BATCH };
        ProviderRegistration::register(
            self,
            RegistrationOptions::new(MODULE_ID, characteristics).clock(clock),
            image,
            passive,
        )
    }
}

impl<M: Machine> Provider for Engine<M> {
    type Npi = SluiceNpi;
    type Binding = AttachedClient;
    // A client is called when the policy changes, and by one thread at a time.
    type Guard = InCriticalRegion<M::Region, Single>;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_dispatch()
    }

    /// Accepts every client that says who it is (M20, M21).
    fn attach(&self, offer: &ClientOffer<'_, SluiceNpi>) -> Result<AttachedClient, Refusal> {
        let characteristics = offer.characteristics()?;
        let client = AttachedClient {
            module_id: offer.module_id()?,
            driver_version: characteristics.driver_version,
            name: characteristics.name,
            attached_at_ms: self.machine.uptime_ms(),
            detaching_since_ms: AtomicU64::new(0),
            counters: Counters::try_new(self.machine.processors()).ok_or(Refusal::INSUFFICIENT_RESOURCES)?,
            rejections: Limiter::default(),
        };
        let (module_id, driver_version) = (client.module_id, client.driver_version);
        self.machine.report(&Event::Attached { module_id, name: client.name(), driver_version });
        Ok(client)
    }

    fn refused(&self, module_id: Option<ModuleId>, refusal: Refusal) {
        self.machine.report(&Event::Refused { module_id, status: refusal.status() });
    }

    fn detaching(&self, client: &AttachedClient) {
        client.detaching_since_ms.store(self.machine.uptime_ms(), Ordering::Relaxed);
    }

    fn detached(&self, client: &AttachedClient) {
        let began = client.detaching_since_ms.load(Ordering::Relaxed);
        self.machine.report(&Event::Detached {
            module_id: client.module_id,
            name: client.name(),
            attached_ms: began.saturating_sub(client.attached_at_ms),
            detaching_ms: self.machine.uptime_ms().saturating_sub(began),
            packets: client.statistics().packets,
        });
    }
}

impl<M: Machine> SluiceProvider for Engine<M> {
    fn classify<'a>(&self, client: &AttachedClient, call: ClassifyCall<'a>) -> Result<Answered<'a>, Invalid> {
        // Checked before the first verdict is written: a call that fails has written none.
        if !call.packets().iter().all(|packet| link_type::is_known(packet.link_type())) {
            return Err(Invalid);
        }
        let mut counts = client.counters.start_call();
        Ok(self.policy.read(&self.machine, |place, in_force| {
            let tally = in_force.counters.at(place);
            let mut observer = CallObserver { engine: self, client, in_force, tally, processor: place.processor };
            let answered = call.answer(|packets, verdicts| {
                let undecided = judge(in_force, captured(packets), verdicts, &mut observer);
                let verdicts = verdicts.get(..verdicts.len().saturating_sub(undecided)).unwrap_or_default();
                verdicts.iter().for_each(|verdict| counts.add(verdict));
                self.policy.read_dry_run(place.processor, |place, dry_run| {
                    let now = self.machine.uptime_ms();
                    dry_run.compare(place, captured(packets), verdicts, None, client.module_id.into(), now);
                });
            });
            counts.finish(place);
            answered
        }))
    }

    fn statistics(&self, client: &AttachedClient) -> Statistics {
        client.statistics()
    }

    // Out of the way of calls that are in order: its event would be part of their stack frame.
    #[cold]
    #[inline(never)]
    fn rejected(&self, client: &AttachedClient) {
        client.counters.count_rejected_call(self.machine.processor());
        if let Some(unreported) = client.rejections.admit(self.machine.uptime_ms()) {
            self.machine.report(&Event::CallRejected { module_id: client.module_id, unreported });
        }
    }
}

/// Counts which rules the packets of a call match, and logs packets.
struct CallObserver<'a, M: Machine> {
    engine: &'a Engine<M>,
    client: &'a AttachedClient,
    in_force: &'a InstalledPolicy,
    tally: Tally<'a>,
    processor: usize,
}

impl<M: Machine> Observer for CallObserver<'_, M> {
    #[inline]
    fn parsed(&mut self, packet: &CapturedPacket<'_>, flow: &mut Flow, name: &mut Option<NameText>) {
        self.engine.assembler.follow(packet, flow, name, || self.engine.machine.uptime_ms());
    }

    #[inline]
    fn looks_behind_head(&mut self, flow: &Flow) -> bool {
        self.engine.assembler.follows(flow)
    }

    #[inline]
    fn decided(&mut self, rule: u32) {
        self.tally.add(rule as usize);
    }

    fn observed(&mut self, rule: u32, packet: &CapturedPacket<'_>, flow: &Flow, decision: Decision) {
        self.tally.add(rule as usize);
        let InstalledPolicy { policy, generation, limits, counters, .. } = self.in_force;
        let Some((rule_id, RuleAction::Log)) = policy.rule(rule) else { return };
        let now = self.engine.machine.uptime_ms();
        if limits.allows(rule, now) && self.engine.log.allows(now) {
            let (generation, module_id) = (*generation, self.client.module_id.into());
            let of = Circumstances { time: now, generation, module_id, decision };
            self.engine.log_packet(of, rule_id, counters.sum(rule as usize), packet, flow);
        }
    }

    // A policy that is tried is asked when the name is known, and not with the packets of the whole call.
    #[cold]
    #[inline(never)]
    fn named(&mut self, packet: &CapturedPacket<'_>, verdict: &Verdict, name: &NameText) {
        let Self { engine, client, .. } = self;
        engine.policy.read_dry_run(self.processor, |place, dry_run| {
            let (packet, verdict) = (iter::once(*packet), slice::from_ref(verdict));
            dry_run.compare(place, packet, verdict, Some(name), client.module_id.into(), engine.machine.uptime_ms());
        });
    }
}

impl<M: Machine> Engine<M> {
    // Out of the way of other packets: the record would be part of their stack frame.
    #[cold]
    #[inline(never)]
    fn log_packet(&self, of: Circumstances, rule_id: u32, matched: u64, packet: &CapturedPacket<'_>, flow: &Flow) {
        let record = log::record(of, rule_id, matched, packet, flow);
        self.log.append(&record);
        self.machine.report(&Event::PacketLogged(&record));
    }
}

/// The packets of a call.
fn captured<'a>(packets: &'a [PacketRef<'a>]) -> impl Iterator<Item = CapturedPacket<'a>> + Clone {
    packets.iter().map(|packet| CapturedPacket {
        direction: match packet.direction() {
            direction::INBOUND => Direction::Inbound,
            direction::OUTBOUND => Direction::Outbound,
            _ => Direction::Unspecified,
        },
        link_type: packet.link_type(),
        wire_length: packet.wire_length(),
        bytes: packet.bytes(),
        is_head: packet.is_head(),
    })
}

/// Writes the verdicts on packets, and tells `observer` of them. Gives the number of those that are undecided, at the
/// end.
// In a frame of its own, which is gone before the policy that is being tried takes one of the same size.
#[inline(never)]
fn judge<'a>(
    in_force: &InstalledPolicy,
    packets: impl Iterator<Item = CapturedPacket<'a>> + Clone,
    verdicts: &mut [Verdict],
    observer: &mut impl Observer,
) -> usize {
    classify_observed(&in_force.policy, in_force.generation, packets, verdicts, observer).unwrap_or_else(|_| {
        // A link type that was known a moment ago is not known now: the default decides, and nothing was read.
        let flow = Flow { flags: flags::MALFORMED, ..Flow::default() };
        let action = in_force.policy.default_action().number();
        verdicts.fill(Verdict { action, generation: in_force.generation, flow, ..Verdict::default() });
        0
    })
}

/// Tells every attached client which policy is in force. PASSIVE_LEVEL.
pub(crate) fn announce<M: Machine, R: Resident>(registration: &ProviderRegistration<Engine<M>, R>, generation: u64) {
    for client in registration.clients() {
        client.policy_changed(generation);
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::compile::{Conditions, Rule, compile};
    use sluice_core::{Action, Policy, RuleAction};
    use sluice_npi::action;

    use super::*;

    fn in_force(rules: &[Rule], default: Action) -> InstalledPolicy {
        let policy = Policy::new(compile(rules, default).unwrap()).unwrap();
        let (counters, limits) = Default::default();
        InstalledPolicy { generation: 7, policy, persisted: false, counters, limits }
    }

    /// The verdict on a packet of four bytes.
    fn verdict(in_force: &InstalledPolicy, link_type: u16, direction: u16) -> Verdict {
        let packet = PacketRef::new(link_type, direction, &[0x45, 0, 0, 20], 4).unwrap();
        let mut verdicts = [Verdict::default()];
        judge(in_force, captured(&[packet]), &mut verdicts, &mut ());
        verdicts[0]
    }

    #[test]
    fn a_rule_for_a_direction_is_for_that_one_alone() {
        let rules = [Direction::Inbound, Direction::Outbound].map(|direction| Rule {
            id: 10 + direction as u32,
            action: RuleAction::Block,
            conditions: Conditions { direction: Some(direction), ..Conditions::default() },
        });
        let policy = in_force(&rules, Action::Permit);
        let decided = |direction| {
            let verdict = verdict(&policy, link_type::IPV4, direction);
            (verdict.action, verdict.rule_id)
        };
        assert_eq!(decided(direction::INBOUND), (action::BLOCK, 10 + Direction::Inbound as u32));
        assert_eq!(decided(direction::OUTBOUND), (action::BLOCK, 10 + Direction::Outbound as u32));
        assert_eq!(decided(direction::UNSPECIFIED), (action::PERMIT, 0));
    }

    #[test]
    fn a_packet_whose_link_type_a_client_changes_meanwhile_is_malformed_and_left_to_the_default() {
        const UNKNOWN: u16 = 0xFFFF;
        assert!(!link_type::is_known(UNKNOWN));
        for (default, number) in [(Action::Permit, action::PERMIT), (Action::Block, action::BLOCK)] {
            let verdict = verdict(&in_force(&[], default), UNKNOWN, direction::INBOUND);
            assert_eq!((verdict.action, verdict.rule_id, verdict.generation), (number, 0, 7));
            assert_eq!(verdict.flow.flags, flags::MALFORMED);
            assert_eq!(verdict.header, Verdict::default().header);
        }
    }
}
