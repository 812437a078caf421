//! ByteCuts (2018) and DynamicTuple (2022), which are not run here: what they were seen to take on another machine, an
//! Intel Xeon of two virtual CPUs, on 2026-11-28, scaled to this one by librte_acl, which ran on both.

use crate::{Ratio, figure, mean};

/// The fastest round of lookups, one a call, in nanoseconds, on the sets of one seed and size.
struct Seen {
    set: &'static str,
    /// Of the better of the two. ByteCuts was not run on sets of 100k.
    better: f64,
    librte_acl: f64,
}

const fn seen(set: &'static str, better: f64, librte_acl: f64) -> Seen {
    Seen { set, better, librte_acl }
}

const SEEN: [Seen; 18] = [
    seen("acl1_1k", 63.0, 85.0),
    seen("acl2_1k", 105.0, 96.0),
    seen("fw1_1k", 87.0, 97.0),
    seen("fw2_1k", 40.0, 88.0),
    seen("ipc1_1k", 66.0, 94.0),
    seen("ipc2_1k", 44.0, 85.0),
    seen("acl1_10k", 69.0, 178.0),
    seen("acl2_10k", 83.0, 298.0),
    seen("fw1_10k", 42.0, 368.0),
    seen("fw2_10k", 30.0, 119.0),
    seen("ipc1_10k", 118.0, 169.0),
    seen("ipc2_10k", 35.0, 153.0),
    seen("acl1_100k", 58.0, 888.0),
    seen("acl2_100k", 425.0, 590.0),
    seen("fw1_100k", 105.0, 836.0),
    seen("fw2_100k", 108.0, 559.0),
    seen("ipc1_100k", 92.0, 726.0),
    seen("ipc2_100k", 74.0, 499.0),
];

/// What was measured here, one a call, in nanoseconds.
pub(crate) struct Here {
    pub(crate) row: String,
    pub(crate) set: String,
    pub(crate) sluice: f64,
    pub(crate) librte_acl: f64,
}

/// Compares the sets of a size. The scale is one for all of them, the mean, as librte_acl's figures for single sets
/// depend on what of its tables the caches of others leave.
pub(crate) fn compare(size: &str, here: &[Here]) {
    let seen = |here: &Here| SEEN.iter().find(|seen| seen.set == here.set);
    let pairs: Vec<(&Here, &Seen)> = here.iter().filter_map(|here| Some((here, seen(here)?))).collect();
    if pairs.is_empty() {
        return;
    }
    let scales: Vec<f64> = pairs.iter().map(|(here, seen)| here.librte_acl / seen.librte_acl).collect();
    let scale = mean(&scales);
    let table = format!("published {size}");
    let mut ratios = Vec::new();
    for ((here, seen), own) in pairs.iter().zip(scales) {
        let scaled = seen.better * scale;
        let ratio = here.sluice / scaled;
        figure(&table, &here.row, "librte_acl, to its time there", format!("{own:.2}"));
        figure(&table, &here.row, "better of the two, there", format!("{:.0} ns", seen.better));
        figure(&table, &here.row, "scaled", format!("{scaled:.1} ns"));
        figure(&table, &here.row, "Sluice", format!("{:.1} ns", here.sluice));
        figure(&table, &here.row, "Sluice", Ratio { ratio, to: "the scaled one", target: Some(1.15) });
        ratios.push(ratio);
    }
    let target = match size {
        "1k" => 0.60,
        "10k" => 0.80,
        _ => 0.90,
    };
    let row = format!("mean of {size}");
    figure(&table, &row, "librte_acl, to its time there", format!("{scale:.2}"));
    figure(&table, &row, "Sluice", Ratio { ratio: mean(&ratios), to: "the scaled one", target: Some(target) });
}
