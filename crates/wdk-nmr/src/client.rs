//! Clients: modules that use an interface.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr;

use wdk_nmr_sys::{
    HANDLE, NPI_CLIENT_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE, NPIID, NTSTATUS, NmrClientAttachProvider,
    NmrClientDetachProviderComplete, NmrDeregisterClient, NmrRegisterClient, NmrWaitForClientDeregisterComplete,
    STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::diagnosis::Bindings;
use crate::guard::{AtDispatch, DispatchGuard, Guard};
use crate::header::ROLE_CLIENT;
use crate::header::RegistrationHeader;
use crate::irql::{AtPassiveLevel, Dispatch, Passive};
use crate::npi::Npi;
use crate::offer::{Offer, Refusal};
use crate::part::{Absent, Part};
use crate::peer::{HeldPeer, Peer, Peers};
use crate::registration::{
    Deregistration, Leaked, RegisterError, Registration, RegistrationBlock, RegistrationOptions, Resident, Role,
};
use crate::slab;
use crate::slot::Slot;
use crate::structure::StructureError;
use crate::table::Side;

/// A provider that a client may accept or refuse.
pub type ProviderOffer<'a, N> = Offer<'a, <N as Npi>::ProviderCharacteristics>;
/// A provider that the client `C` is attached to.
pub type AttachedProvider<'a, C> =
    Peer<'a, <C as Client>::Binding, <<C as Client>::Npi as Npi>::ProviderDispatch, <C as Client>::Guard>;
/// A provider that is attached to the client `C`, as it is called at DISPATCH_LEVEL.
pub type AttachedProviderAtDispatch<'a, C> =
    Peer<'a, <C as Client>::Binding, <<C as Client>::Npi as Npi>::ProviderDispatch, AtDispatch<<C as Client>::Guard>>;
/// A provider that the client `C` is attached to, without a borrow.
pub type HeldProvider<C> =
    HeldPeer<<C as Client>::Binding, <<C as Client>::Npi as Npi>::ProviderDispatch, <C as Client>::Guard>;
/// The providers that the client `C` is attached to.
pub type AttachedProviders<'a, C> =
    Peers<'a, <C as Client>::Binding, <<C as Client>::Npi as Npi>::ProviderDispatch, <C as Client>::Guard>;

/// A module that uses an interface. One value serves all providers that it attaches to; what belongs to one of them is
/// in [`Client::Binding`].
///
/// The functions are called on any thread, also at the same time for different providers (R31), and before the
/// registration of the client has returned (R7).
pub trait Client: Send + Sync + Sized + 'static {
    /// The interface.
    type Npi: Npi;
    /// What the client keeps for one provider. It is dropped when both sides have detached, at up to DISPATCH_LEVEL:
    /// its drop must not wait or touch paged memory.
    type Binding: Send + Sync + 'static;
    /// How calls into providers are counted: [`Single`](crate::Single); [`Sharded`](crate::Sharded) if one provider is
    /// called from many processors at once; [`PerProcessor`](crate::PerProcessor) if that happens at DISPATCH_LEVEL. If
    /// calls are made below DISPATCH_LEVEL on threads that can be suspended, any of them within
    /// [`InCriticalRegion`](crate::InCriticalRegion).
    type Guard: Guard;
    /// How many further tables [`Client::older_dispatch`] has.
    const OLDER_DISPATCHES: usize = 0;

    /// What providers get to call: [`client_table!`](crate::client_table) writes it, and [`ClientTable::none`] is for
    /// an interface without.
    ///
    /// Called once for each registration, at PASSIVE_LEVEL, before NMR knows of it. The table is kept in the memory of
    /// the registration and is the same for all providers. The client has its final place by then, so a table may point
    /// to what is in it.
    fn dispatch(&self) -> ClientTable<Self>;

    /// What is tried, from index 0 to [`Client::OLDER_DISPATCHES`] less 1, with a provider that answers the table of
    /// [`Client::dispatch`] with STATUS_NOINTERFACE (R25). Called as that.
    fn older_dispatch(&self, index: usize) -> ClientTable<Self> {
        let _ = index;
        self.dispatch()
    }

    /// Accepts or refuses a provider, at PASSIVE_LEVEL. If it accepts, the library asks the provider in turn.
    ///
    /// The binding has to be complete: the provider may call in with it before [`Client::attached`] (R28). Everything
    /// that could still speak against the provider is looked at here, since there is no way back later (M12).
    ///
    /// # Errors
    ///
    /// What NMR gets to see.
    fn attach(&self, provider: &ProviderOffer<'_, Self::Npi>) -> Result<Self::Binding, Refusal>;

    /// The provider has agreed and can be called, at PASSIVE_LEVEL, still in the attach callback. The place to wake up
    /// who waits for a provider, and to start calls that the provider ends later ([`Peer::hold`](crate::Peer::hold)).
    fn attached(&self, provider: AttachedProvider<'_, Self>) {
        let _ = provider;
    }

    /// The provider has agreed, but the dispatch table that it returned is not what the interface says. It is too late
    /// to refuse (M12), so the provider stays attached until one of both deregisters, and is never called. It does not
    /// take the place of [`one_peer`](crate::RegistrationOptions::one_peer). At PASSIVE_LEVEL, in place of
    /// [`Client::attached`].
    fn unusable(&self, binding: &Self::Binding, error: StructureError) {
        let _ = (binding, error);
    }

    /// The binding is about to end, and no new call into the provider can start. Calls that the provider has taken and
    /// not ended yet may be told to hurry. Called once, at up to DISPATCH_LEVEL: it must not wait or touch paged
    /// memory. The provider may still call in until the binding is dropped (R51).
    fn detaching(&self, binding: &Self::Binding) {
        let _ = binding;
    }

    /// Both sides have detached, and the binding is dropped next (R55). Called once, at up to DISPATCH_LEVEL, as
    /// [`Client::detaching`].
    fn detached(&self, binding: &Self::Binding) {
        let _ = binding;
    }
}

/// A dispatch table of a client: a table whose functions know what to do with a binding of `C`.
pub struct ClientTable<C: Client>(<<C::Npi as Npi>::ClientDispatch as Part>::Own);

impl<C: Client> ClientTable<C> {
    /// A table of functions that each make a [`ClientCall`] of `C` from their context.
    /// [`client_table!`](crate::client_table) writes both.
    ///
    /// # Safety
    ///
    /// As long as a registration of the client exists, the functions of the table may be called, as the interface says,
    /// with the context of any of its bindings, and what the table points to is what the interface says.
    #[must_use]
    pub const unsafe fn new(table: <<C::Npi as Npi>::ClientDispatch as Part>::Own) -> Self {
        Self(table)
    }

    /// No table, for an interface that has none or in which it is optional.
    #[must_use]
    pub const fn none() -> Self
    where
        <<C::Npi as Npi>::ClientDispatch as Part>::Own: Absent,
    {
        Self(Absent::ABSENT)
    }
}

/// A provider's call into the client `C`: what a function of the dispatch table makes of its context. `'a` is the time
/// for which the call is in progress.
///
/// It costs nothing: no count, no lock. The provider sees to it that the binding outlives its own calls (R44).
///
/// A function that returns STATUS_PENDING and ends the call later, by calling back, takes hold of the provider while it
/// is still called: [`provider`](Self::provider), then [`Peer::hold`]. What is held leads to the binding and to the
/// provider's table until it is dropped.
pub struct ClientCall<'a, C: Client> {
    slot: &'a Slot<C::Binding, C::Guard>,
}

