//! Delays at calls out of drivers, so that threads meet in places where they rarely do.
//!
//! Whether a call is delayed depends on the seed, on where it is made, and on how often it was made from there before:
//! the same seed delays the same calls, in whatever order the threads run.

use alloc::collections::BTreeMap;
use core::sync::atomic::Ordering;

use crate::control::{self, Word};
use crate::drivers;
use crate::gate::Call;
use crate::irql;
use crate::lock::Lock;

/// A delay lasts up to so many units of 100 ns: 8 ms.
const LONGEST: u64 = 80_000;

/// How often each call was made, by the number of the driver and the place in its image.
static PASSED: Lock<BTreeMap<(u32, usize), u64>> = Lock::new(BTreeMap::new());

/// Delays a call, if the harness wants delays and the seed says so.
pub(crate) fn delay(call: Call) {
    if control::value(Word::DelayChance) == 0 {
        // What is delayed does not depend on what ran before.
        PASSED.with(BTreeMap::clear);
        return;
    }
    let place = call.site - drivers::base(call.driver).filter(|base| *base <= call.site).unwrap_or(0);
    let passed = PASSED.with(|all| {
        let passed = all.entry((call.driver.0, place)).or_default();
        *passed += 1;
        *passed
    });
    let number = control::mix((place as u64) << 32 ^ passed);
    if !control::draw(Word::DelayChance, number) {
        return;
    }
    if let Some(delayed) = control::word(Word::Delayed) {
        delayed.fetch_add(1, Ordering::AcqRel);
    }
    // The bits that were not needed for the decision.
    let interval = -((control::random(number) >> 16) % LONGEST).cast_signed();
    irql::sleep(interval);
}
