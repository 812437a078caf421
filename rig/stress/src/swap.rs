//! Readers of a value that is replaced all the time.
//!
//! A reader never sees half of a value, one that was given back, or an older one than before. The values are words
//! without ordering on cache lines of their own: only the swap orders them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sluice_swap::{AllCounted, Swap};

const READERS: usize = 4;
/// One read in so many lasts until other threads have run. By itself a reader is hardly ever interrupted in the middle:
/// an interrupt waits for the locked instruction in front of it.
const LINGERS: u64 = 1000;
/// In every word of a value that nobody may see.
const GONE: u64 = u64::MAX;

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

#[derive(Default)]
struct Value([Line; 4]);

impl Value {
    fn fill(&self, value: u64) {
        self.0.iter().for_each(|line| line.0.store(value, Ordering::Relaxed));
    }
}

pub(crate) fn run(time: Duration) -> Result<String, String> {
    // Two values in turn: what is given back is filled with GONE and then used for the next value but one.
    let values = [Value::default(), Value::default()];
    let swap = Swap::<&Value, AllCounted, READERS>::new(&values[0]);
    let (reads, broken, stop) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let mut replacements = 0;
    thread::scope(|scope| {
        for shard in 0..READERS {
            let (swap, reads, broken, stop) = (&swap, &reads, &broken, &stop);
            scope.spawn(move || {
                let (mut last, mut count) = (0, 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    count += 1;
                    let seen = swap.read(shard, |value| {
                        // From the end, in the order in which a reordering of the stores would show.
                        let last = value.0[3].0.load(Ordering::Relaxed);
                        if count.is_multiple_of(LINGERS) {
                            thread::yield_now();
                        }
                        value.0.iter().rev().all(|line| line.0.load(Ordering::Relaxed) == last).then_some(last)
                    });
                    match seen {
                        Some(seen) if seen >= last && seen != GONE => last = seen,
                        _ => {
                            broken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                reads.fetch_add(count, Ordering::Relaxed);
            });
        }
        let until = Instant::now() + time;
        let mut free = &values[1];
        while Instant::now() < until {
            replacements += 1;
            free.fill(replacements);
            free = swap.replace(free, thread::yield_now);
            free.fill(GONE);
        }
        stop.store(true, Ordering::Relaxed);
    });
    match broken.into_inner() {
        0 => Ok(format!("{} reads of {replacements} values", reads.into_inner())),
        broken => Err(format!("{broken} reads saw half of a value, one that was gone, or an older one")),
    }
}
