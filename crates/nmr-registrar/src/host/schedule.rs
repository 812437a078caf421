//! Threads of a test that run one at a time: at every Nmr* function and callback boundary the session's seed chooses
//! who goes on. So a history of several threads is repeated by its seed.

use core::cell::RefCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::borrow::ToOwned;
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::string::String;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread_local;
use std::time::Instant;
use std::vec::Vec;

use super::session::patience;
use super::{locked, say};
use crate::order::Order;
use crate::platform::When;
use crate::violation::{Callback, Function};

/// A place at which another thread may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The thread has called one of the nine functions.
    Function(Function),
    /// The registrar calls, or has called, a callback on it.
    Callback(When, Callback),
    /// It waits for the end of a registration.
    Wait,
    /// It called [`Threads::give_way`].
    GaveWay,
    /// It has ended.
    End,
}

/// One step of a schedule: a thread came to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the thread.
    pub thread: String,
    /// Where it came to.
    pub point: Point,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.thread)?;
        match self.point {
            Point::Function(function) => f.write_str(function.name()),
            Point::Callback(When::Before, callback) => write!(f, "before {}", callback.name()),
            Point::Callback(When::After, callback) => write!(f, "after {}", callback.name()),
            Point::Wait => f.write_str("waits"),
            Point::GaveWay => f.write_str("gives way"),
            Point::End => f.write_str("ends"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Ready,
    /// For the event at this address.
    Waiting(usize),
    Ended,
}

struct State {
    status: Vec<Status>,
    /// The thread that runs. `None`: all are waiting or have ended.
    running: Option<usize>,
    steps: Vec<Step>,
    /// When a thread came to another place than [`Point::GaveWay`] for the last time.
    moved: Instant,
}

pub(crate) struct Schedule {
    names: Vec<String>,
    seed: Option<u64>,
    order: Order,
    state: Mutex<State>,
    changed: Condvar,
}

/// The schedule that is running, of which there is one at most, as there is one session.
static ACTIVE: Mutex<Option<Arc<Schedule>>> = Mutex::new(None);
/// Whether there is one: most calls need not take the lock to know that there is none.
static IS_ACTIVE: AtomicBool = AtomicBool::new(false);

thread_local!(static CURRENT: RefCell<Option<(Arc<Schedule>, usize)>> = const { RefCell::new(None) });

/// The place of this thread in a schedule, for a thread that runs a part of its work.
pub(crate) fn place() -> Option<(Arc<Schedule>, usize)> {
    if IS_ACTIVE.load(Ordering::Relaxed) { CURRENT.with_borrow(Clone::clone) } else { None }
}

/// Takes the place of the thread that waits for this one.
pub(crate) fn take(place: Option<(Arc<Schedule>, usize)>) {
    CURRENT.set(place);
}

/// Lets another thread of the schedule go on, if this one belongs to one.
pub(crate) fn reach(point: Point) {
    if let Some((schedule, thread)) = place() {
        schedule.come_to(&mut locked(&schedule.state), thread, point, Status::Ready);
        schedule.wait_for_turn(thread);
    }
}

/// Lets others go on until the event at `address` has been set. False if this thread belongs to no schedule.
pub(crate) fn wait(address: usize, is_set: impl Fn() -> bool) -> bool {
    let Some((schedule, thread)) = place() else { return false };
    let mut state = locked(&schedule.state);
    // Under the lock that `wake` takes: an event that is set now would wake nobody later.
    let status = if is_set() { Status::Ready } else { Status::Waiting(address) };
    schedule.come_to(&mut state, thread, Point::Wait, status);
    drop(state);
    schedule.wait_for_turn(thread);
    true
}

/// The event at `address` has been set.
pub(crate) fn wake(address: usize) {
    if IS_ACTIVE.load(Ordering::Relaxed)
        && let Some(schedule) = &*locked(&ACTIVE)
    {
        let state = &mut *locked(&schedule.state);
        for status in state.status.iter_mut().filter(|status| **status == Status::Waiting(address)) {
            *status = Status::Ready;
        }
        // A thread outside of the schedule may have set it while all of them waited.
        if state.running.is_none() {
            schedule.choose(state);
        }
    }
}

impl Schedule {
    fn choose(&self, state: &mut State) {
        let ready: Vec<usize> =
            (0..state.status.len()).filter(|thread| state.status[*thread] == Status::Ready).collect();
        state.running = (!ready.is_empty()).then(|| ready[self.order.choose(ready.len())]);
        self.changed.notify_all();
    }

    /// In the fixed order a thread that gives way lets the next one go on: it may be waiting for that one.
    fn choose_after(&self, state: &mut State, thread: usize) {
        if self.seed.is_some() {
            return self.choose(state);
        }
        let count = state.status.len();
        let others = (1..=count).map(|step| (thread + step) % count);
        state.running = others.into_iter().find(|other| state.status[*other] == Status::Ready);
        self.changed.notify_all();
    }

    /// A thread has come to a point, and another one may go on.
    fn come_to(&self, state: &mut State, thread: usize, point: Point, status: Status) {
        let step = Step { thread: self.names[thread].clone(), point };
        state.status[thread] = status;
        if point == Point::GaveWay {
            if state.moved.elapsed() > patience() {
                self.stand_still(state, "all give way");
            }
            // A loop that waits for another thread is one step, however often it looks.
            if state.steps.last() != Some(&step) {
                state.steps.push(step);
            }
            self.choose_after(state, thread);
        } else {
            state.moved = Instant::now();
            state.steps.push(step);
            self.choose(state);
        }
    }

    /// The threads wait for each other. This may be inside a callback of C, which cannot be unwound through.
    fn stand_still(&self, state: &State, at: &str) -> ! {
        let seed = self.seed.map_or_else(|| "the fixed order".to_owned(), |seed| std::format!("seed {seed}"));
        say(format_args!("the threads of the test stand still ({seed}); running: {at}; their last steps:"));
        state.steps.iter().rev().take(20).rev().for_each(|step| say(format_args!("  {step}")));
        std::process::abort();
    }

    fn wait_for_turn(&self, thread: usize) {
        let state = locked(&self.state);
        let stuck = |state: &mut State| state.running != Some(thread);
        let (state, waited) =
            self.changed.wait_timeout_while(state, patience(), stuck).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            self.stand_still(&state, state.running.map_or("none can go on", |running| &self.names[running]));
        }
    }
}

