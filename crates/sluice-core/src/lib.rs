//! Packets to flows to verdicts: the parser and the policy of Sluice.
//!
//! [`parse`] reads the headers of a packet into a [`Flow`](sluice_npi::Flow). A [`Policy`] is an ordered list of rules,
//! compiled to a table by `compile::compile` on a host and validated by [`Policy::new`] in the kernel.
//! [`classify`] does both.
//!
//! Nothing here panics, allocates, locks or recurs, whatever the bytes are, and the work for one packet has a limit.
//! The code runs at any IRQL. Only the compiler allocates; it is for hosts, behind the feature `compile`.
#![no_std]
#![forbid(unsafe_code)]
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

#[cfg(feature = "compile")]
extern crate alloc;

mod action;
mod classify;
#[cfg(feature = "compile")]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "the compiler runs on hosts alone, on indices and sizes of its own making"
)]
pub mod compile;
pub mod ether_type;
mod parse;
mod policy;
pub use parse::stream;
pub mod protocol;

pub use action::{Action, Direction, RuleAction};
pub use classify::{CapturedPacket, Observer, classify, classify_observed, look_up_again};
pub use parse::{
    NameText, UnknownLinkType, for_each_answer_name, parse, parse_headers_into, parse_inner, parse_into,
    parse_with_name,
};
pub use policy::{
    Decision, MAX_EXPANDED, MAX_NAME_LENGTH, MAX_RULES, MAX_TABLE_SIZE, ParsedPacket, Policy, TableError,
};
