//! The connections through which somebody may work on this machine from a distance, and whether a policy ends them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use sluice_control::gate::{GateStatus, flags};
use sluice_core::{ether_type, protocol};
use sluice_npi::{action, direction, link_type};

use crate::capture::RecordedPacket;
use crate::device::Sluice;
use crate::device::gate::Gate;
use crate::failure::{Failure, warn};
use crate::offline::Offline;

#[cfg(not(windows))]
mod elsewhere;
mod rows;
#[cfg(windows)]
mod windows;

#[cfg(not(windows))]
use elsewhere::established;
#[cfg(windows)]
use windows::established;

/// The services for that, by their ports.
const SERVICES: [(u16, &str); 4] = [(22, "SSH"), (3389, "Remote Desktop"), (5985, "WinRM"), (5986, "WinRM")];

/// How many of the connections that end for one reason are named.
const SHOWN: usize = 3;

/// What ends them without a policy.
const WITHOUT_SLUICE: &str = "gate.sys, as long as Sluice is not attached,";

/// A TCP connection that is established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
}

/// Warns of what ends when gate.sys, which is as `gate` says, begins to filter.
pub(crate) fn warn_before_enabling(gate: &GateStatus) {
    if gate.flags & flags::ATTACHED != 0 {
        warn_of(|| Sluice::open()?.read_policy().map(|(_, table)| table), gate);
    } else if gate.flags & flags::BLOCKS_WHEN_NO_SLUICE != 0 {
        let ended = |connections: Vec<Connection>| {
            let ended = watched(&connections, gate);
            messages(ended.map(|(service, connection)| (WITHOUT_SLUICE.into(), service, connection)).collect())
        };
        say(established().map(ended));
    }
}

/// Warns of what ends when a policy, whose table is asked for, is loaded while gate.sys filters.
pub(crate) fn warn_before_loading(table: impl FnOnce() -> Result<Vec<u8>, Failure>) {
    // A machine without gate.sys filters nothing.
    if let Ok(gate) = Gate::open().and_then(|gate| gate.status())
        && gate.flags & flags::ENABLED != 0
    {
        warn_of(table, &gate);
    }
}

fn warn_of(table: impl FnOnce() -> Result<Vec<u8>, Failure>, gate: &GateStatus) {
    say(table().and_then(|table| warnings(table, gate, &established()?)));
}

/// Who is not told of connections that end has to know that nobody looked.
fn say(warnings: Result<Vec<String>, Failure>) {
    match warnings {
        Ok(messages) => messages.iter().for_each(|message| warn(message)),
        Err(error) => warn(&format!("cannot tell which connections end: {error}")),
    }
}

/// What is to be said of a policy, given as its table, and of the connections that there are.
fn warnings(table: Vec<u8>, gate: &GateStatus, connections: &[Connection]) -> Result<Vec<String>, Failure> {
    let offline = Offline::new(Some(table).filter(|table| !table.is_empty()))?;
    let has_frames = gate.flags & flags::JUDGES_FRAMES != 0;
    let mut ended = Vec::new();
    for (service, connection) in watched(connections, gate) {
        if let Some(rule) = blocked_by(&offline, connection, has_frames)? {
            let who = if rule == 0 { "the default of the policy".to_owned() } else { format!("rule {rule}") };
            ended.push((who, service, connection));
        }
    }
    Ok(messages(ended))
}

/// One message for all connections of a service that end by the same: who ends them, the service, the connection.
fn messages(ended: Vec<(String, &str, Connection)>) -> Vec<String> {
    let mut grouped: BTreeMap<_, Vec<Connection>> = BTreeMap::new();
    for (who, service, connection) in ended {
        grouped.entry((who, service)).or_default().push(connection);
    }
    let message = |((who, service), connections): ((String, &str), Vec<Connection>)| {
        let remotes: Vec<String> =
            connections.iter().take(SHOWN).map(|connection| connection.remote.to_string()).collect();
        let more = connections.len().saturating_sub(SHOWN);
        let and_more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "{who} blocks {service} from {}{and_more}: if you work through it, let `sluicectl gate enable --for 60s` \
             give it back",
            remotes.join(", ")
        )
    };
    grouped.into_iter().map(message).collect()
}

/// The connections of services from a distance that gate.sys, which is as `gate` says, sees packets of.
fn watched(connections: &[Connection], gate: &GateStatus) -> impl Iterator<Item = (&'static str, Connection)> {
    let sees_loopback = gate.flags & flags::JUDGES_LOOPBACK != 0;
    connections.iter().copied().filter_map(move |connection| {
        let (_, service) = SERVICES.iter().find(|(port, _)| *port == connection.local.port())?;
        (sees_loopback || !connection.remote.ip().is_loopback()).then_some((*service, connection))
    })
}

/// The rule that blocks a segment of a connection, one way or the other: 0 for the default.
fn blocked_by(offline: &Offline, connection: Connection, has_frames: bool) -> Result<Option<u32>, Failure> {
    let Connection { local, remote } = connection;
    for (direction, source, destination) in [(direction::INBOUND, remote, local), (direction::OUTBOUND, local, remote)]
    {
        let verdict = offline.classify(&segment(direction, source, destination, has_frames))?;
        if verdict.action == action::BLOCK {
            return Ok(Some(verdict.rule_id));
        }
    }
    Ok(None)
}

