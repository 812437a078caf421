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

/// How often each call was made, by the number of the driver and the [`place`].
static PASSED: Lock<BTreeMap<(u32, u64), u64>> = Lock::new(BTreeMap::new());

/// Where a call is made, the same in every life of its driver: in its image, or else which function it is of.
fn place(call: &Call) -> u64 {
    match drivers::offset(call.driver, call.site) {
        Some(offset) => offset as u64,
        None => call.function.bytes().fold(0, |hash, byte| control::mix(hash ^ u64::from(byte))),
    }
}

/// Delays a call, if the harness wants delays and the seed says so.
pub(crate) fn delay(call: Call) {
    if control::value(Word::DelayChance) == 0 {
        // What is delayed does not depend on what ran before.
        PASSED.with(BTreeMap::clear);
        return;
    }
    let place = place(&call);
    let passed = PASSED.with(|all| {
        let passed = all.entry((call.driver.0, place)).or_default();
        *passed += 1;
        *passed
    });
    let number = control::mix(place << 32 ^ passed);
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
