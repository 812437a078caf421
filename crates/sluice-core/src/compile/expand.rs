//! From one rule to its entries: what it says as boxes, and what boxes cannot say as extra conditions.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::RangeInclusive;

use sluice_npi::{flags, link_type};

use super::error::ErrorKind;
use super::{Conditions, Fragment, Prefix, Rule};
use crate::Direction;
use crate::entry::{Common, Entry4, Entry6};
use crate::key::halves;
use crate::table::{ENTRY_HAS_EXTRA, MAX_EXPANDED, MAX_NAME_LENGTH, extra, meta};

/// How many entries the lists of one rule may be multiplied out to, besides those of its longest list of addresses. Longer
/// lists become extra conditions.
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

/// An address range of prefix form: its first address and how many low bits are free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    first: u128,
    shift: u32,
}

impl Block {
    fn last(self) -> u128 {
        self.first | 1_u128.checked_shl(self.shift).map_or(u128::MAX, |bit| bit.wrapping_sub(1))
    }
}

pub(super) fn expand(index: u32, rule: &Rule) -> Result<Expanded, ErrorKind> {
    let c = &rule.conditions;
    check(rule)?;
    let mut names = c.names.iter().map(|name| canonical_name(name)).collect::<Result<Vec<_>, _>>()?;
    names.sort_unstable();
    names.dedup();

    let mut expanded = Expanded { names, ..Expanded::default() };
    let Some((meta_value, meta_mask)) = properties(c) else {
        return Ok(expanded);
    };
    let mut plan = Plan { extra: extras(c) };

    // Short lists are multiplied out, the longest list of addresses always; the others become extra conditions.
    let sources = Blocks::new(&c.sources);
    let destinations = Blocks::new(&c.destinations);
    let (source_count, destination_count) = (sources.count(), destinations.count());
    if source_count.max(destination_count) > MAX_EXPANDED {
        return Err(ErrorKind::TooLarge);
    }
    let mut product = source_count.min(destination_count);
    let multiply_addresses = product <= MAX_PRODUCT;
    if !multiply_addresses {
        product = 1;
    }
    let protocols = sorted(c.protocols.iter().map(|protocol| u16::from(*protocol)));
    let source_ports = merged(&c.source_ports);
    let destination_ports = merged(&c.destination_ports);
    let icmp: Vec<(u32, u32)> = {
        let mut list = c.icmp.clone();
        list.sort_unstable();
        // Any code comes before the codes of the same type.
        list.dedup_by(|next, icmp| next == icmp || next.kind == icmp.kind && icmp.code.is_none());
        list.iter()
            .map(|icmp| {
                let kind = u16::from(icmp.kind);
                let (first, last) = icmp.code.map_or((0, 0xFF), |code| (code, code));
                (halves(kind, first.into()), halves(kind, last.into()))
            })
            .collect()
    };
    let mut fits = |length: usize| {
        let fits = product.saturating_mul(length.max(1)) <= MAX_PRODUCT;
        if fits {
            product = product.saturating_mul(length.max(1));
        }
        fits
    };
    let protocol_items: Vec<Option<u8>> = if fits(protocols.len()) {
        protocols.iter().map(|protocol| Some(*protocol as u8)).collect()
    } else {
        let mut bits = [0_u32; 8];
        for protocol in &protocols {
            bits[usize::from(*protocol >> 5)] |= 1 << (protocol & 31);
        }
        plan.condition(extra::PROTOCOLS, 1, &bits);
        vec![None]
    };
    let mut port_items = |ranges: Vec<(u16, u16)>, kind: u32, plan: &mut Plan| {
        if fits(ranges.len()) {
            return ranges;
        }
        let words: Vec<u32> = ranges.iter().map(|(first, last)| halves(*last, *first)).collect();
        plan.condition(kind, ranges.len(), &words);
        let hull = ranges.iter().fold((u16::MAX, 0), |hull, range| (range.0.min(hull.0), range.1.max(hull.1)));
        vec![hull]
    };
    let source_ports = port_items(source_ports, extra::SOURCE_PORTS, &mut plan);
    let destination_ports = port_items(destination_ports, extra::DESTINATION_PORTS, &mut plan);
    let icmp = if fits(icmp.len()) {
        icmp
    } else {
        let words: Vec<u32> =
            icmp.iter().map(|(first, last)| first >> 16 | (first & 0xFF) << 8 | (last & 0xFF) << 16).collect();
        plan.condition(extra::ICMP, icmp.len(), &words);
        vec![(0, halves(0xFF, 0xFF))]
    };
    let ports = port_boxes(c, &source_ports, &destination_ports, &icmp);

    let keep_sources = multiply_addresses || source_count >= destination_count;
    let keep_destinations = multiply_addresses || source_count < destination_count;
    let sources = if keep_sources { sources } else { sources.to_extra(&mut plan, extra::SOURCES4, extra::SOURCES6) };
    let destinations = if keep_destinations {
        destinations
    } else {
        destinations.to_extra(&mut plan, extra::DESTINATIONS4, extra::DESTINATIONS6)
    };

    expanded.extra = plan.words();
    let rule_word = index | if expanded.extra.is_empty() { 0 } else { ENTRY_HAS_EXTRA };
    let entries4 = |sources: &[Block], destinations: &[Block]| {
        let mut entries = Vec::new();
        boxes(sources, destinations, &ports, &protocol_items, |source, destination, (first, last), protocol| {
            let (value, mask) = with_protocol((meta_value, meta_mask), protocol);
            entries.push(Entry4 {
                source: source.first as u32,
                destination: destination.first as u32,
                source_shift: source.shift.min(32),
                destination_shift: destination.shift.min(32),
                common: common((first, last), (value, mask), rule_word),
            });
        });
        entries
    };
    if let (Some(sources), Some(destinations), true) = (sources.ipv4(), destinations.ipv4(), c.ip_version != Some(6)) {
        expanded.entries4 = entries4(&sources, &destinations);
    }
    if let (Some(sources), Some(destinations), true) = (sources.ipv6(), destinations.ipv6(), c.ip_version != Some(4)) {
        boxes(&sources, &destinations, &ports, &protocol_items, |source, destination, ports, protocol| {
            expanded.entries6.push(Entry6 {
                source: source.first,
                destination: destination.first,
                source_shift: source.shift,
                destination_shift: destination.shift,
                common: common(ports, with_protocol((meta_value, meta_mask), protocol), rule_word),
            });
        });
    }
    if c.ip_version.is_none() && c.sources.is_empty() && c.destinations.is_empty() && c.protocols.is_empty() {
        expanded.other = entries4(&[ANY], &[ANY]).pop();
    }
    Ok(expanded)
}

