//! A policy: a table that was checked, and the answer that it gives for a packet.

use sluice_npi::{Flow, Header, Verdict};

use crate::entry::{Entry, Entry4, Entry6};
use crate::filter::{BLOCK, Filter};
use crate::key::Key;
use crate::table::{
    ENTRY_HAS_EXTRA, Layout, MAX_PENDING, NO_RULE, Node, RULE_BLOCKS, Tuple, meta, root, size, word, words,
};
use crate::{Action, Direction, TableError, UnknownLinkType, extra, filter, names, parse_into, validate};

/// What a policy says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do with it.
    pub action: Action,
    /// The id of the rule that decided; 0 if none matched.
    pub rule_id: u32,
}

impl Decision {
    /// What a rule decides: its id and its second word.
    #[inline]
    fn of_rule((rule_id, word): (u32, u32)) -> Self {
        let action = if word & RULE_BLOCKS == 0 { Action::Permit } else { Action::Block };
        Self { action, rule_id }
    }
}

/// An ordered list of rules, compiled to a table, and the action for packets that no rule matches.
///
/// `B` holds the bytes: `&[u8]`, `Vec<u8>`, `Box<[u8]>` or what a driver's allocator gives.
#[derive(Clone, Debug)]
pub struct Policy<B> {
    bytes: B,
    layout: Layout,
    default_action: Action,
}

impl<B> Policy<B> {
    /// The policy without rules that permits everything. `bytes` is kept and not looked at.
    pub const fn permit_everything(bytes: B) -> Self {
        let layout = Layout {
            counts: crate::table::Counts {
                rules: 0,
                nodes: 0,
                entries4: 0,
                entries6: 0,
                filter_words: 0,
                extra_words: 0,
                suffixes: 0,
                slots: 0,
                text_bytes: 0,
            },
            rules: 0,
            nodes: 0,
            entries4: 0,
            entries6: 0,
            filters: 0,
            extra_words: 0,
            suffixes: 0,
            slots: 0,
            text: 0,
            end: 0,
        };
        Self { bytes, layout, default_action: Action::Permit }
    }

    /// How many rules there are.
    #[must_use]
    pub const fn rule_count(&self) -> u32 {
        self.layout.counts.rules
    }

    /// What happens to a packet that no rule matches.
    #[must_use]
    pub const fn default_action(&self) -> Action {
        self.default_action
    }

    /// Gives the bytes back.
    pub fn into_bytes(self) -> B {
        self.bytes
    }
}

impl<B: AsRef<[u8]>> Policy<B> {
    /// Checks every byte of `bytes`, in time proportional to their number and without allocating.
    ///
    /// # Errors
    ///
    /// What is wrong with the first part that is not as `compile::compile` makes it.
    pub fn new(bytes: B) -> Result<Self, TableError> {
        let (layout, default_action) = validate::table(bytes.as_ref())?;
        Ok(Self { bytes, layout, default_action })
    }

    /// The bytes of the table.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// What each rule decides about the packets that it matches, in the order in which the rules are tried.
    pub fn rules(&self) -> impl Iterator<Item = Decision> {
        let table = Table { bytes: self.bytes.as_ref(), layout: &self.layout };
        (0..self.rule_count()).map_while(move |index| table.rule(index).map(Decision::of_rule))
    }

    /// What the policy says about `packet`, from which `flow` was read.
    ///
    /// `packet` is needed for host names alone; a `flow` that does not belong to it costs no more than a wrong answer.
    #[inline]
    pub fn classify(&self, direction: Direction, link_type: u16, packet: &[u8], flow: &Flow) -> Decision {
        let table = Table { bytes: self.bytes.as_ref(), layout: &self.layout };
        let key = Key::new(direction, flow);
        let mut best = NO_RULE;
        match flow.ip_version {
            4 => table.search::<Entry4>(root::IPV4, link_type, &key, flow, &mut best),
            6 => table.search::<Entry6>(root::IPV6, link_type, &key, flow, &mut best),
            _ => table.search::<Entry4>(root::OTHER, link_type, &key, flow, &mut best),
        }
        if self.layout.counts.suffixes != 0 && flow.name_length != 0 {
            names::classify(&table, link_type, packet, &key, flow, &mut best);
        }
        match table.rule(best) {
            Some(rule) => Decision::of_rule(rule),
            None => Decision { action: self.default_action, rule_id: 0 },
        }
    }
}

