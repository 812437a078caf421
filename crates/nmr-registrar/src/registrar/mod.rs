//! The nine functions, a file for each phase in the life of a registration and its bindings.
//!
//! Every function has the same shape: check what the caller may not do, change the tables under the lock, call back
//! without it, change the tables again. No lock is held while foreign code runs (R60).

mod alive;
mod attach;
mod callback;
mod calls;
mod completion;
mod detach;
mod register;
mod violations;
mod wait;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use crate::handle::{self, Key};
use crate::order::Order;
use crate::platform::{Event, Lock, Platform};
use crate::tables::Shard;

/// How many violations are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Every one.
    Strict,
    /// All but those that Windows is known to put up with, or that an interface may allow: docs/registrar.md lists
    /// them. The handle variable of a registration that fails is left as it was (R9).
    Lenient,
}

/// A Network Module Registrar: the nine functions over one set of tables.
pub struct Registrar<P: Platform> {
    platform: P,
    shards: Box<[P::Lock<Shard<P::Event>>]>,
    lenient: AtomicBool,
    order: Order,
    /// In milliseconds; 0 is never.
    slow_wait: AtomicU64,
}

impl<P: Platform> Registrar<P> {
    /// A registrar in strict mode, with fixed order, that reports no slow waits.
    pub fn new(platform: P) -> Self {
        let shards = (0..handle::MAX_SHARDS).map(|number| P::Lock::new(Shard::new(number as u8))).collect();
        Self {
            platform,
            shards,
            lenient: AtomicBool::new(false),
            order: Order::default(),
            slow_wait: AtomicU64::new(0),
        }
    }

    /// What it runs on.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// Chooses what is reported from now on.
    pub fn set_strictness(&self, strictness: Strictness) {
        self.lenient.store(strictness == Strictness::Lenient, Ordering::Relaxed);
    }

    /// Chooses the order of everything that NMR leaves open (R37, R56): drawn from a seed, or fixed, which is
    /// client before provider and older before newer.
    pub fn set_order(&self, seed: Option<u64>) {
        self.order.set(seed);
    }

    /// How long a wait may last before [`Platform::slow_wait`] is told whom it waits for. `None`: for ever.
    pub fn set_slow_wait(&self, limit: Option<Duration>) {
        let millis = limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1));
        self.slow_wait.store(millis, Ordering::Relaxed);
    }

    fn shard(&self, key: Key) -> &P::Lock<Shard<P::Event>> {
        &self.shards[usize::from(key.shard)]
    }
}

/// Ends waits.
fn set_all<E: Event>(events: [Option<Arc<E>>; 2]) {
    events.into_iter().flatten().for_each(|event| event.set());
}
