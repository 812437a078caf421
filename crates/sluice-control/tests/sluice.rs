//! What the control device of sluice.sys answers to good, bad and arbitrary requests.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use sluice_control::message::{
    ClientStatus, CountersAnswer, CountersRequest, DryRunStatus, LogAnswer, LogRequest, MAX_RECORDED_NAME, ModuleId,
    PacketRecord, PolicyAnswer, RuleCounter, Status, client_state, counted_policy, header_of, module_id_kind,
    policy_flags, status_flags,
};
use sluice_control::sluice::{Operations, PolicyInForce, dispatch};
use sluice_control::status::*;
use sluice_control::wire::Wire;
use sluice_control::{Buffered, Buffers, Completion, List, NTSTATUS, Request, SharedBytes, VERSION, code};
use sluice_npi::{Flow, Header, Statistics, action, direction, link_type};

/// A driver that takes any table which does not start with 0xFF.
#[derive(Default)]
struct Driver {
    table: RefCell<Vec<u8>>,
    generation: Cell<u64>,
    persisted: Cell<bool>,
    tried: RefCell<Vec<u8>>,
    clients: Vec<ClientStatus>,
}

impl Driver {
    fn next_generation(&self) -> u64 {
        self.generation.set(self.generation.get() + 1);
        self.generation.get()
    }
}

impl Operations for Driver {
    fn status(&self, clients: &mut List<'_, ClientStatus>) -> Status {
        self.clients.iter().for_each(|client| clients.push(client));
        Status {
            header: Header { version: 0, size: 0 },
            flags: if self.persisted.get() { status_flags::PERSISTED } else { 0 },
            driver_version: [1, 2, 3, 0],
            uptime: 4,
            generation: self.generation.get(),
            table_length: self.table.borrow().len() as u32,
            rule_count: 5,
            default_action: action::PERMIT,
            reserved: [0; 3],
            clients_total: 77,
            clients_listed: 78,
        }
    }

    fn load_policy(&self, table: &SharedBytes<'_>, persist: bool) -> Result<u64, NTSTATUS> {
        assert!(!table.is_empty(), "an empty table never reaches the driver");
        let table = table.to_vec()?;
        if table[0] == 0xFF {
            return Err(STATUS_UNSUCCESSFUL);
        }
        *self.table.borrow_mut() = table;
        self.persisted.set(persist);
        Ok(self.next_generation())
    }

    fn clear_policy(&self, persist: bool) -> Result<u64, NTSTATUS> {
        self.table.borrow_mut().clear();
        self.persisted.set(persist);
        Ok(self.next_generation())
    }

    fn read_policy(&self, place: &mut SharedBytes<'_>) -> PolicyInForce {
        let table = self.table.borrow();
        let _ = place.write(&table);
        PolicyInForce { generation: self.generation.get(), table_length: table.len() }
    }

    fn rule_counters(
        &self,
        request: &CountersRequest,
        rules: &mut List<'_, RuleCounter>,
    ) -> Result<CountersAnswer, NTSTATUS> {
        if request.policy == counted_policy::DRY_RUN && self.tried.borrow().is_empty() {
            return Err(STATUS_NOT_FOUND);
        }
        (request.first..5).for_each(|rule| rules.push(&counter(rule)));
        Ok(CountersAnswer {
            header: Header { version: 0, size: 0 },
            rules_total: 5,
            generation: self.generation.get(),
            default_packets: 7,
            default_changed: 8,
            default_action: action::BLOCK,
            reserved: 0,
            listed: 77,
        })
    }

    fn read_log(&self, next: u64, records: &mut List<'_, PacketRecord>) -> LogAnswer {
        (next..3).for_each(|number| records.push(&packet(number)));
        LogAnswer { header: Header { version: 0, size: 0 }, listed: 77, next: 3, lost: 1, now: 9 }
    }

