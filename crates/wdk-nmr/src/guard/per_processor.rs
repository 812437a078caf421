//! Counting without locked instructions, for callers that stay on their processor.
//!
//! At DISPATCH_LEVEL a processor does one thing after the other: a thread is neither preempted by another nor moved. A
//! count that one processor alone changes, at that level alone, needs no atomic addition: it is loaded, and the sum is
//! stored. What such a count cannot do by itself is to agree with a detach on another processor, since processors let a
//! load overtake an earlier store. So it is the detach that makes every processor go through a memory barrier, once,
//! and not every call.
//!
//! A [`Processor`] is such a count, of calls started less calls ended, with a state, beside the word for callers at
//! lower levels:
//!
//! | state | meaning |
//! | --- | --- |
//! | open | calls may start |
//! | draining | no call may start; whoever finds the count at zero drains it, by changing the state to closed |
//! | closed | not open, and drained |
//!
//! Why that works is shown in `docs/unlocked-guard.md`; the order of the steps in here is what it rests on.

use core::marker::PhantomData;

use crate::sync::{AtomicUsize, Ordering, compiler_fence};

use super::sealed::Sealed;
use super::sharded::{Shard, ShardIndex, Sharded};
use super::{Count, Entry, Guard, Word};

const CLOSED: usize = 0;
const OPEN: usize = 1;
const DRAINING: usize = 2;

/// What a [`PerProcessor`] guard has to know about the processors of the machine.
///
/// In a driver:
///
/// ```no_run
/// # use core::sync::atomic::{Ordering, fence};
/// # use wdk_nmr::{Processors, ShardIndex};
/// # unsafe extern "system" {
/// #     fn KeGetCurrentProcessorNumberEx(number: *mut u32) -> u32;
/// #     fn KeIpiGenericCall(worker: unsafe extern "system" fn(usize) -> usize, argument: usize) -> usize;
/// # }
/// struct Kernel;
///
/// impl ShardIndex for Kernel {
///     fn current() -> usize {
///         // SAFETY: without a place for group and number it returns the index alone.
///         unsafe { KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) as usize }
///     }
/// }
///
/// unsafe extern "system" fn at_ipi_level(_: usize) -> usize {
///     fence(Ordering::SeqCst);
///     0
/// }
///
/// // SAFETY: the index of a processor is its own, and all of them run the worker before KeIpiGenericCall returns.
/// unsafe impl Processors for Kernel {
///     fn barrier() {
///         // SAFETY: below IPI_LEVEL.
///         unsafe { KeIpiGenericCall(at_ipi_level, 0) };
///     }
/// }
/// ```
///
/// # Safety
///
/// * At DISPATCH_LEVEL, [`ShardIndex::current`] returns the number of the processor that it is called on, and no two
///   processors have the same.
/// * What a processor does at DISPATCH_LEVEL happens before what it does at DISPATCH_LEVEL later, on whichever thread,
///   as in every kernel.
/// * Between the call of `barrier` and its return there is a moment on each processor, between two of its instructions,
///   such that all memory accesses before the moment happen before the return of `barrier`, and the call of `barrier`
///   happens before all memory accesses after the moment.
pub unsafe trait Processors: ShardIndex {
    /// Makes every processor go through a full memory barrier, and returns when all have. Called at up to
    /// DISPATCH_LEVEL, once in each detach.
    ///
    /// `KeIpiGenericCall` does it, and may be called at any IRQL below IPI_LEVEL.
    fn barrier();
}

/// One shard of a [`PerProcessor`] guard: the count of a processor's calls at DISPATCH_LEVEL, and a word for all
/// others.
#[doc(hidden)]
#[repr(C)]
#[derive(Debug)]
pub struct Processor<P> {
    word: Word,
    /// How many calls have been started, and attempted, on this processor at DISPATCH_LEVEL. It alone changes that.
    started: AtomicUsize,
    /// How many of them have ended. They are two numbers because a sum that is read right after it was written makes
    /// the next call wait for the last one.
    ended: AtomicUsize,
    state: AtomicUsize,
    processors: PhantomData<fn() -> P>,
}

/// Adds 1 to a number of the processor that runs this.
#[inline]
fn increment(number: &AtomicUsize, order: Ordering) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(1), order);
    // The state is looked at after that, as far as instructions go. Whether the processor keeps the order in memory is
    // what the barrier is for.
    compiler_fence(Ordering::SeqCst);
}

impl<P> Processor<P> {
    /// True: the call may be made.
    #[inline]
    fn enter(&self) -> bool {
        increment(&self.started, Ordering::Relaxed);
        // Acquire: a caller that enters sees what was written before the guard was opened.
        self.state.load(Ordering::Acquire) == OPEN
    }

    /// True: the count has been drained, and the caller is the one to say so.
    #[inline]
    fn leave(&self) -> bool {
        // Release: what the call did happens before whoever finds it ended.
        increment(&self.ended, Ordering::Release);
        self.state.load(Ordering::Relaxed) != OPEN && self.take_if_idle()
    }

