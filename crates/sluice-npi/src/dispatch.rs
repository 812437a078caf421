//! The dispatch tables of both sides and what they carry.

use crate::{Context, Header, Packet, Verdict};

/// The largest number of packets in one call of [`ProviderDispatch::classify`].
pub const MAX_BATCH: u32 = 4096;

/// Classifies `count` packets and writes as many verdicts. See [`ProviderDispatch::classify`].
pub type ClassifyFn =
    unsafe extern "system" fn(context: Context, packets: *const Packet, count: u32, verdicts: *mut Verdict) -> i32;

/// Fills in this client's counters. See [`ProviderDispatch::query_statistics`].
pub type QueryStatisticsFn = unsafe extern "system" fn(context: Context, statistics: *mut Statistics) -> i32;

/// Tells a client that another policy is in force. See [`ClientDispatch::policy_changed`].
pub type PolicyChangedFn = unsafe extern "system" fn(context: Context, generation: u64);

/// What a client may call, from its attach until its detach callback is called. `context` is the provider binding
/// context that NMR gave the client.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ProviderDispatch {
    /// Version and size.
    pub header: Header,
    /// Asks what to do with 1 to [`MAX_BATCH`] packets; `verdicts` has room for as many. Up to DISPATCH_LEVEL, on any
    /// number of processors at once; takes no lock and allocates nothing. All packets of a call are judged by one
    /// policy.
    ///
    /// Returns STATUS_SUCCESS with every verdict written, or STATUS_INVALID_PARAMETER with none: a NULL pointer, a
    /// `count` or length out of range, a wrong header, an unknown link type or direction. A malformed packet is not
    /// an error; its verdict says so.
    pub classify: ClassifyFn,
    /// Writes this client's counters to `statistics`, whose header the client has filled in. Up to DISPATCH_LEVEL.
    ///
    /// Returns STATUS_SUCCESS, or STATUS_INVALID_PARAMETER for a NULL pointer or a wrong header.
    pub query_statistics: QueryStatisticsFn,
}

/// What Sluice may call, from the client's attach until Sluice's detach callback is called. `context` is the client
/// binding context that NMR gave Sluice.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ClientDispatch {
    /// Version and size.
    pub header: Header,
    /// Says that policy `generation` is in force from now on, and that what the client has cached of earlier verdicts
    /// is out of date. At PASSIVE_LEVEL. May be called before the client's call of NmrClientAttachProvider has returned
    /// (R28). The client may call `classify` from inside it.
    pub policy_changed: PolicyChangedFn,
}

/// The counters of one client since it attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Version and size.
    pub header: Header,
    /// 0.
    pub reserved: u32,
    /// Packets that got a verdict.
    pub packets: u64,
    /// Verdicts that said permit.
    pub permitted: u64,
    /// Verdicts that said block.
    pub blocked: u64,
    /// Packets that were malformed.
    pub malformed: u64,
    /// Packets that were truncated.
    pub truncated: u64,
    /// Calls that were refused with STATUS_INVALID_PARAMETER.
    pub rejected_calls: u64,
}

impl Default for Statistics {
    /// Nothing counted yet.
    fn default() -> Self {
        Self {
            header: Header::of::<Self>(),
            reserved: 0,
            packets: 0,
            permitted: 0,
            blocked: 0,
            malformed: 0,
            truncated: 0,
            rejected_calls: 0,
        }
    }
}

/// What a client can learn of Sluice before it attaches: the NPI-specific characteristics of the provider.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderCharacteristics {
    /// Version and size.
    pub header: Header,
    /// The largest `count` that `classify` takes: [`MAX_BATCH`].
    pub max_batch: u32,
}

/// What Sluice can learn of a client before it accepts it: the NPI-specific characteristics of the client.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCharacteristics {
    /// Version and size.
    pub header: Header,
    /// The version of the client driver, as its author counts.
    pub driver_version: u32,
    /// What `sluicectl status` shows: UTF-8, filled up with zeros.
    pub name: [u8; 32],
}
