//! Start, stop and control requests.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sluice_control::gate::{GateStatus, Operations, dispatch, flags};
use sluice_control::message::header_of;
use sluice_control::status::STATUS_INSUFFICIENT_RESOURCES;
use sluice_control::{Completion, NTSTATUS, Request};
use wdk_nmr::{Leaked, Passive, RegisterError};
use wdk_nmr_wdm::Running;
use wdk_wfp::{Answer, Classification, Lifetime, Rights, Scratch, Session};

use crate::callouts::{self, Decide};
use crate::client::{self, Registered};
use crate::counters::Counters;
use crate::judge::{Batch, Judge};
use crate::{Judged, Platform, Settings, Treatment};

/// Packets are not judged.
const NEVER: u64 = 0;
/// Packets are judged without an end.
const WITHOUT_END: u64 = u64::MAX;
/// Two for each processor: a packet of its own may come in the middle of a classification.
const BATCHES_PER_PROCESSOR: usize = 2;

/// STATUS_DEVICE_BUSY: another request changes the same.
const STATUS_DEVICE_BUSY: NTSTATUS = 0x8000_0011_u32.cast_signed();

/// All of gate.sys but its callouts, which refer to it.
pub struct Gate<P: Platform> {
    sluices: Registered<P>,
    batches: Scratch<Batch>,
    counters: Counters,
    settings: Settings,
    /// The uptime in milliseconds up to which packets are judged.
    until: AtomicU64,
    is_changing: AtomicBool,
    /// The session with the filters, while there are any. It is dynamic: they end with it.
    session: Running<Session>,
}

/// Why there is no gate. Nothing is left of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// There is no memory.
    Memory,
    /// There is no registration.
    Registration(RegisterError),
}

impl StartError {
    /// What DriverEntry returns.
    #[must_use]
    pub const fn status(&self) -> NTSTATUS {
        match self {
            Self::Memory => STATUS_INSUFFICIENT_RESOURCES,
            Self::Registration(error) => error.status(),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("no memory for the packets of each processor"),
            Self::Registration(error) => error.fmt(f),
        }
    }
}

impl<P: Platform> Gate<P> {
    /// Registers with NMR, so that Sluice attaches. Packets are not judged yet.
    ///
    /// # Errors
    ///
    /// There is no memory, or no registration.
    pub fn start(settings: Settings, image: P::Image, passive: Passive<'_>) -> Result<Self, StartError> {
        let count = P::processors().saturating_mul(BATCHES_PER_PROCESSOR);
        let batches = Scratch::of(count, Batch::new).ok_or(StartError::Memory)?;
        let counters = Counters::new(count).ok_or(StartError::Memory)?;
        let sluices = client::register(image, passive).map_err(StartError::Registration)?;
        let (until, is_changing, session) = (AtomicU64::new(NEVER), AtomicBool::new(false), Running::new());
        Ok(Self { sluices, batches, counters, settings, until, is_changing, session })
    }

    /// What an administrator has set.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Begins to filter, for so many seconds if it is said how many. If it filters already, only the time changes.
    ///
    /// When the time is over the filters stay until they are removed, and the callouts let everything pass.
    ///
    /// # Errors
    ///
    /// `STATUS_DEVICE_BUSY` while another request changes the same; what WFP says, and then nothing has changed.
    pub fn enable(&self, seconds: Option<u32>, passive: Passive<'_>) -> Result<(), NTSTATUS> {
        let _changing = self.begin_change()?;
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let mut session = Session::open(callouts::NAME, Lifetime::Dynamic, passive)?;
                session.transaction(passive, |changes| callouts::add_filters(changes, &self.settings))?;
                session
            }
        };
        // Nobody else puts one there: this is the one change.
        let _ = self.session.put(session);
        let deadline = seconds
            .map_or(WITHOUT_END, |seconds| P::uptime_ms().saturating_add(u64::from(seconds).saturating_mul(1000)));
        self.until.store(deadline, Ordering::Relaxed);
        Ok(())
    }

    /// Stops filtering.
    ///
    /// # Errors
    ///
    /// `STATUS_DEVICE_BUSY` while another request changes the same.
    pub fn disable(&self, passive: Passive<'_>) -> Result<(), NTSTATUS> {
        let _changing = self.begin_change()?;
        self.until.store(NEVER, Ordering::Relaxed);
        if let Some(session) = self.session.take() {
            session.close(passive);
        }
        Ok(())
    }

    /// Answers a control request.
    pub fn answer(&self, request: Request<'_>, passive: Passive<'_>) -> Completion {
        dispatch(&AtPassive { gate: self, passive }, request)
    }

    /// Ends all of it, when the callouts have been unregistered.
    ///
    /// # Errors
    ///
    /// NMR did not end the registration.
    pub fn stop(self, passive: Passive<'_>) -> Result<(), Leaked> {
        if let Some(session) = self.session.take() {
            session.close(passive);
        }
        self.sluices.deregister(passive)
    }

    /// What it does, and has done.
    #[must_use]
    pub fn status(&self) -> GateStatus {
        let (now, until) = (P::uptime_ms(), self.until.load(Ordering::Relaxed));
        let remaining_ms = if until == WITHOUT_END { 0 } else { until.saturating_sub(now) };
        let flag = |bit, is_set| if is_set { bit } else { 0 };
        let flags = flag(flags::ENABLED, until > now)
            | flag(flags::ATTACHED, self.sluices.providers().next().is_some())
            | flag(flags::BLOCKS_WHEN_NO_SLUICE, self.settings.when_no_sluice == Treatment::Block)
            | flag(flags::BLOCKS_MALFORMED, self.settings.on_malformed == Treatment::Block)
            | flag(flags::REPORTS_BLOCKED, self.settings.reports_blocked)
            | flag(flags::JUDGES_LOOPBACK, self.settings.judges_loopback)
            | flag(flags::JUDGES_FRAMES, self.settings.judged == Judged::EthernetFrames);
        GateStatus { header: header_of::<GateStatus>(), flags, remaining_ms, counters: self.counters.sum() }
    }

    fn begin_change(&self) -> Result<Changing<'_>, NTSTATUS> {
        if self.is_changing.swap(true, Ordering::Acquire) {
            return Err(STATUS_DEVICE_BUSY);
        }
        Ok(Changing(&self.is_changing))
    }

    fn judges(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until == WITHOUT_END || until != NEVER && P::uptime_ms() < until
    }
}

impl<P: Platform> Decide for Gate<P> {
    fn decide(&self, shown: &Classification<'_>) -> Answer {
        // Who has no right to say anything does not need to look.
        if shown.rights() == Rights::None || !self.judges() {
            return Answer::Continue;
        }
        let Self { sluices, batches, counters, settings, .. } = self;
        let judge = Judge::<P> { sluices, batches, counters, settings };
        // So that the thread keeps its processor, and with it the memory of that, and is not suspended in Sluice.
        P::at_dispatch_level(|| judge.judge(shown))
    }
}

/// One change at a time.
struct Changing<'a>(&'a AtomicBool);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The gate, for a request.
struct AtPassive<'a, P: Platform> {
    gate: &'a Gate<P>,
    passive: Passive<'a>,
}

impl<P: Platform> Operations for AtPassive<'_, P> {
    fn status(&self) -> GateStatus {
        self.gate.status()
    }

    fn enable(&self, seconds: Option<u32>) -> Result<(), NTSTATUS> {
        self.gate.enable(seconds, self.passive)
    }

    fn disable(&self) -> Result<(), NTSTATUS> {
        self.gate.disable(self.passive)
    }
}
