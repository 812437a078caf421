//! What a `Swap` promises, on real threads.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use sluice_swap::{AllCounted, Swap};

/// Works in a static: constructed by the compiler.
static STATIC: Swap<u32, AllCounted, 64> = Swap::new(7);

#[test]
fn a_static_is_read_and_replaced() {
    assert_eq!(STATIC.read(1000, |value| *value), 7, "any shard number will do");
    assert_eq!(STATIC.replace(8, thread::yield_now), 7);
    assert_eq!(STATIC.read(0, |value| *value), 8);
}

#[test]
fn each_value_is_dropped_once() {
    struct Counts<'a>(&'a AtomicUsize);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = AtomicUsize::new(0);
    let swap = Swap::<_, AllCounted, 2>::new(Counts(&drops));
    drop(swap.replace(Counts(&drops), || {}));
    drop(swap.replace(Counts(&drops), || {}));
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    drop(swap);
    assert_eq!(drops.load(Ordering::Relaxed), 3);
}

#[test]
fn readers_never_see_half_of_a_value_or_a_freed_one() {
    const REPLACEMENTS: u64 = 2_000;
    let swap = Swap::<Box<[u64; 8]>, AllCounted, 4>::new(Box::new([0; 8]));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for shard in 0..3 {
            let (swap, done) = (&swap, &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    swap.read(shard, |value| {
                        assert!(value.iter().all(|part| *part == value[0]));
                        assert!(value[0] >= last, "values do not go backwards");
                        last = value[0];
                    });
                }
            });
        }
        for number in 1..=REPLACEMENTS {
            let mut old = swap.replace(Box::new([number; 8]), thread::yield_now);
            assert_eq!(old[0], number - 1);
            // A reader of it would see this.
            *old = [u64::MAX, 0, 0, 0, 0, 0, 0, 0];
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_replacement_waits_for_the_reader_that_it_found() {
    let swap = Swap::<u32, AllCounted, 1>::new(1);
    let (reading, release) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            swap.read(0, |value| {
                reading.store(true, Ordering::SeqCst);
                while !release.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                assert_eq!(*value, 1, "the value lives as long as it is read");
            });
        });
        while !reading.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        let mut waits = 0;
        let old = swap.replace(2, || {
            waits += 1;
            // New readers are not kept out, and do not keep the writer waiting.
            assert_eq!(swap.read(0, |value| *value), 2);
            if waits == 10 {
                release.store(true, Ordering::SeqCst);
            }
            thread::yield_now();
        });
        assert_eq!(old, 1);
        assert!(waits >= 10, "the replacement ended while the value was being read");
    });
}

#[test]
fn a_reader_that_panics_is_counted_out() {
    let swap = Swap::<u32, AllCounted, 1>::new(1);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| swap.read(0, |_| panic!("in a reader"))));
    assert!(panicked.is_err());
    let mut waits = 0;
    swap.replace(2, || {
        waits += 1;
        assert!(waits < 1000, "waits for a reader that is gone");
    });
}

#[test]
fn a_swap_in_memory_of_its_own_is_like_any_other() {
    let counted = Arc::new(());
    let swap = Swap::<_, AllCounted, 4>::try_boxed((counted.clone(), 1)).unwrap();
    assert_eq!(swap.read(3, |value| value.1), 1);
    drop(swap.replace((counted.clone(), 2), thread::yield_now));
    assert_eq!((swap.read(0, |value| value.1), Arc::strong_count(&counted)), (2, 2));
    drop(swap);
    assert_eq!(Arc::strong_count(&counted), 1);
}
