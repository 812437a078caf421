//! What the drivers should answer: the verdicts that the same code gives in this process.

use std::path::Path;
use std::sync::{Arc, RwLock};

use sluice_npi::{Flow, Verdict, flags};

use crate::capture::{Capture, RecordedPacket};
use crate::classify::next_batch;
use crate::failure::Failure;
use crate::offline::Offline;

/// The packets of a capture, all in memory, in batches for one request each.
pub(super) struct Workload {
    pub(super) batches: Vec<Vec<RecordedPacket>>,
}

impl Workload {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let mut capture = Capture::open(path)?;
        let mut batches = Vec::new();
        loop {
            let (packets, end) = next_batch(&mut capture, None);
            if !packets.is_empty() {
                batches.push(packets);
            }
            match end {
                None => {}
                Some(Err(failure)) => return Err(failure),
                Some(Ok(())) if batches.is_empty() => {
                    capture.check_left_out()?;
                    return Err(Failure::Input(format!("{} has no packets", path.display())));
                }
                Some(Ok(())) => return capture.check_left_out().map(|()| Self { batches }),
            }
        }
    }
}

/// A policy, and the verdicts that it gives on the workload.
#[derive(Debug)]
pub(super) struct Policy {
    /// What is loaded; empty if no policy is in force.
    pub(super) table: Vec<u8>,
    verdicts: Vec<Vec<Verdict>>,
}

impl Policy {
    fn new(workload: &Workload, table: Vec<u8>) -> Result<Self, Failure> {
        let offline = Offline::new((!table.is_empty()).then(|| table.clone()))?;
        let batch = |packets: &Vec<RecordedPacket>| packets.iter().map(|packet| offline.classify(packet)).collect();
        let verdicts = workload.batches.iter().map(batch).collect::<Result<_, _>>()?;
        Ok(Self { table, verdicts })
    }

    /// The position of the first wrong verdict on a batch.
    fn first_wrong(&self, batch: usize, verdicts: &[Verdict]) -> Option<usize> {
        let expected = &self.verdicts[batch];
        // The generation is the driver's own count, which is checked by itself.
        let same = |(expected, verdict): (&Verdict, &Verdict)| {
            let verdict = Verdict { generation: expected.generation, ..*verdict };
            without_names(verdict, expected) == without_names(*expected, &verdict)
        };
        expected.iter().zip(verdicts).position(|pair| !same(pair))
    }
}

/// The policies that are put in force.
pub(super) struct Policies {
    pub(super) none: Arc<Policy>,
    pub(super) loaded: Arc<Policy>,
}

impl Policies {
    pub(super) fn new(workload: &Workload, table: Vec<u8>) -> Result<Self, Failure> {
        let policy = |table| Policy::new(workload, table).map(Arc::new);
        Ok(Self { none: policy(Vec::new())?, loaded: policy(table)? })
    }

    /// The policy of this table, which may be a persisted one.
    fn with_table(&self, workload: &Workload, table: Vec<u8>) -> Result<Arc<Policy>, Failure> {
        match [&self.none, &self.loaded].into_iter().find(|policy| policy.table == table) {
            Some(policy) => Ok(Arc::clone(policy)),
            None => Policy::new(workload, table).map(Arc::new),
        }
    }
}

/// The policy that each generation stands for, in one life of the drivers.
pub(super) struct Generations<'a> {
    workload: &'a Workload,
    policies: &'a Policies,
    /// A restarted provider counts from the start again, so a generation may have stood for more than one policy.
    known: RwLock<Vec<(u64, Arc<Policy>)>>,
}

impl<'a> Generations<'a> {
    pub(super) fn new(workload: &'a Workload, policies: &'a Policies) -> Self {
        Self { workload, policies, known: RwLock::default() }
    }

    /// From now on, `generation` may stand for this policy.
    pub(super) fn add(&self, generation: u64, policy: &Arc<Policy>) {
        let mut known = self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.push((generation, Arc::clone(policy)));
    }

    /// Like [`Self::add`], with the table that the driver says is in force.
    pub(super) fn add_table(&self, generation: u64, table: Vec<u8>) -> Result<(), Failure> {
        self.add(generation, &self.policies.with_table(self.workload, table)?);
        Ok(())
    }

    /// Checks the answer to one batch: all verdicts come from one policy that was put in force and is not older than
    /// `at_least`, and each is the verdict of that policy.
    pub(super) fn check(&self, batch: usize, verdicts: &[Verdict], at_least: u64) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::State(what));
        let generation = verdicts.first().map_or(0, |verdict| verdict.generation);
        if let Some(other) = verdicts.iter().find(|verdict| verdict.generation != generation) {
            return wrong(format!("one request was answered by generations {generation} and {}", other.generation));
        }
        if generation < at_least {
            return wrong(format!("policy generation {generation} decided after generation {at_least} was in force"));
        }
        let known = self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut candidates =
            known.iter().filter(|(number, _)| *number == generation).map(|(_, policy)| policy).peekable();
        if candidates.peek().is_none() {
            return wrong(format!("policy generation {generation} decided, which was never put in force"));
        }
        let mut first = None;
        for policy in candidates {
            match policy.first_wrong(batch, verdicts) {
                None => return Ok(()),
                Some(index) => first = Some((index, policy)),
            }
        }
        let Some((index, policy)) = first else { return Ok(()) };
        let packet = &self.workload.batches[batch][index];
        wrong(format!(
            "packet {}: expected {:?}, found {:?}",
            packet.number, policy.verdicts[batch][index], verdicts[index]
        ))
    }
}

