//! Hints spare a lookup most lines in which it would find nothing, in lists of every shape.

use std::collections::BTreeSet;
use std::iter;

use sluice_core::compile::{Conditions, Rule, compile};
use sluice_core::{Action, RuleAction};

use super::raw::{hash, hints, homes};

/// How many names there are in a list, and how many of the same shape are looked for that are not in it.
const NAMES: usize = 20_000;

/// Makes a name of a shape.
type Make = fn(&mut fastrand::Rng) -> String;

fn label(rng: &mut fastrand::Rng, length: usize) -> String {
    iter::repeat_with(|| rng.alphanumeric().to_ascii_lowercase()).take(length).collect()
}

fn deep(rng: &mut fastrand::Rng) -> String {
    let labels: Vec<String> = iter::repeat_with(|| label(rng, 5)).take(4).collect();
    labels.join(".") + ".example"
}

fn words(rng: &mut fastrand::Rng) -> String {
    let words: String = iter::repeat_with(|| ["news", "shop", "track", "cloud"][rng.usize(..4)]).take(3).collect();
    format!("{words}{}.example", rng.u16(..))
}

/// What is known of a list: the lines that a lookup of what is not in it reads, and bytes a name besides its text.
fn measure(make: Make) -> (f64, f64) {
    let rng = &mut fastrand::Rng::with_seed(1);
    let names: BTreeSet<String> = iter::repeat_with(|| make(rng)).take(NAMES).collect();
    let conditions = Conditions { names: names.iter().cloned().collect(), ..Conditions::default() };
    let rule = Rule { id: 1, action: RuleAction::Block, conditions };
    let table = compile(&[rule], Action::Permit).unwrap();
    let word = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap());
    let counts: Vec<usize> = (0..11).map(|index| word(16 + 4 * index) as usize).collect();
    let before = counts.iter().zip([8, 16, 32, 64, 4]);
    let start = before.fold(64, |start, (count, size)| start + (count * size).next_multiple_of(64));
    let lines_for = |name: &str| {
        let hash = hash(name.as_bytes());
        let [first, _] = homes(hash, counts[6]);
        hints(hash).into_iter().filter(|bits| word(start + 4 * first) & bits == *bits).count()
    };
    assert!(names.iter().all(|name| lines_for(name) > 0), "a name of the list");
    let others = iter::repeat_with(|| make(rng)).filter(|name| !names.contains(name)).take(NAMES);
    let lines: usize = others.map(|name| lines_for(&name)).sum();
    let text: usize = names.iter().map(String::len).sum();
    (lines as f64 / NAMES as f64, (table.len() - text) as f64 / names.len() as f64)
}

#[test]
fn one_in_twenty_names_that_are_in_no_list_reads_a_line_at_most_whatever_the_list_looks_like() {
    let shapes: [(&str, Make); 7] = [
        ("short", |rng| label(rng, 6) + ".io"),
        ("two in a line", |rng| label(rng, 10) + ".example"),
        ("the longest in lines", |rng| label(rng, 20) + ".example"),
        ("texts elsewhere", |rng| format!("{:032x}.example", rng.u128(..))),
        ("deep", deep),
        ("numbered", |rng| format!("host-{}.example", rng.u32(..1 << 20))),
        ("words", words),
    ];
    for (what, make) in shapes {
        let (lines, besides_text) = measure(make);
        assert!(lines < 0.05, "{what}: {lines:.3} lines");
        assert!(besides_text < 29.0, "{what}: {besides_text:.1} bytes besides the text");
    }
}
