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

use crate::calls::{self, Calls};
use crate::handle::{self, Key, Kind, NoHandle};
use crate::life::{Breach, Life, Outcome, Progress, Side};
use crate::module::{AttachFn, Callbacks, Characteristics, Opaque, Registered, Source};
use crate::order::Order;
use crate::platform::{DISPATCH_LEVEL, Event, Lock, PASSIVE_LEVEL, PausePoint, Platform, When};
use crate::report::{Report, SlowWait};
use crate::tables::{Shard, describe_binding, registration_handle};
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
    module: Callbacks,
    context: Opaque,
    image_gone: bool,
    /// The module's structure has been found to have changed (R10).
    changed: bool,
}

/// A breach, who is to blame, and for which binding if it is about one. Boxed, since there is hardly ever one.
struct Accusation {
    breach: Breach,
    found: Cow<'static, str>,
    module: Registered,
    registration: Key,
    binding: Option<Key>,
}

type Accused = Option<Box<Accusation>>;

impl Accusation {
    fn new(breach: Breach, module: Registered, registration: Key, binding: Option<Key>) -> Self {
        Self { breach, found: Cow::Borrowed(breach.found), module, registration, binding }
    }
}

/// What became of a call of NmrClientAttachProvider before the provider was asked.
enum Proposal {
    Made { client: *const NPI_REGISTRATION_INSTANCE, changed: Accused, stray: Accused, call: Call },
    Failed(NTSTATUS),
    Stale,
    Broken(Accused),
}

