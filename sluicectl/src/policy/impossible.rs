//! Rules that match no packet, because their conditions exclude each other.
//!
//! Whether a condition can be met depends on a few traits of a packet. All combinations of traits that occur are tried:
//! if none meets every condition, no packet does. What is said is never wrong; a rule whose conditions exclude each
//! other in a way that has nothing to do with these traits is not found.

use sluice_core::compile::{Conditions, Content, Fragment, Prefix};
use sluice_core::{ether_type, protocol};
use sluice_npi::link_type;

/// The traits of a packet that conditions depend on.
#[derive(Clone, Copy)]
struct Packet {
    link_type: u16,
    is_tagged: bool,
    ether_type: Option<u16>,
    ip_version: Option<u8>,
    protocol: Option<u8>,
    fragment: Fragment,
}

/// EtherTypes behind which there is no IP header that is read.
const NOT_IP: [u16; 6] = [
    ether_type::ARP,
    ether_type::WOL,
    ether_type::RARP,
    ether_type::PPPOE_DISCOVERY,
    ether_type::LLDP,
    ether_type::PTP,
];

/// Link types that have an EtherType, or may have one.
const WITH_ETHER_TYPE: [u16; 5] = [
    link_type::ETHERNET,
    link_type::PPP_HDLC,
    link_type::LINUX_SLL,
    link_type::IEEE802_11_RADIOTAP,
    link_type::LINUX_SLL2,
];

/// A protocol that has nothing of its own to be read.
const ANY_OTHER: u8 = 253;

/// Keys of a rule with its conditions that exclude each other: two if two are enough, else all that are set. `None` if
/// packets can meet all of them.
pub(super) fn excluding(rule: &Conditions) -> Option<Vec<&'static str>> {
    // What is in a tunnel has little to do with the link type.
    if rule.inner {
        return None;
    }
    let keys: Vec<_> = CONDITIONS.into_iter().filter(|condition| (condition.is_set)(rule)).collect();
    if keys.len() < 2 || is_possible(rule, &keys) {
        return None;
    }
    let pairs =
        keys.iter().enumerate().flat_map(|(at, first)| keys[at + 1..].iter().map(move |second| [*first, *second]));
    let pair = pairs.into_iter().find(|pair| !is_possible(rule, pair));
    let names = |keys: &[Condition]| keys.iter().map(|condition| condition.key).collect();
    Some(pair.map_or_else(|| names(&keys), |pair| names(&pair)))
}

fn is_possible(rule: &Conditions, conditions: &[Condition]) -> bool {
    packets(rule).any(|packet| conditions.iter().all(|condition| (condition.is_met)(rule, packet)))
}

/// All combinations of traits, as far as the rule can tell them apart.
fn packets(rule: &Conditions) -> impl Iterator<Item = Packet> {
    let ether_types: Vec<_> =
        rule.ether_types.iter().copied().chain([ether_type::IPV4, ether_type::IPV6, ether_type::ARP]).collect();
    let usual = [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::ICMPV6, ANY_OTHER];
    let protocols: Vec<_> = usual.into_iter().chain(rule.protocols.iter().copied()).collect();
    let link_types = link_type::NAMES.map(|(number, _)| number);
    let ends = link_types.into_iter().flat_map(move |link_type| {
        let has_ether_type = WITH_ETHER_TYPE.contains(&link_type);
        let ether_types: Vec<_> =
            if has_ether_type { ether_types.iter().copied().map(Some).collect() } else { vec![None] };
        ether_types.into_iter().map(move |ether_type| (link_type, ether_type))
    });
    ends.flat_map(move |(link_type, ether_type)| {
        let protocols = protocols.clone();
        let ip_versions =
            [Some(4), Some(6), None].into_iter().filter(move |version| agree(link_type, ether_type, *version));
        ip_versions.flat_map(move |ip_version| {
            let protocols =
                if ip_version.is_some() { protocols.iter().copied().map(Some).collect() } else { vec![None] };
            protocols.into_iter().flat_map(move |protocol| {
                let fragments: &[Fragment] = match ip_version {
                    Some(_) => &[Fragment::No, Fragment::First, Fragment::Later],
                    None => &[Fragment::No],
                };
                fragments.iter().flat_map(move |fragment| {
                    let tags: &[bool] = if ether_type.is_some() { &[false, true] } else { &[false] };
                    tags.iter().map(move |is_tagged| Packet {
                        link_type,
                        is_tagged: *is_tagged,
                        ether_type,
                        ip_version,
                        protocol,
                        fragment: *fragment,
                    })
                })
            })
        })
    })
}

