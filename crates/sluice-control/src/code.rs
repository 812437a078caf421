//! The control codes.
//!
//! All are `METHOD_BUFFERED`: the I/O manager copies input and output through one buffer of its own, so no driver ever
//! touches user-mode memory. The access that a code demands is checked by the I/O manager against the open handle.

const FILE_DEVICE_NETWORK: u32 = 0x12;
const METHOD_BUFFERED: u32 = 0;
const FILE_READ_ACCESS: u32 = 1;
const FILE_WRITE_ACCESS: u32 = 2;

/// `CTL_CODE` of `devioctl.h`. Functions from 0x800 are free for drivers outside Windows.
const fn ctl_code(function: u32, access: u32) -> u32 {
    FILE_DEVICE_NETWORK << 16 | access << 14 | function << 2 | METHOD_BUFFERED
}

/// sluice.sys: no input; a [`Status`](crate::message::Status) and its clients as the answer. Read access.
pub const SLUICE_STATUS: u32 = ctl_code(0x800, FILE_READ_ACCESS);
/// sluice.sys: puts a policy in force. A [`PolicyRequest`](crate::message::PolicyRequest) and the table as input; a
/// [`PolicyAnswer`](crate::message::PolicyAnswer). Write access.
pub const SLUICE_POLICY_LOAD: u32 = ctl_code(0x801, FILE_WRITE_ACCESS);
/// sluice.sys: takes the policy out of force, which leaves the driver's default action. A
/// [`PolicyRequest`](crate::message::PolicyRequest) without a table; a [`PolicyAnswer`](crate::message::PolicyAnswer).
/// Write access.
pub const SLUICE_POLICY_CLEAR: u32 = ctl_code(0x802, FILE_WRITE_ACCESS);
/// sluice.sys: no input; a [`PolicyAnswer`](crate::message::PolicyAnswer) and, if it fits, the table in force. Read
/// access.
pub const SLUICE_POLICY_READ: u32 = ctl_code(0x803, FILE_READ_ACCESS);

/// probe.sys: classifies a batch of packets. A [`BatchRequest`](crate::message::BatchRequest) as input, a
/// [`BatchAnswer`](crate::message::BatchAnswer) and the verdicts as the answer. Read access.
pub const PROBE_CLASSIFY: u32 = ctl_code(0x810, FILE_READ_ACCESS);
/// probe.sys: no input; a [`ProbeStatus`](crate::message::ProbeStatus) and its providers as the answer. Read access.
pub const PROBE_STATUS: u32 = ctl_code(0x811, FILE_READ_ACCESS);