/// Every address, of either version.
const ANY: Block = Block { first: 0, shift: 128 };

fn common((first_ports, last_ports): (u32, u32), (meta_value, meta_mask): (u32, u32), rule: u32) -> Common {
    Common { first_ports, last_ports, meta_value, meta_mask, rule, run: 1 }
}

fn with_protocol((value, mask): (u32, u32), protocol: Option<u8>) -> (u32, u32) {
    match protocol {
        Some(protocol) => (value | u32::from(protocol) << meta::PROTOCOL_SHIFT, mask | meta::PROTOCOL),
        None => (value, mask),
    }
}

/// Calls `add` for every combination.
fn boxes(
    sources: &[Block],
    destinations: &[Block],
    ports: &[(u32, u32)],
    protocols: &[Option<u8>],
    mut add: impl FnMut(Block, Block, (u32, u32), Option<u8>),
) {
    let any_protocol = [None];
    let protocols = if protocols.is_empty() { &any_protocol } else { protocols };
    for source in sources {
        for destination in destinations {
            for ports in ports {
                for protocol in protocols {
                    add(*source, *destination, *ports, *protocol);
                }
            }
        }
    }
}

/// What is wrong with the values of a rule.
fn check(rule: &Rule) -> Result<(), ErrorKind> {
    let c = &rule.conditions;
    if rule.id == 0 {
        return Err(ErrorKind::ZeroId);
    }
    if c.direction == Some(Direction::Unspecified) {
        return Err(ErrorKind::UnspecifiedDirection);
    }
    for number in &c.link_types {
        if !LINK_TYPES.contains(number) {
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
        let block = block(prefix);
        if block.first.trailing_zeros() < block.shift && block.first != 0 {
            return Err(ErrorKind::HostBitsSet(*prefix));
        }
    }
    if let Some(version) = c.ip_version.filter(|version| !matches!(version, 4 | 6)) {
        return Err(ErrorKind::UnknownIpVersion(version));
    }
    if c.tcp_flags.is_some_and(|flags| flags.value & !flags.mask != 0) {
        return Err(ErrorKind::TcpFlagsOutsideMask);
    }
    Ok(())
}

const LINK_TYPES: [u16; 8] = [
    link_type::NULL,
    link_type::ETHERNET,
    link_type::RAW,
    link_type::LOOP,
    link_type::LINUX_SLL,
    link_type::IPV4,
    link_type::IPV6,
    link_type::LINUX_SLL2,
];

/// A name as the table has it.
fn canonical_name(name: &str) -> Result<String, ErrorKind> {
    let text = name.strip_suffix('.').unwrap_or(name);
    let sound = (1..=MAX_NAME_LENGTH).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        });
    if sound { Ok(text.to_ascii_lowercase()) } else { Err(ErrorKind::BadName(name.into())) }
}