    fn start_dry_run(&self, table: &SharedBytes<'_>) -> Result<u64, NTSTATUS> {
        *self.tried.borrow_mut() = table.to_vec()?;
        Ok(self.generation.get())
    }

    fn stop_dry_run(&self) -> Result<u64, NTSTATUS> {
        let tried = self.tried.take();
        if tried.is_empty() { Err(STATUS_NOT_FOUND) } else { Ok(self.generation.get()) }
    }

    fn dry_run(&self, samples: &mut List<'_, PacketRecord>) -> Result<DryRunStatus, NTSTATUS> {
        if self.tried.borrow().is_empty() {
            return Err(STATUS_NOT_FOUND);
        }
        (0..2).for_each(|number| samples.push(&packet(number)));
        Ok(DryRunStatus {
            header: Header { version: 0, size: 0 },
            table_length: self.tried.borrow().len() as u32,
            started_generation: 0,
            generation: self.generation.get(),
            running: 5,
            packets: [1, 2, 3, 4],
            rule_count: 5,
            default_action: action::PERMIT,
            reserved: 0,
            samples_total: 77,
            samples_listed: 78,
            now: 9,
        })
    }

    fn load_dry_run(&self, persist: bool) -> Result<PolicyInForce, NTSTATUS> {
        let tried = self.tried.take();
        if tried.is_empty() {
            return Err(STATUS_NOT_FOUND);
        }
        let table_length = tried.len();
        *self.table.borrow_mut() = tried;
        self.persisted.set(persist);
        Ok(PolicyInForce { generation: self.next_generation(), table_length })
    }

    fn read_dry_run(&self, place: &mut SharedBytes<'_>) -> Result<PolicyInForce, NTSTATUS> {
        let tried = self.tried.borrow();
        if tried.is_empty() {
            return Err(STATUS_NOT_FOUND);
        }
        let _ = place.write(&tried);
        Ok(PolicyInForce { generation: self.generation.get(), table_length: tried.len() })
    }
}

fn counter(rule: u32) -> RuleCounter {
    RuleCounter { id: 10 + rule, action: action::PERMIT, reserved: 0, packets: rule.into(), changed: 1 }
}

fn packet(number: u64) -> PacketRecord {
    PacketRecord {
        time: 1,
        generation: 2,
        matched: number,
        rule_id: 4,
        decided_by: 5,
        action: action::BLOCK,
        dry_run_action: action::PERMIT,
        link_type: link_type::RAW,
        direction: direction::INBOUND,
        wire_length: 60,
        reserved: 0,
        module_id: ModuleId { kind: module_id_kind::GUID, value: [6; 16] },
        flow: Flow { name_length: 3, ..Flow::default() },
        name: [b'n'; MAX_RECORDED_NAME],
    }
}

fn client(number: u8) -> ClientStatus {
    ClientStatus {
        module_id: ModuleId { kind: module_id_kind::GUID, value: [number; 16] },
        state: client_state::ATTACHED,
        reserved: 0,
        driver_version: 9,
        reserved2: 0,
        name: [b'c'; 32],
        attached: 1000,
        statistics: Statistics {
            header: header_of::<Statistics>(),
            reserved: 0,
            packets: 10,
            permitted: 7,
            blocked: 3,
            malformed: 1,
            truncated: 2,
            rejected_calls: 4,
        },
    }
}

/// Whether the answer is a table, which has a buffer of its own.
fn reads_table(code: u32) -> bool {
    matches!(code, code::SLUICE_POLICY_READ | code::SLUICE_DRY_RUN_READ)
}

/// The buffer that takes the answer, as a program and the I/O manager prepare it, and the input that is not in it.
fn prepared(code: u32, input: &[u8], room: usize) -> (Vec<u8>, Vec<u8>) {
    let mut buffer = if reads_table(code) { Vec::new() } else { input.to_vec() };
    if !code::has_message_in_output(code) {
        buffer.resize(buffer.len().max(room), 0xAA);
    }
    (buffer, if reads_table(code) { input.to_vec() } else { Vec::new() })
}

