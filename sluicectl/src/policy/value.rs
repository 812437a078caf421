//! Values of a policy: what may be written, and what it means.

use std::ops::RangeInclusive;

use sluice_core::compile::{Content, Fragment, Icmp, Prefix};
use sluice_core::{Action, Direction, RuleAction, ether_type, protocol};
use sluice_npi::link_type;
use toml::de::{DeInteger, DeValue};

use super::hint::unknown;
use super::host_name::host_name;
use super::{address, list_file};
use crate::terms::{
    ICMP_TYPES, ICMPV6_TYPES, SERVICES, TCP_FLAGS, ether_type_number, link_type_number, number_of, protocol_number,
};

/// A kind of single value.
pub(super) struct Kind<T> {
    /// Reads the value; the error says why it cannot be read.
    pub(super) parse: fn(&DeValue<'_>) -> Result<T, String>,
    /// What may be written, in words.
    pub(super) allowed: fn() -> String,
}

/// A kind of values that come in lists.
pub(super) struct ListKind<T: 'static> {
    /// Reads a value, which may stand for several items; the error says why it cannot be read.
    pub(super) parse: fn(&DeValue<'_>) -> Result<Vec<T>, String>,
    /// What may be written, in words.
    pub(super) allowed: fn() -> String,
    /// What `!` before a value means, if it may stand there.
    pub(super) negation: Option<Negation<T>>,
    /// Reads a file of such values, if there is a format for that.
    pub(super) file: Option<list_file::Format<T>>,
    /// What is odd about an item that is allowed.
    pub(super) oddity: fn(&T) -> Option<String>,
}

/// How values are excluded.
pub(super) struct Negation<T> {
    pub(super) everything: fn() -> Vec<T>,
    /// The first items without the second.
    pub(super) without: fn(&[T], &[T]) -> Vec<T>,
}

const fn list_kind<T>(
    parse: fn(&DeValue<'_>) -> Result<Vec<T>, String>,
    allowed: fn() -> String,
    negation: Option<Negation<T>>,
) -> ListKind<T> {
    ListKind { parse, allowed, negation, file: None, oddity: |_| None }
}

pub(super) const ACTION: Kind<RuleAction> = Kind {
    parse: |value| {
        let name = text(value)?;
        let known = RuleAction::NAMES.into_iter().find(|(_, known)| *known == name);
        known.map(|(action, _)| action).ok_or_else(|| unknown_action(name, RuleAction::NAMES.map(|(_, name)| name)))
    },
    allowed: || r#""permit" or "block"; "count" or "log", after which the next rule is tried"#.into(),
};

pub(super) const DEFAULT: Kind<Action> = Kind {
    parse: |value| match text(value)? {
        "permit" => Ok(Action::Permit),
        "block" => Ok(Action::Block),
        other => Err(unknown_action(other, ["permit", "block"])),
    },
    allowed: || r#""permit" or "block""#.into(),
};

fn unknown_action<const N: usize>(name: &str, known: [&'static str; N]) -> String {
    match name {
        "allow" | "accept" | "pass" => "unknown action; did you mean \"permit\"?".into(),
        "deny" | "drop" | "reject" => "unknown action; did you mean \"block\"?".into(),
        other => unknown("unknown action", other, known),
    }
}

pub(super) const DIRECTION: Kind<Direction> = Kind {
    parse: |value| match text(value)? {
        "inbound" => Ok(Direction::Inbound),
        "outbound" => Ok(Direction::Outbound),
        "in" | "input" | "ingress" => Err("unknown direction; did you mean \"inbound\"?".into()),
        "out" | "output" | "egress" => Err("unknown direction; did you mean \"outbound\"?".into()),
        other => Err(unknown("unknown direction", other, ["inbound", "outbound"])),
    },
    allowed: || r#""inbound" or "outbound"; leave the key out for both"#.into(),
};

pub(super) const FRAGMENT: Kind<Fragment> = Kind {
    parse: |value| match value {
        DeValue::Boolean(true) => Ok(Fragment::Any),
        DeValue::Boolean(false) => Ok(Fragment::No),
        _ => match text(value)? {
            "no" => Ok(Fragment::No),
            "any" => Ok(Fragment::Any),
            "first" => Ok(Fragment::First),
            "later" => Ok(Fragment::Later),
            other => Err(unknown("unknown kind of fragment", other, ["any", "first", "later"])),
        },
    },
    allowed: || r#""no", "any", "first" or "later""#.into(),
};

/// Of a tunnel, or of answers.
pub(super) const CONTENT: Kind<Content> = Kind {
    parse: |value| match value {
        DeValue::Boolean(true) => Ok(Content::Any),
        DeValue::Boolean(false) => Ok(Content::No),
        _ => match text(value)? {
            "no" => Ok(Content::No),
            "any" => Ok(Content::Any),
            "unread" => Ok(Content::Unread),
            other => Err(unknown("unknown value", other, ["any", "no", "unread"])),
        },
    },
    allowed: || r#""no", "any" or "unread""#.into(),
};

pub(super) const BOOLEAN: Kind<bool> = Kind {
    parse: |value| value.as_bool().ok_or_else(|| mismatch("a boolean", value)),
    allowed: || "true or false".into(),
};

pub(super) const RULE_ID: Kind<u32> = Kind {
    parse: |value| number(value, 1..=u32::MAX),
    allowed: || format!("an integer from 1 to {}, different for every rule", u32::MAX),
};

pub(super) const IP_VERSION: Kind<u8> = Kind {
    parse: |value| match number(value, 0..=u8::MAX)? {
        version @ (4 | 6) => Ok(version),
        _ => Err("unknown version of IP".into()),
    },
    allowed: || "4 or 6".into(),
};

pub(super) const TEXT: Kind<String> =
    Kind { parse: |value| text(value).map(str::to_owned), allowed: || "a string".into() };

pub(super) const ADDRESS: ListKind<Prefix> = ListKind {
    parse: |value| address::parse(text(value)?),
    allowed: || {
        "an IPv4 or IPv6 address, prefix or range such as \"192.0.2.1\", \"192.0.2.0/24\", \"2001:db8::/32\", \
         \"192.0.2.10-192.0.2.99\", \"@\" and the name of a set of [sets.addresses], or \"@file:\" and a path; with \
         \"!\" before it for all others"
            .into()
    },
    negation: Some(Negation { everything: address::everything, without: address::without }),
    file: Some(list_file::ADDRESSES),
    oddity: |prefix| {
        let ipv4 = address::unmapped(prefix)?;
        Some(format!("no packet has an IPv4 address in its IPv6 header; did you mean \"{ipv4}\"?"))
    },
};

pub(super) const PORT: ListKind<RangeInclusive<u16>> = list_kind(
    |value| match value {
        DeValue::String(text) if text.starts_with(|first: char| first.is_ascii_alphabetic()) => {
            let number = number_of(SERVICES, text)
                .ok_or_else(|| unknown("unknown service", text, SERVICES.into_iter().map(|(_, name)| name)))?;
            Ok(vec![number..=number])
        }
        _ => Ok(vec![range(value, 0..=u16::MAX)?]),
    },
    || {
        "a port from 0 to 65535, a range such as \"8000-8999\", the name of a service such as \"https\", or \"@\" and \
         the name of a set of [sets.ports]; with \"!\" before it for all others"
            .into()
    },
    Some(Negation { everything: || vec![0..=u16::MAX], without: ranges_without }),
);

pub(super) const VLAN: ListKind<RangeInclusive<u16>> = list_kind(
    |value| Ok(vec![range(value, 0..=4095)?]),
    || {
        "a VLAN id from 0 to 4095, a range such as \"100-199\", with \"!\" before it for all others; true for any \
         tagged packet, false for any untagged one"
            .into()
    },
    Some(Negation { everything: || vec![0..=4095], without: ranges_without }),
);

pub(super) const PROTOCOL: ListKind<u8> = list_kind(
    |value| match value {
        DeValue::String(text) if !text.starts_with(|first: char| first.is_ascii_digit()) => {
            let number = protocol_number(text)
                .ok_or_else(|| unknown("unknown protocol", text, protocol::NAMES.into_iter().map(|(_, name)| name)))?;
            Ok(vec![number])
        }
        DeValue::String(text) => Ok(vec![in_range(text.parse().ok(), 0..=u8::MAX)?]),
        DeValue::Integer(_) => Ok(vec![number(value, 0..=u8::MAX)?]),
        _ => Err(mismatch("a string or an integer", value)),
    },
    || {
        format!(
            "an IANA protocol number from 0 to 255 or one of {}; with \"!\" before it for all others",
            names(protocol::NAMES)
        )
    },
    Some(Negation {
        everything: || (0..=u8::MAX).collect(),
        without: |included, excluded| included.iter().copied().filter(|number| !excluded.contains(number)).collect(),
    }),
);

pub(super) const ETHER_TYPE: ListKind<u16> = list_kind(
    |value| match value {
        DeValue::Integer(_) => Ok(vec![number(value, 0x0600..=u16::MAX)?]),
        _ => {
            let text = text(value)?;
            let known = ether_type::NAMES.into_iter().map(|(_, name)| name);
            Ok(vec![ether_type_number(text).ok_or_else(|| unknown("unknown EtherType", text, known))?])
        }
    },
    || format!("an EtherType from 0x0600 to 0xFFFF or one of {}", names(ether_type::NAMES)),
    None,
);

pub(super) const LINK_TYPE: ListKind<u16> = list_kind(
    |value| match value {
        DeValue::Integer(_) => {
            let number = number(value, 0..=u16::MAX)?;
            let known = link_type::NAMES.iter().any(|(known, _)| *known == number);
            if known { Ok(vec![number]) } else { Err("this link type is not supported".into()) }
        }
        _ => {
            let text = text(value)?;
            let known = link_type::NAMES.into_iter().map(|(_, name)| name);
            Ok(vec![link_type_number(text).ok_or_else(|| unknown("unknown link type", text, known))?])
        }
    },
    || link_type::NAMES.map(|(number, name)| format!("{number} or \"{name}\"")).join(", "),
    None,
);

pub(super) const QUIC_VERSION: ListKind<u32> = list_kind(
    |value| match value {
        DeValue::Integer(_) => Ok(vec![number(value, 0..=u32::MAX)?]),
        _ => match text(value)? {
            "v1" => Ok(vec![1]),
            "v2" => Ok(vec![0x6B33_43CF]),
            other => Err(unknown("unknown version of QUIC", other, ["v1", "v2"])),
        },
    },
    || "\"v1\", \"v2\" or the number that stands for a version in its packets; true for any, false for none".into(),
    None,
);

/// A type of ICMP or ICMPv6 messages, or a type and a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IcmpValue {
    Number(Icmp),
    /// A name, which stands for different numbers in the two protocols; either may have no such type.
    Name {
        /// As it is written.
        text: String,
        icmp: Option<u8>,
        icmpv6: Option<u8>,
        code: Option<u8>,
    },
}

pub(super) const ICMP: ListKind<IcmpValue> = list_kind(
    |value| {
        if let DeValue::Integer(_) = value {
            return Ok(vec![IcmpValue::Number(Icmp { kind: number(value, 0..=u8::MAX)?, code: None })]);
        }
        let text = text(value)?;
        let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
        let byte =
            |text: &str| text.parse::<u8>().map_err(|_| "expected a type, or type and code, from 0 to 255".to_owned());
        let code = code.map(byte).transpose()?;
        if !kind.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Ok(vec![IcmpValue::Number(Icmp { kind: byte(kind)?, code })]);
        }
        let (icmp, icmpv6) = (number_of(ICMP_TYPES, kind), number_of(ICMPV6_TYPES, kind));
        if icmp.is_none() && icmpv6.is_none() {
            let known = ICMP_TYPES.into_iter().chain(ICMPV6_TYPES).map(|(_, name)| name);
            return Err(unknown("unknown type of ICMP messages", kind, known));
        }
        Ok(vec![IcmpValue::Name { text: text.to_owned(), icmp, icmpv6, code }])
    },
    || {
        "an ICMP type from 0 to 255 or a name such as \"echo-request\", or type and code such as \"3/4\"; with the \
         protocol, icmp or ipv6-icmp"
            .into()
    },
    None,
);

/// A bit of the TCP flags, and whether it has to be set.
pub(super) const TCP_FLAG: ListKind<(u8, bool)> = list_kind(
    |value| {
        let text = text(value)?;
        let (name, set) = text.strip_prefix('!').map_or((text, true), |name| (name, false));
        let bit = TCP_FLAGS.iter().position(|known| known.eq_ignore_ascii_case(name));
        Ok(vec![(1 << bit.ok_or_else(|| unknown("unknown TCP flag", name, TCP_FLAGS))?, set)])
    },
    || format!("flags that are set, or with \"!\" before them are not set: {}", TCP_FLAGS.join(", ")),
    None,
);

pub(super) const NAME: ListKind<String> = ListKind {
    parse: |value| {
        let text = text(value)?;
        if text.starts_with('!') {
            return Err("names cannot be excluded; an earlier rule with the other action can name them".into());
        }
        Ok(vec![host_name(text)?])
    },
    allowed: || {
        "a host name such as \"example.com\", which stands for the names below it as well, \"@\" and the name of a \
         set of [sets.names], or \"@file:\" and a path"
            .into()
    },
    negation: None,
    file: Some(list_file::NAMES),
    oddity: |_| None,
};

fn names<T, const N: usize>(terms: [(T, &str); N]) -> String {
    terms.map(|(_, name)| name).join(", ")
}

/// What is wrong with a value of another type.
fn mismatch(expected: &str, value: &DeValue<'_>) -> String {
    let article = if matches!(value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    format!("expected {expected}, found {article} {}", value.type_str())
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| mismatch("a string", value))
}

fn number<T: TryFrom<i128> + Into<i128> + Copy>(value: &DeValue<'_>, allowed: RangeInclusive<T>) -> Result<T, String> {
    let integer = value.as_integer().ok_or_else(|| mismatch("an integer", value))?;
    in_range(parse_integer(integer), allowed)
}

/// `None` if it has more digits than any number that is allowed here.
fn parse_integer(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn in_range<T: TryFrom<i128> + Into<i128> + Copy>(
    number: Option<i128>,
    allowed: RangeInclusive<T>,
) -> Result<T, String> {
    let (least, most): (i128, i128) = ((*allowed.start()).into(), (*allowed.end()).into());
    number
        .filter(|number| (least..=most).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("expected a number from {least} to {most}"))
}

/// A number, or a string of one number or of two with a hyphen between them.
fn range(value: &DeValue<'_>, allowed: RangeInclusive<u16>) -> Result<RangeInclusive<u16>, String> {
    let DeValue::String(text) = value else {
        return number(value, allowed).map(|number| number..=number);
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let bound = |text: &str| {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("expected a number, or two with a hyphen between them".to_owned());
        }
        in_range(text.parse().ok(), allowed.clone())
    };
    let range = bound(first)?..=bound(last)?;
    if range.is_empty() {
        return Err(format!("the range is empty; did you mean \"{}-{}\"?", range.end(), range.start()));
    }
    Ok(range)
}

/// The numbers of the first ranges that are not in the second.
fn ranges_without(included: &[RangeInclusive<u16>], excluded: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let is_left = |number: &u16| {
        included.iter().any(|range| range.contains(number)) && !excluded.iter().any(|range| range.contains(number))
    };
    let mut left: Vec<RangeInclusive<u16>> = Vec::new();
    for number in (0..=u16::MAX).filter(is_left) {
        match left.last_mut() {
            Some(last) if last.end() + 1 == number => *last = *last.start()..=number,
            _ => left.push(number..=number),
        }
    }
    left
}