/// Reads `packet` and says what `policy` decides: all of what sluice.sys does with a packet.
///
/// `generation` is the number of the policy, and goes into the verdict. `wire_length` is how many bytes the packet has
/// on the wire; see [`parse`](crate::parse).
///
/// # Errors
///
/// [`UnknownLinkType`] if `link_type` is none of [`sluice_npi::link_type`].
#[inline]
pub fn classify<B: AsRef<[u8]>>(
    policy: &Policy<B>,
    generation: u64,
    direction: Direction,
    link_type: u16,
    wire_length: u32,
    packet: &[u8],
) -> Result<Verdict, UnknownLinkType> {
    let mut verdict = Verdict {
        header: Header::of::<Verdict>(),
        action: 0,
        reserved: [0; 3],
        rule_id: 0,
        generation,
        flow: Flow::default(),
    };
    classify_into(policy, generation, direction, link_type, wire_length, packet, &mut verdict)?;
    Ok(verdict)
}

/// Does what [`classify`] does, and writes the verdict where the caller wants it, whatever was there. That saves a copy of
/// what has only just been written, for which a processor has to wait.
///
/// # Errors
///
/// As [`classify`]; `verdict` then says nothing.
#[inline]
pub fn classify_into<B: AsRef<[u8]>>(
    policy: &Policy<B>,
    generation: u64,
    direction: Direction,
    link_type: u16,
    wire_length: u32,
    packet: &[u8],
    verdict: &mut Verdict,
) -> Result<(), UnknownLinkType> {
    parse_into(link_type, packet, wire_length, &mut verdict.flow)?;
    let decision = policy.classify(direction, link_type, packet, &verdict.flow);
    verdict.header = Header::of::<Verdict>();
    verdict.action = decision.action.number();
    verdict.reserved = [0; 3];
    verdict.rule_id = decision.rule_id;
    verdict.generation = generation;
    Ok(())
}

/// A section of a table, for those who look something up in it. Reading where nothing is gives nothing.
pub(crate) struct Table<'table> {
    pub(crate) bytes: &'table [u8],
    pub(crate) layout: &'table Layout,
}

impl<'table> Table<'table> {
    /// Record `index` of the section at `start`. The section's end is not looked at: where it lies, the check of the table
    /// has seen to it that no index leads beyond it.
    #[inline]
    pub(crate) fn record<const SIZE: usize>(&self, start: usize, index: u32) -> Option<&'table [u8; SIZE]> {
        let offset = (index as usize).wrapping_mul(SIZE).wrapping_add(start);
        self.bytes.get(offset..)?.first_chunk()
    }

    #[inline]
    pub(crate) fn node(&self, index: u32) -> Option<Node> {
        self.record::<{ size::NODE }>(self.layout.nodes, index).map(Node::read)
    }

    /// The id of rule `index` and its second word.
    #[inline]
    pub(crate) fn rule(&self, index: u32) -> Option<(u32, u32)> {
        if index >= self.layout.counts.rules {
            return None;
        }
        let [id, word] = words(self.record::<{ size::RULE }>(self.layout.rules, index)?);
        Some((id, word))
    }

    /// Word `index` of the section at `start`.
    #[inline]
    pub(crate) fn word(&self, start: usize, index: u32) -> Option<u32> {
        self.record(start, index).copied().map(u32::from_le_bytes)
    }

    /// Lowers `best` to the first rule in the tree at `root` that matches, if it comes before `best`.
    #[inline]
    pub(crate) fn search<E: InTable>(&self, root: u32, link_type: u16, key: &Key, flow: &Flow, best: &mut u32) {
        if let Some(node) = self.node(root) {
            self.search_node::<E>(node, link_type, key, flow, best);
        }
    }

    #[inline]
    fn search_node<E: InTable>(&self, mut node: Node, link_type: u16, key: &Key, flow: &Flow, best: &mut u32) {
        let windows = E::windows(key);
        let mut pending = [0; MAX_PENDING];
        let mut pending_count = 0_usize;
        loop {
            if node.first_rule < *best {
                if !node.is_leaf() {
                    let mut child = match node.tuple() {
                        Some(tuple) => E::child(tuple, key),
                        None => {
                            let (a, b) = (node.first_window(), node.second_window());
                            a.value(key) << b.bits() | b.value(key)
                        }
                    };
                    if node.has_remainder() {
                        if let Some(slot) = pending.get_mut(pending_count) {
                            *slot = node.base;
                            pending_count = pending_count.wrapping_add(1);
                        }
                        child = child.wrapping_add(1);
                    }
                    match self.node(node.base.wrapping_add(child)) {
                        Some(next) => {
                            node = next;
                            continue;
                        }
                        None => return,
                    }
                }
                self.search_leaf::<E>(&node, &windows, link_type, key, flow, best);
            }
            let Some(next) = pending_count.checked_sub(1) else {
                return;
            };
            pending_count = next;
            match pending.get(next).and_then(|next| self.node(*next)) {
                Some(next) => node = next,
                None => return,
            }
        }
    }

    #[inline]
    fn search_leaf<E: InTable>(
        &self,
        leaf: &Node,
        windows: &E::Windows,
        link_type: u16,
        key: &Key,
        flow: &Flow,
        best: &mut u32,
    ) {
        let count = leaf.entry_count();
        let filter = leaf.filter().and_then(|index| Filter::read(self.filter(index)?, count, windows.as_ref()));
        let mut first = 0;
        while first < count {
            let mut candidates = u128::MAX.checked_shr(BLOCK.saturating_sub(count.wrapping_sub(first))).unwrap_or(0);
            if let Some(filter) = &filter {
                candidates &= filter.block(first / BLOCK).unwrap_or(0);
            }
            while candidates != 0 {
                let index = first.wrapping_add(candidates.trailing_zeros());
                let Some(entry) = self.entry::<E>(leaf.base.wrapping_add(index)) else {
                    return;
                };
                if entry.matches(key) {
                    let common = entry.common();
                    if common.rule_index() >= *best {
                        return;
                    }
                    if common.rule & ENTRY_HAS_EXTRA == 0
                        || self.extra_matches(common.rule_index(), link_type, key, flow)
                    {
                        *best = common.rule_index();
                        return;
                    }
                }
                candidates &= candidates.wrapping_sub(1);
            }
            first = first.wrapping_add(BLOCK);
        }
    }

    #[inline]
    fn entry<E: InTable>(&self, index: u32) -> Option<E> {
        let start = (index as usize).wrapping_mul(E::SIZE).wrapping_add(E::start(self.layout));
        self.bytes.get(start..).and_then(E::read_from)
    }

    /// The section of filters from the one at `index` on.
    #[inline]
    pub(crate) fn filter(&self, index: u32) -> Option<&'table [u8]> {
        let start = (index as usize).wrapping_mul(size::WORD).wrapping_add(self.layout.filters);
        self.bytes.get(start..self.layout.extra_words)
    }

    #[cold]
    fn extra_matches(&self, rule: u32, link_type: u16, key: &Key, flow: &Flow) -> bool {
        self.rule(rule).is_some_and(|(_, word)| extra::matches(self, word & !RULE_BLOCKS, link_type, key, flow))
    }
}

