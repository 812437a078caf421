//! Every interleaving of the guard and of a binding's life, within the bounds that each model states.
//!
//! The sources of the library are compiled here a second time, against loom's atomics and cells. The atomics also know
//! when the registration has been freed: an access after that fails the model, as does a race on a cell. The stated
//! bounds are those of `cargo test --release`.

#[path = "../src/guard/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the library's own file; the models use a part of it")]
mod guard;
#[path = "../src/header/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library's own file")]
mod header;
#[path = "../src/irql.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library's own file")]
mod irql;
#[path = "../src/slot.rs"]
#[allow(dead_code, reason = "the library's own file")]
mod slot;

/// What the library finds under this name is core's.
mod sync {
    use std::cell::Cell;

    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};

    use crate::machine::executing;

    /// Models execute what is written, in that order; what a read may return is for loom to say.
    pub(crate) fn compiler_fence(_: Ordering) {}

    std::thread_local!(static FREED: Cell<bool> = const { Cell::new(false) });

    /// From now on, no word may be touched. Loom runs all threads of a model on one.
    pub(crate) fn free() {
        FREED.set(true);
    }

    pub(crate) fn start() {
        FREED.set(false);
    }

    fn check() {
        assert!(!FREED.get(), "a word was touched after the registration had been freed");
    }

    #[derive(Debug)]
    pub(crate) struct AtomicUsize(loom::sync::atomic::AtomicUsize);

    impl AtomicUsize {
        pub(crate) fn new(value: usize) -> Self {
            Self(loom::sync::atomic::AtomicUsize::new(value))
        }
        pub(crate) fn load(&self, order: Ordering) -> usize {
            check();
            let _executing = executing();
            self.0.load(order)
        }
        pub(crate) fn store(&self, value: usize, order: Ordering) {
            check();
            let _executing = executing();
            self.0.store(value, order);
        }
        pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
            check();
            let _executing = executing();
            self.0.fetch_add(value, order)
        }
        pub(crate) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
            check();
            let _executing = executing();
            self.0.fetch_sub(value, order)
        }
        pub(crate) fn compare_exchange(
            &self,
            old: usize,
            new: usize,
            yes: Ordering,
            no: Ordering,
        ) -> Result<usize, usize> {
            check();
            let _executing = executing();
            self.0.compare_exchange(old, new, yes, no)
        }
        pub(crate) fn compare_exchange_weak(
            &self,
            old: usize,
            new: usize,
            yes: Ordering,
            no: Ordering,
        ) -> Result<usize, usize> {
            check();
            let _executing = executing();
            self.0.compare_exchange_weak(old, new, yes, no)
        }
    }
}

/// Processors that can be made to go through a memory barrier, as KeIpiGenericCall does it.
///
/// A processor holds its lock while it executes an instruction, so `barrier` gets it between two of them: that is the
/// interrupt. What the processor did before happens before what the caller of `barrier` does next, and what that has
/// done happens before the processor's next instruction; a barrier promises this and nothing else. The calls get no
/// fence, and no two processors have a lock in common.
mod machine {
    use std::cell::Cell;

    use loom::sync::{Mutex, MutexGuard};

    use crate::guard::{Processors, ShardIndex};

    loom::lazy_static! {
        static ref PROCESSORS: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];
    }

    loom::thread_local! {
        static CURRENT: Cell<Option<usize>> = Cell::new(None);
    }

    /// The calling thread is at DISPATCH_LEVEL on this processor from now on, alone.
    pub(crate) fn run_on(processor: usize) {
        CURRENT.with(|current| current.set(Some(processor)));
    }

    pub(crate) fn executing() -> Option<MutexGuard<'static, ()>> {
        let current = CURRENT.with(Cell::get)?;
        Some(PROCESSORS[current].lock().unwrap())
    }

    pub(crate) struct Machine;

    impl ShardIndex for Machine {
        fn current() -> usize {
            CURRENT.with(Cell::get).unwrap_or(0)
        }
    }

    // SAFETY: as the module says.
    unsafe impl Processors for Machine {
        fn barrier() {
            for processor in &*PROCESSORS {
                drop(processor.lock().unwrap());
            }
        }
    }

    /// The same processors for a detach that forgets the barrier.
    pub(crate) struct WithoutBarrier;

    impl ShardIndex for WithoutBarrier {
        fn current() -> usize {
            Machine::current()
        }
    }

    // SAFETY: there is none; that is what the model of it shows.
    unsafe impl Processors for WithoutBarrier {
        fn barrier() {}
    }
}

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::SeqCst;

