//! `cargo xtask test`: the tests of the host, then the system tests, which run the real drivers in Wine.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cargo_wdk_linux::emulator;
use serde_json::Value;

use crate::layout::Arch;
use crate::run::{cargo, line, output, run as run_command};
use crate::{build, check_image, layout};

/// The packages whose tests run the drivers.
pub(crate) const SYSTEM: [&str; 4] = ["--package", "system-tests", "--package", "hostile"];
/// The tests that run drivers of the rig.
pub(crate) const RIG: [&str; 4] = ["--package", "wdk-rig", "--test", "rig"];

/// The tests that build and run drivers of others: minutes for the first time, since they compile a wdk-sys.
const TOOL: [&str; 4] = ["--package", "cargo-wdk-linux", "--test", "tool"];

/// The arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run the tests whose names contain this, at whichever level they are, and nothing else
    #[arg(long, value_name = "FILTER")]
    only: Option<String>,
    /// The processor architecture of the drivers; with arm64, only the tests that run drivers are run
    #[arg(long, value_enum, default_value_t = Arch::X64)]
    arch: Arch,
}

/// `cargo xtask test`.
///
/// # Errors
/// Something does not build, or a test fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.only {
        Some(filter) => only(filter, arguments.arch),
        None => all(arguments.arch),
    }
}

fn all(arch: Arch) -> Result<()> {
    let mut steps = Steps::default();
    if arch == Arch::X64 {
        steps.step("Host tests", || run_command(&mut cargo(&["test"])))?;
        // Without a fuzzer, which takes a C++ compiler. The nightly workflow has one, and hours.
        steps.step("Fuzzing, ten seconds a target", || {
            let packages = ["--package", "sluice-core", "--package", "sluice-assembler"];
            run_command(cargo(&["test", "--test", "fuzz"]).args(packages).env("FUZZ_SECONDS", "10"))
        })?;
    }
    steps.step("Drivers", || built_for(arch))?;
    steps.step("Driver images", || check_image::check_drivers(arch))?;
    steps.step("The rig", || run_command(on(arch, &mut cargo(&["test"])).args(RIG)))?;
    steps.step("System tests", || run_command(on(arch, &mut cargo(&["test"])).args(SYSTEM)))?;
    if arch == Arch::X64 {
        steps.step("Drivers of others", || run_command(cargo(&["test"]).args(TOOL)))?;
    }
    steps.report();
    Ok(())
}

/// Builds the drivers, and sets up what runs them.
pub(crate) fn built_for(arch: Arch) -> Result<()> {
    emulator::ensure(&layout::kit(), arch)?;
    build::build(arch).map(drop)
}

/// Has the tests that `command` runs make rigs of that architecture.
pub(crate) fn on(arch: Arch, command: &mut Command) -> &mut Command {
    let (variable, value) = sluice_rig::Arch::from(arch).variable();
    command.env(variable, value)
}

/// What has been done, and how long it took.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn step<T>(&mut self, name: &'static str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n== {name} ==");
        let start = Instant::now();
        let outcome = run();
        self.done.push((name, start.elapsed()));
        outcome
    }

    fn report(&self) {
        println!();
        for (name, took) in &self.done {
            println!("{:>5} s  {name}", took.as_secs());
        }
    }
}

/// Runs the tests with `filter` in their names. The drivers are built only if one of them is a system test.
fn only(filter: &str, arch: Arch) -> Result<()> {
    let host = if arch == Arch::X64 { matching(&[], filter)? } else { BTreeSet::new() };
    let mut system = matching(&SYSTEM, filter)?;
    system.extend(matching(&RIG, filter)?);
    system.extend(matching(&TOOL, filter)?);
    if host.is_empty() && system.is_empty() {
        bail!("expected a part of the name of a test, found {filter:?}; `cargo test -- --list` lists the names");
    }
    for target in &host {
        target.run(filter, arch)?;
    }
    if !system.is_empty() {
        built_for(arch)?;
    }
    for target in &system {
        target.run(filter, arch)?;
    }
    Ok(())
}

/// A program of tests, as cargo is told to build and run it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    package: String,
    arguments: Vec<String>,
}

impl Target {
    fn run(&self, filter: &str, arch: Arch) -> Result<()> {
        let mut command = cargo(&["test", "--quiet", "--package", &self.package]);
        command.args(&self.arguments).arg(filter);
        println!("\n$ {}", line(&command));
        run_command(on(arch, &mut command))
    }
}

/// The programs of tests of some packages, or of those that a host can build, that have a test with `filter` in its
/// name.
fn matching(packages: &[&str], filter: &str) -> Result<BTreeSet<Target>> {
    let mut build = cargo(&["test", "--no-run", "--message-format=json-render-diagnostics"]);
    let messages = output(build.args(packages).stderr(Stdio::inherit()))?;
    let mut found = BTreeSet::new();
    for (executable, target) in messages.lines().filter_map(built) {
        // Listing needs nothing of what cargo sets for a test.
        let names = output(Command::new(&executable).args(["--list", "--format", "terse"]))?;
        if names.lines().filter_map(|line| line.strip_suffix(": test")).any(|name| name.contains(filter)) {
            found.insert(target.context("cargo built a test of a kind that is not known here")?);
        }
    }
    Ok(found)
}

/// A program of tests that a message of cargo says it has built.
fn built(message: &str) -> Option<(PathBuf, Option<Target>)> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = PathBuf::from(message["executable"].as_str()?);
    let name = message["target"]["name"].as_str()?.to_owned();
    let kind = message["target"]["kind"][0].as_str()?;
    let arguments = match kind {
        "test" => vec!["--test".to_owned(), name],
        "bin" => vec!["--bin".to_owned(), name],
        "example" => vec!["--example".to_owned(), name],
        "lib" | "rlib" | "cdylib" | "staticlib" | "proc-macro" => vec!["--lib".to_owned()],
        _ => return Some((executable, None)),
    };
    let package = message["package_id"].as_str().and_then(package_name)?;
    Some((executable, Some(Target { package, arguments })))
}

/// The name of a package, from its id: `path+file:///folder#name@version`, or `..folder/name#version`.
fn package_name(id: &str) -> Option<String> {
    let (folder, end) = id.rsplit_once('#')?;
    Some(match end.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => folder.rsplit('/').next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_package_is_read_from_its_id() {
        assert_eq!(package_name("path+file:///r/crates/wdk-nmr#0.1.0").as_deref(), Some("wdk-nmr"));
        assert_eq!(package_name("path+file:///r/rig/harness#wdk-rig@0.1.0").as_deref(), Some("wdk-rig"));
        assert_eq!(package_name("sluice"), None);
    }

    #[test]
    fn a_program_of_tests_is_run_as_it_was_built() {
        let message = |kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///r/crates/wdk-nmr#0.1.0","executable":"/t/x",
                "target":{{"kind":["{kind}"],"name":"contract"}},"profile":{{"test":{test}}}}}"#
            )
        };
        let target = |kind: &str| built(&message(kind, true)).unwrap().1.unwrap();
        assert_eq!(target("test").arguments, ["--test", "contract"]);
        assert_eq!(target("lib").arguments, ["--lib"]);
        assert_eq!(target("lib").package, "wdk-nmr");
        assert_eq!(built(&message("bin", false)), None, "a program that tests run");
    }
}