impl<'a, C: Client> ClientCall<'a, C> {
    /// Takes the context with which a provider has called.
    ///
    /// # Safety
    ///
    /// `context` is the context of a binding of `C`, and a provider's call with it is in progress for `'a`.
    #[inline]
    #[must_use]
    pub const unsafe fn new(context: *mut c_void) -> Self {
        // SAFETY: contexts are pointers to slots, which stay while the provider's call is in progress.
        Self { slot: unsafe { &*context.cast::<Slot<C::Binding, C::Guard>>() } }
    }

    /// The client.
    #[inline]
    #[must_use]
    pub fn client(&self) -> &'a C {
        // SAFETY: the slot is one of a client `C`.
        let block = unsafe { RegistrationBlock::<ClientSide<C>>::of(self.slot) };
        &block.module
    }

    /// What the client keeps for the provider that calls. It is there even if the client's attach callback has not
    /// returned yet (R28).
    #[inline]
    #[must_use]
    pub fn binding(&self) -> &'a C::Binding {
        // SAFETY: the provider's call is in progress, so the binding is attached and not cleaned up.
        unsafe { self.slot.binding() }
    }

    /// The provider, to call it back. `None`: the binding is on its way out, or the attach callback has not yet
    /// learned how to call the provider (M14).
    #[inline]
    #[must_use]
    pub fn provider(&self) -> Option<AttachedProvider<'a, C>> {
        // SAFETY: the slot stays while the provider's call is in progress; the table was accepted in `attach`.
        unsafe { Peer::of(self.slot) }
    }

    /// As [`ClientCall::provider`], at DISPATCH_LEVEL, without a locked instruction.
    #[inline]
    #[must_use]
    pub fn provider_at_dispatch(&self, dispatch: Dispatch<'a>) -> Option<AttachedProviderAtDispatch<'a, C>>
    where
        C::Guard: DispatchGuard,
    {
        // SAFETY: the slot stays while the provider's call is in progress; the table was accepted in `attach`.
        unsafe { Peer::of(self.slot.at_dispatch(dispatch)) }
    }
}

