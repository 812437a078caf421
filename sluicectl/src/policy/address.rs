//! Addresses, prefixes and ranges of addresses, and sets of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use sluice_core::compile::Prefix;

/// The first of the addresses that stand for IPv4 addresses in IPv6 (RFC 4291, 2.5.5.2), and the length of their
/// prefix.
const MAPPED: (u128, u8) = (0xFFFF_0000_0000, 96);

/// Every address of both versions.
pub(super) fn everything() -> Vec<Prefix> {
    [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()]
        .map(|address| Prefix { address, length: 0 })
        .to_vec()
}

/// An address, a prefix, or a range of addresses.
pub(super) fn parse(text: &str) -> Result<Vec<Prefix>, String> {
    if let Some((first, last)) = text.split_once('-') {
        return range(first.trim(), last.trim());
    }
    let (prefix, first) = with_host_bits(text)?;
    if first != prefix.address {
        let Prefix { address, length } = prefix;
        return Err(format!("bits beyond the prefix are set; did you mean \"{address}/{length}\"?"));
    }
    Ok(vec![prefix])
}

/// An address or a prefix, and the address in it as it is written.
pub(super) fn with_host_bits(text: &str) -> Result<(Prefix, IpAddr), String> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().map_err(|_| "expected an IP address".to_owned())?;
    let longest = width(address);
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
    Ok((Prefix { address: mask(address, length), length }, address))
}

fn range(first: &str, last: &str) -> Result<Vec<Prefix>, String> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| "expected two IP addresses".to_owned());
    let (first, last) = (address(first)?, address(last)?);
    if first.is_ipv4() != last.is_ipv4() {
        return Err("the addresses of a range have to be of one version of IP".to_owned());
    }
    if first > last {
        return Err(format!("the range is empty; did you mean \"{last}-{first}\"?"));
    }
    let mut prefixes = Vec::new();
    cover(&(bits(first)..=bits(last)), width(first), &mut prefixes);
    Ok(prefixes)
}

/// The prefix of IPv4 for one of mapped addresses.
pub(super) fn unmapped(prefix: &Prefix) -> Option<Prefix> {
    // Those of IPv4 itself are smaller.
    let low = bits(prefix.address).checked_sub(MAPPED.0)?;
    let address = Ipv4Addr::from_bits(u32::try_from(low).ok()?).into();
    Some(Prefix { address, length: prefix.length.checked_sub(MAPPED.1)? })
}

