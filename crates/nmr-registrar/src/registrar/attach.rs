//! ClientAttachProvider, NmrClientAttachProvider and ProviderAttachClient.

use core::ffi::c_void;
use core::ptr::{null, null_mut};
use core::time::Duration;

use wdk_nmr_sys::{
    HANDLE, NPI_REGISTRATION_INSTANCE, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE, STATUS_SUCCESS,
};

use super::callback::Call;
use super::violations::{Accused, accuse};
use super::{Registrar, set_all};
use crate::handle::{self, Key, Kind};
use crate::life::{Breach, Life, Outcome, Side};
use crate::module::{AttachFn, Opaque};
use crate::platform::{Lock, PASSIVE_LEVEL, Platform};
use crate::violation::{Callback, Function, Place};

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

/// What a provider gives its client: its binding context and its dispatch table.
struct Answer {
    context: *mut c_void,
    dispatch: *const c_void,
}

impl Answer {
    /// Without `STATUS_SUCCESS` an answer means nothing (R22).
    fn poison() -> Self {
        Self { context: handle::poison(), dispatch: handle::poison::<c_void>() }
    }

    /// Replaces what the provider has not set by NULL. Returns whether there was anything.
    fn settle(&mut self) -> bool {
        let Self { context, dispatch } = Self::poison();
        let unset = (self.context == context, self.dispatch == dispatch);
        if unset.0 {
            self.context = null_mut();
        }
        if unset.1 {
            self.dispatch = null();
        }
        unset.0 || unset.1
    }
}

/// The client's variables for the answer.
struct Out {
    context: *mut *mut c_void,
    dispatch: *mut *const c_void,
}

impl Out {
    fn is_missing(&self) -> bool {
        self.context.is_null() || self.dispatch.is_null()
    }

    /// # Safety
    /// Each of the two is NULL or writable.
    unsafe fn write(&self, answer: &Answer) {
        if !self.context.is_null() {
            // SAFETY: not NULL, so the caller says that it is writable.
            unsafe { self.context.write(answer.context) };
        }
        if !self.dispatch.is_null() {
            // SAFETY: not NULL, so the caller says that it is writable.
            unsafe { self.dispatch.write(answer.dispatch) };
        }
    }
}

/// A client's proposal that its provider is to be asked about.
struct Proposal {
    handle: HANDLE,
    /// The client's registration instance, context and dispatch table.
    instance: *const NPI_REGISTRATION_INSTANCE,
    context: Opaque,
    dispatch: *const c_void,
    /// ProviderAttachClient.
    call: Call,
}

/// Why the provider is not asked.
enum NotAsked {
    /// The binding is gone.
    Stale,
    /// The test wants the function to fail.
    Fault(NTSTATUS),
    Broken(Accused),
}

impl<P: Platform> Registrar<P> {
    /// Offers a provider to a client (R17) and follows the attachment to its end.
    pub(super) fn offer(&self, client: Key, provider: Key, now: Duration) {
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
        self.enter(FUNCTION, 15, PASSIVE_LEVEL, "PASSIVE_LEVEL");
        let out = Out { context: provider_context, dispatch: provider_dispatch };
        // SAFETY: passed on from the caller.
        unsafe { out.write(&Answer::poison()) };
        let Some(key) = self.key(FUNCTION, Kind::Binding, handle) else { return STATUS_INVALID_PARAMETER };
        if out.is_missing() {
            let found = "a pointer for the provider's context or dispatch is NULL";
            return self.refuse(Place::Function(FUNCTION), 21, found, "two pointers");
        }
        let proposal = match self.propose(key, handle, Opaque(client_context), client_dispatch) {
            Ok(proposal) => proposal,
            Err(status) => return status,
        };
        let (status, mut answer) = self.ask_provider(&proposal);
        self.note_answer(key, status, &mut answer);
        if status == STATUS_SUCCESS {
            // SAFETY: passed on from the caller.
            unsafe { out.write(&answer) };
        }
        status
    }