/// A client that is registered. Providers come and go until it is deregistered.
///
/// Dropped or leaked without that it stays registered for good: its memory is never freed and the driver's image stays
/// loaded (see [`Resident`]).
#[must_use = "a client that is dropped without `deregister` stays registered and keeps the driver loaded"]
pub struct ClientRegistration<C: Client, R: Resident> {
    inner: Registration<ClientSide<C>, R>,
}

impl<C: Client, R: Resident> ClientRegistration<C, R> {
    /// Registers a client. Providers that are there already have been offered to it when this returns (R6), so it is
    /// the last thing that DriverEntry does.
    ///
    /// # Errors
    ///
    /// There is no registration, and `client` and `resident` have been dropped.
    pub fn register(
        client: C,
        options: RegistrationOptions<<<C::Npi as Npi>::ClientCharacteristics as Part>::Own>,
        resident: R,
        passive: impl AtPassiveLevel,
    ) -> Result<Self, RegisterError> {
        Registration::register(client, options, resident, passive).map(|inner| Self { inner })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &C {
        &self.inner.block().module
    }

    /// The providers that the client is attached to, ready to be called. Works at up to DISPATCH_LEVEL, without a lock.
    #[inline]
    #[must_use]
    pub fn providers(&self) -> AttachedProviders<'_, C> {
        // SAFETY: the providers' tables were accepted in `attach`.
        unsafe { Peers::new(self.inner.slots()) }
    }

