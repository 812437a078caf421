//! The parser without its short cut for plain frames.

use sluice_core::parse;
use sluice_npi::{Flow, MAX_VLANS, link_type};

/// The flow of an Ethernet frame, read layer by layer: with one more tag in front, of a kind that the short cut does
/// not know, and then without what that tag changes. `None` if there would be too many tags, or no room for one.
pub fn by_layers(frame: &[u8], wire_length: u32) -> Option<Flow> {
    let (addresses, rest) = frame.split_first_chunk::<12>()?;
    let tagged = [addresses, [0x91, 0x00, 0x0A, 0xBC].as_slice(), rest].concat();
    let mut flow = parse(link_type::ETHERNET, &tagged, wire_length + 4).expect("the link type is known");
    if rest.len() < 2 || usize::from(flow.vlan_count) > MAX_VLANS {
        return None;
    }
    flow.vlan_count -= 1;
    flow.vlan_ids.rotate_left(1);
    flow.vlan_ids[MAX_VLANS - 1] = 0;
    for offset in
        [&mut flow.network_offset, &mut flow.transport_offset, &mut flow.payload_offset, &mut flow.name_offset]
    {
        *offset = offset.saturating_sub(4);
    }
    Some(flow)
}
