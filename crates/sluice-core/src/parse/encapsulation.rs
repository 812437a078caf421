//! What lies between the addresses of a frame and its network header: tags other than those of VLANs, frames in frames,
//! PPPoE, MPLS, NSH and MACsec.
//!
//! The EtherType of the flow is the first that does not belong to a tag or to a frame around another: that of IP for a
//! tagged frame, that of PPPoE for IP in PPPoE.

use sluice_npi::flags;

use super::{Ends, Parser, be16};
use crate::ether_type;

/// How many MPLS labels are skipped over; a packet with more is malformed.
const MAX_LABELS: u32 = 16;

/// Labels that say what follows (RFC 3032, 2.1).
const EXPLICIT_NULL_IPV4: u32 = 0;
const EXPLICIT_NULL_IPV6: u32 = 2;

/// The bytes behind the labels that tell IP from other things.
const LOOKED_AT: usize = 6;

/// Protocols of PPP.
mod ppp {
    /// RFC 1332.
    pub(super) const IPV4: u16 = 0x0021;
    /// RFC 5072.
    pub(super) const IPV6: u16 = 0x0057;
    /// RFC 3032, 4.3.
    pub(super) const MPLS: u16 = 0x0281;
    pub(super) const MPLS_UPSTREAM: u16 = 0x0283;
}

/// Protocols of NSH (RFC 8300, 2.2).
mod nsh {
    pub(super) const IPV4: u8 = 1;
    pub(super) const IPV6: u8 = 2;
    pub(super) const ETHERNET: u8 = 3;
    pub(super) const MPLS: u8 = 5;
}

/// An EtherType, and what is behind it.
type Next<'packet> = Option<(u16, &'packet [u8])>;

