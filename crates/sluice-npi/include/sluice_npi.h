/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The network programming interface (NPI) of Sluice, version 1: what a client driver and sluice.sys agree on.
 *
 * A client driver registers with the Network Module Registrar (NMR) for SLUICE_NPI_ID. When it has attached it holds a
 * SLUICE_PROVIDER_DISPATCH and hands packets to Classify; Sluice calls PolicyChanged when another policy is in force.
 * docs/npi.md tells the whole story, clients/probe-c is a client to start from.
 *
 * Include <wdm.h>, <ntddk.h> or <ndis.h> first. Without them the header declares the few types of theirs that it uses.
 * For x64 and ARM64, C and C++.
 *
 * Every structure starts with a SLUICE_HEADER: its version and its size in bytes. Integers, ports included, are in the
 * byte order of the machine. Addresses are in network order, as they are in the packet. Reserved fields are 0.
 */
#ifndef SLUICE_NPI_H
#define SLUICE_NPI_H

#include <stddef.h>

#ifndef _NTDEF_
typedef unsigned char UINT8;
typedef unsigned short UINT16;
typedef unsigned int UINT32;
typedef unsigned long long UINT64;
typedef long NTSTATUS;
#define NTAPI __stdcall
#endif

#ifndef GUID_DEFINED
#define GUID_DEFINED
typedef struct _GUID {
    unsigned long Data1;
    unsigned short Data2;
    unsigned short Data3;
    unsigned char Data4[8];
} GUID;
#endif

/* The annotations that code analysis checks; a compiler without their headers does without. */
#ifndef _In_
#define _In_
#define _Inout_
#define _In_reads_(count)
#define _Out_writes_(count)
#endif
#ifndef _IRQL_requires_max_
#define _IRQL_requires_max_(irql)
#define _IRQL_requires_(irql)
#define _IRQL_requires_same_
#endif
#ifndef _Must_inspect_result_
#define _Must_inspect_result_
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* {0B8F760A-70AF-4860-BA3E-DE22A76FC2EE}: the identifier for NPI_REGISTRATION_INSTANCE.NpiId. Like everything that a
 * registration points to, it is in the image's resident data. */
static const GUID SLUICE_NPI_ID = {0x0b8f760a, 0x70af, 0x4860, {0xba, 0x3e, 0xde, 0x22, 0xa7, 0x6f, 0xc2, 0xee}};

/* The version of this contract, in every SLUICE_HEADER. */
#define SLUICE_NPI_VERSION 1

/* The largest number of packets in one call of Classify. */
#define SLUICE_MAX_BATCH 4096

/* The largest number of VLAN tags that a SLUICE_FLOW lists; further ones are skipped over and counted. */
#define SLUICE_MAX_VLANS 4

/* The length in bytes of SLUICE_CLIENT_CHARACTERISTICS.Name. */
#define SLUICE_NAME_LENGTH 32

/* How every structure of the contract starts. */
typedef struct _SLUICE_HEADER {
    UINT16 Version; /* SLUICE_NPI_VERSION */
    UINT16 Size;    /* of the whole structure, in bytes */
} SLUICE_HEADER;

/* The initializer of the header of a structure of this type. */
#define SLUICE_HEADER_OF(Type) {SLUICE_NPI_VERSION, sizeof(Type)}

/* ---- Packets ----------------------------------------------------------------------------------------------------- */

