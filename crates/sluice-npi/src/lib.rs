//! The network programming interface (NPI) of Sluice, version 1: what a client driver and sluice.sys agree on.
//!
//! A client registers with NMR for [`NPI_ID`]. When it has attached it holds a [`ProviderDispatch`] and hands packets
//! to [`ProviderDispatch::classify`]; Sluice calls [`ClientDispatch::policy_changed`] when another policy is in force.
//! The same declarations for C are in `include/sluice_npi.h`.
//!
//! Every structure starts with a [`Header`]: its version and its size in bytes. All integers are in the byte order of
//! the machine, ports included. Addresses are in network order, as they are in the packet.
#![no_std]

use core::ffi::c_void;

mod dispatch;
mod flow;
#[cfg(feature = "nmr")]
pub mod nmr;

pub use dispatch::{
    ClassifyFn, ClientCharacteristics, ClientDispatch, MAX_BATCH, PolicyChangedFn, ProviderCharacteristics,
    ProviderDispatch, QueryStatisticsFn, Statistics,
};
pub use flow::{Flow, MAX_VLANS, flags, name_kind};
#[cfg(feature = "nmr")]
pub use nmr::{
    Answered, CallClient, CallSluice, ClassifyCall, Failed, Invalid, NPI_ID, PacketRef, SluiceClient, SluiceNpi,
    SluiceProvider, client_dispatch, provider_dispatch,
};

/// The version of this contract, in every [`Header`].
pub const VERSION: u16 = 1;

/// How every structure of the contract starts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of the structure: [`VERSION`].
    pub version: u16,
    /// The size of the whole structure in bytes.
    pub size: u16,
}

impl Header {
    /// The header of a structure of type `T`.
    #[must_use]
    pub const fn of<T>() -> Self {
        assert!(size_of::<T>() <= u16::MAX as usize, "structures of the contract are small");
        Self { version: VERSION, size: size_of::<T>() as u16 }
    }
}

/// The link types that Sluice reads: the numbers of pcap's LINKTYPE registry.
pub mod link_type {
    /// BSD loopback: a 4-byte address family in the byte order of the capturing machine.
    pub const NULL: u16 = 0;
    /// Ethernet.
    pub const ETHERNET: u16 = 1;
    /// PPP, with or without HDLC-like framing.
    pub const PPP: u16 = 9;
    /// PPP in HDLC-like framing, or Cisco HDLC.
    pub const PPP_HDLC: u16 = 50;
    /// Raw IPv4 or IPv6, told apart by the version in the first byte.
    pub const RAW: u16 = 101;
    /// OpenBSD loopback: a 4-byte address family in network order.
    pub const LOOP: u16 = 108;
    /// Linux "cooked" capture, version 1.
    pub const LINUX_SLL: u16 = 113;
    /// Wi-Fi behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: u16 = 127;
    /// Raw IPv4.
    pub const IPV4: u16 = 228;
    /// Raw IPv6.
    pub const IPV6: u16 = 229;
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: u16 = 276;

    /// All of them, in order, with the names that users write: libpcap's, in lower case.
    pub const NAMES: [(u16, &str); 11] = [
        (NULL, "null"),
        (ETHERNET, "ethernet"),
        (PPP, "ppp"),
        (PPP_HDLC, "ppp_hdlc"),
        (RAW, "raw"),
        (LOOP, "loop"),
        (LINUX_SLL, "linux_sll"),
        (IEEE802_11_RADIOTAP, "ieee802_11_radiotap"),
        (IPV4, "ipv4"),
        (IPV6, "ipv6"),
        (LINUX_SLL2, "linux_sll2"),
    ];

    /// Whether `link_type` is one of these.
    #[must_use]
    pub const fn is_known(link_type: u16) -> bool {
        matches!(
            link_type,
            NULL | ETHERNET | PPP | PPP_HDLC | RAW | LOOP | LINUX_SLL | IEEE802_11_RADIOTAP | IPV4 | IPV6 | LINUX_SLL2
        )
    }
}

/// Which way a packet goes.
pub mod direction {
    /// Not known: only rules without a direction match.
    pub const UNSPECIFIED: u16 = 0;
    /// Towards this machine.
    pub const INBOUND: u16 = 1;
    /// Away from this machine.
    pub const OUTBOUND: u16 = 2;
    /// Added to a direction: the bytes are the head of a packet that can be shown whole. If more of it would be looked
    /// at, the verdicts from this packet on are [`UNDECIDED`](crate::flags::UNDECIDED), and the call has been one with
    /// the packets before it.
    pub const HEAD: u16 = 0x8000;
}

/// What to do with a packet.
pub mod action {
    /// Let it through.
    pub const PERMIT: u16 = 1;
    /// Drop it.
    pub const BLOCK: u16 = 2;
}

/// A packet that a client wants classified.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Version and size.
    pub header: Header,
    /// What the bytes start with: one of [`link_type`].
    pub link_type: u16,
    /// One of [`direction`], to which [`HEAD`](direction::HEAD) may be added.
    pub direction: u16,
    /// How many bytes `data` points to.
    pub captured_length: u32,
    /// How many bytes the packet has on the wire; at least `captured_length`.
    pub wire_length: u32,
    /// The bytes, contiguous and readable for the duration of the call. May be NULL only if `captured_length` is 0.
    pub data: *const u8,
}

/// The answer for one packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Version and size.
    pub header: Header,
    /// One of [`action`].
    pub action: u16,
    /// 0.
    pub reserved: [u16; 3],
    /// The rule that decided, by the number that its author gave it; 0 when no rule matched and the default decided.
    pub rule_id: u32,
    /// Which policy decided: 0 before the first one is loaded, then one more with every change.
    pub generation: u64,
    /// What was read from the packet.
    pub flow: Flow,
}

impl Default for Verdict {
    /// Nothing read, nothing decided: the action is none of [`action`].
    fn default() -> Self {
        Self {
            header: Header::of::<Self>(),
            action: 0,
            reserved: [0; 3],
            rule_id: 0,
            generation: 0,
            flow: Flow::default(),
        }
    }
}

/// A context pointer that one side hands out with its dispatch table and gets back with every call.
pub type Context = *mut c_void;

/// A structure without padding: every byte of it is a byte of a field, so it may be copied to another address space.
macro_rules! assert_size {
    ($($type:ty = $size:literal),* $(,)?) => { $(const _: () = assert!(size_of::<$type>() == $size);)* };
}

assert_size!(
    Header = 4,
    Flow = 88,
    Verdict = 112,
    Statistics = 56,
    ProviderCharacteristics = 8,
    ClientCharacteristics = 40
);
#[cfg(target_pointer_width = "64")]
assert_size!(Packet = 24, ProviderDispatch = 24, ClientDispatch = 16);
