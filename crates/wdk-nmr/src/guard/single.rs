//! The guard of one word.

use super::sealed::Sealed;
use super::{Count, Entry, Guard, Word};

/// The guard of one word: 8 bytes a binding. Two locked additions a call, on one cache line for all processors.
#[repr(transparent)]
#[derive(Debug)]
pub struct Single(Word);

impl Sealed for Single {}

impl Count for Single {
    type Ticket = ();
    type Protection = ();

    #[inline]
    fn protect() {}

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