/* SLUICE_PACKET.LinkType: what the bytes start with, by the numbers of pcap's LINKTYPE registry. */
#define SLUICE_LINK_TYPE_NULL 0                  /* BSD loopback: 4-byte address family in the order of its machine */
#define SLUICE_LINK_TYPE_ETHERNET 1              /* Ethernet */
#define SLUICE_LINK_TYPE_PPP 9                   /* PPP, with or without HDLC-like framing */
#define SLUICE_LINK_TYPE_PPP_HDLC 50             /* PPP in HDLC-like framing, or Cisco HDLC */
#define SLUICE_LINK_TYPE_RAW 101                 /* IPv4 or IPv6, told apart by the version in the first byte */
#define SLUICE_LINK_TYPE_LOOP 108                /* OpenBSD loopback: 4-byte address family in network order */
#define SLUICE_LINK_TYPE_LINUX_SLL 113           /* Linux "cooked" capture, version 1 */
#define SLUICE_LINK_TYPE_IEEE802_11_RADIOTAP 127 /* Wi-Fi behind a radiotap header */
#define SLUICE_LINK_TYPE_IPV4 228                /* IPv4 */
#define SLUICE_LINK_TYPE_IPV6 229                /* IPv6 */
#define SLUICE_LINK_TYPE_LINUX_SLL2 276          /* Linux "cooked" capture, version 2 */

/* SLUICE_PACKET.Direction: which way the packet goes. */
#define SLUICE_DIRECTION_UNSPECIFIED 0 /* not known: only rules without a direction match */
#define SLUICE_DIRECTION_INBOUND 1     /* towards this machine */
#define SLUICE_DIRECTION_OUTBOUND 2    /* away from this machine */

/* Added to SLUICE_PACKET.Direction: Data is the head of a packet that can be shown whole. See SLUICE_CLASSIFY. */
#define SLUICE_DIRECTION_HEAD 0x8000

/* A packet that a client wants classified. */
typedef struct _SLUICE_PACKET {
    SLUICE_HEADER Header;
    UINT16 LinkType;       /* SLUICE_LINK_TYPE_* */
    UINT16 Direction;      /* SLUICE_DIRECTION_*, with SLUICE_DIRECTION_HEAD or without */
    UINT32 CapturedLength; /* how many bytes Data points to */
    UINT32 WireLength;     /* how many bytes the packet has on the wire; at least CapturedLength */
    const UINT8 *Data;     /* contiguous, resident and unchanged during the call; NULL only if CapturedLength is 0 */
} SLUICE_PACKET;

/* ---- Verdicts ---------------------------------------------------------------------------------------------------- */

/* SLUICE_FLOW.Flags. A client of version 1 ignores bits that are not listed here. */
#define SLUICE_FLOW_ADDRESSES 0x00000001u      /* SourceAddress, DestinationAddress are valid; IpVersion says which */
#define SLUICE_FLOW_PROTOCOL 0x00000002u       /* Protocol is valid */
#define SLUICE_FLOW_PORTS 0x00000004u          /* SourcePort and DestinationPort are valid */
#define SLUICE_FLOW_ICMP 0x00000008u           /* IcmpType and IcmpCode are valid */
#define SLUICE_FLOW_TCP_FLAGS 0x00000010u      /* TcpFlags is valid */
#define SLUICE_FLOW_FRAGMENT 0x00000020u       /* a fragment: its offset is not 0 or more fragments follow */
#define SLUICE_FLOW_LATER_FRAGMENT 0x00000040u /* a fragment other than the first: it has no transport header */
#define SLUICE_FLOW_TRUNCATED 0x00000080u      /* something that would have been read lies behind the captured bytes */
#define SLUICE_FLOW_MALFORMED 0x00000100u      /* the packet contradicts itself: a length, version or count cannot be */
#define SLUICE_FLOW_MACSEC 0x00000200u         /* there is a MACsec header; what is encrypted is not read */
#define SLUICE_FLOW_MPLS 0x00000400u           /* there is an MPLS label; what follows is read if it looks like IP */
#define SLUICE_FLOW_QUIC 0x00000800u           /* there is a QUIC long header; QuicVersion is valid */
#define SLUICE_FLOW_DNS 0x00001000u            /* there is a DNS question; DnsType is valid */
#define SLUICE_FLOW_ETHER_TYPE 0x00002000u     /* EtherType is valid */
#define SLUICE_FLOW_NAME_MISSING 0x00004000u   /* begins a conversation that names a host, and a name was not read */
#define SLUICE_FLOW_ECH 0x00008000u            /* an Encrypted ClientHello: the name that is given is the outer one */
#define SLUICE_FLOW_NAME_ASSEMBLED 0x00010000u /* the name is encrypted or in pieces in the packet: NameOffset is 0 */
#define SLUICE_FLOW_NAME_PENDING 0x00020000u   /* kept until a later packet completes the name and is judged by it */
#define SLUICE_FLOW_INNER 0x00040000u          /* of a packet in a tunnel; the flow of a verdict is the outer one */
#define SLUICE_FLOW_TUNNEL 0x00080000u         /* carries another packet: IP in IP, GRE, VXLAN or GENEVE */
#define SLUICE_FLOW_TUNNEL_UNREAD 0x00100000u  /* a tunnel whose innermost headers were not read to their end */
#define SLUICE_FLOW_ANSWER 0x00200000u         /* a DNS message with a question and answers to it */
#define SLUICE_FLOW_ANSWER_UNREAD 0x00400000u  /* its answers were not read to their end */
#define SLUICE_FLOW_UNDECIDED 0x00800000u      /* nothing was decided: more of a packet has to be shown */

