//! The long form of the storm, for `cargo xtask soak`.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use system_tests::BOTH;
use system_tests::storm::storm;

#[test]
#[ignore = "takes minutes: cargo xtask soak"]
fn soak() -> Result<()> {
    let minutes = env::var("SLUICE_SOAK_MINUTES").unwrap_or_else(|_| "5".to_owned());
    let minutes: u64 = minutes.parse().context("expected a number of minutes in SLUICE_SOAK_MINUTES")?;
    println!("{}", storm(BOTH, Duration::from_secs(60 * minutes), 1)?);
    Ok(())
}
