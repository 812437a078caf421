//! The Complete functions and the cleanup callbacks.

use wdk_nmr_sys::HANDLE;

use super::violations::accuse;
use super::{Registrar, set_all};
use crate::handle::{self, Key, Kind};
use crate::life::{Life, Progress, Side};
use crate::platform::{DISPATCH_LEVEL, Lock, Platform};
use crate::violation::{Callback, Function, Place};

impl<P: Platform> Registrar<P> {
    /// `NmrClientDetachProviderComplete`
    pub fn client_detach_provider_complete(&self, handle: HANDLE) {
        self.complete(Function::ClientDetachProviderComplete, Side::Client, handle);
    }

    /// `NmrProviderDetachClientComplete`
    pub fn provider_detach_client_complete(&self, handle: HANDLE) {
        self.complete(Function::ProviderDetachClientComplete, Side::Provider, handle);
    }

    fn complete(&self, function: Function, side: Side, handle: HANDLE) {
        let place = Place::Function(function);
        self.enter(function, 54, DISPATCH_LEVEL, "DISPATCH_LEVEL or below");
        let Some(key) = self.key(function, Kind::Binding, handle) else { return };
        let found = self.shard(key).with(|shard| {
            let binding = shard.bindings.get_mut(key)?;
            let (progress, breach) = binding.life.completed(side);
            let in_progress = binding.calls(side).completed();
            Some((progress, accuse(shard, key, side, breach.or(in_progress))))
        });
        let Some((progress, breach)) = found else {
            self.stale(function, 45, handle);
            return;
        };
        self.report_breach(place, breach);
        if progress == Progress::Detached {
            // R53: inside this call, so that a module that touches the binding afterwards is found out.
            if !self.platform.delays_cleanup(function, handle.addr()) {
                self.cleanup_somewhere(key);
            }
        }
    }

    /// Runs the cleanup callbacks that [`Platform::delays_cleanup`] has put off.
    pub fn clean_up(&self, binding: HANDLE) {
        if let Ok((Kind::Binding, key)) = handle::decode(binding) {
            self.cleanup(key);
        }
    }

    /// Runs the cleanup callbacks on this thread or, in a random order, perhaps on another one (R56).
    pub(super) fn cleanup_somewhere(&self, key: Key) {
        if self.order.flip() {
            self.platform.elsewhere(&mut || self.cleanup(key));
        } else {
            self.cleanup(key);
        }
    }

    /// Runs the cleanup callbacks of a binding that has detached, and removes it.
    fn cleanup(&self, key: Key) {
        let thread = self.platform.thread();
        let mut sides = [Side::Client, Side::Provider];
        self.order.arrange(&mut sides);
        let mut returned = None;
        for side in sides {
            let callback = Callback::cleanup(side);
            let call = self.shard(key).with(|shard| {
                let binding = shard.bindings.get_mut(key)?;
                if let Some(callback) = returned.take() {
                    binding.stops_running(callback, thread);
                }
                let owed = side == Side::Provider || binding.life == (Life::Detached { client_cleanup: true });
                let registration = binding.registration(side);
                // No callback runs for a side without one, so nothing is shown as running either.
                let has_one = shard.registrations.get(registration)?.module.callbacks.cleanup.is_some();
                if owed && has_one { self.start(shard, key, callback, thread) } else { None }
            });
            let Some(call) = call else { continue };
            self.call(&call, callback, (), || {
                if let Some(cleanup) = call.module.cleanup {
                    // SAFETY: the module registered this callback; the context is the one that it attached with.
                    unsafe { cleanup(call.context.0) }
                }
            });
            returned = Some(callback);
        }
        let wake = self.shard(key).with(|shard| shard.remove_binding(key));
        set_all(wake);
    }
}