/* SLUICE_FLOW.NameKind. A client of version 1 takes any other value for NONE. */
#define SLUICE_NAME_KIND_NONE 0 /* there is no name */
#define SLUICE_NAME_KIND_DNS 1  /* of a DNS question: length-prefixed labels (RFC 1035, 3.1), not the empty last one */
#define SLUICE_NAME_KIND_TLS 2  /* the server name of a TLS ClientHello (RFC 6066, 3), as text */
#define SLUICE_NAME_KIND_HTTP 3 /* the Host of an HTTP/1 request (RFC 9110, 7.2), as text without a port */

/* What was read from a packet. A field that Flags does not call valid is 0. An offset counts bytes from the start of
 * the packet; 0 means that there is no such thing, except for NetworkOffset, which is 0 for a raw IP packet. A part of
 * a verdict without a header of its own: its layout goes with the version of the verdict. */
typedef struct _SLUICE_FLOW {
    UINT32 Flags;                     /* SLUICE_FLOW_* */
    UINT8 IpVersion;                  /* 4, 6, or 0 when the packet is not IP */
    UINT8 Protocol;                   /* behind the IP headers: an IANA protocol number */
    UINT8 IcmpType;                   /* of ICMP or ICMPv6 */
    UINT8 IcmpCode;
    UINT8 TcpFlags;                   /* FIN in the lowest bit */
    UINT8 VlanCount;                  /* how many VLAN tags there are; at most SLUICE_MAX_VLANS are listed */
    UINT16 EtherType;                 /* behind all tags */
    UINT16 SourcePort;
    UINT16 DestinationPort;
    UINT32 NetworkOffset;             /* where the IP header lies */
    UINT32 TransportOffset;           /* where the transport header lies */
    UINT32 PayloadOffset;             /* where the payload of the transport protocol lies */
    UINT32 PayloadLength;             /* how many bytes of payload were captured, or are behind a head */
    UINT8 SourceAddress[16];          /* network order; IPv4 in the first 4 bytes */
    UINT8 DestinationAddress[16];     /* network order; IPv4 in the first 4 bytes */
    UINT16 VlanIds[SLUICE_MAX_VLANS]; /* 12 bits each, outermost first */
    UINT16 DnsType;                   /* of the DNS question */
    UINT8 NameKind;                   /* SLUICE_NAME_KIND_* */
    UINT8 Reserved[3];
    UINT16 NameLength;                /* of the name as it is in the packet, in bytes */
    UINT32 NameOffset;                /* where the name lies */
    UINT32 QuicVersion;               /* of the QUIC long header */
} SLUICE_FLOW;

/* SLUICE_VERDICT.Action. A client of version 1 is given no other value. */
#define SLUICE_ACTION_PERMIT 1 /* let it through */
#define SLUICE_ACTION_BLOCK 2  /* drop it */

/* The answer for one packet. */
typedef struct _SLUICE_VERDICT {
    SLUICE_HEADER Header;
    UINT16 Action;      /* SLUICE_ACTION_* */
    UINT16 Reserved[3];
    UINT32 RuleId;      /* of the rule that decided, as its author numbered it; 0 when the default decided */
    UINT64 Generation;  /* of the policy that decided: 0 before the first is loaded, one more with every change */
    SLUICE_FLOW Flow;   /* what was read from the packet */
} SLUICE_VERDICT;

