//! The part of the demo in which gate.sys filters the packets of a network.

use std::fs;

use anyhow::{Context, Result};
use sluice_rig::{Network, Play, State, ip_packets, raw_capture};

use super::{Arguments, Demo};
use crate::layout;

/// The packets of the capture that a network of IP has.
const CAPTURE: &str = "network.pcap";

impl Demo<'_> {
    /// Sends the packets of the capture that begin with an IP header through the filters of the machine, without and
    /// with gate.sys.
    pub(super) fn filter_the_network(&self, arguments: &Arguments, policy: &str) -> Result<()> {
        let rig = self.rig;
        let packets = ip_packets(&arguments.capture)?;
        if packets.is_empty() {
            return Ok(());
        }
        fs::write(rig.file(CAPTURE), raw_capture(&packets)).context("cannot write the packets of the network")?;
        self.title("Filter the network: gate shows sluice the packets that Windows shows it");
        self.say("fwpkclnt.sys stands in for the filter engine of Windows, and plays the capture as a network.");
        let network = Network::new(rig)?;
        rig.copy_driver(&layout::drivers(arguments.arch).join("gate.sys"), "gate")?;
        self.sc(rig.create_service("gate"))?;
        self.sc(rig.start("gate"))?;
        let all = network.play(Play::once(CAPTURE))?;
        self.check(
            &format!("all {} packets that are sent pass until gate is enabled", packets.len()),
            all.passed == raw_capture(&packets),
        );
        self.succeeds(&self.sluicectl(&["gate", "enable", "--for", "10m"])?)?;
        let verdicts =
            self.quietly(&["classify", "--json", "--offline", "--policy", policy, "--direction", "outbound", CAPTURE])?;
        let permitted = verdicts.stdout.lines().map(|line| line.contains(r#""action":"permit""#));
        let kept: Vec<_> =
            packets.iter().zip(permitted).filter(|(_, is)| *is).map(|(packet, _)| packet.clone()).collect();
        let left = network.play(Play::once(CAPTURE))?;
        self.check(
            &format!("then exactly the {} that the policy blocks are missing", packets.len() - kept.len()),
            left.passed == raw_capture(&kept),
        );
        self.succeeds(&self.sluicectl(&["gate", "status"])?)?;
        let left = self.stop("gate")?;
        self.check_left("gate", left);
        self.check("gate has taken its filters and callouts with it", network.state()? == [0; 5]);
        self.check("sluice is still running", rig.state("sluice")? == State::Running);
        self.sc(rig.delete("gate"))
    }
}
