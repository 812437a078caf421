//! A machine with the drivers on it: how they are installed, started and stopped.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use sluice_rig::{Rig, State, root};

use crate::clients::{BOTH, Clients};

/// A machine with sluicectl, hostile, the demo's capture and policy in `C:\rig`, and services for sluice.sys and all
/// [`Clients`]. None is started.
///
/// # Errors
/// The rig does not work.
pub fn machine(name: &str) -> Result<Rig> {
    let rig = Rig::boot(name)?;
    rig.copy_file(&rig.product("sluicectl.exe"))?;
    rig.copy_file(&rig.part("hostile.exe"))?;
    rig.copy_file(&data("demo.pcapng"))?;
    rig.copy_file(&data("demo.toml"))?;
    rig.install("sluice")?;
    BOTH.names().iter().try_for_each(|client| rig.install(client))?;
    Ok(rig)
}

/// A machine with sluice.sys and the clients running.
///
/// # Errors
/// The rig does not work, or a driver does not start.
pub fn started(name: &str, clients: Clients) -> Result<Rig> {
    let rig = machine(name)?;
    rig.start("sluice")?;
    clients.start(&rig)?;
    Ok(rig)
}

/// Adds one more client: the same driver as `client` under another service name, `<client>2`, which is returned.
///
/// # Errors
/// The rig does not work.
pub fn install_second(rig: &Rig, client: &str) -> Result<String> {
    let second = format!("{client}2");
    rig.install_file(&rig.product(&format!("{client}.sys")), &second)?;
    Ok(second)
}

/// Stops a driver, which must leave nothing behind.
///
/// # Errors
/// It does not stop, or leaves something.
pub fn stop(rig: &Rig, driver: &str) -> Result<()> {
    let left = rig.stop(driver)?;
    ensure!(left.is_nothing(), "{driver} left {left}");
    ensure!(rig.state(driver)? == State::Stopped, "{driver} does not count as stopped");
    Ok(())
}

/// Stops sluice.sys and the clients, after which nothing is alive in all.
///
/// # Errors
/// One does not stop, or something is left.
pub fn end(rig: &Rig, clients: Clients) -> Result<()> {
    stop(rig, "sluice")?;
    clients.stop(rig)?;
    let left = rig.alive()?;
    ensure!(left.is_nothing(), "{left} are left of all");
    Ok(())
}

/// A file of tests/data.
#[must_use]
pub fn data(file: &str) -> PathBuf {
    root().join("tests/data").join(file)
}