    /// Waits for a provider: looks whether one is attached, calls `wait` if not, and looks again, until `wait` returns
    /// false. The last look comes after that.
    ///
    /// `wait` returns true when a provider may have attached, and false when it gives up. The best is an event that
    /// [`Client::attached`] sets:
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use nmr_registrar as _;
    /// # use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    /// # use wdk_nmr::*;
    /// # struct Presence;
    /// # // SAFETY: no structures at all.
    /// # unsafe impl Npi for Presence {
    /// #     const ID: NPIID = GUID::from_u128(0x2ffc7ba5_2d27_44e2_8d10_9a1c8b6e0c11);
    /// #     type ProviderDispatch = ();
    /// #     type ClientDispatch = ();
    /// #     type ProviderCharacteristics = ();
    /// #     type ClientCharacteristics = ();
    /// # }
    /// # struct Event(SyncSender<()>);
    /// # impl Event { fn set(&self) { let _ = self.0.try_send(()); } }
    /// struct User {
    ///     attached: Event,
    /// }
    ///
    /// impl Client for User {
    ///     # type Npi = Presence;
    ///     # type Binding = ();
    ///     # type Guard = Single;
    ///     # fn dispatch(&self) -> ClientTable<Self> { ClientTable::none() }
    ///     # fn attach(&self, _: &ProviderOffer<'_, Presence>) -> Result<(), Refusal> { Ok(()) }
    ///     // ..
    ///     fn attached(&self, _: AttachedProvider<'_, Self>) {
    ///         self.attached.set(); // KeSetEvent of a synchronization event
    ///     }
    /// }
    ///
    /// # struct Program;
    /// # // SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
    /// # unsafe impl Resident for Program {}
    /// # fn main() {
    /// # // SAFETY: the main thread of a program.
    /// # let passive = unsafe { Passive::new() };
    /// # let (event, events) = sync_channel(1);
    /// # let options = RegistrationOptions::new(ModuleId::IfLuid(1), ());
    /// # let user = User { attached: Event(event) };
    /// # let client = ClientRegistration::register(user, options, Program, passive).unwrap();
    /// # let wait_for_the_event = || events.recv_timeout(Duration::from_millis(10)).is_ok();
    /// // KeWaitForSingleObject(&event, .., &timeout) == STATUS_SUCCESS
    /// let provider = client.wait_for_provider(passive, wait_for_the_event);
    /// assert!(provider.is_none(), "nobody came in time");
    /// # drop(provider);
    /// # client.deregister(passive).unwrap();
    /// # }
    /// ```
    ///
    /// Without an event, `wait` may be a delay (KeDelayExecutionThread).
    pub fn wait_for_provider(&self, _: Passive<'_>, mut wait: impl FnMut() -> bool) -> Option<AttachedProvider<'_, C>> {
        loop {
            if let Some(provider) = self.providers().next() {
                return Some(provider);
            }
            if !wait() {
                return self.providers().next();
            }
        }
    }

    /// What the bindings are doing.
    #[must_use]
    pub fn bindings(&self) -> Bindings<'_, C::Binding, C::Guard> {
        Bindings::new(self.inner.header(), self.inner.slots())
    }

    /// The beginning of the registration's memory, for what shows it to people: a debugger, or what a driver adds to a
    /// crash dump.
    #[must_use]
    pub fn header(&self) -> &RegistrationHeader {
        self.inner.header()
    }

    /// Detaches from all providers, waits until they and the client are done, and drops the client. DriverUnload calls
    /// this before it returns (R65), and DriverEntry when something fails after the registration (R73).
    ///
    /// It waits for all calls into providers to end, for the providers' calls into the client, and as long as a
    /// provider takes for its own part (R70).
    ///
    /// # Errors
    ///
    /// NMR did not do it: the registration is leaked and the image stays.
    pub fn deregister(self, passive: Passive<'_>) -> Result<(), Leaked> {
        self.start_deregistering().wait(passive)
    }

    /// The first half of [`ClientRegistration::deregister`], at up to DISPATCH_LEVEL. What comes of it shows which
    /// bindings the other half will wait for.
    pub fn start_deregistering(self) -> DeregisteringClient<C, R> {
        DeregisteringClient { inner: self.inner.deregister() }
    }
}

/// A client that is on its way out. Dropped without a wait it is leaked like a registration.
#[must_use = "a client that is not waited for keeps the driver loaded"]
pub struct DeregisteringClient<C: Client, R: Resident> {
    inner: Deregistration<ClientSide<C>, R>,
}

impl<C: Client, R: Resident> DeregisteringClient<C, R> {
    /// The bindings that are not gone yet.
    #[must_use]
    pub fn bindings(&self) -> Bindings<'_, C::Binding, C::Guard> {
        self.inner.bindings()
    }

    /// Waits until the registration is over and drops the client.
    ///
    /// # Errors
    ///
    /// NMR did not do it: the registration is leaked and the image stays.
    pub fn wait(self, passive: Passive<'_>) -> Result<(), Leaked> {
        self.inner.wait(passive)
    }
}

