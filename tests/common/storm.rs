//! Everything at once, for as long as one likes: arbitrary requests from several programs while policies are loaded,
//! persisted and cleared, and clients come and go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use anyhow::{Result, ensure};
use sluice_rig::Rig;

use crate::{Clients, end, hostile_for, install_second, sluicectl_ok, started, stop, verdicts, verdicts_offline};

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How often each control code was answered how, for each program that sent arbitrary requests.
    pub answers: String,
    /// How many of those requests there were.
    pub requests: u64,
    /// How many policies were loaded or cleared.
    pub loads: u64,
    /// How often a client came and went.
    pub lives: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answers, requests, loads, lives } = self;
        write!(out, "{answers}{requests} arbitrary requests, {loads} changes of the policy, {lives} lives of clients")
    }
}

/// Runs all of it on a new machine for that long. At the end everything works as before, and nothing is left.
///
/// # Errors
/// A driver broke a rule, does not work any more, or left something behind.
pub fn storm(clients: Clients, time: Duration, seed: u64) -> Result<Report> {
    let rig = started("storm", clients)?;
    let second = install_second(&rig, clients.first())?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let deadline = Instant::now() + time;
    // One side that fails ends the others.
    let failed = AtomicBool::new(false);
    let goes_on = || Instant::now() < deadline && !failed.load(Ordering::Relaxed);
    let noted = |outcome: Result<u64>| outcome.inspect_err(|_| failed.store(true, Ordering::Relaxed));
    let report = thread::scope(|scope| {
        let devices: Vec<&str> = clients.names().iter().copied().chain(["Sluice"]).collect();
        let senders: Vec<_> =
            devices.iter().map(|device| (device, scope.spawn(|| requests(&rig, device, time, seed)))).collect();
        let loads = scope.spawn(|| noted(policies(&rig, goes_on)));
        let lives = scope.spawn(|| noted(lives(&rig, &second, goes_on)));
        let joined = "the thread does not panic";
        let mut report = Report::default();
        for (device, sender) in senders {
            let (answers, requests) = sender.join().expect(joined)?;
            report.answers += &format!("{device}:\n{answers}");
            report.requests += requests;
        }
        report.loads = loads.join().expect(joined)?;
        report.lives = lives.join().expect(joined)?;
        Ok::<_, anyhow::Error>(report)
    })?;
    sluicectl_ok(&rig, &["policy", "clear", "--persist"])?;
    ensure!(clients.verdicts(&rig)? == verdicts_offline(&rig, None)?, "the verdicts are not the right ones any more");
    end(&rig, clients)?;
    Ok(report)
}

/// Arbitrary requests to one device. Returns how they were answered, and how many there were.
fn requests(rig: &Rig, device: &str, time: Duration, seed: u64) -> Result<(String, u64)> {
    let (seconds, seed) = (time.as_secs().to_string(), seed.to_string());
    let report = hostile_for(rig, &["random", device, &seconds, &seed], time)?;
    // Some requests are right, so the dispatchers were not kept from their work by a check in front of them.
    ensure!(report.contains(": done: "), "no request to {device} succeeded:\n{report}");
    let count = report.lines().find_map(|line| line.strip_prefix("requests: ")?.trim().parse().ok());
    Ok((report.replace("\r\n", "\n"), count.unwrap_or(0)))
}

/// Changes the policy in every way, one after the other. Returns how often.
fn policies(rig: &Rig, goes_on: impl Fn() -> bool) -> Result<u64> {
    let ways: [&[&str]; 4] = [
        &["policy", "load", "demo.toml"],
        &["policy", "load", "demo.toml", "--persist"],
        &["policy", "clear"],
        &["policy", "clear", "--persist"],
    ];
    let mut count = 0;
    for way in ways.iter().cycle().take_while(|_| goes_on()) {
        sluicectl_ok(rig, way)?;
        count += 1;
    }
    Ok(count)
}

/// Starts and stops a client. Returns how often.
fn lives(rig: &Rig, client: &str, goes_on: impl Fn() -> bool) -> Result<u64> {
    let mut count = 0;
    while goes_on() {
        rig.start(client)?;
        verdicts(rig, client)?;
        stop(rig, client)?;
        count += 1;
    }
    Ok(count)
}
