//! `cargo xtask coverage --fuzz`: the lines of the code under fuzzing that no input of a corpus reaches.
//!
//! `fuzz/` is built without a fuzzer, so that each target is a program that replays its corpus, and with the compiler's
//! own instrumentation. `fuzz/unreached.txt` explains the lines that no input can or need reach; a line that it leaves
//! out, and an explanation of what is reached, is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::layout;
use crate::run::{cargo, output, run as run_command};

/// Some code, and the targets that are there to reach it.
struct Subject {
    name: &'static str,
    targets: &'static [&'static str],
    /// The beginnings of paths.
    files: &'static [&'static str],
}

const SUBJECTS: [Subject; 6] = [
    Subject {
        name: "parser",
        targets: &["parse", "layers", "quic", "dtls", "assembler"],
        files: &["crates/sluice-core/src/parse/"],
    },
    Subject { name: "assembler", targets: &["assembler"], files: &["crates/sluice-assembler/src/"] },
    Subject {
        name: "table check",
        targets: &["table"],
        files: &[
            "crates/sluice-core/src/policy/conditions.rs",
            "crates/sluice-core/src/policy/entry.rs",
            "crates/sluice-core/src/policy/filter.rs",
            "crates/sluice-core/src/policy/key.rs",
            "crates/sluice-core/src/policy/node.rs",
            "crates/sluice-core/src/policy/table.rs",
            "crates/sluice-core/src/policy/validate.rs",
        ],
    },
    Subject {
        name: "requests of sluice.sys and probe.sys",
        targets: &["control"],
        files: &[
            "crates/sluice-control/src/list.rs",
            "crates/sluice-control/src/message.rs",
            "crates/sluice-control/src/probe.rs",
            "crates/sluice-control/src/sluice.rs",
            "crates/sluice-control/src/wire.rs",
            "crates/sluice-engine/src/dry_run.rs",
            "crates/sluice-engine/src/policy.rs",
            "crates/sluice-engine/src/running.rs",
            "crates/sluice-engine/src/storage.rs",
        ],
    },
    Subject {
        name: "lists and requests of gate.sys",
        targets: &["lists"],
        files: &[
            "crates/sluice-control/src/gate.rs",
            "crates/sluice-gate/src/gate.rs",
            "crates/sluice-gate/src/judge.rs",
            "crates/wdk-wfp/src/answer.rs",
            "crates/wdk-wfp/src/packet.rs",
            "crates/wdk-wfp/src/scratch.rs",
            "crates/wdk-wfp/src/view.rs",
        ],
    },
    Subject {
        name: "registrar",
        targets: &["registrar"],
        files: &["crates/nmr-registrar/src/registrar/", "crates/nmr-registrar/src/tables.rs"],
    },
];

/// The reviewed list, from the root of the repository.
const EXPLAINED: &str = "fuzz/unreached.txt";

/// Counts each edge. The compiler's own instrumentation leaves out the edges whose count is the difference of others,
/// so that an input cannot be seen to be the only one there. Not optimised, since that joins edges.
const COUNTING: [&str; 3] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
];

/// Lines of a file that were reached, or were not.
type Lines = BTreeMap<usize, bool>;

