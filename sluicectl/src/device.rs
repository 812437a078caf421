//! The devices of the drivers, and requests to them.

use sluice_control::code;
use sluice_control::message::{
    BatchAnswer, BatchEntry, BatchRequest, ClientStatus, CountersAnswer, CountersRequest, DryRunStatus, LogAnswer,
    LogRequest, PacketRecord, PolicyAnswer, PolicyRequest, ProbeStatus, ProviderStatus, RuleCounter, Status, header_of,
    policy_flags,
};
use sluice_control::name::SLUICE;
use sluice_control::settings::POLICY_FILE;
use sluice_control::wire::Wire;
use sluice_npi::{Header, Verdict};

use crate::capture::RecordedPacket;
use crate::failure::Failure;

#[cfg(not(windows))]
mod elsewhere;
pub(crate) mod gate;
#[cfg(windows)]
mod windows;

#[cfg(not(windows))]
use elsewhere::Handle;
#[cfg(windows)]
use windows::Handle;

/// The Windows error with which a client driver refuses to classify while it is attached to no provider.
pub(crate) const ERROR_NOT_READY: u32 = 21;

/// The Windows error with which sluice.sys says that no policy is being tried.
pub(crate) const ERROR_NOT_FOUND: u32 = 1168;

/// How many rules are asked for at once.
const RULES_AT_ONCE: usize = 1024;

/// How many logged packets are asked for at once.
const PACKETS_AT_ONCE: usize = 64;

/// How many clients or providers the first request has room for.
const USUAL_LIST: u32 = 32;

/// What a handle is opened for; every control code demands read access, and some write access as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    ReadWrite,
}

/// The control device of sluice.sys.
pub(crate) struct Sluice(Handle);

impl Sluice {
    /// Opens the device to read from it.
    pub(crate) fn open() -> Result<Self, Failure> {
        Handle::open(SLUICE, Access::Read).map(Self)
    }

    /// Opens the device to change the policy.
    pub(crate) fn open_to_change() -> Result<Self, Failure> {
        Handle::open(SLUICE, Access::ReadWrite).map(Self)
    }

    pub(crate) fn status(&self) -> Result<(Status, Vec<ClientStatus>), Failure> {
        let counts = |status: &Status| (status.clients_total, status.clients_listed);
        read_list(&self.0, code::SLUICE_STATUS, |status: &Status| status.header, counts)
    }

    /// Puts `table` in force.
    pub(crate) fn load_policy(&self, table: &[u8], persist: bool) -> Result<PolicyAnswer, Failure> {
        self.change_policy(code::SLUICE_POLICY_LOAD, table, persist)
    }

    /// Takes the policy out of force.
    pub(crate) fn clear_policy(&self, persist: bool) -> Result<PolicyAnswer, Failure> {
        self.change_policy(code::SLUICE_POLICY_CLEAR, &[], persist)
    }

    fn change_policy(&self, code: u32, table: &[u8], persist: bool) -> Result<PolicyAnswer, Failure> {
        let table_length = u32::try_from(table.len())
            .map_err(|_| Failure::Input(format!("the policy is too large: its table has {} bytes", table.len())))?;
        let flags = if persist { policy_flags::PERSIST } else { 0 };
        let mut request =
            to_bytes(&PolicyRequest { header: header_of::<PolicyRequest>(), flags, table_length, reserved: 0 });
        request.extend_from_slice(table);
        let answer = self.0.control(code, &request, PolicyAnswer::SIZE).map_err(|failure| match failure {
            Failure::Windows { message, code } if persist => {
                let message = format!(
                    "{message}; it persists a policy in its data directory, or in the file that its registry value \
                     {POLICY_FILE} names"
                );
                Failure::Windows { message, code }
            }
            other => other,
        })?;
        fixed_part(&mut &answer[..], |answer: &PolicyAnswer| answer.header)
    }

    /// Tries `table` beside the policy in force.
    pub(crate) fn start_dry_run(&self, table: &[u8]) -> Result<PolicyAnswer, Failure> {
        self.change_policy(code::SLUICE_DRY_RUN_START, table, false)
    }

    /// Stops trying a policy.
    pub(crate) fn stop_dry_run(&self) -> Result<PolicyAnswer, Failure> {
        self.change_policy(code::SLUICE_DRY_RUN_STOP, &[], false)
    }

    /// Puts the policy that is being tried in force.
    pub(crate) fn load_dry_run(&self, persist: bool) -> Result<PolicyAnswer, Failure> {
        self.change_policy(code::SLUICE_DRY_RUN_LOAD, &[], persist)
    }

