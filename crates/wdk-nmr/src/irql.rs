//! What a piece of code may do because of where it runs, as values of size zero.
//!
//! The interrupt request level (IRQL) is a property of a processor that no type system sees. A token is the word of
//! code that knows: only unsafe code makes one, functions that need the level ask for it, and a token cannot leave the
//! thread on which it is true.

use core::marker::PhantomData;

/// The thread is at PASSIVE_LEVEL, and not inside a callback of NMR or a function of a dispatch table: it may wait for
/// the end of a registration.
///
/// No callback of this library gets one, so waiting in a callback for the registration whose callback it is, which
/// would never end (R74), does not compile.
#[derive(Clone, Copy, Debug)]
pub struct Passive<'a>(PhantomData<(&'a (), *mut ())>);

impl Passive<'_> {
    /// Vouches for the level of the calling thread.
    ///
    /// # Safety
    ///
    /// As long as the value exists the calling thread is at PASSIVE_LEVEL and in no callback of NMR and no function of
    /// a dispatch table. DriverEntry, DriverUnload and a system thread start like that.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

/// The thread is at PASSIVE_LEVEL inside an attach callback: it may register further modules (R60), but not wait.
#[derive(Clone, Copy, Debug)]
pub struct InAttach<'a>(PhantomData<(&'a (), *mut ())>);

impl InAttach<'_> {
    /// # Safety
    ///
    /// The calling thread is in an attach callback as long as the value exists.
    pub(crate) const unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

/// The thread is at DISPATCH_LEVEL: nothing preempts it on its processor, and it stays there.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch<'a>(PhantomData<(&'a (), *mut ())>);

impl Dispatch<'_> {
    /// Vouches for the level of the calling thread.
    ///
    /// # Safety
    ///
    /// As long as the value exists the calling thread is at DISPATCH_LEVEL, not below and not above: in a DPC that is
    /// not a threaded one, under a spin lock, between KeRaiseIrql and KeLowerIrql. An interrupt service routine is
    /// above, also if it has interrupted such a thread.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Passive<'_> {}
    impl Sealed for super::InAttach<'_> {}
}

/// A token that says PASSIVE_LEVEL.
pub trait AtPassiveLevel: sealed::Sealed {}

impl AtPassiveLevel for Passive<'_> {}
impl AtPassiveLevel for InAttach<'_> {}
