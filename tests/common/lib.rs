//! What the system tests share: a machine with the drivers and sluicectl on it, and questions to ask it.

mod clients;
mod gated;
mod machine;
mod programs;
pub mod storm;

use std::env;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_rig::{Event, Rig};

pub use clients::{BOTH, C, Clients, RUST};
pub use gated::{CAPTURE, install_gate, send, start_gate, stop_gate};
pub use machine::{data, end, install_second, machine, started, stop};
pub use programs::{EndOfRequests, arbitrary_requests, hostile, sluicectl, sluicectl_ok, verdicts, verdicts_offline};

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

/// A number that the environment sets, as `cargo xtask verify-rig` does.
///
/// # Errors
/// It is no number.
pub fn number(variable: &str, default: u64) -> Result<u64> {
    env::var(variable).map_or(Ok(default), |value| {
        value.parse().with_context(|| format!("expected a number in {variable}, found {value:?}"))
    })
}

/// Sets a value of the key Parameters of sluice's service, of a type that `reg` knows.
///
/// # Errors
/// `reg` does not end with success.
pub fn set_parameter(rig: &Rig, name: &str, kind: &str, data: &str) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    const KEY: &str = r"HKLM\System\CurrentControlSet\Services\sluice\Parameters";
    let outcome = rig.run("reg", &["add", KEY, "/v", name, "/t", kind, "/d", data, "/f"], rig.scaled(LIMIT))?;
    ensure!(outcome.succeeded(), "`{}` failed: {}", outcome.line, outcome.stderr);
    Ok(())
}