type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Threads that a session is to run; made by [`Session::threads`](super::session::Session::threads).
///
/// They run one at a time. At every call of an Nmr* function, at every callback boundary and in every wait the seed of
/// the session chooses which of them goes on (without a seed: the one that was added first, until it waits). What a
/// thread must not do is wait for another one in a way that the registrar does not see: use [`Self::give_way`] in a
/// loop there.
pub struct Threads<'a> {
    seed: Option<u64>,
    names: Vec<String>,
    jobs: Vec<Job<'a>>,
}

impl<'a> Threads<'a> {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { seed, names: Vec::new(), jobs: Vec::new() }
    }

    /// Adds a thread. Its name is for the [`Step`]s.
    pub fn add(&mut self, name: &str, job: impl FnOnce() + Send + 'a) {
        self.names.push(name.to_owned());
        self.jobs.push(Box::new(job));
    }

    /// Lets another thread go on: of the schedule, if the calling one belongs to one, else of the system.
    pub fn give_way() {
        if place().is_some() {
            reach(Point::GaveWay);
        } else {
            std::thread::yield_now();
        }
    }

    /// Runs all of them to their end and returns what happened in which order: with the same seed and the same jobs,
    /// the same.
    ///
    /// # Panics
    /// If one of them has panicked, with its message.
    pub fn run(self) -> Vec<Step> {
        let Self { seed, names, jobs } = self;
        let state = State {
            status: jobs.iter().map(|_| Status::Ready).collect(),
            running: None,
            steps: Vec::new(),
            moved: Instant::now(),
        };
        let order = Order::default();
        order.set(seed);
        let schedule = Arc::new(Schedule { names, seed, order, state: Mutex::new(state), changed: Condvar::new() });
        *locked(&ACTIVE) = Some(schedule.clone());
        IS_ACTIVE.store(true, Ordering::Release);
        schedule.choose(&mut locked(&schedule.state));
        let panicked = std::thread::scope(|scope| {
            let threads: Vec<_> = jobs
                .into_iter()
                .enumerate()
                .map(|(thread, job)| {
                    let schedule = schedule.clone();
                    scope.spawn(move || {
                        take(Some((schedule.clone(), thread)));
                        schedule.wait_for_turn(thread);
                        let result = catch_unwind(AssertUnwindSafe(job));
                        schedule.come_to(&mut locked(&schedule.state), thread, Point::End, Status::Ended);
                        result.err()
                    })
                })
                .collect();
            // In the order in which they were added, so that the same failure is reported each time.
            threads.into_iter().filter_map(|thread| thread.join().unwrap_or_else(Some)).next()
        });
        IS_ACTIVE.store(false, Ordering::Release);
        *locked(&ACTIVE) = None;
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
        core::mem::take(&mut locked(&schedule.state).steps)
    }
}
