//! What gate.sys does, without Windows: it shows Sluice the packets that the Windows Filtering Platform (WFP) shows it,
//! and answers what Sluice decides.
//!
//! | module | what it has |
//! | --- | --- |
//! | `callouts` | where packets are seen, and the filters that make them come |
//! | `judge` | from the packets of a list to one answer |
//! | `client` | the client that NMR attaches to Sluice |
//! | `gate` | start, stop and control requests |
//! | `settings`, `counters` | what an administrator has set, and what was counted |
//!
//! A callout answers for a list of packets, not for one of them. So a list passes if all of its packets do: one that
//! Sluice blocks takes the others with it, which is counted. Nothing is modified, kept or injected.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

extern crate alloc;

mod callouts;
mod client;
mod counters;
mod gate;
mod judge;
mod settings;

pub use callouts::{Callouts, Decide};
pub use gate::{Gate, StartError};
pub use judge::{GATHERED, HEAD, PACKETS, SHORT};
pub use settings::{Judged, Rejected, Settings, Treatment};
use wdk_nmr::{Guard, Resident};

/// What a driver has of its machine.
pub trait Platform: Sized + 'static {
    /// What keeps the driver's image.
    type Image: Resident;
    /// How calls into Sluice are counted.
    type Guard: Guard;

    /// Does `work` at DISPATCH_LEVEL. At up to DISPATCH_LEVEL.
    fn at_dispatch_level<R>(work: impl FnOnce() -> R) -> R;

    /// How long the system has been running, in milliseconds. At any IRQL.
    fn uptime_ms() -> u64;

    /// How many processors there are.
    fn processors() -> usize;
}
