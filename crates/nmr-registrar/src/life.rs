//! The life of one binding: the table at the end of docs/nmr-rules.md as a type. It knows nothing of callbacks, locks
//! or tables; the registrar asks it what an event means and does what it answers.

use wdk_nmr_sys::{NTSTATUS, STATUS_PENDING, STATUS_SUCCESS};

/// The two sides of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The client module.
    Client,
    /// The provider module.
    Provider,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Provider,
            Self::Provider => Self::Client,
        }
    }
}

/// Where one side stands in a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its detach callback has not been called.
    NotCalled,
    /// It called its Complete function before its detach callback was called (R48).
    CompletedBeforeCall,
    /// Its detach callback is running.
    Called,
    /// Its detach callback is running and its Complete function has been called (R47).
    CompletedDuringCall,
    /// It returned `STATUS_PENDING` and owes a call of its Complete function (R45).
    Pending,
    /// It has detached.
    Done,
    /// The client returned failure after the provider had agreed (R26): it is taken to have freed its context, so it
    /// gets neither detach nor cleanup.
    Disowned,
}

impl Part {
    fn is_done(self) -> bool {
        matches!(self, Self::Done | Self::Disowned)
    }
}

/// Which sides called their Complete function before any detach began. Windows remembers that (R48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Early {
    /// The client did.
    pub client: bool,
    /// The provider did.
    pub provider: bool,
}

impl Early {
    fn set(&mut self, side: Side) -> bool {
        let flag = match side {
            Side::Client => &mut self.client,
            Side::Provider => &mut self.provider,
        };
        core::mem::replace(flag, true)
    }
}

/// The state of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// ClientAttachProvider is running; what the provider last answered, if it was asked.
    Offered(Option<NTSTATUS>),
    /// ProviderAttachClient is running.
    Proposed,
    /// The provider has agreed; ClientAttachProvider is still running.
    Agreed(Early),
    /// Both modules may call each other.
    Attached(Early),
    /// One of the registrations is ending.
    Detaching {
        /// Where the client stands.
        client: Part,
        /// Where the provider stands.
        provider: Part,
    },
    /// Both sides have detached; the cleanup callbacks are due or running.
    Detached {
        /// Whether the client is owed its cleanup callback: yes, but after [`Part::Disowned`].
        client_cleanup: bool,
    },
}

/// A rule that a module broke by what it did to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) rule: u8,
    /// Whether Windows is known to put up with it.
    pub(crate) tolerated: bool,
    pub(crate) found: &'static str,
    pub(crate) expected: &'static str,
}

impl Breach {
    const fn new(rule: u8, found: &'static str, expected: &'static str) -> Self {
        Self { rule, tolerated: false, found, expected }
    }

    const fn tolerated(rule: u8, found: &'static str, expected: &'static str) -> Self {
        Self { rule, tolerated: true, found, expected }
    }
}

/// What follows from the end of ClientAttachProvider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The pair is attached.
    Attached,
    /// The pair attached while one of its registrations was ending: its detach begins now (R40).
    Detach,
    /// The binding disappears without any further callback (R18, R23, R57).
    Rejected,
    /// The provider alone has to be detached and cleaned up (R26).
    DetachProvider,
}

/// What follows from a step of the detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something is still owed.
    Open,
    /// The second part is done: this caller runs the cleanup callbacks (R55, R56).
    Detached,
}

impl Life {
    fn detaching(early: Early) -> Self {
        let part = |completed| if completed { Part::CompletedBeforeCall } else { Part::NotCalled };
        Self::Detaching { client: part(early.client), provider: part(early.provider) }
    }

    /// Offered: the client is about to be called.
    pub(crate) fn new() -> Self {
        Self::Offered(None)
    }

