//! A policy that is tried beside the one in force: what would change, in counters.

use alloc::boxed::Box;
use alloc::vec::Vec;

use sluice_control::message::{DryRunStatus, ModuleId, PacketRecord, header_of};
use sluice_control::status::STATUS_INSUFFICIENT_RESOURCES;
use sluice_control::{List, NTSTATUS, try_box};
use sluice_core::{Action, CapturedPacket, Decision, NameText, ParsedPacket, Policy, look_up_again};
use sluice_npi::Verdict;

use crate::Machine;
use crate::counters::{Place, RuleCounters};
use crate::log::{Circumstances, Samples, record};
use crate::policy::InstalledPolicy;

/// Permit and block, by what is decided and by what would be.
const PAIRS: usize = 4;

/// A policy that is being tried.
pub(crate) struct DryRun {
    /// The policy with counters of its own, as it will be in force if it is loaded.
    pub(crate) tried: InstalledPolicy,
    /// How many dry runs there have been, with this one.
    pub(crate) number: u64,
    /// The packets of each rule that would be treated in another way than they are.
    pub(crate) changed: RuleCounters,
    pairs: RuleCounters,
    samples: Samples,
    started_ms: u64,
    started_generation: u64,
}

impl DryRun {
    /// Starts to try `tried`, while policy `generation` is in force.
    #[inline(never)]
    pub(crate) fn try_new<M: Machine>(
        tried: InstalledPolicy,
        number: u64,
        generation: u64,
        machine: &M,
    ) -> Result<Box<Self>, NTSTATUS> {
        let counters = |length| RuleCounters::try_new(length, machine.processors());
        let parts = || {
            let changed = counters(tried.counter_count())?;
            Some((changed, counters(PAIRS)?, Samples::try_new()?))
        };
        let (changed, pairs, samples) = parts().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let started_ms = machine.uptime_ms();
        try_box(Self { tried, number, changed, pairs, samples, started_ms, started_generation: generation })
    }

    /// Counts what the policy would have decided about packets that have their `verdicts`: those without a name that
    /// was put together, or those with `name`, which was. Up to DISPATCH_LEVEL.
    #[cold]
    #[inline(never)]
    pub(crate) fn compare<'packet>(
        &self,
        place: Place,
        packets: impl Iterator<Item = CapturedPacket<'packet>> + Clone,
        verdicts: &[Verdict],
        name: Option<&NameText>,
        module_id: ModuleId,
        now: u64,
    ) {
        let [packets_of, changed, pairs] = [&self.tried.counters, &self.changed, &self.pairs].map(|all| all.at(place));
        let policy = &self.tried.policy;
        look_up_again(policy, packets, verdicts, name, |packet, verdict, decision, rule| {
            packets_of.add(rule as usize);
            pairs.add(pair(verdict.action, decision.action.number()));
            if verdict.action != decision.action.number() {
                changed.add(rule as usize);
                self.keep(packet, verdict, decision, module_id, now);
            }
            if policy.observes() {
                let CapturedPacket { direction, link_type, bytes, .. } = *packet;
                let parsed = ParsedPacket { direction, link_type, bytes, flow: &verdict.flow };
                policy.observe(&parsed, rule, |rule| packets_of.add(rule as usize));
            }
        });
    }

    /// Keeps a packet as a sample, if there is room. A function of its own: the record would be in the frame of
    /// [`compare`](Self::compare), above which whole batches are looked up.
    #[inline(never)]
    fn keep(&self, packet: &CapturedPacket<'_>, verdict: &Verdict, decision: Decision, module_id: ModuleId, now: u64) {
        self.samples.offer((verdict.rule_id, decision.rule_id), || sample(packet, verdict, decision, module_id, now));
    }

    /// What has been counted, while policy `generation` is in force.
    #[inline(never)]
    pub(crate) fn status(&self, generation: u64, now: u64, samples: &mut List<'_, PacketRecord>) -> DryRunStatus {
        self.samples.list(samples);
        let policy: &Policy<Vec<u8>> = &self.tried.policy;
        let mut packets = [0; PAIRS];
        packets.iter_mut().zip(0..).for_each(|(packets, pair)| *packets = self.pairs.sum(pair));
        DryRunStatus {
            header: header_of::<DryRunStatus>(),
            table_length: u32::try_from(policy.bytes().len()).unwrap_or(u32::MAX),
            started_generation: self.started_generation,
            generation,
            running: now.saturating_sub(self.started_ms),
            packets,
            rule_count: policy.rule_count(),
            default_action: policy.default_action().number(),
            reserved: 0,
            samples_total: 0,
            samples_listed: 0,
            now,
        }
    }
}

/// The index of a pair of actions.
fn pair(decided: u16, would_be: u16) -> usize {
    let is_block = |action: u16| usize::from(action == Action::Block.number());
    is_block(decided) << 1 | is_block(would_be)
}

#[inline(never)]
fn sample(
    packet: &CapturedPacket<'_>,
    verdict: &Verdict,
    decision: Decision,
    module_id: ModuleId,
    now: u64,
) -> PacketRecord {
    let action = Action::from_number(verdict.action).unwrap_or_default();
    let decided = Decision { action, rule_id: verdict.rule_id };
    let of = Circumstances { time: now, generation: verdict.generation, module_id, decision: decided };
    let record = record(of, decision.rule_id, 0, packet, &verdict.flow);
    PacketRecord { dry_run_action: decision.action.number(), ..record }
}
