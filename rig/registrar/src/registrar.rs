//! The nine functions.
//!
//! Every function has the same shape: check what the caller may not do, change the tables under the lock, call back
//! without it, change the tables again. No lock is held while foreign code runs (R60).

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ops::Range;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use wdk_nmr_sys::{
    HANDLE, NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE, NPIID,
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE, STATUS_PENDING,
    STATUS_SUCCESS,
};

use crate::handle::{self, Key, Kind, NoHandle};
use crate::life::{Breach, Life, Outcome, Progress, Side};
use crate::module::{AttachFn, Characteristics, Opaque, Registered, Source};
use crate::order::Order;
use crate::platform::{DISPATCH_LEVEL, Event, Lock, PASSIVE_LEVEL, PausePoint, Platform, When};
use crate::report::{Report, SlowWait};
use crate::tables::{Binding, Shard, describe_binding, registration_handle};
use crate::violation::{Callback, Function, Module, Place, Violation};

/// How many violations are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Every one.
    Strict,
    /// All but those that Windows is known to put up with (R12, R48, R49, a second NmrDeregister*).
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

/// What the registrar needs to call one callback of one side of a binding.
struct Call {
    key: Key,
    registration: Key,
    module: Registered,
    context: Opaque,
    image_gone: bool,
}

/// What became of a call of NmrClientAttachProvider before the provider was asked.
enum Proposal {
    Made { client: Call, call: Call, own_thread: bool },
    Failed(NTSTATUS),
    Stale,
    Broken(Breach, Call),
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

    /// Chooses the order of everything that the contract leaves open (R37, R56): drawn from a seed, or fixed, which is
    /// client before provider and older before newer.
    pub fn set_order(&self, seed: Option<u64>) {
        self.order.set(seed);
    }

