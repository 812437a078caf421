//! Arbitrary requests to both dispatchers, with the real engine behind them. Bytes say what is sent, so that a fuzzer
//! can (fuzz/fuzz_targets/control.rs), and a random generator (`control` below).

use nmr_registrar::Session;
use sluice_control::message::{
    BatchAnswer, BatchEntry, BatchRequest, CountersRequest, LogRequest, PolicyAnswer, PolicyRequest, ProviderStatus,
    header_of, status_flags,
};
use sluice_control::probe::{Batch, Operations, dispatch};
use sluice_control::settings::OnPolicyError;
use sluice_control::status::{STATUS_DEVICE_NOT_READY, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use sluice_control::wire::Wire;
use sluice_control::{Completion, List, NTSTATUS, Request, RequestHandler, code};
use sluice_engine::{DEFAULT_TABLE_LIMIT, Engine};
use sluice_npi::{CallSluice, PacketRef, Verdict};

use crate::host::{Fault, Host, Registered, Started, attach, blocking, logging, passive, start_on, status};

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Requests that succeeded.
    pub(crate) succeeded: u32,
    /// Requests that were refused.
    pub(crate) refused: u32,
}

/// probe.sys as far as its dispatcher is concerned.
struct Probe<'a>(&'a Registered);

impl RequestHandler for Probe<'_> {
    fn answer(&self, request: Request<'_>) -> Completion {
        dispatch(self, request)
    }
}

impl Operations for Probe<'_> {
    type Verdicts = Vec<Verdict>;

    fn classify(&self, batch: &Batch<'_>) -> Result<Vec<Verdict>, NTSTATUS> {
        let packets = batch
            .packets()
            .map(|packet| PacketRef::new(packet.link_type, packet.direction, packet.bytes, packet.wire_length))
            .collect::<Option<Vec<_>>>()
            .ok_or(STATUS_INVALID_PARAMETER)?;
        assert_eq!(packets.len(), batch.len());
        let mut room = Vec::with_capacity(packets.len());
        let sluice = self.0.providers().next().ok_or(STATUS_DEVICE_NOT_READY)?;
        let verdicts = sluice.classify(&packets, room.spare_capacity_mut()).map_err(|failed| failed.0)?;
        Ok(verdicts.to_vec())
    }

    fn providers(&self, _: &mut List<'_, ProviderStatus>) {}
}

/// Bytes that decide; when they are used up, zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }
}

/// The codes of both devices.
const CODES: [u32; 13] = [
    code::SLUICE_STATUS,
    code::SLUICE_POLICY_LOAD,
    code::SLUICE_POLICY_CLEAR,
    code::SLUICE_POLICY_READ,
    code::PROBE_CLASSIFY,
    code::PROBE_STATUS,
    code::SLUICE_RULE_COUNTERS,
    code::SLUICE_LOG_READ,
    code::SLUICE_DRY_RUN_START,
    code::SLUICE_DRY_RUN_STOP,
    code::SLUICE_DRY_RUN_STATUS,
    code::SLUICE_DRY_RUN_LOAD,
    code::SLUICE_DRY_RUN_READ,
];

/// Those of gate.sys, which neither device has.
const OTHER_CODES: [u32; 3] = [code::GATE_STATUS, code::GATE_ENABLE, code::GATE_DISABLE];

/// Sends what the bytes say.
///
/// # Panics
///
/// A dispatcher or the engine did what it must not.
pub(crate) fn run(input: &[u8]) -> Done {
    let _session = Session::new();
    let host = Host::default();
    let mut engine = start_on(&host);
    let client = attach("fuzzed");
    let mut bytes = Bytes(input);
    let mut done = Done::default();
    while !bytes.0.is_empty() {
        *host.disk.fault.lock().unwrap() = match bytes.byte() {
            0..16 => Some(Fault::Replace),
            _ => None,
        };
        let code = match bytes.byte() {
            choice @ 0..240 => CODES[usize::from(choice) % CODES.len()],
            choice @ 240..243 => OTHER_CODES[usize::from(choice - 240)],
            243 => {
                engine = restart(engine, &host, &mut bytes);
                continue;
            }
            _ => bytes.word(),
        };
        let request = request(code, &mut bytes);
        if send(&engine, &client, &host, code, request, usize::from(bytes.byte()) * 40) == STATUS_SUCCESS {
            done.succeeded += 1;
        } else {
            done.refused += 1;
        }
    }
    client.deregister(passive()).unwrap();
    engine.deregister(passive()).unwrap();
    done
}

/// Stops the driver and starts it again, now and then with a file that somebody has damaged.
fn restart(engine: Started, host: &Host, bytes: &mut Bytes<'_>) -> Started {
    engine.deregister(passive()).unwrap();
    let right = host.disk.persisted.lock().unwrap().clone();
    let mut is_damaged = false;
    *host.disk.fault.lock().unwrap() = None;
    if let Some(file) = host.disk.persisted.lock().unwrap().as_mut() {
        let (what, place) = (bytes.byte(), usize::from(bytes.byte()));
        is_damaged = what < 96;
        match what {
            0..32 => *host.disk.fault.lock().unwrap() = Some(Fault::Read),
            32..64 => file.truncate(place.min(file.len() - 1)),
            64..96 => {
                let place = place % file.len();
                file[place] ^= bytes.byte() | 1;
            }
            _ => {}
        }
    }
    let reaction = if bytes.byte() < 128 { OnPolicyError::Permit } else { OnPolicyError::Block };
    let engine = Engine::start(host.clone(), DEFAULT_TABLE_LIMIT, reaction).expect("without its policy");
    let engine = crate::host::run(engine);
    let is_table = right.as_ref().is_some_and(|file| file.starts_with(b"SLPT"));
    *host.disk.persisted.lock().unwrap() = right;
    let flags = status(&engine).0.flags;
    assert_eq!(flags & status_flags::PERSISTED != 0, is_table && !is_damaged);
    assert_eq!(flags & status_flags::PERSISTED_DAMAGED != 0, is_damaged);
    engine
}