/// `cargo xtask coverage --fuzz`, with llvm-cov and llvm-profdata in `tools`.
///
/// # Errors
/// A target does not build or fails on an input, or a line is neither reached nor explained.
pub(super) fn run(tools: &Path, host: &str, minimise: bool) -> Result<()> {
    if minimise {
        let programs = build(host, "target/fuzz-edges", &COUNTING, &["--features", "edges"])?;
        for target in targets() {
            let inputs = layout::root().join("fuzz/corpus").join(target);
            remove(&inputs, output(Command::new(programs.join(target)).arg(&inputs))?.lines())?;
        }
    }
    let programs = build(host, "target/fuzz-coverage", &["-Cinstrument-coverage"], &[])?;
    let mut read = BTreeMap::new();
    for target in targets() {
        let inputs = layout::root().join("fuzz/corpus").join(target);
        let program = programs.join(target);
        let [raw, profile] = ["profraw", "profdata"].map(|extension| program.with_extension(extension));
        output(Command::new(&program).arg(&inputs).env("LLVM_PROFILE_FILE", &raw))?;
        output(Command::new(tools.join("llvm-profdata")).arg("merge").arg(&raw).arg("-o").arg(&profile))?;
        let mut export = Command::new(tools.join("llvm-cov"));
        export.args(["export", "--format=lcov", "--instr-profile"]).arg(&profile).arg(&program);
        read.insert(target, lines(&output(&mut export)?, layout::root()));
    }

    let text = fs::read_to_string(layout::root().join(EXPLAINED))?;
    let entries = entries(&text)?;
    let mut is_used = vec![false; entries.len()];
    let mut left = 0;
    for subject in &SUBJECTS {
        let (mut all, mut unreached, mut unexplained) = (0, 0, String::new());
        for (file, lines) in &subject.lines(&read) {
            let text = fs::read_to_string(layout::root().join(file)).with_context(|| format!("cannot read {file}"))?;
            let text: Vec<&str> = text.lines().collect();
            let missed = missed(lines, &text);
            let mut explained = BTreeSet::new();
            for (entry, is_used) in entries.iter().zip(&mut is_used).filter(|(entry, _)| entry.file == *file) {
                let covered = entry.covered(&text);
                *is_used |= missed.iter().any(|line| covered.contains(line));
                explained.extend(covered);
            }
            (all, unreached) = (all + lines.len(), unreached + missed.len());
            for line in missed.iter().filter(|line| !explained.contains(line)) {
                unexplained += &format!("  {file}:{line}: {}\n", text[line - 1].trim());
                left += 1;
            }
        }
        let targets = subject.targets.join(", ");
        println!("{} ({targets}): {all} lines, {unreached} of them not reached", subject.name);
        print!("{unexplained}");
    }
    let stale: Vec<String> =
        entries.iter().zip(is_used).filter(|(_, is_used)| !is_used).map(|(entry, _)| entry.to_string()).collect();
    ensure!(stale.is_empty(), "{EXPLAINED} explains what is reached, or is not there:\n{}", stale.join("\n"));
    ensure!(left == 0, "{left} lines are neither reached by an input nor explained in {EXPLAINED}");
    Ok(())
}

/// Builds the targets without a fuzzer, in a folder of the repository. The programs are in the folder that is returned.
fn build(host: &str, folder: &str, flags: &[&str], features: &[&str]) -> Result<PathBuf> {
    let folder = layout::root().join(folder);
    let mut build = cargo(&["build", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--no-default-features"]);
    // With a target named, build scripts are left as they are.
    build.args(["--bins", "--target", host, "--target-dir"]).arg(&folder).args(features);
    build.env("RUSTFLAGS", flags.join(" ")).env("CARGO_PROFILE_DEV_DEBUG", "none");
    run_command(&mut build)?;
    Ok(folder.join(host).join("debug"))
}

/// All targets, each once.
fn targets() -> BTreeSet<&'static str> {
    SUBJECTS.iter().flat_map(|subject| subject.targets).copied().collect()
}

/// Removes these files of a corpus.
fn remove<'a>(inputs: &Path, needless: impl Iterator<Item = &'a str>) -> Result<()> {
    let all = fs::read_dir(inputs)?.count();
    let mut count = 0;
    for name in needless {
        fs::remove_file(inputs.join(name)).with_context(|| format!("cannot remove {name}"))?;
        count += 1;
    }
    println!("{}: {count} of {all} inputs removed", inputs.display());
    Ok(())
}