/// Sends a request; returns what has become of the buffer that takes the answer.
fn request(device: &Driver, code: u32, input: &[u8], room: usize) -> (Completion, Vec<u8>) {
    const METHOD_OUT_DIRECT: u32 = 2;
    let (mut buffer, rest) = prepared(code, input, room);
    let buffers = if code & 3 == METHOD_OUT_DIRECT {
        Buffers::Direct { input: &rest, shared: SharedBytes::new(&mut buffer) }
    } else {
        Buffers::Buffered(Buffered::new(&mut buffer, input.len(), room).expect("the buffer has room for both"))
    };
    (dispatch(device, Request { code, buffers }), buffer)
}

fn failed(status: NTSTATUS) -> Completion {
    Completion { status, information: 0 }
}

fn done(information: usize) -> Completion {
    Completion { status: STATUS_SUCCESS, information }
}

fn read<T: Wire>(mut bytes: &[u8]) -> T {
    T::read(&mut bytes).unwrap()
}

/// The bytes of a policy request, written out by hand.
fn policy(version: u16, size: u16, flags: u32, table_length: u32, reserved: u32, table: &[u8]) -> Vec<u8> {
    let mut bytes = [version.to_le_bytes(), size.to_le_bytes()].concat();
    [flags, table_length, reserved].iter().for_each(|field| bytes.extend(field.to_le_bytes()));
    bytes.extend(table);
    bytes
}

/// The bytes of a request of that length for counters or the log, written out by hand.
fn counters(version: u16, size: u16, words: [u32; 3]) -> Vec<u8> {
    [[version, size].map(u16::to_le_bytes).concat(), words.map(u32::to_le_bytes).concat()].concat()
}

#[test]
fn rules_are_counted_from_the_first_that_is_asked_for_and_as_many_as_fit() {
    let driver = Driver::default();
    for (first, room, listed) in
        [(0, 5, 0..5), (0, 2, 0..2), (2, 2, 2..4), (4, 9, 4..5), (5, 9, 0..0), (u32::MAX, 9, 0..0)]
    {
        let room = CountersAnswer::SIZE + room * RuleCounter::SIZE;
        let (completion, answer) =
            request(&driver, code::SLUICE_RULE_COUNTERS, &counters(VERSION, 16, [0, first, 0]), room);
        assert_eq!(completion, done(CountersAnswer::SIZE + listed.len() * RuleCounter::SIZE));
        let fixed = read::<CountersAnswer>(&answer);
        assert_eq!(
            (fixed.header, fixed.rules_total, fixed.listed),
            (header_of::<CountersAnswer>(), 5, listed.len() as u32)
        );
        let mut rest = &answer[CountersAnswer::SIZE..];
        listed.for_each(|rule| assert_eq!(RuleCounter::read(&mut rest).unwrap(), counter(rule)));
    }
}

#[test]
fn logged_packets_are_listed_from_the_number_that_is_asked_for() {
    let driver = Driver::default();
    let (completion, answer) = request(&driver, code::SLUICE_LOG_READ, &counters(VERSION, 16, [0, 1, 0]), 9999);
    assert_eq!(LogRequest::SIZE, 16);
    assert_eq!(completion, done(LogAnswer::SIZE + 2 * PacketRecord::SIZE));
    let fixed = read::<LogAnswer>(&answer);
    assert_eq!((fixed.header, fixed.listed, fixed.next, fixed.lost), (header_of::<LogAnswer>(), 2, 3, 1));
    assert_eq!(read::<PacketRecord>(&answer[LogAnswer::SIZE + PacketRecord::SIZE..]), packet(2));
}