/* ---- What a client may call -------------------------------------------------------------------------------------- */

/* The counters of one client since it attached. */
typedef struct _SLUICE_STATISTICS {
    SLUICE_HEADER Header;
    UINT32 Reserved;
    UINT64 Packets;       /* packets that got a verdict */
    UINT64 Permitted;     /* verdicts that said permit */
    UINT64 Blocked;       /* verdicts that said block */
    UINT64 Malformed;     /* packets that were malformed */
    UINT64 Truncated;     /* packets that were truncated */
    UINT64 RejectedCalls; /* calls of Classify that were refused with STATUS_INVALID_PARAMETER */
} SLUICE_STATISTICS;

/* Asks what to do with Count packets, 1 to SLUICE_MAX_BATCH of them.
 *
 * Context   the provider binding context that NmrClientAttachProvider handed out with the dispatch table.
 * Packets   Count packets, their headers filled in. Only read, only during the call.
 * Verdicts  room for Count verdicts. The call writes all of each, its header too: nothing has to be initialized.
 *
 * IRQL      <= DISPATCH_LEVEL. Takes no lock, allocates nothing, waits for nothing.
 * Threads   any number of processors at once, for one binding too.
 * Lifetime  from the success of NmrClientAttachProvider until ClientDetachProvider is called. The client counts its
 *           calls in progress: ClientDetachProvider answers STATUS_PENDING while there are any, and the last of them
 *           calls NmrClientDetachProviderComplete.
 * Policy    all packets of one call are judged by one policy.
 * Heads     of a packet with SLUICE_DIRECTION_HEAD the client shows the first bytes, and can show all. Where that would
 *           make a difference, the verdicts from this packet on have SLUICE_FLOW_UNDECIDED and SLUICE_ACTION_BLOCK, and
 *           the call has done nothing for these packets: the client shows the first of them whole, without the flag,
 *           and the others again, in order. A client that never sets the flag never sees such a verdict.
 *
 * Returns STATUS_SUCCESS with every verdict written; or STATUS_INVALID_PARAMETER with none written: a NULL or
 * misaligned pointer, a Count or a length out of range, a wrong header, an unknown link type or direction. A malformed
 * packet is not an error; its verdict says so. */
_IRQL_requires_max_(DISPATCH_LEVEL)
_IRQL_requires_same_
_Must_inspect_result_
typedef NTSTATUS NTAPI SLUICE_CLASSIFY(_In_ void *Context,
                                       _In_reads_(Count) const SLUICE_PACKET *Packets,
                                       _In_ UINT32 Count,
                                       _Out_writes_(Count) SLUICE_VERDICT *Verdicts);

/* Writes the counters of this binding to Statistics, whose header the client has filled in.
 *
 * IRQL, threads and lifetime as for SLUICE_CLASSIFY. The counters are read one after the other while others may count:
 * each is right, their sums may be off by the calls in progress.
 *
 * Returns STATUS_SUCCESS; or STATUS_INVALID_PARAMETER with nothing written: a NULL or misaligned pointer, or a wrong
 * header. */
_IRQL_requires_max_(DISPATCH_LEVEL)
_IRQL_requires_same_
typedef NTSTATUS NTAPI SLUICE_QUERY_STATISTICS(_In_ void *Context, _Inout_ SLUICE_STATISTICS *Statistics);

/* What NmrClientAttachProvider hands to the client. Valid until the client's cleanup callback is called. */
typedef struct _SLUICE_PROVIDER_DISPATCH {
    SLUICE_HEADER Header;
    SLUICE_CLASSIFY *Classify;
    SLUICE_QUERY_STATISTICS *QueryStatistics;
} SLUICE_PROVIDER_DISPATCH;

/* ---- What Sluice may call ---------------------------------------------------------------------------------------- */

