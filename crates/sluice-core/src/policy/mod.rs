//! A policy: a table that was validated, and the answer that it gives for a packet.
//!
//! [`table`] has the layout, with a record type in each of [`node`], [`entry`], [`filter`], [`conditions`] and
//! [`names`]. [`validate`] looks at every byte of a table once; from then on [`search`] turns a packet into a [`key`]
//! and finds its first rule. `docs/policy-table.md` explains how they fit together.

pub(crate) mod conditions;
pub(crate) mod entry;
pub(crate) mod filter;
pub(crate) mod key;
pub(crate) mod names;
pub(crate) mod node;
pub(crate) mod reach;
pub(crate) mod search;
pub(crate) mod table;
mod validate;

pub use search::ParsedPacket;
use sluice_npi::Flow;
pub use table::{MAX_EXPANDED, MAX_NAME_LENGTH, MAX_RULES, MAX_TABLE_SIZE};
pub use validate::TableError;

use self::entry::Found;
use self::reach::Reach;
use self::search::LANES;
use self::table::{Counts, Layout, NO_RULE, Table, rule_action};
use crate::{Action, Direction, RuleAction};

/// What a policy says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do with it.
    pub action: Action,
    /// The id of the rule that decided; 0 if none matched.
    pub rule_id: u32,
}

/// An ordered list of rules, compiled to a table, and the action for packets that no rule matches.
///
/// `B` holds the bytes: `&[u8]`, `Vec<u8>`, `Box<[u8]>` or what a driver's allocator gives.
#[derive(Clone, Debug)]
pub struct Policy<B> {
    bytes: B,
    layout: Layout,
}

impl<B> Policy<B> {
    /// The policy without rules that permits everything. `bytes` is kept and not looked at.
    pub const fn permit_everything(bytes: B) -> Self {
        Self::without_rules(bytes, Action::Permit)
    }

    /// The policy without rules that blocks everything. `bytes` is kept and not looked at.
    pub const fn block_everything(bytes: B) -> Self {
        Self::without_rules(bytes, Action::Block)
    }

    const fn without_rules(bytes: B, default_action: Action) -> Self {
        let layout = Layout {
            counts: Counts {
                rules: 0,
                nodes: 0,
                entries4: 0,
                entries6: 0,
                extra_words: 0,
                suffixes: 0,
                lines: 0,
                text_bytes: 0,
                filter_words: 0,
                tree_pairs: 0,
                observing: 0,
            },
            rules: 0,
            nodes: 0,
            entries4: 0,
            entries6: 0,
            extra_words: 0,
            hints: 0,
            lines: 0,
            text: 0,
            filters: 0,
            end: 0,
            observed: Reach::NOTHING,
            nothing: Found::nothing(default_action),
            looks_inside: false,
            reads_answers: false,
        };
        Self { bytes, layout }
    }

    /// How many rules there are.
    #[must_use]
    pub const fn rule_count(&self) -> u32 {
        self.layout.counts.rules
    }

    /// Whether there are rules that count or log, and decide nothing.
    #[must_use]
    #[inline]
    pub const fn observes(&self) -> bool {
        self.layout.counts.observing != 0
    }

    /// Whether there are rules for the packets in tunnels.
    #[inline]
    pub(crate) const fn looks_inside(&self) -> bool {
        self.layout.looks_inside
    }

    /// What happens to a packet that no rule matches.
    #[must_use]
    pub const fn default_action(&self) -> Action {
        self.layout.nothing.decision().action
    }

    /// Gives the bytes back.
    pub fn into_bytes(self) -> B {
        self.bytes
    }
}

impl<B: AsRef<[u8]>> Policy<B> {
    /// Validates every byte of `bytes`, in time proportional to their number and without allocating.
    ///
    /// # Errors
    ///
    /// The first part that is not as `compile::compile` makes it, and what is wrong with it.
    pub fn new(bytes: B) -> Result<Self, TableError> {
        let layout = validate::table(bytes.as_ref())?;
        Ok(Self { bytes, layout })
    }

    /// The bytes of the table.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The id of each rule and what it does, in the order in which the rules are tried.
    pub fn rules(&self) -> impl Iterator<Item = (u32, RuleAction)> {
        (0..self.rule_count()).map_while(|index| self.rule(index))
    }

    /// The id of the rule at `index`, counted from 0, and what it does. `None` if there are not as many.
    #[must_use]
    pub fn rule(&self, index: u32) -> Option<(u32, RuleAction)> {
        self.table().rule(index).map(|(id, word)| (id, rule_action(word)))
    }

