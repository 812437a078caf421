//! EtherTypes (IEEE 802.3, 3.2.6; IANA's registry "IEEE 802 Numbers").

/// IPv4.
pub const IPV4: u16 = 0x0800;
/// ARP (RFC 826).
pub const ARP: u16 = 0x0806;
/// Wake-on-LAN.
pub const WOL: u16 = 0x0842;
/// An Ethernet frame in a tunnel (RFC 1701, "Transparent Ethernet Bridging").
pub const BRIDGED: u16 = 0x6558;
/// Reverse ARP (RFC 903).
pub const RARP: u16 = 0x8035;
/// A VLAN tag (IEEE 802.1Q): a C-tag where there are two.
pub const VLAN: u16 = 0x8100;
/// IPv6.
pub const IPV6: u16 = 0x86DD;
/// PPP in GRE (RFC 2637).
pub const PPP: u16 = 0x880B;
/// MPLS (RFC 3032).
pub const MPLS: u16 = 0x8847;
/// MPLS with a label that the sender assigned (RFC 5332).
pub const MPLS_UPSTREAM: u16 = 0x8848;
/// PPPoE, discovery stage (RFC 2516).
pub const PPPOE_DISCOVERY: u16 = 0x8863;
/// PPPoE, session stage (RFC 2516).
pub const PPPOE_SESSION: u16 = 0x8864;
/// Cisco FabricPath: a tag of two bytes, then the frame that was.
pub const FABRICPATH: u16 = 0x8903;
/// Cisco's MetaData: the security group of the sender, then the frame that was.
pub const CISCO_METADATA: u16 = 0x8909;
/// Cisco's VN-Tag.
pub const VN_TAG: u16 = 0x8926;
/// The E-tag of bridge port extension (IEEE 802.1BR).
pub const E_TAG: u16 = 0x893F;
/// Network Service Header (RFC 8300).
pub const NSH: u16 = 0x894F;
/// The outer one of two VLAN tags (IEEE 802.1ad): an S-tag.
pub const SERVICE_VLAN: u16 = 0x88A8;
/// LLDP (IEEE 802.1AB).
pub const LLDP: u16 = 0x88CC;
/// MACsec (IEEE 802.1AE).
pub const MACSEC: u16 = 0x88E5;
/// Provider backbone bridging (IEEE 802.1ah): an I-tag, then the customer's frame.
pub const BACKBONE: u16 = 0x88E7;
/// PTP over Ethernet (IEEE 1588).
pub const PTP: u16 = 0x88F7;
/// A stacked VLAN tag from before 802.1ad.
pub const OLD_STACKED_VLAN: u16 = 0x9100;
/// The same, of other manufacturers.
pub const OLD_STACKED_VLAN_2: u16 = 0x9200;

/// Arista's: the time at which a switch saw the frame.
pub const TIMESTAMP: u16 = 0xD28B;

/// The smallest EtherType; what is below is a length (IEEE 802.3, 3.2.6).
pub const FIRST: u16 = 0x0600;

/// The largest length in place of an EtherType.
pub const LAST_LENGTH: u16 = 1500;

/// The EtherTypes that policies can name, with their usual names. Tags are not among them, as they are skipped
/// over.
pub const NAMES: [(u16, &str); 11] = [
    (IPV4, "ipv4"),
    (ARP, "arp"),
    (WOL, "wol"),
    (RARP, "rarp"),
    (IPV6, "ipv6"),
    (MPLS, "mpls"),
    (PPPOE_DISCOVERY, "pppoe-discovery"),
    (PPPOE_SESSION, "pppoe-session"),
    (LLDP, "lldp"),
    (MACSEC, "macsec"),
    (PTP, "ptp"),
];

/// Those behind which the parser reads something, or which it says something about.
pub(crate) const READ: [u16; 18] = [
    IPV4,
    ARP,
    VLAN,
    IPV6,
    MPLS,
    MPLS_UPSTREAM,
    PPPOE_SESSION,
    FABRICPATH,
    CISCO_METADATA,
    VN_TAG,
    E_TAG,
    NSH,
    SERVICE_VLAN,
    MACSEC,
    BACKBONE,
    OLD_STACKED_VLAN,
    OLD_STACKED_VLAN_2,
    TIMESTAMP,
];