    /// How long a wait may last before [`Platform::slow_wait`] is told whom it waits for. `None`: for ever.
    pub fn set_slow_wait(&self, limit: Option<Duration>) {
        let millis = limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1));
        self.slow_wait.store(millis, Ordering::Relaxed);
    }

    /// `NmrRegisterClient`
    ///
    /// # Safety
    /// `characteristics` is NULL or readable together with all that it points to, until the wait for the end of the
    /// registration has returned. `out` is NULL or writable.
    pub unsafe fn register_client(
        &self,
        characteristics: *const NPI_CLIENT_CHARACTERISTICS,
        context: *mut c_void,
        out: *mut HANDLE,
    ) -> NTSTATUS {
        // SAFETY: passed on from the caller.
        unsafe { self.register(Function::RegisterClient, Source::Client(characteristics), Opaque(context), out) }
    }

    /// `NmrRegisterProvider`
    ///
    /// # Safety
    /// As for [`Self::register_client`].
    pub unsafe fn register_provider(
        &self,
        characteristics: *const NPI_PROVIDER_CHARACTERISTICS,
        context: *mut c_void,
        out: *mut HANDLE,
    ) -> NTSTATUS {
        // SAFETY: passed on from the caller.
        unsafe { self.register(Function::RegisterProvider, Source::Provider(characteristics), Opaque(context), out) }
    }

    /// `NmrDeregisterClient`
    pub fn deregister_client(&self, handle: HANDLE) -> NTSTATUS {
        self.deregister(Function::DeregisterClient, Side::Client, handle)
    }

    /// `NmrDeregisterProvider`
    pub fn deregister_provider(&self, handle: HANDLE) -> NTSTATUS {
        self.deregister(Function::DeregisterProvider, Side::Provider, handle)
    }

    /// `NmrWaitForClientDeregisterComplete`
    pub fn wait_for_client_deregister_complete(&self, handle: HANDLE) -> NTSTATUS {
        self.wait(Function::WaitForClientDeregisterComplete, Side::Client, handle)
    }

    /// `NmrWaitForProviderDeregisterComplete`
    pub fn wait_for_provider_deregister_complete(&self, handle: HANDLE) -> NTSTATUS {
        self.wait(Function::WaitForProviderDeregisterComplete, Side::Provider, handle)
    }

    /// `NmrClientDetachProviderComplete`
    pub fn client_detach_provider_complete(&self, handle: HANDLE) {
        self.complete(Function::ClientDetachProviderComplete, Side::Client, handle);
    }

    /// `NmrProviderDetachClientComplete`
    pub fn provider_detach_client_complete(&self, handle: HANDLE) {
        self.complete(Function::ProviderDetachClientComplete, Side::Provider, handle);
    }

    /// # Safety
    /// As for [`Self::register_client`].
    unsafe fn register(&self, function: Function, source: Source, context: Opaque, out: *mut HANDLE) -> NTSTATUS {
        let place = Place::Function(function);
        self.check_irql(place, 15, PASSIVE_LEVEL, "PASSIVE_LEVEL");
        if !out.is_null() {
            // The handle means nothing before the function has returned STATUS_SUCCESS (R7, R9).
            // SAFETY: the caller says that it is writable if it is not NULL.
            unsafe { out.write(handle::poison()) };
        }
        if let Some(status) = self.platform.fault(function) {
            return status;
        }
        if out.is_null() {
            return self.refuse(place, 9, "the pointer for the handle is NULL", "a pointer to a HANDLE");
        }
        // SAFETY: passed on from the caller.
        let module = match unsafe { self.read_module(place, source, context) } {
            Ok(module) => module,
            Err(status) => return status,
        };
        let shard = shard_of(&module.npi);
        let now = self.platform.now();
        let Some((key, mut peers)) = self.shards[shard].with(|shard| shard.register(module, now)) else {
            return STATUS_INSUFFICIENT_RESOURCES;
        };
        self.order.arrange(&mut peers);
        for peer in peers {
            match module.side() {
                Side::Client => self.offer(key, peer, now),
                Side::Provider => self.offer(peer, key, now),
            }
        }
        // SAFETY: it is not NULL, and the caller says that it is writable then.
        unsafe { out.write(registration_handle(module.side(), key)) };
        STATUS_SUCCESS
    }

    /// Checks what a module registers (R12) and notes what has to stay as it is (R10).
    ///
    /// # Safety
    /// As for [`Self::register_client`].
    unsafe fn read_module(&self, place: Place, source: Source, context: Opaque) -> Result<Registered, NTSTATUS> {
        if source.address() == 0 || !source.is_aligned() {
            let found = "the pointer to the characteristics is NULL or misaligned";
            return Err(self.refuse(place, 10, found, "the module's characteristics"));
        }
        // SAFETY: the caller says that it is readable.
        let c = unsafe { source.read() };
        let Characteristics { attach: Some(attach), detach: Some(detach), .. } = c else {
            let found = "the attach or detach callback is NULL";
            return Err(self.refuse(place, 12, found, "both; only the cleanup callback may be NULL"));
        };
        if c.instance.NpiId.is_null() || !c.instance.NpiId.is_aligned() {
            return Err(self.refuse(place, 12, "NpiId is NULL or misaligned", "a pointer to the NPIID"));
        }
        // SAFETY: the caller says that all that the characteristics point to is readable.
        let module = unsafe { Registered::new(source, context, &c, attach, detach) };
        // SAFETY: as above.
        for (field, value, expected) in unsafe { wrong_fields(&c) } {
            let found = Cow::Owned(format!("{field} is {value}, not {expected}"));
            self.report_violation(true, || Violation {
                rule: 12,
                place,
                module: Some(self.describe(&module, None)),
                binding: None,
                found,
                expected: "version 0 and the structure's own size in all three places, and a module id",
            });
        }
        Ok(module)
    }

    /// Offers a provider to a client (R17) and follows the attachment to its end.
    fn offer(&self, client: Key, provider: Key, now: Duration) {
        const CALLBACK: Callback = Callback::ClientAttachProvider;
        let thread = self.platform.thread();
        let offered = self.shard(client).with(|shard| {
            let key = shard.offer(client, provider, thread, now)?;
            Some((start(shard, key, CALLBACK, thread)?, shard.registrations.get(provider)?.module))
        });
        let Some((call, provider_module)) = offered else { return };
        let key = call.key;
        self.verify(provider, &provider_module, Place::Callback(CALLBACK));
        let status = self.call(&call, CALLBACK, STATUS_NOINTERFACE, || match call.module.attach {
            AttachFn::Client(attach) => {
                let handle = handle::encode(Kind::Binding, key);
                // SAFETY: the module registered this callback; it gets its own context and its peer's instance.
                unsafe { attach(handle, call.module.context.0, provider_module.source.instance()) }
            }
            AttachFn::Provider(_) => STATUS_NOINTERFACE,
        });
        let (outcome, breach, wake) = self.shard(key).with(|shard| {
            let ending = shard.bindings.get(key).is_some_and(|binding| shard.is_ending(binding));
            let Some(binding) = shard.bindings.get_mut(key) else { return (Outcome::Rejected, None, [None, None]) };
            binding.stops_running(CALLBACK, thread);
            let (outcome, breach) = binding.life.client_answered(status, ending);
            let wake = if outcome == Outcome::Rejected { shard.remove_binding(key) } else { [None, None] };
            (outcome, breach, wake)
        });
        self.report_breach(breach, Place::Callback(CALLBACK), &call);
        set_all(wake);
        match outcome {
            Outcome::Attached | Outcome::Rejected => {}
            // R40: on the attaching thread, right after the callback has returned.
            Outcome::Detach => {
                let mut sides = [Side::Client, Side::Provider];
                self.order.arrange(&mut sides);
                self.late_detach(key, &sides);
            }
            Outcome::DetachProvider => self.late_detach(key, &[Side::Provider]),
        }
    }

    fn late_detach(&self, key: Key, sides: &[Side]) {
        let now = self.platform.now();
        self.shard(key).with(|shard| {
            if let Some(binding) = shard.bindings.get_mut(key) {
                binding.since = now;
            }
        });
        sides.iter().for_each(|side| self.detach(key, *side));
    }

    /// `NmrClientAttachProvider`
    ///
    /// # Safety
    /// The two out parameters are NULL or writable.
    pub unsafe fn client_attach_provider(
        &self,
        handle: HANDLE,
        client_context: *mut c_void,
        client_dispatch: *const c_void,
        provider_context: *mut *mut c_void,
        provider_dispatch: *mut *const c_void,
    ) -> NTSTATUS {
        const FUNCTION: Function = Function::ClientAttachProvider;
        const CALLBACK: Callback = Callback::ProviderAttachClient;
        let place = Place::Function(FUNCTION);
        self.check_irql(place, 15, PASSIVE_LEVEL, "PASSIVE_LEVEL");
        if !provider_context.is_null() {
            // Without success they mean nothing (R22).
            // SAFETY: the caller says that it is writable if it is not NULL.
            unsafe { provider_context.write(handle::poison()) };
        }
        if !provider_dispatch.is_null() {
            // SAFETY: as above.
            unsafe { provider_dispatch.write(handle::poison::<c_void>()) };
        }
        let Some(key) = self.key(FUNCTION, Kind::Binding, handle) else { return STATUS_INVALID_PARAMETER };
        if provider_context.is_null() || provider_dispatch.is_null() {
            return self.refuse(place, 21, "a pointer for the provider's context or dispatch is NULL", "two pointers");
        }

        let thread = self.platform.thread();
        let client_context = Opaque(client_context);
        let fault = self.platform.fault(FUNCTION);
        let proposal = self.shard(key).with(|shard| {
            let Some(client) = call_data(shard, key, Side::Client) else { return Proposal::Stale };
            let Some(binding) = shard.bindings.get_mut(key) else { return Proposal::Stale };
            let own_thread = binding.offering == thread;
            if let Err(breach) = binding.life.propose() {
                return Proposal::Broken(breach, client);
            }
            if let Some(status) = fault {
                binding.life.proposal_failed(status);
                return Proposal::Failed(status);
            }
            binding.client_context = client_context;
            match start(shard, key, CALLBACK, thread) {
                Some(call) => Proposal::Made { client, call, own_thread },
                None => Proposal::Stale,
            }
        });
        let (client, call, own_thread) = match proposal {
            Proposal::Made { client, call, own_thread } => (client, call, own_thread),
            Proposal::Failed(status) => return status,
            Proposal::Stale => return self.stale(FUNCTION, 19, handle),
            Proposal::Broken(breach, client) => {
                self.report_breach(Some(breach), place, &client);
                return STATUS_INVALID_PARAMETER;
            }
        };
        if !own_thread {
            let breach = Breach {
                rule: 19,
                tolerated: false,
                found: "NmrClientAttachProvider was called on another thread than the one in ClientAttachProvider",
                expected: "the callback itself to call it",
            };
            self.report_breach(Some(breach), place, &client);
        }

        self.verify(client.registration, &client.module, Place::Callback(CALLBACK));
        // The provider never writes into the binding or the client's variables: what a failing one leaves there has no
        // meaning (R22). The poison shows what it has not set.
        let mut context: *mut c_void = handle::poison();
        let mut dispatch: *const c_void = handle::poison::<c_void>();
        let context_out: *mut *mut c_void = &raw mut context;
        let dispatch_out: *mut *const c_void = &raw mut dispatch;
        let status = self.call(&call, CALLBACK, STATUS_NOINTERFACE, || match call.module.attach {
            AttachFn::Provider(attach) => {
                let instance = client.module.source.instance();
                // SAFETY: the module registered this callback; it gets its own context, its peer's instance, context
                // and dispatch table, and two variables to write to.
                unsafe {
                    attach(
                        handle,
                        call.module.context.0,
                        instance,
                        client_context.0,
                        client_dispatch,
                        context_out,
                        dispatch_out,
                    )
                }
            }
            AttachFn::Client(_) => STATUS_NOINTERFACE,
        });
        let mut unset = false;
        if status == STATUS_SUCCESS {
            if context == handle::poison() {
                (context, unset) = (null_mut(), true);
            }
            if dispatch == handle::poison::<c_void>().cast_const() {
                (dispatch, unset) = (core::ptr::null(), true);
            }
        }
        let breach = self.shard(key).with(|shard| {
            let binding = shard.bindings.get_mut(key)?;
            binding.stops_running(CALLBACK, thread);
            binding.provider_context = Opaque(context);
            if binding.life == Life::Proposed { binding.life.provider_answered(status) } else { None }
        });
        self.report_breach(breach, Place::Callback(CALLBACK), &call);
        if unset {
            let breach = Breach {
                rule: 21,
                tolerated: false,
                found: "ProviderAttachClient returned STATUS_SUCCESS without setting both out parameters",
                expected: "both set before STATUS_SUCCESS is returned",
            };
            self.report_breach(Some(breach), Place::Callback(CALLBACK), &call);
        }
        if status == STATUS_SUCCESS {
            // SAFETY: it is not NULL, and the caller says that it is writable then.
            unsafe { provider_context.write(context) };
            // SAFETY: as above.
            unsafe { provider_dispatch.write(dispatch) };
        }
        status
    }

    fn deregister(&self, function: Function, side: Side, handle: HANDLE) -> NTSTATUS {
        let place = Place::Function(function);
        self.check_irql(place, 38, DISPATCH_LEVEL, "DISPATCH_LEVEL or below");
        let Some(key) = self.key(function, kind_of(side), handle) else { return STATUS_INVALID_PARAMETER };
        if let Some(status) = self.platform.fault(function) {
            return status;
        }
        let module = self.shard(key).with(|shard| Some(shard.registrations.get(key)?.module));
        let Some(module) = module else { return self.stale(function, 66, handle) };
        // Before it is marked: from then on another thread may wait, and free the structure.
        self.verify(key, &module, place);
        let now = self.platform.now();
        let detaches = self.shard(key).with(|shard| {
            let bindings = shard.deregister(key, now)?;
            let mut detaches = Vec::with_capacity(bindings.len() * 2);
            for key in bindings {
                if let Some(binding) = shard.bindings.get_mut(key)
                    && binding.life.deregister()
                {
                    binding.since = now;
                    detaches.push((key, Side::Client));
                    detaches.push((key, Side::Provider));
                }
            }
            Some(detaches)
        });
        let Some(mut detaches) = detaches else {
            self.report_violation(true, || Violation {
                rule: 66,
                place,
                module: Some(self.describe(&module, Some(key))),
                binding: None,
                found: Cow::Borrowed("the registration was already being deregistered"),
                expected: "one call for each registration",
            });
            return STATUS_PENDING;
        };
        self.order.arrange(&mut detaches);
        detaches.into_iter().for_each(|(key, side)| self.detach(key, side));
        // R61: also when nothing is left to wait for.
        STATUS_PENDING
    }

    /// Calls the detach callback of one side.
    fn detach(&self, key: Key, side: Side) {
        let callback = Callback::detach(side);
        let thread = self.platform.thread();
        let call = self.shard(key).with(|shard| {
            let binding = shard.bindings.get_mut(key)?;
            binding.life.detach_called(side);
            start(shard, key, callback, thread)
        });
        let Some(call) = call else { return };
        let status = self.call(&call, callback, STATUS_SUCCESS, || {
            // SAFETY: the module registered this callback; the context is the one that it attached with.
            unsafe { (call.module.detach)(call.context.0) }
        });
        let (progress, breach) = self.shard(key).with(|shard| {
            let Some(binding) = shard.bindings.get_mut(key) else { return (Progress::Open, None) };
            binding.stops_running(callback, thread);
            binding.life.detach_returned(side, status)
        });
        self.report_breach(breach, Place::Callback(callback), &call);
        if progress == Progress::Detached {
            self.cleanup_somewhere(key);
        }
    }

    fn complete(&self, function: Function, side: Side, handle: HANDLE) {
        let place = Place::Function(function);
        self.check_irql(place, 54, DISPATCH_LEVEL, "DISPATCH_LEVEL or below");
        let Some(key) = self.key(function, Kind::Binding, handle) else { return };
        let found = self.shard(key).with(|shard| {
            let binding = shard.bindings.get_mut(key)?;
            let (progress, breach) = binding.life.completed(side);
            let call = breach.and_then(|_| call_data(shard, key, side));
            Some((progress, breach, call))
        });
        let Some((progress, breach, call)) = found else {
            self.stale(function, 45, handle);
            return;
        };
        if let Some(call) = call {
            self.report_breach(breach, place, &call);
        }
        if progress == Progress::Detached {
            // R53: inside this call, so that a module that touches the binding afterwards is found out.
            self.cleanup_somewhere(key);
        }
    }

    /// Runs the cleanup callbacks on this thread or, in a random order, perhaps on another one (R56).
    fn cleanup_somewhere(&self, key: Key) {
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
        for side in sides {
            let callback = Callback::cleanup(side);
            let call = self.shard(key).with(|shard| {
                let binding = shard.bindings.get(key)?;
                let owed = side == Side::Provider || binding.life == (Life::Detached { client_cleanup: true });
                let call = call_data(shard, key, side)?;
                // No callback runs for a side without one, so nothing is shown as running either.
                if owed && call.module.cleanup.is_some() { start(shard, key, callback, thread) } else { None }
            });
            let Some(call) = call else { continue };
            self.call(&call, callback, (), || {
                if let Some(cleanup) = call.module.cleanup {
                    // SAFETY: the module registered this callback; the context is the one that it attached with.
                    unsafe { cleanup(call.context.0) }
                }
            });
            self.shard(key).with(|shard| {
                if let Some(binding) = shard.bindings.get_mut(key) {
                    binding.stops_running(callback, thread);
                }
            });
        }
        let wake = self.shard(key).with(|shard| shard.remove_binding(key));
        set_all(wake);
    }

    fn wait(&self, function: Function, side: Side, handle: HANDLE) -> NTSTATUS {
        let place = Place::Function(function);
        self.check_irql(place, 64, DISPATCH_LEVEL - 1, "below DISPATCH_LEVEL");
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
            let registration = shard.registrations.get_mut(key)?;
            let (deregistering, second) = (registration.deregistering.is_some(), registration.waiters > 0);
            if deregistering && inside.is_none() {
                registration.waiters += 1;
            }
            Some((registration.module, deregistering, inside, second))
        });
        let Some((module, deregistering, inside, second)) = start else { return self.stale(function, 66, handle) };
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
        self.verify(key, &module, place);
        if !deregistering {
            let found = Cow::Borrowed("the registration has not been deregistered");
            broken(62, false, found, "NmrDeregister* before the wait");
            return STATUS_INVALID_PARAMETER;
        }
        if let Some(callback) = inside {
            let found = Cow::Owned(format!(
                "this thread is inside {}, for a binding of the registration that it waits for: the wait could never end",
                callback.name()
            ));
            broken(74, false, found, "the wait on a thread that is in no callback of the registration");
            return STATUS_INVALID_PARAMETER;
        }
        if second {
            broken(66, true, Cow::Borrowed("another thread already waits for this registration"), "one wait");
        }
        self.wait_until_drained(key, &module);
        STATUS_SUCCESS
    }

    fn wait_until_drained(&self, key: Key, module: &Registered) {
        let mut began = None;
        loop {
            let event = self.shard(key).with(|shard| {
                let registration = shard.registrations.get_mut(key)?;
                if !registration.is_drained() {
                    return Some(registration.drained.get_or_insert_with(|| Arc::new(P::Event::new())).clone());
                }
                registration.waiters -= 1;
                if registration.waiters == 0 {
                    shard.remove_registration(key);
                }
                None
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
                expected: "NmrDeregister* and the wait for its end before the image goes away",
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

    /// Calls a callback between its two pause points; `skipped` is taken for its result if its image is gone.
    fn call<R>(&self, call: &Call, callback: Callback, skipped: R, f: impl FnOnce() -> R) -> R {
        let point = |when| PausePoint {
            callback,
            when,
            binding: handle::encode(Kind::Binding, call.key).addr(),
            registration: registration_handle(call.module.side(), call.registration).addr(),
        };
        let place = Place::Callback(callback);
        self.platform.pause(&point(When::Before));
        if call.image_gone {
            let breach = Breach {
                rule: 65,
                tolerated: false,
                found: "the callback lies in an image that has been unloaded; it was not called",
                expected: "NmrDeregister* and the wait for its end before the image goes away",
            };
            self.report_breach(Some(breach), place, call);
            return skipped;
        }
        self.verify(call.registration, &call.module, place);
        let before = self.platform.irql();
        let result = f();
        let after = self.platform.irql();
        if after != before {
            self.report_violation(false, || Violation {
                rule: 38,
                place,
                module: Some(self.describe(&call.module, Some(call.registration))),
                binding: Some(handle::encode(Kind::Binding, call.key).addr()),
                found: Cow::Owned(format!("the callback was called at IRQL {before} and returned at IRQL {after}")),
                expected: "the same IRQL before and after",
            });
            self.platform.restore_irql(before);
        }
        self.platform.pause(&point(When::After));
        result
    }

    /// Reports a structure that has changed since it was registered, once (R10).
    fn verify(&self, key: Key, module: &Registered, place: Place) {
        if module.is_unchanged(&self.platform) {
            return;
        }
        let first = self.shard(key).with(|shard| {
            shard.registrations.get_mut(key).is_some_and(|r| !core::mem::replace(&mut r.change_reported, true))
        });
        if first {
            self.report_violation(false, || Violation {
                rule: 10,
                place,
                module: Some(self.describe(module, Some(key))),
                binding: None,
                found: Cow::Borrowed("the characteristics, NPIID or module id changed or went away while registered"),
                expected: "all of it valid, unmoved and unchanged until the wait for the end of the registration returns",
            });
        }
    }

    fn shard(&self, key: Key) -> &P::Lock<Shard<P::Event>> {
        &self.shards[usize::from(key.shard)]
    }

    /// Takes a handle apart, or reports why it is none of that kind.
    fn key(&self, function: Function, kind: Kind, handle: HANDLE) -> Option<Key> {
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
    fn stale(&self, function: Function, rule: u8, handle: HANDLE) -> NTSTATUS {
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
    fn refuse(&self, place: Place, rule: u8, found: &'static str, expected: &'static str) -> NTSTATUS {
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

    fn check_irql(&self, place: Place, rule: u8, highest: u8, expected: &'static str) {
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

    fn report_breach(&self, breach: Option<Breach>, place: Place, call: &Call) {
        let Some(Breach { rule, tolerated, found, expected }) = breach else { return };
        self.report_violation(tolerated, || Violation {
            rule,
            place,
            module: Some(self.describe(&call.module, Some(call.registration))),
            binding: Some(handle::encode(Kind::Binding, call.key).addr()),
            found: Cow::Borrowed(found),
            expected,
        });
    }

    fn report_violation(&self, tolerated: bool, violation: impl FnOnce() -> Violation) {
        if !(tolerated && self.lenient.load(Ordering::Relaxed)) {
            self.platform.violation(&violation());
        }
    }

    fn describe(&self, module: &Registered, key: Option<Key>) -> Module {
        let registration = key.map_or(0, |key| registration_handle(module.side(), key).addr());
        Module { image: self.platform.image(module.attach_address()), ..module.describe(registration) }
    }
}

fn kind_of(side: Side) -> Kind {
    match side {
        Side::Client => Kind::Client,
        Side::Provider => Kind::Provider,
    }
}

/// The shard of an interface. NPIIDs are random numbers, or counted upwards in one of their fields.
fn shard_of(npi: &NPIID) -> usize {
    let low = u64::from_le_bytes(npi.Data4);
    let high = u64::from(npi.Data1) << 32 | u64::from(npi.Data2) << 16 | u64::from(npi.Data3);
    let mixed = (high ^ low.rotate_left(31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 58) as usize % handle::MAX_SHARDS
}

fn set_all<E: Event>(events: [Option<Arc<E>>; 2]) {
    events.into_iter().flatten().for_each(|event| event.set());
}

/// What is known about one side of a binding.
fn call_data<E>(shard: &Shard<E>, key: Key, side: Side) -> Option<Call> {
    let binding: &Binding = shard.bindings.get(key)?;
    let registration = binding.registration(side);
    let entry = shard.registrations.get(registration)?;
    let context = binding.context(side);
    Some(Call { key, registration, module: entry.module, context, image_gone: entry.image_gone })
}

/// Notes that a callback begins to run, and hands out what is needed to call it.
fn start<E>(shard: &mut Shard<E>, key: Key, callback: Callback, thread: u64) -> Option<Call> {
    let call = call_data(shard, key, callback.side())?;
    shard.bindings.get_mut(key)?.starts_running(callback, thread);
    Some(call)
}

/// The fields that should have another value (R12), with what they have and what they should have.
///
/// # Safety
/// All that `c` points to is readable.
unsafe fn wrong_fields(c: &Characteristics) -> Vec<(&'static str, String, usize)> {
    let NPI_REGISTRATION_INSTANCE { Version, Size, ModuleId, .. } = c.instance;
    let mut fields = Vec::new();
    let mut expect = |name, value: usize, expected: usize| {
        if value != expected {
            fields.push((name, format!("{value}"), expected));
        }
    };
    expect("Version of the characteristics", c.version.into(), 0);
    expect("Length of the characteristics", c.length.into(), c.expected_length.into());
    expect("Version of the registration instance", Version.into(), 0);
    expect("Size of the registration instance", Size.into(), size_of::<NPI_REGISTRATION_INSTANCE>());
    if ModuleId.is_null() || !ModuleId.is_aligned() {
        fields.push(("ModuleId", String::from("NULL or misaligned"), size_of::<NPI_MODULEID>()));
    } else {
        // SAFETY: it is neither NULL nor misaligned, and the caller says that it is readable then.
        let id = unsafe { ModuleId.read() };
        let mut expect = |name, value: usize, expected: usize| {
            if value != expected {
                fields.push((name, format!("{value}"), expected));
            }
        };
        expect("Length of the module id", id.Length.into(), size_of::<NPI_MODULEID>());
    }
    fields
}
