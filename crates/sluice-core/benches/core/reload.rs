//! What it takes until a change of 1,000 of 100,000 rules is in force: there is no other way than all of the policy
//! anew.

use sluice_core::compile::compile;
use sluice_core::{Action, Policy};

use crate::common::classbench;
use crate::{classify, figure, processor_time};

/// Of as many runs the fastest counts.
const RUNS: usize = 5;

pub(crate) fn bench() {
    let Some(folder) = classbench::folder() else {
        return;
    };
    for (name, set) in classify::sets(&folder, "100k") {
        let mut rules = classbench::rules(&set.lines);
        let old = Policy::new(compile(&rules, Action::Block).expect("the rules compile")).expect("it is valid");
        // Every hundredth rule gets what its neighbour has.
        let step = rules.len() / 1000;
        for index in (step..rules.len()).step_by(step) {
            rules[index].conditions = rules[index - 1].conditions.clone();
        }
        let (mut compiled, mut validated) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let start = processor_time();
            let table = compile(&rules, Action::Block).expect("the rules compile");
            compiled.push((processor_time() - start).as_secs_f64() * 1e3);
            // As the driver does: the copy that it validates is the one that it keeps.
            let start = processor_time();
            let policy = Policy::new(table.clone()).expect("it is valid");
            validated.push((processor_time() - start).as_secs_f64() * 1e3);
            assert_ne!(policy.bytes(), old.bytes(), "the rules have changed");
        }
        for (column, mut times) in [("compiled in", compiled), ("copied and validated in", validated)] {
            times.sort_by(f64::total_cmp);
            figure("reload", &name, column, format!("{:.1} ms | median {:.1}", times[0], times[RUNS / 2]));
        }
        let table = old.bytes().len() as f64 / f64::from(1 << 20);
        figure("reload", &name, "table", format!("{table:.1} MiB"));
        figure("reload", &name, "old and new table", format!("{:.1} MiB", 2.0 * table));
    }
}
