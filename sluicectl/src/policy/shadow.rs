//! Rules that never decide, because an earlier rule matches every packet that they match.
//!
//! Only a rule that a single earlier one covers is found; several that cover it together are not looked for.

use std::{
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
};

use sluice_core::compile::{Conditions, Fragment, Icmp, Prefix};

use super::value::mask;

/// How many pairs of rules are compared at most. The index leaves few of them for rules with addresses.
const MOST_COMPARISONS: usize = 20_000_000;

/// The largest number of places in the index that one rule takes.
const MOST_PLACES: usize = 64;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shadows {
    /// Positions of a rule that never decides, and of the first earlier rule that covers it.
    pub(crate) pairs: Vec<(usize, usize)>,
    /// How many of the rules were checked, from the first one: all, unless there are too many.
    pub(crate) checked: usize,
}

/// Compares the rules of a policy, in their order.
pub(crate) fn find<'a>(rules: impl IntoIterator<Item = &'a Conditions>) -> Shadows {
    let mut index = Index::default();
    let mut shadows = Shadows { pairs: Vec::new(), checked: 0 };
    let mut comparisons = 0;
    let mut earlier: Vec<&Conditions> = Vec::new();
    for (position, rule) in rules.into_iter().enumerate() {
        let candidates = index.candidates(rule);
        comparisons += candidates.iter().map(|list| list.len()).sum::<usize>();
        if comparisons > MOST_COMPARISONS {
            break;
        }
        let covering = candidates.into_iter().flatten().copied().filter(|&other| covers(earlier[other], rule));
        match covering.min() {
            Some(other) => shadows.pairs.push((position, other)),
            // Whatever a covered rule covers, its coverer covers as well.
            None => index.insert(position, rule),
        }
        earlier.push(rule);
        shadows.checked = position + 1;
    }
    shadows
}

/// Earlier rules by their addresses: a rule can only cover another if its prefixes contain the first ones of the other.
#[derive(Default)]
struct Index {
    by_prefixes: HashMap<(Option<Prefix>, Option<Prefix>), Vec<usize>>,
    lengths: HashSet<(Option<u8>, Option<u8>)>,
    /// Rules with too many addresses for the index.
    others: Vec<usize>,
}

impl Index {
    fn insert(&mut self, position: usize, rule: &Conditions) {
        let (sources, destinations) = (choices(&rule.sources), choices(&rule.destinations));
        if sources.len() * destinations.len() > MOST_PLACES {
            self.others.push(position);
            return;
        }
        for source in &sources {
            for destination in &destinations {
                self.lengths.insert((source.map(|prefix| prefix.length), destination.map(|prefix| prefix.length)));
                self.by_prefixes.entry((*source, *destination)).or_default().push(position);
            }
        }
    }

    fn candidates(&self, rule: &Conditions) -> Vec<&Vec<usize>> {
        let shortened = |prefixes: &[Prefix], length: Option<u8>| match (length, prefixes.first()) {
            (None, _) => Some(None),
            (Some(length), Some(prefix)) if length <= prefix.length => {
                Some(Some(Prefix { address: mask(prefix.address, length), length }))
            }
            _ => None,
        };
        let indexed = self.lengths.iter().filter_map(|&(source, destination)| {
            let key = (shortened(&rule.sources, source)?, shortened(&rule.destinations, destination)?);
            self.by_prefixes.get(&key)
        });
        indexed.chain([&self.others]).collect()
    }
}

fn choices(prefixes: &[Prefix]) -> Vec<Option<Prefix>> {
    if prefixes.is_empty() { vec![None] } else { prefixes.iter().copied().map(Some).collect() }
}

/// Whether `wide` matches every packet that `narrow` matches.
pub(crate) fn covers(wide: &Conditions, narrow: &Conditions) -> bool {
    same_or_unset(wide.direction, narrow.direction)
        && all_in(&wide.link_types, &narrow.link_types, PartialEq::eq)
        && same_or_unset(wide.tagged, if narrow.vlans.is_empty() { narrow.tagged } else { Some(true) })
        && ranges_cover(&wide.vlans, &narrow.vlans)
        && all_in(&wide.ether_types, &narrow.ether_types, PartialEq::eq)
        && same_or_unset(wide.ip_version, ip_version(narrow))
        && all_in(&wide.sources, &narrow.sources, contains)
        && all_in(&wide.destinations, &narrow.destinations, contains)
        && all_in(&wide.protocols, &narrow.protocols, PartialEq::eq)
        && ranges_cover(&wide.source_ports, &narrow.source_ports)
        && ranges_cover(&wide.destination_ports, &narrow.destination_ports)
        && all_in(&wide.icmp, &narrow.icmp, |wide: &Icmp, narrow: &Icmp| {
            wide.kind == narrow.kind && same_or_unset(wide.code, narrow.code)
        })
        && wide.tcp_flags.is_none_or(|wide| {
            narrow
                .tcp_flags
                .is_some_and(|narrow| wide.mask & !narrow.mask == 0 && narrow.value & wide.mask == wide.value)
        })
        && all_in(&wide.names, &narrow.names, |wide: &String, narrow: &String| {
            narrow.strip_suffix(wide.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.'))
        })
        && wide.fragment.is_none_or(|wide| {
            narrow.fragment.is_some_and(|narrow| wide == narrow || wide == Fragment::Any && narrow != Fragment::No)
        })
        && same_or_unset(wide.malformed, narrow.malformed)
        && same_or_unset(wide.truncated, narrow.truncated)
}

fn same_or_unset<T: PartialEq>(wide: Option<T>, narrow: Option<T>) -> bool {
    wide.is_none() || wide == narrow
}

/// Whether `wide` is no condition, or each of the items of `narrow` lies in one of its items.
fn all_in<T>(wide: &[T], narrow: &[T], lies_in: fn(&T, &T) -> bool) -> bool {
    wide.is_empty() || !narrow.is_empty() && narrow.iter().all(|narrow| wide.iter().any(|wide| lies_in(wide, narrow)))
}

fn contains(wide: &Prefix, narrow: &Prefix) -> bool {
    wide.length <= narrow.length && mask(narrow.address, wide.length) == wide.address
}

/// The version that a packet has to have, whether it is named or follows from the addresses.
fn ip_version(rule: &Conditions) -> Option<u8> {
    let version_of = |prefixes: &[Prefix]| {
        let (first, rest) = prefixes.split_first()?;
        let is_v4 = first.address.is_ipv4();
        rest.iter().all(|prefix| prefix.address.is_ipv4() == is_v4).then_some(if is_v4 { 4 } else { 6 })
    };
    rule.ip_version.or_else(|| version_of(&rule.sources)).or_else(|| version_of(&rule.destinations))
}

fn ranges_cover(wide: &[RangeInclusive<u16>], narrow: &[RangeInclusive<u16>]) -> bool {
    if wide.is_empty() {
        return true;
    }
    let merged = merged(wide);
    !narrow.is_empty()
        && narrow
            .iter()
            .all(|narrow| merged.iter().any(|wide| wide.start() <= narrow.start() && narrow.end() <= wide.end()))
}

/// The same numbers in as few ranges as possible.
fn merged(ranges: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(*range.start()) <= u32::from(*last.end()) + 1 => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}