/// The prefixes that cover the addresses of `included` that are not in `excluded`.
pub(super) fn without(included: &[Prefix], excluded: &[Prefix]) -> Vec<Prefix> {
    let mut left = Vec::new();
    for is_ipv4 in [true, false] {
        let (included, excluded) = (merged(included, is_ipv4), merged(excluded, is_ipv4));
        let width = if is_ipv4 { 32 } else { 128 };
        for range in subtract(&included, &excluded) {
            cover(&range, width, &mut left);
        }
    }
    left
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

/// The addresses of one version, as ranges in order that neither overlap nor touch.
pub(super) fn merged(prefixes: &[Prefix], is_ipv4: bool) -> Vec<RangeInclusive<u128>> {
    let mut ranges: Vec<_> =
        prefixes.iter().filter(|prefix| prefix.address.is_ipv4() == is_ipv4).map(addresses_of).collect();
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u128>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn addresses_of(prefix: &Prefix) -> RangeInclusive<u128> {
    let first = bits(prefix.address);
    first..=first | free_bits(u32::from(width(prefix.address) - prefix.length))
}

/// This many bits, from the last one on: those behind a prefix.
fn free_bits(count: u32) -> u128 {
    1_u128.checked_shl(count).map_or(u128::MAX, |bit| bit - 1)
}

/// What is in `from` and not in `minus`, both in order and merged.
fn subtract(from: &[RangeInclusive<u128>], minus: &[RangeInclusive<u128>]) -> Vec<RangeInclusive<u128>> {
    let mut left = Vec::new();
    for range in from {
        let mut next = Some(*range.start());
        let first = minus.partition_point(|minus| minus.end() < range.start());
        for minus in minus[first..].iter().take_while(|minus| minus.start() <= range.end()) {
            let Some(start) = next else { break };
            if start < *minus.start() {
                left.push(start..=minus.start() - 1);
            }
            next = minus.end().checked_add(1);
        }
        if let Some(start) = next.filter(|start| start <= range.end()) {
            left.push(start..=*range.end());
        }
    }
    left
}

/// Adds the fewest prefixes that cover the range.
fn cover(range: &RangeInclusive<u128>, width: u8, prefixes: &mut Vec<Prefix>) {
    let (mut first, last) = (*range.start(), *range.end());
    loop {
        // The largest prefix that starts here and does not go beyond the end.
        let mut free = first.trailing_zeros().min(width.into());
        while last - first < free_bits(free) {
            free -= 1;
        }
        let address = if width == 32 {
            u32::try_from(first).map_or(Ipv4Addr::BROADCAST, Ipv4Addr::from_bits).into()
        } else {
            IpAddr::from(Ipv6Addr::from_bits(first))
        };
        prefixes.push(Prefix { address, length: width - free as u8 });
        let end = first | free_bits(free);
        if end >= last {
            return;
        }
        first = end + 1;
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(prefixes: &[Prefix]) -> Vec<String> {
        prefixes.iter().map(ToString::to_string).collect()
    }

    fn list(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().flat_map(|text| parse(text).unwrap()).collect()
    }

    #[test]
    fn ranges_are_covered_by_the_fewest_prefixes() {
        for (range, expected) in [
            ("192.0.2.10-192.0.2.10", &["192.0.2.10/32"][..]),
            ("192.0.2.0 - 192.0.2.255", &["192.0.2.0/24"]),
            ("192.0.2.1-192.0.2.6", &["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32"]),
            ("0.0.0.0-255.255.255.255", &["0.0.0.0/0"]),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &["::/0"]),
            ("255.255.255.254-255.255.255.255", &["255.255.255.254/31"]),
            ("2001:db8::fffe-2001:db8::1:1", &["2001:db8::fffe/127", "2001:db8::1:0/127"]),
        ] {
            assert_eq!(texts(&parse(range).unwrap()), expected, "{range}");
        }
    }

    #[test]
    fn what_is_excluded_is_cut_out() {
        let left = without(&list(&["10.0.0.0/8"]), &list(&["10.0.0.0/9", "10.255.255.255", "::/0"]));
        assert_eq!(texts(&left)[0], "10.128.0.0/10");
        assert_eq!(texts(&left).last().unwrap(), "10.255.255.254/32");
        let left = without(&everything(), &list(&["0.0.0.0/0", "8000::/1"]));
        assert_eq!(texts(&left), ["::/1"]);
        assert_eq!(without(&list(&["192.0.2.0/24"]), &list(&["192.0.0.0/16"])), []);
    }

    #[test]
    fn mapped_addresses_are_told_in_ipv4() {
        let unmapped = |text: &str| unmapped(&list(&[text])[0]).map(|prefix| prefix.to_string());
        assert_eq!(unmapped("::ffff:192.0.2.0/120").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(unmapped("::ffff:0:0/96").as_deref(), Some("0.0.0.0/0"));
        for other in ["::fffe:0:0/95", "::1", "2001:db8::1", "192.0.2.1", "::1:0:0:0"] {
            assert_eq!(unmapped(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn exactly_the_others_are_left(
            included in proptest::collection::vec((0..64_u32, 0..6_u8), 0..6),
            excluded in proptest::collection::vec((0..64_u32, 0..6_u8), 0..6),
        ) {
            // Prefixes in the last 64 addresses of IPv4, where the arithmetic has an end.
            let prefix = |(low, free): &(u32, u8)| {
                let length = 32 - *free;
                Prefix { address: mask(Ipv4Addr::from_bits(u32::MAX - 63 + low).into(), length), length }
            };
            let [included, excluded] = [included, excluded].map(|list| list.iter().map(prefix).collect::<Vec<_>>());
            let is_in = |list: &[Prefix], low: u32| {
                let address = IpAddr::from(Ipv4Addr::from_bits(u32::MAX - 63 + low));
                list.iter().any(|prefix| mask(address, prefix.length) == prefix.address)
            };
            let left = without(&included, &excluded);
            for low in 0..64 {
                prop_assert_eq!(is_in(&left, low), is_in(&included, low) && !is_in(&excluded, low));
            }
        }
    }
}
