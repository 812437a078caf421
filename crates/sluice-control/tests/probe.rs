//! What the device of probe.sys answers to good, bad and arbitrary requests.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use sluice_control::message::{BatchAnswer, ModuleId, ProbeStatus, ProviderStatus, header_of, module_id_kind};
use sluice_control::probe::{Batch, Operations, dispatch};
use sluice_control::status::*;
use sluice_control::wire::Wire;
use sluice_control::{Buffered, Buffers, Completion, List, NTSTATUS, Request, VERSION, code};
use sluice_npi::{Flow, Header, MAX_BATCH, Statistics, Verdict, action, direction, link_type};

/// One packet as the probe saw it: link type, direction, wire length, bytes.
type Seen = (u16, u16, u32, Vec<u8>);

/// A probe whose provider blocks a packet that begins with 1, and numbers the verdicts.
#[derive(Default)]
struct Probe {
    seen: RefCell<Vec<Seen>>,
    refuses: Cell<Option<NTSTATUS>>,
    forgets_one: Cell<bool>,
}

impl Operations for Probe {
    type Verdicts = Vec<Verdict>;

    fn classify(&self, batch: &Batch<'_>) -> Result<Vec<Verdict>, NTSTATUS> {
        if let Some(status) = self.refuses.get() {
            return Err(status);
        }
        let packets: Vec<_> = batch.packets().collect();
        assert_eq!(packets.len(), batch.len());
        *self.seen.borrow_mut() =
            packets.iter().map(|p| (p.link_type, p.direction, p.wire_length, p.bytes.to_vec())).collect();
        let numbered = packets.iter().zip(1..).map(|(packet, number)| verdict(number, packet.bytes));
        Ok(numbered.skip(usize::from(self.forgets_one.get())).collect())
    }

    fn providers(&self, providers: &mut List<'_, ProviderStatus>) {
        providers.push(&provider());
    }
}

fn verdict(rule_id: u32, bytes: &[u8]) -> Verdict {
    Verdict {
        header: Header::of::<Verdict>(),
        action: if bytes.first() == Some(&1) { action::BLOCK } else { action::PERMIT },
        reserved: [0; 3],
        rule_id,
        generation: 0x0102_0304_0506_0708,
        flow: Flow { payload_length: bytes.len() as u32, vlan_ids: [1, 2, 3, 4], quic_version: 9, ..Flow::default() },
    }
}

fn provider() -> ProviderStatus {
    ProviderStatus {
        module_id: ModuleId { kind: module_id_kind::GUID, value: [7; 16] },
        reserved: 0,
        generation: 3,
        statistics: Statistics {
            header: Header::of::<Statistics>(),
            reserved: 0,
            packets: 1,
            permitted: 2,
            blocked: 3,
            malformed: 4,
            truncated: 5,
            rejected_calls: 6,
        },
    }
}

fn request(probe: &Probe, code: u32, input: &[u8], output_length: usize) -> (Completion, Vec<u8>) {
    let mut buffer = input.to_vec();
    buffer.resize(input.len().max(output_length), 0xAA);
    let buffered = Buffered::new(&mut buffer, input.len(), output_length).expect("the buffer has room for both");
    let completion = dispatch(probe, Request { code, buffers: Buffers::Buffered(buffered) });
    (completion, buffer)
}

fn failed(status: NTSTATUS) -> Completion {
    Completion { status, information: 0 }
}

/// The bytes of a batch, written out by hand: `entries` are captured length and offset.
fn batch(version: u16, size: u16, count: u32, reserved: u64, entries: &[(u32, u32)], bytes: &[u8]) -> Vec<u8> {
    let mut input = [version.to_le_bytes(), size.to_le_bytes()].concat();
    input.extend(count.to_le_bytes());
    input.extend(reserved.to_le_bytes());
    for (captured_length, offset) in entries {
        input.extend(link_type::RAW.to_le_bytes());
        input.extend(direction::OUTBOUND.to_le_bytes());
        [*captured_length, 1500, *offset].iter().for_each(|field| input.extend(field.to_le_bytes()));
    }
    input.extend(bytes);
    input
}

