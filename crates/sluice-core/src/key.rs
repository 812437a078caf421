//! What of a packet a policy looks at, in a form that is quick to compare.

use sluice_npi::{Flow, flags};

use crate::Direction;
use crate::table::{Window, meta, word};

/// The words of [`word`], with zeros for what the packet does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(pub(crate) [u32; word::COUNT]);

impl Key {
    #[inline]
    pub(crate) fn new(direction: Direction, flow: &Flow) -> Self {
        let mut words = [0; word::COUNT];
        // At most one of the two is there; the other is 0.
        words[word::PORTS] = halves(flow.source_port, flow.destination_port)
            | halves(u16::from(flow.icmp_type), u16::from(flow.icmp_code));
        words[word::META] = flow.flags & meta::FLOW_FLAGS
            | if flow.vlan_count == 0 { 0 } else { meta::TAGGED }
            | u32::from(direction.number()) << meta::DIRECTION_SHIFT
            | u32::from(flow.tcp_flags) << meta::TCP_FLAGS_SHIFT
            | u32::from(flow.protocol) << meta::PROTOCOL_SHIFT;
        let [source, destination] = [&flow.source_address, &flow.destination_address];
        if flow.ip_version == 6 {
            let [a, b, c, d] = words_of(source);
            [words[2], words[3], words[4], words[5]] = [a, b, c, d];
            let [a, b, c, d] = words_of(destination);
            [words[6], words[7], words[8], words[9]] = [a, b, c, d];
        } else {
            words[word::SOURCE4] = words_of(source)[0];
            words[word::DESTINATION4] = words_of(destination)[0];
        }
        Self(words)
    }

    /// The source of an IPv6 packet.
    #[inline]
    pub(crate) fn source6(&self) -> u128 {
        address([self.0[2], self.0[3], self.0[4], self.0[5]])
    }

    /// The destination of an IPv6 packet.
    #[inline]
    pub(crate) fn destination6(&self) -> u128 {
        address([self.0[6], self.0[7], self.0[8], self.0[9]])
    }

    #[inline]
    pub(crate) fn has_ports(&self) -> bool {
        self.0[word::META] & flags::PORTS != 0
    }
}

#[inline]
pub(crate) const fn halves(high: u16, low: u16) -> u32 {
    (high as u32) << 16 | low as u32
}

/// The IPv6 address of four words.
#[inline]
pub(crate) const fn address([a, b, c, d]: [u32; 4]) -> u128 {
    (a as u128) << 96 | (b as u128) << 64 | (c as u128) << 32 | d as u128
}

const _: () = assert!(word::SOURCE6 == 2 && word::DESTINATION6 == 6);

/// The four words of an IPv6 address, most significant first.
#[inline]
pub(crate) fn words_of(address: &[u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(address.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

impl Window {
    /// The bits of the window in `key`.
    #[inline]
    pub(crate) fn value(self, key: &Key) -> u32 {
        key.0.get(self.word()).map_or(0, |word| *word >> self.shift()) & self.mask()
    }
}