    /// The client calls NmrClientAttachProvider.
    pub(crate) fn propose(&mut self) -> Result<(), Breach> {
        const EXPECTED: &str = "one call at a time, inside ClientAttachProvider, and none after STATUS_SUCCESS";
        match self {
            Self::Offered(_) => {
                *self = Self::Proposed;
                Ok(())
            }
            Self::Proposed => Err(Breach::new(
                20,
                "NmrClientAttachProvider was called while ProviderAttachClient was still running for this binding",
                EXPECTED,
            )),
            Self::Agreed(_) => {
                Err(Breach::new(25, "NmrClientAttachProvider was called again after it had succeeded", EXPECTED))
            }
            Self::Attached(_) | Self::Detaching { .. } | Self::Detached { .. } => Err(Breach::new(
                19,
                "NmrClientAttachProvider was called after ClientAttachProvider had returned",
                EXPECTED,
            )),
        }
    }

    /// ProviderAttachClient has returned. Nothing but `STATUS_SUCCESS` attaches.
    pub(crate) fn provider_answered(&mut self, status: NTSTATUS) -> Option<Breach> {
        debug_assert_eq!(*self, Self::Proposed);
        *self = if status == STATUS_SUCCESS { Self::Agreed(Early::default()) } else { Self::Offered(Some(status)) };
        (status > 0).then_some(Breach::new(
            22,
            "ProviderAttachClient returned a success code other than STATUS_SUCCESS",
            "STATUS_SUCCESS, STATUS_NOINTERFACE or another failure",
        ))
    }

    /// The registrar itself refuses the proposal, in place of the provider.
    pub(crate) fn proposal_failed(&mut self, status: NTSTATUS) {
        *self = Self::Offered(Some(status));
    }

    /// ClientAttachProvider has returned. `ending`: one of the registrations is being deregistered.
    pub(crate) fn client_answered(&mut self, status: NTSTATUS, ending: bool) -> (Outcome, Option<Breach>) {
        const PASSED_THROUGH: &str = "the status of the last NmrClientAttachProvider, unchanged";
        match *self {
            Self::Agreed(early) if status == STATUS_SUCCESS => {
                *self = if ending { Self::detaching(early) } else { Self::Attached(early) };
                (if ending { Outcome::Detach } else { Outcome::Attached }, None)
            }
            Self::Agreed(early) => {
                *self = Self::detaching(early);
                if let Some(part) = self.part(Side::Client) {
                    *part = Part::Disowned;
                }
                let breach = Breach::new(
                    26,
                    "ClientAttachProvider returned failure after NmrClientAttachProvider had succeeded",
                    PASSED_THROUGH,
                );
                (Outcome::DetachProvider, Some(breach))
            }
            Self::Offered(answer) => {
                let breach = match answer {
                    Some(answer) if answer == status => None,
                    Some(_) => Some(Breach::new(
                        26,
                        "ClientAttachProvider returned another status than NmrClientAttachProvider did",
                        PASSED_THROUGH,
                    )),
                    None if status < 0 => None,
                    None => Some(Breach::new(
                        26,
                        "ClientAttachProvider returned a success code without calling NmrClientAttachProvider",
                        "STATUS_NOINTERFACE or another failure",
                    )),
                };
                (Outcome::Rejected, breach)
            }
            Self::Proposed => {
                // Another thread of the client is still inside NmrClientAttachProvider.
                let breach = Breach::new(
                    19,
                    "ClientAttachProvider returned while NmrClientAttachProvider was still running for its binding",
                    "NmrClientAttachProvider to be called by the callback itself",
                );
                (Outcome::Rejected, Some(breach))
            }
            // The registrar calls ClientAttachProvider once per binding.
            Self::Attached(_) | Self::Detaching { .. } | Self::Detached { .. } => (Outcome::Attached, None),
        }
    }

    /// One of the registrations is being deregistered. True: the caller now owes both detach callbacks (R35).
    pub(crate) fn deregister(&mut self) -> bool {
        match *self {
            Self::Attached(early) => {
                *self = Self::detaching(early);
                true
            }
            _ => false,
        }
    }

