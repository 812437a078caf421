//! What the system tests share: a machine with the drivers and sluicectl on it, and questions to ask it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_rig::{Event, Outcome, Rig, root};

/// How long sluicectl may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A machine with sluicectl, the demo's capture and policy in `C:\rig`, and services for sluice.sys and probe.sys. None
/// is started.
///
/// # Errors
/// The rig does not work.
pub fn machine(name: &str) -> Result<Rig> {
    let rig = Rig::boot(name)?;
    rig.copy_file(&root().join("target/drivers/x64/sluicectl.exe"))?;
    rig.copy_file(&data("demo.pcapng"))?;
    rig.copy_file(&data("demo.toml"))?;
    rig.install("sluice")?;
    rig.install("probe")?;
    Ok(rig)
}

/// Adds a second client: the same driver under another service name.
///
/// # Errors
/// The rig does not work.
pub fn install_second_probe(rig: &Rig) -> Result<()> {
    rig.install_file(&root().join("target/drivers/x64/probe.sys"), "probe2")
}

/// A file of tests/data.
#[must_use]
pub fn data(file: &str) -> PathBuf {
    root().join("tests/data").join(file)
}

/// Runs sluicectl, whatever comes of it.
///
/// # Errors
/// It cannot be run, or it hangs.
pub fn sluicectl(rig: &Rig, arguments: &[&str]) -> Result<Outcome> {
    rig.run("sluicectl.exe", arguments, LIMIT)
}

/// Runs sluicectl and returns what it printed.
///
/// # Errors
/// As for [`sluicectl`], or it does not end with exit code 0.
pub fn sluicectl_ok(rig: &Rig, arguments: &[&str]) -> Result<String> {
    let outcome = sluicectl(rig, arguments)?;
    ensure!(outcome.succeeded(), "`{}` ended with {:?}: {}", outcome.line, outcome.code, outcome.stderr);
    Ok(outcome.stdout)
}

/// Runs the program that sends a device what no other program would (see rig/hostile), and returns its report.
///
/// # Errors
/// It cannot be run, or the device breaks a rule.
pub fn hostile(rig: &Rig, arguments: &[&str]) -> Result<String> {
    rig.copy_file(&root().join("target/rig/x64/hostile.exe"))?;
    let outcome = rig.run("hostile.exe", arguments, LIMIT)?;
    ensure!(outcome.succeeded(), "`{}` ended with {:?}: {}", outcome.line, outcome.code, outcome.stderr);
    Ok(outcome.stdout)
}

/// The verdicts on the demo's capture through the client of that name, one JSON object a line.
///
/// # Errors
/// As for [`sluicectl_ok`].
pub fn verdicts(rig: &Rig, device: &str) -> Result<String> {
    sluicectl_ok(rig, &["classify", "--json", "--device", device, "demo.pcapng"])
}

/// The verdicts that sluicectl finds by itself, with the demo's policy or none.
///
/// # Errors
/// As for [`sluicectl_ok`].
pub fn verdicts_offline(rig: &Rig, policy: Option<&str>) -> Result<String> {
    let mut arguments = vec!["classify", "--json", "--offline", "demo.pcapng"];
    arguments.extend(policy.iter().flat_map(|policy| ["--policy", policy]));
    sluicectl_ok(rig, &arguments)
}

/// How often NMR has called a callback of a driver.
#[must_use]
pub fn calls(events: &[Event], driver: &str, callback: &str) -> usize {
    events.iter().filter(|event| event.is(driver, "callback") && event.get("function") == Some(callback)).count()
}

/// The text of an error.
///
/// # Errors
/// There is none.
pub fn error_of<T>(outcome: Result<T>) -> Result<String> {
    let error = outcome.err().context("this should have failed")?;
    Ok(format!("{error:#}"))
}
