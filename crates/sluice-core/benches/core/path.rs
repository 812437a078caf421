//! The whole path of a packet through Classify().

use std::hint::black_box;

use sluice_core::compile::compile;
use sluice_core::{Action, CapturedPacket, Direction, Policy};
use sluice_npi::{Verdict, link_type};
use sluice_swap::{AllCounted, Processors, Swap};

use crate::common::classbench;
use crate::{figure, measure, tcp_frame};

/// The one thread of this benchmark, as if at DISPATCH_LEVEL.
enum AtDispatchLevel {}

// SAFETY: the value is never replaced.
unsafe impl Processors for AtDispatchLevel {
    type Region = ();

    #[inline]
    fn enter() -> Option<()> {
        // As KeGetCurrentIrql, a call of a function that is somewhere else.
        let irql: fn() -> u8 = || 2;
        (black_box(irql)() < 2).then_some(())
    }

    fn visit_each() {}
}

/// All of what Classify does for a packet but the call through the table: read the swap, parse, decide, write the
/// verdict.
pub(crate) fn bench() {
    let set = classbench::folder().and_then(|folder| classbench::load(&folder, "acl1_1k"));
    let rules = set.map(|set| classbench::rules(&set.lines)).unwrap_or_default();
    let policy = Policy::new(compile(&rules, Action::Permit).expect("the rules compile"))
        .expect("what the compiler makes is valid");
    let swap = Swap::<_, AtDispatchLevel, 64>::new((policy, 1_u64));
    let counted = Swap::<_, AllCounted, 64>::new(());
    let rng = &mut fastrand::Rng::with_seed(1);
    let frames: Vec<[u8; 64]> = (0..8192).map(|_| tcp_frame(rng)).collect();
    let classify = |(policy, generation): &(Policy<Vec<u8>>, u64), frames: &[[u8; 64]], verdicts: &mut [Verdict]| {
        let (direction, link_type) = (Direction::Inbound, link_type::ETHERNET);
        let packets =
            frames.iter().map(|bytes| CapturedPacket { direction, link_type, wire_length: 64, bytes, is_head: false });
        sluice_core::classify(policy, *generation, packets, verdicts).expect("the link type is known");
        _ = black_box(verdicts);
    };
    let in_calls_of = |count: usize| {
        let mut verdicts = vec![Verdict::default(); count];
        let (swap, frames) = (&swap, &frames);
        move || frames.chunks(count).for_each(|frames| swap.read(0, |state| classify(state, frames, &mut verdicts)))
    };
    let (mut one, mut many) = (in_calls_of(1), in_calls_of(32));
    let mut call: fn(u64) -> u64 = |value| value + 1;
    let mut empty_read =
        || (0..frames.len() as u64).for_each(|value| _ = black_box(swap.read(0, |_| black_box(value))));
    let mut counted_read =
        || (0..frames.len() as u64).for_each(|value| _ = black_box(counted.read(0, |()| black_box(value))));
    let mut indirect = || (0..frames.len() as u64).for_each(|value| _ = black_box(black_box(&mut call)(value)));
    let [one, many, read, counted, call] =
        measure(frames.len(), [&mut one, &mut many, &mut empty_read, &mut counted_read, &mut indirect]);
    println!("Whole path for TCP frames of 64 bytes, {} rules: parse, decide, verdict", rules.len());
    for (row, time) in [
        ("one packet a call", one),
        ("32 packets a call", many),
        ("of which reading the policy pointer at DISPATCH_LEVEL (`sluice_swap::Swap::read`), once a call", read),
        ("the same below DISPATCH_LEVEL, without the critical region around it", counted),
        ("an indirect call, as the one through the dispatch table", call),
    ] {
        figure("path", row, "a packet", time);
    }
}
