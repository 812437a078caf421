//! A packet as a layer of the stack shows it.

use wdk_wfp_sys::*;
use wfp_engine::{Engine, Indication, PacketList, Piece, Verdict};

use crate::play::Direction;

/// Room before the first header, as a network card leaves it.
const HEADROOM: usize = 14;
/// How many values a layer has at most.
const VALUES: usize = 16;
const INTERFACE: u32 = 7;

/// What is the same for all packets of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    is_v6: bool,
    /// The length of the IP header, which is taken off a packet that is received.
    header: usize,
}

impl Kind {
    /// That of a packet. None if it has no IP header.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        let (is_v6, header) = match first >> 4 {
            4 => (false, usize::from(first & 15) * 4),
            6 => (true, 40),
            _ => return None,
        };
        (header >= 20 && packet.len() >= header).then_some(Self { is_v6, header })
    }
}

/// The bytes of a packet in three MDLs, each of which may be empty, cut where `seed` says.
fn cut(packet: &[u8], seed: usize) -> [Piece; 3] {
    let mut bytes = vec![0xEE; HEADROOM];
    bytes.extend(packet);
    let mut cuts = [seed.wrapping_mul(13) % (bytes.len() + 1), seed.wrapping_mul(29) % (bytes.len() + 1)];
    cuts.sort_unstable();
    [&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]].map(Piece::mapped)
}

/// Sends packets of one kind in one list through the layer of their direction.
pub(crate) fn send(packets: &[&[u8]], kind: Kind, direction: Direction, loopback: bool, seed: usize) -> Verdict {
    let before_data = if direction == Direction::In { kind.header } else { 0 };
    let mut list = PacketList::new();
    for (index, packet) in packets.iter().enumerate() {
        let offset = HEADROOM + before_data;
        let length = packet.len() - before_data;
        list.add_packet(&cut(packet, seed.wrapping_add(index)), offset as u32, length as u32);
    }
    // SAFETY: numbers, and pointers that may be NULL.
    let mut metadata: FWPS_INCOMING_METADATA_VALUES0 = unsafe { std::mem::zeroed() };
    if direction == Direction::In {
        metadata.currentMetadataValues = FWPS_METADATA_FIELD_IP_HEADER_SIZE;
        metadata.ipHeaderSize = kind.header as u32;
    }
    let (layer, flags, interface) = layer(kind, direction);
    let mut values = [value(0); VALUES];
    values[interface] = value(INTERFACE);
    values[flags] = value(if loopback { FWP_CONDITION_FLAG_IS_LOOPBACK } else { 0 });
    let (values, metadata, list) = (&values, &metadata, list.as_ptr());
    Engine::resident().classify(Indication { layer: &layer, values, flags: Some(flags), metadata, list })
}

fn value(number: u32) -> FWPS_INCOMING_VALUE0 {
    FWPS_INCOMING_VALUE0 { value: FWP_VALUE0 { r#type: FWP_UINT32, Anonymous: FWP_VALUE0_0 { uint32: number } } }
}

/// A layer, and which of its values are the flags and the index of the interface.
fn layer(kind: Kind, direction: Direction) -> (GUID, usize, usize) {
    match (direction, kind.is_v6) {
        (Direction::In, false) => (
            FWPM_LAYER_INBOUND_IPPACKET_V4,
            FWPS_FIELD_INBOUND_IPPACKET_V4_FLAGS,
            FWPS_FIELD_INBOUND_IPPACKET_V4_INTERFACE_INDEX,
        ),
        (Direction::In, true) => (
            FWPM_LAYER_INBOUND_IPPACKET_V6,
            FWPS_FIELD_INBOUND_IPPACKET_V6_FLAGS,
            FWPS_FIELD_INBOUND_IPPACKET_V6_INTERFACE_INDEX,
        ),
        (Direction::Out, false) => (
            FWPM_LAYER_OUTBOUND_IPPACKET_V4,
            FWPS_FIELD_OUTBOUND_IPPACKET_V4_FLAGS,
            FWPS_FIELD_OUTBOUND_IPPACKET_V4_INTERFACE_INDEX,
        ),
        (Direction::Out, true) => (
            FWPM_LAYER_OUTBOUND_IPPACKET_V6,
            FWPS_FIELD_OUTBOUND_IPPACKET_V6_FLAGS,
            FWPS_FIELD_OUTBOUND_IPPACKET_V6_INTERFACE_INDEX,
        ),
        (Direction::Forward, false) => (
            FWPM_LAYER_IPFORWARD_V4,
            FWPS_FIELD_IPFORWARD_V4_FLAGS,
            FWPS_FIELD_IPFORWARD_V4_DESTINATION_INTERFACE_INDEX,
        ),
        (Direction::Forward, true) => (
            FWPM_LAYER_IPFORWARD_V6,
            FWPS_FIELD_IPFORWARD_V6_FLAGS,
            FWPS_FIELD_IPFORWARD_V6_DESTINATION_INTERFACE_INDEX,
        ),
    }
}