/* Says that policy Generation is in force from now on: what the client has cached of earlier verdicts is out of date.
 *
 * Context   the client binding context that the client passed to NmrClientAttachProvider.
 *
 * IRQL      PASSIVE_LEVEL.
 * Threads   possibly several at once: two changes that follow closely may be announced in either order. The highest
 *           Generation is the policy in force.
 * Lifetime  from inside the client's call of NmrClientAttachProvider, even before that has returned, until the client's
 *           cleanup callback is called: Sluice may still be inside after ClientDetachProvider was called.
 *
 * The function may call Classify, once the client knows the dispatch table. It must not wait for anything that needs a
 * policy change or a detach to proceed. */
_IRQL_requires_(PASSIVE_LEVEL)
_IRQL_requires_same_
typedef void NTAPI SLUICE_POLICY_CHANGED(_In_ void *Context, _In_ UINT64 Generation);

/* What a client passes to NmrClientAttachProvider. Valid and resident until the client's cleanup callback is called. */
typedef struct _SLUICE_CLIENT_DISPATCH {
    SLUICE_HEADER Header;
    SLUICE_POLICY_CHANGED *PolicyChanged;
} SLUICE_CLIENT_DISPATCH;

/* ---- What each side says about itself before they attach --------------------------------------------------------- */

/* NPI_REGISTRATION_INSTANCE.NpiSpecificCharacteristics of Sluice. A client attaches only to the version that it knows:
 * to a provider whose Header.Version is SLUICE_NPI_VERSION and whose Header.Size is at least that of this structure. */
typedef struct _SLUICE_PROVIDER_CHARACTERISTICS {
    SLUICE_HEADER Header;
    UINT32 MaxBatch; /* the largest Count that Classify takes: SLUICE_MAX_BATCH */
} SLUICE_PROVIDER_CHARACTERISTICS;

/* NPI_REGISTRATION_INSTANCE.NpiSpecificCharacteristics of a client. Valid and resident as long as it is registered. */
typedef struct _SLUICE_CLIENT_CHARACTERISTICS {
    SLUICE_HEADER Header;
    UINT32 DriverVersion;           /* of the client driver, as its author counts */
    UINT8 Name[SLUICE_NAME_LENGTH]; /* what `sluicectl status` shows: UTF-8, filled up with zeros */
} SLUICE_CLIENT_CHARACTERISTICS;

/* ---- The layout, which a compiler option must not change --------------------------------------------------------- */

#if defined(__cplusplus)
#define SLUICE_ASSERT(Condition) static_assert(Condition, #Condition)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define SLUICE_ASSERT(Condition) _Static_assert(Condition, #Condition)
#else
#define SLUICE_ASSERT(Condition) C_ASSERT(Condition)
#endif
#define SLUICE_ASSERT_OFFSET(Type, Field, Offset) SLUICE_ASSERT(offsetof(Type, Field) == (Offset))

SLUICE_ASSERT(sizeof(GUID) == 16);
SLUICE_ASSERT(sizeof(void *) == 8);

SLUICE_ASSERT(sizeof(SLUICE_HEADER) == 4);
SLUICE_ASSERT_OFFSET(SLUICE_HEADER, Version, 0);
SLUICE_ASSERT_OFFSET(SLUICE_HEADER, Size, 2);

SLUICE_ASSERT(sizeof(SLUICE_PACKET) == 24);
SLUICE_ASSERT_OFFSET(SLUICE_PACKET, Header, 0);
SLUICE_ASSERT_OFFSET(SLUICE_PACKET, LinkType, 4);
SLUICE_ASSERT_OFFSET(SLUICE_PACKET, Direction, 6);
SLUICE_ASSERT_OFFSET(SLUICE_PACKET, CapturedLength, 8);
SLUICE_ASSERT_OFFSET(SLUICE_PACKET, WireLength, 12);
SLUICE_ASSERT_OFFSET(SLUICE_PACKET, Data, 16);