#[test]
fn verdicts_come_back_in_the_order_of_the_packets() {
    let probe = Probe::default();
    // The second packet is empty, the third lies before the first.
    let input = batch(VERSION, 16, 3, 0, &[(2, 66), (0, 68), (2, 64)], &[2, 3, 1, 4]);
    let (completion, answer) = request(&probe, code::PROBE_CLASSIFY, &input, 16 + 3 * 112);
    assert_eq!(completion, Completion { status: STATUS_SUCCESS, information: 16 + 3 * 112 });
    let packet = |bytes: &[u8]| (link_type::RAW, direction::OUTBOUND, 1500, bytes.to_vec());
    assert_eq!(*probe.seen.borrow(), [packet(&[1, 4]), packet(&[]), packet(&[2, 3])]);

    let mut rest = &answer[..];
    let fixed_part = BatchAnswer { header: header_of::<BatchAnswer>(), count: 3, reserved: 0 };
    assert_eq!(BatchAnswer::read(&mut rest), Some(fixed_part));
    for (number, bytes) in [(1, &[1, 4][..]), (2, &[]), (3, &[2, 3])] {
        assert_eq!(Verdict::read(&mut rest), Some(verdict(number, bytes)));
    }
}

#[test]
fn a_verdict_lies_in_the_answer_as_it_lies_in_memory() {
    let mut bytes = [0; Verdict::SIZE];
    verdict(5, &[1]).write(&mut &mut bytes[..]).unwrap();
    assert_eq!(bytes[..4], [1, 0, 112, 0]);
    assert_eq!(bytes[4..6], action::BLOCK.to_le_bytes());
    assert_eq!(bytes[12..16], 5_u32.to_le_bytes());
    assert_eq!(bytes[16..24], 0x0102_0304_0506_0708_u64.to_le_bytes());
    let flow = core::mem::offset_of!(Verdict, flow);
    let vlans = flow + core::mem::offset_of!(Flow, vlan_ids);
    assert_eq!(bytes[vlans..vlans + 8], [1, 0, 2, 0, 3, 0, 4, 0]);
    assert_eq!(bytes[108..], 9_u32.to_le_bytes());
}

#[test]
fn the_largest_batch_passes_and_one_more_does_not() {
    let probe = Probe::default();
    for (count, status) in [(MAX_BATCH, STATUS_SUCCESS), (MAX_BATCH + 1, STATUS_INVALID_PARAMETER)] {
        let end = 16 + 16 * count;
        let input = batch(VERSION, 16, count, 0, &vec![(0, end); count as usize], &[]);
        let (completion, _) = request(&probe, code::PROBE_CLASSIFY, &input, BatchAnswer::size_for(count as usize));
        assert_eq!(completion.status, status);
    }
}

