//! One call of a callback: its pause points, its level, and whether it may be called at all.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;

use super::Registrar;
use super::violations::{Accusation, Accused, UNLOADED_AFTERWARDS, accuse};
use crate::handle::{self, Key, Kind};
use crate::life::{Breach, Side};
use crate::module::{Callbacks, Opaque};
use crate::platform::{Lock, PausePoint, Platform, When};
use crate::tables::{Shard, registration_handle};
use crate::violation::{Callback, Place};

/// What the registrar needs to call one callback of one side of a binding.
pub(super) struct Call {
    pub(super) key: Key,
    registration: Key,
    pub(super) module: Callbacks,
    pub(super) context: Opaque,
    image_gone: bool,
    /// The module's structure has been found to have changed (R10).
    changed: bool,
}

const CHANGED: Breach = Breach {
    rule: 10,
    tolerated: false,
    found: "the characteristics, NPIID or module id changed or went away while registered",
    expected: "all of it valid, unmoved and unchanged until the wait for the end of the registration returns",
};
const LEVEL: Breach = Breach {
    rule: 38,
    tolerated: false,
    found: "the callback returned at another IRQL",
    expected: "the same IRQL before and after",
};
const GONE: Breach = Breach {
    rule: 65,
    tolerated: false,
    found: "the callback lies in an image that has been unloaded; it was not called",
    expected: UNLOADED_AFTERWARDS,
};

impl<P: Platform> Registrar<P> {
    /// Calls a callback between its two pause points; `skipped` is taken for its result if its image is gone.
    pub(super) fn call<R>(&self, call: &Call, callback: Callback, skipped: R, f: impl FnOnce() -> R) -> R {
        let point = |when| PausePoint {
            callback,
            when,
            binding: handle::encode(Kind::Binding, call.key).addr(),
            registration: registration_handle(callback.side(), call.registration).addr(),
        };
        let place = Place::Callback(callback);
        self.platform.pause(&point(When::Before));
        if call.image_gone {
            self.report_breach(place, self.accuse_caller(call, callback, GONE));
            return skipped;
        }
        if call.changed {
            self.report_breach(place, self.accuse_caller(call, callback, CHANGED));
        }
        let before = self.platform.irql();
        self.platform.calls(callback);
        let result = f();
        self.platform.returned();
        let after = self.platform.irql();
        if after != before {
            let mut accused = self.accuse_caller(call, callback, LEVEL);
            if let Some(accusation) = &mut accused {
                accusation.found =
                    Cow::Owned(format!("the callback was called at IRQL {before} and returned at IRQL {after}"));
            }
            self.report_breach(place, accused);
            self.platform.restore_irql(before);
        }
        self.platform.pause(&point(When::After));
        result
    }

    /// Notes that a callback begins to run, and hands out what is needed to call it.
    pub(super) fn start(&self, shard: &mut Shard<P::Event>, key: Key, callback: Callback, thread: u64) -> Option<Call> {
        let side = callback.side();
        let binding = shard.bindings.get_mut(key)?;
        binding.starts_running(callback, thread);
        let (registration, context) = (binding.registration(side), binding.context(side));
        let entry = shard.registrations.get_mut(registration)?;
        let image_gone = entry.image_gone;
        let changed = !image_gone && entry.has_changed(&self.platform);
        Some(Call { key, registration, module: entry.module.callbacks, context, image_gone, changed })
    }

    /// The same for the detach callback of `side`, whose part of the detach it begins.
    pub(super) fn start_detach(&self, shard: &mut Shard<P::Event>, key: Key, side: Side, thread: u64) -> Option<Call> {
        shard.bindings.get_mut(key)?.life.detach_called(side);
        self.start(shard, key, Callback::detach(side), thread)
    }

    /// A registration whose structure is found to have changed for the first time (R10).
    pub(super) fn changed(&self, shard: &mut Shard<P::Event>, registration: Key, binding: Option<Key>) -> Accused {
        let entry = shard.registrations.get_mut(registration)?;
        let changed = entry.has_changed(&self.platform);
        changed.then(|| Box::new(Accusation::new(CHANGED, entry.module, registration, binding)))
    }

    /// Blames the module whose callback this is.
    #[cold]
    fn accuse_caller(&self, call: &Call, callback: Callback, breach: Breach) -> Accused {
        self.shard(call.key).with(|shard| accuse(shard, call.key, callback.side(), Some(breach)))
    }
}
