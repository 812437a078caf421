//! Host names that a client spreads over several packets.
//!
//! An [`Assembler`] keeps the first [`LENGTH`] bytes of the directions that may still name a host: of a TCP connection
//! from its SYN or the first byte of a hello, of QUIC the handshake in its Initial packets. The packet with which the
//! name becomes known gets it, with the flag [`NAME_ASSEMBLED`](sluice_npi::flags::NAME_ASSEMBLED), and so does one
//! that repeats it. Those before it say that it is pending ([`NAME_PENDING`](sluice_npi::flags::NAME_PENDING)) if that
//! is certain to happen, and otherwise that it is missing ([`NAME_MISSING`](sluice_npi::flags::NAME_MISSING)).
//!
//! - Its memory is allocated once and never grows. Streams share it by a hash with a key: in a group of [`WAYS`] the
//!   oldest makes room, but for those that said pending less than [`KEPT_MS`] ago.
//! - The first copy of a byte counts. A packet that contradicts it is malformed, and its name missing.
//! - No processor waits for another: a group that is in use is left alone, and the packet says that its name is
//!   missing. So whoever floods the assembler gets nothing but packets that say so.
//!
//! Nothing here panics or allocates after [`Assembler::try_new`], and the work for one packet has a limit. It runs at
//! any IRQL.
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

extern crate alloc;

mod assembler;
mod hash;
mod stream;
mod sync;
mod try_lock;

pub use assembler::{Assembler, DEFAULT_MEMORY, GROUP_MEMORY, WAYS};
pub use hash::HashKey;
pub use stream::{KEPT_MS, LENGTH};
pub use try_lock::TryLock;
