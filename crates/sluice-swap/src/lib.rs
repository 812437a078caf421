//! A value that is replaced while any number of processors read it.
//!
//! A reader never waits, retries or touches a word that all processors write. Below DISPATCH_LEVEL it counts itself in
//! and out on a counter of its own processor. At DISPATCH_LEVEL it does nothing at all: a processor does one thing
//! after the other there, so once the writer has run on a processor below that level, no earlier reader is left on it.
//! The writer puts the new value in place, visits all processors, waits until the counters say that everybody who may
//! still see the old value is gone, and gives the old value back. Nothing is allocated, so that nothing can fail.
//!
//! The counted half is sleepable RCU (P. McKenney, "Sleepable Read-Copy Update") with two slots in place of the heap,
//! the other half classic RCU (P. McKenney and J. Slingwine, "Read-Copy Update: Using Execution History to Solve
//! Concurrency Problems").
//!
//! # Examples
//!
//! ```
//! use sluice_swap::{AllCounted, Swap};
//!
//! static POLICY: Swap<&str, AllCounted, 4> = Swap::new("permit");
//!
//! let processor = 0;
//! assert_eq!(POLICY.read(processor, |policy| policy.len()), 6);
//! let old = POLICY.replace("block", std::thread::yield_now);
//! assert_eq!(old, "permit");
//! ```
#![no_std]

extern crate alloc;

mod processors;
mod sync;

#[cfg(not(loom))]
use alloc::alloc::alloc_zeroed;
#[cfg(not(loom))]
use alloc::boxed::Box;
#[cfg(not(loom))]
use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

pub use processors::{AllCounted, Processors};
use sync::{AtomicBool, AtomicUsize, Ordering, UnsafeCell, fence_if_modelled};

/// A value of type `T` that is read on the processors `P`, and for each of `SHARDS` groups of readers a counter of its
/// own. `SHARDS` is a power of two.
///
/// Readers who pass different shard numbers do not slow each other down. With the number of the current processor and
/// as many shards as there are processors, no reader ever waits for a cache line of another. More processors than
/// shards is no error: they share.
///
/// # Invariants
///
/// - `slots[current]` holds a value. The other slot holds one only while `writing` is set.
/// - A reader who uses a slot is counted in `shards` from before it learns which slot is current until it is done, or
///   is at DISPATCH_LEVEL as long.
pub struct Swap<T, P, const SHARDS: usize> {
    shards: [ReaderShard; SHARDS],
    /// Which counter of its shard a reader uses: the lowest bit. It changes during a replacement, so that new readers
    /// cannot keep the writer waiting.
    epoch: AtomicUsize,
    /// Which slot holds the value: 0 or 1.
    current: AtomicUsize,
    slots: [UnsafeCell<MaybeUninit<T>>; 2],
    /// Whether a thread is replacing the value.
    writing: AtomicBool,
    processors: PhantomData<fn() -> P>,
}

/// The readers of one group, by epoch.
///
/// What keeps two groups apart is the size and not an alignment, which a device extension would not have.
#[repr(C)]
struct ReaderShard {
    readers: [AtomicUsize; 2],
    apart: [usize; 14],
}

// SAFETY: A `Swap` hands out `&T` to many threads at once, and lets any thread that has `&Swap` put a `T` in and take
// one out. The bounds are what that needs. All other fields are atomic.
unsafe impl<T: Send + Sync, P, const SHARDS: usize> Sync for Swap<T, P, SHARDS> {}

impl<T, P: Processors, const SHARDS: usize> Swap<T, P, SHARDS> {
    const SHARD_MASK: usize = {
        assert!(SHARDS.is_power_of_two(), "the number of shards has to be a power of two");
        SHARDS - 1
    };

