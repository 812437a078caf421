//! What the device of gate.sys answers to good and bad requests.

use std::cell::Cell;

use sluice_control::gate::{GateCounters, GateStatus, MAX_SECONDS, Operations, dispatch, flags};
use sluice_control::message::{header_of, status_flags};
use sluice_control::status::*;
use sluice_control::wire::Wire;
use sluice_control::{Buffered, Buffers, Completion, NTSTATUS, Request, SharedBytes, VERSION, code};

/// What was last asked of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Enable(Option<u32>),
    Disable,
}

#[derive(Default)]
struct Gate {
    asked: Cell<Option<Asked>>,
    is_busy: bool,
}

impl Gate {
    fn take(&self, asked: Asked) -> Result<(), NTSTATUS> {
        self.asked.set(Some(asked));
        if self.is_busy { Err(STATUS_UNSUCCESSFUL) } else { Ok(()) }
    }
}

impl Operations for Gate {
    fn status(&self) -> GateStatus {
        let counters = GateCounters::from_array([1, 2, 3, 4, 5, 6, 7, 8]);
        GateStatus { header: header_of::<GateStatus>(), flags: flags::ENABLED, remaining_ms: 9, counters }
    }

    fn enable(&self, seconds: Option<u32>) -> Result<(), NTSTATUS> {
        self.take(Asked::Enable(seconds))
    }

    fn disable(&self) -> Result<(), NTSTATUS> {
        self.take(Asked::Disable)
    }
}

/// Sends a request with room for `room` bytes of answer; returns the answer.
fn request(gate: &Gate, code: u32, input: &[u8], room: usize) -> (Completion, Vec<u8>) {
    let mut buffer = input.to_vec();
    buffer.resize(input.len().max(room), 0xAA);
    let buffered = Buffered::new(&mut buffer, input.len(), room).expect("the buffer has room for both");
    let completion = dispatch(gate, Request { code, buffers: Buffers::Buffered(buffered) });
    (completion, buffer)
}

/// The bytes of a request to enable, written out by hand.
fn enable(version: u16, size: u16, seconds: u32) -> Vec<u8> {
    [&version.to_le_bytes()[..], &size.to_le_bytes(), &seconds.to_le_bytes()].concat()
}

#[test]
fn every_flag_is_a_bit_of_its_own() {
    let gate = [
        flags::ENABLED,
        flags::ATTACHED,
        flags::BLOCKS_WHEN_NO_SLUICE,
        flags::BLOCKS_MALFORMED,
        flags::REPORTS_BLOCKED,
        flags::JUDGES_LOOPBACK,
        flags::JUDGES_FRAMES,
    ];
    assert_eq!(gate, [1, 2, 4, 8, 16, 32, 64]);
    assert_eq!([status_flags::PERSISTED, status_flags::PERSISTED_DAMAGED], [1, 2], "those of Sluice");
}

#[test]
fn each_request_does_what_it_says_and_is_answered_with_the_status() {
    for (code, input, asked) in [
        (code::GATE_STATUS, vec![], None),
        (code::GATE_ENABLE, enable(VERSION, 8, 0), Some(Asked::Enable(None))),
        (code::GATE_ENABLE, enable(VERSION, 8, 1), Some(Asked::Enable(Some(1)))),
        (code::GATE_ENABLE, enable(VERSION, 8, MAX_SECONDS), Some(Asked::Enable(Some(86_400)))),
        (code::GATE_DISABLE, vec![], Some(Asked::Disable)),
    ] {
        let gate = Gate::default();
        let (completion, answer) = request(&gate, code, &input, GateStatus::SIZE);
        assert_eq!(completion, Completion { status: STATUS_SUCCESS, information: GateStatus::SIZE });
        assert_eq!(GateStatus::read(&mut &answer[..]), Some(gate.status()));
        assert_eq!(gate.asked.get(), asked, "code {code:#x}");
    }
}

#[test]
fn every_wrong_request_is_named_and_does_nothing() {
    let good = enable(VERSION, 8, 5);
    let room = GateStatus::SIZE;
    for (code, input, room, status) in [
        (code::GATE_STATUS, vec![0], room, STATUS_INVALID_BUFFER_SIZE),
        (code::GATE_DISABLE, vec![0], room, STATUS_INVALID_BUFFER_SIZE),
        (code::GATE_ENABLE, vec![], room, STATUS_INVALID_BUFFER_SIZE),
        (code::GATE_ENABLE, good[..7].to_vec(), room, STATUS_INVALID_BUFFER_SIZE),
        (code::GATE_ENABLE, [&good[..], &[0]].concat(), room, STATUS_INVALID_BUFFER_SIZE),
        (code::GATE_ENABLE, enable(VERSION + 1, 8, 5), room, STATUS_REVISION_MISMATCH),
        (code::GATE_ENABLE, enable(VERSION, 9, 5), room, STATUS_INVALID_PARAMETER),
        (code::GATE_ENABLE, enable(VERSION, 8, MAX_SECONDS + 1), room, STATUS_INVALID_PARAMETER),
        (code::GATE_ENABLE, good.clone(), room - 1, STATUS_BUFFER_TOO_SMALL),
        (code::GATE_STATUS, vec![], 0, STATUS_BUFFER_TOO_SMALL),
        (code::SLUICE_STATUS, vec![], room, STATUS_INVALID_DEVICE_REQUEST),
    ] {
        let gate = Gate::default();
        let (completion, _) = request(&gate, code, &input, room);
        assert_eq!(completion, Completion { status, information: 0 }, "code {code:#x}, input {input:x?}, room {room}");
        assert_eq!(gate.asked.get(), None);
    }
    let mut bytes = vec![0; room];
    let buffers = Buffers::Direct { input: &[], shared: SharedBytes::new(&mut bytes) };
    let refused = dispatch(&Gate::default(), Request { code: code::GATE_STATUS, buffers });
    assert_eq!(refused.status, STATUS_INVALID_DEVICE_REQUEST, "buffers of another method");
}

#[test]
fn what_the_gate_refuses_is_passed_on() {
    let gate = Gate { is_busy: true, ..Gate::default() };
    for (code, input) in [(code::GATE_ENABLE, enable(VERSION, 8, 0)), (code::GATE_DISABLE, vec![])] {
        let (completion, _) = request(&gate, code, &input, GateStatus::SIZE);
        assert_eq!(completion, Completion { status: STATUS_UNSUCCESSFUL, information: 0 });
    }
}
