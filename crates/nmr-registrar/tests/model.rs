//! Random histories of many modules against the life of a binding in docs/nmr-rules.md.
//!
//! One test runs histories on one thread and predicts, after every call, which registrations and bindings exist and in
//! what state. Two run them on several threads, and check what every module sees against the table: one with threads
//! that the system schedules, the other with threads that a seed does, so that a history that fails fails again and is
//! made smaller.

mod support;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nmr_registrar::{Life, Part, Threads};
use proptest::collection::vec;
use proptest::prelude::*;
use support::automaton::Automaton;
use support::*;

/// How a module answers offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attach {
    Accept,
    Decline,
    /// A client tries twice before it gives in to a refusal; a provider accepts only the second proposal of a client.
    Retry,
}

/// How a module answers a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detach {
    Done,
    Pend,
    /// Completes inside the callback, then returns STATUS_PENDING (R47).
    CompleteInside,
}

#[derive(Clone, Copy, Debug)]
struct Manners {
    attach: Attach,
    detach: Detach,
}

fn manners() -> impl Strategy<Value = Manners> {
    let attach = prop_oneof![6 => Just(Attach::Accept), 1 => Just(Attach::Decline), 1 => Just(Attach::Retry)];
    let detach = prop_oneof![Just(Detach::Done), Just(Detach::Pend), Just(Detach::CompleteInside)];
    (attach, detach).prop_map(|(attach, detach)| Manners { attach, detach })
}

/// What a module does with its side of a detach that pends.
type OnPending = Arc<dyn Fn(&Module, &Binding) + Send + Sync>;

/// A module with manners, watched by an automaton under the number `registration`, which the test may change between
/// two registrations.
fn watched(
    name: &'static str,
    side: Side,
    npi: NPIID,
    manners: Manners,
    automaton: &Automaton,
    registration: &Arc<AtomicUsize>,
    on_pending: &OnPending,
) -> Box<Module> {
    let log = Log::default();
    let mut module = match side {
        Side::Client => client(name, npi, &log),
        Side::Provider => provider(name, npi, &log),
    };
    let (watch, number) = (automaton.clone(), registration.clone());
    module.on_client_attach = Box::new(move |offer| {
        watch.client_attach_called(offer.handle, number.load(Ordering::SeqCst));
        let status = match manners.attach {
            Attach::Decline => STATUS_NOINTERFACE,
            Attach::Accept => offer.accept(),
            Attach::Retry => match offer.accept() {
                STATUS_NOINTERFACE => offer.accept(),
                status => status,
            },
        };
        watch.client_attach_returns(offer.handle, status);
        status
    });
    let (watch, number) = (automaton.clone(), registration.clone());
    let proposals = AtomicUsize::new(0);
    module.on_provider_attach = Box::new(move |offer| {
        watch.provider_attach_called(offer.handle, number.load(Ordering::SeqCst));
        let refuse = match manners.attach {
            Attach::Accept => false,
            Attach::Decline => true,
            // By parity of the handle's proposals alone this could not be predicted; the handle comes back on a retry.
            Attach::Retry => proposals.swap(offer.handle.addr(), Ordering::SeqCst) != offer.handle.addr(),
        };
        let status = if refuse { STATUS_NOINTERFACE } else { offer.accept() };
        watch.provider_attach_returns(offer.handle, status);
        status
    });
    let (watch, number, pending) = (automaton.clone(), registration.clone(), on_pending.clone());
    module.on_detach = Box::new(move |module, context| {
        // SAFETY: the default attach allocated it; it is freed in cleanup.
        let binding = unsafe { &*context.cast::<Binding>() };
        let handle = binding.handle();
        watch.detach_called(module.side, handle, number.load(Ordering::SeqCst));
        let status = if manners.detach == Detach::Done { STATUS_SUCCESS } else { STATUS_PENDING };
        watch.detach_returns(module.side, handle, status);
        match manners.detach {
            Detach::Done => {}
            Detach::Pend => pending(module, binding),
            Detach::CompleteInside => {
                watch.completes(module.side, handle);
                complete(module.side, handle);
            }
        }
        status
    });
    let (watch, number) = (automaton.clone(), registration.clone());
    module.on_cleanup = Box::new(move |module, context| {
        // SAFETY: the default attach allocated it, and this is its last use.
        let binding = unsafe { Box::from_raw(context.cast::<Binding>()) };
        watch.cleanup_called(module.side, binding.handle(), number.load(Ordering::SeqCst));
    });
    module
}

/// Sides of the modules of a history, by number: enough of both for three by three on each of two interfaces.
const MODULES: usize = 12;

fn side_of(module: usize) -> Side {
    if module.is_multiple_of(2) { Side::Client } else { Side::Provider }
}

