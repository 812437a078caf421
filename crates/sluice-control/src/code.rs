//! The control codes.
//!
//! Most are `METHOD_BUFFERED`: the I/O manager copies input and output through one buffer of its own, so the driver
//! never touches memory of the program. The two that move whole policies are `METHOD_OUT_DIRECT`, so that a policy does
//! not lie in non-paged pool twice: the I/O manager locks and maps the second buffer of `DeviceIoControl`, which the
//! driver reads and writes. The access that a code demands is checked by the I/O manager against the open handle.

const FILE_DEVICE_NETWORK: u32 = 0x12;
const METHOD_BUFFERED: u32 = 0;
const METHOD_OUT_DIRECT: u32 = 2;
const FILE_READ_ACCESS: u32 = 1;
const FILE_WRITE_ACCESS: u32 = 2;

/// `CTL_CODE` of `devioctl.h`. Functions from 0x800 are free for drivers outside Windows.
const fn ctl_code(function: u32, method: u32, access: u32) -> u32 {
    FILE_DEVICE_NETWORK << 16 | access << 14 | function << 2 | method
}

/// Whether the message to the driver lies in the second buffer of `DeviceIoControl`, where the answer will be, and the
/// first one is empty.
#[must_use]
pub const fn has_message_in_output(code: u32) -> bool {
    code == SLUICE_POLICY_LOAD
}

/// sluice.sys: no input; a [`Status`](crate::message::Status) and its clients as the answer. Read access.
pub const SLUICE_STATUS: u32 = ctl_code(0x800, METHOD_BUFFERED, FILE_READ_ACCESS);
/// sluice.sys: puts a policy in force. A [`PolicyRequest`](crate::message::PolicyRequest) and the table in the second
/// buffer, over which the [`PolicyAnswer`](crate::message::PolicyAnswer) is written. Write access.
pub const SLUICE_POLICY_LOAD: u32 = ctl_code(0x801, METHOD_OUT_DIRECT, FILE_WRITE_ACCESS);
/// sluice.sys: takes the policy out of force, which leaves the driver's default action. A
/// [`PolicyRequest`](crate::message::PolicyRequest) without a table; a [`PolicyAnswer`](crate::message::PolicyAnswer).
/// Write access.
pub const SLUICE_POLICY_CLEAR: u32 = ctl_code(0x802, METHOD_BUFFERED, FILE_WRITE_ACCESS);
/// sluice.sys: no input; a [`PolicyAnswer`](crate::message::PolicyAnswer) and, if it fits, the table in force. Read
/// access.
pub const SLUICE_POLICY_READ: u32 = ctl_code(0x803, METHOD_OUT_DIRECT, FILE_READ_ACCESS);

/// probe.sys: classifies a batch of packets. A [`BatchRequest`](crate::message::BatchRequest) as input, a
/// [`BatchAnswer`](crate::message::BatchAnswer) and the verdicts as the answer. Read access.
pub const PROBE_CLASSIFY: u32 = ctl_code(0x810, METHOD_BUFFERED, FILE_READ_ACCESS);
/// probe.sys: no input; a [`ProbeStatus`](crate::message::ProbeStatus) and its providers as the answer. Read access.
pub const PROBE_STATUS: u32 = ctl_code(0x811, METHOD_BUFFERED, FILE_READ_ACCESS);
