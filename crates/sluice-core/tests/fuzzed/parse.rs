//! Arbitrary bytes of any link type: the parser does not panic, and what it says lies inside the packet.

use sluice_npi::link_type;

use super::invariants;

/// In the order that the corpus was made for; behind them those that came later, for selectors from 0xE0 on.
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
const LATER: [u16; 3] = [link_type::PPP, link_type::PPP_HDLC, link_type::IEEE802_11_RADIOTAP];

pub fn run(data: &[u8]) {
    let Some(([selector, beyond], packet)) = data.split_first_chunk::<2>() else {
        return;
    };
    let place = usize::from(*selector);
    let link_type = if place < 0xE0 { LINK_TYPES[place % LINK_TYPES.len()] } else { LATER[place % LATER.len()] };
    // How many bytes the capture lacks: mostly none.
    let beyond = u32::from(beyond.saturating_sub(128));
    invariants::parse(link_type, packet, packet.len() as u32 + beyond);
}
