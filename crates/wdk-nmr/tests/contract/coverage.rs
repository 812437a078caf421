//! Every rule and every mistake has a test that is named after it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rules that no test of a module can be about.
const NOT_FOR_A_MODULE: [(&str, &str); 2] = [
    ("r34", "nothing ends a single binding: NMR has no function for it, and so has the library"),
    ("r72", "whether there is a DriverUnload routine is the driver's affair; system tests unload real drivers"),
];

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).expect("a folder of tests").map(|entry| entry.expect("readable").path())
}

/// The names of all tests, and of the cases that do not compile.
fn names() -> BTreeSet<String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let stem = |file: PathBuf| file.file_stem().map(|name| name.to_string_lossy().into_owned());
    let mut names: BTreeSet<String> = files(&tests.join("compile_fail")).filter_map(stem).collect();
    let sources = files(&tests).chain(files(&tests.join("contract")));
    for source in sources.filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let text = fs::read_to_string(source).expect("a source in UTF-8");
        // A test is a function under an attribute; what lies between them are other attributes.
        let mut is_test = false;
        for line in text.lines() {
            match line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
                Some((name, _)) if core::mem::take(&mut is_test) => _ = names.insert(name.to_owned()),
                _ => is_test = line == "#[test]" || is_test && line.starts_with("#["),
            }
        }
    }
    names
}

#[test]
fn every_rule_and_every_mistake_has_a_test_of_its_name() {
    let names = names();
    let rules = (1..=74).map(|number| format!("r{number}"));
    let mistakes = (1..=28).map(|number| format!("m{number}"));
    let is_tested = |rule: &String| names.iter().any(|name| name.split('_').next() == Some(rule));
    let left_out: Vec<_> = rules.chain(mistakes).filter(|rule| !is_tested(rule)).collect();
    assert_eq!(left_out, NOT_FOR_A_MODULE.map(|(rule, _)| rule));
}