/// A TCP segment that acknowledges, and nothing else (RFC 9293, 3.1; RFC 791, 3.1; RFC 8200, 3).
fn segment(direction: u16, source: SocketAddr, destination: SocketAddr, has_frame: bool) -> RecordedPacket {
    const ACK: u8 = 0x10;
    const LENGTH: u8 = 20;
    let ports = [source.port(), destination.port()].map(u16::to_be_bytes).concat();
    let tcp = [&ports[..], &[0; 8], &[LENGTH << 2, ACK], &[0; 6]].concat();
    let (header, ether_type) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let fixed = [0x45, 0, 0, 20 + LENGTH, 0, 0, 0, 0, 64, protocol::TCP, 0, 0];
            ([&fixed[..], &source.octets(), &destination.octets()].concat(), ether_type::IPV4)
        }
        (source, destination) => {
            let [source, destination] = [source, destination].map(|address| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            });
            let fixed = [0x60, 0, 0, 0, 0, LENGTH, protocol::TCP, 64];
            ([&fixed[..], &source, &destination].concat(), ether_type::IPV6)
        }
    };
    let frame = if has_frame { [&[0; 12][..], &ether_type.to_be_bytes()].concat() } else { Vec::new() };
    let bytes = [frame, header, tcp].concat();
    RecordedPacket {
        number: 1,
        time: None,
        link_type: if has_frame { link_type::ETHERNET } else { link_type::RAW },
        direction,
        wire_length: bytes.len() as u32,
        bytes,
        assembled: OnceLock::new(),
    }
}

#[cfg(test)]
mod tests {
    use sluice_control::gate::GateCounters;
    use sluice_control::message::header_of;
    use sluice_core::compile::{Conditions, Prefix, Rule, compile};
    use sluice_core::{Action, RuleAction};

    use super::*;

    fn gate(flags: u32) -> GateStatus {
        GateStatus { header: header_of::<GateStatus>(), flags, remaining_ms: 0, counters: GateCounters::default() }
    }

    fn connection(local: &str, remote: &str) -> Connection {
        Connection { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    /// Everything is permitted but packets with this destination port, or from this network.
    fn policy(id: u32, port: u16, source: Option<Prefix>) -> Vec<u8> {
        let conditions = match source {
            Some(prefix) => Conditions { sources: vec![prefix], ..Conditions::default() },
            None => Conditions { destination_ports: vec![port..=port], ..Conditions::default() },
        };
        compile(&[Rule { id, action: RuleAction::Block, conditions }], Action::Permit).unwrap()
    }

    #[test]
    fn a_connection_that_the_policy_ends_is_named_with_the_rule() {
        let ssh = connection("192.0.2.1:22", "203.0.113.5:50122");
        let desktop = connection("[2001:db8::1]:3389", "[2001:db8::5]:50123");
        let said = |table: &[u8], flags| warnings(table.to_vec(), &gate(flags), &[ssh, desktop]).unwrap();
        for flags in [0, flags::JUDGES_FRAMES] {
            let ended = said(&policy(7, 22, None), flags);
            assert!(
                matches!(&ended[..], [one] if one.starts_with("rule 7 blocks SSH from 203.0.113.5:50122: ")),
                "{ended:?}"
            );
            let ended = said(&policy(8, 3389, None), flags);
            assert!(
                matches!(&ended[..], [one] if one.contains("Remote Desktop from [2001:db8::5]:50123: ")),
                "{ended:?}"
            );
            assert_eq!(said(&policy(9, 443, None), flags), [""; 0]);
        }
        // The answers of this machine are blocked, and that ends it as well.
        let own = Prefix { address: [192, 0, 2, 0].into(), length: 24 };
        assert_eq!(said(&policy(7, 0, Some(own)), 0).len(), 1);
        let nothing = compile(&[], Action::Block).unwrap();
        assert!(said(&nothing, 0).iter().all(|text| text.starts_with("the default of the policy blocks ")));
        assert_eq!((said(&nothing, 0).len(), said(&[], 0).len()), (2, 0), "without a policy everything passes");
    }

    #[test]
    fn connections_that_end_for_one_reason_are_said_together() {
        let many: Vec<_> = (1..=5).map(|port| connection("192.0.2.1:5985", &format!("203.0.113.5:{port}"))).collect();
        let ended = warnings(policy(7, 5985, None), &gate(0), &many).unwrap();
        let expected = "rule 7 blocks WinRM from 203.0.113.5:1, 203.0.113.5:2, 203.0.113.5:3 and 2 more: ";
        assert!(matches!(&ended[..], [one] if one.starts_with(expected)), "{ended:?}");
    }

    #[test]
    fn what_gate_does_not_see_and_what_nobody_works_through_is_left_out() {
        let local = connection("127.0.0.1:22", "127.0.0.1:50000");
        let client = connection("192.0.2.1:50000", "203.0.113.5:22");
        let web = connection("192.0.2.1:443", "203.0.113.5:50000");
        let nothing = compile(&[], Action::Block).unwrap();
        let said = |flags| warnings(nothing.clone(), &gate(flags), &[local, client, web]).unwrap().len();
        assert_eq!([said(0), said(flags::JUDGES_LOOPBACK)], [0, 1]);
    }
}