#[test]
fn a_policy_is_tried_and_then_loaded() {
    let driver = Driver::default();
    let (start, load) = (code::SLUICE_DRY_RUN_START, code::SLUICE_DRY_RUN_LOAD);
    let (completion, answer) = request(&driver, start, &policy(VERSION, 16, 0, 3, 0, b"abc"), 16);
    assert_eq!(completion, done(16));
    let expected = PolicyAnswer { header: header_of::<PolicyAnswer>(), table_length: 3, generation: 0 };
    assert_eq!(read::<PolicyAnswer>(&answer), expected);
    let (completion, answer) =
        request(&driver, code::SLUICE_DRY_RUN_STATUS, &[], DryRunStatus::SIZE + PacketRecord::SIZE);
    assert_eq!(completion, done(DryRunStatus::SIZE + PacketRecord::SIZE));
    let status = read::<DryRunStatus>(&answer);
    assert_eq!((status.header, status.samples_total, status.samples_listed), (header_of::<DryRunStatus>(), 2, 1));
    let (completion, answer) = request(&driver, code::SLUICE_DRY_RUN_READ, &[], 100);
    assert_eq!(completion, done(19));
    assert_eq!((read::<PolicyAnswer>(&answer), &answer[16..19]), (expected, &b"abc"[..]));
    let (completion, answer) = request(&driver, code::SLUICE_DRY_RUN_READ, &[], 18);
    assert_eq!((completion, read::<PolicyAnswer>(&answer)), (done(16), expected), "it does not fit");
    assert_eq!(answer[16..], [0xAA, 0xAA]);
    let (completion, answer) = request(&driver, load, &policy(VERSION, 16, 1, 0, 0, b""), 16);
    assert_eq!(completion, done(16));
    assert_eq!(read::<PolicyAnswer>(&answer), PolicyAnswer { generation: 1, ..expected });
    assert!(driver.persisted.get() && *driver.table.borrow() == b"abc");
}

#[test]
fn the_codes_are_those_that_devioctl_h_makes() {
    assert_eq!(code::SLUICE_STATUS, 0x0012_6000);
    assert_eq!(code::SLUICE_POLICY_LOAD, 0x0012_A006);
    assert_eq!(code::SLUICE_POLICY_CLEAR, 0x0012_A008);
    assert_eq!(code::SLUICE_POLICY_READ, 0x0012_600E);
    assert_eq!(code::SLUICE_RULE_COUNTERS, 0x0012_6010);
    assert_eq!(code::SLUICE_LOG_READ, 0x0012_6014);
    assert_eq!(code::SLUICE_DRY_RUN_START, 0x0012_A01A);
    assert_eq!(code::SLUICE_DRY_RUN_STOP, 0x0012_A01C);
    assert_eq!(code::SLUICE_DRY_RUN_STATUS, 0x0012_6020);
    assert_eq!(code::SLUICE_DRY_RUN_LOAD, 0x0012_A024);
    assert_eq!(code::SLUICE_DRY_RUN_READ, 0x0012_602A);
    assert_eq!(code::PROBE_CLASSIFY, 0x0012_6040);
    assert_eq!(code::PROBE_STATUS, 0x0012_6044);
    assert_eq!(code::GATE_STATUS, 0x0012_6080);
    assert_eq!(code::GATE_ENABLE, 0x0012_A084);
    assert_eq!(code::GATE_DISABLE, 0x0012_A088);
}

#[test]
fn a_table_is_loaded_read_and_cleared() {
    let driver = Driver::default();
    let (completion, answer) =
        request(&driver, code::SLUICE_POLICY_LOAD, &policy(VERSION, 16, policy_flags::PERSIST, 3, 0, b"abc"), 16);
    assert_eq!(completion, done(16));
    assert_eq!(
        read::<PolicyAnswer>(&answer),
        PolicyAnswer { header: header_of::<PolicyAnswer>(), table_length: 3, generation: 1 }
    );
    assert_eq!(*driver.table.borrow(), b"abc");
    assert!(driver.persisted.get());

    let (completion, answer) = request(&driver, code::SLUICE_POLICY_READ, &[], 100);
    assert_eq!(completion, done(19));
    assert_eq!(&answer[16..19], b"abc");

    let (completion, answer) = request(&driver, code::SLUICE_POLICY_CLEAR, &policy(VERSION, 16, 0, 0, 0, b""), 16);
    assert_eq!(completion, done(16));
    assert_eq!(read::<PolicyAnswer>(&answer).generation, 2);
    assert_eq!(read::<PolicyAnswer>(&answer).table_length, 0);
    assert!(driver.table.borrow().is_empty());
}

