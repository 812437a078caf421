//! Where a stream lies: a hash with a key, so that nobody who does not know the key can choose.

use sluice_npi::Flow;

/// The key of the hash: random, and secret.
#[derive(Clone, Copy)]
pub struct HashKey([u64; 6]);

impl HashKey {
    /// A key that follows from `seed`, of which each bit should be hard to guess.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        // SplitMix64 (doi.org/10.1145/2660193.2660195), whose output for a seed looks random.
        Self(core::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ mixed >> 31
        }))
    }

    /// The hash of what packets of one direction of a conversation have in common.
    #[inline]
    pub(crate) fn hash(&self, flow: &Flow) -> u64 {
        let Self([a, b, c, d, e, f]) = *self;
        let [source, source_low] = halves(&flow.source_address);
        let [destination, destination_low] = halves(&flow.destination_address);
        let addresses = if flow.ip_version == 4 {
            // Both have nothing behind their first 4 bytes.
            source | destination << 32
        } else {
            multiply(source ^ a, source_low ^ b) ^ multiply(destination ^ c, destination_low ^ d)
        };
        multiply(addresses ^ e, rest(flow) ^ f)
    }
}

/// Ports, protocol and the outermost VLAN.
#[inline]
fn rest(flow: &Flow) -> u64 {
    u64::from(flow.source_port) << 48
        | u64::from(flow.destination_port) << 32
        | u64::from(flow.vlan_ids[0]) << 16
        | u64::from(flow.protocol)
}

#[inline]
fn halves(address: &[u8; 16]) -> [u64; 2] {
    let (halves, _) = address.as_chunks();
    let half = |index: usize| halves.get(index).copied().map_or(0, u64::from_le_bytes);
    [half(0), half(1)]
}

/// Both halves of a product, folded.
#[inline]
fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    product as u64 ^ (product >> 64) as u64
}

/// What makes a stream, to be compared.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StreamId {
    source: [u8; 16],
    destination: [u8; 16],
    rest: u64,
}

impl StreamId {
    pub(crate) fn of(flow: &Flow) -> Self {
        Self { source: flow.source_address, destination: flow.destination_address, rest: rest(flow) }
    }
}
