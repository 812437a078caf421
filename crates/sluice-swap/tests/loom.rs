//! Every interleaving of readers and a writer, as far as loom's bounds go:
//! `RUSTFLAGS="--cfg loom" cargo test -p sluice-swap --release --test loom`
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use sluice_swap::Swap;

/// A value that knows whether it was dropped: reading it afterwards fails the test.
struct Value {
    number: usize,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Value {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.number = usize::MAX;
    }
}

fn value(number: usize, dropped: &Arc<AtomicUsize>) -> Value {
    Value { number, dropped: dropped.clone() }
}

#[test]
fn a_reader_sees_the_old_or_the_new_value_whole() {
    loom::model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let swap = Arc::new(Swap::<_, 1>::new(value(0, &dropped)));
        let reader = {
            let swap = swap.clone();
            thread::spawn(move || swap.read(0, |value| value.number))
        };
        let old = swap.replace(value(1, &dropped), thread::yield_now);
        assert_eq!(old.number, 0);
        drop(old);
        assert!(reader.join().unwrap() <= 1);
        assert_eq!(swap.read(0, |value| value.number), 1);
        drop(swap);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_reader_who_is_slow_over_two_replacements_sees_a_value_that_is_there() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let swap = Arc::new(Swap::<_, 1>::new(value(0, &dropped)));
        let reader = {
            let swap = swap.clone();
            thread::spawn(move || {
                let first = swap.read(0, |value| value.number);
                let second = swap.read(0, |value| value.number);
                assert!(first <= second && second <= 2);
            })
        };
        drop(swap.replace(value(1, &dropped), thread::yield_now));
        drop(swap.replace(value(2, &dropped), thread::yield_now));
        reader.join().unwrap();
    });
}

#[test]
fn readers_of_different_shards_are_both_waited_for() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let swap = Arc::new(Swap::<_, 2>::new(value(0, &dropped)));
        let readers = [0, 1].map(|shard| {
            let swap = swap.clone();
            thread::spawn(move || assert!(swap.read(shard, |value| value.number) <= 1))
        });
        drop(swap.replace(value(1, &dropped), thread::yield_now));
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn two_writers_take_turns() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let swap = Arc::new(Swap::<_, 1>::new(value(0, &dropped)));
        let other = {
            let (swap, dropped) = (swap.clone(), dropped.clone());
            thread::spawn(move || swap.replace(value(1, &dropped), thread::yield_now).number)
        };
        let one = swap.replace(value(2, &dropped), thread::yield_now).number;
        let two = other.join().unwrap();
        let last = swap.read(0, |value| value.number);
        let mut seen = [one, two, last];
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2], "every value comes out once");
    });
}
