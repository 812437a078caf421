//! Protocols behind the IP headers (IANA's registry "Assigned Internet Protocol Numbers").

/// IPv6 Hop-by-Hop Options (RFC 8200, 4.3).
pub const HOP_BY_HOP: u8 = 0;
/// ICMP (RFC 792).
pub const ICMP: u8 = 1;
/// IGMP (RFC 9776).
pub const IGMP: u8 = 2;
/// IPv4 in IP (RFC 2003).
pub const IPV4: u8 = 4;
/// TCP (RFC 9293).
pub const TCP: u8 = 6;
/// UDP (RFC 768).
pub const UDP: u8 = 17;
/// DCCP (RFC 4340).
pub const DCCP: u8 = 33;
/// IPv6 in IP (RFC 2473, RFC 4213).
pub const IPV6: u8 = 41;
/// IPv6 Routing header (RFC 8200, 4.4).
pub const ROUTING: u8 = 43;
/// IPv6 Fragment header (RFC 8200, 4.5).
pub const FRAGMENT: u8 = 44;
/// RSVP (RFC 2205).
pub const RSVP: u8 = 46;
/// GRE (RFC 2784).
pub const GRE: u8 = 47;
/// Encapsulating Security Payload (RFC 4303).
pub const ESP: u8 = 50;
/// Authentication Header (RFC 4302).
pub const AUTHENTICATION: u8 = 51;
/// ICMPv6 (RFC 4443).
pub const ICMPV6: u8 = 58;
/// No Next Header (RFC 8200, 4.7).
pub const NO_NEXT_HEADER: u8 = 59;
/// IPv6 Destination Options (RFC 8200, 4.6).
pub const DESTINATION_OPTIONS: u8 = 60;
/// OSPF (RFC 2328).
pub const OSPF: u8 = 89;
/// PIM (RFC 7761).
pub const PIM: u8 = 103;
/// VRRP (RFC 9568).
pub const VRRP: u8 = 112;
/// SCTP (RFC 9260).
pub const SCTP: u8 = 132;
/// Mobility header (RFC 6275).
pub const MOBILITY: u8 = 135;
/// UDP-Lite (RFC 3828).
pub const UDP_LITE: u8 = 136;
/// Host Identity Protocol (RFC 7401).
pub const HIP: u8 = 139;
/// Shim6 (RFC 5533).
pub const SHIM6: u8 = 140;

/// Ethernet in IP (RFC 8986, 10.1).
pub const ETHERNET: u8 = 143;

/// The protocols that have names in policies: IANA's keywords in lower case.
pub const NAMES: [(u8, &str); 22] = [
    (HOP_BY_HOP, "hopopt"),
    (ICMP, "icmp"),
    (IGMP, "igmp"),
    (IPV4, "ipv4"),
    (TCP, "tcp"),
    (UDP, "udp"),
    (DCCP, "dccp"),
    (IPV6, "ipv6"),
    (ROUTING, "ipv6-route"),
    (FRAGMENT, "ipv6-frag"),
    (RSVP, "rsvp"),
    (GRE, "gre"),
    (ESP, "esp"),
    (AUTHENTICATION, "ah"),
    (ICMPV6, "ipv6-icmp"),
    (NO_NEXT_HEADER, "ipv6-nonxt"),
    (DESTINATION_OPTIONS, "ipv6-opts"),
    (OSPF, "ospf"),
    (PIM, "pim"),
    (VRRP, "vrrp"),
    (SCTP, "sctp"),
    (UDP_LITE, "udplite"),
];

/// The protocols whose ports are read.
pub const WITH_PORTS: [u8; 5] = [TCP, UDP, UDP_LITE, SCTP, DCCP];

/// Those, other than TCP and UDP, of which the parser reads something in one version of IP at least.
pub(crate) const READ: [u8; 17] = [
    HOP_BY_HOP,
    ICMP,
    IPV4,
    DCCP,
    IPV6,
    ROUTING,
    FRAGMENT,
    GRE,
    AUTHENTICATION,
    ICMPV6,
    DESTINATION_OPTIONS,
    SCTP,
    MOBILITY,
    UDP_LITE,
    HIP,
    SHIM6,
    ETHERNET,
];