use guard::{DispatchGuard, Guard, PerProcessor, ShardIndex, Sharded, Single};
use header::{ROLE_CLIENT, RegistrationHeader};
use irql::Dispatch;
use loom::sync::Arc;
use loom::thread;
use machine::{Machine, WithoutBarrier, run_on};
use slot::Slot;

/// Spreads threads over two shards.
struct ByThread;

impl ShardIndex for ByThread {
    fn current() -> usize {
        // Threads of a model are numbered in the order in which they were started.
        thread::current().id().into_number()
    }
}

trait IntoNumber {
    fn into_number(self) -> usize;
}

impl IntoNumber for thread::ThreadId {
    fn into_number(self) -> usize {
        format!("{self:?}").chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
    }
}

/// Puts all threads on one shard.
struct Same;

impl ShardIndex for Same {
    fn current() -> usize {
        1
    }
}

type TwoShards = Sharded<ByThread, 2>;

/// A binding that says which one it is, and counts how often one was dropped.
struct Numbered(usize, std::sync::Arc<core::sync::atomic::AtomicUsize>);

impl Drop for Numbered {
    fn drop(&mut self) {
        self.1.fetch_add(1, SeqCst);
    }
}

/// One slot, and NMR as far as one binding at a time is concerned. The peer's part of a detach is done at once, so that
/// this side's part is what cleanup waits for.
struct World<G: Guard> {
    registration: Box<RegistrationHeader>,
    slot: Box<MaybeUninit<Slot<Numbered, G>>>,
    /// How often this side has completed, by SUCCESS or by the Complete function.
    finished: core::sync::atomic::AtomicUsize,
    /// How often the Complete function was called.
    completed: core::sync::atomic::AtomicUsize,
    dropped: std::sync::Arc<core::sync::atomic::AtomicUsize>,
    /// Whether to free everything after cleanup, as a wait that returns at that moment would allow.
    free: bool,
}

// SAFETY: loom runs one thread at a time, and what is shared is what the library says may be.
unsafe impl<G: Guard> Sync for World<G> {}
// SAFETY: loom runs one thread at a time, and what is shared is what the library says may be.
unsafe impl<G: Guard> Send for World<G> {}

impl<G: Guard> World<G> {
    fn new(free: bool) -> Arc<Self> {
        sync::start();
        let registration = RegistrationHeader::new(ROLE_CLIENT, 0, complete::<G>, None, false);
        let world = Self {
            registration: Box::new(registration),
            slot: Box::new(MaybeUninit::uninit()),
            finished: 0.into(),
            completed: 0.into(),
            dropped: std::sync::Arc::default(),
            free,
        };
        let place = world.slot.as_ptr().cast_mut();
        // SAFETY: a place of our own, and the registration is kept beside it.
        unsafe { Slot::initialize(place, &raw const *world.registration) };
        Arc::new(world)
    }

    fn slot(&self) -> &Slot<Numbered, G> {
        // SAFETY: initialized by `new`.
        unsafe { self.slot.assume_init_ref() }
    }

    /// An attach callback up to the moment before the peer agrees.
    fn fill(&self, number: usize) {
        let handle = core::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the models claim before.
        unsafe { self.slot().fill(handle, Numbered(number, self.dropped.clone())) };
    }

    /// The peer agrees; its context is the number of the binding.
    fn publish(&self, number: usize) {
        // SAFETY: the models fill before.
        unsafe { self.slot().publish(number as *mut c_void, Some(core::ptr::null())) };
    }

    fn attach(&self, number: usize) {
        assert!(self.slot().claim());
        self.fill(number);
        self.publish(number);
    }

    fn detach(&self) {
        // SAFETY: the models attach before, and detach once.
        if unsafe { self.slot().detach(|_| ()) } {
            self.finish();
        }
    }

    /// This side's part of the detach is done.
    fn finish(&self) {
        self.finished.fetch_add(1, SeqCst);
        // SAFETY: both parts are done.
        unsafe { self.slot().cleanup() };
        if self.free {
            sync::free();
        }
    }

