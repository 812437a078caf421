//! What sluice.sys does, without Windows: an NMR provider that classifies the packets of its clients.
#![no_std]

extern crate alloc;

mod machine;

pub use machine::Machine;
