//! What the control device of sluice.sys answers to good, bad and arbitrary requests.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use sluice_control::message::{
    ClientStatus, ModuleId, PolicyAnswer, Status, client_state, header_of, module_id_kind, policy_flags, status_flags,
};
use sluice_control::sluice::{Operations, PolicyInForce, dispatch};
use sluice_control::status::*;
use sluice_control::wire::Wire;
use sluice_control::{Buffered, Buffers, Completion, List, NTSTATUS, Request, SharedBytes, VERSION, code};
use sluice_npi::{Header, Statistics, action};

/// A driver that takes any table which does not start with 0xFF.
#[derive(Default)]
struct Driver {
    table: RefCell<Vec<u8>>,
    generation: Cell<u64>,
    persisted: Cell<bool>,
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

/// The buffer that takes the answer, as a program and the I/O manager prepare it, and the input that is not in it.
fn prepared(code: u32, input: &[u8], room: usize) -> (Vec<u8>, Vec<u8>) {
    let mut buffer = if code == code::SLUICE_POLICY_READ { Vec::new() } else { input.to_vec() };
    if code != code::SLUICE_POLICY_LOAD {
        buffer.resize(buffer.len().max(room), 0xAA);
    }
    (buffer, if code == code::SLUICE_POLICY_READ { input.to_vec() } else { Vec::new() })
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

#[test]
fn the_codes_are_those_that_devioctl_h_makes() {
    assert_eq!(code::SLUICE_STATUS, 0x0012_6000);
    assert_eq!(code::SLUICE_POLICY_LOAD, 0x0012_A006);
    assert_eq!(code::SLUICE_POLICY_CLEAR, 0x0012_A008);
    assert_eq!(code::SLUICE_POLICY_READ, 0x0012_600E);
    assert_eq!(code::PROBE_CLASSIFY, 0x0012_6040);
    assert_eq!(code::PROBE_STATUS, 0x0012_6044);
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