/// What the properties of a packet have to be: value and mask. `None` if no packet can be like that.
fn properties(c: &Conditions) -> Option<(u32, u32)> {
    let (mut value, mut mask) = (0, 0);
    let mut contradiction = false;
    let mut need = |bits: u32, wanted: u32| {
        contradiction |= (value ^ wanted) & mask & bits != 0;
        value |= wanted;
        mask |= bits;
    };
    if let Some(direction) = c.direction {
        need(meta::DIRECTION, u32::from(direction.number()) << meta::DIRECTION_SHIFT);
    }
    if let Some(tagged) = c.tagged {
        need(meta::TAGGED, if tagged { meta::TAGGED } else { 0 });
    }
    if !c.vlans.is_empty() {
        need(meta::TAGGED, meta::TAGGED);
    }
    if !c.ether_types.is_empty() {
        need(flags::ETHER_TYPE, flags::ETHER_TYPE);
    }
    if !c.sources.is_empty() || !c.destinations.is_empty() {
        need(flags::ADDRESSES, flags::ADDRESSES);
    }
    if !c.protocols.is_empty() {
        need(flags::PROTOCOL, flags::PROTOCOL);
    }
    if !c.source_ports.is_empty() || !c.destination_ports.is_empty() {
        // No packet has both.
        need(flags::PORTS | flags::ICMP, flags::PORTS);
    }
    if !c.icmp.is_empty() {
        need(flags::PORTS | flags::ICMP, flags::ICMP);
    }
    if let Some(tcp) = c.tcp_flags {
        need(flags::TCP_FLAGS, flags::TCP_FLAGS);
        let shifted = |flags: u8| u32::from(flags) << meta::TCP_FLAGS_SHIFT;
        need(shifted(tcp.mask), shifted(tcp.value));
    }
    match c.fragment {
        None => {}
        Some(Fragment::No) => need(flags::FRAGMENT, 0),
        Some(Fragment::Any) => need(flags::FRAGMENT, flags::FRAGMENT),
        Some(Fragment::First) => need(flags::FRAGMENT | flags::LATER_FRAGMENT, flags::FRAGMENT),
        Some(Fragment::Later) => need(flags::LATER_FRAGMENT, flags::LATER_FRAGMENT),
    }
    if let Some(malformed) = c.malformed {
        need(flags::MALFORMED, if malformed { flags::MALFORMED } else { 0 });
    }
    if let Some(truncated) = c.truncated {
        need(flags::TRUNCATED, if truncated { flags::TRUNCATED } else { 0 });
    }
    (!contradiction).then_some((value, mask))
}

/// The boxes of ports, or of ICMP types and codes in their place.
fn port_boxes(
    c: &Conditions,
    source: &[(u16, u16)],
    destination: &[(u16, u16)],
    icmp: &[(u32, u32)],
) -> Vec<(u32, u32)> {
    if !c.icmp.is_empty() {
        return icmp.to_vec();
    }
    let any = [(0, u16::MAX)];
    let source = if source.is_empty() { &any } else { source };
    let destination = if destination.is_empty() { &any } else { destination };
    let mut boxes = Vec::new();
    for (first_source, last_source) in source {
        for (first, last) in destination {
            boxes.push((halves(*first_source, *first), halves(*last_source, *last)));
        }
    }
    boxes
}

/// The extra conditions on which no box depends.
fn extras(c: &Conditions) -> Vec<(u32, usize, Vec<u32>)> {
    let mut plan = Plan::default();
    let words = |list: Vec<u16>| list.into_iter().map(u32::from).collect::<Vec<_>>();
    for (kind, list) in [(extra::LINK_TYPES, &c.link_types), (extra::ETHER_TYPES, &c.ether_types)] {
        if !list.is_empty() {
            let list = words(sorted(list.iter().copied()));
            plan.condition(kind, list.len(), &list);
        }
    }
    if !c.vlans.is_empty() {
        let list: Vec<u32> = merged(&c.vlans).into_iter().map(|(first, last)| halves(last, first)).collect();
        plan.condition(extra::VLANS, list.len(), &list);
    }
    plan.extra
}

