//! The device of gate.sys: its messages, its settings and its dispatcher.

use sluice_npi::Header;

use crate::message::header_of;
use crate::status::{
    STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_REVISION_MISMATCH,
};
use crate::wire::{Wire, wire};
use crate::{Buffered, Buffers, Completion, NTSTATUS, Request, code, expect_no_input, expect_room};

/// The longest time that [`GateEnable::seconds`] may say: a day.
pub const MAX_SECONDS: u32 = 24 * 60 * 60;

/// What an administrator can set for gate.sys: REG_DWORD values of the key `Parameters` below the key of its service.
/// The driver reads them when it starts, and does not start if one of them is not what is said here.
pub mod settings {
    /// What becomes of packets while no Sluice is attached: [`PERMIT`] or [`BLOCK`]. Without it they are permitted.
    pub const WHEN_NO_SLUICE: &str = "WhenNoSluice";
    /// What becomes of packets that cannot be read: [`PERMIT`] or [`BLOCK`]. Without it they are blocked.
    pub const ON_MALFORMED: &str = "OnMalformed";
    /// 1: whoever sends a packet that is blocked is told so by an error. 0, or without it: the packet vanishes.
    pub const REPORT_BLOCKED: &str = "ReportBlocked";
    /// 1: packets that stay on this machine are judged like all others. 0, or without it: they are left alone.
    pub const LOOPBACK: &str = "Loopback";
    /// What is judged: [`IP_PACKETS`], [`ETHERNET_FRAMES`]. Without it packets.
    pub const LAYERS: &str = "Layers";
    /// 1: the driver begins to filter when it starts. 0, or without it: when it is told to.
    pub const ENABLE_AT_START: &str = "EnableAtStart";

    /// A packet passes.
    pub const PERMIT: u32 = 1;
    /// A packet does not pass.
    pub const BLOCK: u32 = 2;

    /// IPv4 and IPv6 packets: received, sent and forwarded.
    pub const IP_PACKETS: u32 = 1;
    /// Ethernet frames, whatever is in them: received and sent.
    pub const ETHERNET_FRAMES: u32 = 2;
}

/// The bits of [`GateStatus::flags`].
pub mod flags {
    /// The filters are there: packets are judged.
    pub const ENABLED: u32 = 1;
    /// A Sluice is attached.
    pub const ATTACHED: u32 = 1 << 1;
    /// While none is, packets are blocked.
    pub const BLOCKS_WHEN_NO_SLUICE: u32 = 1 << 2;
    /// Packets that cannot be read are blocked.
    pub const BLOCKS_MALFORMED: u32 = 1 << 3;
    /// Who sends a packet that is blocked is told.
    pub const REPORTS_BLOCKED: u32 = 1 << 4;
    /// Packets that stay on this machine are judged, too.
    pub const JUDGES_LOOPBACK: u32 = 1 << 5;
    /// Ethernet frames are judged, not IP packets.
    pub const JUDGES_FRAMES: u32 = 1 << 6;
}

/// The input of [`GATE_ENABLE`](code::GATE_ENABLE).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateEnable {
    /// Version and size.
    pub header: Header,
    /// For how many seconds, at most [`MAX_SECONDS`]; 0 until it is disabled or the driver stops.
    pub seconds: u32,
}

/// The answer to every request: what gate.sys does, and has done since it started.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateStatus {
    /// Version and size.
    pub header: Header,
    /// Bits of [`flags`].
    pub flags: u32,
    /// For how many milliseconds packets are still judged; 0 without an end, and while they are not.
    pub remaining_ms: u64,
    /// The counters.
    pub counters: GateCounters,
}

