//! The programs that the tests run, and what they answer.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_rig::{Outcome, Rig};

/// How long sluicectl may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs sluicectl, whether it succeeds or not.
///
/// # Errors
/// It cannot be run, or it hangs.
pub fn sluicectl(rig: &Rig, arguments: &[&str]) -> Result<Outcome> {
    rig.run("sluicectl.exe", arguments, rig.scaled(LIMIT))
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

/// Runs rig/hostile, which sends a device what no other program would, and returns its report.
///
/// # Errors
/// It cannot be run, or the device breaks a rule.
pub fn hostile(rig: &Rig, arguments: &[&str]) -> Result<String> {
    hostile_for(rig, arguments, Duration::ZERO)
}

/// As [`hostile`], for a run that is meant to last that long.
///
/// # Errors
/// As for [`hostile`].
pub fn hostile_for(rig: &Rig, arguments: &[&str], time: Duration) -> Result<String> {
    let outcome = rig.run("hostile.exe", arguments, rig.scaled(LIMIT) + time)?;
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
