//! A lock around a value.

use core::cell::UnsafeCell;

use crate::sys;

/// A value that one thread at a time works on.
///
/// Nothing outside this driver may be called while it is held: no driver code, and no function of ntoskrnl.
pub(crate) struct Lock<T> {
    raw: UnsafeCell<sys::RTL_SRWLOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reachable through `with` alone, which lets one thread at a time to it.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { raw: UnsafeCell::new(sys::RTL_SRWLOCK(0)), value: UnsafeCell::new(value) }
    }

    /// Runs `work` with the value. Not reentrant.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the lock was initialised by `new` and lives as long as `self`.
        unsafe { sys::RtlAcquireSRWLockExclusive(self.raw.get()) };
        // SAFETY: this thread holds the lock, so nobody else has a reference to the value. A panic inside `work` ends
        // the process, so the reference cannot outlive the lock that way either.
        let result = work(unsafe { &mut *self.value.get() });
        // SAFETY: acquired above by this thread.
        unsafe { sys::RtlReleaseSRWLockExclusive(self.raw.get()) };
        result
    }
}