    /// Starts with `value`.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self {
            shards: [const { ReaderShard { readers: [AtomicUsize::new(0), AtomicUsize::new(0)], apart: [0; 14] } };
                SHARDS],
            epoch: AtomicUsize::new(0),
            current: AtomicUsize::new(0),
            slots: [UnsafeCell::new(MaybeUninit::new(value)), UnsafeCell::new(MaybeUninit::uninit())],
            writing: AtomicBool::new(false),
            processors: PhantomData,
        }
    }

    /// Starts with `value`, in memory of the global allocator and without ever being on the stack, where it would need
    /// 128 bytes a shard. `None` if there is no memory.
    #[cfg(not(loom))]
    #[must_use]
    pub fn try_boxed(value: T) -> Option<Box<Self>> {
        const { assert!(align_of::<Self>() <= 16, "the pool of a driver aligns to 16 bytes") };
        // SAFETY: the layout is not that of nothing: there are counters in it.
        let swap = unsafe { alloc_zeroed(Layout::new::<Self>()) }.cast::<Self>();
        if swap.is_null() {
            return None;
        }
        // SAFETY: allocated for a `Swap`.
        let slots = unsafe { &raw mut (*swap).slots };
        let first = slots.cast::<UnsafeCell<MaybeUninit<T>>>();
        // SAFETY: the first slot lies in that memory, which nobody else knows.
        unsafe { first.write(UnsafeCell::new(MaybeUninit::new(value))) };
        // SAFETY: from the global allocator, with this layout. All counters and flags are 0, the first slot is current
        // and holds a value: a `Swap` at its beginning.
        Some(unsafe { Box::from_raw(swap) })
    }

    /// Starts with `value`.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self {
            shards: core::array::from_fn(|_| ReaderShard {
                readers: [AtomicUsize::new(0), AtomicUsize::new(0)],
                apart: [0; 14],
            }),
            epoch: AtomicUsize::new(0),
            current: AtomicUsize::new(0),
            slots: [UnsafeCell::new(MaybeUninit::new(value)), UnsafeCell::new(MaybeUninit::uninit())],
            writing: AtomicBool::new(false),
            processors: PhantomData,
        }
    }

    /// Calls `reader` with the value. Up to DISPATCH_LEVEL, and never waits. At DISPATCH_LEVEL it only loads which
    /// value it is; below, it takes what [`Processors::enter`] does and two atomic additions to a word of `shard`.
    ///
    /// `shard` may be any number; that of the current processor is best. It does not matter whether the thread stays on
    /// that processor. `reader` must not call [`replace`](Self::replace), which would wait for it forever.
    #[inline]
    pub fn read<R>(&self, shard: usize, reader: impl FnOnce(&T) -> R) -> R {
        self.read_in_place(shard, |_, value| reader(value))
    }

    /// Does what [`read`](Self::read) does, and tells `reader` of a place that is its own as long as it reads. So each
    /// place can have counters that are changed without a locked instruction.
    ///
    /// At DISPATCH_LEVEL `shard` has to be the number of the processor for that; there is no place if it is not below
    /// `SHARDS`. Below DISPATCH_LEVEL there is none if another reader of the shard is under way, or if a replacement
    /// has just begun, which is rare where a shard is a processor. What a counted reader has written to its place, with
    /// whatever ordering, is seen by the next one there.
    #[inline]
    pub fn read_in_place<R>(&self, shard: usize, reader: impl FnOnce(Option<OwnPlace>, &T) -> R) -> R {
        let Some(_region) = P::enter() else {
            let place = (shard < SHARDS).then_some(OwnPlace { shard, counted_in: None });
            // Acquire: the value was put in place before its slot became current.
            return self.read_slot(self.current.load(Ordering::Acquire), |value| reader(place, value));
        };
        let epoch = self.epoch.load(Ordering::Relaxed) & 1;
        let counter = &self.shards[shard & Self::SHARD_MASK].readers[epoch];
        // In the order of all SeqCst operations this comes before the load of `current`, and the writer's store to
        // `current` before its look at the counters: either the writer sees this reader, or the reader sees the new
        // value.
        // Acquire as well, so that a reader who is alone sees what the one before it did.
        let is_alone = counter.fetch_add(1, Ordering::SeqCst) == 0;
        let _counted = Counted { counter };
        fence_if_modelled();
        let current = self.current.load(Ordering::SeqCst) & 1;
        // Both change with every replacement, the slot first. The readers of a value who are counted in the other epoch
        // came before the epoch changed.
        let has_place = is_alone && epoch == current;
        let place = has_place.then_some(OwnPlace { shard: shard & Self::SHARD_MASK, counted_in: Some(epoch) });
        self.read_slot(current, |value| reader(place, value))
    }

    /// Calls `reader` with the value of the slot that the calling thread has just found to be current, and for which
    /// the writer waits.
    #[inline]
    fn read_slot<R>(&self, current: usize, reader: impl FnOnce(&T) -> R) -> R {
        self.slots[current & 1].with(|slot| {
            // SAFETY: The pointer is that of a slot of `self`, which is not written while this thread is counted or at
            // DISPATCH_LEVEL.
            let slot = unsafe { &*slot };
            // SAFETY: `slots[current]` holds a value, by the invariant of `Swap`; it stays until this thread is counted
            // out or leaves DISPATCH_LEVEL.
            reader(unsafe { slot.assume_init_ref() })
        })
    }

    /// Puts `value` in place, waits until the old value has no readers, and gives it back.
    ///
    /// PASSIVE_LEVEL. Reads that start from now on see `value`. While there are readers of the old value, and while
    /// another call of `replace` is under way, `wait` is called again and again: it should give the processor away for
    /// a moment. A `wait` that panics leaves a `Swap` that can be read, and never be replaced again.
    pub fn replace(&self, value: T, mut wait: impl FnMut()) -> T {
        while self.writing.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            wait();
        }
        // Only the one who set `writing` changes these two.
        let old = self.current.load(Ordering::Relaxed) & 1;
        let epoch = self.epoch.load(Ordering::Relaxed);
        let new = old ^ 1;
        self.slots[new].with_mut(|slot| {
            // SAFETY: The last replacement waited for all readers of this slot, new ones do not come to it as it is not
            // current, and nobody else writes, as `writing` is ours.
            unsafe { &mut *slot }.write(value);
        });
        self.current.store(new, Ordering::SeqCst);
        fence_if_modelled();
        // Readers who are not counted: from its visit on, a processor reads the new value.
        P::visit_each();
        // A reader of the old value may be counted in either epoch: one who was slow between reading the epoch and
        // being counted is in the other one. That one gets no new readers but such; the current one does not either,
        // once it has been left.
        self.drain(epoch ^ 1, &mut wait);
        self.epoch.store(epoch ^ 1, Ordering::SeqCst);
        self.drain(epoch, &mut wait);
        let value = self.slots[old].with_mut(|slot| {
            // SAFETY: All readers of this slot have left, and nobody else writes, as `writing` is ours.
            let slot = unsafe { &*slot };
            // SAFETY: The slot was current, so it holds a value. It is taken once: the slot is not current any more,
            // and counts as empty from here on.
            unsafe { slot.assume_init_read() }
        });
        self.writing.store(false, Ordering::Release);
        value
    }

    /// Waits until each counter of `epoch` has been 0 once.
    fn drain(&self, epoch: usize, wait: &mut impl FnMut()) {
        for shard in &self.shards {
            while shard.readers[epoch & 1].load(Ordering::SeqCst) != 0 {
                wait();
            }
        }
    }
}

