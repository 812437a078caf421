//! `cargo xtask mutants`: changes the code, one place at a time, and says which changes no test notices.
//!
//! cargo-mutants makes the changes and runs the tests of the crate on each. `.cargo/mutants.toml` has those that no
//! test can notice, each with its reason. docs/testing.md has the figures.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::hooks::metadata;
use crate::layout;
use crate::run::{cargo, git, output, remove_folder};

/// The version whose changes the figures are about: another one makes others.
const VERSION: &str = "27.0.0";

/// Of a hundred changes, so many have to be noticed in each crate.
const GOAL: f64 = 97.0;

/// The crates whose code is trusted with something: with the kernel, or with the rules that others are held to.
const CRATES: [&str; 11] = [
    "wdk-nmr-sys",
    "wdk-nmr",
    "nmr-registrar",
    "sluice-npi",
    "sluice-core",
    "sluice-swap",
    "sluice-engine",
    "sluice-control",
    "sluice-wdm",
    "driver-check",
    "sluicectl",
];

/// Features with which a crate is changed and tested: without them a part of its code is not built.
const FEATURES: [(&str, &str); 2] = [("sluice-npi", "nmr"), ("sluice-control", "nmr")];

/// Test programs that are not run on changes, since all that they could notice is noticed by others, or does not build.
/// They build crates of their own, and take longer than all of the others.
const LEFT_OUT: [(&str, &str); 12] = [
    // What a crate is compiled to, and what it looks like from outside.
    ("sluice-core", "no_panic"),
    ("wdk-nmr", "bare"),
    ("wdk-nmr", "public_api"),
    // What does not compile.
    ("wdk-nmr", "compile_fail"),
    ("wdk-nmr", "handlers"),
    // Packages and pages.
    ("nmr-registrar", "documentation"),
    ("nmr-registrar", "manuals"),
    ("nmr-registrar", "packages"),
    ("nmr-registrar", "rules"),
    // C and JavaScript.
    ("sluice-npi", "c_client"),
    ("sluice-npi", "c_header"),
    ("wdk-nmr", "debugger"),
];

/// Of sluicectl, what makes policies.
const OF_SLUICECTL: &str = "sluicectl/src/policy/**";

/// Files in which every change has to be noticed.
const NO_SURVIVOR: [&str; 8] = [
    "crates/sluice-core/src/policy/validate.rs",
    "crates/wdk-nmr/src/guard/",
    "crates/wdk-nmr/src/slot.rs",
    "crates/wdk-nmr/src/registration/",
    "crates/sluice-control/src/sluice.rs",
    "crates/sluice-control/src/probe.rs",
    "crates/sluice-engine/src/storage.rs",
    "crates/sluice-wdm/src/replacement.rs",
];

/// The arguments of `cargo xtask mutants`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The crates to change [default: all whose code is trusted]
    #[arg(value_name = "CRATE", value_parser = clap::builder::PossibleValuesParser::new(CRATES))]
    crates: Vec<String>,
    /// Change only lines that differ from a commit [default: the branch main], committed or not
    #[arg(long, value_name = "COMMIT", num_args = 0..=1, require_equals = true, default_missing_value = "main")]
    changed: Option<String>,
    /// Only those that went unnoticed, or were not tried, in the last run
    #[arg(long)]
    iterate: bool,
    /// What cargo-mutants itself takes, for example `--shard 1/4`
    #[arg(last = true)]
    rest: Vec<OsString>,
}

