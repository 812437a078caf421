//! The control codes.
//!
//! Most are `METHOD_BUFFERED`: the I/O manager copies input and output through one buffer of its own, so the driver
//! never touches memory of the program. Those that move whole policies are `METHOD_OUT_DIRECT`, so that a policy does
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
    matches!(code, SLUICE_POLICY_LOAD | SLUICE_DRY_RUN_START)
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

/// sluice.sys: how many packets each rule matched. A [`CountersRequest`](crate::message::CountersRequest) as input, a
/// [`CountersAnswer`](crate::message::CountersAnswer) and counters as the answer. Read access.
pub const SLUICE_RULE_COUNTERS: u32 = ctl_code(0x804, METHOD_BUFFERED, FILE_READ_ACCESS);
/// sluice.sys: packets that rules have logged. A [`LogRequest`](crate::message::LogRequest) as input, a
/// [`LogAnswer`](crate::message::LogAnswer) and records as the answer. It does not wait for packets. Read access.
pub const SLUICE_LOG_READ: u32 = ctl_code(0x805, METHOD_BUFFERED, FILE_READ_ACCESS);
/// sluice.sys: tries a policy beside the one in force, in place of the one that is being tried. Buffers as for
/// [`SLUICE_POLICY_LOAD`], without flags. Write access.
pub const SLUICE_DRY_RUN_START: u32 = ctl_code(0x806, METHOD_OUT_DIRECT, FILE_WRITE_ACCESS);
/// sluice.sys: stops trying a policy. Buffers as for [`SLUICE_POLICY_CLEAR`], without flags. Write access.
pub const SLUICE_DRY_RUN_STOP: u32 = ctl_code(0x807, METHOD_BUFFERED, FILE_WRITE_ACCESS);
/// sluice.sys: what the policy that is being tried would change. No input; a
/// [`DryRunStatus`](crate::message::DryRunStatus) and packets as the answer. Read access.
pub const SLUICE_DRY_RUN_STATUS: u32 = ctl_code(0x808, METHOD_BUFFERED, FILE_READ_ACCESS);
/// sluice.sys: puts the policy that is being tried in force, which ends the dry run. Buffers as for
/// [`SLUICE_POLICY_CLEAR`]. Write access.
pub const SLUICE_DRY_RUN_LOAD: u32 = ctl_code(0x809, METHOD_BUFFERED, FILE_WRITE_ACCESS);
/// sluice.sys: no input; a [`PolicyAnswer`](crate::message::PolicyAnswer) with the generation of the policy in force
/// and, if it fits, the table that is being tried. Read access.
pub const SLUICE_DRY_RUN_READ: u32 = ctl_code(0x80A, METHOD_OUT_DIRECT, FILE_READ_ACCESS);

/// probe.sys: classifies a batch of packets. A [`BatchRequest`](crate::message::BatchRequest) as input, a
/// [`BatchAnswer`](crate::message::BatchAnswer) and the verdicts as the answer. Read access.
pub const PROBE_CLASSIFY: u32 = ctl_code(0x810, METHOD_BUFFERED, FILE_READ_ACCESS);
/// probe.sys: no input; a [`ProbeStatus`](crate::message::ProbeStatus) and its providers as the answer. Read access.
pub const PROBE_STATUS: u32 = ctl_code(0x811, METHOD_BUFFERED, FILE_READ_ACCESS);

/// gate.sys: no input; a [`GateStatus`](crate::gate::GateStatus) as the answer. Read access.
pub const GATE_STATUS: u32 = ctl_code(0x820, METHOD_BUFFERED, FILE_READ_ACCESS);
/// gate.sys: begins to filter, or changes for how long. A [`GateEnable`](crate::gate::GateEnable) as input, a
/// [`GateStatus`](crate::gate::GateStatus) as the answer. Write access.
pub const GATE_ENABLE: u32 = ctl_code(0x821, METHOD_BUFFERED, FILE_WRITE_ACCESS);
/// gate.sys: stops filtering. No input; a [`GateStatus`](crate::gate::GateStatus) as the answer. Write access.
pub const GATE_DISABLE: u32 = ctl_code(0x822, METHOD_BUFFERED, FILE_WRITE_ACCESS);