/// A request that is right as far as it goes, with some bytes changed; or any bytes.
fn request(code: u32, bytes: &mut Bytes<'_>) -> Vec<u8> {
    let how = bytes.byte();
    if how < 32 {
        let length = bytes.byte();
        return bytes.take(length.into());
    }
    let mut request = match code {
        code::SLUICE_RULE_COUNTERS => {
            let (policy, first) = (u32::from(bytes.byte() % 2), u32::from(bytes.byte() % 4));
            to_bytes(&CountersRequest { header: header_of::<CountersRequest>(), policy, first, reserved: 0 }, &[])
        }
        code::SLUICE_LOG_READ => {
            let next = bytes.byte().into();
            to_bytes(&LogRequest { header: header_of::<LogRequest>(), reserved: 0, next }, &[])
        }
        code::SLUICE_POLICY_LOAD
        | code::SLUICE_POLICY_CLEAR
        | code::SLUICE_DRY_RUN_START
        | code::SLUICE_DRY_RUN_STOP
        | code::SLUICE_DRY_RUN_LOAD => {
            let table = match (code, how % 4) {
                (code::SLUICE_POLICY_CLEAR | code::SLUICE_DRY_RUN_STOP | code::SLUICE_DRY_RUN_LOAD, 0..3) => Vec::new(),
                (_, 2) => logging(bytes.byte().into(), how.into()),
                (_, 0..3) => blocking(bytes.byte().into(), how.into()),
                _ => bytes.take(usize::from(how)),
            };
            let header = header_of::<PolicyRequest>();
            let flags = u32::from(how.is_multiple_of(8));
            to_bytes(&PolicyRequest { header, flags, table_length: table.len() as u32, reserved: 0 }, &table)
        }
        code::PROBE_CLASSIFY => batch(bytes),
        _ => Vec::new(),
    };
    for _ in 0..how % 3 {
        let (place, value) = (bytes.byte(), bytes.byte());
        if let Some(byte) = request.get_mut(usize::from(place)) {
            *byte = value;
        }
    }
    match how % 16 {
        1 => request.truncate(bytes.byte().into()),
        2 => request.push(0),
        _ => {}
    }
    request
}

/// A batch of a few packets whose bytes may be anything.
fn batch(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let count = usize::from(bytes.byte() % 5) + 1;
    let mut offset = BatchRequest::SIZE + count * BatchEntry::SIZE;
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let length = bytes.byte();
        let packet = bytes.take(length.into());
        let link_type = if bytes.byte() < 200 { 101 } else { bytes.byte().into() };
        let captured_length = packet.len() as u32;
        let wire_length = captured_length + u32::from(bytes.byte() / 200);
        let entry = BatchEntry { link_type, direction: 0, captured_length, wire_length, offset: offset as u32 };
        entries.extend(to_bytes(&entry, &[]));
        offset += packet.len();
        data.extend(packet);
    }
    let request = BatchRequest { header: header_of::<BatchRequest>(), count: count as u32, reserved: 0 };
    to_bytes(&request, &[entries, data].concat())
}

fn to_bytes<T: Wire>(fixed_part: &T, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; T::SIZE];
    fixed_part.write(&mut bytes.as_mut_slice()).unwrap();
    bytes.extend_from_slice(rest);
    bytes
}

/// Sends one request to the device that its code belongs to, and holds the answer against the contract.
fn send(engine: &Started, client: &Registered, host: &Host, code: u32, input: Vec<u8>, output: usize) -> NTSTATUS {
    let is_of_probe = code & 0x40 != 0;
    let (generation, persisted) = (status(engine).0.generation, host.disk.persisted.lock().unwrap().clone());
    let (status_of_answer, answer) = if is_of_probe {
        crate::host::request(&Probe(client), code, &input, output)
    } else {
        crate::host::request(engine, code, &input, output)
    };
    let now = status(engine).0.generation;
    if status_of_answer != STATUS_SUCCESS {
        assert!(answer.is_empty(), "a request that fails has no answer");
        assert_eq!(now, generation, "a request that fails changes nothing");
        assert_eq!(*host.disk.persisted.lock().unwrap(), persisted, "a request that fails persists nothing");
        return status_of_answer;
    }
    let mut rest = answer.as_slice();
    match code {
        code::SLUICE_POLICY_LOAD | code::SLUICE_POLICY_CLEAR | code::SLUICE_DRY_RUN_LOAD => {
            assert_eq!((PolicyAnswer::read(&mut rest).unwrap().generation, now), (generation + 1, generation + 1));
        }
        code::PROBE_CLASSIFY => {
            let count = BatchAnswer::read(&mut rest).unwrap().count;
            assert_eq!(answer.len(), BatchAnswer::size_for(count as usize));
            for _ in 0..count {
                assert_eq!(Verdict::read(&mut rest).unwrap().generation, generation);
            }
        }
        _ => assert_eq!(now, generation),
    }
    status_of_answer
}
