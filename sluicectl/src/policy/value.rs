//! Single values of a policy: what may be written, and what it means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use sluice_core::compile::{Fragment, Icmp, Prefix};
use sluice_core::{Action, Direction, ether_type, protocol};
use sluice_npi::link_type;
use toml::de::{DeInteger, DeValue};

use crate::terms::{TCP_FLAGS, ether_type_number, link_type_number, protocol_number};

/// A kind of value.
pub(crate) struct Kind<T> {
    /// Reads the value; the error says why it cannot be read.
    pub(crate) parse: fn(&DeValue<'_>) -> Result<T, String>,
    /// What may be written, in words.
    pub(crate) allowed: fn() -> String,
}

pub(crate) const ACTION: Kind<Action> = Kind {
    parse: |value| match text(value)? {
        "permit" => Ok(Action::Permit),
        "block" => Ok(Action::Block),
        _ => Err("unknown action".into()),
    },
    allowed: || r#""permit" or "block""#.into(),
};

pub(crate) const DIRECTION: Kind<Direction> = Kind {
    parse: |value| match text(value)? {
        "inbound" => Ok(Direction::Inbound),
        "outbound" => Ok(Direction::Outbound),
        _ => Err("unknown direction".into()),
    },
    allowed: || r#""inbound" or "outbound"; leave the key out for both"#.into(),
};

pub(crate) const FRAGMENT: Kind<Fragment> = Kind {
    parse: |value| match value {
        DeValue::Boolean(true) => Ok(Fragment::Any),
        DeValue::Boolean(false) => Ok(Fragment::No),
        _ => match text(value)? {
            "no" => Ok(Fragment::No),
            "any" => Ok(Fragment::Any),
            "first" => Ok(Fragment::First),
            "later" => Ok(Fragment::Later),
            _ => Err("unknown kind of fragment".into()),
        },
    },
    allowed: || r#""no", "any", "first" or "later""#.into(),
};

pub(crate) const BOOLEAN: Kind<bool> = Kind {
    parse: |value| value.as_bool().ok_or_else(|| mismatch("a boolean", value)),
    allowed: || "true or false".into(),
};

pub(crate) const RULE_ID: Kind<u32> = Kind {
    parse: |value| number(value, 1..=u32::MAX),
    allowed: || format!("an integer from 1 to {}, different for every rule", u32::MAX),
};

pub(crate) const IP_VERSION: Kind<u8> = Kind {
    parse: |value| match number(value, 0..=u8::MAX)? {
        version @ (4 | 6) => Ok(version),
        _ => Err("unknown version of IP".into()),
    },
    allowed: || "4 or 6".into(),
};

pub(crate) const TEXT: Kind<String> =
    Kind { parse: |value| text(value).map(str::to_owned), allowed: || "a string".into() };

pub(crate) const ADDRESS: Kind<Prefix> = Kind {
    parse: |value| prefix(text(value)?),
    allowed: || {
        "an IPv4 or IPv6 address or prefix such as \"192.0.2.1\", \"192.0.2.0/24\", \"2001:db8::/32\", or \"@\" and \
         the name of a set of [sets.addresses]"
            .into()
    },
};

pub(crate) const PORT: Kind<RangeInclusive<u16>> = Kind {
    parse: |value| range(value, 0..=u16::MAX),
    allowed: || {
        r#"a port from 0 to 65535, a range such as "8000-8999", or "@" and the name of a set of [sets.ports]"#.into()
    },
};

pub(crate) const VLAN: Kind<RangeInclusive<u16>> = Kind {
    parse: |value| range(value, 0..=4095),
    allowed: || {
        r#"a VLAN id from 0 to 4095, a range such as "100-199"; true for any tagged packet, false for any untagged one"#
            .into()
    },
};

pub(crate) const PROTOCOL: Kind<u8> = Kind {
    parse: |value| match value {
        DeValue::Integer(_) => number(value, 0..=u8::MAX),
        _ => protocol_number(text(value)?).ok_or_else(|| "unknown protocol".into()),
    },
    allowed: || format!("an IANA protocol number from 0 to 255 or one of {}", names(protocol::NAMES)),
};

pub(crate) const ETHER_TYPE: Kind<u16> = Kind {
    parse: |value| match value {
        DeValue::Integer(_) => number(value, 0x0600..=u16::MAX),
        _ => ether_type_number(text(value)?).ok_or_else(|| "unknown EtherType".into()),
    },
    allowed: || format!("an EtherType from 0x0600 to 0xFFFF or one of {}", names(ether_type::NAMES)),
};

pub(crate) const LINK_TYPE: Kind<u16> = Kind {
    parse: |value| match value {
        DeValue::Integer(_) => {
            let number = number(value, 0..=u16::MAX)?;
            let known = link_type::is_known(number);
            if known { Ok(number) } else { Err("this link type is not supported".into()) }
        }
        _ => link_type_number(text(value)?).ok_or_else(|| "unknown link type".into()),
    },
    allowed: || link_type::NAMES.map(|(number, name)| format!("{number} or \"{name}\"")).join(", "),
};

pub(crate) const ICMP: Kind<Icmp> = Kind {
    parse: |value| match value {
        DeValue::Integer(_) => Ok(Icmp { kind: number(value, 0..=u8::MAX)?, code: None }),
        _ => {
            let text = text(value)?;
            let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
            let byte = |text: &str| {
                text.parse::<u8>().map_err(|_| "expected a type, or type and code, from 0 to 255".to_owned())
            };
            Ok(Icmp { kind: byte(kind)?, code: code.map(byte).transpose()? })
        }
    },
    allowed: || r#"an ICMP type from 0 to 255, or type and code such as "3/4""#.into(),
};

/// A bit of the TCP flags, and whether it has to be set.
pub(crate) const TCP_FLAG: Kind<(u8, bool)> = Kind {
    parse: |value| {
        let text = text(value)?;
        let (name, set) = text.strip_prefix('!').map_or((text, true), |name| (name, false));
        let bit = TCP_FLAGS.iter().position(|known| known.eq_ignore_ascii_case(name));
        bit.map(|bit| (1 << bit, set)).ok_or_else(|| "unknown TCP flag".into())
    },
    allowed: || format!("flags that are set, or with \"!\" before them are not set: {}", TCP_FLAGS.join(", ")),
};

pub(crate) const NAME: Kind<String> = Kind {
    parse: |value| host_name(text(value)?),
    allowed: || {
        "a host name such as \"example.com\", which stands for the names below it as well, or \"@\" and the name \
         of a set of [sets.names]"
            .into()
    },
};

fn names<T, const N: usize>(terms: [(T, &str); N]) -> String {
    terms.map(|(_, name)| name).join(", ")
}

/// What is wrong with a value of another type.
fn mismatch(expected: &str, value: &DeValue<'_>) -> String {
    let article = if matches!(value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    format!("expected {expected}, found {article} {}", value.type_str())
}

pub(crate) fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
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

fn prefix(text: &str) -> Result<Prefix, String> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().map_err(|_| "expected an IP address".to_owned())?;
    let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => longest,
        Some(length) => {
            let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let length = if plain { length.parse().ok() } else { None };
            length
                .filter(|length| *length <= longest)
                .ok_or_else(|| format!("expected a prefix length from 0 to {longest}"))?
        }
    };
    let first = mask(address, length);
    if first != address {
        return Err(format!("bits beyond the prefix are set; did you mean \"{first}/{length}\"?"));
    }
    Ok(Prefix { address, length })
}

/// The first address of the prefix of this length that contains `address`.
pub(crate) fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// The name in its ASCII form (RFC 5891), in lower case.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    if let Some(parent) = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        return Err(format!("did you mean \"{parent}\"? It stands for the names below it as well"));
    }
    let name = Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::VerifyAllowRootDot)
        .map_err(|_| "expected a host name: labels of 1 to 63 characters, 253 in all".to_owned())?;
    // Host names have no underscores, but many names that DNS is asked for have them.
    if let Some(wrong) = name.chars().find(|&c| !c.is_ascii_alphanumeric() && !"-_.".contains(c)) {
        return Err(format!("{wrong:?} is not allowed in a host name"));
    }
    let name = name.trim_end_matches('.');
    if name.is_empty() { Err("the name is empty".into()) } else { Ok(name.to_ascii_lowercase()) }
}
