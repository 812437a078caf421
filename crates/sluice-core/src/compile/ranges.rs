//! Lists of addresses and of numbers, sorted and without overlaps.

use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;
use core::ops::RangeInclusive;

use super::Prefix;

/// An address range of prefix form: its first address and how many low bits are free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AddressRange {
    pub(super) first: u128,
    pub(super) shift: u32,
}

impl AddressRange {
    /// Every address, of either version.
    pub(super) const ANY: Self = Self { first: 0, shift: 128 };

    pub(super) fn of(prefix: &Prefix) -> Self {
        match prefix.address {
            IpAddr::V4(address) => {
                Self { first: u32::from(address).into(), shift: 32_u32.saturating_sub(prefix.length.into()) }
            }
            IpAddr::V6(address) => {
                Self { first: u128::from(address), shift: 128_u32.saturating_sub(prefix.length.into()) }
            }
        }
    }

    pub(super) fn last(self) -> u128 {
        self.first | 1_u128.checked_shl(self.shift).map_or(u128::MAX, |bit| bit.wrapping_sub(1))
    }
}

/// The addresses of one list of prefixes: `None` is any address, and so both versions.
#[derive(Clone)]
pub(super) struct Addresses {
    pub(super) lists: Option<[Vec<AddressRange>; 2]>,
}

impl Addresses {
    pub(super) fn new(prefixes: &[Prefix]) -> Self {
        if prefixes.is_empty() {
            return Self { lists: None };
        }
        let list = |is_ipv4: bool| {
            let of_version = prefixes.iter().filter(|prefix| prefix.address.is_ipv4() == is_ipv4);
            disjoint(of_version.map(AddressRange::of).collect())
        };
        Self { lists: Some([list(true), list(false)]) }
    }

    /// How many ranges the longer one of the two lists has.
    pub(super) fn count(&self) -> usize {
        self.lists.as_ref().map_or(1, |[ipv4, ipv6]| ipv4.len().max(ipv6.len()))
    }

    /// The IPv4 ranges; `None` if the list has only IPv6 ones.
    pub(super) fn ipv4(&self) -> Option<Vec<AddressRange>> {
        match &self.lists {
            None => Some(vec![AddressRange::ANY]),
            Some([ipv4, _]) => (!ipv4.is_empty()).then(|| ipv4.clone()),
        }
    }

    /// The IPv6 ranges; `None` if the list has only IPv4 ones.
    pub(super) fn ipv6(&self) -> Option<Vec<AddressRange>> {
        match &self.lists {
            None => Some(vec![AddressRange::ANY]),
            Some([_, ipv6]) => (!ipv6.is_empty()).then(|| ipv6.clone()),
        }
    }

    /// The smallest range around each list.
    pub(super) fn hull(&self) -> Self {
        Self { lists: self.lists.as_ref().map(|lists| lists.each_ref().map(|list| hull(list))) }
    }
}

/// Drops ranges that lie in others. The rest are in order.
fn disjoint(mut list: Vec<AddressRange>) -> Vec<AddressRange> {
    // A larger range comes before those inside it.
    list.sort_unstable_by_key(|range| (range.first, Reverse(range.shift)));
    let mut last = None;
    list.retain(|range| {
        let is_inside = last.is_some_and(|last| range.first <= last);
        if !is_inside {
            last = Some(range.last());
        }
        !is_inside
    });
    list
}

fn hull(ranges: &[AddressRange]) -> Vec<AddressRange> {
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
        return Vec::new();
    };
    let shift = 128_u32.wrapping_sub((first.first ^ last.last()).leading_zeros());
    let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
    vec![AddressRange { first: first.first & mask, shift }]
}

/// Numbers in order, each once.
pub(super) fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

/// Ranges in order, with those that touch or overlap made one.
pub(super) fn merged(ranges: &[RangeInclusive<u16>]) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = ranges.iter().map(|range| (*range.start(), *range.end())).collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}
