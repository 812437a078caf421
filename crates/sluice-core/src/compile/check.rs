//! What is wrong with the values of a rule.

use alloc::string::String;

use sluice_npi::link_type;

use super::Rule;
use super::error::ErrorKind;
use super::ranges::AddressRange;
use crate::Direction;
use crate::policy::table::MAX_NAME_LENGTH;

/// Refuses the first value that its documentation does not allow.
pub(super) fn check(rule: &Rule) -> Result<(), ErrorKind> {
    let c = &rule.conditions;
    if rule.id == 0 {
        return Err(ErrorKind::ZeroId);
    }
    if c.direction == Some(Direction::Unspecified) {
        return Err(ErrorKind::UnspecifiedDirection);
    }
    for number in &c.link_types {
        if !link_type::is_known(*number) {
            return Err(ErrorKind::UnknownLinkType(*number));
        }
    }
    for range in c.vlans.iter().chain(&c.source_ports).chain(&c.destination_ports) {
        if range.is_empty() {
            return Err(ErrorKind::EmptyRange { first: *range.start(), last: *range.end() });
        }
    }
    if let Some(range) = c.vlans.iter().find(|range| *range.end() > 4095) {
        return Err(ErrorKind::VlanOutOfRange(*range.end()));
    }
    for prefix in c.sources.iter().chain(&c.destinations) {
        let width = if prefix.address.is_ipv4() { 32 } else { 128 };
        if prefix.length > width {
            return Err(ErrorKind::PrefixTooLong(*prefix));
        }
        let range = AddressRange::of(prefix);
        if range.first.trailing_zeros() < range.shift && range.first != 0 {
            return Err(ErrorKind::HostBitsSet(*prefix));
        }
    }
    if let Some(version) = c.ip_version.filter(|version| !matches!(version, 4 | 6)) {
        return Err(ErrorKind::UnknownIpVersion(version));
    }
    if !c.names.is_empty() && !c.answer_names.is_empty() {
        return Err(ErrorKind::TwoKindsOfNames);
    }
    if c.tcp_flags.is_some_and(|flags| flags.value & !flags.mask != 0) {
        return Err(ErrorKind::TcpFlagsOutsideMask);
    }
    Ok(())
}

/// A name as the table has it.
pub(super) fn canonical_name(name: &str) -> Result<String, ErrorKind> {
    let text = name.strip_suffix('.').unwrap_or(name);
    let is_name = (1..=MAX_NAME_LENGTH).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        });
    if is_name { Ok(text.to_ascii_lowercase()) } else { Err(ErrorKind::BadName(name.into())) }
}
