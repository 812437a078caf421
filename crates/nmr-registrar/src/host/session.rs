//! A session: one test's view of the registrar of the process.

use core::ops::Range;
use core::ptr::without_provenance_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::borrow::ToOwned;
use std::string::{String, ToString};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::vec::Vec;
use std::{eprintln, format};

use wdk_nmr_sys::NTSTATUS;

use super::schedule::Threads;
use super::{irql, locked, panics, registrar, say};
use crate::platform::{PausePoint, When};
use crate::registrar::Strictness;
use crate::report::{Report, SlowWait};
use crate::violation::{Callback, Function, Violation};

/// How long a wait lasts before it is reported, unless a session says otherwise.
pub(crate) const SLOW_WAIT: Duration = Duration::from_secs(10);
/// How long a test waits for a thread to reach a pause point, or its turn, unless a session says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same as the running session has it, in milliseconds.
static PATIENCE_NOW: AtomicU64 = AtomicU64::new(PATIENCE.as_millis() as u64);

/// How long a test waits for a thread to reach a pause point, or its turn, before it fails.
pub(crate) fn patience() -> Duration {
    Duration::from_millis(PATIENCE_NOW.load(Ordering::Relaxed))
}

fn set_patience(limit: Duration) {
    PATIENCE_NOW.store(limit.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// What a session asks of the platform.
#[derive(Default)]
pub(crate) struct Control {
    violations: Mutex<Vec<Violation>>,
    slow_waits: Mutex<Vec<SlowWait>>,
    faults: Mutex<Vec<Fault>>,
    pauses: Mutex<Vec<Arc<Gate>>>,
    delays: Mutex<Vec<Arc<Mutex<Put>>>>,
    images: Mutex<Vec<(String, Range<usize>)>>,
    is_silent: AtomicBool,
}

struct Fault {
    function: Function,
    /// How many calls succeed before it happens.
    after: usize,
    status: NTSTATUS,
}

/// A cleanup that is to be put off, or has been.
struct Put {
    /// The Complete function that it is due in.
    function: Function,
    /// How many cleanups of that function run in time before.
    after: usize,
    /// The binding whose cleanup is owed now.
    owed: Option<usize>,
}

/// A place at which the next thread stops.
struct Gate {
    callback: Callback,
    when: When,
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GateState {
    Armed,
    Reached(PausePoint),
    Open,
}

impl Control {
    pub(crate) fn record(&self, violation: &Violation) {
        if !self.is_silent.load(Ordering::Relaxed) {
            eprintln!("nmr-registrar: {violation}");
        }
        locked(&self.violations).push(violation.clone());
    }

    /// The violations that nobody has expected yet.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        locked(&self.violations).clone()
    }

    pub(crate) fn slow_wait(&self, wait: &SlowWait) {
        say(format_args!("{wait}"));
        locked(&self.slow_waits).push(wait.clone());
    }

    pub(crate) fn fault(&self, function: Function) -> Option<NTSTATUS> {
        let mut faults = locked(&self.faults);
        let index = faults.iter().position(|fault| fault.function == function)?;
        if faults[index].after > 0 {
            faults[index].after -= 1;
            return None;
        }
        Some(faults.remove(index).status)
    }

    pub(crate) fn pause(&self, point: &PausePoint) {
        let gate = {
            let pauses = locked(&self.pauses);
            let matches = |gate: &&Arc<Gate>| gate.callback == point.callback && gate.when == point.when;
            let armed = |gate: &&Arc<Gate>| *locked(&gate.state) == GateState::Armed;
            let Some(gate) = pauses.iter().filter(matches).find(armed) else { return };
            // Under the lock of the list, so that one thread alone stops at each.
            *locked(&gate.state) = GateState::Reached(*point);
            gate.clone()
        };
        gate.changed.notify_all();
        let state = locked(&gate.state);
        drop(gate.changed.wait_while(state, |state| *state != GateState::Open));
    }

    pub(crate) fn delays(&self, function: Function, binding: usize) -> bool {
        let mut delays = locked(&self.delays);
        let Some(index) = delays.iter().position(|put| locked(put).function == function) else { return false };
        let mut put = locked(&delays[index]);
        if put.after > 0 {
            put.after -= 1;
            return false;
        }
        put.owed = Some(binding);
        drop(put);
        delays.remove(index);
        true
    }

    pub(crate) fn image(&self, address: usize) -> Option<String> {
        locked(&self.images).iter().find(|(_, range)| range.contains(&address)).map(|(name, _)| name.clone())
    }
}

/// What a session has found.
#[derive(Debug)]
pub struct Outcome {
    /// The violations that no [`Session::expect_violation`] took.
    pub violations: Vec<Violation>,
    /// What was still alive.
    pub leaks: Report,
}

/// One test's use of the registrar of this process.
///
/// Sessions run one after the other: [`Session::new`] waits until no other one exists. When a session is dropped, every
/// violation that was not expected and everything that is still alive make it panic, and so fail the test.
pub struct Session {
    control: Arc<Control>,
    seed: Mutex<Option<u64>>,
    finished: bool,
    _turn: Turn,
}

/// The right to be the one session of the process. Unlike a mutex guard, it may end on another thread than it began on.
struct Turn;

static TAKEN: Mutex<bool> = Mutex::new(false);
static FREED: Condvar = Condvar::new();

impl Turn {
    fn take() -> Self {
        *FREED.wait_while(locked(&TAKEN), |taken| *taken).unwrap_or_else(PoisonError::into_inner) = true;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *locked(&TAKEN) = false;
        FREED.notify_one();
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A strict session with the fixed order: client before provider, older before newer.
    #[must_use]
    pub fn new() -> Self {
        let turn = Turn::take();
        panics::watch();
        let control = Arc::new(Control::default());
        let registrar = registrar();
        registrar.purge();
        registrar.platform().set_control(Some(control.clone()));
        Self { control, seed: Mutex::new(None), finished: false, _turn: turn }
    }

    /// A strict session with a random order. The seed is the environment variable `NMR_REGISTRAR_SEED` if that is set;
    /// it is printed when the session fails.
    ///
    /// # Panics
    /// If that variable is not a number.
    #[must_use]
    pub fn adversary() -> Self {
        let session = Self::new();
        session.choose_seed();
        session
    }

    /// Draws a seed, or takes that of the environment variable `NMR_REGISTRAR_SEED`, and uses it from now on, as
    /// [`Self::adversary`] does from the start. Returns it.
    ///
    /// # Panics
    /// If that variable is not a number.
    pub fn choose_seed(&self) -> u64 {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let seed = match std::env::var("NMR_REGISTRAR_SEED") {
            Ok(text) => {
                text.parse().unwrap_or_else(|_| panic!("NMR_REGISTRAR_SEED is {text:?}, not a number below 2^64"))
            }
            Err(_) => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                // A number that is short enough to type.
                u64::from(now.subsec_nanos()).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
            }
        };
        self.set_seed(Some(seed));
        seed
    }

    /// The seed that is used now; `None` in the fixed order.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        *locked(&self.seed)
    }

    /// Chooses what counts as a violation from now on.
    pub fn set_strictness(&self, strictness: Strictness) {
        registrar().set_strictness(strictness);
    }

    /// Chooses the order of what NMR leaves open, from now on: drawn from a seed, or fixed.
    pub fn set_seed(&self, seed: Option<u64>) {
        *locked(&self.seed) = seed;
        registrar().set_order(seed);
    }

    /// Sets how long a wait may last before it is reported.
    pub fn set_slow_wait(&self, limit: Duration) {
        registrar().set_slow_wait(Some(limit));
    }

    /// Sets how long a test waits for a thread to reach a pause point ([`Watch::wait_until_reached`]), or for its
    /// threads to move on ([`Threads::run`]), before it fails: half a minute unless this is called.
    pub fn set_patience(&self, limit: Duration) {
        set_patience(limit);
    }

    /// Prints no violation when it happens, only at the end: for tests that provoke very many.
    pub fn silence(&self) {
        self.control.is_silent.store(true, Ordering::Relaxed);
    }

    /// Lets `function` fail once with `status`, after `after` calls that are not disturbed. The two Complete functions
    /// return nothing, so they cannot fail; they can be late, see [`Self::delay`].
    ///
    /// # Panics
    /// If `function` is one of those two, or `status` is not a failure.
    pub fn fail(&self, function: Function, after: usize, status: NTSTATUS) {
        assert!(
            !matches!(function, Function::ClientDetachProviderComplete | Function::ProviderDetachClientComplete),
            "{} returns no status and cannot fail",
            function.name()
        );
        assert!(status < 0, "{status:#x} is not a failure");
        locked(&self.control.faults).push(Fault { function, after, status });
    }

    /// Stops the next thread that comes to this side of this callback, until [`Pause::resume`].
    #[must_use = "dropping it lets the thread go on"]
    pub fn pause(&self, when: When, callback: Callback) -> Pause {
        let gate = Arc::new(Gate { callback, when, state: Mutex::new(GateState::Armed), changed: Condvar::new() });
        locked(&self.control.pauses).push(gate.clone());
        Pause { gate, control: self.control.clone() }
    }

    /// Puts off the cleanup callbacks that would run inside `function`, one of the two Complete functions, after
    /// `after` that run in time: the function returns, and the binding lives on until [`Delay::release`]. What a module
    /// may rely on is that its wait covers them.
    ///
    /// # Panics
    /// If `function` is another one.
    #[must_use = "dropping it releases the cleanup"]
    pub fn delay(&self, function: Function, after: usize) -> Delay {
        assert!(
            matches!(function, Function::ClientDetachProviderComplete | Function::ProviderDetachClientComplete),
            "expected one of the two Complete functions, found {}",
            function.name()
        );
        let put = Arc::new(Mutex::new(Put { function, after, owed: None }));
        locked(&self.control.delays).push(put.clone());
        Delay { put, control: self.control.clone() }
    }

    /// Threads that run one at a time, in an order that this session's seed decides.
    #[must_use]
    pub fn threads<'a>(&self) -> Threads<'a> {
        Threads::new(self.seed())
    }

    /// Runs `f` with this thread at `level`.
    pub fn at_irql<R>(&self, level: u8, f: impl FnOnce() -> R) -> R {
        let _raised = irql::raise(level);
        f()
    }

    /// Gives a name to the image whose callbacks lie in `range`, for reports.
    pub fn name_image(&self, name: &str, range: Range<usize>) {
        locked(&self.control.images).push((name.to_owned(), range));
    }

    /// The image whose callbacks lie in `range` is unloaded. What it leaves behind is a violation of R65; none of its
    /// callbacks is called any more. Returns how many registrations it left.
    pub fn unload_image(&self, range: Range<usize>) -> usize {
        registrar().image_unloaded(range)
    }

    /// What is alive now.
    #[must_use]
    pub fn report(&self) -> Report {
        registrar().report()
    }

    /// The violations so far that were not expected yet.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.control.violations()
    }

    /// The slow waits so far.
    #[must_use]
    pub fn slow_waits(&self) -> Vec<SlowWait> {
        locked(&self.control.slow_waits).clone()
    }

    /// Takes the oldest violation of a rule, if there is one.
    pub fn take_violation(&self, rule: u8) -> Option<Violation> {
        let mut violations = locked(&self.control.violations);
        let index = violations.iter().position(|violation| violation.rule == rule)?;
        Some(violations.remove(index))
    }

    /// Takes the oldest violation of a rule: the test has provoked it.
    ///
    /// # Panics
    /// If there is none.
    pub fn expect_violation(&self, rule: u8) -> Violation {
        self.take_violation(rule).unwrap_or_else(|| {
            panic!("no violation of R{rule} was reported{}", describe(&self.violations()));
        })
    }

    /// Ends the session and says what it found, without a panic.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        self.end()
    }

    fn end(&mut self) -> Outcome {
        self.finished = true;
        for gate in locked(&self.control.pauses).drain(..) {
            gate.open();
        }
        let registrar = registrar();
        let leaks = registrar.report();
        registrar.purge();
        registrar.set_strictness(Strictness::Strict);
        registrar.set_order(None);
        registrar.set_slow_wait(Some(SLOW_WAIT));
        set_patience(PATIENCE);
        registrar.platform().set_control(None);
        Outcome { violations: core::mem::take(&mut *locked(&self.control.violations)), leaks }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let Outcome { violations, leaks } = self.end();
        let panicking = std::thread::panicking();
        if violations.is_empty() && leaks.is_empty() && !(panicking && self.seed().is_some()) {
            return;
        }
        let mut message = String::from("the session ended with violations or leaks");
        if panicking {
            message = String::from("the test has panicked");
        }
        if let Some(seed) = self.seed() {
            message += &format!(" (NMR_REGISTRAR_SEED={seed} repeats its order)");
        }
        message += &describe(&violations);
        if !leaks.is_empty() {
            message += "\nstill alive: ";
            message += &leaks.to_string();
        }
        if panicking {
            eprintln!("nmr-registrar: {message}");
        } else {
            panic!("{message}");
        }
    }
}

