//! From one rule to its entries: what it says as boxes, and what boxes cannot say as extra conditions.
//!
//! Short lists of a rule are multiplied out, its longest list of addresses always. The others become extra conditions,
//! and the boxes take the smallest range around each.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use sluice_npi::flags;

use super::check::{canonical_name, check};
use super::error::ErrorKind;
use super::properties::{Properties, properties};
use super::ranges::{AddressRange, Addresses, merged, sorted};
use super::{Conditions, Icmp, Rule};
use crate::policy::conditions::kind;
use crate::policy::entry::{Common, Entry4, Entry6, Found};
use crate::policy::key::{halves, parts_of};
use crate::policy::names::IN_ANSWER;
use crate::policy::table::{MAX_EXPANDED, rule_word};

/// How many entries the lists of one rule may be multiplied out to, besides those of its longest list of addresses: a
/// few ports of a few protocols between a few networks. An extra condition costs a packet less than many more entries.
const MAX_PRODUCT: usize = 64;

/// A rule in the form that the table has.
#[derive(Default)]
pub(super) struct Expanded {
    pub(super) entries4: Vec<Entry4>,
    pub(super) entries6: Vec<Entry6>,
    /// For packets that are not IP.
    pub(super) other: Option<Entry4>,
    /// Words of extra conditions with their end; empty if there are none.
    pub(super) extra: Vec<u32>,
    /// The suffixes that the rule names, in the form of the table. If there are some, the rule is only found by them.
    pub(super) names: Vec<String>,
}

/// The first and the last ports of a box, each pair in one word, or ICMP types and codes in their places.
type Ports = (u32, u32);

/// Brings rule `index` into the form of the table.
///
/// # Errors
///
/// The first value that the rule's documentation does not allow, and [`ErrorKind::RuleTooLarge`].
pub(super) fn expand(index: u32, rule: &Rule) -> Result<Expanded, ErrorKind> {
    let c = &rule.conditions;
    check(rule)?;
    let mut names = canonical_names(&c.names)?;
    let of_answers = canonical_names(&c.answer_names)?;
    names.extend(of_answers.into_iter().map(|name| name + IN_ANSWER));
    if rule.action.decision().is_none() {
        // All that match are found, each once: a name ends in one of the suffixes at most.
        names = without_names_below_others(names);
    }
    let Some(properties) = properties(c) else {
        return Ok(Expanded::default());
    };
    let mut extra = ExtraConditions::default();
    let mut product = Product(1);
    let (sources, destinations) = addresses(c, &mut product, &mut extra);
    let protocols = protocols(c, &mut product, &mut extra);
    let ports = ports(c, &mut product, &mut extra);
    outside_boxes(c, &mut extra);
    let extra = extra.words();
    let found = Found::of_rule(index, (rule.id, rule_word(rule.action, extra.len() as u32)));
    let commons = commons(&ports, &protocols, properties, found);
    let combinations = sources.count().saturating_mul(destinations.count()).saturating_mul(commons.len());
    if combinations > MAX_EXPANDED {
        return Err(ErrorKind::RuleTooLarge(combinations));
    }

    let mut expanded = Expanded { names, extra, ..Expanded::default() };
    if let (Some(sources), Some(destinations), true) = (sources.ipv4(), destinations.ipv4(), c.ip_version != Some(6)) {
        expanded.entries4 = entries(&sources, &destinations, &commons, entry4);
    }
    if let (Some(sources), Some(destinations), true) = (sources.ipv6(), destinations.ipv6(), c.ip_version != Some(4)) {
        expanded.entries6 = entries(&sources, &destinations, &commons, entry6);
    }
    if c.ip_version.is_none() && c.sources.is_empty() && c.destinations.is_empty() && c.protocols.is_empty() {
        expanded.other = commons.last().map(|common| entry4(AddressRange::ANY, AddressRange::ANY, *common));
    }
    Ok(expanded)
}

