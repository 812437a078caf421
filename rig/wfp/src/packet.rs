//! A packet as a layer of the stack shows it.

use wdk_wfp_sys::*;
use wfp_engine::{Engine, Indication, PacketList, Piece, Verdict};

use crate::capture::Link;
use crate::play::{Direction, Play};

/// Room before the first header, as a network card leaves it.
const HEADROOM: usize = 14;
/// How many values a layer has at most.
const VALUES: usize = 16;
/// On how many interfaces packets come and go, numbered from 1.
const INTERFACES: usize = 3;
const MAC_HEADER: usize = 14;

/// What is the same for all packets of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Frame,
    /// With the length of the IP header.
    V4(usize),
    V6,
}

impl Kind {
    /// That of a packet. None if its first header is not there.
    pub(crate) fn of(link: Link, packet: &[u8]) -> Option<Self> {
        let first = packet.first()?;
        let kind = match (link, first >> 4, first & 15) {
            (Link::Ethernet, ..) => Self::Frame,
            (Link::Ip, 4, words @ 5..) => Self::V4(usize::from(words) * 4),
            (Link::Ip, 6, _) => Self::V6,
            _ => return None,
        };
        (packet.len() >= kind.header()).then_some(kind)
    }

    /// The length of the first header, which is taken off a packet that is received.
    fn header(self) -> usize {
        match self {
            Self::Frame => MAC_HEADER,
            Self::V4(header) => header,
            Self::V6 => 40,
        }
    }
}

/// The bytes of a packet in three MDLs, each of which may be empty. One of the cuts is at the byte that `seed` says, so
/// that numbers that follow each other cut at every byte in turn. If `unmapped`, the pages of the first and the last
/// are not mapped, or those of the one between them, by turns.
fn cut(packet: &[u8], seed: usize, unmapped: bool) -> [Piece; 3] {
    let mut bytes = vec![0xEE; HEADROOM];
    bytes.extend(packet);
    let mut cuts = [seed % (bytes.len() + 1), seed.wrapping_mul(29) % (bytes.len() + 1)];
    cuts.sort_unstable();
    let mut number = seed;
    [&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]].map(|bytes| {
        number = number.wrapping_add(1);
        Piece { is_mapped: !unmapped || number.is_multiple_of(2), ..Piece::mapped(bytes) }
    })
}

/// Sends packets of one kind in one list through the layer of their direction.
pub(crate) fn send(packets: &[&[u8]], kind: Kind, play: &Play, seed: usize) -> Verdict {
    let Play { direction, loopback, unmapped, .. } = *play;
    let before_data = if direction == Direction::In { kind.header() } else { 0 };
    let mut list = PacketList::new();
    for packet in packets {
        let offset = HEADROOM + before_data;
        let length = packet.len() - before_data;
        list.add_packet(&cut(packet, seed, unmapped), offset as u32, length as u32);
    }
    // SAFETY: numbers, and pointers that may be NULL.
    let mut metadata: FWPS_INCOMING_METADATA_VALUES0 = unsafe { std::mem::zeroed() };
    match (direction, kind) {
        (Direction::In, Kind::Frame) => {
            metadata.currentL2MetadataValues = FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE;
            metadata.ethernetMacHeaderSize = before_data as u32;
        }
        (Direction::In, _) => {
            metadata.currentMetadataValues = FWPS_METADATA_FIELD_IP_HEADER_SIZE;
            metadata.ipHeaderSize = before_data as u32;
        }
        _ => {}
    }
    let (layer, flags, interface) = layer(kind, direction);
    let mut values = [value(0); VALUES];
    values[interface] = value((1 + seed % INTERFACES) as u32);
    if let Some(flags) = flags {
        values[flags] = value(if loopback { FWP_CONDITION_FLAG_IS_LOOPBACK } else { 0 });
    }
    let (values, metadata, list) = (&values, &metadata, list.as_ptr());
    Engine::resident().classify(Indication { layer: &layer, values, flags, metadata, list })
}

fn value(number: u32) -> FWPS_INCOMING_VALUE0 {
    FWPS_INCOMING_VALUE0 { value: FWP_VALUE0 { r#type: FWP_UINT32, Anonymous: FWP_VALUE0_0 { uint32: number } } }
}

/// A layer, and which of its values are the flags, if it has any, and the index of the interface.
fn layer(kind: Kind, direction: Direction) -> (GUID, Option<usize>, usize) {
    match (direction, kind) {
        (Direction::In, Kind::Frame) => {
            (FWPM_LAYER_INBOUND_MAC_FRAME_ETHERNET, None, FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_INTERFACE_INDEX)
        }
        // Nobody forwards a frame: `play` has seen to it.
        (_, Kind::Frame) => {
            (FWPM_LAYER_OUTBOUND_MAC_FRAME_ETHERNET, None, FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_INTERFACE_INDEX)
        }
        (Direction::In, Kind::V4(_)) => (
            FWPM_LAYER_INBOUND_IPPACKET_V4,
            Some(FWPS_FIELD_INBOUND_IPPACKET_V4_FLAGS),
            FWPS_FIELD_INBOUND_IPPACKET_V4_INTERFACE_INDEX,
        ),
        (Direction::In, Kind::V6) => (
            FWPM_LAYER_INBOUND_IPPACKET_V6,
            Some(FWPS_FIELD_INBOUND_IPPACKET_V6_FLAGS),
            FWPS_FIELD_INBOUND_IPPACKET_V6_INTERFACE_INDEX,
        ),
        (Direction::Out, Kind::V4(_)) => (
            FWPM_LAYER_OUTBOUND_IPPACKET_V4,
            Some(FWPS_FIELD_OUTBOUND_IPPACKET_V4_FLAGS),
            FWPS_FIELD_OUTBOUND_IPPACKET_V4_INTERFACE_INDEX,
        ),
        (Direction::Out, Kind::V6) => (
            FWPM_LAYER_OUTBOUND_IPPACKET_V6,
            Some(FWPS_FIELD_OUTBOUND_IPPACKET_V6_FLAGS),
            FWPS_FIELD_OUTBOUND_IPPACKET_V6_INTERFACE_INDEX,
        ),
        (Direction::Forward, Kind::V4(_)) => (
            FWPM_LAYER_IPFORWARD_V4,
            Some(FWPS_FIELD_IPFORWARD_V4_FLAGS),
            FWPS_FIELD_IPFORWARD_V4_DESTINATION_INTERFACE_INDEX,
        ),
        (Direction::Forward, Kind::V6) => (
            FWPM_LAYER_IPFORWARD_V6,
            Some(FWPS_FIELD_IPFORWARD_V6_FLAGS),
            FWPS_FIELD_IPFORWARD_V6_DESTINATION_INTERFACE_INDEX,
        ),
    }
}