impl<T, P, const SHARDS: usize> Drop for Swap<T, P, SHARDS> {
    fn drop(&mut self) {
        let current = self.current.load(Ordering::Relaxed) & 1;
        self.slots[current].with_mut(|slot| {
            // SAFETY: `&mut self` says that there are no readers and no writer.
            let slot = unsafe { &mut *slot };
            // SAFETY: `slots[current]` holds a value, by the invariant of `Swap`, and is not used again.
            unsafe { slot.assume_init_drop() };
        });
    }
}

/// A place of a reader: nobody else has it as long as the reader reads. See [`Swap::read_in_place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnPlace {
    shard: usize,
    /// The epoch, or `None` at DISPATCH_LEVEL.
    counted_in: Option<usize>,
}

impl OwnPlace {
    /// A number below twice the number of shards that no other reader of the same value has meanwhile.
    #[must_use]
    #[inline]
    pub const fn of_value(self) -> usize {
        // All readers of a value who have a place and are counted are in one epoch.
        self.shard << 1 | self.counted_in.is_some() as usize
    }

    /// A number below four times the number of shards that no other reader has meanwhile, whatever value it reads.
    #[must_use]
    #[inline]
    pub const fn of_all(self) -> usize {
        let which = match self.counted_in {
            None => 0,
            Some(epoch) => epoch + 1,
        };
        self.shard << 2 | which
    }
}

/// A reader who is counted. Ends the count even if the reader panics.
struct Counted<'swap> {
    counter: &'swap AtomicUsize,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // What the reader read happened before the writer sees it gone.
        self.counter.fetch_sub(1, Ordering::Release);
    }
}