    fn part(&mut self, side: Side) -> Option<&mut Part> {
        match self {
            Self::Detaching { client, provider } => Some(match side {
                Side::Client => client,
                Side::Provider => provider,
            }),
            _ => None,
        }
    }

    /// The detach callback of `side` is about to be called.
    pub(crate) fn detach_called(&mut self, side: Side) {
        if let Some(part) = self.part(side) {
            *part = match *part {
                Part::CompletedBeforeCall => Part::CompletedDuringCall,
                _ => Part::Called,
            };
        }
    }

    /// The detach callback of `side` has returned.
    pub(crate) fn detach_returned(&mut self, side: Side, status: NTSTATUS) -> (Progress, Option<Breach>) {
        let Some(part) = self.part(side) else { return (Progress::Open, None) };
        let completed = *part == Part::CompletedDuringCall;
        *part = if status == STATUS_PENDING && !completed { Part::Pending } else { Part::Done };
        let breach = match status {
            STATUS_PENDING => None,
            STATUS_SUCCESS if completed => Some(Breach::new(
                46,
                "the detach callback returned STATUS_SUCCESS although its Complete function was called",
                "STATUS_PENDING and one call of the Complete function, or STATUS_SUCCESS and none",
            )),
            STATUS_SUCCESS => None,
            // Windows takes everything but STATUS_PENDING for done, as far as anybody knows.
            _ => Some(Breach::tolerated(
                49,
                "the detach callback returned a status that is not documented for it",
                "STATUS_SUCCESS or STATUS_PENDING",
            )),
        };
        (self.progress(), breach)
    }

    /// The module on `side` has called its Complete function.
    pub(crate) fn completed(&mut self, side: Side) -> (Progress, Option<Breach>) {
        const ONCE: &str = "one call of the Complete function, and only for a detach that is pending";
        let part = match self {
            Self::Offered(_) | Self::Proposed => {
                let found = "the Complete function was called for a binding that has not attached";
                return (Progress::Open, Some(Breach::new(45, found, ONCE)));
            }
            // Agreed is as good as attached to the provider (R28).
            Self::Agreed(early) | Self::Attached(early) => {
                let breach = if early.set(side) {
                    Breach::new(45, "the Complete function was called a second time", ONCE)
                } else {
                    Breach::tolerated(48, "the Complete function was called before any detach began", ONCE)
                };
                return (Progress::Open, Some(breach));
            }
            Self::Detached { .. } => {
                let found = "the Complete function was called after the binding had detached";
                return (Progress::Open, Some(Breach::new(45, found, ONCE)));
            }
            Self::Detaching { client, provider } => match side {
                Side::Client => client,
                Side::Provider => provider,
            },
        };
        let breach = match *part {
            Part::NotCalled => {
                *part = Part::CompletedBeforeCall;
                let found = "the Complete function was called before the detach callback was";
                Some(Breach::tolerated(48, found, ONCE))
            }
            Part::Called => {
                *part = Part::CompletedDuringCall;
                None
            }
            Part::Pending => {
                *part = Part::Done;
                None
            }
            Part::Done => {
                let found = "the Complete function was called for a detach that was already done";
                return (Progress::Open, Some(Breach::new(46, found, ONCE)));
            }
            Part::CompletedBeforeCall | Part::CompletedDuringCall | Part::Disowned => {
                let found = "the Complete function was called a second time";
                return (Progress::Open, Some(Breach::new(45, found, ONCE)));
            }
        };
        (self.progress(), breach)
    }