/// The extra conditions of a rule: kind, number of items, words.
#[derive(Default)]
struct Plan {
    extra: Vec<(u32, usize, Vec<u32>)>,
}

impl Plan {
    fn condition(&mut self, kind: u32, count: usize, words: &[u32]) {
        self.extra.push((kind, count, words.to_vec()));
    }

    fn words(mut self) -> Vec<u32> {
        self.extra.sort_unstable();
        let mut words = Vec::new();
        for (kind, count, items) in self.extra {
            words.push(kind | (count as u32) << 8);
            words.extend(items);
        }
        if !words.is_empty() {
            words.push(extra::END);
        }
        words
    }
}

/// The prefixes of one list: `None` is any address, and so both versions.
struct Blocks {
    lists: Option<(Vec<Block>, Vec<Block>)>,
}

impl Blocks {
    fn new(prefixes: &[Prefix]) -> Self {
        if prefixes.is_empty() {
            return Self { lists: None };
        }
        let list = |ipv4: bool| {
            let mut list: Vec<Block> =
                prefixes.iter().filter(|prefix| prefix.address.is_ipv4() == ipv4).map(block).collect();
            // A larger block comes before those inside it.
            list.sort_unstable_by_key(|block| (block.first, core::cmp::Reverse(block.shift)));
            let mut last = None;
            list.retain(|block| {
                let inside = last.is_some_and(|last| block.first <= last);
                if !inside {
                    last = Some(block.last());
                }
                !inside
            });
            list
        };
        Self { lists: Some((list(true), list(false))) }
    }

    fn count(&self) -> usize {
        self.lists.as_ref().map_or(1, |(ipv4, ipv6)| ipv4.len().max(ipv6.len()))
    }

    /// The IPv4 blocks; `None` if the list has only IPv6 ones.
    fn ipv4(&self) -> Option<Vec<Block>> {
        match &self.lists {
            None => Some(vec![ANY]),
            Some((ipv4, _)) => (!ipv4.is_empty()).then(|| ipv4.clone()),
        }
    }

    fn ipv6(&self) -> Option<Vec<Block>> {
        match &self.lists {
            None => Some(vec![ANY]),
            Some((_, ipv6)) => (!ipv6.is_empty()).then(|| ipv6.clone()),
        }
    }

    /// Turns the lists into extra conditions; what is left is the smallest block around each.
    fn to_extra(&self, plan: &mut Plan, kind4: u32, kind6: u32) -> Self {
        let Some((ipv4, ipv6)) = &self.lists else {
            return Self { lists: None };
        };
        if !ipv4.is_empty() {
            let words: Vec<u32> = ipv4.iter().flat_map(|block| [block.first as u32, block.last() as u32]).collect();
            plan.condition(kind4, ipv4.len(), &words);
        }
        if !ipv6.is_empty() {
            let split = |a: u128| [(a >> 96) as u32, (a >> 64) as u32, (a >> 32) as u32, a as u32];
            let words: Vec<u32> =
                ipv6.iter().flat_map(|block| [split(block.first), split(block.last())]).flatten().collect();
            plan.condition(kind6, ipv6.len(), &words);
        }
        Self { lists: Some((hull(ipv4), hull(ipv6))) }
    }
}

fn hull(blocks: &[Block]) -> Vec<Block> {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
        return Vec::new();
    };
    let shift = 128_u32.wrapping_sub((first.first ^ last.last()).leading_zeros());
    let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
    vec![Block { first: first.first & mask, shift }]
}

fn block(prefix: &Prefix) -> Block {
    match prefix.address {
        IpAddr::V4(address) => {
            Block { first: u32::from(address).into(), shift: 32_u32.saturating_sub(prefix.length.into()) }
        }
        IpAddr::V6(address) => {
            Block { first: u128::from(address), shift: 128_u32.saturating_sub(prefix.length.into()) }
        }
    }
}

fn sorted(items: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut items: Vec<u16> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

/// Ranges in order, with those that touch or overlap made one.
fn merged(ranges: &[RangeInclusive<u16>]) -> Vec<(u16, u16)> {
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
