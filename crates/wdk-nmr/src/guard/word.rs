//! The unit of every guard: two bits and a count in one atomic word.
//!
//! | bits | meaning |
//! | --- | --- |
//! | the highest | open: calls may start |
//! | the lowest | completed: the last call is out, and one thread has undertaken to say so |
//! | the others | calls in progress, and attempts that are about to be refused |
//!
//! Starting a call is one addition, ending it one subtraction. The bits lie so that each of them only has to know the
//! sign of its result, or whether it is zero: processors have that without reading the old value. An attempt at a word
//! that is not open has added before it learns that; it takes back what it added, and counts until then. It can
//! therefore turn a STATUS_SUCCESS into a STATUS_PENDING; then it is the one that completes. A word that is closed for
//! good and one that was never opened look alike, so a slot can be opened again for another binding while late attempts
//! still pass through.

use crate::sync::{AtomicUsize, Ordering};

use super::Entry;

const OPEN: usize = 1 << (usize::BITS - 1);
const COMPLETED: usize = 1;
const CALL: usize = 1 << 1;

/// One word of a guard.
#[doc(hidden)]
#[repr(transparent)]
#[derive(Debug)]
pub struct Word(AtomicUsize);

impl Word {
    pub(crate) fn closed() -> Self {
        Self(AtomicUsize::new(COMPLETED))
    }

    /// Opens a word that is closed. Late attempts keep their place in the count.
    pub(crate) fn open(&self) {
        // Release: a caller that enters sees what was written before the word was opened.
        self.0.fetch_add(OPEN - COMPLETED, Ordering::Release);
    }

    #[inline]
    pub(super) fn enter(&self) -> Entry<()> {
        if self.0.fetch_add(CALL, Ordering::Acquire).wrapping_add(CALL).cast_signed() < 0 {
            return Entry::Granted(());
        }
        if self.leave() { Entry::RefusedAsLast } else { Entry::Refused }
    }

    /// Ends a call or takes back an attempt. True: the word has been drained, and the caller is the one to say so.
    ///
    /// The word is touched again after the count has gone down, when another thread may already have drained it. The
    /// caller has to know that the memory stays; one that does not know uses [`Word::leave_at_last`].
    #[inline]
    pub(super) fn leave(&self) -> bool {
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

    /// As [`Word::leave`], but the change by which the caller leaves is the last that it makes to the word.
    pub(super) fn leave_at_last(&self) -> bool {
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
    pub(super) fn close_and_enter(&self) {
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

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & OPEN == 0
    }

    pub(crate) fn calls(&self) -> usize {
        (self.0.load(Ordering::Relaxed) & !OPEN) / CALL
    }
}
