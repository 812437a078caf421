//! The interrupt request level of a thread on a host: a number that the registrar checks and that callbacks can read.

use core::cell::Cell;
use std::thread_local;

use crate::platform::PASSIVE_LEVEL;

thread_local!(static LEVEL: Cell<u8> = const { Cell::new(PASSIVE_LEVEL) });

/// The level of this thread: what `KeGetCurrentIrql` returns in a kernel.
#[must_use]
pub fn current() -> u8 {
    LEVEL.get()
}

/// Sets the level of this thread: what `KeRaiseIrql` and `KeLowerIrql` do in a kernel.
pub fn set(level: u8) {
    LEVEL.set(level);
}

/// Raises this thread to `level` until the value is dropped. The thread is not lowered if it is higher already.
#[must_use = "the level is lowered again when this is dropped"]
pub fn raise(level: u8) -> Raised {
    let before = current();
    set(level.max(before));
    Raised { before }
}

/// A thread at a raised level.
pub struct Raised {
    before: u8,
}

impl Drop for Raised {
    fn drop(&mut self) {
        set(self.before);
    }
}
