//! What the devices are called.
//!
//! sluice.sys has one device. probe.sys may be loaded several times under several service names, so its device is
//! called like the service: service `probe2` makes `\Device\probe2`, which a program opens as `\\.\probe2`.

/// The name of the device of sluice.sys in user mode.
pub const SLUICE: &str = "Sluice";
/// The usual service name of probe.sys, and so the usual name of its device.
pub const PROBE: &str = "probe";
/// The name of the device of gate.sys in user mode, which is that of its service.
pub const GATE: &str = "gate";

/// What comes before the name when a user-mode program opens a device.
pub const WIN32_PREFIX: &str = r"\\.\";
