//! What Sluice reads from a packet.

/// The largest number of VLAN tags that a [`Flow`] lists; further ones are skipped over and counted.
pub const MAX_VLANS: usize = 4;

/// The bits of [`Flow::flags`].
pub mod flags {
    /// `source_address` and `destination_address` are valid; `ip_version` says how long they are.
    pub const ADDRESSES: u32 = 1;
    /// `protocol` is valid.
    pub const PROTOCOL: u32 = 1 << 1;
    /// `source_port` and `destination_port` are valid.
    pub const PORTS: u32 = 1 << 2;
    /// `icmp_type` and `icmp_code` are valid.
    pub const ICMP: u32 = 1 << 3;
    /// `tcp_flags` is valid.
    pub const TCP_FLAGS: u32 = 1 << 4;
    /// The packet is a fragment: its offset is not 0 or more fragments follow.
    pub const FRAGMENT: u32 = 1 << 5;
    /// The packet is a fragment other than the first one, and so has no transport header.
    pub const LATER_FRAGMENT: u32 = 1 << 6;
    /// The capture ends before the packet does, and something that would have been read lies behind the end.
    pub const TRUNCATED: u32 = 1 << 7;
    /// The packet contradicts itself: a length, a version or a count that cannot be.
    pub const MALFORMED: u32 = 1 << 8;
    /// There is a MACsec header; what it protects is read only if it is not encrypted.
    pub const MACSEC: u32 = 1 << 9;
    /// There is an MPLS label; what follows is read only if it looks like IP.
    pub const MPLS: u32 = 1 << 10;
    /// There is a QUIC long header; `quic_version` is valid.
    pub const QUIC: u32 = 1 << 11;
    /// There is a DNS question; `dns_type` is valid.
    pub const DNS: u32 = 1 << 12;
    /// `ether_type` is valid.
    pub const ETHER_TYPE: u32 = 1 << 13;
    /// The packet begins a conversation in which a host is named (a ClientHello, an HTTP request head, DNS over
    /// TCP, a QUIC Initial), and not every name in it was read: it is encrypted, lies behind the end of the packet, is
    /// in pieces, is not there, or is one of several.
    pub const NAME_MISSING: u32 = 1 << 14;
    /// There is an Encrypted ClientHello (RFC 9849), or what cannot be told from one: the name that is given is the
    /// outer one.
    pub const ECH: u32 = 1 << 15;
    /// The name that was found does not lie in the packet as it is: it is encrypted there (QUIC), or in pieces.
    /// `name_length` is its length, `name_offset` is 0.
    pub const NAME_ASSEMBLED: u32 = 1 << 16;
    /// The packet is a part of the beginning of a conversation in which a host is named, and what it has of that is
    /// kept: the packet that completes the name will be judged by it, or have [`NAME_MISSING`]. Not together with
    /// that flag.
    pub const NAME_PENDING: u32 = 1 << 17;
    /// The flow is that of a packet in a tunnel, the innermost that was read. Verdicts have the flow of the outer one.
    pub const INNER: u32 = 1 << 18;
    /// The packet is that of a tunnel, and carries another: IP in IP, GRE, VXLAN or GENEVE.
    pub const TUNNEL: u32 = 1 << 19;
    /// Together with [`TUNNEL`]: the headers of the innermost packet were not read, or not to their end.
    pub const TUNNEL_UNREAD: u32 = 1 << 20;
    /// A DNS message with a question and answers to it.
    pub const ANSWER: u32 = 1 << 21;
    /// Together with [`ANSWER`]: the answers were not read to their end, so that names in them may be missing.
    pub const ANSWER_UNREAD: u32 = 1 << 22;
    /// Nothing was decided, nor is anything else in the verdict but its policy: the packet, or one before it in the
    /// call, was shown by its [head](crate::direction::HEAD), and what lies behind that would be looked at. The action
    /// is [`BLOCK`](crate::action::BLOCK).
    pub const UNDECIDED: u32 = 1 << 23;
}

/// The values of [`Flow::name_kind`].
pub mod name_kind {
    /// There is no name.
    pub const NONE: u8 = 0;
    /// The name of a DNS question, as length-prefixed labels (RFC 1035, 3.1) without the final empty one.
    pub const DNS: u8 = 1;
    /// The server name of a TLS ClientHello (RFC 6066, 3), as text.
    pub const TLS: u8 = 2;
    /// The Host of an HTTP/1 request (RFC 9110, 7.2), as text without a port.
    pub const HTTP: u8 = 3;
}

/// The addresses, ports and properties of one packet, and where in it the headers lie.
///
/// An offset counts bytes from the start of the packet; 0 means that there is no such thing, except for
/// `network_offset`, which is 0 for a raw IP packet. Which of the other fields are valid is in `flags`; a field that is
/// not is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Bits of [`flags`](mod@flags).
    pub flags: u32,
    /// 4, 6, or 0 when the packet is not IP.
    pub ip_version: u8,
    /// The protocol behind the IP headers: an IANA protocol number.
    pub protocol: u8,
    /// The type of an ICMP or ICMPv6 message.
    pub icmp_type: u8,
    /// The code of an ICMP or ICMPv6 message.
    pub icmp_code: u8,
    /// The TCP flags, FIN in the lowest bit.
    pub tcp_flags: u8,
    /// How many VLAN tags there are, outermost first; at most [`MAX_VLANS`] of them are listed.
    pub vlan_count: u8,
    /// The EtherType behind all tags.
    pub ether_type: u16,
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// Where the IP header lies.
    pub network_offset: u32,
    /// Where the transport header lies.
    pub transport_offset: u32,
    /// Where the payload of the transport protocol lies.
    pub payload_offset: u32,
    /// How many bytes of payload were captured; of a packet that was shown by its head, how many there are.
    pub payload_length: u32,
    /// The source, in network order; an IPv4 address is in the first 4 bytes.
    pub source_address: [u8; 16],
    /// The destination, in network order; an IPv4 address is in the first 4 bytes.
    pub destination_address: [u8; 16],
    /// The VLAN ids (12 bits each).
    pub vlan_ids: [u16; MAX_VLANS],
    /// The type of the DNS question.
    pub dns_type: u16,
    /// One of [`name_kind`].
    pub name_kind: u8,
    /// 0.
    pub reserved: [u8; 3],
    /// How long the name is in the packet, in bytes.
    pub name_length: u16,
    /// Where the name lies.
    pub name_offset: u32,
    /// The version of a QUIC long header.
    pub quic_version: u32,
}

impl Flow {
    /// Whether all of `bits` are set in `flags`.
    #[must_use]
    pub const fn has(&self, bits: u32) -> bool {
        self.flags & bits == bits
    }
}
