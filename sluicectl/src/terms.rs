//! The names of protocols, EtherTypes and link types, as users write and see them.

use sluice_core::{ether_type, protocol};
use sluice_npi::link_type;

/// Other common names of protocols, which are understood but not shown.
const PROTOCOL_ALIASES: [(u8, &str); 2] = [(protocol::ICMPV6, "icmpv6"), (protocol::OSPF, "ospfigp")];

/// The TCP flags, from bit 0 on.
pub(crate) const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// Services and their ports, by the keywords of IANA's registry "Service Name and Transport Protocol Port Number" and
/// the common names of a few others.
pub(crate) const SERVICES: [(u16, &str); 48] = [
    (20, "ftp-data"),
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (53, "dns"),
    (53, "domain"),
    (67, "bootps"),
    (67, "dhcp-server"),
    (68, "bootpc"),
    (68, "dhcp-client"),
    (69, "tftp"),
    (80, "http"),
    (88, "kerberos"),
    (110, "pop3"),
    (123, "ntp"),
    (135, "epmap"),
    (135, "rpc"),
    (137, "netbios-ns"),
    (138, "netbios-dgm"),
    (139, "netbios-ssn"),
    (143, "imap"),
    (161, "snmp"),
    (162, "snmptrap"),
    (179, "bgp"),
    (389, "ldap"),
    (443, "https"),
    (445, "microsoft-ds"),
    (445, "smb"),
    (500, "isakmp"),
    (514, "syslog"),
    (546, "dhcpv6-client"),
    (547, "dhcpv6-server"),
    (587, "submission"),
    (636, "ldaps"),
    (853, "domain-s"),
    (993, "imaps"),
    (995, "pop3s"),
    (1433, "ms-sql-s"),
    (3306, "mysql"),
    (3389, "ms-wbt-server"),
    (3389, "rdp"),
    (4500, "ipsec-nat-t"),
    (5353, "mdns"),
    (5355, "llmnr"),
    (5432, "postgresql"),
    (5985, "wsman"),
    (5986, "wsmans"),
];

/// Types of ICMP messages (IANA's registry "ICMP Type Numbers").
pub(crate) const ICMP_TYPES: [(u8, &str); 10] = [
    (0, "echo-reply"),
    (3, "destination-unreachable"),
    (5, "redirect"),
    (8, "echo-request"),
    (9, "router-advertisement"),
    (10, "router-solicitation"),
    (11, "time-exceeded"),
    (12, "parameter-problem"),
    (13, "timestamp-request"),
    (14, "timestamp-reply"),
];

/// Types of ICMPv6 messages (IANA's registry "ICMPv6 type Numbers").
pub(crate) const ICMPV6_TYPES: [(u8, &str); 15] = [
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (130, "listener-query"),
    (131, "listener-report"),
    (132, "listener-done"),
    (133, "router-solicitation"),
    (134, "router-advertisement"),
    (135, "neighbor-solicitation"),
    (136, "neighbor-advertisement"),
    (137, "redirect"),
    (143, "listener-report-v2"),
];

pub(crate) fn protocol_number(name: &str) -> Option<u8> {
    number_of(protocol::NAMES.into_iter().chain(PROTOCOL_ALIASES), name)
}

pub(crate) fn ether_type_number(name: &str) -> Option<u16> {
    number_of(ether_type::NAMES, name)
}

pub(crate) fn link_type_number(name: &str) -> Option<u16> {
    number_of(link_type::NAMES, name)
}

/// The keyword of a protocol, or its number.
pub(crate) fn protocol_name(number: u8) -> String {
    let keyword = protocol::NAMES.into_iter().find(|(known, _)| *known == number);
    keyword.map_or_else(|| number.to_string(), |(_, name)| name.to_owned())
}

/// The number of the term with this name, in any case.
pub(crate) fn number_of<T>(names: impl IntoIterator<Item = (T, &'static str)>, name: &str) -> Option<T> {
    names.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| number)
}