    /// What the policy that is being tried would change, and some of the packets.
    pub(crate) fn dry_run(&self) -> Result<(DryRunStatus, Vec<PacketRecord>), Failure> {
        let counts = |status: &DryRunStatus| (status.samples_total, status.samples_listed);
        read_list(&self.0, code::SLUICE_DRY_RUN_STATUS, |status: &DryRunStatus| status.header, counts)
    }

    /// The counters of all rules of a policy, one of [`counted_policy`](sluice_control::message::counted_policy).
    pub(crate) fn rule_counters(&self, policy: u32) -> Result<(CountersAnswer, Vec<RuleCounter>), Failure> {
        let mut rules = Vec::new();
        let mut generation = None;
        loop {
            let first = u32::try_from(rules.len()).map_err(|_| malformed_answer())?;
            let request = CountersRequest { header: header_of::<CountersRequest>(), policy, first, reserved: 0 };
            let room = CountersAnswer::SIZE + RULES_AT_ONCE * RuleCounter::SIZE;
            let bytes = self.0.control(code::SLUICE_RULE_COUNTERS, &to_bytes(&request), room)?;
            let mut rest = &bytes[..];
            let answer = fixed_part(&mut rest, |answer: &CountersAnswer| answer.header)?;
            if generation.replace(answer.generation).is_some_and(|before| before != answer.generation) {
                // Another policy: from the beginning.
                rules.clear();
                generation = None;
                continue;
            }
            rules.extend(items::<RuleCounter>(&mut rest, answer.listed)?);
            if rules.len() >= answer.rules_total as usize || answer.listed == 0 {
                return Ok((answer, rules));
            }
        }
    }

    /// Logged packets from number `next` on, as many as come at once; for [`u64::MAX`] none, and the number of the
    /// next one.
    pub(crate) fn read_log(&self, next: u64) -> Result<(LogAnswer, Vec<PacketRecord>), Failure> {
        let request = LogRequest { header: header_of::<LogRequest>(), reserved: 0, next };
        let room = LogAnswer::SIZE + PACKETS_AT_ONCE * PacketRecord::SIZE;
        let bytes = self.0.control(code::SLUICE_LOG_READ, &to_bytes(&request), room)?;
        let mut rest = &bytes[..];
        let answer = fixed_part(&mut rest, |answer: &LogAnswer| answer.header)?;
        let records = items(&mut rest, answer.listed)?;
        Ok((answer, records))
    }

    /// The policy in force and its table, which is empty if there is none.
    pub(crate) fn read_policy(&self) -> Result<(PolicyAnswer, Vec<u8>), Failure> {
        self.read_table(code::SLUICE_POLICY_READ)
    }

    /// The table that is being tried.
    pub(crate) fn read_dry_run(&self) -> Result<Vec<u8>, Failure> {
        self.read_table(code::SLUICE_DRY_RUN_READ).map(|(_, table)| table)
    }

    fn read_table(&self, code: u32) -> Result<(PolicyAnswer, Vec<u8>), Failure> {
        let mut room = 64 << 10;
        loop {
            let bytes = self.0.control(code, &[], PolicyAnswer::SIZE + room)?;
            let mut rest = &bytes[..];
            let answer = fixed_part(&mut rest, |answer: &PolicyAnswer| answer.header)?;
            let length = answer.table_length as usize;
            if rest.len() == length {
                return Ok((answer, rest.to_vec()));
            }
            if length <= room {
                return Err(malformed_answer());
            }
            // The table did not fit. By the next request, another may be in force.
            room = length;
        }
    }
}

/// The device of probe.sys.
pub(crate) struct Probe(Handle);

impl Probe {
    pub(crate) fn open(name: &str) -> Result<Self, Failure> {
        Handle::open(name, Access::Read).map(Self)
    }

    /// One verdict for each packet.
    pub(crate) fn classify(&self, packets: &[RecordedPacket]) -> Result<Vec<Verdict>, Failure> {
        let answer = self.0.control(code::PROBE_CLASSIFY, &batch(packets)?, BatchAnswer::size_for(packets.len()))?;
        let mut rest = &answer[..];
        let answer = fixed_part(&mut rest, |answer: &BatchAnswer| answer.header)?;
        if answer.count as usize != packets.len() {
            return Err(malformed_answer());
        }
        packets.iter().map(|_| Verdict::read(&mut rest).ok_or_else(malformed_answer)).collect()
    }

    pub(crate) fn providers(&self) -> Result<Vec<ProviderStatus>, Failure> {
        let counts = |status: &ProbeStatus| (status.providers_total, status.providers_listed);
        read_list(&self.0, code::PROBE_STATUS, |status: &ProbeStatus| status.header, counts).map(|(_, list)| list)
    }
}

