//! Arbitrary bytes of any link type: the parser does not panic, and what it says lies inside the packet.

use super::sound;

pub fn run(data: &[u8]) {
    let Some(([selector, beyond], packet)) = data.split_first_chunk::<2>() else {
        return;
    };
    let link_type = sound::LINK_TYPES[usize::from(*selector) % sound::LINK_TYPES.len()];
    // How many bytes the capture lacks: mostly none.
    let beyond = u32::from(beyond.saturating_sub(128));
    sound::parse(link_type, packet, packet.len() as u32 + beyond);
}
