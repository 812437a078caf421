//! Link layers: what comes before the network header.

use sluice_npi::{MAX_VLANS, flags, link_type};

use super::{Parser, UnknownLinkType, be16};
use crate::ether_type;

/// How many VLAN tags are skipped over; a packet with more is malformed.
const MAX_TAGS: u8 = 16;

/// How many other headers with an EtherType are gone through; a packet with more is malformed.
const MAX_ENCAPSULATIONS: u8 = 8;

/// Address families of the BSD loopback header. IPv6 has another number on every system.
mod family {
    pub(super) const INET: u32 = 2;
    pub(super) const INET6: [u32; 5] = [10, 23, 24, 28, 30];
}

/// Hardware types for which the protocol field of a Linux cooked header is not an EtherType.
mod arphrd {
    pub(super) const FRAME_RELAY: u16 = 770;
    pub(super) const IEEE80211: u16 = 801;
    pub(super) const IEEE80211_PRISM: u16 = 802;
    pub(super) const IEEE80211_RADIOTAP: u16 = 803;
    pub(super) const NETLINK: u16 = 824;
}

/// The EtherType that LLC carries, with a SNAP header of organisation 0 (RFC 1042). Other LLC is left alone.
fn snap(rest: &[u8]) -> Option<(u16, &[u8])> {
    let ([0xAA, 0xAA, 0x03, 0, 0, 0, high, low], rest) = rest.split_first_chunk::<8>()? else {
        return None;
    };
    let number = be16([*high, *low]);
    (number >= ether_type::FIRST).then_some((number, rest))
}

