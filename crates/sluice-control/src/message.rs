//! What goes into the buffers.
//!
//! Every message starts with a [`Header`]: [`VERSION`](crate::VERSION) and the size of its fixed part. A list follows
//! the fixed part without a gap. Reserved fields are 0 in both directions.

use sluice_npi::{Flow, Header, Statistics, Verdict};

use crate::wire::{Wire, wire};

/// The header of a message of type `T`.
#[must_use]
pub const fn header_of<T>() -> Header {
    Header { version: crate::VERSION, size: Header::of::<T>().size }
}

/// The bits of [`PolicyRequest::flags`].
pub mod policy_flags {
    /// Persist the policy, or that there is none: the driver starts with it the next time.
    pub const PERSIST: u32 = 1;
    /// All bits that mean something.
    pub const ALL: u32 = PERSIST;
}

/// The input of [`SLUICE_POLICY_LOAD`](crate::code::SLUICE_POLICY_LOAD) and
/// [`SLUICE_POLICY_CLEAR`](crate::code::SLUICE_POLICY_CLEAR). The table follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRequest {
    /// Version and size.
    pub header: Header,
    /// Bits of [`policy_flags`].
    pub flags: u32,
    /// How many bytes of table follow, to the end of the input: at least 1 to load, 0 to clear.
    pub table_length: u32,
    /// 0.
    pub reserved: u32,
}

/// The answer to every request about the policy: which one is in force now.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyAnswer {
    /// Version and size.
    pub header: Header,
    /// How many bytes the table in force has; 0 if there is none. After
    /// [`SLUICE_POLICY_READ`](crate::code::SLUICE_POLICY_READ) the whole table follows if the output has room for it,
    /// and nothing otherwise: the bytes returned tell which.
    pub table_length: u32,
    /// The generation of the policy in force: 0 before the first load, then one more with every load or clear.
    pub generation: u64,
}

/// The bits of [`Status::flags`].
pub mod status_flags {
    /// The policy in force is persisted: the driver starts with it the next time. Not set when there is no policy.
    pub const PERSISTED: u32 = 1;
    /// When the driver started there was a persisted policy, but it could not be read or was damaged, and so it was not
    /// put in force. Cleared when another one has been persisted, or it has been removed.
    pub const PERSISTED_DAMAGED: u32 = 1 << 1;
}

/// The answer to [`SLUICE_STATUS`](crate::code::SLUICE_STATUS). `clients_listed` [`ClientStatus`]s follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Version and size.
    pub header: Header,
    /// Bits of [`status_flags`].
    pub flags: u32,
    /// The version of the driver: major, minor, patch, 0.
    pub driver_version: [u16; 4],
    /// Milliseconds since `DriverEntry`.
    pub uptime: u64,
    /// The generation of the policy in force.
    pub generation: u64,
    /// How many bytes its table has.
    pub table_length: u32,
    /// How many rules it has.
    pub rule_count: u32,
    /// What happens to a packet that no rule matches: one of [`sluice_npi::action`].
    pub default_action: u16,
    /// 0.
    pub reserved: [u16; 3],
    /// How many clients there are. Filled in by the dispatcher.
    pub clients_total: u32,
    /// How many of them the answer lists: as many as fit. Filled in by the dispatcher.
    pub clients_listed: u32,
}

/// The values of [`ClientStatus::state`].
pub mod client_state {
    /// The client is attached.
    pub const ATTACHED: u16 = 1;
    /// One side has begun to detach, the other has not finished.
    pub const DETACHING: u16 = 2;
}

/// The values of [`ModuleId::kind`], as in `NPI_MODULEID_TYPE`.
pub mod module_id_kind {
    /// A GUID, in its 16 bytes of memory.
    pub const GUID: u32 = 1;
    /// The LUID of an interface, in the first 8 bytes.
    pub const IF_LUID: u32 = 2;
}

/// What a network module calls itself in NMR: `NPI_MODULEID` with nothing that is unset.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleId {
    /// One of [`module_id_kind`]; 0 if the module does not say.
    pub kind: u32,
    /// The value; what `kind` does not use is 0.
    pub value: [u8; 16],
}

