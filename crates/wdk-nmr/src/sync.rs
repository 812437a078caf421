//! The atomics and the cell that the guard and the slots are built from. The loom models bring their own module of this
//! name and compile the same sources against it.

pub(crate) use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering, compiler_fence};

/// `core::cell::UnsafeCell` behind closures, the interface that loom can check for races.
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// Lends a pointer for reading.
    #[inline]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Lends a pointer for writing.
    #[inline]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
