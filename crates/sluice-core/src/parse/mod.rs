//! From the bytes of a packet to a [`Flow`].
//!
//! Data goes down the layers: [`link`] finds the EtherType, behind whatever [`encapsulation`] there is, [`network`] the
//! protocol behind the IP headers, [`transport`] the ports; [`plain`] does all three at once where nothing is out of
//! the ordinary, and [`head`] where the rest of a packet is not there. Then [`application`] decides whether [`dns`],
//! [`tls`], [`http`], [`dtls`] or [`quic`] look into the payload, and [`tunnel`] for packets in the packet. What each
//! of them reads, checks and leaves alone, and every limit, is in `docs/packets.md`.
//!
//! A layer gets the rest of the packet as a slice that starts with its header and ends where the layer around it ends.

mod aes;
mod answers;
mod application;
mod dns;
mod dtls;
mod encapsulation;
mod head;
mod hello;
mod http;
mod initial;
mod link;
mod name;
mod network;
mod plain;
mod quic;
pub mod stream;
mod tls;
mod transport;
mod tunnel;
mod wifi;

use core::fmt;

pub use answers::for_each_answer_name;
pub(crate) use head::parse_head;
pub use name::NameText;
use sluice_npi::{Flow, flags, link_type};

use crate::{ether_type, protocol};

/// A link type that Sluice does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLinkType(pub u16);

