//! Panics inside a callback. No callback can be unwound through, so that the process ends, and what libtest has kept of
//! the test's output is lost: the panic, and the violations that may have led to it. Both are written to stderr itself.

use core::cell::RefCell;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Once;
use std::thread_local;
use std::vec::Vec;

use super::{registrar, say};
use crate::violation::Callback;

thread_local!(
    /// The callbacks that run on this thread, innermost last.
    pub(super) static CALLBACKS: RefCell<Vec<Callback>> = const { RefCell::new(Vec::new()) }
);

/// Has panics inside callbacks written to stderr from now on, beside what was done with panics before.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(std::boxed::Box::new(move |panic| {
            before(panic);
            report(panic);
        }));
    });
}

fn report(panic: &PanicHookInfo<'_>) {
    let Some(callback) = CALLBACKS.try_with(|callbacks| callbacks.borrow().last().copied()).ok().flatten() else {
        return;
    };
    say(format_args!("a panic inside {}, which cannot be unwound through: {panic}", callback.name()));
    let violations = registrar().platform().control().map(|control| control.violations()).unwrap_or_default();
    violations.iter().for_each(|violation| say(format_args!("before that: {violation}")));
}
