//! The guard of a binding: how many calls into the peer are in progress, whether the binding is closing, and who
//! finishes the detach.
//!
//! NMR wants a module to answer its detach callback with STATUS_SUCCESS if none of its calls into the peer is in
//! progress, and otherwise with STATUS_PENDING and exactly one call of its Complete function after the last of them
//! (R44, R45). The guard decides both. Nothing in it waits, so it works at DISPATCH_LEVEL.
//!
//! | file | what |
//! | --- | --- |
//! | `word` | the unit: two bits and a count in one atomic word |
//! | `single` | one word |
//! | `sharded` | a word for each processor, and a count of those that have not been drained |
//! | `per_processor` | beside each word a count without locked instructions, for callers at DISPATCH_LEVEL |
//! | `critical_region` | any of these, for callers below DISPATCH_LEVEL that must not be suspended meanwhile |

mod critical_region;
mod per_processor;
mod sharded;
mod single;
mod word;

pub use critical_region::{CriticalRegion, InCriticalRegion, Region};
pub use per_processor::{AtDispatch, DispatchGuard, PerProcessor, Processors};
pub use sharded::{ShardIndex, Sharded};
pub use single::Single;
use word::Word;

/// What came of an attempt to start a call.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<T> {
    /// The call may be made; the ticket ends it.
    Granted(T),
    /// The binding is closing or not open yet.
    Refused,
    /// As `Refused`, and the attempt itself was the last thing that the detach waited for.
    RefusedAsLast,
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// A way to count calls: any [`Guard`], or [`AtDispatch`], which counts as one does at DISPATCH_LEVEL.
pub trait Count: sealed::Sealed + Send + Sync + 'static {
    /// Where a call was counted.
    #[doc(hidden)]
    type Ticket: Copy + 'static;
    /// What its thread is protected by from before a call is counted until after it has ended.
    #[doc(hidden)]
    type Protection;

    /// Protects the calling thread.
    #[doc(hidden)]
    fn protect() -> Self::Protection;
    /// Attempts to start a call.
    #[doc(hidden)]
    fn enter(&self) -> Entry<Self::Ticket>;
    /// Ends a call. True: the caller completes the detach. The guard may be touched after others were let go, so the
    /// caller knows that it stays.
    #[doc(hidden)]
    fn leave(&self, ticket: Self::Ticket) -> bool;
}

/// A form of the guard: [`Single`], [`Sharded`] or [`PerProcessor`], alone or [`InCriticalRegion`]. Its functions are
/// the library's; a module only names the type.
///
/// One thread opens and one closes, in turn: NMR does not detach a binding before it is attached (R39), and not twice
/// (R35). Any number of threads enter and leave meanwhile.
pub trait Guard: Count<Ticket: Send + Sync> {
    /// What closing has found out so far.
    #[doc(hidden)]
    type Closing;

    /// Makes a closed guard at `place`.
    ///
    /// # Safety
    ///
    /// `place` is valid for writes and aligned.
    #[doc(hidden)]
    unsafe fn initialize(place: *mut Self);
    /// Lets calls start.
    #[doc(hidden)]
    fn open(&self);
    /// As `leave`, and the guard is not touched after others were let go.
    #[doc(hidden)]
    fn leave_at_last(&self, ticket: Self::Ticket) -> bool;
    /// Lets no new calls start. Nobody completes before `finish_closing`. `None`: the guard was not open.
    #[doc(hidden)]
    fn start_closing(&self) -> Option<Self::Closing>;
    /// True: all calls have ended, nobody else will complete. False: the last call completes, or has already done so;
    /// nothing of the binding may be touched any more.
    #[doc(hidden)]
    fn finish_closing(&self, closing: Self::Closing) -> bool;
    /// How many calls are in progress, as a snapshot.
    #[doc(hidden)]
    fn calls(&self) -> usize;
}
