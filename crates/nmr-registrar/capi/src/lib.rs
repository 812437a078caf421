//! The registrar as a static library: the nine `Nmr*` functions, which `nmr-registrar` defines, and the control
//! functions of `include/nmr_registrar.h`, where each is described.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nmr_registrar::{
    Callback, Delay, Function, HANDLE, Outcome, Pause, Session, Side, Strictness, Threads, When, irql, registrar,
};

/// What `nmr_registrar_resume` lets go on.
enum Held {
    Pause(Pause),
    Delay(#[expect(dead_code, reason = "dropping it is what counts")] Delay),
}

/// A thread that C has described: a function and its argument.
struct Job {
    run: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
}

// SAFETY: the argument is C's own; it is only passed on, and the header says that it is on another thread.
unsafe impl Send for Job {}

/// The session that C has begun, and what belongs to it.
struct Current {
    session: Session,
    held: BTreeMap<u32, Held>,
    next: u32,
    jobs: Vec<Job>,
}

impl Current {
    fn hold(&mut self, held: Held) -> u32 {
        let number = self.next;
        self.next += 1;
        self.held.insert(number, held);
        number
    }
}

static CURRENT: Mutex<Option<Current>> = Mutex::new(None);

fn current() -> MutexGuard<'static, Option<Current>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_session<R>(otherwise: R, f: impl FnOnce(&mut Current) -> R) -> R {
    current().as_mut().map_or(otherwise, f)
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_begin() -> i32 {
    let mut current = current();
    if current.is_some() {
        return -1;
    }
    *current = Some(Current { session: Session::new(), held: BTreeMap::new(), next: 1, jobs: Vec::new() });
    0
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_end() -> usize {
    let Some(Current { session, held, .. }) = current().take() else { return 0 };
    drop(held);
    let seed = session.seed();
    let Outcome { violations, leaks } = session.finish();
    if !leaks.is_empty() {
        eprintln!("nmr-registrar: still alive: {leaks}");
    }
    let found = violations.len() + leaks.registrations.len() + leaks.bindings.len();
    if let Some(seed) = seed
        && found > 0
    {
        eprintln!("nmr-registrar: the seed was {seed}");
    }
    found
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_set_lenient(lenient: i32) {
    registrar().set_strictness(if lenient == 0 { Strictness::Strict } else { Strictness::Lenient });
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_set_seed(seed: u64) {
    with_session((), |current| current.session.set_seed(Some(seed)));
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_adversary() -> u64 {
    with_session(0, |current| current.session.choose_seed())
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_clear_seed() {
    with_session((), |current| current.session.set_seed(None));
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_set_slow_wait(milliseconds: u32) {
    let limit = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()));
    registrar().set_slow_wait(limit);
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_irql() -> u8 {
    irql::current()
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_set_irql(level: u8) -> u8 {
    let before = irql::current();
    irql::set(level);
    before
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_fail(function: u32, after: usize, status: i32) -> i32 {
    let Some(function) = Function::ALL.get(function as usize) else { return -1 };
    if matches!(function, Function::ClientDetachProviderComplete | Function::ProviderDetachClientComplete)
        || status >= 0
    {
        return -1;
    }
    with_session(-1, |current| {
        current.session.fail(*function, after, status);
        0
    })
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_pause(callback: u32, after_return: i32) -> u32 {
    let Some(callback) = Callback::ALL.get(callback as usize) else { return 0 };
    let when = if after_return == 0 { When::Before } else { When::After };
    with_session(0, |current| {
        let pause = current.session.pause(when, *callback);
        current.hold(Held::Pause(pause))
    })
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_delay(function: u32, after: usize) -> u32 {
    let function = match Function::ALL.get(function as usize) {
        Some(function @ (Function::ClientDetachProviderComplete | Function::ProviderDetachClientComplete)) => *function,
        _ => return 0,
    };
    with_session(0, |current| {
        let delay = current.session.delay(function, after);
        current.hold(Held::Delay(delay))
    })
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_wait_until_paused(pause: u32) -> i32 {
    // The lock is not held while this waits: the thread that is to come may need the control functions too.
    let waiting = with_session(None, |current| match current.held.get(&pause)? {
        Held::Pause(pause) => Some(pause.watch()),
        Held::Delay(_) => None,
    });
    let Some(waiting) = waiting else { return -1 };
    waiting.wait_until_reached().map_or(-1, |_| 0)
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_resume(number: u32) {
    // Dropped without the lock: the cleanup callbacks that a delay has put off may need the control functions too.
    drop(with_session(None, |current| current.held.remove(&number)));
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_thread(run: Option<unsafe extern "C" fn(*mut c_void)>, argument: *mut c_void) -> i32 {
    let Some(run) = run else { return -1 };
    with_session(-1, |current| {
        current.jobs.push(Job { run, argument });
        0
    })
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_run_threads() -> usize {
    let threads = with_session(None, |current| Some((current.session.threads(), std::mem::take(&mut current.jobs))));
    let Some((mut threads, jobs)) = threads else { return 0 };
    for (number, job) in jobs.into_iter().enumerate() {
        threads.add(&format!("thread {}", number + 1), move || {
            let Job { run, argument } = { job };
            // SAFETY: C has said that this function may be called with this argument, on another thread.
            unsafe { run(argument) }
        });
    }
    threads.run().len()
}

fn caller(from_client: i32) -> Side {
    if from_client == 0 { Side::Provider } else { Side::Client }
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_give_way() {
    Threads::give_way();
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_call_begins(binding: HANDLE, from_client: i32) -> i32 {
    if registrar().call_begins(binding, caller(from_client)) { 0 } else { -1 }
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_call_returns(binding: HANDLE, from_client: i32, status: i32) -> i32 {
    if registrar().call_returns(binding, caller(from_client), status) { 0 } else { -1 }
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_call_completes(binding: HANDLE, from_client: i32) -> i32 {
    if registrar().call_completes(binding, caller(from_client)) { 0 } else { -1 }
}

fn image(base: *const c_void, size: usize) -> Range<usize> {
    base.addr()..base.addr().saturating_add(size)
}

/// # Safety
/// `name` is NULL or a string that ends in a zero.
// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
unsafe extern "C" fn nmr_registrar_name_image(name: *const c_char, base: *const c_void, size: usize) -> i32 {
    if name.is_null() {
        return -1;
    }
    // SAFETY: it is not NULL, and the caller says that it is a string then.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    with_session(-1, |current| {
        current.session.name_image(&name, image(base, size));
        0
    })
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_unload_image(base: *const c_void, size: usize) -> usize {
    registrar().image_unloaded(image(base, size))
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_slow_waits() -> usize {
    with_session(0, |current| current.session.slow_waits().len())
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_violations() -> usize {
    with_session(0, |current| current.session.violations().len())
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_expect(rule: u8) -> i32 {
    with_session(-1, |current| current.session.take_violation(rule).map_or(-1, |_| 0))
}

/// # Safety
/// `buffer` is NULL or has room for `size` bytes.
// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
unsafe extern "C" fn nmr_registrar_report(buffer: *mut c_char, size: usize) -> usize {
    let text = registrar().report().to_string();
    if !buffer.is_null() && size > 0 {
        let length = text.len().min(size - 1);
        // SAFETY: the caller says that there is room for `size` bytes, and `length` is less.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), length) };
        // SAFETY: `length` is less than `size`, the number of bytes that the caller has room for.
        let end = unsafe { buffer.add(length) };
        // SAFETY: the place after `length` bytes is within the room for `size`.
        unsafe { end.write(0) };
    }
    text.len()
}