    /// Notes that a client proposes, or reports why it may not. The error is what NmrClientAttachProvider returns.
    fn propose(
        &self,
        key: Key,
        handle: HANDLE,
        context: Opaque,
        dispatch: *const c_void,
    ) -> Result<Proposal, NTSTATUS> {
        const FUNCTION: Function = Function::ClientAttachProvider;
        const CALLBACK: Callback = Callback::ProviderAttachClient;
        let thread = self.platform.thread();
        let fault = self.platform.fault(FUNCTION);
        let proposed = self.shard(key).with(|shard| {
            let binding = shard.bindings.get_mut(key).ok_or(NotAsked::Stale)?;
            let (client, own_thread) = (binding.client, binding.offering == thread);
            if let Err(breach) = binding.life.propose() {
                return Err(NotAsked::Broken(accuse(shard, key, Side::Client, Some(breach))));
            }
            if let Some(status) = fault {
                binding.life.proposal_failed(status);
                return Err(NotAsked::Fault(status));
            }
            binding.client_context = context;
            let stray = accuse(shard, key, Side::Client, (!own_thread).then_some(STRAY));
            let changed = self.changed(shard, client, Some(key));
            let call = self.start(shard, key, CALLBACK, thread).ok_or(NotAsked::Stale)?;
            let registration = shard.registrations.get(client).ok_or(NotAsked::Stale)?;
            let instance = registration.module.callbacks.source.instance();
            Ok((Proposal { handle, instance, context, dispatch, call }, stray, changed))
        });
        match proposed {
            Ok((proposal, stray, changed)) => {
                self.report_breach(Place::Function(FUNCTION), stray);
                self.report_breach(Place::Callback(CALLBACK), changed);
                Ok(proposal)
            }
            Err(NotAsked::Stale) => Err(self.stale(FUNCTION, 19, handle)),
            Err(NotAsked::Fault(status)) => Err(status),
            Err(NotAsked::Broken(breach)) => {
                self.report_breach(Place::Function(FUNCTION), breach);
                Err(STATUS_INVALID_PARAMETER)
            }
        }
    }

    /// Calls ProviderAttachClient. The provider never writes into the binding or the client's variables: what a failing
    /// one leaves there has no meaning (R22). The poison shows what it has not set.
    fn ask_provider(&self, proposal: &Proposal) -> (NTSTATUS, Answer) {
        let mut answer = Answer::poison();
        let context: *mut *mut c_void = &raw mut answer.context;
        let dispatch: *mut *const c_void = &raw mut answer.dispatch;
        let Proposal { handle, instance, call, .. } = proposal;
        let ask = || match call.module.attach {
            AttachFn::Provider(attach) => {
                // SAFETY: the module registered this callback; it gets its own context, its peer's instance, context
                // and dispatch table, and two variables to write to.
                unsafe {
                    attach(
                        *handle,
                        call.module.context.0,
                        *instance,
                        proposal.context.0,
                        proposal.dispatch,
                        context,
                        dispatch,
                    )
                }
            }
            AttachFn::Client(_) => STATUS_NOINTERFACE,
        };
        let status = self.call(call, Callback::ProviderAttachClient, STATUS_NOINTERFACE, ask);
        (status, answer)
    }

    /// Notes what ProviderAttachClient came to.
    fn note_answer(&self, key: Key, status: NTSTATUS, answer: &mut Answer) {
        const CALLBACK: Callback = Callback::ProviderAttachClient;
        let thread = self.platform.thread();
        let unset = status == STATUS_SUCCESS && answer.settle();
        let breaches = self.shard(key).with(|shard| {
            let binding = shard.bindings.get_mut(key)?;
            binding.stops_running(CALLBACK, thread);
            binding.provider_context = Opaque(answer.context);
            let answered = if binding.life == Life::Proposed { binding.life.provider_answered(status) } else { None };
            let called = binding.calls(Side::Provider).provider_answered(status == STATUS_SUCCESS);
            let unset = unset.then_some(UNSET);
            Some([answered, called, unset].map(|breach| accuse(shard, key, Side::Provider, breach)))
        });
        for breach in breaches.into_iter().flatten() {
            self.report_breach(Place::Callback(CALLBACK), breach);
        }
    }
}
