//! What a rule demands of the bits in a packet's word of properties.

use sluice_npi::flags;

use super::{Conditions, Fragment};
use crate::policy::key::meta;

/// Which of the bits of [`meta`] count, and what they have to be.
#[derive(Clone, Copy)]
pub(super) struct Properties {
    pub(super) value: u32,
    pub(super) mask: u32,
}

impl Properties {
    /// The same, and a protocol.
    pub(super) fn with_protocol(self, protocol: Option<u8>) -> Self {
        match protocol {
            Some(protocol) => Self {
                value: self.value | u32::from(protocol) << meta::PROTOCOL_SHIFT,
                mask: self.mask | meta::PROTOCOL,
            },
            None => self,
        }
    }
}

/// What a rule demands of the properties of a packet. `None` if no packet can be like that.
pub(super) fn properties(c: &Conditions) -> Option<Properties> {
    let (mut value, mut mask) = (0, 0);
    let mut contradiction = false;
    let mut need = |bits: u32, wanted: u32| {
        contradiction |= (value ^ wanted) & mask & bits != 0;
        value |= wanted;
        mask |= bits;
    };
    need(meta::INNER, if c.inner { meta::INNER } else { 0 });
    if let Some(direction) = c.direction {
        need(meta::DIRECTION, u32::from(direction.number()) << meta::DIRECTION_SHIFT);
    }
    if let Some(tagged) = c.tagged {
        need(meta::TAGGED, if tagged { meta::TAGGED } else { 0 });
    }
    if !c.vlans.is_empty() {
        need(meta::TAGGED, meta::TAGGED);
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
        // Without a TCP header, none of these bits is set; for rules that want none, there is an extra condition.
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
    if let Some(missing) = c.name_missing {
        need(meta::NAME_MISSING, if missing { meta::NAME_MISSING } else { 0 });
    }
    if let Some(pending) = c.name_pending {
        need(meta::NAME_PENDING, if pending { meta::NAME_PENDING } else { 0 });
    }
    if let Some(quic) = c.quic {
        need(flags::QUIC, if quic { flags::QUIC } else { 0 });
    }
    if !c.quic_versions.is_empty() {
        need(flags::QUIC, flags::QUIC);
    }
    if let Some(ech) = c.ech {
        need(meta::ECH, if ech { meta::ECH } else { 0 });
    }
    (!contradiction).then_some(Properties { value, mask })
}