#[cfg(feature = "nmr")]
impl From<wdk_nmr::ModuleId> for ModuleId {
    fn from(module_id: wdk_nmr::ModuleId) -> Self {
        let mut value = [0; 16];
        let mut fill = |bytes: &[u8]| value.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let kind = match module_id {
            wdk_nmr::ModuleId::Guid(guid) => {
                let [a, b, c, d] = guid.Data1.to_ne_bytes();
                let ([e, f], [g, h]) = (guid.Data2.to_ne_bytes(), guid.Data3.to_ne_bytes());
                let [i, j, k, l, m, n, o, p] = guid.Data4;
                fill(&[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]);
                module_id_kind::GUID
            }
            wdk_nmr::ModuleId::IfLuid(luid) => {
                fill(&luid.to_ne_bytes());
                module_id_kind::IF_LUID
            }
            // Of a kind that this contract has no number for.
            _ => 0,
        };
        Self { kind, value }
    }
}

/// A client driver that is attached to Sluice.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientStatus {
    /// Which module it is.
    pub module_id: ModuleId,
    /// One of [`client_state`].
    pub state: u16,
    /// 0.
    pub reserved: u16,
    /// The version of the client driver, as its author counts.
    pub driver_version: u32,
    /// 0.
    pub reserved2: u32,
    /// What it calls itself: UTF-8, filled up with zeros.
    pub name: [u8; 32],
    /// Milliseconds since it attached.
    pub attached: u64,
    /// Its counters.
    pub statistics: Statistics,
}

/// The values of [`CountersRequest::policy`].
pub mod counted_policy {
    /// The policy in force.
    pub const IN_FORCE: u32 = 0;
    /// The policy that is being tried.
    pub const DRY_RUN: u32 = 1;
}

/// The input of [`SLUICE_RULE_COUNTERS`](crate::code::SLUICE_RULE_COUNTERS).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountersRequest {
    /// Version and size.
    pub header: Header,
    /// One of [`counted_policy`].
    pub policy: u32,
    /// The first rule that is asked for, counted from 0 in the order in which they are tried.
    pub first: u32,
    /// 0.
    pub reserved: u32,
}

/// The answer to [`SLUICE_RULE_COUNTERS`](crate::code::SLUICE_RULE_COUNTERS). `listed` [`RuleCounter`]s follow.
///
/// Whoever asks for the rules in several requests compares the generations: there may be another policy meanwhile.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountersAnswer {
    /// Version and size.
    pub header: Header,
    /// How many rules the policy has; 0 if there is no policy.
    pub rules_total: u32,
    /// The generation of the policy in force. For a dry run, how many have been started so far.
    pub generation: u64,
    /// Packets that no rule decided on. 0 if there is no policy.
    pub default_packets: u64,
    /// A dry run: how many of them would be treated in another way than they are.
    pub default_changed: u64,
    /// The default action: one of [`sluice_npi::action`].
    pub default_action: u16,
    /// 0.
    pub reserved: u16,
    /// How many rules the answer lists: as many as fit.
    pub listed: u32,
}

/// The numbers of actions of rules, besides those of [`sluice_npi::action`].
pub mod rule_action {
    /// Counts, and the next rule is tried.
    pub const COUNT: u16 = 3;
    /// Logs, and the next rule is tried.
    pub const LOG: u16 = 4;
}

/// How many packets a rule matched since its policy was loaded, or since the dry run was started.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleCounter {
    /// The number that verdicts name it by.
    pub id: u32,
    /// One of [`sluice_npi::action`] or [`rule_action`].
    pub action: u16,
    /// 0.
    pub reserved: u16,
    /// The packets on which it decided, or which it counted or logged.
    pub packets: u64,
    /// A dry run: how many of them would be treated in another way than they are.
    pub changed: u64,
}

/// The input of [`SLUICE_LOG_READ`](crate::code::SLUICE_LOG_READ).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Version and size.
    pub header: Header,
    /// 0.
    pub reserved: u32,
    /// The number of the first record that is asked for: [`LogAnswer::next`] of the last answer. [`u64::MAX`] asks for
    /// no record, and how many there have been.
    pub next: u64,
}

/// The answer to [`SLUICE_LOG_READ`](crate::code::SLUICE_LOG_READ). `listed` [`PacketRecord`]s follow, oldest first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogAnswer {
    /// Version and size.
    pub header: Header,
    /// How many records the answer lists: as many as there are and fit.
    pub listed: u32,
    /// What to ask for the next time.
    pub next: u64,
    /// How many records that were asked for have been overwritten before.
    pub lost: u64,
    /// When this was answered: milliseconds, by the clock of [`PacketRecord::time`].
    pub now: u64,
}