    /// Whether rules that count or log can match a packet with this flow at all. Where there are few such rules, most
    /// packets are told by that.
    #[inline]
    pub(crate) fn may_observe(&self, flow: &Flow) -> bool {
        search::may_observe(&self.table(), flow)
    }

    /// Calls `observer` with the index of each rule that counts or logs the packet: those that match and come before
    /// the rule at index `decided`, which decides. Where none does, that is [`rule_count`](Self::rule_count) or more.
    pub fn observe(&self, packet: &ParsedPacket<'_>, decided: u32, mut observer: impl FnMut(u32)) {
        search::observers(&self.table(), packet, decided.min(NO_RULE), &mut observer);
    }

    /// What the policy says about the packet with these `bytes`, from which `flow` was read.
    ///
    /// The bytes are needed for host names alone; a `flow` that does not belong to them costs no more than a wrong
    /// answer.
    #[inline]
    pub fn classify(&self, direction: Direction, link_type: u16, bytes: &[u8], flow: &Flow) -> Decision {
        let table = self.table();
        search::first_rule(&table, &ParsedPacket { direction, link_type, bytes, flow }).decision()
    }

    /// Does what [`classify`](Self::classify) does for each of several packets, which takes less time for each: as many
    /// of `decisions` are written as there are packets, or all of them if there are more packets.
    #[inline]
    pub fn classify_batch(&self, packets: &[ParsedPacket<'_>], decisions: &mut [Decision]) {
        // There is no place for a decision about more.
        let packets = packets.get(..decisions.len()).unwrap_or(packets);
        let (several, rest) = packets.as_chunks();
        let (of_several, of_rest) = decisions.get_mut(..packets.len()).unwrap_or_default().as_chunks_mut::<LANES>();
        let table = self.table();
        for (packets, decisions) in several.iter().zip(of_several) {
            let mut found = [self.layout.nothing; LANES];
            search::first_rules(&table, packets, &mut found);
            for (decision, found) in decisions.iter_mut().zip(found) {
                *decision = found.decision();
            }
        }
        for (packet, decision) in rest.iter().zip(of_rest) {
            *decision = search::first_rule(&table, packet).decision();
        }
    }

    /// What is found where no rule matches.
    #[inline]
    pub(crate) const fn nothing(&self) -> Found {
        self.layout.nothing
    }

    /// What decides on the packet.
    #[inline]
    pub(crate) fn find(&self, packet: &ParsedPacket<'_>) -> Found {
        search::first_rule(&self.table(), packet)
    }

    /// Writes to `found` what decides on each of up to [`LANES`] packets.
    #[inline]
    pub(crate) fn find_batch(&self, packets: &[ParsedPacket<'_>], found: &mut [Found; LANES]) {
        match packets.first_chunk() {
            Some(packets) => search::first_rules(&self.table(), packets, found),
            None => search::one_by_one(&self.table(), packets, found),
        }
    }

    #[inline]
    fn table(&self) -> Table<'_> {
        Table { bytes: self.bytes.as_ref(), layout: &self.layout }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;
    use core::net::{Ipv4Addr, Ipv6Addr};

    use sluice_npi::flags;

    use super::*;
    use crate::compile::{Conditions, Prefix, Rule, TcpFlags, compile};

    fn policy(rules: &[Rule]) -> Policy<Vec<u8>> {
        Policy::new(compile(rules, Action::Permit).expect("it compiles")).expect("it is valid")
    }

    fn of(ip_version: u8, inner: bool) -> Rule {
        let conditions = Conditions { ip_version: Some(ip_version), inner, ..Conditions::default() };
        Rule { id: 1, action: RuleAction::Block, conditions }
    }

    #[test]
    fn only_for_rules_about_them_are_packets_in_tunnels_looked_up() {
        let outside = [of(4, false), of(6, false)];
        assert!(!policy(&[]).looks_inside());
        assert!(!policy(&outside).looks_inside());
        for version in [4, 6] {
            assert!(policy(&[of(version, true)]).looks_inside());
            assert!(policy(&[&outside[..], &[of(version, true)]].concat()).looks_inside());
        }
    }

    #[test]
    fn an_entry_that_does_not_care_is_for_packets_in_tunnels_as_well() {
        let mut table = policy(&[of(4, false)]).into_bytes();
        let layout = Policy::new(table.as_slice()).expect("it is valid").layout;
        // The mask of the properties is the sixth word of an entry, which here asks for no tunnel.
        let mask = layout.entries4 as usize + 5 * table::size::WORD;
        let bytes = table.get_mut(mask..).and_then(<[u8]>::first_chunk_mut).expect("there is an entry");
        *bytes = (u32::from_le_bytes(*bytes) & !key::meta::INNER).to_le_bytes();
        assert!(Policy::new(table).expect("it is valid").looks_inside());
    }

    /// A TCP segment from port 1 to port 81.
    fn segment(ip_version: u8, source: [u8; 4], destination: [u8; 4]) -> Flow {
        let mut flow = Flow {
            flags: flags::ADDRESSES | flags::PROTOCOL | flags::PORTS | flags::TCP_FLAGS,
            ip_version,
            protocol: 6,
            source_port: 1,
            destination_port: 81,
            tcp_flags: 0x02,
            ..Flow::default()
        };
        flow.source_address[..4].copy_from_slice(&source);
        flow.destination_address[..4].copy_from_slice(&destination);
        flow
    }

    /// A rule that counts segments from a network of 16 bits to one of 32, from port 1 to the ports from 80 on.
    fn counting(version: u8, source: [u8; 4], last_port: u16) -> Rule {
        let prefix = |[a, b, c, d]: [u8; 4], length| {
            let address = match version {
                4 => Ipv4Addr::new(a, b, c, d).into(),
                _ => Ipv6Addr::from(u128::from(u32::from_be_bytes([a, b, c, d])) << 96).into(),
            };
            Prefix { address, length }
        };
        let conditions = Conditions {
            sources: vec![prefix(source, 16)],
            destinations: vec![prefix([0x20, 0x01, 0x0D, 0xB8], 32)],
            protocols: vec![6],
            source_ports: vec![1..=1],
            destination_ports: vec![80..=last_port],
            tcp_flags: Some(TcpFlags { mask: 0x12, value: 0x02 }),
            ..Conditions::default()
        };
        Rule { id: 1, action: RuleAction::Count, conditions }
    }

    #[test]
    fn packets_that_no_rule_which_observes_can_match_are_told_by_what_those_have_in_common() {
        let block = of(4, false);
        let of = counting;
        let there = [0x20, 0x01, 0x0D, 0xB8];
        for version in [4, 6] {
            let here = segment(version, [10, 0, 3, 4], there);
            // What the ports and the sources of both have in common are their first bits.
            let both = policy(&[of(version, [10, 0, 0, 0], 81), of(version, [10, 1, 0, 0], 83)]);
            let one = policy(&[of(version, [10, 0, 0, 0], 81)]);
            let is_in = |flow: &Flow| (one.may_observe(flow), both.may_observe(flow));
            assert_eq!(is_in(&here), (true, true));
            assert_eq!(is_in(&Flow { destination_port: 80, tcp_flags: 0xEF, ..here }), (true, true));
            assert_eq!(is_in(&Flow { destination_port: 82, ..here }), (false, true));
            assert_eq!(is_in(&segment(version, [10, 1, 0, 0], there)), (false, true));
            for outside in [
                segment(version, [10, 2, 0, 0], there),
                segment(version, [11, 0, 0, 0], there),
                segment(version, [10, 0, 0, 0], [0x20, 0x01, 0x0D, 0xB9]),
                Flow { destination_port: 84, ..here },
                Flow { destination_port: 79, ..here },
                Flow { source_port: 0, ..here },
                Flow { protocol: 7, ..here },
                Flow { protocol: 4, ..here },
                Flow { tcp_flags: 0x12, ..here },
                Flow { tcp_flags: 0, ..here },
                Flow { flags: here.flags | flags::INNER, ..here },
                Flow { flags: here.flags & !flags::PORTS, ..here },
            ] {
                assert_eq!(is_in(&outside), (false, false), "{outside:?}");
            }
        }
        assert!(!policy(&[]).may_observe(&segment(4, [0; 4], [0; 4])));
        assert!(!policy(&[of(4, [10, 0, 0, 0], 81)]).may_observe(&Flow::default()));
        let both = [of(4, [10, 0, 0, 0], 81), of(6, [10, 0, 0, 0], 81)];
        assert!(policy(&both).may_observe(&segment(4, [10, 0, 3, 4], there)));
        let decides_elsewhere = policy(&[of(4, [10, 0, 0, 0], 81), block.clone()]);
        assert!(!decides_elsewhere.may_observe(&segment(4, [11, 0, 0, 0], there)), "a rule that decides is none");
        assert!(policy(&both).observes() && !policy(&[block]).observes());
    }
}
