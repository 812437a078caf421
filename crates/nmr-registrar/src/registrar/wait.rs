//! NmrWaitFor*.

use alloc::borrow::Cow;
use alloc::format;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use core::time::Duration;

use wdk_nmr_sys::{HANDLE, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};

use super::Registrar;
use super::violations::kind_of;
use crate::handle::Key;
use crate::life::Side;
use crate::module::Registered;
use crate::platform::{DISPATCH_LEVEL, Event, Lock, Platform};
use crate::report::SlowWait;
use crate::tables::describe_binding;
use crate::violation::{Function, Place, Violation};

impl<P: Platform> Registrar<P> {
    /// `NmrWaitForClientDeregisterComplete`
    pub fn wait_for_client_deregister_complete(&self, handle: HANDLE) -> NTSTATUS {
        self.wait(Function::WaitForClientDeregisterComplete, Side::Client, handle)
    }

    /// `NmrWaitForProviderDeregisterComplete`
    pub fn wait_for_provider_deregister_complete(&self, handle: HANDLE) -> NTSTATUS {
        self.wait(Function::WaitForProviderDeregisterComplete, Side::Provider, handle)
    }

    fn wait(&self, function: Function, side: Side, handle: HANDLE) -> NTSTATUS {
        let place = Place::Function(function);
        self.enter(function, 64, DISPATCH_LEVEL - 1, "below DISPATCH_LEVEL");
        let Some(key) = self.key(function, kind_of(side), handle) else { return STATUS_INVALID_PARAMETER };
        if let Some(status) = self.platform.fault(function) {
            return status;
        }
        let thread = self.platform.thread();
        let start = self.shard(key).with(|shard| {
            let inside = shard.bindings_of(key).into_iter().find_map(|key| {
                let mut running = shard.bindings.get(key)?.running.into_iter().flatten();
                running.rfind(|(_, running)| *running == thread).map(|(callback, _)| callback)
            });
            let changed = self.changed(shard, key, None);
            let registration = shard.registrations.get_mut(key)?;
            let (module, second) = (registration.module, registration.waiters > 0);
            let deregistering = registration.deregistering.is_some();
            if deregistering && inside.is_none() {
                registration.waiters += 1;
            }
            // Mostly there is nothing left to wait for. Then it is deregistering, and has no binding to be inside of.
            let over = shard.leave_if_drained(key);
            Some((module, changed, deregistering, inside, second, over))
        });
        let Some((module, changed, deregistering, inside, second, over)) = start else {
            return self.stale(function, 66, handle);
        };
        let broken = |rule, tolerated, found, expected| {
            self.report_violation(tolerated, || Violation {
                rule,
                place,
                module: Some(self.describe(&module, Some(key))),
                binding: None,
                found,
                expected,
            });
        };
        self.report_breach(place, changed);
        if !deregistering {
            let found = Cow::Borrowed("the registration has not been deregistered");
            broken(62, false, found, "NmrDeregister* before the wait");
            return STATUS_INVALID_PARAMETER;
        }
        if let Some(callback) = inside {
            let found = Cow::Owned(format!(
                "this thread is inside {} of the registration that it waits for: the wait could never end",
                callback.name()
            ));
            broken(74, false, found, "the wait on a thread that is in no callback of the registration");
            return STATUS_INVALID_PARAMETER;
        }
        if second {
            broken(66, true, Cow::Borrowed("another thread already waits for this registration"), "one wait");
        }
        if !over {
            self.wait_until_drained(key, &module);
        }
        STATUS_SUCCESS
    }

    fn wait_until_drained(&self, key: Key, module: &Registered) {
        let mut began = None;
        loop {
            let event = self.shard(key).with(|shard| {
                if shard.leave_if_drained(key) {
                    return None;
                }
                let registration = shard.registrations.get_mut(key)?;
                Some(registration.drained.get_or_insert_with(|| Arc::new(P::Event::new())).clone())
            });
            let Some(event) = event else { return };
            let began = *began.get_or_insert_with(|| self.platform.now());
            let limit = match self.slow_wait.load(Ordering::Relaxed) {
                0 => None,
                millis => Some(Duration::from_millis(millis)),
            };
            if !event.wait(limit) {
                let now = self.platform.now();
                let bindings = self.shard(key).with(|shard| {
                    let keys = shard.bindings_of(key).into_iter();
                    keys.filter_map(|key| Some(describe_binding(key, shard.bindings.get(key)?, now))).collect()
                });
                let wait =
                    SlowWait { module: self.describe(module, Some(key)), waited: now.saturating_sub(began), bindings };
                self.platform.slow_wait(&wait);
            }
        }
    }
}
