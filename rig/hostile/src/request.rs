//! Requests: well-formed ones to start from, and the damage that is done to them.
#![cfg_attr(not(windows), allow(dead_code, reason = "only the program for Windows sends requests"))]

use sluice_control::code;
use sluice_control::gate::GateEnable;
use sluice_control::message::{BatchEntry, BatchRequest, CountersRequest, LogRequest, PolicyRequest, header_of};
use sluice_control::wire::Wire;
use sluice_npi::{MAX_BATCH, direction, link_type};

/// Every control code of all devices, and some that none has.
pub(crate) const CODES: [(&str, u32); 19] = [
    ("SLUICE_STATUS", code::SLUICE_STATUS),
    ("SLUICE_POLICY_LOAD", code::SLUICE_POLICY_LOAD),
    ("SLUICE_POLICY_CLEAR", code::SLUICE_POLICY_CLEAR),
    ("SLUICE_POLICY_READ", code::SLUICE_POLICY_READ),
    ("SLUICE_RULE_COUNTERS", code::SLUICE_RULE_COUNTERS),
    ("SLUICE_LOG_READ", code::SLUICE_LOG_READ),
    ("SLUICE_DRY_RUN_START", code::SLUICE_DRY_RUN_START),
    ("SLUICE_DRY_RUN_STOP", code::SLUICE_DRY_RUN_STOP),
    ("SLUICE_DRY_RUN_STATUS", code::SLUICE_DRY_RUN_STATUS),
    ("SLUICE_DRY_RUN_LOAD", code::SLUICE_DRY_RUN_LOAD),
    ("SLUICE_DRY_RUN_READ", code::SLUICE_DRY_RUN_READ),
    ("PROBE_CLASSIFY", code::PROBE_CLASSIFY),
    ("PROBE_STATUS", code::PROBE_STATUS),
    ("GATE_STATUS", code::GATE_STATUS),
    ("GATE_ENABLE", code::GATE_ENABLE),
    ("GATE_DISABLE", code::GATE_DISABLE),
    ("unknown function", code::SLUICE_STATUS + (0x7FF << 2)),
    ("METHOD_NEITHER", code::PROBE_CLASSIFY | 3),
    ("zero", 0),
];

/// A source of arbitrary numbers that repeats itself for the same seed (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

fn bytes_of<T: Wire>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0; T::SIZE];
    // The buffer has just that size.
    let _ = value.write(&mut bytes.as_mut_slice());
    bytes
}

/// A well-formed request for `code`. The table of a policy is made of arbitrary bytes unless `table` is one that the
/// driver has handed out.
pub(crate) fn right(code: u32, table: &[u8], random: &mut Random) -> Vec<u8> {
    match code {
        code::SLUICE_POLICY_LOAD | code::SLUICE_DRY_RUN_START => {
            let arbitrary: Vec<u8>;
            let table = if table.is_empty() {
                arbitrary = (0..1 + random.below(300)).map(|_| random.byte()).collect();
                &arbitrary
            } else {
                table
            };
            let header = header_of::<PolicyRequest>();
            let request = PolicyRequest { header, flags: 0, table_length: table.len() as u32, reserved: 0 };
            [bytes_of(&request), table.to_vec()].concat()
        }
        code::SLUICE_RULE_COUNTERS => {
            let (policy, first) = (random.below(2) as u32, random.below(4) as u32);
            bytes_of(&CountersRequest { header: header_of::<CountersRequest>(), policy, first, reserved: 0 })
        }
        code::SLUICE_LOG_READ => {
            bytes_of(&LogRequest { header: header_of::<LogRequest>(), reserved: 0, next: random.below(1000) as u64 })
        }
        code::SLUICE_POLICY_CLEAR | code::SLUICE_DRY_RUN_STOP | code::SLUICE_DRY_RUN_LOAD => {
            bytes_of(&PolicyRequest { header: header_of::<PolicyRequest>(), flags: 0, table_length: 0, reserved: 0 })
        }
        code::PROBE_CLASSIFY => batch(random),
        code::GATE_ENABLE => {
            bytes_of(&GateEnable { header: header_of::<GateEnable>(), seconds: random.below(3) as u32 })
        }
        _ => Vec::new(),
    }
}

/// A batch of up to eight packets of arbitrary bytes.
fn batch(random: &mut Random) -> Vec<u8> {
    let count = 1 + random.below(8);
    batch_of(count, random)
}

/// The largest request that a device takes: a batch of as many packets as there may be, or any policy's table.
pub(crate) fn largest(random: &mut Random) -> [(u32, Vec<u8>); 2] {
    let table: Vec<u8> = (0..LARGE_TABLE).map(|_| random.byte()).collect();
    let load = right(code::SLUICE_POLICY_LOAD, &table, random);
    [(code::PROBE_CLASSIFY, batch_of(MAX_BATCH as usize, random)), (code::SLUICE_POLICY_LOAD, load)]
}

/// The size of a table of arbitrary bytes.
const LARGE_TABLE: usize = 1 << 20;

/// A batch of `count` packets.
fn batch_of(count: usize, random: &mut Random) -> Vec<u8> {
    let mut offset = BatchRequest::SIZE + count * BatchEntry::SIZE;
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for _ in 0..count {
        let packet: Vec<u8> = (0..random.below(200)).map(|_| random.byte()).collect();
        entries.extend(bytes_of(&BatchEntry {
            link_type: if random.below(2) == 0 { link_type::ETHERNET } else { link_type::RAW },
            direction: direction::UNSPECIFIED,
            captured_length: packet.len() as u32,
            wire_length: packet.len() as u32,
            offset: offset as u32,
        }));
        offset += packet.len();
        data.extend(packet);
    }
    let request = BatchRequest { header: header_of::<BatchRequest>(), count: count as u32, reserved: 0 };
    [bytes_of(&request), entries, data].concat()
}

/// Changes some bytes, and the length now and then.
pub(crate) fn damage(request: &mut Vec<u8>, random: &mut Random) {
    const EXTREMES: [u8; 5] = [0, 1, 0x7F, 0x80, 0xFF];
    for _ in 0..random.below(6) {
        if !request.is_empty() {
            // Where the lengths and offsets are, damage does more.
            let range = if random.below(2) == 0 { request.len().min(64) } else { request.len() };
            let place = random.below(range);
            request[place] = if random.below(2) == 0 { random.byte() } else { EXTREMES[random.below(EXTREMES.len())] };
        }
    }
    match random.below(6) {
        0 => request.truncate(random.below(request.len() + 1)),
        1 => request.extend((0..random.below(300)).map(|_| random.byte())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_requests() {
        let requests = |seed| {
            let mut random = Random::new(seed);
            let mut request = right(code::PROBE_CLASSIFY, &[], &mut random);
            damage(&mut request, &mut random);
            request
        };
        assert_eq!(requests(7), requests(7));
        assert_ne!(requests(7), requests(8));
    }

    #[test]
    fn a_request_to_load_says_how_long_its_table_is() {
        let request = right(code::SLUICE_POLICY_LOAD, &[1, 2, 3], &mut Random::new(1));
        let read = PolicyRequest::read(&mut request.as_slice()).unwrap();
        assert_eq!(read.table_length, 3);
        assert_eq!(request.len(), PolicyRequest::SIZE + 3);
    }
}