    /// A call: whether it could be made, and if so whether everything in it belonged to one binding.
    fn call(&self) -> bool {
        let slot = self.slot();
        let Some(ticket) = slot.enter() else { return false };
        self.look();
        slot.leave(ticket);
        true
    }

    /// A call that ends as that of a peer that is held without a borrow.
    fn held_call(&self) -> bool {
        let slot = self.slot();
        let Some(ticket) = slot.enter() else { return false };
        self.look();
        slot.leave_at_last(ticket);
        true
    }

    fn look(&self) {
        // SAFETY: entered.
        let (context, _) = unsafe { self.slot().peer() };
        // SAFETY: entered.
        let binding: &Numbered = unsafe { self.slot().binding() };
        assert_eq!(context as usize, binding.0, "the peer of another binding was called");
        assert_eq!(self.finished.load(SeqCst) + 1, binding.0, "the detach does not finish during a call");
    }

    fn call_at_dispatch(&self) -> bool
    where
        G: DispatchGuard,
    {
        self.while_called_at_dispatch(|| ())
    }

    fn while_called_at_dispatch(&self, f: impl FnOnce()) -> bool
    where
        G: DispatchGuard,
    {
        // SAFETY: the models run at DISPATCH_LEVEL where they call this.
        let dispatch = unsafe { Dispatch::new() };
        let slot = self.slot().at_dispatch(dispatch);
        let Some(ticket) = slot.enter() else { return false };
        f();
        self.look();
        slot.leave(ticket);
        true
    }

    fn is_over(&self, bindings: usize) {
        assert_eq!(self.finished.load(SeqCst), bindings, "this side finishes each detach once");
        assert_eq!(self.dropped.load(SeqCst), bindings, "each binding is dropped once");
    }
}

/// The Complete function of NMR: runs the cleanup at once, on this thread (R53).
unsafe extern "system" fn complete<G: Guard>(handle: *mut c_void) {
    // SAFETY: the handle is what `fill` said.
    let world = unsafe { &*handle.cast::<World<G>>() };
    world.completed.fetch_add(1, SeqCst);
    world.finish();
}

/// Explores `f`. Builds without optimization take ten times as long, so there it is one preemption less, and at most 2.
fn model(preemptions: Option<usize>, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound =
        if cfg!(debug_assertions) { Some(preemptions.map_or(2, |bound| bound.min(3) - 1)) } else { preemptions };
    builder.check(f);
}

fn calls_race_the_detach<G: Guard>(callers: usize, preemptions: Option<usize>) {
    model(preemptions, move || {
        let world = World::<G>::new(false);
        world.attach(1);
        let callers: Vec<_> = (0..callers)
            .map(|_| {
                let world = world.clone();
                thread::spawn(move || world.call())
            })
            .collect();
        world.detach();
        for caller in callers {
            caller.join().unwrap();
        }
        world.is_over(1);
        assert!(!world.call(), "no call after the detach");
    });
}

/// Two callers and the detach, exhaustive.
#[test]
fn r45_one_word_completes_exactly_once() {
    calls_race_the_detach::<Single>(2, None);
}

/// Three callers and the detach, at most 3 preemptions.
#[test]
fn r45_one_word_completes_exactly_once_with_three_callers() {
    calls_race_the_detach::<Single>(3, Some(3));
}

/// Two callers on two shards and the detach, exhaustive.
#[test]
fn r45_shards_complete_exactly_once() {
    calls_race_the_detach::<TwoShards>(2, None);
}

/// Three callers on two shards and the detach, at most 2 preemptions.
#[test]
fn r45_shards_complete_exactly_once_with_three_callers() {
    calls_race_the_detach::<TwoShards>(3, Some(2));
}

fn held_calls_touch_nothing_after_the_end<G: Guard>() {
    model(None, || {
        let world = World::<G>::new(true);
        world.attach(1);
        let slot = world.slot();
        let tickets = [slot.enter().unwrap(), slot.enter().unwrap()];
        let threads = tickets.map(|ticket| {
            let world = world.clone();
            thread::spawn(move || world.slot().leave_at_last(ticket))
        });
        world.detach();
        for thread in threads {
            thread.join().unwrap();
        }
        world.is_over(1);
    });
}