impl Subject {
    /// The lines of its files, by file: those are reached that one of its targets reached.
    fn lines(&self, read: &BTreeMap<&str, BTreeMap<String, Lines>>) -> BTreeMap<String, Lines> {
        let mut joined: BTreeMap<String, Lines> = BTreeMap::new();
        for (file, lines) in self.targets.iter().filter_map(|target| read.get(target)).flatten() {
            if self.files.iter().any(|start| file.starts_with(start)) {
                let joined = joined.entry(file.clone()).or_default();
                lines.iter().for_each(|(line, reached)| *joined.entry(*line).or_default() |= reached);
            }
        }
        joined
    }
}

/// What an export of llvm-cov says of the files under `root`, whose paths go on from there.
fn lines(lcov: &str, root: &Path) -> BTreeMap<String, Lines> {
    let mut files: BTreeMap<String, Lines> = BTreeMap::new();
    let mut file = None;
    for line in lcov.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            file = Path::new(path).strip_prefix(root).ok().map(|path| path.to_string_lossy().into_owned());
        } else if let (Some(file), Some((number, count))) =
            (&file, line.strip_prefix("DA:").and_then(|counted| counted.split_once(',')))
            && let Ok(number) = number.parse()
        {
            *files.entry(file.clone()).or_default().entry(number).or_default() |= count != "0";
        }
    }
    files
}

/// The lines that were not reached and have a word in them: brackets say nothing.
fn missed(lines: &Lines, text: &[&str]) -> Vec<usize> {
    let has_word = |line: &usize| {
        line.checked_sub(1).and_then(|line| text.get(line)).is_some_and(|line| line.contains(is_of_word))
    };
    lines.iter().filter(|(_, reached)| !**reached).map(|(line, _)| *line).filter(has_word).collect()
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric()
}

/// A line of the reviewed list: some code that is not reached.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'text> {
    file: &'text str,
    /// What is in a line of the file and, before it, what is in the lines that it is nested in.
    parts: Vec<&'text str>,
}

impl std::fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.parts.join(" :: "))
    }
}

/// The entries of the reviewed list.
///
/// # Errors
/// One has no reason below it, or no file.
fn entries(text: &str) -> Result<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    let mut has_reason = true;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        if line.starts_with(' ') {
            ensure!(!entries.is_empty(), "{EXPLAINED} begins with a reason for nothing");
            has_reason = true;
            continue;
        }
        let Some((file, parts)) = line.split_once(": ") else {
            bail!("{EXPLAINED}: expected a file and what is in its line, found `{line}`");
        };
        entries.push(Entry { file, parts: parts.split(" :: ").collect() });
        has_reason = false;
    }
    ensure!(has_reason, "{EXPLAINED} ends without a reason for its last lines");
    Ok(entries)
}

