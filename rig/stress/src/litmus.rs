//! Which reorderings of memory accesses this machine shows: the litmus tests that every description of a memory model
//! begins with, between two threads and without ordering.
//!
//! x64 reorders a store with a later load of another place, and nothing else; ARM64 all four. An emulator on x64 shows
//! what x64 does.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, hint, thread};

/// How many pairs of places there are for each meeting of the two threads: few, since they soon drift apart.
const ROUNDS: usize = 8;

/// How often a thread looks for the other one before it gives its processor away.
const SPINS: u32 = 20_000;

/// Alone on its cache line, or two of them: some processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Place(AtomicU32);

impl Place {
    fn store(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A litmus test: what either thread does with two places, and which result shows that accesses were reordered.
struct Test {
    name: &'static str,
    left: fn(&Place, &Place) -> u32,
    right: fn(&Place, &Place) -> u32,
    reordered: fn(u32, u32) -> bool,
}

const TESTS: [Test; 3] = [
    Test {
        name: "a store with a later load",
        left: |x, y| {
            x.store();
            y.load()
        },
        right: |x, y| {
            y.store();
            x.load()
        },
        reordered: |left, right| left == 0 && right == 0,
    },
    Test {
        name: "two stores, or two loads",
        left: |x, y| {
            x.store();
            y.store();
            0
        },
        // The second place was seen, and the first, written before it, was not.
        right: |x, y| y.load() << 1 | x.load(),
        reordered: |_, right| right == 0b10,
    },
    Test {
        name: "a load with a later store",
        left: |x, y| {
            let seen = x.load();
            y.store();
            seen
        },
        right: |x, y| {
            let seen = y.load();
            x.store();
            seen
        },
        reordered: |left, right| left == 1 && right == 1,
    },
];

/// How often each reordering was seen.
struct Seen([u64; TESTS.len()]);

impl fmt::Display for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = TESTS.iter().zip(self.0).map(|(test, count)| match count {
            0 => format!("{}: never", test.name),
            count => format!("{}: {count} times", test.name),
        });
        write!(out, "this machine was seen to reorder {}", seen.collect::<Vec<_>>().join("; "))
    }
}

/// Runs all of them.
pub(crate) fn run(time: Duration) -> Result<String, String> {
    let mut seen = Seen([0; TESTS.len()]);
    for (test, count) in TESTS.iter().zip(&mut seen.0) {
        *count = test.run(time / TESTS.len() as u32);
    }
    Ok(seen.to_string())
}

impl Test {
    /// Runs it again and again. Returns how often a result showed a reordering.
    fn run(&self, time: Duration) -> u64 {
        let until = Instant::now() + time;
        let places: Vec<(Place, Place)> = (0..ROUNDS).map(|_| Default::default()).collect();
        let rights: Vec<AtomicU32> = (0..ROUNDS).map(|_| AtomicU32::new(0)).collect();
        let (turns, stop) = ([Place::default(), Place::default()], AtomicBool::new(false));
        let mut count = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                while meet(&turns, 1, &stop) {
                    for ((x, y), result) in places.iter().zip(&rights) {
                        result.store((self.right)(x, y), Ordering::Relaxed);
                    }
                    meet(&turns, 1, &stop);
                }
            });
            let mut lefts = [0; ROUNDS];
            while Instant::now() < until {
                meet(&turns, 0, &stop);
                for ((x, y), result) in places.iter().zip(&mut lefts) {
                    *result = (self.left)(x, y);
                }
                meet(&turns, 0, &stop);
                // From here to the next meeting, the other thread touches nothing.
                let results = lefts.iter().zip(&rights).map(|(left, right)| (*left, right.load(Ordering::Relaxed)));
                count += results.filter(|&(left, right)| (self.reordered)(left, right)).count() as u64;
                for (x, y) in &places {
                    x.0.store(0, Ordering::Relaxed);
                    y.0.store(0, Ordering::Relaxed);
                }
            }
            stop.store(true, Ordering::Release);
        });
        count
    }
}

/// Waits until both threads are here. False: there is no other thread any more.
fn meet(turns: &[Place; 2], own: usize, stop: &AtomicBool) -> bool {
    let turn = turns[own].0.fetch_add(1, Ordering::AcqRel) + 1;
    for spins in 0.. {
        if turns[own ^ 1].0.load(Ordering::Acquire) >= turn {
            break;
        }
        if stop.load(Ordering::Acquire) {
            return false;
        }
        // Both are to go on at once, so this one spins; but not for long: the other may need this processor.
        if spins < SPINS {
            hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_counts_what_its_result_shows() {
        let always =
            Test { name: "", left: |_, _| 1, right: |_, _| 2, reordered: |left, right| (left, right) == (1, 2) };
        let never =
            Test { name: "", left: |_, _| 1, right: |_, _| 2, reordered: |left, right| (left, right) == (2, 1) };
        let time = Duration::from_millis(20);
        assert!(always.run(time) >= ROUNDS as u64);
        assert_eq!(never.run(time), 0);
    }
}