    /// If no call is in progress, the detach and this processor may both find that out; one of them wins. What the
    /// calls did is passed on by `undrained`.
    ///
    /// On its own processor the count stays zero meanwhile. So it does no harm if the attempt is a late one and the
    /// state that of the next binding in the slot.
    #[cold]
    #[inline(never)]
    fn take_if_idle(&self) -> bool {
        let take = || self.state.compare_exchange(DRAINING, CLOSED, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.in_progress() == 0 && take()
    }

    /// Calls in progress, or some of those that were when this began.
    fn in_progress(&self) -> usize {
        // Acquire, and this one first: all calls that are found ended are found started.
        let ended = self.ended.load(Ordering::Acquire);
        self.started.load(Ordering::Relaxed).wrapping_sub(ended)
    }
}

impl<P: Processors> Shard for Processor<P> {
    const COUNTS: usize = 2;

    fn closed() -> Self {
        Self {
            word: Word::closed(),
            started: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            state: AtomicUsize::new(CLOSED),
            processors: PhantomData,
        }
    }

    #[inline]
    fn word(&self) -> &Word {
        &self.word
    }

    fn open(&self) {
        self.word.open();
        // Release: as `Word::open`.
        self.state.store(OPEN, Ordering::Release);
    }

    fn close(&self) -> usize {
        // Nobody else changes the state of a shard that is open.
        self.state.store(DRAINING, Ordering::Relaxed);
        self.word.close().into()
    }

    fn after_close() {
        P::barrier();
    }

    fn settle(&self) -> usize {
        self.take_if_idle().into()
    }

    fn calls(&self) -> usize {
        self.word.calls().wrapping_add(self.in_progress())
    }
}

/// The guard for a binding that is called at DISPATCH_LEVEL from many processors: a call that is made there costs no
/// locked instruction. `PROCESSORS` is a power of two.
///
/// Such calls are made with [`Peers::at_dispatch`](crate::Peers::at_dispatch). All other calls, and those on processors
/// whose number is not less than `PROCESSORS`, are counted as with [`Sharded`], on the same binding and at the same
/// time.
///
/// A binding takes 128 bytes for each processor. A detach costs one [`Processors::barrier`].
pub type PerProcessor<P, const PROCESSORS: usize> = Sharded<P, PROCESSORS, Processor<P>>;

/// A guard that can count without locked instructions: [`PerProcessor`].
pub trait DispatchGuard: Guard {
    /// Attempts to start a call.
    ///
    /// # Safety
    ///
    /// The thread is at DISPATCH_LEVEL, and stays there until it has left.
    #[doc(hidden)]
    unsafe fn enter_at_dispatch(&self) -> Entry<usize>;
    /// Ends a call, as [`Count::leave`].
    ///
    /// # Safety
    ///
    /// The ticket is that of `enter_at_dispatch`, and the thread has been at DISPATCH_LEVEL since then.
    #[doc(hidden)]
    unsafe fn leave_at_dispatch(&self, ticket: usize) -> bool;
}

impl<P: Processors, const PROCESSORS: usize> DispatchGuard for PerProcessor<P, PROCESSORS> {
    #[inline]
    unsafe fn enter_at_dispatch(&self) -> Entry<usize> {
        let number = P::current();
        if number >= PROCESSORS {
            // The ticket of the word says nothing about the processor; the number does, and finds the word again.
            return match self.enter() {
                Entry::Granted(_) => Entry::Granted(number),
                refused => refused,
            };
        }
        if self.shard(number).1.enter() {
            return Entry::Granted(number);
        }
        // SAFETY: the count has gone up, and the thread is where it was.
        if unsafe { self.leave_at_dispatch(number) } { Entry::RefusedAsLast } else { Entry::Refused }
    }

    #[inline]
    unsafe fn leave_at_dispatch(&self, number: usize) -> bool {
        if number >= PROCESSORS {
            return self.leave(number);
        }
        self.shard(number).1.leave() && self.drained()
    }
}

/// A guard as it is used at DISPATCH_LEVEL. A module never has one; it is in the types of the peers that
/// [`Peers::at_dispatch`](crate::Peers::at_dispatch) finds.
///
/// # Invariants
///
/// **AT-DISPATCH**: a reference to it is made and used by a thread that is at DISPATCH_LEVEL meanwhile, and stays on
/// that thread.
#[repr(transparent)]
#[derive(Debug)]
pub struct AtDispatch<G>(G);

/// Where a call at DISPATCH_LEVEL was counted. It stays on its thread.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct DispatchTicket(usize, PhantomData<*mut ()>);

impl<G: DispatchGuard> Sealed for AtDispatch<G> {}

impl<G: DispatchGuard> Count for AtDispatch<G> {
    type Ticket = DispatchTicket;
    // Nothing suspends a thread at DISPATCH_LEVEL.
    type Protection = ();

    #[inline]
    fn protect() {}

    #[inline]
    fn enter(&self) -> Entry<DispatchTicket> {
        // SAFETY: AT-DISPATCH. The ticket does not leave the thread, and a peer does not outlive the token.
        match unsafe { self.0.enter_at_dispatch() } {
            Entry::Granted(number) => Entry::Granted(DispatchTicket(number, PhantomData)),
            Entry::Refused => Entry::Refused,
            Entry::RefusedAsLast => Entry::RefusedAsLast,
        }
    }

    #[inline]
    fn leave(&self, DispatchTicket(number, _): DispatchTicket) -> bool {
        // SAFETY: AT-DISPATCH, and the ticket is that of `enter`.
        unsafe { self.0.leave_at_dispatch(number) }
    }
}