impl Entry<'_> {
    /// The numbers of its lines, and of the lines that are indented behind them.
    fn covered(&self, text: &[&str]) -> BTreeSet<usize> {
        let mut covered = BTreeSet::new();
        // The lines around the one that is looked at, each with how far it is indented.
        let mut around: Vec<(usize, &str)> = Vec::new();
        let mut covered_from = None;
        for (index, line) in text.iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let indent = line.len() - line.trim_start().len();
            // What goes on with what is further out: the rest of a signature that has several lines.
            let goes_on = [")", "where"].iter().any(|start| line.trim_start().starts_with(start));
            around.retain(|(outer, _)| *outer < indent || *outer == indent && goes_on);
            around.push((indent, line));
            if covered_from.is_some_and(|from| indent < from || indent == from && !goes_on) {
                covered_from = None;
            }
            if covered_from.is_none() && self.is(&around) {
                covered_from = Some(indent);
            }
            if covered_from.is_some() {
                covered.insert(index + 1);
            }
        }
        covered
    }

    /// Whether this is about the last line of `around`.
    fn is(&self, around: &[(usize, &str)]) -> bool {
        let (Some((last, outer)), Some(((_, line), around))) = (self.parts.split_last(), around.split_last()) else {
            return false;
        };
        let mut around = around.iter();
        line.contains(last) && outer.iter().all(|part| around.any(|(_, line)| line.contains(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_reached_if_one_of_the_targets_reached_it() {
        let read = |text: &str| lines(text, Path::new("/root"));
        let one = read("SF:/root/crates/sluice-assembler/src/a.rs\nDA:1,0\nDA:2,0\nDA:3,7\nend_of_record\n");
        let other = read("SF:/elsewhere/a.rs\nDA:1,1\nSF:/root/crates/sluice-assembler/src/a.rs\nDA:2,1\n");
        let subject = Subject { name: "", targets: &["one", "other"], files: &["crates/sluice-assembler/src/"] };
        let joined = subject.lines(&BTreeMap::from([("one", one), ("other", other)]));
        let expected = Lines::from([(1, false), (2, true), (3, true)]);
        assert_eq!(joined, BTreeMap::from([("crates/sluice-assembler/src/a.rs".to_owned(), expected)]));
    }

    #[test]
    fn brackets_are_no_lines() {
        let lines = Lines::from([(1, false), (2, false), (3, true), (9, false)]);
        assert_eq!(missed(&lines, &["f(", "});", "g()"]), [1]);
    }

    const SOURCE: [&str; 14] = [
        "fn f(",
        "    a: u32,",
        ") -> u32 {",
        "    if a {",
        "        return 1;",
        "    }",
        "    return 1;",
        "}",
        "",
        "fn g() {",
        "    match x {",
        "        A => return 1,",
        "    }",
        "}",
    ];

    fn covered(text: &str) -> Vec<usize> {
        let text = format!("a.rs: {text}\n    Why.\n");
        let entries = entries(&text).unwrap();
        assert_eq!((entries.len(), entries[0].file), (1, "a.rs"));
        entries[0].covered(&SOURCE).into_iter().collect()
    }

    #[test]
    fn an_explanation_is_for_a_line_and_what_is_indented_behind_it() {
        assert_eq!(covered("fn f("), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(covered("return 1"), [5, 7, 12]);
        assert_eq!(covered("if a :: return 1"), [5]);
        assert_eq!(covered("fn f( :: return 1"), [5, 7]);
        assert_eq!(covered("fn g :: match x :: return 1"), [12]);
        assert_eq!(covered("match x"), [11, 12]);
        assert_eq!(covered("fn h"), [0; 0]);
    }

    #[test]
    fn every_explanation_has_a_reason_and_a_file() {
        assert_eq!(entries("# Of lines.\n\na.rs: x\n    Why.\n").unwrap().len(), 1);
        let refused = |text| entries(text).unwrap_err().to_string();
        assert_eq!(refused("a.rs: x\n"), "fuzz/unreached.txt ends without a reason for its last lines");
        assert_eq!(refused("  Why.\n"), "fuzz/unreached.txt begins with a reason for nothing");
        let expected = "fuzz/unreached.txt: expected a file and what is in its line, found `a.rs`";
        assert_eq!(refused("a.rs\n    Why.\n"), expected);
    }

    #[test]
    fn every_corpus_has_a_subject_and_every_explanation_code() {
        let corpora = fs::read_dir(layout::root().join("fuzz/corpus")).unwrap();
        let corpora: BTreeSet<String> =
            corpora.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(corpora, targets().into_iter().map(str::to_owned).collect());
        for file in SUBJECTS.iter().flat_map(|subject| subject.files) {
            assert!(layout::root().join(file).exists(), "{file}");
        }
        let text = fs::read_to_string(layout::root().join(EXPLAINED)).unwrap();
        for entry in entries(&text).unwrap() {
            assert!(SUBJECTS.iter().flat_map(|of| of.files).any(|start| entry.file.starts_with(start)), "{entry}");
            let file = fs::read_to_string(layout::root().join(entry.file)).unwrap();
            assert!(!entry.covered(&file.lines().collect::<Vec<_>>()).is_empty(), "{entry}");
        }
    }
}
