//! The compiled policy and the linear scan agree on ClassBench rule sets.

mod common;

use common::classbench;
use sluice_core::compile::compile;
use sluice_core::{Action, Direction, Policy};
use sluice_npi::link_type;

fn agree(size: &str, step: usize) {
    let Some(folder) = classbench::folder() else {
        return;
    };
    for set in classbench::SETS {
        let Some(set) = classbench::load(&folder, &format!("{set}_{size}")) else {
            continue;
        };
        let rules = classbench::rules(&set.lines);
        let table = compile(&rules, Action::Block).expect("the rules compile");
        let policy = Policy::new(table).expect("what the compiler makes passes the check");
        for header in set.trace.iter().step_by(step) {
            let flow = classbench::flow(header);
            let expected = classbench::first_match(&set.lines, header).map_or(0, |index| index as u32 + 1);
            let decision = policy.classify(Direction::Inbound, link_type::ETHERNET, &[], &flow);
            assert_eq!(decision.rule_id, expected, "{}: {header:?}", set.name);
        }
    }
}

#[test]
fn rule_sets_of_1k_agree_with_the_linear_scan() {
    agree("1k", 1);
}

#[test]
fn rule_sets_of_10k_agree_with_the_linear_scan() {
    agree("10k", if cfg!(debug_assertions) { 50 } else { 1 });
}

#[test]
fn rule_sets_of_100k_agree_with_the_linear_scan() {
    agree("100k", if cfg!(debug_assertions) { 2000 } else { 20 });
}