impl fmt::Display for UnknownLinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = self;
        write!(f, "link type {number} is not supported: it has to be one of")?;
        for (position, (known, _)) in link_type::NAMES.iter().enumerate() {
            let before = match position {
                0 => "",
                _ if position.wrapping_add(1) == link_type::NAMES.len() => " and",
                _ => ",",
            };
            write!(f, "{before} {known}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownLinkType {}

/// Reads a packet of `wire_length` bytes, of which `packet` are the first.
///
/// `link_type` is one of [`sluice_npi::link_type`]. A packet is never an error: what is wrong with it is in
/// [`Flow::flags`], and what could be read in spite of it is given. A `wire_length` below `packet.len()` is taken as
/// `packet.len()`.
///
/// # Errors
///
/// [`UnknownLinkType`] if `link_type` is none of those.
///
/// # Examples
///
/// ```
/// use sluice_npi::{flags, link_type};
///
/// // An IPv4 packet that carries UDP from 192.0.2.1, port 68, to 192.0.2.2, port 67.
/// let packet = [
///     0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 68, 0, 67, 0, 8, 0, 0,
/// ];
/// let flow = sluice_core::parse(link_type::RAW, &packet, 28)?;
/// assert!(flow.has(flags::PORTS) && flow.destination_port == 67);
/// # Ok::<(), sluice_core::UnknownLinkType>(())
/// ```
#[inline]
pub fn parse(link_type: u16, packet: &[u8], wire_length: u32) -> Result<Flow, UnknownLinkType> {
    let mut flow = Flow::default();
    parse_into(link_type, packet, wire_length, &mut flow)?;
    Ok(flow)
}

/// Does what [`parse`] does, and writes the result where the caller wants it, whatever was there.
///
/// # Errors
///
/// As [`parse`]; `flow` then is [`Flow::default`].
#[inline(always)]
pub fn parse_into(link_type: u16, packet: &[u8], wire_length: u32, flow: &mut Flow) -> Result<(), UnknownLinkType> {
    if link_type == link_type::ETHERNET && plain::tcp(packet, flow) {
        if application::may_be_known(packet, flow) {
            application_alone(packet, Ends::Packet, flow);
        }
        return Ok(());
    }
    other_alone(packet, flow, wire_length, link_type)
}

/// Reads a packet that is not a plain frame with TCP.
#[inline(never)]
fn other_alone(packet: &[u8], flow: &mut Flow, wire_length: u32, link_type: u16) -> Result<(), UnknownLinkType> {
    let ends = other(packet, flow, wire_length, link_type)?;
    if application::may_have_more(packet, flow) {
        application_alone(packet, ends, flow);
    }
    Ok(())
}

/// Looks into a payload whose name nobody wants to see. There is room for one here, not where the usual packets come
/// by.
#[cold]
#[inline(never)]
fn application_alone(packet: &[u8], ends: Ends, flow: &mut Flow) {
    application(packet, ends, flow, &mut None);
}

/// Does what [`parse_into`] does, and writes to `name` the text of a name that had to be put together; then the flow
/// has the flag [`NAME_ASSEMBLED`](flags::NAME_ASSEMBLED). Otherwise `name` may have any value.
///
/// # Errors
///
/// As [`parse_into`].
#[inline(always)]
pub fn parse_with_name(
    link_type: u16,
    packet: &[u8],
    wire_length: u32,
    flow: &mut Flow,
    name: &mut Option<NameText>,
) -> Result<(), UnknownLinkType> {
    if link_type == link_type::ETHERNET && plain::tcp(packet, flow) {
        if application::may_be_known(packet, flow) {
            application(packet, Ends::Packet, flow, name);
        }
    } else if let Some(ends) = other_with_payload(packet, flow, wire_length, link_type)? {
        application(packet, ends, flow, name);
    }
    Ok(())
}

/// Does what [`parse_into`] does, except that it does not look into the payload: the flow has no name, no DNS type and
/// no QUIC version, and what is wrong with the payload is not in its flags.
///
/// # Errors
///
/// As [`parse_into`].
#[inline]
pub fn parse_headers_into(
    link_type: u16,
    packet: &[u8],
    wire_length: u32,
    flow: &mut Flow,
) -> Result<(), UnknownLinkType> {
    if link_type == link_type::ETHERNET && plain::tcp(packet, flow) {
        return Ok(());
    }
    other(packet, flow, wire_length, link_type).map(|_| ())
}

/// Reads the headers of a packet that is not a plain frame with TCP. If its payload may be of a known protocol, it says
/// why that ends where it does.
#[inline(never)]
fn other_with_payload(
    packet: &[u8],
    flow: &mut Flow,
    wire_length: u32,
    link_type: u16,
) -> Result<Option<Ends>, UnknownLinkType> {
    let ends = other(packet, flow, wire_length, link_type)?;
    Ok(application::may_have_more(packet, flow).then_some(ends))
}

/// Reads the headers of a packet that is not a plain frame with TCP, and says why its payload ends where it does.
#[inline]
fn other(packet: &[u8], flow: &mut Flow, wire_length: u32, link_type: u16) -> Result<Ends, UnknownLinkType> {
    if link_type == link_type::ETHERNET {
        Ok(ethernet(packet, flow, wire_length))
    } else {
        layers(packet, flow, wire_length, link_type)
    }
}

/// Reads the headers of an Ethernet frame.
///
/// Each kind of frame is a function of its own, and called at the end, so that none waits for registers to be saved
/// that another needs, or for a second guess.
#[inline(never)]
fn ethernet(frame: &[u8], flow: &mut Flow, wire_length: u32) -> Ends {
    match plain::ether_type_of(frame) {
        ether_type::VLAN => tagged_frame(frame, flow, wire_length),
        ..ether_type::FIRST => frame_with_length(frame, flow, wire_length),
        _ if plain::untagged(frame, flow) => Ends::Packet,
        _ => other_frame(frame, flow, wire_length),
    }
}

#[inline(never)]
fn tagged_frame(frame: &[u8], flow: &mut Flow, wire_length: u32) -> Ends {
    if plain::tagged(frame, flow) {
        return Ends::Packet;
    }
    frame_layers(frame, flow, wire_length)
}

#[inline(never)]
fn frame_with_length(frame: &[u8], flow: &mut Flow, wire_length: u32) -> Ends {
    if plain::with_length(frame, flow) {
        return Ends::Packet;
    }
    frame_layers(frame, flow, wire_length)
}

#[inline(never)]
fn other_frame(frame: &[u8], flow: &mut Flow, wire_length: u32) -> Ends {
    match plain::ether_type_of(frame) {
        ether_type::IPV6 => ipv6_frame(frame, flow, wire_length),
        ether_type::IPV4 => icmp_frame(frame, flow, wire_length),
        ether_type::ARP if plain::arp(frame, flow) => Ends::Packet,
        _ => frame_layers(frame, flow, wire_length),
    }
}

#[inline(never)]
fn ipv6_frame(frame: &[u8], flow: &mut Flow, wire_length: u32) -> Ends {
    if plain::ipv6(frame, 0, flow) {
        return Ends::Packet;
    }
    icmp_frame(frame, flow, wire_length)
}

#[inline(never)]
fn icmp_frame(frame: &[u8], flow: &mut Flow, wire_length: u32) -> Ends {
    if plain::icmp(frame, flow) {
        return Ends::Packet;
    }
    frame_layers(frame, flow, wire_length)
}

/// Goes through the headers of an Ethernet frame layer by layer, and into tunnels that are known by their protocol.
#[inline(never)]
fn frame_layers(frame: &[u8], flow: &mut Flow, wire_length: u32) -> Ends {
    // This link type is known.
    layers(frame, flow, wire_length, link_type::ETHERNET).unwrap_or(Ends::Packet)
}

/// Goes through the headers layer by layer, and into tunnels that are known by their protocol.
#[inline(never)]
fn layers(packet: &[u8], flow: &mut Flow, wire_length: u32, link_type: u16) -> Result<Ends, UnknownLinkType> {
    let ends = outer_layers(packet, flow, wire_length, link_type)?;
    if tunnel::is_protocol(flow.protocol) {
        tunnel::read(packet, ends, flow, &mut Flow::default());
    }
    Ok(ends)
}

/// Goes through the headers layer by layer, up to a tunnel.
#[inline]
fn outer_layers(packet: &[u8], flow: &mut Flow, wire_length: u32, link_type: u16) -> Result<Ends, UnknownLinkType> {
    *flow = Flow::default();
    let wire_length = packet.len().max(usize::try_from(wire_length).unwrap_or(usize::MAX));
    let ends = if wire_length > packet.len() { Ends::Capture } else { Ends::Packet };
    let mut parser = Parser { packet, wire_length, ends, flow, text: &mut () };
    parser.link(link_type)?;
    Ok(parser.ends)
}

/// Looks into a payload that may be of a known protocol, or be that of a tunnel.
#[cold]
#[inline(never)]
fn application(packet: &[u8], ends: Ends, flow: &mut Flow, name: &mut Option<NameText>) {
    if application::may_be_known(packet, flow) {
        names(packet, ends, flow, name);
    }
    if flow.protocol == protocol::UDP && tunnel::is_port(flow.destination_port) {
        tunnel::read(packet, ends, flow, &mut Flow::default());
    }
}

/// Reads the headers of the innermost packet in a tunnel, and looks into its payload, as [`parse_with_name`] does for a
/// packet. Answers whether there is one that was found; if not, `flow` may have any value.
///
/// The flow has the flag [`INNER`](flags::INNER). Its offsets count from the start of `packet`, as all do.
///
/// # Errors
///
/// As [`parse_into`].
#[inline]
pub fn parse_inner(
    link_type: u16,
    packet: &[u8],
    wire_length: u32,
    flow: &mut Flow,
    name: &mut Option<NameText>,
) -> Result<bool, UnknownLinkType> {
    let ends = inner_layers(packet, flow, wire_length, link_type)?;
    if let Some(ends) = ends.filter(|_| application::may_be_known(packet, flow)) {
        names(packet, ends, flow, name);
    }
    Ok(ends.is_some())
}

/// Reads the headers of the innermost packet in a tunnel. Its frame is not there while names are read.
#[inline(never)]
fn inner_layers(
    packet: &[u8],
    flow: &mut Flow,
    wire_length: u32,
    link_type: u16,
) -> Result<Option<Ends>, UnknownLinkType> {
    let mut outer = Flow::default();
    let ends = outer_layers(packet, &mut outer, wire_length, link_type)?;
    Ok(tunnel::read(packet, ends, &mut outer, flow))
}

/// Looks into a payload that may be of a known protocol.
#[cold]
#[inline(never)]
fn names(packet: &[u8], ends: Ends, flow: &mut Flow, name: &mut Option<NameText>) {
    let start = flow.payload_offset as usize;
    let end = start.wrapping_add(flow.payload_length as usize);
    let packet = packet.get(..end).unwrap_or(packet);
    let payload = packet.get(start..).unwrap_or_default();
    let text = name.get_or_insert(NameText::EMPTY);
    Parser { packet, wire_length: end, ends, flow, text }.application(payload);
}

/// Why the bytes of the current layer end where they do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The layer is complete.
    Packet,
    /// The capture stopped before the end of the layer.
    Capture,
    /// The rest of the layer is in other fragments.
    Fragment,
}

/// A packet on its way down the layers.
///
/// `T` is `()` where no payload is read, so that no room for a name is needed.
struct Parser<'packet, 'flow, T = NameText> {
    /// The packet up to the end of the current layer.
    packet: &'packet [u8],
    /// How many bytes the whole packet has; at least as many as were captured.
    wire_length: usize,
    /// Why `packet` ends where it does.
    ends: Ends,
    flow: &'flow mut Flow,
    /// A name that had to be put together.
    text: &'flow mut T,
}

impl<'packet, T> Parser<'packet, '_, T> {
    /// Where in the packet `rest` starts. `rest` ends where `self.packet` ends.
    #[inline]
    fn offset(&self, rest: &[u8]) -> u32 {
        // The length of a packet fits into a u32, and `rest` is a part of it.
        self.packet.len().wrapping_sub(rest.len()) as u32
    }

    #[inline]
    fn set(&mut self, bits: u32) {
        self.flow.flags |= bits;
    }

    /// The packet contradicts itself.
    #[cold]
    fn malformed(&mut self) {
        self.set(flags::MALFORMED);
    }

    /// A header does not fit into its layer. In a first fragment that is not an accident either: the header chain has
    /// to be in it whole (RFC 1858, RFC 7112).
    #[cold]
    fn short(&mut self) {
        self.set(match self.ends {
            Ends::Capture => flags::TRUNCATED,
            Ends::Packet | Ends::Fragment => flags::MALFORMED,
        });
    }

    /// A datagram's payload ends before what it announced.
    #[cold]
    fn short_datagram(&mut self) {
        match self.ends {
            Ends::Capture => self.set(flags::TRUNCATED),
            Ends::Packet => self.set(flags::MALFORMED),
            Ends::Fragment => {}
        }
    }

    /// Ends the current layer after `length` bytes of `rest`, as its own header demands; gives what of it was captured.
    #[inline]
    fn limit(&mut self, rest: &'packet [u8], length: usize) -> &'packet [u8] {
        if let Some(layer) = rest.get(..length) {
            let end = self.packet.len().wrapping_sub(rest.len()).wrapping_add(length);
            self.packet = self.packet.get(..end).unwrap_or(self.packet);
            self.ends = Ends::Packet;
            return layer;
        }
        let behind = self.wire_length.saturating_sub(self.packet.len());
        if self.ends != Ends::Capture || length.wrapping_sub(rest.len()) > behind {
            self.malformed();
        }
        rest
    }
}

#[inline]
fn be16(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}
