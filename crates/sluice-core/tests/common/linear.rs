//! The specification: rules are tried one after another, each condition as its documentation says, nothing else.

use std::net::IpAddr;

use sluice_core::compile::{Conditions, Content, Fragment, Prefix, Rule};
use sluice_core::{Action, Decision, Direction};
use sluice_npi::{Flow, flags, name_kind};

/// What the first rule that matches and decides says, or else the default.
pub fn classify(
    rules: &[Rule],
    default_action: Action,
    direction: Direction,
    link_type: u16,
    packet: &[u8],
    flow: &Flow,
) -> Decision {
    let names = Names::of(packet, flow);
    let matching = rules.iter().filter(|rule| matches(&rule.conditions, direction, link_type, &names, flow));
    let mut deciding = matching.filter_map(|rule| Some(Decision { action: rule.action.decision()?, rule_id: rule.id }));
    deciding.next().unwrap_or(Decision { action: default_action, rule_id: 0 })
}

/// The indices of the rules that match and decide nothing, up to the one that decides; and that one's, or how many
/// rules there are.
#[allow(dead_code, reason = "not every test has such rules")]
pub fn observers(rules: &[Rule], direction: Direction, link_type: u16, packet: &[u8], flow: &Flow) -> (Vec<u32>, u32) {
    let names = Names::of(packet, flow);
    let mut observers = Vec::new();
    for (index, rule) in (0..).zip(rules) {
        if matches(&rule.conditions, direction, link_type, &names, flow) {
            if rule.action.decision().is_some() {
                return (observers, index);
            }
            observers.push(index);
        }
    }
    (observers, rules.len() as u32)
}

/// The labels of the names in a packet, in lower case.
struct Names {
    /// The one that it asks for.
    asked: Option<Vec<Vec<u8>>>,
    /// Those in its answers.
    answers: Vec<Vec<Vec<u8>>>,
}

impl Names {
    fn of(packet: &[u8], flow: &Flow) -> Self {
        let answers = if flow.has(flags::ANSWER) { answers(packet, flow) } else { Vec::new() };
        Self { asked: name(packet, flow), answers }
    }
}

/// Reads a message of one question and aliases, in which no name is compressed.
fn answers(packet: &[u8], flow: &Flow) -> Vec<Vec<Vec<u8>>> {
    let mut rest = &packet[flow.payload_offset as usize..][..flow.payload_length as usize];
    if flow.protocol == 6 {
        rest = &rest[2..];
    }
    let labels = |rest: &mut &[u8]| {
        let mut labels = Vec::new();
        loop {
            let (length, behind) = rest.split_first().expect("names are whole");
            let (label, behind) = behind.split_at((*length).into());
            *rest = behind;
            if label.is_empty() {
                return labels;
            }
            labels.push(label.to_ascii_lowercase());
        }
    };
    let count = rest[7];
    rest = &rest[12..];
    labels(&mut rest);
    rest = &rest[4..];
    let alias = |_| {
        labels(&mut rest);
        rest = &rest[10..];
        labels(&mut rest)
    };
    (0..count).map(alias).collect()
}

fn name(packet: &[u8], flow: &Flow) -> Option<Vec<Vec<u8>>> {
    let bytes = packet.get(flow.name_offset as usize..)?.get(..usize::from(flow.name_length))?;
    match flow.name_kind {
        name_kind::NONE => None,
        name_kind::DNS => {
            let mut labels = Vec::new();
            let mut rest = bytes;
            while let Some((length, behind)) = rest.split_first() {
                let (label, behind) = behind.split_at_checked(usize::from(*length))?;
                labels.push(label.to_ascii_lowercase());
                rest = behind;
            }
            Some(labels)
        }
        _ => {
            let text = bytes.strip_suffix(b".").unwrap_or(bytes);
            Some(text.split(|byte| *byte == b'.').map(<[u8]>::to_ascii_lowercase).collect())
        }
    }
}