fn canonical_names(names: &[String]) -> Result<Vec<String>, ErrorKind> {
    let mut names = names.iter().map(|name| canonical_name(name)).collect::<Result<Vec<_>, _>>()?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The names of a sorted list that are not below another one in it.
fn without_names_below_others(names: Vec<String>) -> Vec<String> {
    let is_listed = |name: &str| names.binary_search_by(|other| other.as_str().cmp(name)).is_ok();
    let is_below = |name: &str| name.match_indices('.').any(|(dot, _)| is_listed(&name[dot + 1..]));
    names.iter().filter(|name| !is_below(name)).cloned().collect()
}

/// How many entries the lists so far are multiplied out to.
struct Product(usize);

impl Product {
    /// Multiplies by the items of one more list, unless that is too many.
    fn takes(&mut self, items: usize) -> bool {
        let product = self.0.saturating_mul(items.max(1));
        let fits = product <= MAX_PRODUCT;
        if fits {
            self.0 = product;
        }
        fits
    }
}

/// The sources and destinations of the boxes.
fn addresses(c: &Conditions, product: &mut Product, extra: &mut ExtraConditions) -> (Addresses, Addresses) {
    let (sources, destinations) = (Addresses::new(&c.sources), Addresses::new(&c.destinations));
    if product.takes(sources.count().min(destinations.count())) {
        (sources, destinations)
    } else if sources.count() < destinations.count() {
        extra.addresses([kind::SOURCES4, kind::SOURCES6], &sources);
        (sources.hull(), destinations)
    } else {
        extra.addresses([kind::DESTINATIONS4, kind::DESTINATIONS6], &destinations);
        (sources, destinations.hull())
    }
}

/// The protocols of the boxes; `None` is any.
fn protocols(c: &Conditions, product: &mut Product, extra: &mut ExtraConditions) -> Vec<Option<u8>> {
    let protocols = sorted(c.protocols.iter().map(|protocol| u16::from(*protocol)));
    if protocols.is_empty() {
        return vec![None];
    }
    if product.takes(protocols.len()) {
        return protocols.iter().map(|protocol| Some(*protocol as u8)).collect();
    }
    let mut bits = [0_u32; 8];
    for protocol in &protocols {
        bits[usize::from(*protocol >> 5)] |= 1 << (protocol & 31);
    }
    extra.add(kind::PROTOCOLS, 1, bits.to_vec());
    vec![None]
}

/// The ports of the boxes, or ICMP types and codes.
fn ports(c: &Conditions, product: &mut Product, extra: &mut ExtraConditions) -> Vec<Ports> {
    let sources = port_ranges(merged(&c.source_ports), kind::SOURCE_PORTS, product, extra);
    let destinations = port_ranges(merged(&c.destination_ports), kind::DESTINATION_PORTS, product, extra);
    if !c.icmp.is_empty() {
        return icmp(&c.icmp, product, extra);
    }
    let mut ports = Vec::new();
    for (first_source, last_source) in &sources {
        for (first, last) in &destinations {
            ports.push((halves(*first_source, *first), halves(*last_source, *last)));
        }
    }
    ports
}

fn port_ranges(
    ranges: Vec<(u16, u16)>,
    kind: u32,
    product: &mut Product,
    extra: &mut ExtraConditions,
) -> Vec<(u16, u16)> {
    if ranges.is_empty() {
        return vec![(0, u16::MAX)];
    }
    if product.takes(ranges.len()) {
        return ranges;
    }
    extra.add(kind, ranges.len(), ranges.iter().map(|(first, last)| halves(*last, *first)).collect());
    vec![ranges.iter().fold((u16::MAX, 0), |hull, range| (range.0.min(hull.0), range.1.max(hull.1)))]
}

fn icmp(list: &[Icmp], product: &mut Product, extra: &mut ExtraConditions) -> Vec<Ports> {
    let mut list = list.to_vec();
    list.sort_unstable();
    // Any code comes before the codes of the same type.
    list.dedup_by(|next, icmp| next == icmp || next.kind == icmp.kind && icmp.code.is_none());
    let codes = |icmp: &Icmp| icmp.code.map_or((0, 0xFF), |code| (code, code));
    if product.takes(list.len()) {
        let range = |icmp: &Icmp| {
            let (first, last) = codes(icmp);
            (halves(icmp.kind.into(), first.into()), halves(icmp.kind.into(), last.into()))
        };
        return list.iter().map(range).collect();
    }
    let word = |icmp: &Icmp| {
        let (first, last) = codes(icmp);
        u32::from_le_bytes([icmp.kind, first, last, 0])
    };
    extra.add(kind::ICMP, list.len(), list.iter().map(word).collect());
    vec![(0, halves(0xFF, 0xFF))]
}

/// The conditions that boxes have no place for.
fn outside_boxes(c: &Conditions, extra: &mut ExtraConditions) {
    for (kind, list) in [(kind::LINK_TYPES, &c.link_types), (kind::ETHER_TYPES, &c.ether_types)] {
        if !list.is_empty() {
            let list = sorted(list.iter().copied());
            extra.add(kind, list.len(), list.into_iter().map(u32::from).collect());
        }
    }
    if !c.quic_versions.is_empty() {
        let list = sorted(c.quic_versions.iter().copied());
        extra.add(kind::QUIC_VERSIONS, list.len(), list);
    }
    let tcp = c.tcp_flags.filter(|tcp| tcp.value == 0).map(|_| (flags::TCP_FLAGS, flags::TCP_FLAGS));
    let tunnel = c.tunnel.map(|tunnel| tunnel.flags(flags::TUNNEL, flags::TUNNEL_UNREAD));
    let answer = c.answer.map(|answer| answer.flags(flags::ANSWER, flags::ANSWER_UNREAD));
    if let Some((mask, value)) = tcp.into_iter().chain(tunnel).chain(answer).reduce(|a, b| (a.0 | b.0, a.1 | b.1)) {
        extra.add(kind::FLAGS, 1, vec![mask, value]);
    }
    if !c.vlans.is_empty() {
        let list = merged(&c.vlans);
        extra.add(kind::VLANS, list.len(), list.into_iter().map(|(first, last)| halves(last, first)).collect());
    }
}

/// The extra conditions of a rule: kind, number of items, words.
#[derive(Default)]
struct ExtraConditions(Vec<(u32, usize, Vec<u32>)>);

impl ExtraConditions {
    fn add(&mut self, kind: u32, count: usize, words: Vec<u32>) {
        self.0.push((kind, count, words));
    }

    /// Adds the IPv4 and the IPv6 ranges of a list, as far as there are any.
    fn addresses(&mut self, [kind4, kind6]: [u32; 2], addresses: &Addresses) {
        let Some([ipv4, ipv6]) = &addresses.lists else {
            return;
        };
        if !ipv4.is_empty() {
            let words = ipv4.iter().flat_map(|range| [range.first as u32, range.last() as u32]);
            self.add(kind4, ipv4.len(), words.collect());
        }
        if !ipv6.is_empty() {
            let words = ipv6.iter().flat_map(|range| [parts_of(range.first), parts_of(range.last())]);
            self.add(kind6, ipv6.len(), words.flatten().collect());
        }
    }

    /// The list as the table has it, in order of the kinds.
    fn words(mut self) -> Vec<u32> {
        self.0.sort_unstable();
        let mut words = Vec::new();
        for (kind, count, items) in self.0 {
            words.push(kind | (count as u32) << 8);
            words.extend(items);
        }
        if !words.is_empty() {
            words.push(kind::END);
        }
        words
    }
}

/// The entries of all combinations of ports and protocols, but for their addresses.
fn commons(ports: &[Ports], protocols: &[Option<u8>], properties: Properties, found: Found) -> Vec<Common> {
    let mut commons = Vec::new();
    for (first_ports, last_ports) in ports.iter().copied() {
        for protocol in protocols {
            let Properties { value: meta_value, mask: meta_mask } = properties.with_protocol(*protocol);
            commons.push(Common { first_ports, last_ports, meta_value, meta_mask, found });
        }
    }
    commons
}

/// The entries of all combinations.
fn entries<E>(
    sources: &[AddressRange],
    destinations: &[AddressRange],
    commons: &[Common],
    entry: fn(AddressRange, AddressRange, Common) -> E,
) -> Vec<E> {
    let mut entries = Vec::new();
    for source in sources {
        for destination in destinations {
            entries.extend(commons.iter().map(|common| entry(*source, *destination, *common)));
        }
    }
    entries
}

fn entry4(source: AddressRange, destination: AddressRange, common: Common) -> Entry4 {
    Entry4 {
        source: source.first as u32,
        destination: destination.first as u32,
        source_shift: source.shift.min(32),
        destination_shift: destination.shift.min(32),
        common,
    }
}

fn entry6(source: AddressRange, destination: AddressRange, common: Common) -> Entry6 {
    Entry6 {
        source: source.first,
        destination: destination.first,
        source_shift: source.shift,
        destination_shift: destination.shift,
        common,
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::super::Prefix;
    use super::*;
    use crate::RuleAction;

    fn expanded(conditions: Conditions) -> Expanded {
        expand(0, &Rule { id: 1, action: RuleAction::Block, conditions }).unwrap()
    }

    /// Every second address from 10.0.0.0 on.
    fn addresses(count: u32) -> Vec<Prefix> {
        (0..count)
            .map(|number| Prefix { address: Ipv4Addr::from(0x0A00_0000 + number * 2).into(), length: 32 })
            .collect()
    }

    #[test]
    fn of_two_long_lists_of_addresses_the_shorter_one_is_an_extra_condition() {
        for (counts, extra, shifts) in [
            ([65, 66], kind::SOURCES4, (8, 0)),
            ([66, 65], kind::DESTINATIONS4, (0, 8)),
            ([65, 65], kind::DESTINATIONS4, (0, 8)),
        ] {
            let [sources, destinations] = counts.map(addresses);
            let expanded = expanded(Conditions { sources, destinations, ..Conditions::default() });
            assert_eq!(expanded.entries4.len(), counts[0].max(counts[1]) as usize, "{counts:?}");
            assert_eq!(expanded.extra[0], extra | 65 << 8, "{counts:?}");
            // 65 of them end at 10.0.0.128.
            let of_entry = |entry: &Entry4| (entry.source_shift, entry.destination_shift);
            assert!(expanded.entries4.iter().all(|entry| of_entry(entry) == shifts), "{counts:?}");
        }
    }

    #[test]
    fn protocols_of_a_long_rule_are_a_bit_each() {
        let protocols = vec![1, 6, 33, 64, 255];
        let [sources, destinations] = [20, 20].map(addresses);
        let expanded = expanded(Conditions { sources, destinations, protocols, ..Conditions::default() });
        let bits = [1 << 1 | 1 << 6, 1 << 1, 1 << 0, 0, 0, 0, 0, 1 << 31];
        assert_eq!(expanded.extra, [&[kind::PROTOCOLS | 1 << 8][..], &bits, &[kind::END]].concat());
    }
}