/// A verdict without what depends on names, if one of the two says that names may be in several packets: the driver
/// puts them together in the order in which its clients ask, which is another each time.
fn without_names(verdict: Verdict, other: &Verdict) -> Verdict {
    const MAY_BE_SPREAD: u32 = flags::NAME_MISSING | flags::NAME_PENDING | flags::NAME_ASSEMBLED;
    const OF_NAMES: u32 = MAY_BE_SPREAD | flags::ECH | flags::DNS | flags::MALFORMED | flags::TRUNCATED;
    if (verdict.flow.flags | other.flow.flags) & MAY_BE_SPREAD == 0 {
        return verdict;
    }
    let flow = Flow {
        flags: verdict.flow.flags & !OF_NAMES,
        name_kind: 0,
        name_length: 0,
        name_offset: 0,
        dns_type: 0,
        ..verdict.flow
    };
    Verdict { action: 0, rule_id: 0, flow, ..verdict }
}

#[cfg(test)]
mod tests {
    use sluice_core::compile::{Conditions, Rule, compile};
    use sluice_core::{Action, RuleAction};
    use sluice_npi::{direction, link_type};

    use super::*;

    /// One batch of two packets, one too short to be one, and a policy that blocks all.
    fn case() -> (Workload, Policies) {
        let packet = |number, bytes: &[u8]| RecordedPacket {
            number,
            time: None,
            link_type: link_type::RAW,
            direction: direction::INBOUND,
            wire_length: bytes.len() as u32,
            bytes: bytes.to_vec(),
            assembled: std::sync::OnceLock::default(),
        };
        let udp = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8][..], &[0, 1, 0, 2, 0, 8, 0, 0]];
        let workload = Workload { batches: vec![vec![packet(1, &udp.concat()), packet(2, &[0x45])]] };
        let rule = Rule { id: 7, action: RuleAction::Block, conditions: Conditions::default() };
        let table = compile(&[rule], Action::Permit).unwrap();
        let policies = Policies::new(&workload, table).unwrap();
        (workload, policies)
    }

    fn answer(policy: &Policy, generation: u64) -> Vec<Verdict> {
        policy.verdicts[0].iter().map(|verdict| Verdict { generation, ..*verdict }).collect()
    }

    #[track_caller]
    fn refused(checked: Result<(), Failure>, part: &str) {
        let message = checked.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn verdicts_are_right_when_the_policy_of_their_generation_gives_them() {
        let (workload, policies) = case();
        let generations = Generations::new(&workload, &policies);
        generations.add(4, &policies.none);
        generations.add(5, &policies.loaded);
        generations.check(0, &answer(&policies.none, 4), 4).unwrap();
        generations.check(0, &answer(&policies.loaded, 5), 4).unwrap();
        refused(generations.check(0, &answer(&policies.none, 5), 4), "packet 1: expected Verdict");
        refused(generations.check(0, &answer(&policies.none, 4), 5), "generation 4 decided after generation 5");
        refused(generations.check(0, &answer(&policies.none, 6), 4), "generation 6 decided, which was never");
    }

    #[test]
    fn one_request_is_answered_by_one_policy() {
        let (workload, policies) = case();
        let generations = Generations::new(&workload, &policies);
        generations.add(1, &policies.none);
        generations.add(2, &policies.none);
        let mut verdicts = answer(&policies.none, 1);
        verdicts[1].generation = 2;
        refused(generations.check(0, &verdicts, 1), "generations 1 and 2");
    }

    #[test]
    fn every_field_of_a_verdict_is_compared() {
        let (workload, policies) = case();
        let generations = Generations::new(&workload, &policies);
        generations.add(1, &policies.loaded);
        let good = answer(&policies.loaded, 1);
        let mut bad = good.clone();
        bad[1].flow.payload_offset += 1;
        refused(generations.check(0, &bad, 1), "packet 2");
        bad[1] = Verdict { rule_id: 8, ..good[1] };
        refused(generations.check(0, &bad, 1), "packet 2");
    }

    #[test]
    fn a_provider_that_counts_anew_may_reuse_a_generation() {
        let (workload, policies) = case();
        let generations = Generations::new(&workload, &policies);
        generations.add(1, &policies.none);
        generations.add_table(1, policies.loaded.table.clone()).unwrap();
        generations.check(0, &answer(&policies.none, 1), 0).unwrap();
        generations.check(0, &answer(&policies.loaded, 1), 0).unwrap();
    }
}
