//! Entries in the System log: `sluice_control::event_log` with what has happened.
//!
//! All of them are written at PASSIVE_LEVEL.

use core::fmt;

use sluice_control::event_log::{
    BLOCKS_EVERYTHING, MISSED, Message, NOT_STARTED, NOT_UNLOADED, PERMITS_EVERYTHING, POLICY_CHANGED, STARTED, STOPPED,
};
use sluice_control::settings::OnPolicyError;
use sluice_engine::{Action, Event};
use sluice_wdm::{ErrorLog, Requester, StartError};
use wdk_nmr::Leaked;
use wdk_sys::DRIVER_OBJECT;

static LOG: ErrorLog = ErrorLog::new(MISSED.code);

/// Makes the service of this driver the source of all entries. Called first in DriverEntry.
pub(crate) fn start(driver: &mut DRIVER_OBJECT) {
    // SAFETY: DriverEntry was given it; nothing of this image runs once it is gone.
    unsafe { LOG.start(driver) };
}

/// How many entries are missing of which nothing has been said yet.
pub(crate) fn missed() -> u32 {
    LOG.missed()
}

/// The driver has not started.
#[inline(never)]
pub(crate) fn not_started(error: &StartError) {
    log(NOT_STARTED, &[format_args!("{error}")]);
}

/// The driver has stopped.
pub(crate) fn stopped(outcome: &Result<(), Leaked>) {
    log(if outcome.is_ok() { STOPPED } else { NOT_UNLOADED }, &[]);
}

/// Writes the entry of an event of the engine, if an administrator has to know of it.
pub(crate) fn write(event: &Event<'_>) {
    match *event {
        Event::Started { generation, rules, default } => started(generation, rules, default),
        Event::PolicyChanged { generation, rules, default, persisted, requested: true, .. } => {
            policy_changed(generation, rules, default, persisted);
        }
        Event::PolicyError { status, reaction: OnPolicyError::Permit } => policy_error(PERMITS_EVERYTHING, status),
        Event::PolicyError { status, reaction: OnPolicyError::Block } => policy_error(BLOCKS_EVERYTHING, status),
        // The driver does not start, and says why.
        Event::PolicyError { reaction: OnPolicyError::DoNotStart, .. } => {}
        // The policy that the driver has found is told of when it has started.
        Event::PolicyChanged { requested: false, .. } => {}
        // What clients and callers do is for a trace, and is not recorded.
        Event::Attached { .. }
        | Event::Refused { .. }
        | Event::Detached { .. }
        | Event::RequestRejected { .. }
        | Event::CallRejected { .. }
        | Event::PacketLogged(_) => {}
    }
}

#[inline(never)]
fn started(generation: u64, rules: u32, default: Action) {
    let version = env!("CARGO_PKG_VERSION");
    let strings = [
        format_args!("{version}"),
        format_args!("{generation}"),
        format_args!("{rules}"),
        format_args!("{}", done(default)),
    ];
    log(STARTED, &strings);
}

#[inline(never)]
fn policy_error(message: Message, status: i32) {
    log(message, &[format_args!("{status:#010x}")]);
}

#[inline(never)]
fn policy_changed(generation: u64, rules: u32, default: Action, persisted: bool) {
    let requester = Requester::current();
    let until = if persisted { ", also after the next start" } else { " until Sluice stops" };
    let strings = [
        format_args!("{generation}"),
        format_args!("{rules}"),
        format_args!("{}", done(default)),
        format_args!("{until}"),
        format_args!("{}", requester.process()),
        format_args!("{}", requester.user()),
    ];
    log(POLICY_CHANGED, &strings);
}

/// What happens to a packet on which that is decided.
fn done(action: Action) -> &'static str {
    match action {
        Action::Permit => "permitted",
        Action::Block => "blocked",
    }
}

fn log(message: Message, strings: &[fmt::Arguments<'_>]) {
    LOG.write(message.code, strings);
}
