//! What sluice.sys does, without Windows: an NMR provider that classifies the packets of its clients.
//!
//! [`Engine`] and [`RunningEngine`] are the whole driver except for what only Windows can give: processors, a clock,
//! a pause, a file, a trace. That is [`Machine`]. So all of it runs in `cargo test` against a registrar.
//!
//! Data flows one way. A client's call comes in through the dispatch table (`provider`), is judged by the policy in
//! force (`policy`) and counted (`counters`); rules may log it (`log`), and another policy may be tried on it
//! (`dry_run`). A control request (`running`) puts another policy in force, and persists it if asked (`storage`). What
//! happens on the way is reported (`event`).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod counters;
mod dry_run;
mod dump;
mod event;
mod log;
mod machine;
mod policy;
mod provider;
mod running;
mod storage;

pub use event::Event;
pub use machine::Machine;
pub use policy::DEFAULT_TABLE_LIMIT;
pub use provider::{AttachedClient, Engine, MODULE_ID};
pub use running::RunningEngine;
pub use sluice_assembler::DEFAULT_MEMORY as DEFAULT_ASSEMBLY_MEMORY;
pub use sluice_core::Action;
pub use storage::Storage;
