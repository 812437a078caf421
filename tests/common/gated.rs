//! gate.sys beside the clients, and packets for it.

use std::fs;

use anyhow::{Result, ensure};
use sluice_rig::{Network, Play, Playing, Rig, ip_packets, raw_capture};

use crate::machine::{data, stop};
use crate::programs::sluicectl_ok;

/// The packets of the demo's capture that begin with an IP header, in `C:\rig`.
pub const CAPTURE: &str = "raw.pcap";

/// Gives a machine a service for gate.sys, a network, and packets to send.
///
/// # Errors
/// The rig does not work.
pub fn install_gate(rig: &Rig) -> Result<Network<'_>> {
    rig.install("gate")?;
    fs::write(rig.file(CAPTURE), raw_capture(&ip_packets(&data("demo.pcapng"))?))?;
    Network::new(rig)
}

/// Starts gate.sys and has it filter.
///
/// # Errors
/// It does not start, or refuses.
pub fn start_gate(rig: &Rig) -> Result<()> {
    rig.start("gate")?;
    sluicectl_ok(rig, &["gate", "enable"]).map(drop)
}

/// Begins to send all packets, again and again, from two threads, at PASSIVE_LEVEL and at DISPATCH_LEVEL by turns.
///
/// # Errors
/// The job cannot be written.
pub fn send(network: Network<'_>) -> Result<Playing<'_>> {
    network.start(Play { threads: 2, rounds: None, ..Play::once(CAPTURE) })
}

/// Stops gate.sys, which must leave nothing behind: not in the engine either.
///
/// # Errors
/// It does not stop, or leaves something.
pub fn stop_gate(rig: &Rig, network: Network<'_>) -> Result<()> {
    stop(rig, "gate")?;
    let state = network.state()?;
    ensure!(state == [0; 5], "callouts, or objects of the engine, are left: {state:?}");
    Ok(())
}
