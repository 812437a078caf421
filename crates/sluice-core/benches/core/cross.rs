//! Whether the trees that the compiler chooses are good for rules that it was not tuned on: parts of the sets at hand,
//! other scopes of them, IPv6, and sets of other shapes. The tree that it makes is timed beside those that it could
//! have made: both kinds of trees, and the better kind by other prices for what a search meets.

use std::hint::black_box;
use std::time::Instant;

use fastrand::Rng;
use sluice_core::compile::{CostModel, TreeKind, compile_by, search_cost};
use sluice_core::{Action, Policy};
use sluice_npi::Flow;

use crate::common::classbench::{self, Header, Line, Set};
use crate::shapes::{SHAPES, headers};
use crate::{Ratio, classify, figure, mean};

/// Of as many rounds the fastest counts.
const ROUNDS: usize = 41;

/// How many packets a round looks up.
const PACKETS: usize = 20_000;

/// The first two are those that the compiler chooses from, the third is what it makes. The others are what it would
/// make if what a search meets had another price, or limits were others. There are fewer for sets of 100k.
fn settings(is_large: bool) -> Vec<(&'static str, CostModel)> {
    let shipped = CostModel::default();
    let with = |change: fn(&mut CostModel)| {
        let mut model = shipped.clone();
        change(&mut model);
        model
    };
    let mut settings = vec![
        ("cuts", CostModel { trees: TreeKind::Cuts, ..shipped.clone() }),
        ("tables", CostModel { trees: TreeKind::Tables, ..shipped.clone() }),
        ("shipped", shipped.clone()),
        ("copies cheap", with(|model| model.growth /= 4)),
        ("copies dear", with(|model| model.growth *= 4)),
        ("doublings dear", with(|model| model.doubling *= 2)),
        ("nodes cheap", with(|model| model.node /= 2)),
        ("twice the children", with(|model| model.entries_per_child_bits = 1)),
    ];
    if !is_large {
        settings.extend([
            ("nodes dear", with(|model| model.node *= 2)),
            ("filters cheap", with(|model| model.filter /= 2)),
            ("filters dear", with(|model| model.filter = model.filter * 3 / 2)),
            ("groups cheap", with(|model| (model.more_groups, model.each_group) = (50, 30))),
            ("groups dear", with(|model| (model.more_groups, model.each_group) = (200, 120))),
            ("doublings cheap", with(|model| model.doubling /= 2)),
            ("cut from 128", with(|model| model.not_cut = 128)),
            ("cut from 32", with(|model| model.not_cut = 32)),
            ("half the children", with(|model| model.entries_per_child_bits = 3)),
            ("four times the children", with(|model| model.entries_per_child_bits = 0)),
        ]);
    }
    settings
}

/// Where the shipped one is among [`settings`], behind those that it chooses from.
const SHIPPED: usize = 2;

/// A set to try: its kind, what it is called, lines and headers.
struct Case {
    kind: String,
    name: String,
    lines: Vec<Line>,
    headers: Vec<Header>,
    is_ipv6: bool,
}

/// How much more the shipped tree takes than the better one of two, and than the best of all settings.
#[derive(Clone, Copy)]
struct Excess {
    of_two: f64,
    of_all: f64,
}

impl Excess {
    fn of(costs: &[f64]) -> Self {
        let least = |costs: &[f64]| costs.iter().copied().fold(f64::INFINITY, f64::min);
        Self { of_two: costs[SHIPPED] / least(&costs[..=SHIPPED]), of_all: costs[SHIPPED] / least(costs) }
    }
}

