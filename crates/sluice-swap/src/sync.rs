//! The primitives that a [`Swap`](crate::Swap) is made of, or loom's models of them.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// [`core::cell::UnsafeCell`] with the interface of loom's.
#[cfg(not(loom))]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Loom models SeqCst operations as if they were AcqRel, and only SeqCst fences in full. In front of or behind a SeqCst
/// operation such a fence adds nothing but, on the hardware, time.
#[inline]
pub(crate) fn fence_if_modelled() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