fn interface_of(module: usize) -> usize {
    module / 2 % 2
}

/// A step of a history on one thread.
#[derive(Clone, Copy, Debug)]
enum Step {
    Register(usize),
    Deregister(usize),
    /// Only done when the model says that it would return.
    Wait(usize),
    /// Completes one of the pending parts.
    Complete(usize),
    // What modules must not do.
    CompleteTwice(usize),
    WaitTooEarly(usize),
    UseDeadHandle(usize),
    DeregisterTwice(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let module = 0..MODULES;
    let step = prop_oneof![
        6 => module.clone().prop_map(Step::Register),
        4 => module.clone().prop_map(Step::Deregister),
        4 => module.clone().prop_map(Step::Wait),
        4 => any::<prop::sample::Index>().prop_map(|index| Step::Complete(index.index(64))),
        1 => any::<prop::sample::Index>().prop_map(|index| Step::CompleteTwice(index.index(64))),
        1 => module.clone().prop_map(Step::WaitTooEarly),
        1 => module.clone().prop_map(Step::UseDeadHandle),
        1 => module.prop_map(Step::DeregisterTwice),
    ];
    vec(step, 1..60)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    None,
    Registered,
    Deregistering,
}

/// A binding of the model: attached, or detaching with the parts that are still pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Attached,
    Detaching { pending: [bool; 2] },
}

struct Model {
    manners: [Manners; MODULES],
    registrations: [Registration; MODULES],
    /// By client and provider.
    bindings: BTreeMap<(usize, usize), Bound>,
}

impl Model {
    fn attaches(&self, client: usize, provider: usize) -> bool {
        match (self.manners[client].attach, self.manners[provider].attach) {
            (Attach::Decline, _) | (_, Attach::Decline) => false,
            (client, Attach::Retry) => client == Attach::Retry,
            (_, Attach::Accept) => true,
        }
    }

    fn register(&mut self, module: usize) {
        self.registrations[module] = Registration::Registered;
        for peer in 0..MODULES {
            let matches = side_of(peer) != side_of(module)
                && interface_of(peer) == interface_of(module)
                && self.registrations[peer] == Registration::Registered;
            let pair = if side_of(module) == Side::Client { (module, peer) } else { (peer, module) };
            if matches && self.attaches(pair.0, pair.1) {
                self.bindings.insert(pair, Bound::Attached);
            }
        }
    }

    fn deregister(&mut self, module: usize) {
        self.registrations[module] = Registration::Deregistering;
        let manners = self.manners;
        for ((client, provider), bound) in &mut self.bindings {
            if (*client == module || *provider == module) && *bound == Bound::Attached {
                let pends = |module: usize| manners[module].detach == Detach::Pend;
                *bound = Bound::Detaching { pending: [pends(*client), pends(*provider)] };
            }
        }
        self.clean();
    }

    fn clean(&mut self) {
        self.bindings.retain(|_, bound| *bound != Bound::Detaching { pending: [false, false] });
    }

    fn drained(&self, module: usize) -> bool {
        self.bindings.keys().all(|(client, provider)| *client != module && *provider != module)
    }

    fn pending(&self) -> Vec<((usize, usize), Side)> {
        self.bindings
            .iter()
            .flat_map(|(pair, bound)| {
                let pending = match bound {
                    Bound::Attached => [false, false],
                    Bound::Detaching { pending } => *pending,
                };
                [(*pair, Side::Client), (*pair, Side::Provider)].into_iter().zip(pending)
            })
            .filter_map(|(part, pending)| pending.then_some(part))
            .collect()
    }
}

/// The real modules and their model, side by side.
struct History {
    session: Session,
    model: Model,
    #[allow(clippy::vec_box, reason = "a registered module may not move")]
    modules: Vec<Box<Module>>,
    automaton: Automaton,
    numbers: Vec<Arc<AtomicUsize>>,
    next_number: usize,
    /// The last dead registration handle of each module.
    dead: [Option<HANDLE>; MODULES],
}

impl History {
    fn new(seed: Option<u64>, manners: [Manners; MODULES]) -> Self {
        let session = Session::new();
        session.set_seed(seed);
        let automaton = Automaton::default();
        let interfaces = [unique_npi(), unique_npi()];
        let numbers: Vec<Arc<AtomicUsize>> = (0..MODULES).map(|_| Arc::default()).collect();
        let later: OnPending = Arc::new(|_, _| {});
        let modules = (0..MODULES)
            .map(|module| {
                let npi = interfaces[interface_of(module)];
                watched("M", side_of(module), npi, manners[module], &automaton, &numbers[module], &later)
            })
            .collect();
        let model = Model { manners, registrations: [Registration::None; MODULES], bindings: BTreeMap::new() };
        Self { session, model, modules, automaton, numbers, next_number: 1, dead: [None; MODULES] }
    }