/// Tries the sets of one size, or of all.
pub(crate) fn bench(only: Option<&str>) {
    println!("What the compiler chooses, beside what it could have chosen");
    for size in ["1k", "10k", "100k"].into_iter().filter(|size| only.is_none_or(|only| only == *size)) {
        let mut by_kind: Vec<(String, Vec<[Excess; 2]>)> = Vec::new();
        let mut all = Vec::new();
        for case in cases(size) {
            let Some(excess) = try_settings(&case) else { continue };
            match by_kind.iter_mut().find(|(kind, _)| *kind == case.kind) {
                Some((_, list)) => list.push(excess),
                None => by_kind.push((case.kind, vec![excess])),
            }
            all.push(excess);
        }
        by_kind.push((format!("all of {size}"), all));
        for (kind, list) in by_kind {
            say(&format!("cross {size}"), &kind, &list);
        }
    }
}

/// Says what the sets of a kind came to.
fn say(table: &str, kind: &str, list: &[[Excess; 2]]) {
    figure(table, kind, "sets", list.len());
    for (what, at, target) in [("time", 0, Some(1.15)), ("counted", 1, None)] {
        let excesses = list.iter().map(|both| both[at]);
        let parts: [(&str, Vec<f64>); 2] = [
            ("the better tree", excesses.clone().map(|excess| excess.of_two).collect()),
            ("the best setting", excesses.map(|excess| excess.of_all).collect()),
        ];
        for (to, ratios) in parts {
            let worst = ratios.iter().copied().fold(0.0, f64::max);
            figure(table, kind, &format!("{what}, mean"), Ratio { ratio: mean(&ratios), to, target: None });
            figure(table, kind, &format!("{what}, worst"), Ratio { ratio: worst, to, target });
        }
    }
}

/// Everything that is tried with sets of a size.
fn cases(size: &str) -> Vec<Case> {
    let rng = &mut Rng::with_seed(7);
    let mut cases = Vec::new();
    // They take so long that some have to do.
    let is_large = size == "100k";
    let mut add = |kind: &str, name: String, lines: Vec<Line>, headers: Vec<Header>, is_ipv6: bool| {
        cases.push(Case { kind: format!("{kind}, {size}"), name: format!("{name}_{size}"), lines, headers, is_ipv6 });
    };
    if let Some(folder) = classbench::folder() {
        for (name, Set { lines, trace, .. }) in classbench::SETS
            .iter()
            .filter_map(|name| Some((*name, classbench::load(&folder, &format!("{name}_{size}"))?)))
        {
            let trace: Vec<Header> = trace.into_iter().take(PACKETS).collect();
            add("as they are", name.into(), lines.clone(), trace.clone(), false);
            add("as IPv6", format!("{name} as IPv6"), lines.clone(), trace, true);
            let (even, odd): (Vec<_>, Vec<_>) = lines.iter().copied().enumerate().partition(|(at, _)| at % 2 == 0);
            let (first, second) = lines.split_at(lines.len() / 2);
            let random = lines.iter().copied().filter(|_| rng.bool()).collect();
            let tenth = lines.iter().copied().filter(|_| rng.u32(..10) == 0).collect();
            let without_place = |list: Vec<(usize, Line)>| list.into_iter().map(|(_, line)| line).collect();
            let parts: [(&str, &str, Vec<Line>); 8] = [
                ("halves", "even", without_place(even)),
                ("halves", "odd", without_place(odd)),
                ("halves", "first half", first.to_vec()),
                ("halves", "second half", second.to_vec()),
                ("halves", "random half", random),
                ("tenths", "tenth", tenth),
                (
                    "other scopes",
                    "shorter prefixes",
                    other_scopes(&lines, |rng, length| length - rng.u8(..=3).min(length), rng),
                ),
                (
                    "other scopes",
                    "longer prefixes",
                    other_scopes(
                        &lines,
                        |rng, length| if length == 0 { 0 } else { (length + rng.u8(..=4)).min(32) },
                        rng,
                    ),
                ),
            ];
            for (kind, part, lines) in parts {
                if is_large && ["even", "odd", "tenth"].contains(&part) {
                    continue;
                }
                let headers = headers(rng, &lines, PACKETS);
                add(kind, format!("{name} {part}"), lines, headers, false);
            }
        }
    }
    let count = match size {
        "1k" => 1_000,
        "10k" => 10_000,
        _ => 100_000,
    };
    for shape in &SHAPES {
        let lines = shape.lines(rng, count);
        let headers = headers(rng, &lines, PACKETS);
        add("other shapes", shape.name.into(), lines.clone(), headers.clone(), false);
        if is_large {
            continue;
        }
        add("other shapes, as IPv6", format!("{} as IPv6", shape.name), lines, headers, true);
    }
    cases
}