#[test]
fn a_table_that_does_not_fit_the_output_is_announced_but_not_copied() {
    let driver = Driver::default();
    request(&driver, code::SLUICE_POLICY_LOAD, &policy(VERSION, 16, 0, 3, 0, b"abc"), 16);
    let (completion, answer) = request(&driver, code::SLUICE_POLICY_READ, &[], 18);
    assert_eq!(completion, done(16));
    assert_eq!(read::<PolicyAnswer>(&answer).table_length, 3);
    assert_eq!(answer[16..], [0xAA, 0xAA]);
}

#[test]
fn a_table_that_the_driver_refuses_leaves_the_old_one() {
    let driver = Driver::default();
    request(&driver, code::SLUICE_POLICY_LOAD, &policy(VERSION, 16, 0, 3, 0, b"abc"), 16);
    let (completion, _) = request(&driver, code::SLUICE_POLICY_LOAD, &policy(VERSION, 16, 0, 1, 0, &[0xFF]), 16);
    assert_eq!(completion, failed(STATUS_UNSUCCESSFUL));
    assert_eq!(*driver.table.borrow(), b"abc");
}

#[test]
fn every_wrong_policy_request_is_named_and_does_nothing() {
    let load = code::SLUICE_POLICY_LOAD;
    let clear = code::SLUICE_POLICY_CLEAR;
    let good = policy(VERSION, 16, 0, 3, 0, b"abc");
    for (code, input, output_length, status) in [
        (load, good[..0].to_vec(), 16, STATUS_INVALID_BUFFER_SIZE),
        (load, good[..15].to_vec(), 16, STATUS_INVALID_BUFFER_SIZE),
        (load, good[..18].to_vec(), 16, STATUS_INVALID_BUFFER_SIZE),
        (load, policy(VERSION, 16, 0, 2, 0, b"abc"), 16, STATUS_INVALID_BUFFER_SIZE),
        (load, policy(VERSION, 16, 0, u32::MAX, 0, b"abc"), 16, STATUS_INVALID_BUFFER_SIZE),
        (load, policy(VERSION + 1, 16, 0, 3, 0, b"abc"), 16, STATUS_REVISION_MISMATCH),
        (load, policy(0, 16, 0, 3, 0, b"abc"), 16, STATUS_REVISION_MISMATCH),
        (load, policy(VERSION, 15, 0, 3, 0, b"abc"), 16, STATUS_INVALID_PARAMETER),
        (load, policy(VERSION, 16, 2, 3, 0, b"abc"), 16, STATUS_INVALID_PARAMETER),
        (load, policy(VERSION, 16, 0, 3, 1, b"abc"), 16, STATUS_INVALID_PARAMETER),
        (load, policy(VERSION, 16, 0, 0, 0, b""), 16, STATUS_INVALID_PARAMETER),
        (clear, good.clone(), 16, STATUS_INVALID_PARAMETER),
        (clear, policy(VERSION, 16, 0, 0, 0, b""), 15, STATUS_BUFFER_TOO_SMALL),
        (code::SLUICE_POLICY_READ, vec![0], 16, STATUS_INVALID_BUFFER_SIZE),
        (code::SLUICE_POLICY_READ, vec![], 15, STATUS_BUFFER_TOO_SMALL),
        (code::SLUICE_STATUS, vec![0; 64], 64, STATUS_INVALID_BUFFER_SIZE),
        (code::SLUICE_STATUS, vec![], 0, STATUS_BUFFER_TOO_SMALL),
        (code::SLUICE_STATUS, vec![], Status::SIZE - 1, STATUS_BUFFER_TOO_SMALL),
        (code::SLUICE_DRY_RUN_START, policy(VERSION, 16, 1, 3, 0, b"abc"), 16, STATUS_INVALID_PARAMETER),
        (code::SLUICE_DRY_RUN_START, policy(VERSION, 16, 0, 0, 0, b""), 16, STATUS_INVALID_PARAMETER),
        (code::SLUICE_DRY_RUN_STOP, policy(VERSION, 16, 1, 0, 0, b""), 16, STATUS_INVALID_PARAMETER),
        (code::SLUICE_DRY_RUN_STOP, policy(VERSION, 16, 0, 0, 0, b""), 16, STATUS_NOT_FOUND),
        (code::SLUICE_DRY_RUN_LOAD, policy(VERSION, 16, 1, 0, 0, b""), 16, STATUS_NOT_FOUND),
        (code::SLUICE_DRY_RUN_STATUS, vec![], 999, STATUS_NOT_FOUND),
        (code::SLUICE_DRY_RUN_READ, vec![], 999, STATUS_NOT_FOUND),
        (code::SLUICE_DRY_RUN_READ, vec![0], 16, STATUS_INVALID_BUFFER_SIZE),
        (code::SLUICE_DRY_RUN_READ, vec![], 15, STATUS_BUFFER_TOO_SMALL),
        (code::SLUICE_DRY_RUN_STATUS, vec![], DryRunStatus::SIZE - 1, STATUS_BUFFER_TOO_SMALL),
        (code::SLUICE_RULE_COUNTERS, counters(VERSION, 16, [1, 0, 0]), 99, STATUS_NOT_FOUND),
        (code::SLUICE_RULE_COUNTERS, counters(VERSION, 16, [2, 0, 0]), 99, STATUS_INVALID_PARAMETER),
        (code::SLUICE_RULE_COUNTERS, counters(VERSION, 16, [0, 0, 1]), 99, STATUS_INVALID_PARAMETER),
        (code::SLUICE_RULE_COUNTERS, counters(VERSION, 15, [0, 0, 0]), 99, STATUS_INVALID_PARAMETER),
        (code::SLUICE_RULE_COUNTERS, counters(2, 16, [0, 0, 0]), 99, STATUS_REVISION_MISMATCH),
        (code::SLUICE_RULE_COUNTERS, vec![], 99, STATUS_INVALID_BUFFER_SIZE),
        (code::SLUICE_RULE_COUNTERS, counters(VERSION, 16, [0; 3]), CountersAnswer::SIZE - 1, STATUS_BUFFER_TOO_SMALL),
        (code::SLUICE_LOG_READ, counters(VERSION, 16, [1, 0, 0]), 99, STATUS_INVALID_PARAMETER),
        (code::SLUICE_LOG_READ, [counters(VERSION, 16, [0; 3]), vec![0]].concat(), 99, STATUS_INVALID_BUFFER_SIZE),
        (code::PROBE_CLASSIFY, good.clone(), 16, STATUS_INVALID_DEVICE_REQUEST),
        (0, vec![], 0, STATUS_INVALID_DEVICE_REQUEST),
        (u32::MAX, vec![1, 2, 3], 3, STATUS_INVALID_DEVICE_REQUEST),
    ] {
        let driver = Driver::default();
        let (completion, _) = request(&driver, code, &input, output_length);
        assert_eq!(completion, failed(status), "code {code:#x}, input {input:x?}, room for {output_length}");
        assert_eq!(driver.generation.get(), 0, "code {code:#x}, input {input:x?}, room for {output_length}");
    }
}

