//! What the engine reports.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use sluice_control::NTSTATUS;
use sluice_control::message::PacketRecord;
use sluice_control::settings::OnPolicyError;
use sluice_core::Action;
use wdk_nmr::ModuleId;

/// Something that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A client has been accepted. PASSIVE_LEVEL.
    Attached {
        /// Which module it is.
        module_id: ModuleId,
        /// What it calls itself: what its driver says, which should be UTF-8.
        name: &'a [u8],
        /// The version of its driver, as its author counts.
        driver_version: u32,
    },
    /// A client has been refused. PASSIVE_LEVEL.
    Refused {
        /// Which module it is, if it says so.
        module_id: Option<ModuleId>,
        /// What it was answered.
        status: NTSTATUS,
    },
    /// A client is gone. Up to DISPATCH_LEVEL.
    Detached {
        /// Which module it was.
        module_id: ModuleId,
        /// What it called itself.
        name: &'a [u8],
        /// For how long it was attached, until one side began to detach, in milliseconds.
        attached_ms: u64,
        /// How long it took from there until both sides were done, in milliseconds.
        detaching_ms: u64,
        /// How many packets it had classified.
        packets: u64,
    },
    /// The engine has been registered, with the policy that is in force now. PASSIVE_LEVEL.
    Started {
        /// Its generation.
        generation: u64,
        /// How many rules it has.
        rules: u32,
        /// What happens to a packet that no rule matches.
        default: Action,
    },
    /// Another policy is in force. PASSIVE_LEVEL.
    PolicyChanged {
        /// Its generation.
        generation: u64,
        /// How many rules it has.
        rules: u32,
        /// How many bytes its table has; 0 if there is none.
        table_length: usize,
        /// What happens to a packet that no rule matches.
        default: Action,
        /// Whether the driver starts with it the next time.
        persisted: bool,
        /// Whether an administrator has asked for it, on the thread that reports it. Otherwise the driver starts.
        requested: bool,
    },
    /// The driver starts, and the persisted policy cannot be put in force. PASSIVE_LEVEL.
    PolicyError {
        /// Why the file could not be read, or STATUS_FILE_CORRUPT_ERROR.
        status: NTSTATUS,
        /// What the driver does about it.
        reaction: OnPolicyError,
    },
    /// A control request has been refused. At most one of these a second. PASSIVE_LEVEL.
    RequestRejected {
        /// The control code.
        code: u32,
        /// What it was answered.
        status: NTSTATUS,
        /// How many more have been refused since the last of these events.
        unreported: u64,
    },
    /// A rule has logged a packet. At most 10 of these a second for each rule and 1,000 for all, after a silence as
    /// many at once. Up to DISPATCH_LEVEL.
    PacketLogged(&'a PacketRecord),
    /// A client's call of the dispatch table has been refused. At most one of these a second for each client. Up to
    /// DISPATCH_LEVEL.
    CallRejected {
        /// Which client.
        module_id: ModuleId,
        /// How many more of its calls have been refused since the last of these events.
        unreported: u64,
    },
}

/// The least time between two events that a caller can cause at will, in milliseconds.
const INTERVAL_MS: u64 = 1000;

/// How many events are reported: one each `interval_ms` milliseconds, and up to `burst` at once after a silence.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) interval_ms: u64,
    pub(crate) burst: u64,
}

/// Keeps such events apart, so that they cannot flood a trace. Up to DISPATCH_LEVEL, without a lock.
#[derive(Default)]
pub(crate) struct Limiter {
    next_at: AtomicU64,
    unreported: AtomicU64,
}

impl Limiter {
    /// Whether an event that happens at `now` is reported: if so, with how many that were not since the last one.
    pub(crate) fn admit(&self, now: u64) -> Option<u64> {
        if self.allows(now, Rate { interval_ms: INTERVAL_MS, burst: 1 }) {
            return Some(self.unreported.swap(0, Relaxed));
        }
        self.unreported.fetch_add(1, Relaxed);
        None
    }

    /// Whether an event that happens at `now` is reported, where `rate` are. Nothing is written if it is not.
    pub(crate) fn allows(&self, now: u64, rate: Rate) -> bool {
        // The generic cell rate algorithm (ITU-T I.371): `next_at` is when the next event is due that comes no sooner
        // than its turn.
        let next_at = self.next_at.load(Relaxed);
        let ahead = rate.interval_ms.saturating_mul(rate.burst.saturating_sub(1));
        let later = next_at.max(now).saturating_add(rate.interval_ms);
        // Of several at the same time one is reported.
        now >= next_at.saturating_sub(ahead) && self.next_at.compare_exchange(next_at, later, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_a_second_is_reported_and_the_others_are_counted() {
        let limiter = Limiter::default();
        assert_eq!(limiter.admit(5), Some(0));
        assert_eq!([5, 6, 1004].map(|now| limiter.admit(now)), [None; 3]);
        assert_eq!(limiter.admit(1005), Some(3));
        assert_eq!(limiter.admit(1006), None);
        assert_eq!(limiter.admit(9000), Some(1));
    }

    #[test]
    fn a_burst_is_reported_and_then_the_rate_holds() {
        let (limiter, rate) = (Limiter::default(), Rate { interval_ms: 100, burst: 3 });
        let allowed = |now: u64| (0..10).filter(|_| limiter.allows(now, rate)).count();
        assert_eq!([1000, 1050, 1100, 1300, 1301].map(allowed), [3, 0, 1, 2, 0]);
        assert_eq!(allowed(100_000), 3, "a longer silence saves up no more");
    }
}
