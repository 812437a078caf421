//! A value that one processor at a time uses, and for which none waits.

use crate::sync::{AtomicBool, Ordering, UnsafeCell};

/// A value that is used by whoever comes first. Others are turned away.
pub struct TryLock<T> {
    in_use: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: The value is reached by one thread at a time, as `in_use` is set from before it is reached until after.
unsafe impl<T: Send> Sync for TryLock<T> {}

/// Ends the use of a value, even if the user panics.
struct InUse<'lock>(&'lock AtomicBool);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<T> TryLock<T> {
    /// A value that nobody uses.
    pub fn new(value: T) -> Self {
        Self { in_use: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Calls `f` with the value, unless somebody uses it. Any IRQL: it never waits.
    pub fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        // Acquire: what the last user wrote is seen. Who is turned away writes nothing.
        self.in_use.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let _in_use = InUse(&self.in_use);
        Some(self.value.with_mut(|value| {
            // SAFETY: `in_use` was clear and is set by this call, so that nobody else has a reference to the value. It
            // is cleared when the closure has returned.
            f(unsafe { &mut *value })
        }))
    }
}
