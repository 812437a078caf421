//! The rules of a policy, as the compiler takes them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::ops::RangeInclusive;

use crate::{Direction, RuleAction};

/// One rule of a policy: what it does with the packets that meet all of its conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The number that verdicts name the rule by. Not 0, which stands for the default action. Two rules may share one.
    pub id: u32,
    /// What to do with a packet that matches.
    pub action: RuleAction,
    /// What a packet has to be like.
    pub conditions: Conditions,
}

/// What a packet has to be like for a rule to match: all of the conditions that are set.
///
/// An empty list and `None` set no condition. A list is met by any one of its items. A condition on something that the
/// packet does not have is not met: a packet without ports (ICMP, a later fragment, a header that was cut off) matches
/// no rule that names ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Which way the packet goes. [`Direction::Unspecified`] is refused: leave the condition out instead.
    pub direction: Option<Direction>,
    /// What the packet starts with: the link types of [`sluice_npi::link_type`].
    pub link_types: Vec<u16>,
    /// Whether there is a VLAN tag.
    pub tagged: Option<bool>,
    /// The ids of the outermost VLAN tag, 0 to 4095.
    pub vlans: Vec<RangeInclusive<u16>>,
    /// The EtherType behind all VLAN tags.
    pub ether_types: Vec<u16>,
    /// Where the packet comes from: IPv4 and IPv6 prefixes, mixed as wanted.
    pub sources: Vec<Prefix>,
    /// Where the packet goes to.
    pub destinations: Vec<Prefix>,
    /// 4 or 6: the version of IP. Needed only by rules without addresses.
    pub ip_version: Option<u8>,
    /// The protocol behind the IP headers: IANA protocol numbers.
    pub protocols: Vec<u8>,
    /// The source ports of TCP, UDP, UDP-Lite, SCTP and DCCP.
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// The destination ports of TCP, UDP, UDP-Lite, SCTP and DCCP.
    pub destination_ports: Vec<RangeInclusive<u16>>,
    /// The type and code of an ICMP or ICMPv6 message.
    pub icmp: Vec<Icmp>,
    /// The flags of a TCP header.
    pub tcp_flags: Option<TcpFlags>,
    /// The host name that the packet asks for (DNS question, TLS server name, HTTP Host) is one of these names or ends
    /// in one, at a label boundary: `example.com` stands for itself and for `www.example.com`. ASCII (an international
    /// name in its `xn--` form), upper and lower case alike, a dot at the end is allowed and means nothing.
    pub names: Vec<String>,
    /// The packet is an answer of DNS in which a host is an alias (CNAME, DNAME, or the target of SVCB and HTTPS) of
    /// one of these names, or of one that ends in one; as `names`. A rule has names of one kind alone.
    pub answer_names: Vec<String>,
    /// Whether the packet is an answer of DNS, and one that was read.
    pub answer: Option<Content>,
    /// Whether the packet begins a conversation that names a host, without a name that was read: see
    /// [`NAME_MISSING`](sluice_npi::flags::NAME_MISSING).
    pub name_missing: Option<bool>,
    /// Whether the packet is kept until a later one completes the name that it begins: see
    /// [`NAME_PENDING`](sluice_npi::flags::NAME_PENDING).
    pub name_pending: Option<bool>,
    /// Whether the packet has an Encrypted ClientHello, so that its name is the outer one.
    pub ech: Option<bool>,
    /// Whether there is a long header of QUIC, as the packets of a handshake have.
    pub quic: Option<bool>,
    /// The version in that header.
    pub quic_versions: Vec<u32>,
    /// Whether and which fragment the packet is.
    pub fragment: Option<Fragment>,
    /// Whether the packet is that of a tunnel, and one that was read.
    pub tunnel: Option<Content>,
    /// Whether all of these conditions are about the innermost packet in a tunnel: see
    /// [`parse_inner`](crate::parse_inner). Otherwise they are about the outer one.
    pub inner: bool,
    /// Whether the packet contradicts itself.
    pub malformed: Option<bool>,
    /// Whether the capture ends before the packet does.
    pub truncated: Option<bool>,
}

/// An IPv4 or IPv6 prefix, such as 192.0.2.0/24. The bits behind its length have to be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first address.
    pub address: IpAddr,
    /// How many bits of the address count: at most 32 or 128.
    pub length: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// An ICMP type, with a code or with any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Icmp {
    /// The type.
    pub kind: u8,
    /// The code; `None` is any.
    pub code: Option<u8>,
}

/// Flags of a TCP header: those in `mask` have to be as in `value`. FIN is bit 0, then SYN, RST, PSH, ACK, URG, ECE,
/// CWR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// Which flags count.
    pub mask: u8,
    /// What they have to be. Bits outside `mask` have to be 0.
    pub value: u8,
}

/// Whether a packet has a content of some kind: another packet ([`TUNNEL`](sluice_npi::flags::TUNNEL)), or answers of
/// DNS ([`ANSWER`](sluice_npi::flags::ANSWER)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// It has none.
    No,
    /// It has some.
    Any,
    /// It has some, which was not read to its end.
    Unread,
}

impl Content {
    /// Which of two flags count, and what they have to be: that there is such a content, and that it was not read.
    pub(super) const fn flags(self, any: u32, unread: u32) -> (u32, u32) {
        match self {
            Self::No => (any, 0),
            Self::Any => (any, any),
            Self::Unread => (unread, unread),
        }
    }
}

/// Whether and which fragment a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// A whole packet.
    No,
    /// Any fragment.
    Any,
    /// The fragment with the transport header.
    First,
    /// A fragment behind the first.
    Later,
}