/// The role in types.
#[doc(hidden)]
pub struct ClientSide<C>(PhantomData<fn(C)>);

impl<C: Client> Side for ClientSide<C> {
    type Call<'a> = ClientCall<'a, C>;

    #[inline]
    unsafe fn call<'a>(context: *mut c_void) -> ClientCall<'a, C> {
        // SAFETY: as the caller promises.
        unsafe { ClientCall::new(context) }
    }
}

// SAFETY: the client's functions, and callbacks that take slots of a `C`.
unsafe impl<C: Client> Role for ClientSide<C> {
    type Module = C;
    type Binding = C::Binding;
    type Guard = C::Guard;
    type Specific = <C::Npi as Npi>::ClientCharacteristics;
    type Dispatch = <C::Npi as Npi>::ClientDispatch;
    type Characteristics = NPI_CLIENT_CHARACTERISTICS;

    const ROLE: u32 = ROLE_CLIENT;
    const NPI_ID: NPIID = C::Npi::ID;
    const TABLES: usize = C::OLDER_DISPATCHES.saturating_add(1);
    const COMPLETE: unsafe extern "system" fn(HANDLE) = NmrClientDetachProviderComplete;
    const REGISTER: unsafe extern "system" fn(*const NPI_CLIENT_CHARACTERISTICS, *mut c_void, *mut HANDLE) -> NTSTATUS =
        NmrRegisterClient;
    const DEREGISTER: unsafe extern "system" fn(HANDLE) -> NTSTATUS = NmrDeregisterClient;
    const WAIT: unsafe extern "system" fn(HANDLE) -> NTSTATUS = NmrWaitForClientDeregisterComplete;

    fn characteristics(instance: NPI_REGISTRATION_INSTANCE) -> NPI_CLIENT_CHARACTERISTICS {
        NPI_CLIENT_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
            ClientAttachProvider: Some(attach::<C>),
            ClientDetachProvider: Some(detach::<C>),
            // Always there: without it nobody says when a binding is over (R59).
            ClientCleanupBindingContext: Some(cleanup::<C>),
            ClientRegistrationInstance: instance,
        }
    }

    fn instance(characteristics: &mut NPI_CLIENT_CHARACTERISTICS) -> &mut NPI_REGISTRATION_INSTANCE {
        &mut characteristics.ClientRegistrationInstance
    }

    fn dispatch(client: &C, index: usize) -> <<C::Npi as Npi>::ClientDispatch as Part>::Own {
        index.checked_sub(1).map_or_else(|| client.dispatch(), |index| client.older_dispatch(index)).0
    }
}

/// NPI_CLIENT_ATTACH_PROVIDER_FN.
unsafe extern "system" fn attach<C: Client>(
    handle: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: NMR passes the context of the registration.
    let block = unsafe { RegistrationBlock::<ClientSide<C>>::from_context(context) };
    if !block.header().take_place() {
        return Refusal::NO_INTERFACE.status();
    }
    // SAFETY: as NMR calls.
    unsafe { propose::<C>(block, handle, instance) }.unwrap_or_else(|status| {
        block.header().free_place();
        status
    })
}

