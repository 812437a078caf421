//! Which places readers are told, and that readers who come and go do not keep a writer waiting.
#![cfg(not(loom))]

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use sluice_swap::{AllCounted, Processors, Swap};

/// All readers are at DISPATCH_LEVEL.
struct AllAtDispatchLevel;

// SAFETY: one thread reads and writes in turn.
unsafe impl Processors for AllAtDispatchLevel {
    type Region = ();

    fn enter() -> Option<()> {
        None
    }

    fn visit_each() {}
}

/// The numbers of the place that a reader of `shard` is told.
fn place<P: Processors, const SHARDS: usize>(swap: &Swap<(), P, SHARDS>, shard: usize) -> Option<(usize, usize)> {
    swap.read_in_place(shard, |place, ()| place.map(|place| (place.of_value(), place.of_all())))
}

#[test]
fn a_processor_at_dispatch_level_has_the_place_of_its_number_and_one_beyond_the_shards_has_none() {
    let swap = Swap::<_, AllAtDispatchLevel, 4>::new(());
    for _ in 0..2 {
        let places = [0, 1, 3, 4, 5, 8].map(|shard| place(&swap, shard));
        assert_eq!(places, [Some((0, 0)), Some((2, 4)), Some((6, 12)), None, None, None]);
        swap.replace((), || ());
    }
}

#[test]
fn a_counted_reader_who_is_alone_has_a_place_of_its_shard_for_each_value() {
    let swap = Swap::<_, AllCounted, 4>::new(());
    for epoch in [0, 1, 0] {
        let places = [0, 1, 3, 6].map(|shard| place(&swap, shard));
        let expected = [(1, 1), (3, 5), (7, 13), (5, 9)];
        assert_eq!(places, expected.map(|(of_value, of_all)| Some((of_value, of_all + epoch))));
        swap.replace((), || ());
    }
}

#[test]
fn a_place_has_one_reader_and_other_shards_have_theirs() {
    let swap = Swap::<_, AllCounted, 4>::new(());
    swap.read_in_place(1, |first, ()| {
        assert!(first.is_some());
        assert_eq!([1, 5].map(|shard| place(&swap, shard)), [None; 2], "the shard has a reader");
        assert_eq!([0, 2, 3].map(|shard| place(&swap, shard).is_some()), [true; 3]);
    });
    assert!(place(&swap, 1).is_some(), "once it is gone");
}

/// A reader that stays until it is told to go.
struct Staying<'scope> {
    go: Sender<()>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope> Staying<'scope> {
    fn start<'env>(scope: &'scope Scope<'scope, 'env>, swap: &'scope Swap<u32, AllCounted, 1>) -> Self {
        let (go, told) = channel();
        let (reading, started) = channel();
        let thread = scope.spawn(move || {
            swap.read(0, |_| {
                reading.send(()).expect("the test waits");
                // An error is the end of a test that has failed.
                let _ = told.recv();
            });
        });
        started.recv().expect("it reads");
        Self { go, thread }
    }

    fn end(self) {
        self.go.send(()).expect("it reads");
        self.thread.join().expect("no panic");
    }
}

#[test]
fn readers_who_relieve_each_other_do_not_keep_a_writer_waiting() {
    let swap = Swap::<u32, AllCounted, 1>::new(0);
    thread::scope(|scope| {
        let mut reader = Some(Staying::start(scope, &swap));
        for value in 1..4 {
            let mut waits = 0;
            swap.replace(value, || {
                waits += 1;
                assert_eq!(waits, 1, "it waits for the readers of the value before, not for those who came since");
                let next = Staying::start(scope, &swap);
                reader.replace(next).expect("somebody reads all the time").end();
            });
            assert_eq!(waits, 1, "the reader of the value before was waited for");
        }
        reader.expect("somebody reads all the time").end();
    });
}
