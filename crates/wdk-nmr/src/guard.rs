//! The guard of a binding: how many calls into the peer are in progress, whether the binding is closing, and who
//! finishes the detach.
//!
//! NMR wants a module to answer its detach callback with STATUS_SUCCESS if none of its calls into the peer is in
//! progress, and otherwise with STATUS_PENDING and exactly one call of its Complete function after the last of them
//! (R44, R45). The guard decides both. Nothing in it waits, so it works at DISPATCH_LEVEL.
//!
//! Its unit is a [`Word`]: two bits and a count.
//!
//! | bits | meaning |
//! | --- | --- |
//! | the highest | open: calls may start |
//! | the lowest | completed: the last call is out and somebody has taken it on himself to say so |
//! | the others | calls in progress, and attempts that are about to be refused |
//!
//! To start a call is one addition, to end it one subtraction. The bits lie so that what each of them has to know is the
//! sign of its result, or whether it is zero: processors have that without reading the old value. An attempt at a word
//! that is not open has added before it learns that; it takes back what it added, and while it is there it counts. It
//! can therefore turn a STATUS_SUCCESS into a STATUS_PENDING; then it is the one that completes. A word that is closed for
//! good and one that was never opened look alike, so a slot can be opened again for another binding while late attempts
//! still pass through.
//!
//! A count without locked instructions, for callers at DISPATCH_LEVEL, is in `per_processor.rs`.

use crate::sync::{AtomicUsize, Ordering};

const OPEN: usize = 1 << (usize::BITS - 1);
const COMPLETED: usize = 1 << 0;
const CALL: usize = 1 << 1;

/// One word of a guard.
#[doc(hidden)]
#[repr(transparent)]
#[derive(Debug)]
pub struct Word(AtomicUsize);

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

impl Word {
    pub(crate) fn closed() -> Self {
        Self(AtomicUsize::new(COMPLETED))
    }

    /// Opens a word that is closed. Late attempts keep their place in the count.
    pub(crate) fn open(&self) {
        // Release: who enters sees what was written before the word was opened.
        self.0.fetch_add(OPEN - COMPLETED, Ordering::Release);
    }

    #[inline]
    fn enter(&self) -> Entry<()> {
        if self.0.fetch_add(CALL, Ordering::Acquire).wrapping_add(CALL).cast_signed() < 0 {
            return Entry::Granted(());
        }
        if self.leave() { Entry::RefusedAsLast } else { Entry::Refused }
    }

    /// Ends a call or takes back an attempt. True: the word has been drained, and the caller is the one to say so.
    ///
    /// The word is touched again after the count has gone down, when somebody else may already have drained it. So the
    /// caller has to know that the memory stays; who does not uses [`Word::leave_at_last`].
    #[inline]
    fn leave(&self) -> bool {
        // Release: what the call did happens before the detach is over.
        if self.0.fetch_sub(CALL, Ordering::Release) != CALL {
            return false;
        }
        self.take_completion()
    }

