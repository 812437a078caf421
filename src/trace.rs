//! The trace of the driver: events for Event Tracing for Windows, described in docs/tracing.md.
//!
//! An event is built on the stack, and only while there is a listener. EtwWriteTransfer takes it at any IRQL.

use sluice_control::message::{ModuleId as ModuleIdMessage, PacketRecord};
use sluice_engine::Event;
use tracelogging::{Guid, define_provider, write_event};
use wdk_nmr::{Leaked, ModuleId};

// Its identifier, c320867d-d802-5654-3eb1-25584902deba, follows from the name, so that tools may be given either.
define_provider!(PROVIDER, "Sluice");

/// What the events are about: the bits of a keyword, by which a listener chooses.
mod keyword {
    /// The driver starts and stops.
    pub(super) const DRIVER: u64 = 1 << 0;
    /// Clients come, are refused, and go.
    pub(super) const CLIENT: u64 = 1 << 1;
    /// The policy changes.
    pub(super) const POLICY: u64 = 1 << 2;
    /// Input is refused.
    pub(super) const INPUT: u64 = 1 << 3;
    /// Rules log packets.
    pub(super) const PACKET: u64 = 1 << 4;
}

/// Registers the provider. Called first in DriverEntry.
///
/// # Safety
///
/// It is not called again before [`stop`], which is called before the image goes.
// A function of its own in the image: the crate would panic the second time, and the image check knows it by its name.
#[inline(never)]
pub(crate) unsafe fn start() {
    // A failure means that there will be no listener; the driver works without one.
    // SAFETY: the caller ends it.
    let _ = unsafe { PROVIDER.register() };
}

/// Unregisters the provider. Called last in DriverUnload, or in a DriverEntry that fails.
pub(crate) fn stop() {
    let _ = PROVIDER.unregister();
}

/// The driver has not started, and DriverEntry returns this status.
pub(crate) fn driver_not_loaded(status: i32) {
    write_event!(PROVIDER, "DriverLoadFailed", level(Error), keyword(keyword::DRIVER), win_ntstatus("Status", &status));
}

/// A setting cannot be used, so that the driver does not start.
pub(crate) fn setting_rejected(name: &str, status: i32) {
    write_event!(
        PROVIDER,
        "SettingReject",
        level(Error),
        keyword(keyword::DRIVER),
        str8("Name", name),
        win_ntstatus("Status", &status)
    );
}

/// The driver has stopped.
pub(crate) fn driver_unloaded(outcome: &Result<(), Leaked>) {
    write_event!(
        PROVIDER,
        "DriverUnload",
        level(Informational),
        keyword(keyword::DRIVER),
        bool8("Leaked", &outcome.is_err())
    );
}

/// Writes an event of the engine.
pub(crate) fn write(event: &Event<'_>) {
    match *event {
        Event::PacketLogged(record) => packet_logged(record),
        Event::Attached { module_id, name, driver_version } => write_event!(
            PROVIDER,
            "ClientAttach",
            level(Informational),
            keyword(keyword::CLIENT),
            guid("ModuleId", &guid(Some(module_id))),
            str8("Name", name),
            u32("DriverVersion", &driver_version)
        ),
        Event::Refused { module_id, status } => write_event!(
            PROVIDER,
            "ClientRefuse",
            level(Warning),
            keyword(keyword::CLIENT),
            guid("ModuleId", &guid(module_id)),
            win_ntstatus("Status", &status)
        ),
        Event::Detached { module_id, name, attached_ms, detaching_ms, packets } => write_event!(
            PROVIDER,
            "ClientDetach",
            level(Informational),
            keyword(keyword::CLIENT),
            guid("ModuleId", &guid(Some(module_id))),
            str8("Name", name),
            u64("AttachedMs", &attached_ms),
            u64("DetachingMs", &detaching_ms),
            u64("Packets", &packets)
        ),
        Event::Started { generation, rules, default } => write_event!(
            PROVIDER,
            "DriverLoad",
            level(Informational),
            keyword(keyword::DRIVER),
            str8("Version", env!("CARGO_PKG_VERSION")),
            u64("Generation", &generation),
            u32("Rules", &rules),
            u16("DefaultAction", &default.number())
        ),
        Event::PolicyChanged { generation, rules, table_length, default, persisted, requested: _ } => write_event!(
            PROVIDER,
            "PolicyChange",
            level(Informational),
            keyword(keyword::POLICY),
            u64("Generation", &generation),
            u32("Rules", &rules),
            u64("TableLength", &(table_length as u64)),
            u16("DefaultAction", &default.number()),
            bool8("Persisted", &persisted)
        ),
        Event::PolicyError { status, reaction } => write_event!(
            PROVIDER,
            "PolicyError",
            level(Error),
            keyword(keyword::POLICY),
            win_ntstatus("Status", &status),
            u16("Reaction", &reaction.number())
        ),
        Event::RequestRejected { code, status, unreported } => write_event!(
            PROVIDER,
            "RequestReject",
            level(Warning),
            keyword(keyword::INPUT),
            u32_hex("Code", &code),
            win_ntstatus("Status", &status),
            u64("Unreported", &unreported)
        ),
        Event::CallRejected { module_id, unreported } => write_event!(
            PROVIDER,
            "CallReject",
            level(Warning),
            keyword(keyword::INPUT),
            guid("ModuleId", &guid(Some(module_id))),
            u64("Unreported", &unreported)
        ),
    };
}

/// The identifier of a module: a GUID, or a LUID and zeros. All zeros if there is none.
fn guid(module_id: Option<ModuleId>) -> Guid {
    let value = module_id.map_or([0; 16], |module_id| ModuleIdMessage::from(module_id).value);
    Guid::from_bytes_le(&value)
}

/// Writes the event of a packet that a rule has logged. Returns what `write_event` does.
// Out of the way of the other events: its fields would be part of their stack frame.
#[inline(never)]
fn packet_logged(record: &PacketRecord) -> u32 {
    let flow = &record.flow;
    let name = record.name.get(..flow.name_length.into()).unwrap_or_default();
    // An IPv4 address as a mapped one (RFC 4291, 2.5.5.2), so that there is one kind of event.
    let address = |address: &[u8; 16]| match (flow.ip_version, address) {
        (4, [a, b, c, d, ..]) => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, *a, *b, *c, *d],
        _ => *address,
    };
    write_event!(
        PROVIDER,
        "PacketLog",
        level(Informational),
        keyword(keyword::PACKET),
        u32("Rule", &record.rule_id),
        u64("Matched", &record.matched),
        u16("Action", &record.action),
        u32("DecidedBy", &record.decided_by),
        u64("Generation", &record.generation),
        guid("ModuleId", &Guid::from_bytes_le(&record.module_id.value)),
        u16("Direction", &record.direction),
        u32("Length", &record.wire_length),
        u16_hex("EtherType", &flow.ether_type),
        u8("Protocol", &flow.protocol),
        ipv6("Source", &address(&flow.source_address)),
        ipv6("Destination", &address(&flow.destination_address)),
        port("SourcePort", &flow.source_port),
        port("DestinationPort", &flow.destination_port),
        u8("NameKind", &flow.name_kind),
        str8("Name", name)
    )
}
