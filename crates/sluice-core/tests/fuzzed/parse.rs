//! Arbitrary bytes of any link type: the parser does not panic, and what it says lies inside the packet.

use sluice_npi::link_type;

use super::invariants;

/// In the order that the corpus was made for.
const LINK_TYPES: [u16; 8] = [
    link_type::ETHERNET,
    link_type::NULL,
    link_type::RAW,
    link_type::LOOP,
    link_type::LINUX_SLL,
    link_type::IPV4,
    link_type::IPV6,
    link_type::LINUX_SLL2,
];

pub fn run(data: &[u8]) {
    let Some(([selector, beyond], packet)) = data.split_first_chunk::<2>() else {
        return;
    };
    let link_type = LINK_TYPES[usize::from(*selector) % LINK_TYPES.len()];
    // How many bytes the capture lacks: mostly none.
    let beyond = u32::from(beyond.saturating_sub(128));
    invariants::parse(link_type, packet, packet.len() as u32 + beyond);
}