/// How many bytes of a host name a [`PacketRecord`] has room for: more than the longest has.
pub const MAX_RECORDED_NAME: usize = 260;

/// A packet that a rule has logged, or that a dry run would treat in another way.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRecord {
    /// When: milliseconds since some moment in the past.
    pub time: u64,
    /// The generation of the policy in force.
    pub generation: u64,
    /// The number of the packet among those that the rule `rule_id` matched since its policy is there. What is missing
    /// between two records of a rule was not logged, as there were too many.
    pub matched: u64,
    /// The rule that logs the packet; in a dry run the rule of the policy that is being tried which decides on it, or
    /// 0.
    pub rule_id: u32,
    /// The rule of the policy in force that decided on the packet, or 0 for the default.
    pub decided_by: u32,
    /// What was decided: one of [`sluice_npi::action`].
    pub action: u16,
    /// In a dry run, what would be decided; else 0.
    pub dry_run_action: u16,
    /// What the packet starts with: one of [`sluice_npi::link_type`].
    pub link_type: u16,
    /// One of [`sluice_npi::direction`].
    pub direction: u16,
    /// How many bytes the packet has on the wire.
    pub wire_length: u32,
    /// 0.
    pub reserved: u32,
    /// The client that asked.
    pub module_id: ModuleId,
    /// What was read from the packet.
    pub flow: Flow,
    /// The host name as it is in the packet: `flow.name_length` bytes, and zeros.
    pub name: [u8; MAX_RECORDED_NAME],
}

/// The answer to [`SLUICE_DRY_RUN_STATUS`](crate::code::SLUICE_DRY_RUN_STATUS). `samples_listed` [`PacketRecord`]s
/// follow: packets that would be treated in another way, of as many pairs of rules as there is room for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DryRunStatus {
    /// Version and size.
    pub header: Header,
    /// How many bytes the table of the policy that is being tried has.
    pub table_length: u32,
    /// Which policy was in force when the dry run was started.
    pub started_generation: u64,
    /// Which one is now. If they differ, what is counted is about all that were in force meanwhile.
    pub generation: u64,
    /// For how long it has been tried, in milliseconds.
    pub running: u64,
    /// Packets that are permitted and would be, that are permitted and would be blocked, that are blocked and would be
    /// permitted, that are blocked and would be.
    pub packets: [u64; 4],
    /// How many rules the policy that is being tried has.
    pub rule_count: u32,
    /// Its default action: one of [`sluice_npi::action`].
    pub default_action: u16,
    /// 0.
    pub reserved: u16,
    /// How many samples there are. Filled in by the dispatcher.
    pub samples_total: u32,
    /// How many of them the answer lists: as many as fit. Filled in by the dispatcher.
    pub samples_listed: u32,
    /// The time, by the clock of [`PacketRecord::time`].
    pub now: u64,
}

/// The input of [`PROBE_CLASSIFY`](crate::code::PROBE_CLASSIFY). `count` [`BatchEntry`]s follow, then the bytes of the
/// packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRequest {
    /// Version and size.
    pub header: Header,
    /// How many packets: 1 to [`sluice_npi::MAX_BATCH`].
    pub count: u32,
    /// 0.
    pub reserved: u64,
}

/// One packet of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry {
    /// What the bytes start with: one of [`sluice_npi::link_type`]. Passed on unchecked.
    pub link_type: u16,
    /// One of [`sluice_npi::direction`]. Passed on unchecked.
    pub direction: u16,
    /// How many bytes there are.
    pub captured_length: u32,
    /// How many bytes the packet had on the wire. Passed on unchecked.
    pub wire_length: u32,
    /// Where the bytes begin, counted from the start of the input. They lie behind the last entry and end with the
    /// input at the latest.
    pub offset: u32,
}

/// The answer to [`PROBE_CLASSIFY`](crate::code::PROBE_CLASSIFY). `count` [`Verdict`]s follow, in the order of the
/// packets. All are of one policy.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchAnswer {
    /// Version and size.
    pub header: Header,
    /// How many verdicts: as many as there were packets.
    pub count: u32,
    /// 0.
    pub reserved: u64,
}