    fn progress(&mut self) -> Progress {
        match *self {
            Self::Detaching { client, provider } if client.is_done() && provider.is_done() => {
                *self = Self::Detached { client_cleanup: client != Part::Disowned };
                Progress::Detached
            }
            _ => Progress::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use wdk_nmr_sys::STATUS_NOINTERFACE;

    use super::*;

    const ATTACHED: Life = Life::Attached(Early { client: false, provider: false });

    fn agreed() -> Life {
        let mut life = Life::new();
        assert_eq!(life.propose(), Ok(()));
        assert_eq!(life, Life::Proposed);
        assert_eq!(life.provider_answered(STATUS_SUCCESS), None);
        life
    }

    fn detaching(client: Part, provider: Part) -> Life {
        Life::Detaching { client, provider }
    }

    #[test]
    fn a_client_that_declines_ends_the_offer() {
        let mut life = Life::new();
        assert_eq!(life.client_answered(STATUS_NOINTERFACE, false), (Outcome::Rejected, None));
    }

    #[test]
    fn a_provider_that_declines_leads_back_to_the_offer() {
        let mut life = Life::new();
        for _ in 0..2 {
            assert_eq!(life.propose(), Ok(()));
            assert_eq!(life.provider_answered(STATUS_NOINTERFACE), None);
            assert_eq!(life, Life::Offered(Some(STATUS_NOINTERFACE)));
        }
        assert_eq!(life.client_answered(STATUS_NOINTERFACE, true), (Outcome::Rejected, None));
    }

    #[test]
    fn an_agreed_pair_attaches_or_detaches_at_once() {
        let mut life = agreed();
        assert_eq!(life.client_answered(STATUS_SUCCESS, false), (Outcome::Attached, None));
        assert_eq!(life, ATTACHED);
        let mut life = agreed();
        assert_eq!(life.client_answered(STATUS_SUCCESS, true), (Outcome::Detach, None));
        assert_eq!(life, detaching(Part::NotCalled, Part::NotCalled));
    }

    #[test]
    fn only_an_attached_binding_is_detached_and_only_once() {
        let states = [Life::new(), Life::Proposed, agreed(), detaching(Part::Pending, Part::Done)];
        for state in states {
            let mut life = state;
            assert!(!life.deregister());
            assert_eq!(life, state);
        }
        let mut life = ATTACHED;
        assert!(life.deregister());
        assert!(!life.deregister());
    }

    #[test]
    fn the_second_part_to_be_done_ends_the_detach_in_every_order() {
        for first in [Side::Client, Side::Provider] {
            let mut life = detaching(Part::NotCalled, Part::NotCalled);
            life.detach_called(first);
            assert_eq!(life.detach_returned(first, STATUS_PENDING), (Progress::Open, None));
            life.detach_called(first.peer());
            assert_eq!(life.detach_returned(first.peer(), STATUS_SUCCESS), (Progress::Open, None));
            assert_eq!(life.completed(first), (Progress::Detached, None));
            assert_eq!(life, Life::Detached { client_cleanup: true });
        }
    }

    #[test]
    fn a_completion_counts_once_before_during_or_after_the_callback() {
        let peer_done = |part| detaching(part, Part::Done);
        // R48: before the callback, or even before the detach.
        let mut life = peer_done(Part::NotCalled);
        assert_eq!(life.completed(Side::Client).1.map(|breach| (breach.rule, breach.tolerated)), Some((48, true)));
        life.detach_called(Side::Client);
        assert_eq!(life.detach_returned(Side::Client, STATUS_PENDING), (Progress::Detached, None));
        let mut life = ATTACHED;
        assert_eq!(life.completed(Side::Provider).1.map(|breach| breach.rule), Some(48));
        assert!(life.deregister());
        assert_eq!(life, detaching(Part::NotCalled, Part::CompletedBeforeCall));
        // R47: during the callback.
        let mut life = peer_done(Part::Called);
        assert_eq!(life.completed(Side::Client), (Progress::Open, None));
        assert_eq!(life.completed(Side::Client).1.map(|breach| breach.rule), Some(45));
        assert_eq!(life.detach_returned(Side::Client, STATUS_PENDING), (Progress::Detached, None));
        // R46: after STATUS_SUCCESS.
        let mut life = detaching(Part::Done, Part::Pending);
        assert_eq!(life.completed(Side::Client).1.map(|breach| breach.rule), Some(46));
    }
}
