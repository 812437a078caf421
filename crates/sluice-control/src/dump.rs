//! What sluice.sys adds to a crash dump: [`Dump`], and behind it a [`DumpBinding`] for each client, as many as there is
//! room for. A debugger shows it by [`ID`]; docs/windows.md has the offsets.

use crate::message::{ModuleId, Status};
use crate::wire::wire;

/// The identifier of the data: bb1d8e57-3a0b-4f6c-9c5e-6d2f70c1a894.
pub const ID: u128 = 0xbb1d_8e57_3a0b_4f6c_9c5e_6d2f_70c1_a894;

/// [`Dump::magic`].
pub const MAGIC: [u8; 8] = *b"SluiceDp";

/// [`Dump::version`]: one more with every change of the structures here, or of [`Status`].
pub const VERSION: u32 = 1;

/// The state of the driver.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dump {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// How many entries of the System log are missing.
    pub missed_entries: u32,
    /// Where the registration block is.
    pub registration: u64,
    /// What the block begins with: `RegistrationHeader` of wdk-nmr, up to the registration handle.
    pub block: [u64; 5],
    /// What `sluicectl status` shows, with the number of the bindings that there are and that follow.
    pub status: Status,
}

/// What one binding is doing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpBinding {
    /// Which module the client is.
    pub module_id: ModuleId,
    /// The state of its slot: 1 attaching, 2 attached, 3 unusable, 4 draining, 5 detached. One that drains has calls of
    /// sluice.sys in progress, one that is detached waits for the client.
    pub state: u32,
    /// How many calls of `PolicyChanged` are in progress.
    pub calls: u64,
    /// For how long its detach has been pending, in milliseconds.
    pub detaching: u64,
}

wire!(Dump { magic: [u8; 8], version: u32, missed_entries: u32, registration: u64, block: [u64; 5], status: Status });
wire!(DumpBinding { module_id: ModuleId, state: u32, calls: u64, detaching: u64 });
