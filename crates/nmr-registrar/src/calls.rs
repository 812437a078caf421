//! The calls that modules make into each other, as far as a test reports them: they pass by NMR, so R29, R43, R44 and
//! R50 can be checked only with somebody's help.
//!
//! Nothing is reported that could be right. A module counts a call before it makes it, and the registrar sees it later:
//! while a detach is pending, a call on another thread may have been counted before.

use wdk_nmr_sys::{NTSTATUS, STATUS_PENDING};

use crate::life::{Breach, Life, Part, Side};

/// The calls of one side of a binding into its peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    /// The thread that ran this side's detach callback, once that has returned.
    detached_on: u64,
    /// Calls that have not returned.
    running: u16,
    /// Calls that have returned STATUS_PENDING and are not complete (R50).
    pended: u16,
    /// This side's calls are reported at all.
    are_reported: bool,
    /// The provider called while it was still deciding (R29).
    early: bool,
    /// The detach callback returned STATUS_PENDING with no call in progress, and none has begun since.
    idle: bool,
}

/// What R43 expects.
pub(crate) const NO_NEW_CALL: &str = "no new call into the peer once the detach callback has been called";
const SUCCESS_IF_IDLE: &str = "STATUS_PENDING if and only if a call into the peer is in progress";

impl Calls {
    /// A call of `side` begins on `thread`. `inside`: that thread is in this side's detach callback.
    pub(crate) fn begin(&mut self, life: &Life, side: Side, thread: u64, inside: bool) -> Option<Breach> {
        self.are_reported = true;
        self.idle = false;
        self.running = self.running.saturating_add(1);
        let after_detach = |tolerated, found| Some(Breach { rule: 43, tolerated, found, expected: NO_NEW_CALL });
        match life {
            Life::Offered(_) | Life::Proposed if side == Side::Client => Some(Breach {
                rule: 27,
                tolerated: false,
                found: "the client called the provider before NmrClientAttachProvider had succeeded",
                expected: "calls into the provider after NmrClientAttachProvider returned STATUS_SUCCESS",
            }),
            // Right if it goes on to accept the client (R28).
            Life::Offered(_) | Life::Proposed => {
                self.early = true;
                None
            }
            Life::Agreed(_) | Life::Attached(_) => None,
            Life::Detaching { client, provider } => {
                let part = if side == Side::Client { client } else { provider };
                match part {
                    Part::NotCalled => None,
                    Part::Called if inside => after_detach(true, "it called its peer inside its detach callback"),
                    // The interface may allow it until the Complete function is called.
                    Part::Pending if self.detached_on == thread => {
                        after_detach(true, "it called its peer after its detach callback had returned STATUS_PENDING")
                    }
                    Part::Called | Part::Pending => None,
                    Part::CompletedBeforeCall | Part::CompletedDuringCall | Part::Done | Part::Disowned => {
                        after_detach(false, "it called its peer although it had ended its part of the detach")
                    }
                }
            }
            Life::Detached { .. } => after_detach(false, "it called its peer after both sides had detached"),
        }
    }

    /// A call returns. False if none is running.
    pub(crate) fn end(&mut self, status: NTSTATUS) -> bool {
        let Some(running) = self.running.checked_sub(1) else { return false };
        self.running = running;
        self.pended = self.pended.saturating_add(u16::from(status == STATUS_PENDING));
        true
    }

    /// A call that returned STATUS_PENDING is complete. False if there is none.
    pub(crate) fn complete(&mut self) -> bool {
        let Some(pended) = self.pended.checked_sub(1) else { return false };
        self.pended = pended;
        true
    }

    /// The provider has answered; `accepted`: with STATUS_SUCCESS.
    pub(crate) fn provider_answered(&mut self, accepted: bool) -> Option<Breach> {
        (core::mem::take(&mut self.early) && !accepted).then_some(Breach {
            rule: 29,
            tolerated: false,
            found: "the provider called the client inside ProviderAttachClient and then refused it",
            expected: "no call into the client before the provider is certain to return STATUS_SUCCESS",
        })
    }

    /// The detach callback has returned on `thread`.
    pub(crate) fn detach_returned(&mut self, status: NTSTATUS, thread: u64) -> Option<Breach> {
        self.detached_on = thread;
        if status == STATUS_PENDING {
            self.idle = self.are_reported && self.running == 0 && self.pended == 0;
            return None;
        }
        self.in_progress(
            44,
            [
                "the detach callback returned without STATUS_PENDING although a call into the peer was in progress",
                "the detach callback returned without STATUS_PENDING although a pended call was not complete",
            ],
            SUCCESS_IF_IDLE,
        )
    }

    /// The side has called its Complete function.
    pub(crate) fn completed(&mut self) -> Option<Breach> {
        let unneeded = Breach {
            rule: 44,
            tolerated: true,
            found: "the detach callback returned STATUS_PENDING although no call into the peer was in progress",
            expected: SUCCESS_IF_IDLE,
        };
        let found = [
            "the Complete function was called although a call into the peer was in progress",
            "the Complete function was called although a pended call into the peer was not complete",
        ];
        let early = self.in_progress(45, found, "the Complete function after the last call into the peer has ended");
        early.or(core::mem::take(&mut self.idle).then_some(unneeded))
    }

    /// A breach of `rule` if a call is running, or of R50 if one is pended.
    fn in_progress(&self, rule: u8, found: [&'static str; 2], expected: &'static str) -> Option<Breach> {
        let [running, pended] = found;
        if self.running > 0 {
            Some(Breach { rule, tolerated: false, found: running, expected })
        } else if self.pended > 0 {
            Some(Breach { rule: 50, tolerated: false, found: pended, expected })
        } else {
            None
        }
    }
}
