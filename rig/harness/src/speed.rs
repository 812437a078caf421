//! How fast this machine runs programs of Windows, which every time limit depends on.
//!
//! Limits are written down for a machine on which [`PROBE`] takes [`REFERENCE`]. A slower machine, one that is busy, or
//! an emulated one gets as many times more.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

/// A program that does nothing, so that it shows what starting one takes.
pub(crate) const PROBE: [&str; 3] = ["cmd", "/c", "exit"];
/// How long it may take itself.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(120);
/// How long it takes on the machine that limits are written down for: two cores of 2023, with two rigs at work.
const REFERENCE: Duration = Duration::from_millis(150);

/// How many thousandths of its time on that machine a program takes here: the most that was measured so far.
static SLOWNESS: AtomicU32 = AtomicU32::new(1000);

/// Measures once more. `probe` runs the program.
pub(crate) fn measure(probe: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    probe()?;
    SLOWNESS.fetch_max(slowness_of(started.elapsed()), Ordering::Relaxed);
    Ok(())
}

/// How many thousandths of the time on the machine that limits are written down for a program takes here.
pub(crate) fn slowness() -> u32 {
    SLOWNESS.load(Ordering::Relaxed)
}

fn slowness_of(took: Duration) -> u32 {
    u32::try_from(took.as_millis() * 1000 / REFERENCE.as_millis()).unwrap_or(u32::MAX)
}

/// A limit as it is for this machine: never less than is written down.
pub(crate) fn scaled(limit: Duration) -> Duration {
    limit * slowness() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_three_times_slower_gets_three_times_as_long() {
        assert_eq!(slowness_of(REFERENCE * 3), 3000);
        assert_eq!(slowness_of(REFERENCE / 2), 500);
    }
}