#[test]
fn status_lists_as_many_clients_as_fit_and_counts_all() {
    let driver = Driver { clients: (1..=3).map(client).collect(), ..Driver::default() };
    for (room, listed) in
        [(0, 0), (ClientStatus::SIZE - 1, 0), (ClientStatus::SIZE, 1), (3 * ClientStatus::SIZE - 1, 2), (9999, 3)]
    {
        let (completion, answer) = request(&driver, code::SLUICE_STATUS, &[], Status::SIZE + room);
        assert_eq!(completion, done(Status::SIZE + listed * ClientStatus::SIZE));
        let status = read::<Status>(&answer);
        assert_eq!(status.header, header_of::<Status>());
        assert_eq!((status.clients_total, status.clients_listed), (3, listed as u32));
        assert_eq!(status.driver_version, [1, 2, 3, 0]);
        let mut rest = &answer[Status::SIZE..];
        for number in 1..=listed {
            assert_eq!(ClientStatus::read(&mut rest).unwrap(), client(number as u8));
        }
    }
}

fn any_code() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(code::SLUICE_STATUS),
        Just(code::SLUICE_POLICY_LOAD),
        Just(code::SLUICE_POLICY_CLEAR),
        Just(code::SLUICE_POLICY_READ),
        Just(code::SLUICE_RULE_COUNTERS),
        Just(code::SLUICE_LOG_READ),
        Just(code::SLUICE_DRY_RUN_START),
        Just(code::SLUICE_DRY_RUN_STOP),
        Just(code::SLUICE_DRY_RUN_STATUS),
        Just(code::SLUICE_DRY_RUN_LOAD),
        Just(code::SLUICE_DRY_RUN_READ),
        any::<u32>(),
    ]
}