fn describe(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("\n  {violation}")).collect()
}

impl Gate {
    fn open(&self) {
        *locked(&self.state) = GateState::Open;
        self.changed.notify_all();
    }
}

/// A pause point that a test has set. Dropping it lets the thread go on.
pub struct Pause {
    gate: Arc<Gate>,
    control: Arc<Control>,
}

/// A view of a pause point, for a thread that waits for it without owning it.
pub struct Watch {
    gate: Arc<Gate>,
}

impl Watch {
    /// Waits until a thread stands there. `None` if none has come after half a minute, or the pause point is gone.
    #[must_use]
    pub fn wait_until_reached(&self) -> Option<PausePoint> {
        let armed = |state: &mut GateState| *state == GateState::Armed;
        let waited = self.gate.changed.wait_timeout_while(locked(&self.gate.state), patience(), armed);
        match *waited.unwrap_or_else(PoisonError::into_inner).0 {
            GateState::Reached(point) => Some(point),
            GateState::Armed | GateState::Open => None,
        }
    }
}

impl Pause {
    /// A view of it that another thread can wait with.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch { gate: self.gate.clone() }
    }

    /// Waits until a thread stands there.
    ///
    /// # Panics
    /// If none has come after half a minute.
    pub fn wait_until_reached(&self) -> PausePoint {
        self.watch().wait_until_reached().unwrap_or_else(|| {
            panic!("no thread came to {:?} {} within {:?}", self.gate.when, self.gate.callback.name(), patience());
        })
    }

    /// Whether a thread stands there now.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        matches!(*locked(&self.gate.state), GateState::Reached(_))
    }

    /// Lets the thread go on, or nobody stop any more.
    pub fn resume(self) {}
}

impl Drop for Pause {
    fn drop(&mut self) {
        locked(&self.control.pauses).retain(|gate| !Arc::ptr_eq(gate, &self.gate));
        self.gate.open();
    }
}

/// A cleanup that [`Session::delay`] puts off.
pub struct Delay {
    put: Arc<Mutex<Put>>,
    control: Arc<Control>,
}

impl Delay {
    /// Whether a Complete function has returned without the cleanup that was due in it.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        locked(&self.put).owed.is_some()
    }

    /// Runs the cleanup on this thread, if it is due; else nothing is put off any more.
    pub fn release(self) {}
}

impl Drop for Delay {
    fn drop(&mut self) {
        locked(&self.control.delays).retain(|put| !Arc::ptr_eq(put, &self.put));
        let owed = locked(&self.put).owed.take();
        if let Some(binding) = owed {
            registrar().clean_up(without_provenance_mut(binding));
        }
    }
}
