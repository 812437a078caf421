//! What a lookup takes by callgrind: instructions, lines of a first cache of 32 KiB missed, branches foreseen wrongly.
//! It does not depend on what else the machine does.

use std::process::Command;
use std::{env, fs, process};

use sluice_core::compile::compile;
use sluice_core::{Action, Direction, ParsedPacket, Policy};
use sluice_npi::{Flow, link_type};

use crate::common::classbench;
use crate::{classify, figure};

/// The first argument of a run of this program that only looks packets up.
pub(crate) const LOOK_UP: &str = "look-up";

/// Measures the sets of one size, or all.
pub(crate) fn bench(only: Option<&str>) {
    let Some(folder) = classbench::folder() else {
        return;
    };
    for size in classify::sizes(only) {
        for (name, set) in classify::sets(&folder, size) {
            for calls in ["1 a call", "32 a call"] {
                let Some([instructions, missed, mispredicted]) = count(size, &name, calls, set.trace.len()) else {
                    println!("no figures without valgrind");
                    return;
                };
                let table = format!("instructions {size}");
                let target = if calls == "1 a call" { " | target 300" } else { "" };
                figure(&table, &name, &format!("instructions, {calls}"), format!("{instructions:.0}{target}"));
                figure(&table, &name, &format!("lines missed, {calls}"), format!("{missed:.1}"));
                figure(&table, &name, &format!("branches mispredicted, {calls}"), format!("{mispredicted:.1}"));
            }
        }
    }
}

/// What a packet takes, by a run of this program in valgrind.
fn count(size: &str, name: &str, calls: &str, packets: usize) -> Option<[f64; 3]> {
    let file = env::temp_dir().join(format!("sluice-callgrind-{}", process::id()));
    let function = if calls == "1 a call" { "*classify::decide*" } else { "*classify::decide_batch*" };
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--cache-sim=yes", "--branch-sim=yes", "--D1=32768,8,64"])
        .args([format!("--toggle-collect={function}"), format!("--callgrind-out-file={}", file.display())])
        .arg(env::current_exe().ok()?)
        .args([LOOK_UP, size, name, calls])
        .output()
        .ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&file).expect("callgrind has written its file");
    fs::remove_file(&file).expect("the file is ours");
    let words = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).map(str::split_whitespace);
    let counts: Vec<(&str, f64)> = words("events:")?
        .zip(words("totals:").or_else(|| words("summary:"))?)
        .map(|(event, count)| (event, count.parse().expect("a number")))
        .collect();
    let sum = |events: &[&str]| {
        let of_events = counts.iter().filter(|(event, _)| events.contains(event));
        of_events.map(|(_, count)| count).sum::<f64>() / packets as f64
    };
    Some([sum(&["Ir"]), sum(&["D1mr", "D1mw"]), sum(&["Bcm", "Bim"])])
}

/// What runs in valgrind: the packets of a set are looked up once.
pub(crate) fn look_up(size: &str, name: &str, calls: &str) {
    let folder = classbench::folder().expect("the program that started this has it");
    let (_, set) = classify::sets(&folder, size).find(|(of_set, _)| of_set == name).expect("the set is there");
    let table = compile(&classbench::rules(&set.lines), Action::Block).expect("the rules compile");
    let policy = Policy::new(table).expect("what the compiler makes is valid");
    let flows: Vec<Flow> = set.trace.iter().map(classbench::flow).collect();
    let sum: u64 = if calls == "1 a call" {
        flows.iter().map(|flow| u64::from(classify::decide(&policy, flow))).sum()
    } else {
        let packet =
            |flow| ParsedPacket { direction: Direction::Inbound, link_type: link_type::ETHERNET, bytes: &[], flow };
        let packets: Vec<ParsedPacket<'_>> = flows.iter().map(packet).collect();
        packets.chunks(classify::BATCH).map(|packets| classify::decide_batch(&policy, packets)).sum()
    };
    println!("{sum}");
}