    fn binding_handle(&self, pair: (usize, usize)) -> HANDLE {
        let (client, provider) = (self.modules[pair.0].handle().addr(), self.modules[pair.1].handle().addr());
        let report = self.session.report();
        let binding = report.bindings.iter().find(|binding| (binding.client, binding.provider) == (client, provider));
        std::ptr::without_provenance_mut(binding.expect("the model has this binding").handle)
    }

    fn complete(&mut self, (pair, side): ((usize, usize), Side)) -> HANDLE {
        let handle = self.binding_handle(pair);
        self.automaton.completes(side, handle);
        complete(side, handle);
        if let Some(Bound::Detaching { pending }) = self.model.bindings.get_mut(&pair) {
            pending[side as usize] = false;
        }
        self.model.clean();
        handle
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Register(module) if self.model.registrations[module] == Registration::None => {
                self.numbers[module].store(self.next_number, Ordering::SeqCst);
                self.next_number += 1;
                assert_eq!(self.modules[module].register(), STATUS_SUCCESS);
                self.model.register(module);
            }
            Step::Deregister(module) if self.model.registrations[module] == Registration::Registered => {
                assert_eq!(self.modules[module].deregister(), STATUS_PENDING);
                self.model.deregister(module);
            }
            Step::Wait(module)
                if self.model.registrations[module] == Registration::Deregistering && self.model.drained(module) =>
            {
                self.dead[module] = Some(self.modules[module].handle());
                self.modules[module].waited();
                self.automaton.wait_returned(self.numbers[module].load(Ordering::SeqCst));
                self.model.registrations[module] = Registration::None;
            }
            Step::Complete(index) => {
                let pending = self.model.pending();
                if !pending.is_empty() {
                    self.complete(pending[index % pending.len()]);
                }
            }
            Step::CompleteTwice(index) => {
                let pending = self.model.pending();
                if !pending.is_empty() {
                    let part = pending[index % pending.len()];
                    let handle = self.complete(part);
                    let gone = !self.model.bindings.contains_key(&part.0);
                    complete(part.1, handle);
                    self.session.expect_violation(if gone { 45 } else { 46 });
                }
            }
            Step::WaitTooEarly(module) if self.model.registrations[module] == Registration::Registered => {
                assert_eq!(self.modules[module].wait(), STATUS_INVALID_PARAMETER);
                self.session.expect_violation(62);
            }
            Step::UseDeadHandle(module) => {
                if let Some(handle) = self.dead[module] {
                    assert_eq!(deregister(side_of(module), handle), STATUS_INVALID_PARAMETER);
                    assert_eq!(wait(side_of(module), handle), STATUS_INVALID_PARAMETER);
                    self.session.expect_violation(66);
                    self.session.expect_violation(66);
                }
            }
            Step::DeregisterTwice(module) if self.model.registrations[module] == Registration::Deregistering => {
                assert_eq!(self.modules[module].deregister(), STATUS_PENDING);
                self.session.expect_violation(66);
            }
            // Not possible in this state.
            _ => {}
        }
        self.check();
    }

    /// What exists is what the model says.
    fn check(&self) {
        let report = self.session.report();
        let number = |handle| self.modules.iter().position(|module| module.handle().addr() == handle).unwrap();
        let mut registrations = [Registration::None; MODULES];
        for registration in &report.registrations {
            let state = if registration.deregistering.is_some() {
                Registration::Deregistering
            } else {
                Registration::Registered
            };
            registrations[number(registration.module.registration)] = state;
        }
        assert_eq!(registrations, self.model.registrations);
        let bindings: BTreeMap<_, _> = report
            .bindings
            .iter()
            .map(|binding| {
                let bound = match binding.life {
                    Life::Attached(_) => Bound::Attached,
                    Life::Detaching { client, provider } => {
                        Bound::Detaching { pending: [client, provider].map(|part| part == Part::Pending) }
                    }
                    life => panic!("a binding is left in {life:?}"),
                };
                ((number(binding.client), number(binding.provider)), bound)
            })
            .collect();
        assert_eq!(bindings, self.model.bindings);
        assert_eq!(self.automaton.result().0, [""; 0]);
        assert_eq!(self.session.violations(), []);
    }

    /// Ends everything.
    fn finish(mut self) {
        (0..MODULES).for_each(|module| self.step(Step::Deregister(module)));
        while !self.model.pending().is_empty() {
            self.step(Step::Complete(0));
        }
        (0..MODULES).for_each(|module| self.step(Step::Wait(module)));
        assert!(self.session.report().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories_on_one_thread_are_as_predicted(
        seed in any::<Option<u64>>(),
        manners in vec(manners(), MODULES),
        steps in steps(),
    ) {
        let mut history = History::new(seed, manners.try_into().expect("as many as there are modules"));
        steps.into_iter().for_each(|step| history.step(step));
        history.finish();
    }
}

/// A pending part on its way to the thread that completes it.
struct Owed {
    side: Side,
    handle: Pointer,
}

/// Three threads' work, each with four modules that it registers and ends again and again, and a fourth that completes
/// what pends.
struct Crowd {
    automaton: Automaton,
    manners: [Manners; MODULES],
    npi: NPIID,
    numbers: AtomicUsize,
    owed: Arc<Mutex<VecDeque<Owed>>>,
    /// How many of the three are not done.
    busy: AtomicUsize,
}

impl Crowd {
    fn new(manners: Vec<Manners>) -> Self {
        Self {
            automaton: Automaton::default(),
            manners: manners.try_into().expect("as many as there are modules"),
            npi: unique_npi(),
            numbers: AtomicUsize::new(1),
            owed: Arc::default(),
            busy: AtomicUsize::new(3),
        }
    }

    fn come_and_go(&self, thread: usize, turns: &[usize]) {
        let owed = self.owed.clone();
        let later: OnPending = Arc::new(move |module, binding| {
            owed.lock().unwrap().push_back(Owed { side: module.side, handle: Pointer(binding.handle()) });
        });
        let own: Vec<_> = (0..4)
            .map(|index| {
                let module = thread * 4 + index;
                let number = Arc::new(AtomicUsize::new(0));
                let (side, manners) = (side_of(module), self.manners[module]);
                (watched("M", side, self.npi, manners, &self.automaton, &number, &later), number)
            })
            .collect();
        let end = |(module, number): &(Box<Module>, Arc<AtomicUsize>)| {
            module.end();
            self.automaton.wait_returned(number.load(Ordering::SeqCst));
        };
        for turn in turns {
            let module = &own[*turn];
            if module.0.handle().is_null() {
                module.1.store(self.numbers.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                assert_eq!(module.0.register(), STATUS_SUCCESS);
            } else {
                end(module);
            }
        }
        own.iter().filter(|module| !module.0.handle().is_null()).for_each(end);
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }

    fn complete_what_pends(&self, give_way: impl Fn()) {
        while self.busy.load(Ordering::SeqCst) > 0 {
            let next = self.owed.lock().unwrap().pop_front();
            match next {
                Some(Owed { side, handle }) => {
                    self.automaton.completes(side, handle.0);
                    complete(side, handle.0);
                }
                None => give_way(),
            }
        }
    }

    fn check(&self, session: &Session) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.automaton.result().0, Vec::<String>::new());
        prop_assert!(session.report().is_empty());
        prop_assert_eq!(session.violations(), vec![]);
        Ok(())
    }
}

