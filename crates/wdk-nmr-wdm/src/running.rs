//! What runs between DriverEntry and DriverUnload.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
/// Somebody is moving the value in or out.
const MOVING: u8 = 1;
const FULL: u8 = 2;

/// The place in which DriverEntry leaves for DriverUnload what it has started: a `static`, from which nothing is
/// dropped by accident.
///
/// ```
/// use wdk_nmr_wdm::Running;
///
/// static RUNNING: Running<&str> = Running::new();
///
/// assert_eq!(RUNNING.put("a registration"), Ok(()));
/// assert_eq!(RUNNING.put("another"), Err("another"));
/// assert_eq!(RUNNING.take(), Some("a registration"));
/// assert_eq!(RUNNING.take(), None);
/// ```
pub struct Running<T> {
    state: AtomicU8,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a value goes in on one thread and comes out on another, and nobody sees it in between.
unsafe impl<T: Send> Sync for Running<T> {}

impl<T> Running<T> {
    /// Nothing runs.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(None) }
    }

    /// Puts the value in. At any IRQL.
    ///
    /// # Errors
    ///
    /// The value, if another one is there.
    pub fn put(&self, value: T) -> Result<(), T> {
        if !self.enter(EMPTY) {
            return Err(value);
        }
        // SAFETY: nobody else touches the value while the state is `MOVING`.
        unsafe { self.value.get().write(Some(value)) };
        self.state.store(FULL, Ordering::Release);
        Ok(())
    }

    /// Takes the value out, if there is one. At any IRQL.
    pub fn take(&self) -> Option<T> {
        if !self.enter(FULL) {
            return None;
        }
        // SAFETY: nobody else touches the value while the state is `MOVING`.
        let value = unsafe { self.value.get().replace(None) };
        self.state.store(EMPTY, Ordering::Release);
        value
    }

    /// Whether the state was `from`, and is `MOVING` now.
    fn enter(&self, from: u8) -> bool {
        self.state.compare_exchange(from, MOVING, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

impl<T> Default for Running<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Running<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.state.load(Ordering::Relaxed) == FULL;
        f.debug_tuple("Running").field(&running).finish()
    }
}
