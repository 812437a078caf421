//! The programs that the tests run, and what they answer.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use sluice_rig::{Outcome, Rig};

/// How long sluicectl may take.
const LIMIT: Duration = Duration::from_secs(120);
/// The file that ends arbitrary requests (see rig/hostile).
const END: &str = "end";

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
    output_of(sluicectl(rig, arguments)?, rig)
}

/// What a program printed that has to end with exit code 0.
fn output_of(outcome: Outcome, rig: &Rig) -> Result<String> {
    if outcome.succeeded() {
        return Ok(outcome.stdout);
    }
    let why = anyhow!("`{}` ended with {:?}: {}", outcome.line, outcome.code, outcome.stderr);
    // A driver that is gone with its process is a device that is not found: the events say why.
    Err(rig.explain(why))
}

/// Runs rig/hostile, which sends a device what no other program would, and returns its report.
///
/// # Errors
/// It cannot be run, or the device breaks a rule.
pub fn hostile(rig: &Rig, arguments: &[&str]) -> Result<String> {
    run_hostile(rig, arguments, rig.scaled(LIMIT))
}

/// Sends a device arbitrary requests until an [`EndOfRequests`] is dropped, but not for longer than `longest`; returns
/// the report.
///
/// # Errors
/// As for [`hostile`].
pub fn arbitrary_requests(rig: &Rig, device: &str, longest: Duration, seed: u64) -> Result<String> {
    let (seconds, seed) = (longest.as_secs().to_string(), seed.to_string());
    run_hostile(rig, &["random", device, &seconds, &seed], longest + rig.scaled(LIMIT))
}

fn run_hostile(rig: &Rig, arguments: &[&str], limit: Duration) -> Result<String> {
    output_of(rig.run("hostile.exe", arguments, limit)?, rig)
}

/// Ends all [`arbitrary_requests`] of a rig when it is dropped, also when a test fails in the middle.
pub struct EndOfRequests<'a>(&'a Rig);

impl<'a> EndOfRequests<'a> {
    /// Lets requests begin.
    ///
    /// # Errors
    /// The file that ended earlier ones cannot be removed.
    pub fn new(rig: &'a Rig) -> Result<Self> {
        match fs::remove_file(rig.file(END)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("cannot remove C:\\rig\\end"),
            _ => Ok(Self(rig)),
        }
    }
}

impl Drop for EndOfRequests<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.0.file(END), "") {
            eprintln!("warning: the requests go on: {error}");
        }
    }
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