fn turns() -> impl Strategy<Value = Vec<Vec<usize>>> {
    vec(vec(0_usize..4, 10..60), 3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories_on_several_threads_keep_to_the_table(
        seed in any::<u64>(),
        manners in vec(manners(), MODULES),
        turns in turns(),
    ) {
        let session = Session::new();
        session.set_seed(Some(seed));
        let crowd = Crowd::new(manners);
        std::thread::scope(|scope| {
            scope.spawn(|| crowd.complete_what_pends(std::thread::yield_now));
            for (thread, turns) in turns.iter().enumerate() {
                let crowd = &crowd;
                scope.spawn(move || crowd.come_and_go(thread, turns));
            }
        });
        crowd.check(&session)?;
    }

    #[test]
    fn histories_that_a_seed_schedules_keep_to_the_table(
        seed in any::<u64>(),
        manners in vec(manners(), MODULES),
        turns in turns(),
    ) {
        let session = Session::new();
        session.set_seed(Some(seed));
        let crowd = Crowd::new(manners);
        let mut threads = session.threads();
        for (thread, turns) in turns.iter().enumerate() {
            let crowd = &crowd;
            threads.add(&format!("thread {thread}"), move || crowd.come_and_go(thread, turns));
        }
        threads.add("completer", || crowd.complete_what_pends(Threads::give_way));
        threads.run();
        crowd.check(&session)?;
    }
}

#[test]
fn the_histories_attach_something() {
    // A model that never attaches would agree with anything.
    let manners = Manners { attach: Attach::Accept, detach: Detach::Pend };
    let mut history = History::new(None, [manners; MODULES]);
    (0..MODULES).for_each(|module| history.step(Step::Register(module)));
    assert_eq!(history.model.bindings.len(), 2 * 3 * 3);
    let automaton = history.automaton.clone();
    history.finish();
    assert_eq!(automaton.result().1, 2 * 3 * 3);
}
