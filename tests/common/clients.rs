//! The client drivers that a test runs with.

use anyhow::{Result, ensure};
use sluice_rig::Rig;

use crate::machine::stop;
use crate::programs::verdicts;

/// Some of the client drivers, by the names of their services. Every [`machine`](crate::machine()) has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients(&'static [&'static str]);

/// The client in Rust, probe.sys.
pub const RUST: Clients = Clients(&["probe"]);
/// The client in C, probe-c.sys.
pub const C: Clients = Clients(&["probe-c"]);
/// Both, attached at once.
pub const BOTH: Clients = Clients(&["probe", "probe-c"]);

impl Clients {
    /// The names of the drivers, which are those of their services and devices.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        self.0
    }

    /// One of them, for what one can do alone.
    #[must_use]
    pub fn first(self) -> &'static str {
        self.0[0]
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        self.0.len()
    }

    /// Starts all of them.
    ///
    /// # Errors
    /// One does not start.
    pub fn start(self, rig: &Rig) -> Result<()> {
        self.0.iter().try_for_each(|client| rig.start(client).map(drop))
    }

    /// Stops all of them.
    ///
    /// # Errors
    /// One does not stop, or leaves something behind.
    pub fn stop(self, rig: &Rig) -> Result<()> {
        self.0.iter().try_for_each(|client| stop(rig, client))
    }

    /// The verdicts on the demo's capture, which all of them have to agree on.
    ///
    /// # Errors
    /// sluicectl fails, or they do not agree.
    pub fn verdicts(self, rig: &Rig) -> Result<String> {
        let first = verdicts(rig, self.first())?;
        for other in &self.0[1..] {
            ensure!(verdicts(rig, other)? == first, "{} and {other} do not get the same verdicts", self.first());
        }
        Ok(first)
    }
}