const STRAY: Breach = Breach {
    rule: 19,
    tolerated: false,
    found: "NmrClientAttachProvider was called on another thread than the one in ClientAttachProvider",
    expected: "the callback itself to call it",
};
const UNSET: Breach = Breach {
    rule: 21,
    tolerated: false,
    found: "ProviderAttachClient returned STATUS_SUCCESS without setting both out parameters",
    expected: "both set before STATUS_SUCCESS is returned",
};
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
const UNLOADED_AFTERWARDS: &str = "NmrDeregister* and the wait for its end before the image goes away";

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
        self.enter(function, 15, PASSIVE_LEVEL, "PASSIVE_LEVEL");
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
            let call = self.start(shard, key, CALLBACK, thread)?;
            let peer = shard.registrations.get_mut(provider)?;
            let instance = peer.module.callbacks.source.instance();
            Some((call, instance, self.changed(shard, provider, Some(key))))
        });
        let Some((call, provider_instance, changed)) = offered else { return };
        let key = call.key;
        self.report_breach(Place::Callback(CALLBACK), changed);
        let status = self.call(&call, CALLBACK, STATUS_NOINTERFACE, || match call.module.attach {
            AttachFn::Client(attach) => {
                let handle = handle::encode(Kind::Binding, key);
                // SAFETY: the module registered this callback; it gets its own context and its peer's instance.
                unsafe { attach(handle, call.module.context.0, provider_instance) }
            }
            AttachFn::Provider(_) => STATUS_NOINTERFACE,
        });
        let (outcome, breach, wake) = self.shard(key).with(|shard| {
            let ending = shard.bindings.get(key).is_some_and(|binding| shard.is_ending(binding));
            let Some(binding) = shard.bindings.get_mut(key) else { return (Outcome::Rejected, None, [None, None]) };
            binding.stops_running(CALLBACK, thread);
            let (outcome, breach) = binding.life.client_answered(status, ending);
            let breach = accuse(shard, key, Side::Client, breach);
            let wake = if outcome == Outcome::Rejected { shard.remove_binding(key) } else { [None, None] };
            (outcome, breach, wake)
        });
        self.report_breach(Place::Callback(CALLBACK), breach);
        set_all(wake);
        match outcome {
            Outcome::Attached | Outcome::Rejected => {}
            // R40: on the attaching thread, right after the callback has returned.
            Outcome::Detach => {
                let mut detaches = [(key, Side::Client), (key, Side::Provider)];
                self.order.arrange(&mut detaches);
                self.late_detach(&detaches);
            }
            Outcome::DetachProvider => self.late_detach(&[(key, Side::Provider)]),
        }
    }

    fn late_detach(&self, detaches: &[(Key, Side)]) {
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
        self.enter(FUNCTION, 15, PASSIVE_LEVEL, "PASSIVE_LEVEL");
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
            let Some(binding) = shard.bindings.get_mut(key) else { return Proposal::Stale };
            let (client, own_thread) = (binding.client, binding.offering == thread);
            if let Err(breach) = binding.life.propose() {
                return Proposal::Broken(accuse(shard, key, Side::Client, Some(breach)));
            }
            if let Some(status) = fault {
                binding.life.proposal_failed(status);
                return Proposal::Failed(status);
            }
            binding.client_context = client_context;
            let stray = accuse(shard, key, Side::Client, (!own_thread).then_some(STRAY));
            let changed = self.changed(shard, client, Some(key));
            let Some(call) = self.start(shard, key, CALLBACK, thread) else { return Proposal::Stale };
            let Some(registration) = shard.registrations.get(client) else { return Proposal::Stale };
            Proposal::Made { client: registration.module.callbacks.source.instance(), changed, stray, call }
        });
        let (client, changed, stray, call) = match proposal {
            Proposal::Made { client, changed, stray, call } => (client, changed, stray, call),
            Proposal::Failed(status) => return status,
            Proposal::Stale => return self.stale(FUNCTION, 19, handle),
            Proposal::Broken(breach) => {
                self.report_breach(place, breach);
                return STATUS_INVALID_PARAMETER;
            }
        };
        self.report_breach(place, stray);
        self.report_breach(Place::Callback(CALLBACK), changed);
        // The provider never writes into the binding or the client's variables: what a failing one leaves there has no
        // meaning (R22). The poison shows what it has not set.
        let mut context: *mut c_void = handle::poison();
        let mut dispatch: *const c_void = handle::poison::<c_void>();
        let context_out: *mut *mut c_void = &raw mut context;
        let dispatch_out: *mut *const c_void = &raw mut dispatch;
        let status = self.call(&call, CALLBACK, STATUS_NOINTERFACE, || match call.module.attach {
            AttachFn::Provider(attach) => {
                // SAFETY: the module registered this callback; it gets its own context, its peer's instance, context
                // and dispatch table, and two variables to write to.
                unsafe {
                    attach(
                        handle,
                        call.module.context.0,
                        client,
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
        let breaches = self.shard(key).with(|shard| {
            let binding = shard.bindings.get_mut(key)?;
            binding.stops_running(CALLBACK, thread);
            binding.provider_context = Opaque(context);
            let answer = if binding.life == Life::Proposed { binding.life.provider_answered(status) } else { None };
            let called = binding.calls(Side::Provider).provider_answered(status == STATUS_SUCCESS);
            let unset = unset.then_some(UNSET);
            Some([answer, called, unset].map(|breach| accuse(shard, key, Side::Provider, breach)))
        });
        for breach in breaches.into_iter().flatten() {
            self.report_breach(Place::Callback(CALLBACK), breach);
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

    /// Tells the registrar that `caller` begins a call into its peer, through the dispatch table of this binding. Calls
    /// pass by NMR, so whoever wants R29, R43, R44 and R50 checked reports them: the dispatch functions of a test's peer
    /// for the module under test, or a dispatch table in between. Returns whether the call is allowed; if not, the
    /// violation has been reported.
    ///
    /// With `STATUS_PENDING` as its result a call is in progress until [`Self::call_completes`] (R50).
    pub fn call_begins(&self, binding: HANDLE, caller: Side) -> bool {
        let Ok((Kind::Binding, key)) = handle::decode(binding) else {
            self.refuse(Place::Call, 43, "a call was reported for something that is no binding", "a binding handle");
            return false;
        };
        let thread = self.platform.thread();
        let found = self.shard(key).with(|shard| {
            let breach = shard.bindings.get_mut(key)?.call_begins(caller, thread);
            Some(accuse(shard, key, caller, breach))
        });
        let Some(accused) = found else {
            self.refuse(Place::Call, 43, "a module called its peer after the end of their binding", calls::NO_NEW_CALL);
            return false;
        };
        let allowed = accused.as_ref().is_none_or(|accusation| self.tolerates(accusation.breach.tolerated));
        self.report_breach(Place::Call, accused);
        allowed
    }

    /// A call that was reported with [`Self::call_begins`] returns `status`. False if there is none.
    pub fn call_returns(&self, binding: HANDLE, caller: Side, status: NTSTATUS) -> bool {
        self.with_calls(binding, caller, |calls| calls.end(status))
    }

    /// A call that returned `STATUS_PENDING` is complete. To be reported before the caller is told. False if there is
    /// none.
    pub fn call_completes(&self, binding: HANDLE, caller: Side) -> bool {
        self.with_calls(binding, caller, Calls::complete)
    }

    /// Reports the begin and the end of a call around `call`, which returns its status.
    pub fn calling(&self, binding: HANDLE, caller: Side, call: impl FnOnce() -> NTSTATUS) -> NTSTATUS {
        self.call_begins(binding, caller);
        let status = call();
        self.call_returns(binding, caller, status);
        status
    }

    fn with_calls(&self, binding: HANDLE, caller: Side, f: impl FnOnce(&mut Calls) -> bool) -> bool {
        let Ok((Kind::Binding, key)) = handle::decode(binding) else { return false };
        self.shard(key).with(|shard| shard.bindings.get_mut(key).is_some_and(|binding| f(binding.calls(caller))))
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
            // Mostly there is nothing left to wait for.
            let over = deregistering && inside.is_none() && shard.leave_if_drained(key);
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
                "this thread is inside {}, for a binding of the registration that it waits for: the wait could never end",
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

    /// Calls a callback between its two pause points; `skipped` is taken for its result if its image is gone.
    fn call<R>(&self, call: &Call, callback: Callback, skipped: R, f: impl FnOnce() -> R) -> R {
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
        let result = f();
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
    fn start(&self, shard: &mut Shard<P::Event>, key: Key, callback: Callback, thread: u64) -> Option<Call> {
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
    fn start_detach(&self, shard: &mut Shard<P::Event>, key: Key, side: Side, thread: u64) -> Option<Call> {
        shard.bindings.get_mut(key)?.life.detach_called(side);
        self.start(shard, key, Callback::detach(side), thread)
    }

    /// Blames the module whose callback this is.
    #[cold]
    fn accuse_caller(&self, call: &Call, callback: Callback, breach: Breach) -> Accused {
        self.shard(call.key).with(|shard| accuse(shard, call.key, callback.side(), Some(breach)))
    }

    /// A registration whose structure is found to have changed for the first time (R10).
    fn changed(&self, shard: &mut Shard<P::Event>, registration: Key, binding: Option<Key>) -> Accused {
        let entry = shard.registrations.get_mut(registration)?;
        let changed = entry.has_changed(&self.platform);
        changed.then(|| Box::new(Accusation::new(CHANGED, entry.module, registration, binding)))
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

    /// What every function begins with.
    fn enter(&self, function: Function, rule: u8, highest: u8, expected: &'static str) {
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

    fn report_breach(&self, place: Place, accused: Accused) {
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

    fn tolerates(&self, tolerated: bool) -> bool {
        tolerated && self.lenient.load(Ordering::Relaxed)
    }

    #[cold]
    fn report_violation(&self, tolerated: bool, violation: impl FnOnce() -> Violation) {
        if !self.tolerates(tolerated) {
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

/// A breach with who is on that side of the binding. Found out under the lock: afterwards the binding may be gone.
fn accuse<E>(shard: &Shard<E>, key: Key, side: Side, breach: Option<Breach>) -> Accused {
    #[cold]
    fn accuse<E>(shard: &Shard<E>, key: Key, side: Side, breach: Breach) -> Accused {
        let registration = shard.bindings.get(key)?.registration(side);
        let module = shard.registrations.get(registration)?.module;
        Some(Box::new(Accusation::new(breach, module, registration, Some(key))))
    }
    breach.and_then(|breach| accuse(shard, key, side, breach))
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
