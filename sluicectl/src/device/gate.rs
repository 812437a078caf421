//! The device of gate.sys.

use sluice_control::code;
use sluice_control::gate::{GateEnable, GateStatus};
use sluice_control::message::header_of;
use sluice_control::name::GATE;
use sluice_control::wire::Wire;

use super::{Access, Handle, fixed_part, to_bytes};
use crate::failure::Failure;

/// The control device of gate.sys.
pub(crate) struct Gate(Handle);

impl Gate {
    /// Opens the device to read from it.
    pub(crate) fn open() -> Result<Self, Failure> {
        Handle::open(GATE, Access::Read).map(Self)
    }

    /// Opens the device to change whether it filters.
    pub(crate) fn open_to_change() -> Result<Self, Failure> {
        Handle::open(GATE, Access::ReadWrite).map(Self)
    }

    pub(crate) fn status(&self) -> Result<GateStatus, Failure> {
        self.ask(code::GATE_STATUS, &[])
    }

    /// Begins to filter, or goes on for that many seconds, or without an end.
    pub(crate) fn enable(&self, seconds: Option<u32>) -> Result<GateStatus, Failure> {
        let request = GateEnable { header: header_of::<GateEnable>(), seconds: seconds.unwrap_or(0) };
        self.ask(code::GATE_ENABLE, &to_bytes(&request))
    }

    pub(crate) fn disable(&self) -> Result<GateStatus, Failure> {
        self.ask(code::GATE_DISABLE, &[])
    }

    fn ask(&self, code: u32, request: &[u8]) -> Result<GateStatus, Failure> {
        let answer = self.0.control(code, request, GateStatus::SIZE)?;
        fixed_part(&mut &answer[..], |answer: &GateStatus| answer.header)
    }
}
