//! What is alive, and for how long.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::life::{Life, Part, Side};
use crate::violation::{Callback, Module};

/// A registration that exists.
#[derive(Clone, Debug)]
pub struct RegistrationReport {
    /// Whose it is.
    pub module: Module,
    /// How many bindings it has, in any state.
    pub bindings: usize,
    /// The time since it was made.
    pub age: Duration,
    /// The time since its NmrDeregister*, if that was called. What is listed then has not been waited for yet.
    pub deregistering: Option<Duration>,
    /// How many threads are waiting for its end.
    pub waiters: u32,
}

impl fmt::Display for RegistrationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.module)?;
        match self.deregistering {
            None => write!(f, "registered for {:.1?}", self.age)?,
            Some(age) if self.bindings > 0 => write!(f, "deregistering for {age:.1?}")?,
            Some(age) => write!(f, "deregistered {age:.1?} ago and not waited for")?,
        }
        write!(f, ", {} bindings", self.bindings)
    }
}

/// A binding that exists.
#[derive(Clone, Debug)]
pub struct BindingReport {
    /// Its handle as a number.
    pub handle: usize,
    /// The registration handle, as a number, of the client.
    pub client: usize,
    /// The registration handle, as a number, of the provider.
    pub provider: usize,
    /// Its state.
    pub life: Life,
    /// The time since it was offered or, when that has happened, since its detach began.
    pub age: Duration,
    /// The callbacks that are running for it, and the thread that runs each.
    pub running: Vec<(Callback, u64)>,
}

impl BindingReport {
    /// The sides whose part of a detach is pending: they owe a call of their Complete function (R45).
    pub fn pending(&self) -> impl Iterator<Item = Side> {
        let (client, provider) = match self.life {
            Life::Detaching { client, provider } => (client, provider),
            _ => (Part::NotCalled, Part::NotCalled),
        };
        [(Side::Client, client), (Side::Provider, provider)]
            .into_iter()
            .filter(|(_, part)| *part == Part::Pending)
            .map(|(side, _)| side)
    }
}

impl fmt::Display for BindingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "binding {:#x} of client {:#x} and provider {:#x}: ", self.handle, self.client, self.provider)?;
        match self.life {
            Life::Offered(_) => f.write_str("offered to the client")?,
            Life::Proposed => f.write_str("proposed to the provider")?,
            Life::Agreed(_) => f.write_str("agreed, client's attach callback running")?,
            Life::Attached(_) => f.write_str("attached")?,
            Life::Detaching { client, provider } => {
                write!(f, "detaching, client {}, provider {}", part_name(client), part_name(provider))?;
            }
            Life::Detached { .. } => f.write_str("detached, cleanup callbacks running")?,
        }
        let began = match self.life {
            Life::Detaching { .. } | Life::Detached { .. } => "its detach began",
            _ => "offered",
        };
        write!(f, ", {began} {:.1?} ago", self.age)?;
        self.running.iter().try_for_each(|(callback, thread)| write!(f, ", {} on thread {thread}", callback.name()))
    }
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::NotCalled => "not called",
        Part::CompletedBeforeCall => "completed but not called",
        Part::Called => "in its detach callback",
        Part::CompletedDuringCall => "completed but still in its detach callback",
        Part::Pending => "pending",
        Part::Done => "done",
        Part::Disowned => "gone",
    }
}

/// Everything that is alive.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every registration that has not been waited for.
    pub registrations: Vec<RegistrationReport>,
    /// Every binding that has not been cleaned up.
    pub bindings: Vec<BindingReport>,
}

impl Report {
    /// Whether nothing is alive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registrations.is_empty() && self.bindings.is_empty()
    }

    /// How many parts of detaches are pending.
    #[must_use]
    pub fn pending_parts(&self) -> usize {
        self.bindings.iter().map(|binding| binding.pending().count()).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} registrations, {} bindings, {} pending parts",
            self.registrations.len(),
            self.bindings.len(),
            self.pending_parts()
        )?;
        self.registrations.iter().try_for_each(|registration| write!(f, "\n  {registration}"))?;
        self.bindings.iter().try_for_each(|binding| write!(f, "\n  {binding}"))
    }
}

/// Who a wait waits for.
#[derive(Clone, Debug)]
pub struct SlowWait {
    /// Whose deregistration it is.
    pub module: Module,
    /// How long this wait has lasted.
    pub waited: Duration,
    /// The bindings that are still there.
    pub bindings: Vec<BindingReport>,
}

impl fmt::Display for SlowWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for {:.1?} for the end of {}", self.waited, self.module)?;
        self.bindings.iter().try_for_each(|binding| write!(f, "\n  {binding}"))
    }
}