impl<'packet> Parser<'packet, '_, ()> {
    pub(super) fn link(&mut self, link_type: u16) -> Result<(), UnknownLinkType> {
        let packet = self.packet;
        match link_type {
            link_type::ETHERNET => self.ethernet(packet),
            link_type::RAW => self.raw(packet),
            link_type::PPP => self.ppp_maybe_framed(packet),
            link_type::PPP_HDLC => self.hdlc(packet),
            link_type::IEEE802_11_RADIOTAP => self.radiotap(packet),
            link_type::IPV4 => self.ipv4(packet),
            link_type::IPV6 => self.ipv6(packet),
            link_type::NULL => self.loopback(packet, |family| {
                // The byte order is that of the machine that captured. A family is a small number.
                let family = u32::from_le_bytes(family);
                if family > 0xFFFF { family.swap_bytes() } else { family }
            }),
            link_type::LOOP => self.loopback(packet, u32::from_be_bytes),
            link_type::LINUX_SLL => match packet.split_first_chunk::<16>() {
                Some((header, rest)) => {
                    self.cooked(be16([header[2], header[3]]), be16([header[14], header[15]]), rest);
                }
                None => self.short(),
            },
            link_type::LINUX_SLL2 => match packet.split_first_chunk::<20>() {
                Some((header, rest)) => {
                    self.cooked(be16([header[8], header[9]]), be16([header[0], header[1]]), rest);
                }
                None => self.short(),
            },
            unknown => return Err(UnknownLinkType(unknown)),
        }
        Ok(())
    }

    #[inline]
    pub(super) fn ethernet(&mut self, packet: &'packet [u8]) {
        match packet.split_first_chunk::<14>() {
            Some((header, rest)) => self.ether_type(be16([header[12], header[13]]), rest),
            None => self.short(),
        }
    }

    /// Raw IP says which version it is only in its own header.
    fn raw(&mut self, packet: &'packet [u8]) {
        match packet.first().map(|first| first >> 4) {
            Some(4) => self.ipv4(packet),
            Some(6) => self.ipv6(packet),
            Some(_) => self.malformed(),
            None => self.short(),
        }
    }

    /// PPP with or without the address and control fields of its HDLC-like framing (RFC 1662, 3.1).
    pub(super) fn ppp_maybe_framed(&mut self, packet: &'packet [u8]) {
        match packet {
            [0xFF, 0x03, rest @ ..] => self.ppp(rest),
            rest => self.ppp(rest),
        }
    }

    /// PPP in HDLC-like framing (RFC 1662), or what Cisco sends in its place (RFC 1547, 4.3.1): an address, a control
    /// field of 0, and an EtherType.
    fn hdlc(&mut self, packet: &'packet [u8]) {
        match packet {
            [0xFF, 0x03, rest @ ..] => self.ppp(rest),
            [0x0F | 0x8F, 0, high, low, rest @ ..] => {
                let number = be16([*high, *low]);
                if number >= ether_type::FIRST {
                    self.ether_type(number, rest);
                }
            }
            [0xFF] | [0x0F | 0x8F] | [0x0F | 0x8F, 0] | [0x0F | 0x8F, 0, _] | [] => self.short(),
            rest => self.ppp(rest),
        }
    }

    fn loopback(&mut self, packet: &'packet [u8], number: fn([u8; 4]) -> u32) {
        let Some((header, rest)) = packet.split_first_chunk::<4>() else {
            return self.short();
        };
        match number(*header) {
            family::INET => self.ipv4(rest),
            family if family::INET6.contains(&family) => self.ipv6(rest),
            _ => {}
        }
    }

    fn cooked(&mut self, hardware: u16, protocol: u16, rest: &'packet [u8]) {
        /// The protocol field of a cooked header for a frame that starts with LLC.
        const LLC: u16 = 4;
        match hardware {
            arphrd::FRAME_RELAY
            | arphrd::IEEE80211
            | arphrd::IEEE80211_PRISM
            | arphrd::IEEE80211_RADIOTAP
            | arphrd::NETLINK => {}
            _ if protocol == LLC => self.llc(rest),
            _ if protocol < ether_type::FIRST => {}
            _ => self.ether_type(protocol, rest),
        }
    }

    /// Goes on behind an LLC header.
    pub(super) fn llc(&mut self, rest: &'packet [u8]) {
        if let Some((number, rest)) = snap(rest) {
            self.ether_type(number, rest);
        }
    }

    /// Goes on behind an EtherType, or a length in its place.
    #[inline]
    pub(super) fn ether_type(&mut self, number: u16, rest: &'packet [u8]) {
        match number {
            ether_type::IPV4 => {
                self.flow.ether_type = number;
                self.set(flags::ETHER_TYPE);
                self.ipv4(rest);
            }
            ether_type::IPV6 => {
                self.flow.ether_type = number;
                self.set(flags::ETHER_TYPE);
                self.ipv6(rest);
            }
            _ => self.other_ether_type(number, rest),
        }
    }

    /// Goes through VLAN tags, and through what else has an EtherType of its own.
    fn other_ether_type(&mut self, number: u16, rest: &'packet [u8]) {
        let mut next = Some((number, rest));
        let mut encapsulations = 0;
        while let Some((number, rest)) = next {
            next = match number {
                ether_type::VLAN
                | ether_type::SERVICE_VLAN
                | ether_type::OLD_STACKED_VLAN
                | ether_type::OLD_STACKED_VLAN_2 => self.vlan_tag(rest),
                _ if encapsulations == MAX_ENCAPSULATIONS => return self.malformed(),
                _ => {
                    encapsulations = encapsulations.wrapping_add(1);
                    self.encapsulated(number, rest)
                }
            };
        }
    }

    /// A VLAN tag (IEEE 802.1Q): what follows it.
    fn vlan_tag(&mut self, rest: &'packet [u8]) -> Option<(u16, &'packet [u8])> {
        if self.flow.vlan_count == MAX_TAGS {
            self.malformed();
            return None;
        }
        let Some((tag, behind)) = rest.split_first_chunk::<4>() else {
            self.short();
            return None;
        };
        if let Some(id) = self.flow.vlan_ids.get_mut(usize::from(self.flow.vlan_count)) {
            *id = be16([tag[0], tag[1]]) & 0x0FFF;
        }
        self.flow.vlan_count = self.flow.vlan_count.wrapping_add(1);
        Some((be16([tag[2], tag[3]]), behind))
    }

    /// An IEEE 802.3 frame: a length instead of an EtherType, then LLC.
    pub(super) fn length(&mut self, length: u16, rest: &'packet [u8]) -> Option<(u16, &'packet [u8])> {
        if length > ether_type::LAST_LENGTH {
            self.malformed();
            return None;
        }
        snap(self.limit(rest, usize::from(length)))
    }

    /// ARP (RFC 826): the fixed part, and that the addresses which it announces fit.
    pub(super) fn arp(&mut self, rest: &'packet [u8]) {
        let Some((header, addresses)) = rest.split_first_chunk::<8>() else {
            return self.short();
        };
        let pair = usize::from(header[4]).wrapping_add(usize::from(header[5]));
        if addresses.len() < pair.wrapping_mul(2) {
            self.short();
        }
    }
}

const _: () = assert!(MAX_VLANS < MAX_TAGS as usize);
