//! How much processor time compiling takes, and how large the tables are, beside those of librte_acl.

use sluice_core::compile::compile;
use sluice_core::{Action, Policy};

use crate::common::classbench;
use crate::{Ratio, classify, figure, processor_time, rte_acl};

/// Of as many runs the fastest counts.
const RUNS: usize = 11;

/// Measures the sets of one size, or all.
pub(crate) fn bench(only: Option<&str>) {
    let Some(folder) = classbench::folder() else {
        return;
    };
    let rte_acl = rte_acl::build();
    for size in classify::sizes(only) {
        // What has to be reached: milliseconds, bytes a rule.
        let (time_target, size_target) = match size {
            "100" => (None, None),
            "1k" => (None, Some(250)),
            "10k" => (Some(30), Some(250)),
            _ => (Some(500), Some(250)),
        };
        let with_target = |figure: String, target: Option<u32>| {
            target.map_or_else(|| figure.clone(), |target| format!("{figure} | target {target}"))
        };
        for (name, set) in classify::sets(&folder, size) {
            let table = format!("compile {size}");
            let rules = classbench::rules(&set.lines);
            let mut times = [0.0; RUNS];
            let mut made = Vec::new();
            for time in &mut times {
                let start = processor_time();
                made = compile(&rules, Action::Block).expect("the rules compile");
                *time = (processor_time() - start).as_secs_f64() * 1e3;
            }
            times.sort_by(f64::total_cmp);
            let compiled = format!("{:.1} ms | median {:.1}", times[0], times[RUNS / 2]);
            figure(&table, &name, "compiled in", with_target(compiled, time_target));
            let start = processor_time();
            let length = made.len();
            Policy::new(made).expect("what the compiler makes is valid");
            let validated = (processor_time() - start).as_secs_f64() * 1e3;
            figure(&table, &name, "validated in", format!("{validated:.2} ms"));
            figure(&table, &name, "table", format!("{} KiB", length / 1024));
            let a_rule = (length / set.lines.len()).to_string();
            figure(&table, &name, "bytes a rule", with_target(a_rule, size_target));
            if let Some(acl) = rte_acl.as_deref().and_then(|program| rte_acl::run(program, &set)) {
                let ratio = length as f64 / acl.bytes;
                figure(&table, &name, "table", Ratio { ratio, to: "librte_acl's", target: Some(0.5) });
                figure(&table, &name, "librte_acl, built in", format!("{:.0} ms", acl.milliseconds));
            }
        }
    }
}