/// A kind of entry and where its section is.
pub(crate) trait InTable: Entry {
    /// The key in the form that filters look at.
    type Windows: AsRef<[u8]>;
    fn windows(key: &Key) -> Self::Windows;
    fn start(layout: &Layout) -> usize;
    fn read_from(bytes: &[u8]) -> Option<Self>;
    /// The child that `tuple` picks for `key`.
    fn child(tuple: Tuple, key: &Key) -> u32;
}

impl InTable for Entry4 {
    type Windows = [u8; 64];
    #[inline]
    fn windows(key: &Key) -> Self::Windows {
        filter::windows::<4, 64>(key)
    }
    #[inline]
    fn start(layout: &Layout) -> usize {
        layout.entries4
    }
    #[inline]
    fn child(tuple: Tuple, key: &Key) -> u32 {
        let source = u64::from(key.0[word::SOURCE4]) >> (tuple.source_shift() & 63);
        let destination = u64::from(key.0[word::DESTINATION4]) >> (tuple.destination_shift() & 63);
        tuple.child(source, destination, key.0[word::PORTS], key.0[word::META] >> meta::PROTOCOL_SHIFT)
    }
    #[inline]
    fn read_from(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(Self::read)
    }
}

impl InTable for Entry6 {
    type Windows = [u8; 256];
    #[inline]
    fn windows(key: &Key) -> Self::Windows {
        filter::windows::<16, 256>(key)
    }
    #[inline]
    fn start(layout: &Layout) -> usize {
        layout.entries6
    }
    #[inline]
    fn child(tuple: Tuple, key: &Key) -> u32 {
        let source = fold(key.source6(), tuple.source_shift());
        let destination = fold(key.destination6(), tuple.destination_shift());
        tuple.child(source, destination, key.0[word::PORTS], key.0[word::META] >> meta::PROTOCOL_SHIFT)
    }
    #[inline]
    fn read_from(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(Self::read)
    }
}

/// An IPv6 address without its low bits, in 64 bits.
#[inline]
pub(crate) fn fold(address: u128, shift: u32) -> u64 {
    let address = address.checked_shr(shift).unwrap_or(0);
    (address as u64) ^ ((address >> 64) as u64).rotate_left(29)
}