/// Whether a packet with this link type and EtherType can be of this version of IP. `None` can always be, as a header
/// may be cut off.
fn agree(link_type: u16, ether_type: Option<u16>, ip_version: Option<u8>) -> bool {
    let Some(version) = ip_version else { return true };
    match (link_type, ether_type) {
        (link_type::IPV4, _) | (_, Some(ether_type::IPV4)) => version == 4,
        (link_type::IPV6, _) | (_, Some(ether_type::IPV6)) => version == 6,
        (_, Some(other)) => !NOT_IP.contains(&other),
        (_, None) => true,
    }
}

/// Whether there can be names in a packet.
fn may_ask(_: &Conditions, packet: Packet) -> bool {
    matches!(packet.protocol, Some(protocol::TCP | protocol::UDP)) && packet.fragment != Fragment::Later
}

/// A condition: its key, whether a rule has it, and whether a packet can meet it.
#[derive(Clone, Copy)]
struct Condition {
    key: &'static str,
    is_set: fn(&Conditions) -> bool,
    is_met: fn(&Conditions, Packet) -> bool,
}

const CONDITIONS: [Condition; 16] = [
    Condition {
        key: "link_type",
        is_set: |rule| !rule.link_types.is_empty(),
        is_met: |rule, packet| rule.link_types.contains(&packet.link_type),
    },
    Condition {
        key: "vlan",
        is_set: |rule| rule.tagged.is_some() || !rule.vlans.is_empty(),
        is_met: |rule, packet| packet.is_tagged == (rule.tagged == Some(true) || !rule.vlans.is_empty()),
    },
    Condition {
        key: "ether_type",
        is_set: |rule| !rule.ether_types.is_empty(),
        is_met: |rule, packet| packet.ether_type.is_some_and(|number| rule.ether_types.contains(&number)),
    },
    Condition {
        key: "ip_version",
        is_set: |rule| rule.ip_version.is_some(),
        is_met: |rule, packet| packet.ip_version == rule.ip_version,
    },
    Condition {
        key: "source",
        is_set: |rule| !rule.sources.is_empty(),
        is_met: |rule, packet| has_version(&rule.sources, packet),
    },
    Condition {
        key: "destination",
        is_set: |rule| !rule.destinations.is_empty(),
        is_met: |rule, packet| has_version(&rule.destinations, packet),
    },
    Condition {
        key: "protocol",
        is_set: |rule| !rule.protocols.is_empty(),
        is_met: |rule, packet| packet.protocol.is_some_and(|number| rule.protocols.contains(&number)),
    },
    Condition {
        key: "source_port",
        is_set: |rule| !rule.source_ports.is_empty(),
        is_met: |_, packet| has_ports(packet),
    },
    Condition {
        key: "destination_port",
        is_set: |rule| !rule.destination_ports.is_empty(),
        is_met: |_, packet| has_ports(packet),
    },
    Condition {
        key: "icmp",
        is_set: |rule| !rule.icmp.is_empty(),
        is_met: |_, packet| {
            let is_icmp = matches!(
                (packet.ip_version, packet.protocol),
                (Some(4), Some(protocol::ICMP)) | (Some(6), Some(protocol::ICMPV6))
            );
            is_icmp && packet.fragment != Fragment::Later
        },
    },
    Condition {
        key: "tcp_flags",
        is_set: |rule| rule.tcp_flags.is_some(),
        is_met: |_, packet| packet.protocol == Some(protocol::TCP) && packet.fragment != Fragment::Later,
    },
    Condition { key: "name", is_set: |rule| !rule.names.is_empty(), is_met: may_ask },
    Condition { key: "answer_name", is_set: |rule| !rule.answer_names.is_empty(), is_met: may_ask },
    Condition {
        key: "answer",
        is_set: |rule| rule.answer.is_some_and(|answer| answer != Content::No),
        is_met: may_ask,
    },
    Condition {
        key: "quic",
        is_set: |rule| rule.quic == Some(true) || !rule.quic_versions.is_empty(),
        is_met: |_, packet| packet.protocol == Some(protocol::UDP) && packet.fragment != Fragment::Later,
    },
    Condition {
        key: "fragment",
        is_set: |rule| rule.fragment.is_some(),
        is_met: |rule, packet| match rule.fragment {
            Some(Fragment::Any) => packet.fragment != Fragment::No,
            wanted => wanted == Some(packet.fragment),
        },
    },
];

fn has_version(prefixes: &[Prefix], packet: Packet) -> bool {
    let has = |is_ipv4: bool| prefixes.iter().any(|prefix| prefix.address.is_ipv4() == is_ipv4);
    match packet.ip_version {
        Some(4) => has(true),
        Some(_) => has(false),
        None => false,
    }
}

fn has_ports(packet: Packet) -> bool {
    packet.protocol.is_some_and(|number| protocol::WITH_PORTS.contains(&number)) && packet.fragment != Fragment::Later
}
