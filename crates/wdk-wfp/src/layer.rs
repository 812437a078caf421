//! The layers at which a callout can be.

use wdk_wfp_sys::{
    FWPM_LAYER_INBOUND_IPPACKET_V4, FWPM_LAYER_INBOUND_IPPACKET_V6, FWPM_LAYER_INBOUND_MAC_FRAME_ETHERNET,
    FWPM_LAYER_IPFORWARD_V4, FWPM_LAYER_IPFORWARD_V6, FWPM_LAYER_OUTBOUND_IPPACKET_V4, FWPM_LAYER_OUTBOUND_IPPACKET_V6,
    FWPM_LAYER_OUTBOUND_MAC_FRAME_ETHERNET, FWPS_FIELD_INBOUND_IPPACKET_V4_FLAGS,
    FWPS_FIELD_INBOUND_IPPACKET_V4_INTERFACE_INDEX, FWPS_FIELD_INBOUND_IPPACKET_V6_FLAGS,
    FWPS_FIELD_INBOUND_IPPACKET_V6_INTERFACE_INDEX, FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_INTERFACE_INDEX,
    FWPS_FIELD_IPFORWARD_V4_DESTINATION_INTERFACE_INDEX, FWPS_FIELD_IPFORWARD_V4_FLAGS,
    FWPS_FIELD_IPFORWARD_V6_DESTINATION_INTERFACE_INDEX, FWPS_FIELD_IPFORWARD_V6_FLAGS,
    FWPS_FIELD_OUTBOUND_IPPACKET_V4_FLAGS, FWPS_FIELD_OUTBOUND_IPPACKET_V4_INTERFACE_INDEX,
    FWPS_FIELD_OUTBOUND_IPPACKET_V6_FLAGS, FWPS_FIELD_OUTBOUND_IPPACKET_V6_INTERFACE_INDEX,
    FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_INTERFACE_INDEX, GUID,
};

/// Where in the stack a callout sees packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Received IPv4 packets, before they are reassembled.
    InboundIpV4,
    /// Received IPv6 packets, before they are reassembled.
    InboundIpV6,
    /// IPv4 packets to be sent.
    OutboundIpV4,
    /// IPv6 packets to be sent.
    OutboundIpV6,
    /// IPv4 packets on their way from one interface to another.
    ForwardIpV4,
    /// IPv6 packets on their way from one interface to another.
    ForwardIpV6,
    /// Received Ethernet frames.
    InboundEthernet,
    /// Ethernet frames to be sent.
    OutboundEthernet,
}

impl Layer {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::InboundIpV4,
        Self::InboundIpV6,
        Self::OutboundIpV4,
        Self::OutboundIpV6,
        Self::ForwardIpV4,
        Self::ForwardIpV6,
        Self::InboundEthernet,
        Self::OutboundEthernet,
    ];

    /// The identifier that filters name.
    #[must_use]
    pub const fn key(self) -> GUID {
        match self {
            Self::InboundIpV4 => FWPM_LAYER_INBOUND_IPPACKET_V4,
            Self::InboundIpV6 => FWPM_LAYER_INBOUND_IPPACKET_V6,
            Self::OutboundIpV4 => FWPM_LAYER_OUTBOUND_IPPACKET_V4,
            Self::OutboundIpV6 => FWPM_LAYER_OUTBOUND_IPPACKET_V6,
            Self::ForwardIpV4 => FWPM_LAYER_IPFORWARD_V4,
            Self::ForwardIpV6 => FWPM_LAYER_IPFORWARD_V6,
            Self::InboundEthernet => FWPM_LAYER_INBOUND_MAC_FRAME_ETHERNET,
            Self::OutboundEthernet => FWPM_LAYER_OUTBOUND_MAC_FRAME_ETHERNET,
        }
    }

    /// Whether it has Ethernet frames, which begin with their MAC header, instead of IP packets.
    #[must_use]
    pub const fn has_frames(self) -> bool {
        matches!(self, Self::InboundEthernet | Self::OutboundEthernet)
    }

    /// Which value is `FWP_CONDITION_FLAG_...`. Layers of frames have none.
    #[must_use]
    pub const fn flags(self) -> Option<usize> {
        Some(match self {
            Self::InboundIpV4 => FWPS_FIELD_INBOUND_IPPACKET_V4_FLAGS,
            Self::InboundIpV6 => FWPS_FIELD_INBOUND_IPPACKET_V6_FLAGS,
            Self::OutboundIpV4 => FWPS_FIELD_OUTBOUND_IPPACKET_V4_FLAGS,
            Self::OutboundIpV6 => FWPS_FIELD_OUTBOUND_IPPACKET_V6_FLAGS,
            Self::ForwardIpV4 => FWPS_FIELD_IPFORWARD_V4_FLAGS,
            Self::ForwardIpV6 => FWPS_FIELD_IPFORWARD_V6_FLAGS,
            Self::InboundEthernet | Self::OutboundEthernet => return None,
        })
    }

    /// Which value is the index of the interface, of a forwarded packet that on which it leaves.
    #[must_use]
    pub const fn interface_index(self) -> usize {
        match self {
            Self::InboundIpV4 => FWPS_FIELD_INBOUND_IPPACKET_V4_INTERFACE_INDEX,
            Self::InboundIpV6 => FWPS_FIELD_INBOUND_IPPACKET_V6_INTERFACE_INDEX,
            Self::OutboundIpV4 => FWPS_FIELD_OUTBOUND_IPPACKET_V4_INTERFACE_INDEX,
            Self::OutboundIpV6 => FWPS_FIELD_OUTBOUND_IPPACKET_V6_INTERFACE_INDEX,
            Self::ForwardIpV4 => FWPS_FIELD_IPFORWARD_V4_DESTINATION_INTERFACE_INDEX,
            Self::ForwardIpV6 => FWPS_FIELD_IPFORWARD_V6_DESTINATION_INTERFACE_INDEX,
            Self::InboundEthernet => FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_INTERFACE_INDEX,
            Self::OutboundEthernet => FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_INTERFACE_INDEX,
        }
    }
}
