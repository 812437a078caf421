//! What is alive: reports of it, and its end without a deregistration.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::Registrar;
use super::violations::UNLOADED_AFTERWARDS;
use crate::handle::Key;
use crate::platform::{Event, Lock, Platform};
use crate::report::Report;
use crate::tables::describe_binding;
use crate::violation::{Place, Violation};

impl<P: Platform> Registrar<P> {
    /// Everything that is alive.
    pub fn report(&self) -> Report {
        let now = self.platform.now();
        let mut report = Report::default();
        for shard in &self.shards {
            let registrations: Vec<_> = shard.with(|shard| {
                report.bindings.extend(shard.binding_keys().map(|(key, binding)| describe_binding(key, binding, now)));
                let registrations = shard.registration_keys();
                registrations.map(|(key, entry)| (entry.module.attach_address(), entry.describe(key, now))).collect()
            });
            // The platform is asked for names without the lock.
            report.registrations.extend(registrations.into_iter().map(|(address, mut registration)| {
                registration.module.image = self.platform.image(address);
                registration
            }));
        }
        report
    }

    /// An image has been unloaded: none of its callbacks is called any more. Each registration that it leaves behind is
    /// a violation of R65. Returns how many there are.
    pub fn image_unloaded(&self, image: Range<usize>) -> usize {
        let mut left = Vec::new();
        for shard in &self.shards {
            shard.with(|shard| {
                let keys: Vec<Key> = shard
                    .registration_keys()
                    .filter(|(_, r)| !r.image_gone && r.module.callbacks().any(|callback| image.contains(&callback)))
                    .map(|(key, _)| key)
                    .collect();
                for key in keys {
                    if let Some(registration) = shard.registrations.get_mut(key) {
                        registration.image_gone = true;
                        left.push((key, registration.module));
                    }
                }
            });
        }
        for (key, module) in &left {
            self.report_violation(false, || Violation {
                rule: 65,
                place: Place::ImageUnload,
                module: Some(self.describe(module, Some(*key))),
                binding: None,
                found: Cow::Borrowed("the image was unloaded while one of its registrations was alive"),
                expected: UNLOADED_AFTERWARDS,
            });
        }
        left.len()
    }

    /// Forgets everything: what is alive is dropped without any callback, and waits return. For the end of a test.
    pub fn purge(&self) {
        for shard in &self.shards {
            let events: Vec<Arc<P::Event>> = shard.with(|shard| {
                let bindings: Vec<Key> = shard.binding_keys().map(|(key, _)| key).collect();
                bindings.into_iter().for_each(|key| drop(shard.remove_binding(key)));
                let registrations: Vec<Key> = shard.registration_keys().map(|(key, _)| key).collect();
                let events =
                    registrations.iter().filter_map(|key| shard.registrations.get_mut(*key)?.drained.take()).collect();
                registrations.into_iter().for_each(|key| shard.remove_registration(key));
                events
            });
            events.iter().for_each(|event| event.set());
        }
    }
}