    /// The count has been seen at zero while the word was closing. Others may have seen that too; one of them wins.
    #[cold]
    fn take_completion(&self) -> bool {
        // Acquire: what all calls did happens before the winner goes on.
        self.0.compare_exchange(0, COMPLETED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// As [`Word::leave`], but the change of the word by which the caller leaves is the last that it does to it.
    fn leave_at_last(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let last = word == CALL;
            let left = if last { COMPLETED } else { word.wrapping_sub(CALL) };
            match self.0.compare_exchange_weak(word, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return last,
                Err(now) => word = now,
            }
        }
    }

    /// Closes an open word while holding a place in its count, so that nobody drains it yet.
    fn close_and_enter(&self) {
        // The highest bit is set, so adding it clears it.
        self.0.fetch_add(CALL | OPEN, Ordering::Relaxed);
    }

    /// Closes an open word. True: no call was in progress, the word is drained.
    pub(crate) fn close(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let idle = word == OPEN;
            let closed = if idle { COMPLETED } else { word & !OPEN };
            match self.0.compare_exchange_weak(word, closed, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return idle,
                Err(now) => word = now,
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & OPEN == 0
    }

    pub(crate) fn calls(&self) -> usize {
        (self.0.load(Ordering::Relaxed) & !OPEN) / CALL
    }
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// A way to count calls: any [`Guard`], or [`AtDispatch`](crate::AtDispatch), which counts as one does at DISPATCH_LEVEL.
pub trait Count: sealed::Sealed + Send + Sync + 'static {
    /// Where a call was counted.
    #[doc(hidden)]
    type Ticket: Copy + 'static;

    /// Attempts to start a call.
    #[doc(hidden)]
    fn enter(&self) -> Entry<Self::Ticket>;
    /// Ends a call. True: the caller completes the detach. The guard may be touched after others were let go, so the
    /// caller knows that it stays.
    #[doc(hidden)]
    fn leave(&self, ticket: Self::Ticket) -> bool;
}

/// A form of the guard: [`Single`], [`Sharded`] or [`PerProcessor`](crate::PerProcessor). Its functions are the library's;
/// a module only names the type.
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

/// The guard of one word: 8 bytes a binding. Two locked additions a call, on one cache line for all processors.
#[repr(transparent)]
#[derive(Debug)]
pub struct Single(Word);

impl sealed::Sealed for Single {}

impl Count for Single {
    type Ticket = ();

    #[inline]
    fn enter(&self) -> Entry<()> {
        self.0.enter()
    }

    #[inline]
    fn leave(&self, (): ()) -> bool {
        self.0.leave()
    }
}

impl Guard for Single {
    type Closing = ();

    unsafe fn initialize(place: *mut Self) {
        // SAFETY: the caller promises a valid place.
        unsafe { place.write(Self(Word::closed())) };
    }

    fn open(&self) {
        self.0.open();
    }

    fn leave_at_last(&self, (): ()) -> bool {
        self.0.leave_at_last()
    }

    fn start_closing(&self) -> Option<()> {
        if self.0.is_closed() {
            return None;
        }
        self.0.close_and_enter();
        Some(())
    }

    fn finish_closing(&self, (): ()) -> bool {
        self.0.leave_at_last()
    }

    fn calls(&self) -> usize {
        self.0.calls()
    }
}

/// Spreads the calls of one binding over the words of a [`Sharded`] guard.
pub trait ShardIndex: 'static {
    /// Any number; the same for calls that should share a word and different for calls that should not. In a driver the
    /// number of the current processor (`KeGetCurrentProcessorNumberEx`). A thread that moves to another processor
    /// during a call does no harm: a call ends on the word that it started on.
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
/// A call costs what it costs with [`Single`], but calls with different [`ShardIndex::current`] do not slow each other
/// down. A binding takes 128 bytes for each shard, and its detach as many steps.
///
/// `S` is what a shard consists of; with more than a word it is a [`PerProcessor`](crate::PerProcessor) guard.
#[repr(C)]
#[derive(Debug)]
pub struct Sharded<I, const SHARDS: usize, S = Word> {
    /// While open: one for each count of each shard, and one for the detach to come.
    undrained: Line<AtomicUsize>,
    shards: [Line<S>; SHARDS],
    index: core::marker::PhantomData<fn() -> I>,
}

impl<I, const SHARDS: usize, S: Shard> Sharded<I, SHARDS, S> {
    const MASK: usize = {
        assert!(SHARDS.is_power_of_two(), "the number of shards is a power of two");
        SHARDS - 1
    };

    /// The shard of any number, and its place.
    #[inline]
    pub(crate) fn shard(&self, number: usize) -> (usize, &S) {
        let place = number & Self::MASK;
        // SAFETY: masked, so it is less than SHARDS.
        let line = unsafe { self.shards.get_unchecked(place) };
        (place, &line.0)
    }

    /// A count has been drained. True: it was the last one.
    #[cold]
    #[inline(never)]
    pub(crate) fn drained(&self) -> bool {
        self.undrained.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn shards(&self) -> impl Iterator<Item = &S> {
        self.shards.iter().map(|line| &line.0)
    }
}

impl<I: ShardIndex, const SHARDS: usize, S: Shard> sealed::Sealed for Sharded<I, SHARDS, S> {}

impl<I: ShardIndex, const SHARDS: usize, S: Shard> Count for Sharded<I, SHARDS, S> {
    type Ticket = usize;

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
        // SAFETY: the caller promises a valid place; a field of it is one too.
        let undrained = unsafe { &raw mut (*place).undrained };
        // SAFETY: as above.
        unsafe { undrained.write(Line(AtomicUsize::new(0))) };
        // SAFETY: as above.
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
