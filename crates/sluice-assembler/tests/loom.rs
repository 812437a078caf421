//! Every interleaving of processors that use the same group of streams:
//! `RUSTFLAGS="--cfg loom" cargo test -p sluice-assembler --release --test loom`
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use sluice_assembler::TryLock;

/// Two numbers that are equal whenever nobody is writing.
type Pair = (u32, u32);

fn advance(pair: &mut Pair) -> u32 {
    assert_eq!(pair.0, pair.1, "nobody else writes");
    pair.0 += 1;
    thread::yield_now();
    pair.1 += 1;
    pair.1
}

#[test]
fn one_processor_at_a_time_uses_a_group_and_sees_what_the_last_one_wrote() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let lock = Arc::new(TryLock::new((0, 0)));
        let others = [(); 2].map(|()| {
            let lock = lock.clone();
            thread::spawn(move || u32::from(lock.try_with(advance).is_some()))
        });
        let mine = u32::from(lock.try_with(advance).is_some());
        let used: u32 = mine + others.map(|other| other.join().unwrap()).iter().sum::<u32>();
        assert!(used >= 1, "somebody comes first");
        // Nobody is left behind in it, and no use was lost.
        assert_eq!(lock.try_with(|pair| *pair), Some((used, used)));
    });
}
