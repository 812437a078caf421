//! The names of protocols, EtherTypes and link types, as users write and see them.

use crate::capture::LINK_TYPES;

/// IANA protocol numbers and their keywords, in lower case.
pub(crate) const PROTOCOLS: [(u8, &str); 22] = [
    (0, "hopopt"),
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipv4"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (46, "rsvp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "ipv6-icmp"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (89, "ospf"),
    (103, "pim"),
    (112, "vrrp"),
    (132, "sctp"),
    (136, "udplite"),
];

/// Other common names of [`PROTOCOLS`], which are understood but not shown.
const PROTOCOL_ALIASES: [(u8, &str); 2] = [(58, "icmpv6"), (89, "ospfigp")];

/// EtherTypes and their common names.
pub(crate) const ETHER_TYPES: [(u16, &str); 11] = [
    (0x0800, "ipv4"),
    (0x0806, "arp"),
    (0x0842, "wol"),
    (0x8035, "rarp"),
    (0x86DD, "ipv6"),
    (0x8847, "mpls"),
    (0x8863, "pppoe-discovery"),
    (0x8864, "pppoe-session"),
    (0x88CC, "lldp"),
    (0x88E5, "macsec"),
    (0x88F7, "ptp"),
];

/// The TCP flags, from bit 0 on.
pub(crate) const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

pub(crate) fn protocol_number(name: &str) -> Option<u8> {
    number_of(PROTOCOLS.into_iter().chain(PROTOCOL_ALIASES), name)
}

pub(crate) fn ether_type_number(name: &str) -> Option<u16> {
    number_of(ETHER_TYPES, name)
}

pub(crate) fn link_type_number(name: &str) -> Option<u16> {
    number_of(LINK_TYPES, name)
}

/// The keyword of a protocol, or its number.
pub(crate) fn protocol_name(number: u8) -> String {
    let keyword = PROTOCOLS.into_iter().find(|(known, _)| *known == number);
    keyword.map_or_else(|| number.to_string(), |(_, name)| name.to_owned())
}

fn number_of<T>(names: impl IntoIterator<Item = (T, &'static str)>, name: &str) -> Option<T> {
    names.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| number)
}