fn matches(c: &Conditions, direction: Direction, link_type: u16, names: &Names, flow: &Flow) -> bool {
    let has = |bits: u32| flow.has(bits);
    let any = |list: bool, met: bool| list || met;
    c.direction.is_none_or(|wanted| wanted == direction)
        && any(c.link_types.is_empty(), c.link_types.contains(&link_type))
        && c.tagged.is_none_or(|tagged| tagged == (flow.vlan_count > 0))
        && any(c.vlans.is_empty(), flow.vlan_count > 0 && c.vlans.iter().any(|range| range.contains(&flow.vlan_ids[0])))
        && any(c.ether_types.is_empty(), has(flags::ETHER_TYPE) && c.ether_types.contains(&flow.ether_type))
        && address_matches(&c.sources, flow, &flow.source_address)
        && address_matches(&c.destinations, flow, &flow.destination_address)
        && c.ip_version.is_none_or(|version| version == flow.ip_version)
        && any(c.protocols.is_empty(), has(flags::PROTOCOL) && c.protocols.contains(&flow.protocol))
        && any(
            c.source_ports.is_empty(),
            has(flags::PORTS) && c.source_ports.iter().any(|range| range.contains(&flow.source_port)),
        )
        && any(
            c.destination_ports.is_empty(),
            has(flags::PORTS) && c.destination_ports.iter().any(|range| range.contains(&flow.destination_port)),
        )
        && any(
            c.icmp.is_empty(),
            has(flags::ICMP)
                && c.icmp
                    .iter()
                    .any(|icmp| icmp.kind == flow.icmp_type && icmp.code.is_none_or(|code| code == flow.icmp_code)),
        )
        && c.tcp_flags.is_none_or(|tcp| has(flags::TCP_FLAGS) && flow.tcp_flags & tcp.mask == tcp.value)
        && any(c.names.is_empty(), names.asked.as_ref().is_some_and(|name| is_named(&c.names, name)))
        && any(c.answer_names.is_empty(), names.answers.iter().any(|name| is_named(&c.answer_names, name)))
        && c.fragment.is_none_or(|fragment| match fragment {
            Fragment::No => !has(flags::FRAGMENT),
            Fragment::Any => has(flags::FRAGMENT),
            Fragment::First => has(flags::FRAGMENT) && !has(flags::LATER_FRAGMENT),
            Fragment::Later => has(flags::LATER_FRAGMENT),
        })
        && c.name_missing.is_none_or(|missing| missing == has(flags::NAME_MISSING))
        && c.name_pending.is_none_or(|pending| pending == has(flags::NAME_PENDING))
        && c.quic.is_none_or(|quic| quic == has(flags::QUIC))
        && any(c.quic_versions.is_empty(), has(flags::QUIC) && c.quic_versions.contains(&flow.quic_version))
        && c.ech.is_none_or(|ech| ech == has(flags::ECH))
        && c.inner == has(flags::INNER)
        && c.tunnel.is_none_or(|tunnel| content_matches(tunnel, has(flags::TUNNEL), has(flags::TUNNEL_UNREAD)))
        && c.answer.is_none_or(|answer| content_matches(answer, has(flags::ANSWER), has(flags::ANSWER_UNREAD)))
        && c.malformed.is_none_or(|malformed| malformed == has(flags::MALFORMED))
        && c.truncated.is_none_or(|truncated| truncated == has(flags::TRUNCATED))
}

fn address_matches(prefixes: &[Prefix], flow: &Flow, address: &[u8; 16]) -> bool {
    prefixes.is_empty()
        || flow.has(flags::ADDRESSES)
            && prefixes.iter().any(|prefix| {
                let (wanted, version) = match prefix.address {
                    IpAddr::V4(wanted) => (wanted.octets().to_vec(), 4),
                    IpAddr::V6(wanted) => (wanted.octets().to_vec(), 6),
                };
                version == flow.ip_version
                    && (0..usize::from(prefix.length)).all(|bit| {
                        let bit_of = |bytes: &[u8]| bytes[bit / 8] >> (7 - bit % 8) & 1;
                        bit_of(&wanted) == bit_of(address)
                    })
            })
}

fn content_matches(content: Content, is_there: bool, is_unread: bool) -> bool {
    match content {
        Content::No => !is_there,
        Content::Any => is_there,
        Content::Unread => is_unread,
    }
}

fn is_named(suffixes: &[String], name: &[Vec<u8>]) -> bool {
    suffixes.iter().any(|suffix| name_matches(name, suffix))
}

fn name_matches(name: &[Vec<u8>], suffix: &str) -> bool {
    let suffix = suffix.strip_suffix('.').unwrap_or(suffix).to_ascii_lowercase();
    let suffix: Vec<&[u8]> = suffix.as_bytes().split(|byte| *byte == b'.').collect();
    name.len() >= suffix.len() && name[name.len() - suffix.len()..].iter().zip(&suffix).all(|(a, b)| a == b)
}
