//! Every interleaving of readers and a writer, as far as loom's bounds go:
//! `RUSTFLAGS="--cfg loom" cargo test -p sluice-swap --release --test loom`
#![cfg(loom)]

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use sluice_swap::{AllCounted, Processors, Swap};

loom::lazy_static! {
    /// Two processors. Whoever is at DISPATCH_LEVEL on one has it to itself, and so does whoever visits it: that, and
    /// the order that comes with it, is all that a kernel promises.
    static ref PROCESSORS: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];
}

/// All readers are at DISPATCH_LEVEL; `VISITS`: as the writer has to believe.
struct AllAtDispatchLevel<const VISITS: bool>;

// SAFETY: the models below read on one of the processors. Without visits it is a lie, which has to show.
unsafe impl<const VISITS: bool> Processors for AllAtDispatchLevel<VISITS> {
    type Region = ();

    fn enter() -> Option<()> {
        None
    }

    fn visit_each() {
        if VISITS {
            PROCESSORS.iter().for_each(|processor| drop(processor.lock().unwrap()));
        }
    }
}

/// Readers on the first processor are at DISPATCH_LEVEL, all others below.
struct Mixed;

loom::thread_local! {
    static AT_DISPATCH_LEVEL: std::cell::Cell<bool> = std::cell::Cell::new(false);
}

// SAFETY: the models set the flag where they have a processor to themselves.
unsafe impl Processors for Mixed {
    type Region = ();

    fn enter() -> Option<()> {
        AT_DISPATCH_LEVEL.with(|at| if at.get() { None } else { Some(()) })
    }

    fn visit_each() {
        AllAtDispatchLevel::<true>::visit_each();
    }
}

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
        let swap = Arc::new(Swap::<_, AllCounted, 1>::new(value(0, &dropped)));
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
        let swap = Arc::new(Swap::<_, AllCounted, 1>::new(value(0, &dropped)));
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
        let swap = Arc::new(Swap::<_, AllCounted, 2>::new(value(0, &dropped)));
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
fn a_place_has_one_reader_at_a_time() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let swap = Arc::new(Swap::<_, AllCounted, 1>::new(0));
        // Loom fails the test if two threads are in a cell at once, or one does not see what another has done there.
        let places = Arc::new([0; 4].map(loom::cell::UnsafeCell::new));
        let readers = [(); 2].map(|()| {
            let (swap, places) = (swap.clone(), places.clone());
            thread::spawn(move || {
                swap.read_in_place(0, |place, _| {
                    let Some(place) = place else { return 0 };
                    // SAFETY: nobody else is told this place, which is what is tested.
                    places[place.of_all()].with_mut(|count| unsafe { *count += 1 });
                    1
                })
            })
        });
        swap.replace(1, thread::yield_now);
        let told: usize = readers.map(|reader| reader.join().unwrap()).into_iter().sum();
        // SAFETY: the readers are done.
        let counted: usize = places.iter().map(|place| place.with(|count| unsafe { *count })).sum();
        assert_eq!(counted, told);
        let (place, value) = swap.read_in_place(0, |place, value| (place, *value));
        let place = place.map(|place| (place.of_value(), place.of_all()));
        assert_eq!((place, value), (Some((1, 2)), 1), "a reader who is alone has a place");
    });
}

#[test]
fn two_writers_take_turns() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let swap = Arc::new(Swap::<_, AllCounted, 1>::new(value(0, &dropped)));
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

/// A processor reads twice at DISPATCH_LEVEL while the value is replaced twice.
fn reads_at_dispatch_level<const VISITS: bool>() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let swap = Arc::new(Swap::<_, AllAtDispatchLevel<VISITS>, 1>::new(value(0, &dropped)));
        let reader = {
            let swap = swap.clone();
            thread::spawn(move || {
                let read = || {
                    let _processor = PROCESSORS[0].lock().unwrap();
                    swap.read(0, |value| {
                        let before = value.number;
                        thread::yield_now();
                        assert_eq!(value.number, before, "a value changes under its reader");
                        before
                    })
                };
                let first = read();
                let second = read();
                assert!(first <= second && second <= 2, "{first}, then {second}");
            })
        };
        drop(swap.replace(value(1, &dropped), thread::yield_now));
        drop(swap.replace(value(2, &dropped), thread::yield_now));
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_at_dispatch_level_sees_a_value_that_is_there() {
    reads_at_dispatch_level::<true>();
}

#[test]
#[should_panic]
fn without_visits_it_would_not() {
    reads_at_dispatch_level::<false>();
}

#[test]
fn readers_at_both_levels_are_waited_for() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let swap = Arc::new(Swap::<_, Mixed, 1>::new(value(0, &dropped)));
        let readers = [true, false].map(|at_dispatch_level| {
            let swap = swap.clone();
            thread::spawn(move || {
                let _processor = at_dispatch_level.then(|| PROCESSORS[0].lock().unwrap());
                AT_DISPATCH_LEVEL.with(|at| at.set(at_dispatch_level));
                assert!(swap.read(0, |value| value.number) <= 1);
            })
        });
        drop(swap.replace(value(1, &dropped), thread::yield_now));
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
