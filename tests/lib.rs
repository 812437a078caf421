//! What the system tests share: a machine with the drivers and sluicectl on it, and questions to ask it.

pub mod storm;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_rig::{Event, Outcome, Rig, State, root};

/// How long sluicectl may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The client drivers that a test runs with: their services are called like them. [`machine`] has them all.
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

/// A machine with sluicectl, hostile, the demo's capture and policy in `C:\rig`, and services for sluice.sys and all [`Clients`].
/// None is started.
///
/// # Errors
/// The rig does not work.
pub fn machine(name: &str) -> Result<Rig> {
    let rig = Rig::boot(name)?;
    rig.copy_file(&root().join("target/drivers/x64/sluicectl.exe"))?;
    rig.copy_file(&root().join("target/rig/x64/hostile.exe"))?;
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
    rig.install_file(&root().join(format!("target/drivers/x64/{client}.sys")), &second)?;
    Ok(second)
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
    hostile_for(rig, arguments, Duration::ZERO)
}

/// As [`hostile`], if that is meant to take so long.
///
/// # Errors
/// As for [`hostile`].
pub fn hostile_for(rig: &Rig, arguments: &[&str], time: Duration) -> Result<String> {
    let outcome = rig.run("hostile.exe", arguments, LIMIT + time)?;
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
