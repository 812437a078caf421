//! Everything at once, for as long as one likes: arbitrary requests from several programs while policies are loaded,
//! persisted and cleared, and clients come and go.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use anyhow::{Result, ensure};
use sluice_rig::Rig;

use crate::{
    Clients, EndOfRequests, arbitrary_requests, end, install_gate, install_second, send, sluicectl_ok, start_gate,
    started, stop, stop_gate, verdicts, verdicts_offline,
};

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How often each control code was answered how, for each program that sent arbitrary requests.
    pub answers: String,
    /// How many of those requests there were.
    pub requests: u64,
    /// How many packets were sent past gate.sys.
    pub packets: u64,
    /// How many policies were loaded or cleared.
    pub loads: u64,
    /// How often a client came and went.
    pub lives: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answers, requests, packets, loads, lives } = self;
        write!(
            out,
            "{answers}{requests} arbitrary requests, {packets} packets, {loads} changes of the policy, {lives} lives \
             of clients"
        )
    }
}

/// How much longer a storm may take than it is asked to, [scaled](Rig::scaled).
const GRACE: Duration = Duration::from_secs(60);
/// How often each change is made at least, on however slow a machine.
const LEAST: u64 = 2;

/// Runs all of it on a new machine for that long, and until every change was made twice. At the end everything works as
/// before, and nothing is left.
///
/// # Errors
/// A driver broke a rule, does not work any more, or left something behind; or the machine is too slow for it.
pub fn storm(clients: Clients, time: Duration, seed: u64) -> Result<Report> {
    let rig = started("storm", clients)?;
    let second = install_second(&rig, clients.first())?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let network = install_gate(&rig)?;
    start_gate(&rig)?;
    let sending = send(network)?;
    let storm = Storm::new(&rig, time);
    let mut report = thread::scope(|scope| {
        let end = EndOfRequests::new(&rig)?;
        let devices = clients.names().iter().copied().chain(["gate", "Sluice"]);
        let senders: Vec<_> = devices
            .map(|device| {
                let storm = &storm;
                (device, scope.spawn(move || storm.noted(storm.requests(device, seed))))
            })
            .collect();
        let loads = scope.spawn(|| storm.noted(storm.policies()));
        let lives = scope.spawn(|| storm.noted(storm.lives(&second)));
        let joined = "the thread does not panic";
        let (loads, lives) = (loads.join().expect(joined), lives.join().expect(joined));
        drop(end);
        let mut report = Report::default();
        for (device, sender) in senders {
            let (answers, requests) = sender.join().expect(joined)?;
            report.answers += &format!("{device}:\n{answers}");
            report.requests += requests;
        }
        (report.loads, report.lives) = (loads?, lives?);
        Ok::<_, anyhow::Error>(report)
    })?;
    let sent = sending.stop()?;
    report.packets = sent.packets.iter().map(|packet| packet.passed + packet.blocked).sum();
    ensure!(report.packets > 0, "no packet was sent");
    stop_gate(&rig, network)?;
    ensure!(report.loads >= LEAST && report.lives >= LEAST, "expected every change {LEAST} times, found {report}");
    sluicectl_ok(&rig, &["policy", "clear", "--persist"])?;
    ensure!(clients.verdicts(&rig)? == verdicts_offline(&rig, None)?, "the verdicts are not the right ones any more");
    end(&rig, clients)?;
    Ok(report)
}

/// A storm that is raging, for all of its threads.
struct Storm<'a> {
    rig: &'a Rig,
    started: Instant,
    time: Duration,
    /// However few changes were made by then, it ends.
    longest: Duration,
    loads: AtomicU64,
    lives: AtomicU64,
    /// One thread that fails ends the others.
    failed: AtomicBool,
}

impl<'a> Storm<'a> {
    fn new(rig: &'a Rig, time: Duration) -> Self {
        let (loads, lives, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self { rig, started: Instant::now(), time, longest: time + rig.scaled(GRACE), loads, lives, failed }
    }

    fn goes_on(&self) -> bool {
        let passed = self.started.elapsed();
        let enough = [&self.loads, &self.lives].iter().all(|count| count.load(Ordering::Relaxed) >= LEAST);
        !self.failed.load(Ordering::Relaxed) && passed < self.longest && (passed < self.time || !enough)
    }

    fn noted<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }

    /// Arbitrary requests to one device. Returns how they were answered, and how many there were.
    fn requests(&self, device: &str, seed: u64) -> Result<(String, u64)> {
        let report = arbitrary_requests(self.rig, device, self.longest, seed)?;
        // Some requests are well-formed, so the dispatchers were not spared their work by a check in front of them.
        ensure!(report.contains(": done: "), "no request to {device} succeeded:\n{report}");
        let count = report.lines().find_map(|line| line.strip_prefix("requests: ")?.trim().parse().ok());
        Ok((report.replace("\r\n", "\n"), count.unwrap_or(0)))
    }

    /// Changes the policy in every way, one after the other. Returns how often.
    fn policies(&self) -> Result<u64> {
        let ways: [&[&str]; 4] = [
            &["policy", "load", "demo.toml"],
            &["policy", "load", "demo.toml", "--persist"],
            &["policy", "clear"],
            &["policy", "clear", "--persist"],
        ];
        for way in ways.iter().cycle().take_while(|_| self.goes_on()) {
            sluicectl_ok(self.rig, way)?;
            self.loads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.loads.load(Ordering::Relaxed))
    }

    /// Starts and stops a client. Returns how often.
    fn lives(&self, client: &str) -> Result<u64> {
        while self.goes_on() {
            self.rig.start(client)?;
            verdicts(self.rig, client)?;
            stop(self.rig, client)?;
            self.lives.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.lives.load(Ordering::Relaxed))
    }
}