/// Asks the client, and if it accepts, the provider. The status is what NmrClientAttachProvider returned last (R26); as
/// an error it is a failure, or the client's refusal, and there is no binding.
///
/// # Safety
///
/// The arguments are those of an attach callback for `block`.
unsafe fn propose<C: Client>(
    block: &RegistrationBlock<ClientSide<C>>,
    handle: HANDLE,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> Result<NTSTATUS, NTSTATUS> {
    // SAFETY: NMR passes the provider's registration instance, which stays for the callback.
    let offer = unsafe { ProviderOffer::<C::Npi>::new(instance, ()) }.map_err(|error| Refusal::from(error).status())?;
    // SAFETY: the slots of the registration are of these types.
    let slot = unsafe { slab::claim::<C::Binding, C::Guard>(block.header()) };
    let slot = slot.ok_or(Refusal::INSUFFICIENT_RESOURCES.status())?;
    // SAFETY: slots stay as long as the registration, and that as long as its callbacks run.
    let claimed = unsafe { slot.as_ref() };
    let binding = block.module.attach(&offer).map_err(|refusal| {
        claimed.unclaim();
        refusal.status()
    })?;
    offer.record(&claimed.header);
    // The provider may call in from the moment it agrees (R28), so the binding is in place before it is asked.
    // SAFETY: claimed above.
    unsafe { claimed.fill(handle, binding) };
    let mut status = STATUS_NOINTERFACE;
    let mut provider_context: *mut c_void = ptr::null_mut();
    let mut provider_dispatch: *const c_void = ptr::null();
    for table in block.dispatches() {
        // SAFETY: in the attach callback with its handle (R19). The slot and the table stay until this side's cleanup.
        status = unsafe {
            NmrClientAttachProvider(
                handle,
                slot.as_ptr().cast(),
                table,
                &raw mut provider_context,
                &raw mut provider_dispatch,
            )
        };
        if status != STATUS_NOINTERFACE {
            break;
        }
    }
    if status < 0 {
        // SAFETY: filled above; the provider has not agreed, so it does not know the binding (R23).
        unsafe { claimed.abandon() };
        return Err(status);
    }
    if status != STATUS_SUCCESS {
        // Neither agreed nor refused. What NMR makes of that is not documented; the binding stays to be on the safe
        // side. SAFETY: filled above.
        unsafe { claimed.publish(provider_context, None) };
        return Ok(status);
    }
    // Too late to refuse (M12): a provider whose table is not as the interface says is attached and never called.
    // SAFETY: the interface says what the provider's dispatch table is.
    let accepted = unsafe { <C::Npi as Npi>::ProviderDispatch::accept(provider_dispatch) };
    // SAFETY: filled above; if the table is passed on, it was accepted.
    unsafe { claimed.publish(provider_context, accepted.ok().map(|()| provider_dispatch)) };
    match accepted {
        // SAFETY: slots stay as long as the registration.
        Ok(()) => unsafe { Peer::of(claimed) }.into_iter().for_each(|provider| block.module.attached(provider)),
        // SAFETY: NMR does not detach before the attach callback has returned (R39), so the binding is there.
        Err(error) => block.module.unusable(unsafe { claimed.binding() }, error),
    }
    Ok(STATUS_SUCCESS)
}

/// NPI_CLIENT_DETACH_PROVIDER_FN.
unsafe extern "system" fn detach<C: Client>(context: *mut c_void) -> NTSTATUS {
    // SAFETY: NMR passes the context of a binding of `C` that is not over.
    let slot = unsafe { &*context.cast::<Slot<C::Binding, C::Guard>>() };
    // SAFETY: the slot is one of a client `C`.
    let block = unsafe { RegistrationBlock::<ClientSide<C>>::of(slot) };
    // SAFETY: this is the detach callback.
    let done = unsafe { slot.detach(|binding| block.module.detaching(binding)) };
    if done { STATUS_SUCCESS } else { STATUS_PENDING }
}

/// NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN.
unsafe extern "system" fn cleanup<C: Client>(context: *mut c_void) {
    // SAFETY: NMR passes the context of a binding of `C` that both sides have detached.
    let slot = unsafe { &*context.cast::<Slot<C::Binding, C::Guard>>() };
    // SAFETY: the slot is one of a client `C`.
    let block = unsafe { RegistrationBlock::<ClientSide<C>>::of(slot) };
    // SAFETY: the binding stays until `cleanup`.
    block.module.detached(unsafe { slot.binding() });
    // SAFETY: this is the cleanup callback.
    unsafe { slot.cleanup() };
}