#[test]
fn every_wrong_batch_is_named_and_classifies_nothing() {
    let classify = code::PROBE_CLASSIFY;
    let good = batch(VERSION, 16, 1, 0, &[(4, 32)], &[0; 4]);
    let room = 16 + 112;
    for (code, input, output_length, status) in [
        (classify, vec![], room, STATUS_INVALID_BUFFER_SIZE),
        (classify, good[..15].to_vec(), room, STATUS_INVALID_BUFFER_SIZE),
        (classify, good[..31].to_vec(), room, STATUS_INVALID_BUFFER_SIZE),
        (classify, good[..35].to_vec(), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION + 1, 16, 1, 0, &[(4, 32)], &[0; 4]), room, STATUS_REVISION_MISMATCH),
        (classify, batch(VERSION, 17, 1, 0, &[(4, 32)], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION, 16, 0, 0, &[], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION, 16, 2, 0, &[(4, 32)], &[0; 4]), room, STATUS_INVALID_BUFFER_SIZE),
        (classify, batch(VERSION, 16, u32::MAX, 0, &[(4, 32)], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION, 16, 1, 1, &[(4, 32)], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION, 16, 1, 0, &[(5, 32)], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION, 16, 1, 0, &[(4, 33)], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION, 16, 1, 0, &[(4, 31)], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION, 16, 1, 0, &[(0, 37)], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION, 16, 1, 0, &[(u32::MAX, 32)], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, batch(VERSION, 16, 1, 0, &[(4, u32::MAX)], &[0; 4]), room, STATUS_INVALID_PARAMETER),
        (classify, good.clone(), room - 1, STATUS_BUFFER_TOO_SMALL),
        (classify, good.clone(), 0, STATUS_BUFFER_TOO_SMALL),
        (code::PROBE_STATUS, vec![0], 999, STATUS_INVALID_BUFFER_SIZE),
        (code::PROBE_STATUS, vec![], 15, STATUS_BUFFER_TOO_SMALL),
        (code::SLUICE_STATUS, vec![], 999, STATUS_INVALID_DEVICE_REQUEST),
    ] {
        let probe = Probe::default();
        let (completion, _) = request(&probe, code, &input, output_length);
        assert_eq!(completion, failed(status), "code {code:#x}, input {input:x?}, room for {output_length}");
        assert!(probe.seen.borrow().is_empty());
    }
}

#[test]
fn what_the_provider_answers_is_passed_on() {
    let probe = Probe::default();
    let good = batch(VERSION, 16, 1, 0, &[(4, 32)], &[0; 4]);
    probe.refuses.set(Some(STATUS_DEVICE_NOT_READY));
    assert_eq!(request(&probe, code::PROBE_CLASSIFY, &good, 128).0, failed(STATUS_DEVICE_NOT_READY));
    probe.refuses.set(None);
    probe.forgets_one.set(true);
    assert_eq!(request(&probe, code::PROBE_CLASSIFY, &good, 128).0, failed(STATUS_UNSUCCESSFUL));
}

#[test]
fn status_lists_the_providers() {
    let (completion, answer) = request(&Probe::default(), code::PROBE_STATUS, &[], 999);
    assert_eq!(completion.information, ProbeStatus::SIZE + ProviderStatus::SIZE);
    let mut rest = &answer[..];
    let status = ProbeStatus::read(&mut rest).unwrap();
    assert_eq!((status.providers_total, status.providers_listed), (1, 1));
    assert_eq!(ProviderStatus::read(&mut rest), Some(provider()));
}

/// Arbitrary bytes, or a batch in which every field is likely to be right.
fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let almost_right = (0..6_u32, 0..40_usize).prop_flat_map(|(count, length)| {
        let field = |right: u32| prop_oneof![9 => Just(right), 1 => 0..200_u32, 1 => any::<u32>()];
        let first = 16 + 16 * count;
        let entry = (0..12_u32, first..first + 40);
        let bytes = proptest::collection::vec(any::<u8>(), length);
        (field(u32::from(VERSION)), field(16), field(count), proptest::collection::vec(entry, count as usize), bytes)
            .prop_map(|(version, size, count, entries, bytes)| {
                batch(version as u16, size as u16, count, 0, &entries, &bytes)
            })
    });
    prop_oneof![4 => almost_right, 1 => proptest::collection::vec(any::<u8>(), 0..80)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_reads_or_writes_outside_its_buffers(
        code in prop_oneof![4 => Just(code::PROBE_CLASSIFY), 1 => Just(code::PROBE_STATUS), 1 => any::<u32>()],
        input in any_input(),
        room in 0..900_usize,
    ) {
        let probe = Probe::default();
        let (completion, buffer) = request(&probe, code, &input, room);
        prop_assert!(completion.information <= room);
        if completion.status != STATUS_SUCCESS {
            prop_assert_eq!(completion.information, 0);
            prop_assert_eq!(&buffer[..input.len()], &input[..]);
            prop_assert!(probe.seen.borrow().is_empty());
        }
        let untouched = completion.information.max(input.len());
        prop_assert!(buffer[untouched..].iter().all(|byte| *byte == 0xAA));
    }
}
