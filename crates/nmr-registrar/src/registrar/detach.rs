//! NmrDeregister* and the detach callbacks.

use alloc::borrow::Cow;

use wdk_nmr_sys::{HANDLE, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_PENDING, STATUS_SUCCESS};

use super::Registrar;
use super::violations::{accuse, kind_of};
use crate::handle::Key;
use crate::life::{Progress, Side};
use crate::platform::{DISPATCH_LEVEL, Lock, Platform};
use crate::violation::{Callback, Function, Place, Violation};

impl<P: Platform> Registrar<P> {
    /// `NmrDeregisterClient`
    pub fn deregister_client(&self, handle: HANDLE) -> NTSTATUS {
        self.deregister(Function::DeregisterClient, Side::Client, handle)
    }

    /// `NmrDeregisterProvider`
    pub fn deregister_provider(&self, handle: HANDLE) -> NTSTATUS {
        self.deregister(Function::DeregisterProvider, Side::Provider, handle)
    }

    fn deregister(&self, function: Function, side: Side, handle: HANDLE) -> NTSTATUS {
        let place = Place::Function(function);
        self.enter(function, 38, DISPATCH_LEVEL, "DISPATCH_LEVEL or below");
        let Some(key) = self.key(function, kind_of(side), handle) else { return STATUS_INVALID_PARAMETER };
        if let Some(status) = self.platform.fault(function) {
            return status;
        }
        let now = self.platform.now();
        let found = self.shard(key).with(|shard| {
            let module = shard.registrations.get(key)?.module;
            // Before it is marked: from then on another thread may wait, and free the structure.
            let changed = self.changed(shard, key, None);
            Some((changed, shard.deregister(key, now).ok_or(module)))
        });
        let Some((changed, detaches)) = found else { return self.stale(function, 66, handle) };
        self.report_breach(place, changed);
        let mut detaches = match detaches {
            Ok(detaches) => detaches,
            Err(module) => {
                self.report_violation(true, || Violation {
                    rule: 66,
                    place,
                    module: Some(self.describe(&module, Some(key))),
                    binding: None,
                    found: Cow::Borrowed("the registration was already being deregistered"),
                    expected: "one call for each registration",
                });
                return STATUS_PENDING;
            }
        };
        self.order.arrange(&mut detaches);
        self.detach_each(&detaches);
        // R61: also when nothing is left to wait for.
        STATUS_PENDING
    }

    pub(super) fn late_detach(&self, detaches: &[(Key, Side)]) {
        let now = self.platform.now();
        for (key, _) in detaches {
            self.shard(*key).with(|shard| {
                if let Some(binding) = shard.bindings.get_mut(*key) {
                    binding.since = now;
                }
            });
        }
        self.detach_each(detaches);
    }

    /// Calls detach callbacks, one after the other.
    fn detach_each(&self, detaches: &[(Key, Side)]) {
        let thread = self.platform.thread();
        let mut started = None;
        for (index, &(key, side)) in detaches.iter().enumerate() {
            let callback = Callback::detach(side);
            let call =
                started.take().or_else(|| self.shard(key).with(|shard| self.start_detach(shard, key, side, thread)));
            let Some(call) = call else { continue };
            let status = self.call(&call, callback, STATUS_SUCCESS, || {
                // SAFETY: the module registered this callback; the context is the one that it attached with.
                unsafe { (call.module.detach)(call.context.0) }
            });
            let other = detaches.get(index + 1).filter(|(next, _)| *next == key);
            let (progress, breach) = self.shard(key).with(|shard| {
                let Some(binding) = shard.bindings.get_mut(key) else { return (Progress::Open, None) };
                binding.stops_running(callback, thread);
                let in_progress = binding.calls(side).detach_returned(status, thread);
                let (progress, breach) = binding.life.detach_returned(side, status);
                let breach = accuse(shard, key, side, breach.or(in_progress));
                // The other side's part has not been called, so this was not the end.
                started = other.and_then(|(_, side)| self.start_detach(shard, key, *side, thread));
                (progress, breach)
            });
            self.report_breach(Place::Callback(callback), breach);
            if progress == Progress::Detached {
                self.cleanup_somewhere(key);
            }
        }
    }
}