impl<'packet> Parser<'packet, '_, ()> {
    /// Reads what an EtherType other than that of a VLAN tag carries. Gives what carries an EtherType in its turn.
    pub(super) fn encapsulated(&mut self, number: u16, rest: &'packet [u8]) -> Next<'packet> {
        match number {
            ..ether_type::FIRST => return self.length(number, rest),
            ether_type::VN_TAG => return self.behind::<6>(rest),
            ether_type::E_TAG => return self.behind::<8>(rest),
            // An I-tag and two addresses.
            ether_type::BACKBONE => return self.behind::<18>(rest),
            // A tag and two addresses.
            ether_type::FABRICPATH => return self.behind::<16>(rest),
            ether_type::TIMESTAMP => return self.timestamp(rest),
            ether_type::CISCO_METADATA => return self.cisco_metadata(rest),
            _ => {}
        }
        self.note_ether_type(number);
        match number {
            ether_type::IPV4 => self.ipv4(rest),
            ether_type::IPV6 => self.ipv6(rest),
            ether_type::ARP => self.arp(rest),
            ether_type::PPPOE_SESSION => self.pppoe(rest),
            ether_type::MPLS | ether_type::MPLS_UPSTREAM => self.mpls(rest),
            ether_type::NSH => return self.nsh(rest),
            ether_type::MACSEC => return self.macsec(rest),
            _ => {}
        }
        None
    }

    fn note_ether_type(&mut self, number: u16) {
        if !self.flow.has(flags::ETHER_TYPE) {
            self.flow.ether_type = number;
            self.set(flags::ETHER_TYPE);
        }
    }

    /// The EtherType at the end of a header of `N` bytes.
    fn behind<const N: usize>(&mut self, rest: &'packet [u8]) -> Next<'packet> {
        let Some((header, rest)) = rest.split_first_chunk::<N>() else {
            self.short();
            return None;
        };
        header.last_chunk().map(|number| (be16(*number), rest))
    }

    /// Arista's timestamp: a subtype, a version, and 6 or 8 bytes.
    fn timestamp(&mut self, rest: &'packet [u8]) -> Next<'packet> {
        const SUBTYPE: u16 = 1;
        let Some([a, b, _, format, ..]) = rest.first_chunk::<4>() else {
            self.short();
            return None;
        };
        match (be16([*a, *b]), format >> 4) {
            (SUBTYPE, 1) => self.behind::<14>(rest),
            (SUBTYPE, 2) => self.behind::<12>(rest),
            _ => {
                self.note_ether_type(ether_type::TIMESTAMP);
                None
            }
        }
    }

    /// Cisco's MetaData: a version, the number of options of 4 bytes, and mostly one of them.
    fn cisco_metadata(&mut self, rest: &'packet [u8]) -> Next<'packet> {
        const VERSION: u8 = 1;
        match *rest {
            [VERSION, 1, ..] => self.behind::<8>(rest),
            [] | [VERSION] => {
                self.short();
                None
            }
            _ => {
                self.note_ether_type(ether_type::CISCO_METADATA);
                None
            }
        }
    }

    /// PPPoE, session stage (RFC 2516, 4 and 7).
    fn pppoe(&mut self, rest: &'packet [u8]) {
        const VERSION_AND_TYPE: u8 = 0x11;
        const SESSION: u8 = 0;
        let Some((header, rest)) = rest.split_first_chunk::<6>() else {
            return self.short();
        };
        if header[0] != VERSION_AND_TYPE || header[1] != SESSION {
            return self.malformed();
        }
        let payload = self.limit(rest, usize::from(be16([header[4], header[5]])));
        self.ppp(payload);
    }

    /// PPP (RFC 1661, 2): a protocol of two bytes, or of one if that is odd.
    pub(super) fn ppp(&mut self, rest: &'packet [u8]) {
        let (protocol, rest) = match rest {
            [low, rest @ ..] if low & 1 != 0 => (u16::from(*low), rest),
            [high, low, rest @ ..] => (be16([*high, *low]), rest),
            _ => return self.short(),
        };
        match protocol {
            ppp::IPV4 => self.ipv4(rest),
            ppp::IPV6 => self.ipv6(rest),
            ppp::MPLS | ppp::MPLS_UPSTREAM => self.mpls(rest),
            _ => {}
        }
    }

    /// MPLS (RFC 3032). Nothing in the labels says what follows, unless the last one is an explicit null. So what looks
    /// like IP, with lengths that fit, is taken for IP (RFC 4928, 3), and all else left alone.
    fn mpls(&mut self, mut rest: &'packet [u8]) {
        const BOTTOM: u8 = 1;
        self.set(flags::MPLS);
        for _ in 0..MAX_LABELS {
            let Some(([high, middle, low, _], behind)) = rest.split_first_chunk::<4>() else {
                return self.short();
            };
            rest = behind;
            if low & BOTTOM == 0 {
                continue;
            }
            return match u32::from_be_bytes([0, *high, *middle, *low]) >> 4 {
                EXPLICIT_NULL_IPV4 => self.ipv4(rest),
                EXPLICIT_NULL_IPV6 => self.ipv6(rest),
                _ => match self.looks_like_ip(rest) {
                    Some(4) => self.ipv4(rest),
                    Some(6) => self.ipv6(rest),
                    _ if rest.len() < LOOKED_AT && self.ends == Ends::Capture => self.short(),
                    _ => {}
                },
            };
        }
        self.malformed();
    }

    /// The version of IP, if `rest` is a whole packet of it by its own lengths, or one that was cut by the capture.
    fn looks_like_ip(&self, rest: &[u8]) -> Option<u8> {
        let fits = |length: usize| length <= rest.len() || self.ends == Ends::Capture;
        match rest {
            [0x45..=0x4F, _, high, low, ..] => {
                let length = usize::from(be16([*high, *low]));
                (length >= 20 && fits(length)).then_some(4)
            }
            [0x60..=0x6F, _, _, _, high, low, ..] => {
                fits(usize::from(be16([*high, *low])).wrapping_add(40)).then_some(6)
            }
            _ => None,
        }
    }

    /// NSH (RFC 8300, 2.2).
    fn nsh(&mut self, rest: &'packet [u8]) -> Next<'packet> {
        const VERSION: u8 = 0xC0;
        let Some([first, length, _, protocol]) = rest.first_chunk::<4>() else {
            self.short();
            return None;
        };
        if first & VERSION != 0 {
            return None;
        }
        // In units of 4 bytes, with the base header and that of the service path.
        let length = usize::from(length & 0x3F).wrapping_mul(4);
        if length < 8 {
            self.malformed();
            return None;
        }
        let Some(rest) = rest.get(length..) else {
            self.short();
            return None;
        };
        match *protocol {
            nsh::IPV4 => self.ipv4(rest),
            nsh::IPV6 => self.ipv6(rest),
            nsh::MPLS => self.mpls(rest),
            nsh::ETHERNET => return self.behind::<14>(rest),
            _ => {}
        }
        None
    }

    /// MACsec (IEEE 802.1AE, 9): what is behind the tag, if it is not encrypted. The check value at the end of the
    /// frame is like padding.
    fn macsec(&mut self, rest: &'packet [u8]) -> Next<'packet> {
        const VERSION: u8 = 0x80;
        const HAS_CHANNEL: u8 = 0x20;
        const ENCRYPTED: u8 = 0x08;
        const CHANGED: u8 = 0x04;
        self.set(flags::MACSEC);
        match rest.first() {
            None => {
                self.short();
                None
            }
            Some(control) if control & (VERSION | ENCRYPTED | CHANGED) != 0 => None,
            Some(control) if control & HAS_CHANNEL != 0 => self.behind::<16>(rest),
            Some(_) => self.behind::<8>(rest),
        }
    }
}
