//! What the system tests share: a machine with the drivers and sluicectl on it, and questions to ask it.

mod clients;
mod machine;
mod programs;
pub mod storm;

use anyhow::{Context, Result};
use sluice_rig::Event;

pub use clients::{BOTH, C, Clients, RUST};
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
