//! The names of protocols, EtherTypes and link types, as users write and see them.

use sluice_core::{ether_type, protocol};
use sluice_npi::link_type;

/// Other common names of protocols, which are understood but not shown.
const PROTOCOL_ALIASES: [(u8, &str); 2] = [(protocol::ICMPV6, "icmpv6"), (protocol::OSPF, "ospfigp")];

/// The TCP flags, from bit 0 on.
pub(crate) const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

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

fn number_of<T>(names: impl IntoIterator<Item = (T, &'static str)>, name: &str) -> Option<T> {
    names.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| number)
}
