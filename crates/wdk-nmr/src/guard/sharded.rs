//! Many words for one binding, each on cache lines of its own.

use core::marker::PhantomData;

use crate::sync::{AtomicUsize, Ordering};

use super::sealed::Sealed;
use super::{Count, Entry, Guard, Word};

/// Spreads the calls of one binding over the words of a [`Sharded`] guard.
pub trait ShardIndex: 'static {
    /// Any number; the same for calls that should share a word and different for calls that should not. In a driver the
    /// number of the current processor (`KeGetCurrentProcessorNumberEx`). A thread may move to another processor during
    /// a call: the call ends on the word that it started on.
    fn current() -> usize;
}

/// As far apart as two words have to be for two processors not to disturb each other. Processors that fetch lines in
/// pairs make that two lines.
#[repr(align(128))]
#[derive(Debug)]
struct Line<T>(T);

/// What is on the cache lines of one shard: a word, and perhaps other counts beside it.
#[doc(hidden)]
pub trait Shard: Send + Sync + 'static {
    /// How many counts are drained one by one.
    const COUNTS: usize;

    #[doc(hidden)]
    fn closed() -> Self;
    #[doc(hidden)]
    fn word(&self) -> &Word;
    /// Opens the word and what is beside it.
    #[doc(hidden)]
    fn open(&self);
    /// Closes an open shard. How many of its counts were drained by that.
    #[doc(hidden)]
    fn close(&self) -> usize;
    /// After `close` has returned for all shards: makes sure that [`Shard::settle`] can trust what it reads.
    #[doc(hidden)]
    fn after_close();
    /// How many more counts turn out to be drained, after `after_close`.
    #[doc(hidden)]
    fn settle(&self) -> usize;
    /// Calls in progress.
    #[doc(hidden)]
    fn calls(&self) -> usize;
}

impl Shard for Word {
    const COUNTS: usize = 1;

    fn closed() -> Self {
        Self::closed()
    }

    #[inline]
    fn word(&self) -> &Word {
        self
    }

    fn open(&self) {
        self.open();
    }

    fn close(&self) -> usize {
        self.close().into()
    }

    fn after_close() {}

    fn settle(&self) -> usize {
        0
    }

    fn calls(&self) -> usize {
        self.calls()
    }
}

/// The guard for a binding that is called from many processors at once: `SHARDS` words, each on cache lines of its own,
/// and a count of those that still have calls in progress. `SHARDS` is a power of two.
///
/// A call costs what it costs with [`Single`](super::Single), but calls with different [`ShardIndex::current`] do not
/// slow each other down. A binding takes 128 bytes for each shard, and its detach as many steps.
///
/// `S` is what a shard consists of; with more than a word it is a [`PerProcessor`](super::PerProcessor) guard.
#[repr(C)]
#[derive(Debug)]
pub struct Sharded<I, const SHARDS: usize, S = Word> {
    /// While open: one for each count of each shard, and one for the detach to come.
    undrained: Line<AtomicUsize>,
    shards: [Line<S>; SHARDS],
    index: PhantomData<fn() -> I>,
}

impl<I, const SHARDS: usize, S: Shard> Sharded<I, SHARDS, S> {
    const MASK: usize = {
        assert!(SHARDS.is_power_of_two(), "the number of shards is a power of two");
        SHARDS - 1
    };

    /// The shard of any number, and its place.
    #[inline]
    pub(super) fn shard(&self, number: usize) -> (usize, &S) {
        let place = number & Self::MASK;
        // SAFETY: masked, so it is less than SHARDS.
        let line = unsafe { self.shards.get_unchecked(place) };
        (place, &line.0)
    }

    /// A count has been drained. True: it was the last one.
    #[cold]
    #[inline(never)]
    pub(super) fn drained(&self) -> bool {
        self.undrained.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn shards(&self) -> impl Iterator<Item = &S> {
        self.shards.iter().map(|line| &line.0)
    }
}

impl<I: ShardIndex, const SHARDS: usize, S: Shard> Sealed for Sharded<I, SHARDS, S> {}

impl<I: ShardIndex, const SHARDS: usize, S: Shard> Count for Sharded<I, SHARDS, S> {
    type Ticket = usize;
    type Protection = ();

    #[inline]
    fn protect() {}

    #[inline]
    fn enter(&self) -> Entry<usize> {
        let (ticket, shard) = self.shard(I::current());
        match shard.word().enter() {
            Entry::Granted(()) => Entry::Granted(ticket),
            Entry::Refused => Entry::Refused,
            Entry::RefusedAsLast if self.drained() => Entry::RefusedAsLast,
            Entry::RefusedAsLast => Entry::Refused,
        }
    }

    #[inline]
    fn leave(&self, ticket: usize) -> bool {
        self.shard(ticket).1.word().leave() && self.drained()
    }
}

impl<I: ShardIndex, const SHARDS: usize, S: Shard> Guard for Sharded<I, SHARDS, S> {
    type Closing = usize;

    unsafe fn initialize(place: *mut Self) {
        // SAFETY: the caller promises a valid place, and a field of it is one.
        let undrained = unsafe { &raw mut (*place).undrained };
        // SAFETY: a field of a valid place.
        unsafe { undrained.write(Line(AtomicUsize::new(0))) };
        // SAFETY: the caller promises a valid place, and a field of it is one.
        let shards = unsafe { &raw mut (*place).shards }.cast::<Line<S>>();
        for shard in 0..SHARDS {
            // SAFETY: `shard` is less than the length of the array.
            let shard = unsafe { shards.add(shard) };
            // SAFETY: an element of a valid place.
            unsafe { shard.write(Line(S::closed())) };
        }
    }

    fn open(&self) {
        self.undrained.0.store(SHARDS.wrapping_mul(S::COUNTS).wrapping_add(1), Ordering::Relaxed);
        self.shards().for_each(S::open);
    }

    fn leave_at_last(&self, ticket: usize) -> bool {
        // The last touch of a thread that drains a shard is that of `undrained`, and without it nobody completes.
        self.shard(ticket).1.word().leave_at_last() && self.drained()
    }

    fn start_closing(&self) -> Option<usize> {
        if self.shards().any(|shard| shard.word().is_closed()) {
            return None;
        }
        let idle = self.shards().fold(0_usize, |idle, shard| idle.wrapping_add(shard.close()));
        S::after_close();
        Some(self.shards().fold(idle, |idle, shard| idle.wrapping_add(shard.settle())))
    }

    fn finish_closing(&self, idle: usize) -> bool {
        let own = idle.wrapping_add(1);
        self.undrained.0.fetch_sub(own, Ordering::AcqRel) == own
    }

    fn calls(&self) -> usize {
        self.shards().fold(0, |sum, shard| sum.wrapping_add(shard.calls()))
    }
}