/// `cargo xtask mutants`.
///
/// # Errors
/// cargo-mutants is not installed, or too many changes go unnoticed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let version = output(&mut cargo(&["mutants", "--version"])).unwrap_or_default();
    ensure!(
        version.trim_end().ends_with(VERSION),
        "expected cargo-mutants {VERSION}, found {}; `cargo install --locked cargo-mutants@{VERSION}` installs it",
        if version.is_empty() { "none" } else { version.trim_end() }
    );
    let folder = layout::root().join("target/mutants");
    let metadata = metadata()?;
    fs::create_dir_all(&folder)?;
    let diff = folder.join("changed.diff");
    if let Some(commit) = &arguments.changed {
        fs::write(&diff, git(&["diff", "--no-color", commit])? + "\n")?;
    }
    let all = CRATES.map(str::to_owned);
    let crates = if arguments.crates.is_empty() { all.as_slice() } else { &arguments.crates };
    let mut failed = Vec::new();
    for name in crates {
        // Without --iterate, nothing of the last run is to be taken for a result of this one.
        if !arguments.iterate {
            remove_folder(&folder.join(name))?;
        }
        let mut command = cargo(&["mutants", "--no-times", "--package", name, "--output"]);
        command.arg(folder.join(name)).args(tests(&metadata, name)?);
        // Apart from what is built of the code as it is, and kept, so that a run does not begin with dependencies. What
        // makes a change cheap: rustc builds what it touches, writes nothing for a debugger, and tests run optimised.
        command.env("CARGO_TARGET_DIR", layout::root().join("target/mutants-build"));
        command.env("CARGO_INCREMENTAL", "1").env("CARGO_PROFILE_DEV_DEBUG", "none");
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("FUZZ_SECONDS", "1");
        // Time enough on a machine that does other work: a test that is slow has noticed nothing.
        command.args(["--minimum-test-timeout", "60"]);
        for (_, feature) in FEATURES.iter().filter(|(of, _)| of == name) {
            command.args(["--features", feature]);
        }
        if name == "sluicectl" {
            command.args(["--file", OF_SLUICECTL]);
        }
        if arguments.changed.is_some() {
            command.arg("--in-diff").arg(&diff);
        }
        if arguments.iterate {
            command.arg("--iterate");
        }
        // It ends with an error if something went unnoticed, and what has to be noticed is decided here.
        command.args(&arguments.rest).status().context("cannot run cargo-mutants")?;
        let outcomes = folder.join(name).join("mutants.out/outcomes.json");
        if !outcomes.is_file() {
            println!("{name}: nothing of it changed");
            continue;
        }
        let figures = Figures::read(&fs::read_to_string(&outcomes)?, &outcomes)?;
        println!("{name}: {figures}");
        failed.extend(figures.failures(name));
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}

/// Which tests of a crate cargo is to build and run: its own and the programs in `tests/`, but for [`LEFT_OUT`] and
/// what needs features that it does not have here. Not examples, benchmarks or the code in documentation.
fn tests(metadata: &Value, name: &str) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let package = packages
        .iter()
        .find(|package| package["name"] == name)
        .with_context(|| format!("expected a crate {name} in the workspace, found none"))?;
    let is_kind = |target: &Value, kind: &str| target["kind"].as_array().is_some_and(|of| of.contains(&kind.into()));
    let has_features = |target: &Value| {
        let mut needed = target["required-features"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let default = package["features"]["default"].as_array();
        let is_on = |feature: &str| {
            FEATURES.contains(&(name, feature)) || default.is_some_and(|default| default.contains(&feature.into()))
        };
        needed.all(is_on)
    };
    let mut arguments = Vec::new();
    for target in package["targets"].as_array().into_iter().flatten().filter(|target| has_features(target)) {
        let called = target["name"].as_str().unwrap_or_default();
        if is_kind(target, "lib") {
            arguments.push("--cargo-arg=--lib".to_owned());
        } else if is_kind(target, "bin") {
            arguments.push(format!("--cargo-arg=--bin={called}"));
        } else if is_kind(target, "test") && !LEFT_OUT.contains(&(name, called)) {
            arguments.push(format!("--cargo-arg=--test={called}"));
        }
    }
    Ok(arguments)
}

/// What became of the changes of a crate.
#[derive(Debug, Default, PartialEq)]
struct Figures {
    caught: usize,
    /// By file, as cargo-mutants describes them.
    missed: BTreeMap<String, Vec<String>>,
}

impl Figures {
    fn read(text: &str, path: &Path) -> Result<Self> {
        let read: Value = serde_json::from_str(text).with_context(|| format!("cannot read {}", path.display()))?;
        let mut figures = Self::default();
        for outcome in read["outcomes"].as_array().with_context(|| format!("no outcomes in {}", path.display()))? {
            let mutant = &outcome["scenario"]["Mutant"];
            match outcome["summary"].as_str() {
                Some("Success") => {}
                Some("Failure") => bail!("the tests fail without a change"),
                // A test that never ends was noticed, too.
                Some("CaughtMutant" | "Timeout") => figures.caught += 1,
                Some("MissedMutant") => {
                    let text = |field: &str| mutant[field].as_str().unwrap_or_default().to_owned();
                    figures.missed.entry(text("file")).or_default().push(text("name"));
                }
                // It does not build.
                _ => {}
            }
        }
        Ok(figures)
    }

