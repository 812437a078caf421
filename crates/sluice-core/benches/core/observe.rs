//! What counting by rule, rules that log and a dry run cost a packet.

use std::hint::black_box;
use std::iter;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use sluice_core::compile::{Conditions, Rule, compile};
use sluice_core::{Action, CapturedPacket, Decision, Direction, Observer, Policy, RuleAction, classify_observed};
use sluice_npi::{Flow, Verdict, link_type};

use crate::common::classbench;
use crate::{figure, measure, tcp_frame};

/// Counts as the engine does: alone in its place, or with a locked instruction.
struct Counting<'a> {
    counters: &'a [AtomicU64],
    is_alone: bool,
}

impl Observer for Counting<'_> {
    #[inline]
    fn decided(&mut self, rule: u32) {
        let Some(counter) = self.counters.get(rule as usize) else { return };
        if self.is_alone {
            counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
        } else {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn observed(&mut self, rule: u32, _: &CapturedPacket<'_>, _: &Flow, _: Decision) {
        self.decided(rule);
    }
}

/// Parse, decide, write the verdict, in five ways.
pub(crate) fn bench() {
    let set = classbench::folder().and_then(|folder| classbench::load(&folder, "acl1_1k"));
    let rules = set.map(|set| classbench::rules(&set.lines)).unwrap_or_default();
    let observing = |protocol: Option<u8>| {
        let conditions = Conditions { protocols: protocol.into_iter().collect(), ..Conditions::default() };
        let rule = Rule { id: u32::MAX, action: RuleAction::Log, conditions };
        iter::once(rule).chain(rules.iter().cloned()).collect::<Vec<_>>()
    };
    let policy = |rules: &[Rule]| {
        Policy::new(compile(rules, Action::Permit).expect("the rules compile"))
            .expect("what the compiler makes is valid")
    };
    // No frame is of SCTP, all are of TCP.
    let [plain, none, all] = [rules.clone(), observing(Some(132)), observing(Some(6))].map(|rules| policy(&rules));
    let counters: Vec<AtomicU64> = iter::repeat_with(AtomicU64::default).take(rules.len() + 2).collect();
    let is_trying = AtomicBool::new(false);
    let rng = &mut fastrand::Rng::with_seed(1);
    let frames: Vec<[u8; 64]> = (0..8192).map(|_| tcp_frame(rng)).collect();
    println!("TCP frames of 64 bytes, {} rules: parse, decide, verdict, and", rules.len());
    for count in [1, 32] {
        let alone = || Counting { counters: &counters, is_alone: black_box(true) };
        let locked = || Counting { counters: &counters, is_alone: black_box(false) };
        let [nothing, alone, locked, none, all] = measure(
            frames.len(),
            [
                &mut || through(&plain, &frames, count, &mut (), None),
                &mut || through(&plain, &frames, count, &mut alone(), Some(&is_trying)),
                &mut || through(&plain, &frames, count, &mut locked(), Some(&is_trying)),
                &mut || through(&none, &frames, count, &mut alone(), Some(&is_trying)),
                &mut || through(&all, &frames, count, &mut alone(), Some(&is_trying)),
            ],
        );
        let column = format!("{count} a call");
        figure("observe", "nothing counted", &column, nothing);
        for (row, time, target) in [
            ("counters of the rules, no rule that logs, no dry run", alone, " | target 2"),
            ("the same with locked additions, as where processors share counters", locked, ""),
            ("a rule that logs and matches nothing", none, " | target 2"),
            ("a rule that logs and matches everything, beyond what is reported", all, ""),
        ] {
            figure("observe", row, &column, time);
            let more = time.fastest - nothing.fastest;
            figure("observe", row, &format!("more, {column}"), format!("{more:.1} ns{target}"));
        }
    }
}

/// Classifies all frames in calls of `count`, and asks after each whether there is a dry run.
fn through(
    policy: &Policy<Vec<u8>>,
    frames: &[[u8; 64]],
    count: usize,
    observer: &mut impl Observer,
    is_trying: Option<&AtomicBool>,
) {
    let mut verdicts = vec![Verdict::default(); count];
    let (direction, link_type) = (Direction::Inbound, link_type::ETHERNET);
    for frames in frames.chunks(count) {
        let packets =
            frames.iter().map(|bytes| CapturedPacket { direction, link_type, wire_length: 64, bytes, is_head: false });
        classify_observed(black_box(policy), 1, packets, &mut verdicts, observer).expect("the link type is known");
        assert!(!is_trying.is_some_and(|is_trying| is_trying.load(Relaxed)), "there is no dry run");
        _ = black_box(&mut verdicts);
    }
}