/// Two held calls that end while the detach runs. The memory is freed in the cleanup, exhaustive.
#[test]
fn r53_one_word_is_not_touched_after_the_completion() {
    held_calls_touch_nothing_after_the_end::<Single>();
}

/// As above, on two shards.
#[test]
fn r53_shards_are_not_touched_after_the_completion() {
    held_calls_touch_nothing_after_the_end::<TwoShards>();
}

fn a_refused_attempt_may_complete_for_a_held_call<G: Guard>(preemptions: Option<usize>) {
    model(preemptions, || {
        let world = World::<G>::new(false);
        world.attach(1);
        let ticket = world.slot().enter().unwrap();
        let held = {
            let world = world.clone();
            thread::spawn(move || world.slot().leave_at_last(ticket))
        };
        let borrower = {
            let world = world.clone();
            thread::spawn(move || world.call())
        };
        world.detach();
        borrower.join().unwrap();
        // Nobody borrows the registration any more. If the binding is over too, its wait returns here.
        if world.finished.load(SeqCst) == 1 {
            sync::free();
        }
        held.join().unwrap();
        world.is_over(1);
    });
}

/// A held call, an attempt of somebody who borrows the registration, and the detach, at most 4 preemptions.
#[test]
fn r53_one_word_is_not_touched_by_a_held_call_after_another_completion() {
    a_refused_attempt_may_complete_for_a_held_call::<Single>(Some(4));
}

/// As above on one shard of two, at most 3 preemptions.
#[test]
fn r53_shards_are_not_touched_by_a_held_call_after_another_completion() {
    a_refused_attempt_may_complete_for_a_held_call::<Sharded<Same, 2>>(Some(3));
}

fn the_next_binding_is_not_confused_with_the_last<G: Guard>(preemptions: Option<usize>) {
    model(preemptions, || {
        let world = World::<G>::new(false);
        world.attach(1);
        let callers = [false, true].map(|held| {
            let world = world.clone();
            thread::spawn(move || if held { world.held_call() } else { world.call() })
        });
        world.detach();
        // Another attach takes the slot as soon as it is free; the callers may still be on their way.
        let again = world.slot().claim();
        if again {
            world.fill(2);
            world.publish(2);
            world.detach();
        }
        for caller in callers {
            caller.join().unwrap();
        }
        world.is_over(if again { 2 } else { 1 });
    });
}

/// Two callers, a detach, a new binding in the same slot and its detach, at most 4 preemptions.
#[test]
fn r71_one_word_serves_the_next_binding() {
    the_next_binding_is_not_confused_with_the_last::<Single>(Some(4));
}

/// As above on two shards, at most 3 preemptions.
#[test]
fn r71_shards_serve_the_next_binding() {
    the_next_binding_is_not_confused_with_the_last::<TwoShards>(Some(3));
}

fn a_call_before_the_peer_is_known_fails<G: Guard>() {
    model(None, || {
        let world = World::<G>::new(false);
        assert!(world.slot().claim());
        world.fill(1);
        let caller = {
            let world = world.clone();
            thread::spawn(move || {
                // The peer has the context already and calls in (R28): the binding is there.
                // SAFETY: filled, and detached after this thread has ended.
                let binding: &Numbered = unsafe { world.slot().binding() };
                assert_eq!(binding.0, 1);
                world.call()
            })
        };
        world.publish(1);
        caller.join().unwrap();
        world.detach();
        world.is_over(1);
    });
}

/// One caller while the attach callback learns how to call the peer, exhaustive.
#[test]
fn m14_one_word_is_closed_until_the_peer_is_known() {
    a_call_before_the_peer_is_known_fails::<Single>();
}

/// As above, on two shards.
#[test]
fn m14_shards_are_closed_until_the_peer_is_known() {
    a_call_before_the_peer_is_known_fails::<TwoShards>();
}

/// Two attach callbacks want the one free slot, exhaustive.
#[test]
fn r31_a_slot_is_claimed_once() {
    model(None, || {
        let world = World::<Single>::new(false);
        let other = {
            let world = world.clone();
            thread::spawn(move || world.slot().claim())
        };
        let here = world.slot().claim();
        assert!(here != other.join().unwrap());
    });
}

type PerTwoProcessors = PerProcessor<Machine, 2>;

