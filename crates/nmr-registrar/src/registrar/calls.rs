//! What a test tells of the calls that modules make into each other.

use wdk_nmr_sys::{HANDLE, NTSTATUS};

use super::Registrar;
use super::violations::accuse;
use crate::calls::{self, Calls};
use crate::handle::{self, Kind};
use crate::life::Side;
use crate::platform::{Lock, Platform};
use crate::violation::Place;

impl<P: Platform> Registrar<P> {
    /// Tells the registrar that `caller` begins a call into its peer, through the dispatch table of this binding. Calls
    /// pass by NMR, so whoever wants R29, R43, R44 and R50 checked reports them: the dispatch functions of a test's
    /// peer for the module under test, or a dispatch table in between. Returns whether the call is allowed; if not, the
    /// violation has been reported.
    ///
    /// With `STATUS_PENDING` as its result a call is in progress until [`Self::call_completes`] (R50).
    pub fn call_begins(&self, binding: HANDLE, caller: Side) -> bool {
        let Ok((Kind::Binding, key)) = handle::decode(binding) else {
            self.refuse(Place::Call, 43, "a call was reported for something other than a binding", "a binding handle");
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
}
