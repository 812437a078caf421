//! Rules that never decide, because an earlier rule matches every packet that they match.
//!
//! Only a rule that a single earlier one covers is found; several that cover it together are not looked for.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use sluice_core::compile::{Conditions, Content, Fragment, Prefix};

use super::address::{mask, merged as merged_addresses};

/// How many items of rules are compared at most: about a second. The index leaves few rules to compare with those that
/// have addresses.
const MOST_WORK: usize = 20_000_000;

/// How many places of the index one rule may take.
const MOST_PLACES: usize = 64;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shadows {
    /// The position of each rule that never decides, and that of the first earlier rule that covers it.
    pub(super) pairs: Vec<(usize, usize)>,
    /// How many rules were checked, from the first on: all, unless there are too many.
    pub(super) checked: usize,
}

/// Compares the rules of a policy, in their order. Each comes with whether it decides: one that does not is covered by
/// others and covers none.
pub(super) fn find<'a>(rules: impl IntoIterator<Item = (&'a Conditions, bool)>) -> Shadows {
    let mut index = Index::default();
    let mut shadows = Shadows { pairs: Vec::new(), checked: 0 };
    let mut work = 0;
    let mut earlier: Vec<Prepared<'_>> = Vec::new();
    for (position, (rule, decides)) in rules.into_iter().enumerate() {
        let candidates = index.candidates(rule);
        let rule = Prepared::new(rule);
        let mut covering = None;
        for other in candidates.into_iter().flatten().copied() {
            work += 1;
            if covering.is_none_or(|first| other < first) && earlier[other].covers(&rule, &mut work) {
                covering = Some(other);
            }
            if work > MOST_WORK {
                return shadows;
            }
        }
        match covering {
            Some(other) => shadows.pairs.push((position, other)),
            // What a covered rule covers is covered by the rule that covers it.
            None if decides => index.insert(position, rule.conditions),
            None => {}
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

/// A rule with its longer lists in a form that is fast to compare.
struct Prepared<'a> {
    conditions: &'a Conditions,
    sources: Addresses,
    destinations: Addresses,
    names: HashSet<&'a str>,
    answer_names: HashSet<&'a str>,
}

/// Addresses of IPv4 and of IPv6, as ranges in order.
type Addresses = [Vec<RangeInclusive<u128>>; 2];

impl<'a> Prepared<'a> {
    fn new(conditions: &'a Conditions) -> Self {
        let names = |list: &'a [String]| list.iter().map(String::as_str).collect();
        let addresses = |prefixes: &[Prefix]| [true, false].map(|is_ipv4| merged_addresses(prefixes, is_ipv4));
        Self {
            conditions,
            sources: addresses(&conditions.sources),
            destinations: addresses(&conditions.destinations),
            names: names(&conditions.names),
            answer_names: names(&conditions.answer_names),
        }
    }

    /// Whether this rule matches every packet that `narrow` matches. Adds the number of items compared to `work`.
    fn covers(&self, narrow: &Self, work: &mut usize) -> bool {
        let (of_narrow, wide) = (narrow, self.conditions);
        let narrow = narrow.conditions;
        wide.inner == narrow.inner
            && same_or_unset(wide.direction, narrow.direction)
            && same_or_unset(wide.tagged, if narrow.vlans.is_empty() { narrow.tagged } else { Some(true) })
            && same_or_unset(wide.name_missing, narrow.name_missing)
            && same_or_unset(wide.name_pending, narrow.name_pending)
            && same_or_unset(wide.ech, narrow.ech)
            && same_or_unset(wide.quic, if narrow.quic_versions.is_empty() { narrow.quic } else { Some(true) })
            && same_or_unset(wide.malformed, narrow.malformed)
            && same_or_unset(wide.truncated, narrow.truncated)
            && wide.ip_version.is_none_or(|version| has_version(narrow, version))
            && wide.tcp_flags.is_none_or(|wide| {
                narrow
                    .tcp_flags
                    .is_some_and(|narrow| wide.mask & !narrow.mask == 0 && narrow.value & wide.mask == wide.value)
            })
            && content_covers(wide.tunnel, narrow.tunnel)
            && content_covers(wide.answer, narrow.answer)
            && wide.fragment.is_none_or(|wide| {
                narrow.fragment.is_some_and(|narrow| wide == narrow || wide == Fragment::Any && narrow != Fragment::No)
            })
            && all_in(&wide.protocols, &narrow.protocols, PartialEq::eq, work)
            && all_in(&wide.link_types, &narrow.link_types, PartialEq::eq, work)
            && all_in(&wide.ether_types, &narrow.ether_types, PartialEq::eq, work)
            && all_in(&wide.quic_versions, &narrow.quic_versions, PartialEq::eq, work)
            && ranges_cover(&wide.vlans, &narrow.vlans, work)
            && ranges_cover(&wide.source_ports, &narrow.source_ports, work)
            && ranges_cover(&wide.destination_ports, &narrow.destination_ports, work)
            && all_in(
                &wide.icmp,
                &narrow.icmp,
                |wide, narrow| wide.kind == narrow.kind && same_or_unset(wide.code, narrow.code),
                work,
            )
            && (wide.sources.is_empty()
                || !narrow.sources.is_empty() && contain(&self.sources, &of_narrow.sources, work))
            && (wide.destinations.is_empty()
                || !narrow.destinations.is_empty() && contain(&self.destinations, &of_narrow.destinations, work))
            && have_names(&self.names, &narrow.names, work)
            && have_names(&self.answer_names, &narrow.answer_names, work)
    }
}

/// Whether each name is one of a rule's, or below one; or the rule has none.
fn have_names(wide: &HashSet<&str>, narrow: &[String], work: &mut usize) -> bool {
    let has = |name: &String| {
        let mut labels = std::iter::successors(Some(name.as_str()), |name| Some(name.split_once('.')?.1));
        labels.any(|name| {
            *work += 1;
            wide.contains(name)
        })
    };
    wide.is_empty() || !narrow.is_empty() && narrow.iter().all(has)
}

/// Whether every packet with the narrow content has the wide one.
fn content_covers(wide: Option<Content>, narrow: Option<Content>) -> bool {
    let covers = |wide, narrow| wide == narrow || wide == Content::Any && narrow != Content::No;
    wide.is_none_or(|wide| narrow.is_some_and(|narrow| covers(wide, narrow)))
}

/// Whether all addresses of `narrow` are in `wide`.
fn contain(wide: &Addresses, narrow: &Addresses, work: &mut usize) -> bool {
    wide.iter().zip(narrow).all(|(wide, narrow)| {
        narrow.iter().all(|narrow| {
            *work += 1;
            let before = wide.partition_point(|wide| wide.start() <= narrow.start());
            before.checked_sub(1).is_some_and(|at| narrow.end() <= wide[at].end())
        })
    })
}

fn same_or_unset<T: PartialEq>(wide: Option<T>, narrow: Option<T>) -> bool {
    wide.is_none() || wide == narrow
}

/// Whether `wide` is not a condition, or each item of `narrow` lies in one of its items.
fn all_in<T>(wide: &[T], narrow: &[T], lies_in: fn(&T, &T) -> bool, work: &mut usize) -> bool {
    *work += wide.len() * narrow.len();
    wide.is_empty() || !narrow.is_empty() && narrow.iter().all(|narrow| wide.iter().any(|wide| lies_in(wide, narrow)))
}

/// Whether the rule matches packets of this version of IP alone, because it names it or because of its addresses.
fn has_version(rule: &Conditions, version: u8) -> bool {
    let all_have_it = |prefixes: &[Prefix]| {
        !prefixes.is_empty() && prefixes.iter().all(|prefix| prefix.address.is_ipv4() == (version == 4))
    };
    rule.ip_version == Some(version) || all_have_it(&rule.sources) || all_have_it(&rule.destinations)
}

fn ranges_cover(wide: &[RangeInclusive<u16>], narrow: &[RangeInclusive<u16>], work: &mut usize) -> bool {
    *work += wide.len() * narrow.len();
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;
    use sluice_core::compile::{Icmp, Rule, TcpFlags, compile};
    use sluice_core::{Action, Direction, Policy, RuleAction};
    use sluice_npi::{Flow, flags, link_type};

    use super::*;

    fn covers(wide: &Conditions, narrow: &Conditions) -> bool {
        Prepared::new(wide).covers(&Prepared::new(narrow), &mut 0)
    }

    fn prefix(address: &str, length: u8) -> Prefix {
        Prefix { address: address.parse().unwrap(), length }
    }

    #[test]
    fn a_condition_covers_itself_and_what_is_narrower() {
        let all = Conditions::default;
        let wide_and_narrow = [
            (all(), Conditions { direction: Some(Direction::Inbound), ..all() }),
            (Conditions { tagged: Some(true), ..all() }, Conditions { vlans: vec![5..=5], ..all() }),
            (Conditions { vlans: vec![1..=5, 6..=9], ..all() }, Conditions { vlans: vec![4..=7], ..all() }),
            (
                Conditions { sources: vec![prefix("10.0.0.0", 8)], ..all() },
                Conditions { sources: vec![prefix("10.1.0.0", 16), prefix("10.2.0.1", 32)], ..all() },
            ),
            (
                Conditions { ip_version: Some(4), ..all() },
                Conditions { destinations: vec![prefix("10.1.0.0", 16)], ..all() },
            ),
            (Conditions { protocols: vec![6, 17], ..all() }, Conditions { protocols: vec![17], ..all() }),
            (
                Conditions { icmp: vec![Icmp { kind: 3, code: None }], ..all() },
                Conditions { icmp: vec![Icmp { kind: 3, code: Some(4) }], ..all() },
            ),
            (
                Conditions { tcp_flags: Some(TcpFlags { mask: 2, value: 2 }), ..all() },
                Conditions { tcp_flags: Some(TcpFlags { mask: 0x12, value: 2 }), ..all() },
            ),
            (
                Conditions { names: vec!["example.com".into()], ..all() },
                Conditions { names: vec!["www.example.com".into(), "a.www.example.com".into()], ..all() },
            ),
            (
                Conditions { fragment: Some(Fragment::Any), ..all() },
                Conditions { fragment: Some(Fragment::Later), ..all() },
            ),
            (
                Conditions { malformed: Some(true), ..all() },
                Conditions { malformed: Some(true), truncated: Some(true), ..all() },
            ),
            (Conditions { tunnel: Some(Content::Any), ..all() }, Conditions { tunnel: Some(Content::Unread), ..all() }),
            (Conditions { answer: Some(Content::Any), ..all() }, Conditions { answer: Some(Content::Unread), ..all() }),
            (
                Conditions { answer_names: vec!["example.com".into()], ..all() },
                Conditions { answer_names: vec!["www.example.com".into()], ..all() },
            ),
            (
                Conditions { ech: Some(true), ..all() },
                Conditions { ech: Some(true), name_missing: Some(false), ..all() },
            ),
        ];
        for (wide, narrow) in &wide_and_narrow {
            assert!(covers(wide, narrow), "{wide:?} covers {narrow:?}");
            assert!(covers(wide, wide), "{wide:?} covers itself");
            assert!(!covers(narrow, wide), "{narrow:?} does not cover {wide:?}");
        }
    }

    #[test]
    fn what_only_looks_narrower_is_not_covered() {
        let all = Conditions::default;
        for (wide, narrow) in [
            (
                Conditions { names: vec!["example.com".into()], ..all() },
                Conditions { names: vec!["badexample.com".into()], ..all() },
            ),
            (
                Conditions { sources: vec![prefix("10.0.0.0", 8)], ..all() },
                Conditions { sources: vec![prefix("10.1.0.0", 16), prefix("11.0.0.0", 8)], ..all() },
            ),
            (
                Conditions { ip_version: Some(4), ..all() },
                Conditions { sources: vec![prefix("10.1.0.0", 16), prefix("::", 0)], ..all() },
            ),
            (
                Conditions { destination_ports: vec![1..=5, 7..=9], ..all() },
                Conditions { destination_ports: vec![4..=7], ..all() },
            ),
            (
                Conditions { fragment: Some(Fragment::Any), ..all() },
                Conditions { fragment: Some(Fragment::No), ..all() },
            ),
            (Conditions { answer: Some(Content::Any), ..all() }, Conditions { answer: Some(Content::No), ..all() }),
            (
                Conditions { names: vec!["example.com".into()], ..all() },
                Conditions { answer_names: vec!["example.com".into()], ..all() },
            ),
            (Conditions { protocols: vec![6], ..all() }, Conditions { protocols: vec![6], inner: true, ..all() }),
            (
                Conditions { tcp_flags: Some(TcpFlags { mask: 2, value: 2 }), ..all() },
                Conditions { tcp_flags: Some(TcpFlags { mask: 2, value: 0 }), ..all() },
            ),
        ] {
            assert!(!covers(&wide, &narrow), "{wide:?} does not cover {narrow:?}");
        }
    }

    fn content(content: Content) -> Conditions {
        Conditions { tunnel: Some(content), ..Conditions::default() }
    }

    fn fragment(fragment: Fragment) -> Conditions {
        Conditions { fragment: Some(fragment), ..Conditions::default() }
    }

    #[test]
    fn each_condition_has_to_be_covered() {
        let all = Conditions::default;
        let names = || vec!["example.com".to_owned()];
        for wide in [
            Conditions { direction: Some(Direction::Inbound), ..all() },
            Conditions { tagged: Some(false), ..all() },
            Conditions { name_missing: Some(true), ..all() },
            Conditions { name_pending: Some(true), ..all() },
            Conditions { ech: Some(true), ..all() },
            Conditions { quic: Some(true), ..all() },
            Conditions { malformed: Some(true), ..all() },
            Conditions { truncated: Some(true), ..all() },
            Conditions { ip_version: Some(6), ..all() },
            Conditions { tcp_flags: Some(TcpFlags { mask: 2, value: 0 }), ..all() },
            content(Content::No),
            Conditions { answer: Some(Content::Any), ..all() },
            fragment(Fragment::No),
            Conditions { protocols: vec![6], ..all() },
            Conditions { link_types: vec![1], ..all() },
            Conditions { ether_types: vec![0x0806], ..all() },
            Conditions { quic_versions: vec![1], ..all() },
            Conditions { vlans: vec![7..=7], ..all() },
            Conditions { source_ports: vec![53..=53], ..all() },
            Conditions { destination_ports: vec![53..=53], ..all() },
            Conditions { icmp: vec![Icmp { kind: 8, code: None }], ..all() },
            Conditions { sources: vec![prefix("192.0.2.0", 24)], ..all() },
            Conditions { destinations: vec![prefix("2001:db8::", 32)], ..all() },
            Conditions { names: names(), ..all() },
            Conditions { answer_names: names(), ..all() },
        ] {
            assert!(covers(&wide, &wide), "{wide:?} covers itself");
            assert!(covers(&all(), &wide), "all that is covers {wide:?}");
            assert!(!covers(&wide, &all()), "{wide:?} does not cover all that is");
        }
        // A packet in a tunnel is another one than that outside.
        let inner = Conditions { inner: true, ..all() };
        assert!(covers(&inner, &inner) && !covers(&inner, &all()) && !covers(&all(), &inner));
    }

    #[test]
    fn values_of_one_condition_cover_those_in_them() {
        let all = Conditions::default;
        let fragments = [Fragment::No, Fragment::Any, Fragment::First, Fragment::Later];
        let covered = fragments.map(|wide| fragments.map(|narrow| covers(&fragment(wide), &fragment(narrow))));
        let [t, f] = [true, false];
        assert_eq!(covered, [[t, f, f, f], [f, t, t, t], [f, f, t, f], [f, f, f, t]]);
        let contents = [Content::No, Content::Any, Content::Unread];
        let covered = contents.map(|wide| contents.map(|narrow| covers(&content(wide), &content(narrow))));
        assert_eq!(covered, [[t, f, f], [f, t, t], [f, f, t]]);
        let icmp = |kind, code| Conditions { icmp: vec![Icmp { kind, code }], ..all() };
        let icmp = [icmp(3, None), icmp(3, Some(4)), icmp(3, Some(0)), icmp(8, None)];
        let covered =
            [0, 1, 2, 3].map(|wide: usize| [0, 1, 2, 3].map(|narrow: usize| covers(&icmp[wide], &icmp[narrow])));
        assert_eq!(covered, [[t, t, t, f], [f, t, f, f], [f, f, t, f], [f, f, f, t]]);
        let flags = |mask, value| Conditions { tcp_flags: Some(TcpFlags { mask, value }), ..all() };
        let flags = [flags(0x02, 0x02), flags(0x02, 0), flags(0x12, 0x02), flags(0x12, 0x12), flags(0x10, 0x10)];
        let covered = [0, 1, 2, 3, 4].map(|wide: usize| flags.each_ref().map(|narrow| covers(&flags[wide], narrow)));
        assert_eq!(covered, [[t, f, t, t, f], [f, t, f, f, f], [f, f, t, f, f], [f, f, f, t, f], [f, f, f, t, t]]);
    }

    #[test]
    fn addresses_say_the_version_of_ip() {
        let all = Conditions::default;
        let (ipv4, ipv6) = (prefix("192.0.2.0", 24), prefix("2001:db8::", 32));
        for (narrow, is_ipv4, is_ipv6) in [
            (all(), false, false),
            (Conditions { ip_version: Some(4), ..all() }, true, false),
            (Conditions { ip_version: Some(6), ..all() }, false, true),
            (Conditions { sources: vec![ipv4, ipv4], ..all() }, true, false),
            (Conditions { sources: vec![ipv6], ..all() }, false, true),
            (Conditions { sources: vec![ipv4, ipv6], ..all() }, false, false),
            (Conditions { destinations: vec![ipv4], ..all() }, true, false),
            (Conditions { destinations: vec![ipv6, ipv6], ..all() }, false, true),
            (Conditions { sources: vec![ipv4, ipv6], destinations: vec![ipv6], ..all() }, false, true),
            (Conditions { sources: vec![ipv4], destinations: vec![ipv4, ipv6], ..all() }, true, false),
        ] {
            let covered = [4, 6].map(|version| covers(&Conditions { ip_version: Some(version), ..all() }, &narrow));
            assert_eq!(covered, [is_ipv4, is_ipv6], "{narrow:?}");
        }
    }

    /// Every other address of 10.0.0.0/8, from its first on.
    fn hosts(count: u32) -> Vec<Prefix> {
        (0..count).map(|at| prefix(&Ipv4Addr::from_bits(0x0A00_0000 + 2 * at).to_string(), 32)).collect()
    }

    #[test]
    fn the_search_ends_after_twenty_million_items_of_any_kind() {
        let all = Conditions::default;
        // The rule itself and 4,000 times 4,999 protocols are 19,996,001 items.
        let found = |wide: Conditions, narrow: Conditions| {
            let wide = Conditions { protocols: vec![6; 4000], ..wide };
            let narrow = Conditions { protocols: vec![6; 4999], ..narrow };
            find([(&wide, true), (&narrow, true)])
        };
        let link_types = |count: u32| Conditions { link_types: vec![1; count as usize], ..all() };
        let vlans = |count: u32| Conditions { vlans: vec![7..=7; count as usize], ..all() };
        let names = |count: u32| Conditions { names: vec!["example.com".to_owned(); count as usize], ..all() };
        let in_network = Conditions { sources: vec![prefix("10.0.0.0", 8)], ..all() };
        let of_hosts = |count: u32| Conditions { sources: hosts(count), ..all() };
        for found in [
            [3999, 4000].map(|count| found(link_types(1), link_types(count))),
            [3999, 4000].map(|count| found(vlans(1), vlans(count))),
            [3999, 4000].map(|count| found(names(1), names(count))),
            [3999, 4000].map(|count| found(in_network.clone(), of_hosts(count))),
        ] {
            let all_checked = Shadows { pairs: vec![(1, 0)], checked: 2 };
            assert_eq!(found, [all_checked, Shadows { pairs: vec![], checked: 1 }]);
        }
    }

    #[test]
    fn the_index_takes_sixty_four_places_of_a_rule() {
        for (sources, destinations, places) in [(0, 0, 1), (1, 1, 1), (8, 8, 64), (64, 0, 64), (13, 5, 0), (1, 65, 0)] {
            let rule =
                Conditions { sources: hosts(sources), destinations: hosts(destinations), ..Conditions::default() };
            let mut index = Index::default();
            index.insert(5, &rule);
            let others: &[usize] = if places == 0 { &[5] } else { &[] };
            assert_eq!((index.by_prefixes.len(), &index.others[..]), (places, others), "{sources}, {destinations}");
        }
    }

    /// Conditions over few values, so that they often cover each other.
    fn any_conditions() -> impl Strategy<Value = Conditions> {
        let prefixes = || {
            vec(
                select(vec![prefix("0.0.0.0", 0), prefix("10.0.0.0", 8), prefix("10.128.0.0", 9), prefix("::", 0)]),
                0..3,
            )
        };
        let ports = || vec((0..6_u16, 0..3_u16).prop_map(|(first, more)| first..=first + more), 0..3);
        let flags = (0..4_u8, 0..4_u8).prop_map(|(mask, value)| TcpFlags { mask, value: value & mask });
        (
            (prefixes(), prefixes(), vec(select(vec![6_u8, 17]), 0..2), option::of(select(vec![4_u8, 6]))),
            (ports(), ports(), option::weighted(0.2, flags), option::weighted(0.2, any::<bool>())),
            option::weighted(0.2, select(vec![Fragment::No, Fragment::Any, Fragment::First, Fragment::Later])),
        )
            .prop_map(
                |(
                    (sources, destinations, protocols, ip_version),
                    (source_ports, destination_ports, tcp_flags, tagged),
                    fragment,
                )| {
                    Conditions {
                        sources,
                        destinations,
                        protocols,
                        ip_version,
                        source_ports,
                        destination_ports,
                        tcp_flags: tcp_flags.filter(|flags| flags.mask != 0),
                        tagged,
                        fragment,
                        ..Conditions::default()
                    }
                },
            )
    }

    /// A packet over the same few values.
    fn any_flow() -> impl Strategy<Value = Flow> {
        (
            any::<bool>(),
            select(vec![0_u8, 10]),
            select(vec![0_u8, 200]),
            any::<bool>(),
            0..8_u16,
            0..8_u16,
            0..4_u8,
            0..3_u8,
            any::<bool>(),
        )
            .prop_map(
                |(is_v4, first, second, tcp, source_port, destination_port, tcp_flags, fragment, tagged)| {
                    let mut flow = Flow {
                        flags: flags::ADDRESSES | flags::PROTOCOL,
                        ip_version: if is_v4 { 4 } else { 6 },
                        protocol: if tcp { 6 } else { 17 },
                        vlan_count: u8::from(tagged),
                        ..Flow::default()
                    };
                    flow.source_address[..2].copy_from_slice(&[first, second]);
                    flow.destination_address[..2].copy_from_slice(&[second, first]);
                    flow.flags |= [0, flags::FRAGMENT, flags::FRAGMENT | flags::LATER_FRAGMENT][usize::from(fragment)];
                    if fragment < 2 {
                        flow.flags |= flags::PORTS;
                        (flow.source_port, flow.destination_port) = (source_port, destination_port);
                        if tcp {
                            flow.flags |= flags::TCP_FLAGS;
                            flow.tcp_flags = tcp_flags;
                        }
                    }
                    flow
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_rule_that_is_found_never_decides(rules in vec(any_conditions(), 1..12), flows in vec(any_flow(), 100)) {
            let shadows = find(rules.iter().map(|rule| (rule, true)));
            prop_assert_eq!(shadows.checked, rules.len());
            let numbered = rules.iter().zip(1..).map(|(conditions, id)| {
                Rule { id, action: RuleAction::Block, conditions: conditions.clone() }
            });
            let policy = Policy::new(compile(&numbered.collect::<Vec<_>>(), Action::Permit).unwrap()).unwrap();
            for flow in &flows {
                let decider = policy.classify(Direction::Inbound, link_type::RAW, &[], flow).rule_id;
                prop_assert!(!shadows.pairs.iter().any(|(hidden, _)| *hidden as u32 + 1 == decider));
            }
        }

        #[test]
        fn the_index_finds_what_comparing_all_pairs_finds(rules in vec(any_conditions(), 1..40)) {
            let found = find(rules.iter().map(|rule| (rule, true))).pairs;
            let expected = (0..rules.len()).filter_map(|position| {
                let covering = (0..position).find(|&earlier| covers(&rules[earlier], &rules[position]));
                covering.map(|earlier| (position, earlier))
            });
            prop_assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }
}
