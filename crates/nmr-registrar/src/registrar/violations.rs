//! What is said to and about a module that breaks a rule.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use core::sync::atomic::Ordering;

use wdk_nmr_sys::{HANDLE, NTSTATUS, STATUS_INVALID_PARAMETER};

use super::Registrar;
use crate::handle::{self, Key, Kind, NoHandle};
use crate::life::{Breach, Side};
use crate::module::Registered;
use crate::platform::Platform;
use crate::tables::{Shard, registration_handle};
use crate::violation::{Function, Module, Place, Violation};

/// What R65 expects.
pub(super) const UNLOADED_AFTERWARDS: &str = "NmrDeregister* and the wait for its end before the image goes away";

/// A breach, who is to blame, and for which binding if it is about one. Boxed, since there is hardly ever one.
pub(super) struct Accusation {
    pub(super) breach: Breach,
    pub(super) found: Cow<'static, str>,
    module: Registered,
    registration: Key,
    binding: Option<Key>,
}

pub(super) type Accused = Option<Box<Accusation>>;

impl Accusation {
    pub(super) fn new(breach: Breach, module: Registered, registration: Key, binding: Option<Key>) -> Self {
        Self { breach, found: Cow::Borrowed(breach.found), module, registration, binding }
    }
}

impl<P: Platform> Registrar<P> {
    /// Takes a handle apart, or reports why it is none of that kind.
    pub(super) fn key(&self, function: Function, kind: Kind, handle: HANDLE) -> Option<Key> {
        let rule = if kind == Kind::Binding { 52 } else { 68 };
        let (rule, found) = match handle::decode(handle) {
            Ok((found, key)) if found == kind => return Some(key),
            Ok((found, _)) => (52, Cow::Owned(format!("{:#x} is a {found}", handle.addr()))),
            Err(none @ NoHandle::Foreign) => (rule, Cow::Owned(format!("{:#x} is {}", handle.addr(), none.describe()))),
            Err(none) => (rule, Cow::Borrowed(none.describe())),
        };
        self.report_violation(false, || Violation {
            rule,
            place: Place::Function(function),
            module: None,
            binding: None,
            found,
            expected: match kind {
                Kind::Client => "a handle from NmrRegisterClient",
                Kind::Provider => "a handle from NmrRegisterProvider",
                Kind::Binding => "the binding handle that the attach callback was given",
            },
        });
        None
    }

    /// Reports a handle of something that is gone.
    pub(super) fn stale(&self, function: Function, rule: u8, handle: HANDLE) -> NTSTATUS {
        let found = Cow::Owned(format!("{:#x} is the handle of something that no longer exists", handle.addr()));
        self.report_violation(false, || Violation {
            rule,
            place: Place::Function(function),
            module: None,
            binding: None,
            found,
            expected: "no use of a binding after its end, nor of a registration after its wait",
        });
        STATUS_INVALID_PARAMETER
    }

    /// Reports a parameter that cannot be worked with, in strict and lenient mode alike.
    pub(super) fn refuse(&self, place: Place, rule: u8, found: &'static str, expected: &'static str) -> NTSTATUS {
        self.report_violation(false, || Violation {
            rule,
            place,
            module: None,
            binding: None,
            found: Cow::Borrowed(found),
            expected,
        });
        STATUS_INVALID_PARAMETER
    }

    /// What every function begins with.
    pub(super) fn enter(&self, function: Function, rule: u8, highest: u8, expected: &'static str) {
        let place = Place::Function(function);
        self.platform.enter(function);
        let irql = self.platform.irql();
        if irql > highest {
            self.report_violation(false, || Violation {
                rule,
                place,
                module: None,
                binding: None,
                found: Cow::Owned(format!("it was called at IRQL {irql}")),
                expected,
            });
        }
    }

    pub(super) fn report_breach(&self, place: Place, accused: Accused) {
        if let Some(accusation) = accused {
            self.report_accusation(place, &accusation);
        }
    }

    #[cold]
    fn report_accusation(&self, place: Place, accusation: &Accusation) {
        let Accusation { breach, found, module, registration, binding } = accusation;
        self.report_violation(breach.tolerated, || Violation {
            rule: breach.rule,
            place,
            module: Some(self.describe(module, Some(*registration))),
            binding: binding.map(|key| handle::encode(Kind::Binding, key).addr()),
            found: found.clone(),
            expected: breach.expected,
        });
    }

    pub(super) fn is_lenient(&self) -> bool {
        self.lenient.load(Ordering::Relaxed)
    }

    pub(super) fn tolerates(&self, tolerated: bool) -> bool {
        tolerated && self.is_lenient()
    }

    #[cold]
    pub(super) fn report_violation(&self, tolerated: bool, violation: impl FnOnce() -> Violation) {
        if !self.tolerates(tolerated) {
            self.platform.violation(&violation());
        }
    }

    pub(super) fn describe(&self, module: &Registered, key: Option<Key>) -> Module {
        let registration = key.map_or(0, |key| registration_handle(module.side(), key).addr());
        Module { image: self.platform.image(module.attach_address()), ..module.describe(registration) }
    }
}

pub(super) fn kind_of(side: Side) -> Kind {
    match side {
        Side::Client => Kind::Client,
        Side::Provider => Kind::Provider,
    }
}

/// A breach with who is on that side of the binding. Found out under the lock: afterwards the binding may be gone.
pub(super) fn accuse<E>(shard: &Shard<E>, key: Key, side: Side, breach: Option<Breach>) -> Accused {
    #[cold]
    fn accuse<E>(shard: &Shard<E>, key: Key, side: Side, breach: Breach) -> Accused {
        let registration = shard.bindings.get(key)?.registration(side);
        let module = shard.registrations.get(registration)?.module;
        Some(Box::new(Accusation::new(breach, module, registration, Some(key))))
    }
    breach.and_then(|breach| accuse(shard, key, side, breach))
}