/// Counters by name, all of them `u64`, said once: the structure, its form on the wire, and the same as a list.
macro_rules! counters {
    ($(#[$doc:meta])* $type:ident { $($(#[$counter_doc:meta])* $counter:ident,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $type {
            $($(#[$counter_doc])* pub $counter: u64,)*
        }

        wire!($type { $($counter: u64),* });

        impl $type {
            /// The names of all counters, in their order.
            pub const NAMES: [&str; [$(stringify!($counter)),*].len()] = [$(stringify!($counter)),*];

            /// All counters, in their order.
            #[must_use]
            pub const fn to_array(self) -> [u64; Self::NAMES.len()] {
                [$(self.$counter),*]
            }

            /// The counters that [`to_array`](Self::to_array) gave.
            #[must_use]
            pub const fn from_array([$($counter),*]: [u64; Self::NAMES.len()]) -> Self {
                Self { $($counter),* }
            }
        }
    };
}

counters! {
    /// What gate.sys has counted since it started. A list is what WFP shows at a time: packets that pass or are blocked
    /// together.
    GateCounters {
        /// Lists that were judged.
        lists,
        /// Lists that were blocked.
        blocked_lists,
        /// Of those, lists with packets in them that would have passed alone.
        mixed_lists,
        /// Packets that Sluice permitted.
        permitted,
        /// Packets that Sluice blocked.
        blocked,
        /// Packets, and lists without any, that could not be read.
        malformed,
        /// Packets for which there was no Sluice.
        unanswered,
        /// Lists for which there was no memory, since more threads than foreseen were in a classification. They are
        /// treated as those that cannot be read.
        without_memory,
    }
}

wire!(GateEnable { header: Header, seconds: u32 });
wire!(GateStatus { header: Header, flags: u32, remaining_ms: u64, counters: GateCounters });

/// What gate.sys does for the requests of its device. Everything is called at PASSIVE_LEVEL, by as many threads at once
/// as there are requests.
pub trait Operations {
    /// What it does, and has done.
    fn status(&self) -> GateStatus;

    /// Begins to filter, for so many seconds if it is said how many. If it filters already, only the time changes.
    ///
    /// # Errors
    ///
    /// `STATUS_DEVICE_BUSY` while another request changes the same; what WFP says.
    fn enable(&self, seconds: Option<u32>) -> Result<(), NTSTATUS>;

    /// Stops filtering.
    ///
    /// # Errors
    ///
    /// `STATUS_DEVICE_BUSY` while another request changes the same.
    fn disable(&self) -> Result<(), NTSTATUS>;
}

/// Answers one request with the operation that its code asks for.
pub fn dispatch<D: Operations>(device: &D, request: Request<'_>) -> Completion {
    Completion::of(match (request.code, request.buffers) {
        (code::GATE_STATUS, Buffers::Buffered(buffer)) => {
            answer(device, buffer, |input| expect_no_input(input).map(|()| Change::None))
        }
        (code::GATE_ENABLE, Buffers::Buffered(buffer)) => answer(device, buffer, enable),
        (code::GATE_DISABLE, Buffers::Buffered(buffer)) => {
            answer(device, buffer, |input| expect_no_input(input).map(|()| Change::Disable))
        }
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    })
}

enum Change {
    None,
    Enable(Option<u32>),
    Disable,
}

fn enable(mut input: &[u8]) -> Result<Change, NTSTATUS> {
    let request = GateEnable::read(&mut input).filter(|_| input.is_empty()).ok_or(STATUS_INVALID_BUFFER_SIZE)?;
    if request.header.version != crate::VERSION {
        return Err(STATUS_REVISION_MISMATCH);
    }
    if request.header != header_of::<GateEnable>() || request.seconds > MAX_SECONDS {
        return Err(STATUS_INVALID_PARAMETER);
    }
    Ok(Change::Enable((request.seconds != 0).then_some(request.seconds)))
}

/// Reads the request, then looks whether its answer has room, then makes the change.
fn answer<D: Operations>(
    device: &D,
    mut buffer: Buffered<'_>,
    read: impl FnOnce(&[u8]) -> Result<Change, NTSTATUS>,
) -> Result<usize, NTSTATUS> {
    let change = read(buffer.input())?;
    expect_room(buffer.output().len(), GateStatus::SIZE)?;
    match change {
        Change::None => {}
        Change::Enable(seconds) => device.enable(seconds)?,
        Change::Disable => device.disable()?,
    }
    device.status().write(&mut buffer.output()).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    Ok(GateStatus::SIZE)
}