/// The same rules with prefixes of other lengths; the new bits are random.
fn other_scopes(lines: &[Line], length: fn(&mut Rng, u8) -> u8, rng: &mut Rng) -> Vec<Line> {
    let mut other = |(address, old): (u32, u8)| {
        let new = length(rng, old);
        let bits = |length: u8| u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        ((address | rng.u32(..) & !bits(old)) & bits(new), new)
    };
    lines
        .iter()
        .map(|line| Line { source: other(line.source), destination: other(line.destination), ..*line })
        .collect()
}

/// How much longer the shipped tree takes than others, measured and counted.
fn try_settings(case: &Case) -> Option<[Excess; 2]> {
    let mut rules = classbench::rules(&case.lines);
    let mut flows: Vec<Flow> = case.headers.iter().map(classbench::flow).collect();
    if case.is_ipv6 {
        (rules, flows) = classify::as_ipv6(rules, &flows);
    }
    let settings = settings(case.lines.len() > 20_000);
    let tables: Option<Vec<Vec<u8>>> =
        settings.iter().map(|(_, model)| compile_by(model, &rules, Action::Block).ok()).collect();
    let Some(tables) = tables else {
        println!("{}: not all settings give a table", case.name);
        return None;
    };
    // Which setting is the first with the same table: those have the same time.
    let same: Vec<usize> =
        tables.iter().map(|table| tables.iter().position(|other| other == table).unwrap_or(0)).collect();
    let policies: Vec<Policy<Vec<u8>>> =
        tables.into_iter().map(|table| Policy::new(table).expect("what the compiler makes is valid")).collect();
    let mut times = vec![f64::INFINITY; settings.len()];
    let mut found = None;
    for _ in 0..ROUNDS {
        for (at, policy) in policies.iter().enumerate().filter(|(at, _)| same[*at] == *at) {
            let look_up_all =
                || black_box(flows.iter().map(|flow| u64::from(classify::decide(policy, flow))).sum::<u64>());
            // What the tables of the others have taken from the caches comes back.
            let sum = look_up_all();
            let start = Instant::now();
            look_up_all();
            times[at] = times[at].min(start.elapsed().as_nanos() as f64 / flows.len() as f64);
            assert_eq!(*found.get_or_insert(sum), sum, "{}: all tables find the same rules", case.name);
        }
    }
    let times: Vec<f64> = same.iter().map(|at| times[*at]).collect();
    let mut counted = vec![f64::NAN; settings.len()];
    for (at, (_, model)) in settings.iter().enumerate() {
        counted[at] = if same[at] == at {
            search_cost(model, &rules, &flows).map_or(f64::NAN, |cost| cost as f64 / flows.len() as f64)
        } else {
            counted[same[at]]
        };
    }
    let [timed_excess, counted_excess] = [Excess::of(&times), Excess::of(&counted)];
    let best = (0..times.len()).min_by(|a, b| times[*a].total_cmp(&times[*b])).unwrap_or(SHIPPED);
    println!(
        "{}, {} rules: {:.1} ns, cuts {:.1}, tables {:.1}; \
         to the better {:.2} (counted {:.2}), to the best {:.2} ({:.2}): {} {:.1}",
        case.name,
        case.lines.len(),
        times[SHIPPED],
        times[0],
        times[1],
        timed_excess.of_two,
        counted_excess.of_two,
        timed_excess.of_all,
        counted_excess.of_all,
        settings[best].0,
        times[best]
    );
    Some([timed_excess, counted_excess])
}