SLUICE_ASSERT(sizeof(SLUICE_FLOW) == 88);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, Flags, 0);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, IpVersion, 4);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, Protocol, 5);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, IcmpType, 6);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, IcmpCode, 7);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, TcpFlags, 8);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, VlanCount, 9);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, EtherType, 10);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, SourcePort, 12);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, DestinationPort, 14);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, NetworkOffset, 16);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, TransportOffset, 20);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, PayloadOffset, 24);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, PayloadLength, 28);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, SourceAddress, 32);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, DestinationAddress, 48);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, VlanIds, 64);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, DnsType, 72);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, NameKind, 74);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, Reserved, 75);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, NameLength, 78);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, NameOffset, 80);
SLUICE_ASSERT_OFFSET(SLUICE_FLOW, QuicVersion, 84);

SLUICE_ASSERT(sizeof(SLUICE_VERDICT) == 112);
SLUICE_ASSERT_OFFSET(SLUICE_VERDICT, Header, 0);
SLUICE_ASSERT_OFFSET(SLUICE_VERDICT, Action, 4);
SLUICE_ASSERT_OFFSET(SLUICE_VERDICT, Reserved, 6);
SLUICE_ASSERT_OFFSET(SLUICE_VERDICT, RuleId, 12);
SLUICE_ASSERT_OFFSET(SLUICE_VERDICT, Generation, 16);
SLUICE_ASSERT_OFFSET(SLUICE_VERDICT, Flow, 24);

SLUICE_ASSERT(sizeof(SLUICE_STATISTICS) == 56);
SLUICE_ASSERT_OFFSET(SLUICE_STATISTICS, Header, 0);
SLUICE_ASSERT_OFFSET(SLUICE_STATISTICS, Reserved, 4);
SLUICE_ASSERT_OFFSET(SLUICE_STATISTICS, Packets, 8);
SLUICE_ASSERT_OFFSET(SLUICE_STATISTICS, Permitted, 16);
SLUICE_ASSERT_OFFSET(SLUICE_STATISTICS, Blocked, 24);
SLUICE_ASSERT_OFFSET(SLUICE_STATISTICS, Malformed, 32);
SLUICE_ASSERT_OFFSET(SLUICE_STATISTICS, Truncated, 40);
SLUICE_ASSERT_OFFSET(SLUICE_STATISTICS, RejectedCalls, 48);

SLUICE_ASSERT(sizeof(SLUICE_PROVIDER_DISPATCH) == 24);
SLUICE_ASSERT_OFFSET(SLUICE_PROVIDER_DISPATCH, Header, 0);
SLUICE_ASSERT_OFFSET(SLUICE_PROVIDER_DISPATCH, Classify, 8);
SLUICE_ASSERT_OFFSET(SLUICE_PROVIDER_DISPATCH, QueryStatistics, 16);

SLUICE_ASSERT(sizeof(SLUICE_CLIENT_DISPATCH) == 16);
SLUICE_ASSERT_OFFSET(SLUICE_CLIENT_DISPATCH, Header, 0);
SLUICE_ASSERT_OFFSET(SLUICE_CLIENT_DISPATCH, PolicyChanged, 8);

SLUICE_ASSERT(sizeof(SLUICE_PROVIDER_CHARACTERISTICS) == 8);
SLUICE_ASSERT_OFFSET(SLUICE_PROVIDER_CHARACTERISTICS, Header, 0);
SLUICE_ASSERT_OFFSET(SLUICE_PROVIDER_CHARACTERISTICS, MaxBatch, 4);

SLUICE_ASSERT(sizeof(SLUICE_CLIENT_CHARACTERISTICS) == 40);
SLUICE_ASSERT_OFFSET(SLUICE_CLIENT_CHARACTERISTICS, Header, 0);
SLUICE_ASSERT_OFFSET(SLUICE_CLIENT_CHARACTERISTICS, DriverVersion, 4);
SLUICE_ASSERT_OFFSET(SLUICE_CLIENT_CHARACTERISTICS, Name, 8);

#undef SLUICE_ASSERT_OFFSET
#undef SLUICE_ASSERT

#ifdef __cplusplus
}
#endif

#endif