fn calls_at_dispatch_race_the_detach<G: DispatchGuard>(processors: usize, calls: usize, preemptions: Option<usize>) {
    model(preemptions, move || {
        let world = World::<G>::new(false);
        world.attach(1);
        let callers: Vec<_> = (0..processors)
            .map(|processor| {
                let world = world.clone();
                thread::spawn(move || {
                    run_on(processor);
                    (0..calls).for_each(|_| _ = world.call_at_dispatch());
                })
            })
            .collect();
        world.detach();
        for caller in callers {
            caller.join().unwrap();
        }
        world.is_over(1);
        assert!(!world.call_at_dispatch(), "no call after the detach");
    });
}

/// One processor and the detach, exhaustive.
#[test]
fn r45_a_processor_completes_exactly_once() {
    calls_at_dispatch_race_the_detach::<PerTwoProcessors>(1, 1, None);
}

/// One processor that calls twice and the detach, exhaustive.
#[test]
fn r45_a_processor_with_two_calls_completes_exactly_once() {
    calls_at_dispatch_race_the_detach::<PerTwoProcessors>(1, 2, None);
}

/// Two processors and the detach, at most 3 preemptions.
#[test]
fn r45_processors_complete_exactly_once() {
    calls_at_dispatch_race_the_detach::<PerTwoProcessors>(2, 1, Some(3));
}

/// A processor that calls and calls again within the call, and the detach, exhaustive.
#[test]
fn r45_a_call_within_a_call_completes_exactly_once() {
    model(None, || {
        let world = World::<PerTwoProcessors>::new(false);
        world.attach(1);
        let caller = {
            let world = world.clone();
            thread::spawn(move || {
                run_on(1);
                world.while_called_at_dispatch(|| _ = world.call_at_dispatch());
            })
        };
        world.detach();
        caller.join().unwrap();
        world.is_over(1);
    });
}

/// A processor at DISPATCH_LEVEL, a thread at a lower level whose call is counted on the same shard, and the detach, at
/// most 3 preemptions.
#[test]
fn r45_calls_at_both_levels_complete_exactly_once() {
    model(Some(3), || {
        let world = World::<PerTwoProcessors>::new(false);
        world.attach(1);
        let callers = [true, false].map(|at_dispatch| {
            let world = world.clone();
            thread::spawn(move || {
                if at_dispatch {
                    run_on(0);
                    world.call_at_dispatch()
                } else {
                    world.call()
                }
            })
        });
        world.detach();
        for caller in callers {
            caller.join().unwrap();
        }
        world.is_over(1);
    });
}

/// A held call, an attempt of a processor that borrows the registration, and the detach, at most 3 preemptions.
#[test]
fn r53_a_held_call_is_over_while_a_processor_attempts_another() {
    model(Some(3), || {
        let world = World::<PerTwoProcessors>::new(false);
        world.attach(1);
        let ticket = world.slot().enter().unwrap();
        let held = {
            let world = world.clone();
            thread::spawn(move || world.slot().leave_at_last(ticket))
        };
        let borrower = {
            let world = world.clone();
            thread::spawn(move || {
                run_on(0);
                world.call_at_dispatch()
            })
        };
        world.detach();
        borrower.join().unwrap();
        if world.finished.load(SeqCst) == 1 {
            sync::free();
        }
        held.join().unwrap();
        world.is_over(1);
    });
}

/// A processor that calls twice, a detach, a new binding in the same slot and its detach, at most 4 preemptions.
#[test]
fn r71_a_processor_serves_the_next_binding() {
    model(Some(4), || {
        let world = World::<PerTwoProcessors>::new(false);
        world.attach(1);
        let caller = {
            let world = world.clone();
            thread::spawn(move || {
                run_on(0);
                (0..2).for_each(|_| _ = world.call_at_dispatch());
            })
        };
        world.detach();
        let again = world.slot().claim();
        if again {
            world.fill(2);
            world.publish(2);
            world.detach();
        }
        caller.join().unwrap();
        world.is_over(if again { 2 } else { 1 });
    });
}

/// The model finds the call that a detach misses if it does without the barrier.
#[test]
#[should_panic]
fn m8_without_the_barrier_a_call_is_missed() {
    calls_at_dispatch_race_the_detach::<PerProcessor<WithoutBarrier, 2>>(1, 1, None);
}