    fn survivors(&self) -> usize {
        self.missed.values().map(Vec::len).sum()
    }

    /// Of a hundred.
    fn noticed(&self) -> f64 {
        let all = self.caught + self.survivors();
        if all == 0 { 100.0 } else { 100.0 * self.caught as f64 / all as f64 }
    }

    /// What is not as it should be, a line each.
    fn failures(&self, name: &str) -> Vec<String> {
        let strict = |file: &str| NO_SURVIVOR.iter().any(|start| file.starts_with(start));
        let mut failures: Vec<String> =
            self.missed.iter().filter(|(file, _)| strict(file)).flat_map(|(_, names)| names.clone()).collect();
        if self.noticed() < GOAL {
            failures.push(format!("{name}: expected at least {GOAL} % of the changes noticed, found {self}"));
        }
        failures
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.caught + self.survivors();
        write!(f, "{:.1} % ({} of {all})", self.noticed(), self.caught)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(outcomes: &[(&str, &str, &str)]) -> Result<Figures> {
        let outcomes: Vec<String> = outcomes
            .iter()
            .map(|(summary, file, name)| {
                format!(r#"{{"scenario":{{"Mutant":{{"name":"{name}","file":"{file}"}}}},"summary":"{summary}"}}"#)
            })
            .collect();
        let baseline = r#"{"scenario":"Baseline","summary":"Success"}"#;
        Figures::read(&format!(r#"{{"outcomes":[{baseline},{}]}}"#, outcomes.join(",")), Path::new("outcomes.json"))
    }

    #[test]
    fn what_does_not_build_does_not_count_and_what_never_ends_was_noticed() {
        let figures = read(&[
            ("CaughtMutant", "a.rs", "1"),
            ("Timeout", "a.rs", "2"),
            ("Unviable", "a.rs", "3"),
            ("MissedMutant", "a.rs", "4"),
        ])
        .unwrap();
        assert_eq!((figures.caught, figures.survivors()), (2, 1));
        assert_eq!(figures.to_string(), "66.7 % (2 of 3)");
        assert_eq!(figures.failures("a").len(), 1);
    }

    #[test]
    fn tests_are_those_of_the_crate_that_can_be_built_and_notice_something() {
        let target = |name: &str, kind: &str, features: &[&str]| {
            let kinds = [kind];
            json!({ "name": name, "kind": kinds, "required-features": features })
        };
        let metadata = json!({ "packages": [{ "name": "wdk-nmr", "features": { "default": ["on"] }, "targets": [
            target("wdk_nmr", "lib", &[]),
            target("tool", "bin", &["on"]),
            target("contract", "test", &[]),
            target("public_api", "test", &[]),
            target("shuttle", "test", &["off"]),
            target("xdp", "example", &[]),
            target("guard", "bench", &[]),
        ] }] });
        let expected = ["--cargo-arg=--lib", "--cargo-arg=--bin=tool", "--cargo-arg=--test=contract"];
        assert_eq!(tests(&metadata, "wdk-nmr").unwrap(), expected);
        assert_eq!(
            tests(&metadata, "wdk").unwrap_err().to_string(),
            "expected a crate wdk in the workspace, found none"
        );
    }

    #[test]
    fn one_survivor_is_too_many_in_some_files() {
        let mut outcomes = vec![("CaughtMutant", "b.rs", ""); 99];
        outcomes.push(("MissedMutant", "b.rs", "b.rs:1: replace f with ()"));
        assert_eq!(read(&outcomes).unwrap().failures("b"), Vec::<String>::new());
        outcomes.push(("MissedMutant", NO_SURVIVOR[0], "validate.rs:1: replace f with Ok(())"));
        assert_eq!(read(&outcomes).unwrap().failures("b"), ["validate.rs:1: replace f with Ok(())"]);
    }

    #[test]
    fn files_and_crates_that_are_named_are_there() {
        for file in NO_SURVIVOR {
            assert!(layout::root().join(file).exists(), "{file}");
        }
        let manifest = fs::read_to_string(layout::root().join("Cargo.lock")).unwrap();
        for name in CRATES {
            assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        }
        for (name, test) in LEFT_OUT {
            let file = layout::root().join(format!("crates/{name}/tests/{test}.rs"));
            assert!(file.exists(), "{}", file.display());
        }
    }
}
