//! The registrar as a static library: the nine `Nmr*` functions, which `nmr-registrar` defines, and the control
//! functions of `include/nmr_registrar.h`, where each is described.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nmr_registrar::{Callback, Function, Outcome, Pause, Session, Strictness, When, irql, registrar};

/// The session that C has begun, and its pause points by number.
struct Current {
    session: Session,
    pauses: BTreeMap<u32, Pause>,
    next_pause: u32,
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
    *current = Some(Current { session: Session::new(), pauses: BTreeMap::new(), next_pause: 1 });
    0
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_end() -> usize {
    let Some(Current { session, pauses, .. }) = current().take() else { return 0 };
    drop(pauses);
    let Outcome { violations, leaks } = session.finish();
    if !leaks.is_empty() {
        eprintln!("nmr-registrar: still alive: {leaks}");
    }
    violations.len() + leaks.registrations.len() + leaks.bindings.len()
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_set_lenient(lenient: i32) {
    registrar().set_strictness(if lenient == 0 { Strictness::Strict } else { Strictness::Lenient });
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_set_seed(seed: u64) {
    registrar().set_order(Some(seed));
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_clear_seed() {
    registrar().set_order(None);
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
        let number = current.next_pause;
        current.next_pause += 1;
        current.pauses.insert(number, current.session.pause(when, *callback));
        number
    })
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_wait_until_paused(pause: u32) -> i32 {
    // The lock is not held while this waits: the thread that is to come may need the control functions too.
    let Some(waiting) = with_session(None, |current| current.pauses.get(&pause).map(Pause::watch)) else { return -1 };
    waiting.wait_until_reached().map_or(-1, |_| 0)
}

// SAFETY: the prefix is this library's own.
#[unsafe(no_mangle)]
extern "C" fn nmr_registrar_resume(pause: u32) {
    drop(with_session(None, |current| current.pauses.remove(&pause)));
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
        // SAFETY: as above.
        let end = unsafe { buffer.add(length) };
        // SAFETY: as above.
        unsafe { end.write(0) };
    }
    text.len()
}