/// How many bytes a packet takes in a batch.
pub(crate) fn size_in_batch(packet: &RecordedPacket) -> usize {
    BatchEntry::SIZE + packet.bytes.len()
}

/// The input of a request to classify.
fn batch(packets: &[RecordedPacket]) -> Result<Vec<u8>, Failure> {
    let too_large = |_| Failure::Input("a packet is too large to be classified".to_owned());
    let count = u32::try_from(packets.len()).map_err(too_large)?;
    let mut input = to_bytes(&BatchRequest { header: header_of::<BatchRequest>(), count, reserved: 0 });
    let mut offset = BatchRequest::SIZE + BatchEntry::SIZE * packets.len();
    for packet in packets {
        input.extend(to_bytes(&BatchEntry {
            link_type: packet.link_type,
            direction: packet.direction,
            captured_length: u32::try_from(packet.bytes.len()).map_err(too_large)?,
            wire_length: packet.wire_length,
            offset: u32::try_from(offset).map_err(too_large)?,
        }));
        offset += packet.bytes.len();
    }
    packets.iter().for_each(|packet| input.extend_from_slice(&packet.bytes));
    Ok(input)
}

/// Asks for a fixed part and the list that follows it, with more room until the whole list fits.
fn read_list<T: Wire, Item: Wire>(
    handle: &Handle,
    code: u32,
    header: fn(&T) -> Header,
    counts: impl Fn(&T) -> (u32, u32),
) -> Result<(T, Vec<Item>), Failure> {
    let mut room = USUAL_LIST;
    loop {
        let bytes = handle.control(code, &[], T::SIZE + Item::SIZE * room as usize)?;
        let mut rest = &bytes[..];
        let answer = fixed_part(&mut rest, header)?;
        let (total, listed) = counts(&answer);
        if listed < total && total > room {
            // More may have come by the next request.
            room = total.saturating_add(USUAL_LIST);
            continue;
        }
        return Ok((answer, items(&mut rest, listed)?));
    }
}

/// As many items of a list.
fn items<Item: Wire>(rest: &mut &[u8], listed: u32) -> Result<Vec<Item>, Failure> {
    (0..listed).map(|_| Item::read(rest).ok_or_else(malformed_answer)).collect()
}

/// The fixed part of an answer, whose version and size must be the expected ones.
fn fixed_part<T: Wire>(rest: &mut &[u8], header: fn(&T) -> Header) -> Result<T, Failure> {
    let answer = T::read(rest).ok_or_else(malformed_answer)?;
    if header(&answer) == header_of::<T>() { Ok(answer) } else { Err(other_version()) }
}

fn to_bytes<T: Wire>(message: &T) -> Vec<u8> {
    let mut bytes = vec![0; T::SIZE];
    let written = message.write(&mut &mut bytes[..]);
    debug_assert!(written.is_some(), "a message takes T::SIZE bytes");
    bytes
}

fn malformed_answer() -> Failure {
    Failure::State("the answer of the driver is malformed".to_owned())
}

fn other_version() -> Failure {
    Failure::State(format!(
        "the driver and this sluicectl ({}) are of different versions: use both from one release",
        env!("CARGO_PKG_VERSION")
    ))
}

#[cfg(test)]
mod tests {
    use sluice_control::probe::Batch;
    use sluice_npi::{direction, link_type};

    use super::*;

    #[test]
    fn a_batch_is_what_the_driver_expects() {
        let packets: Vec<RecordedPacket> = [&b"abc"[..], b"", b"defgh"]
            .into_iter()
            .zip(1..)
            .map(|(bytes, number)| RecordedPacket {
                number,
                time: None,
                link_type: link_type::RAW,
                direction: direction::INBOUND,
                wire_length: 1500,
                bytes: bytes.to_vec(),
                assembled: std::sync::OnceLock::default(),
            })
            .collect();
        let input = batch(&packets).unwrap();
        let parsed = Batch::parse(&input).unwrap();
        let seen: Vec<_> = parsed
            .packets()
            .map(|packet| (packet.link_type, packet.direction, packet.wire_length, packet.bytes))
            .collect();
        assert_eq!(
            seen,
            packets.iter().map(|p| (p.link_type, p.direction, p.wire_length, &p.bytes[..])).collect::<Vec<_>>()
        );
        assert_eq!(input.len(), BatchRequest::SIZE + packets.iter().map(size_in_batch).sum::<usize>());
    }
}