impl BatchAnswer {
    /// How many bytes an answer with `count` verdicts takes.
    #[must_use]
    pub const fn size_for(count: usize) -> usize {
        Self::SIZE.saturating_add(Verdict::SIZE.saturating_mul(count))
    }
}

/// The answer to [`PROBE_STATUS`](crate::code::PROBE_STATUS). `providers_listed` [`ProviderStatus`]s follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeStatus {
    /// Version and size.
    pub header: Header,
    /// How many providers the probe is attached to. Filled in by the dispatcher.
    pub providers_total: u32,
    /// How many of them the answer lists: as many as fit. Filled in by the dispatcher.
    pub providers_listed: u32,
    /// 0.
    pub reserved: u32,
}

/// A provider that the probe is attached to. The first one classifies.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderStatus {
    /// Which module it is.
    pub module_id: ModuleId,
    /// 0.
    pub reserved: u32,
    /// The generation that it announced last with `PolicyChanged`; 0 if it has announced none.
    pub generation: u64,
    /// What its `QueryStatistics` answered.
    pub statistics: Statistics,
}

wire!(PolicyRequest { header: Header, flags: u32, table_length: u32, reserved: u32 });
wire!(PolicyAnswer { header: Header, table_length: u32, generation: u64 });
wire!(Status {
    header: Header,
    flags: u32,
    driver_version: [u16; 4],
    uptime: u64,
    generation: u64,
    table_length: u32,
    rule_count: u32,
    default_action: u16,
    reserved: [u16; 3],
    clients_total: u32,
    clients_listed: u32,
});
wire!(ModuleId { kind: u32, value: [u8; 16] });
wire!(ClientStatus {
    module_id: ModuleId,
    state: u16,
    reserved: u16,
    driver_version: u32,
    reserved2: u32,
    name: [u8; 32],
    attached: u64,
    statistics: Statistics,
});
wire!(CountersRequest { header: Header, policy: u32, first: u32, reserved: u32 });
wire!(CountersAnswer {
    header: Header,
    rules_total: u32,
    generation: u64,
    default_packets: u64,
    default_changed: u64,
    default_action: u16,
    reserved: u16,
    listed: u32,
});
wire!(RuleCounter { id: u32, action: u16, reserved: u16, packets: u64, changed: u64 });
wire!(LogRequest { header: Header, reserved: u32, next: u64 });
wire!(LogAnswer { header: Header, listed: u32, next: u64, lost: u64, now: u64 });
wire!(PacketRecord {
    time: u64,
    generation: u64,
    matched: u64,
    rule_id: u32,
    decided_by: u32,
    action: u16,
    dry_run_action: u16,
    link_type: u16,
    direction: u16,
    wire_length: u32,
    reserved: u32,
    module_id: ModuleId,
    flow: Flow,
    name: [u8; MAX_RECORDED_NAME],
});
wire!(DryRunStatus {
    header: Header,
    table_length: u32,
    started_generation: u64,
    generation: u64,
    running: u64,
    packets: [u64; 4],
    rule_count: u32,
    default_action: u16,
    reserved: u16,
    samples_total: u32,
    samples_listed: u32,
    now: u64,
});
wire!(BatchRequest { header: Header, count: u32, reserved: u64 });
wire!(BatchEntry { link_type: u16, direction: u16, captured_length: u32, wire_length: u32, offset: u32 });
wire!(BatchAnswer { header: Header, count: u32, reserved: u64 });
wire!(ProbeStatus { header: Header, providers_total: u32, providers_listed: u32, reserved: u32 });
wire!(ProviderStatus { module_id: ModuleId, reserved: u32, generation: u64, statistics: Statistics });

#[cfg(all(test, feature = "nmr"))]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_by_the_bytes_of_its_identifier_in_memory() {
        let guid =
            wdk_nmr::GUID { Data1: 0x0403_0201, Data2: 0x0605, Data3: 0x0807, Data4: [9, 10, 11, 12, 13, 14, 15, 16] };
        let value = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(ModuleId::from(wdk_nmr::ModuleId::Guid(guid)), ModuleId { kind: module_id_kind::GUID, value });
        let luid = wdk_nmr::ModuleId::IfLuid(0x0807_0605_0403_0201);
        let value = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(ModuleId::from(luid), ModuleId { kind: module_id_kind::IF_LUID, value });
    }
}