/// Arbitrary bytes, or a policy request in which every field is likely to be right.
fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let field = |right: u32| prop_oneof![4 => Just(right), 1 => 0..32_u32, 1 => any::<u32>()];
    let almost_right = proptest::collection::vec(any::<u8>(), 0..40).prop_flat_map(move |table| {
        let length = table.len() as u32;
        (field(u32::from(VERSION)), field(16), field(0), field(length), field(0), Just(table)).prop_map(
            |(version, size, flags, length, reserved, table)| {
                policy(version as u16, size as u16, flags, length, reserved, &table)
            },
        )
    });
    prop_oneof![almost_right, proptest::collection::vec(any::<u8>(), 0..80)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_gets_more_than_it_has_room_for(code in any_code(), input in any_input(), room in 0..600_usize) {
        let driver = Driver { clients: (1..=3).map(client).collect(), ..Driver::default() };
        let (before, _) = prepared(code, &input, room);
        let (completion, after) = request(&driver, code, &input, room);
        prop_assert!(completion.information <= before.len().min(room.max(input.len())));
        if completion.status != STATUS_SUCCESS {
            prop_assert_eq!(completion.information, 0);
            prop_assert_eq!(&after, &before, "a request that fails writes nothing");
            prop_assert_eq!(driver.generation.get(), 0, "a request that fails changes nothing");
        }
        // What lies behind the answer would be kernel memory, or the program's own: it stays as it was.
        let behind = completion.information..;
        prop_assert_eq!(&after[behind.clone()], &before[behind]);
    }

    #[test]
    fn a_code_with_buffers_of_another_method_is_refused(code in any_code(), mut bytes in any_input()) {
        let driver = Driver::default();
        let length = bytes.len();
        let buffers = match code & 3 {
            2 => Buffers::Buffered(Buffered::new(&mut bytes, length, length).expect("it has room for both")),
            _ => Buffers::Direct { input: &[], shared: SharedBytes::new(&mut bytes) },
        };
        let refused = dispatch(&driver, Request { code, buffers });
        prop_assert_eq!(refused, failed(STATUS_INVALID_DEVICE_REQUEST));
    }
}
