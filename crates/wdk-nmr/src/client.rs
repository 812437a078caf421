//! Clients: modules that use an interface.

use core::ffi::c_void;
use core::iter;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use wdk_nmr_sys::{
    HANDLE, NPI_CLIENT_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE, NPIID, NTSTATUS, NmrClientAttachProvider,
    NmrClientDetachProviderComplete, NmrDeregisterClient, NmrRegisterClient, NmrWaitForClientDeregisterComplete,
    STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::diagnosis::Bindings;
use crate::guard::{AtDispatch, DispatchGuard, Guard};
use crate::header::ROLE_CLIENT;
use crate::irql::{AtPassiveLevel, Dispatch, Passive};
use crate::npi::{self, Npi};
use crate::offer::{Offer, Refusal};
use crate::peer::{HeldPeer, Peer, Peers};
use crate::registration::{
    Deregistration, Leaked, RegisterError, Registration, RegistrationBlock, RegistrationOptions, Resident, Role,
};
use crate::slab;
use crate::slot::Slot;

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
    /// What providers get to call.
    const DISPATCH: ClientTable<Self>;
    /// What is tried, in this order, with a provider that answers [`Client::DISPATCH`] with STATUS_NOINTERFACE (R25).
    const OLDER_DISPATCH: &'static [ClientTable<Self>] = &[];

    /// Accepts or refuses a provider, at PASSIVE_LEVEL. If it accepts, the library asks the provider in turn.
    ///
    /// The binding has to be complete: the provider may call in with it before [`Client::attached`] (R28). Everything
    /// that could still speak against the provider is looked at here, since there is no way back later (M12).
    ///
    /// # Errors
    ///
    /// What NMR gets to see.
    fn attach(&self, provider: &ProviderOffer<'_, Self::Npi>) -> Result<Self::Binding, Refusal>;

    /// The provider has agreed and can be called, at PASSIVE_LEVEL, still in the attach callback.
    fn attached(&self, provider: &AttachedProvider<'_, Self>) {
        let _ = provider;
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
pub struct ClientTable<C: Client> {
    table: &'static <C::Npi as Npi>::ClientDispatch,
    client: PhantomData<fn(C)>,
}

impl<C: Client> ClientTable<C> {
    /// A table of functions that each make a [`ClientCall`] of `C` from their context.
    /// [`client_table!`](crate::client_table) writes both.
    ///
    /// # Safety
    ///
    /// The functions of the table may be called, as the interface says, with the context of any binding of `C`.
    #[must_use]
    pub const unsafe fn new(table: &'static <C::Npi as Npi>::ClientDispatch) -> Self {
        Self { table, client: PhantomData }
    }
}

impl<C: Client<Npi: Npi<ClientDispatch = ()>>> ClientTable<C> {
    /// No table, for an interface that has none.
    #[must_use]
    pub const fn none() -> Self {
        Self { table: &(), client: PhantomData }
    }
}

/// A provider's call into the client `C`: what a function of the dispatch table makes of its context.
///
/// It costs nothing: no count, no lock. The provider sees to it that the binding outlives its own calls (R44).
pub struct ClientCall<C: Client> {
    slot: NonNull<Slot<C::Binding, C::Guard>>,
}

impl<C: Client> ClientCall<C> {
    /// Takes the context with which a provider has called.
    ///
    /// # Safety
    ///
    /// `context` is the context of a binding of `C`, and a provider's call with it is in progress as long as the value
    /// exists.
    #[inline]
    #[must_use]
    pub const unsafe fn new(context: *mut c_void) -> Self {
        // SAFETY: contexts are pointers to slots and not NULL.
        Self { slot: unsafe { NonNull::new_unchecked(context.cast()) } }
    }

    #[inline]
    fn slot(&self) -> &Slot<C::Binding, C::Guard> {
        // SAFETY: the slot stays while the provider's call is in progress.
        unsafe { self.slot.as_ref() }
    }

    /// The client.
    #[inline]
    #[must_use]
    pub fn client(&self) -> &C {
        // SAFETY: the slot is one of a client `C`.
        let block = unsafe { RegistrationBlock::<ClientRole<C>>::of(self.slot()) };
        &block.module
    }

    /// What the client keeps for the provider that calls. It is there even if the client's attach callback has not
    /// returned yet (R28).
    #[inline]
    #[must_use]
    pub fn binding(&self) -> &C::Binding {
        // SAFETY: the provider's call is in progress, so the binding is attached and not cleaned up.
        unsafe { self.slot().binding() }
    }

    /// The provider, to call it back. `None`: the binding is on its way out, or the attach callback has not yet learned
    /// how to call the provider (M14).
    #[inline]
    #[must_use]
    pub fn provider(&self) -> Option<AttachedProvider<'_, C>> {
        // SAFETY: the slot stays while the provider's call is in progress; the table was checked in `attach`.
        unsafe { Peer::of(self.slot()) }
    }

    /// As [`ClientCall::provider`], at DISPATCH_LEVEL, without a locked instruction.
    #[inline]
    #[must_use]
    pub fn provider_at_dispatch<'a>(&'a self, dispatch: Dispatch<'a>) -> Option<AttachedProviderAtDispatch<'a, C>>
    where
        C::Guard: DispatchGuard,
    {
        // SAFETY: the slot stays while the provider's call is in progress; the table was checked in `attach`.
        unsafe { Peer::of(self.slot().at_dispatch(dispatch)) }
    }
}

/// A client that is registered. Providers come and go until it is deregistered.
///
/// Dropped or leaked without that it stays registered for good: its memory is never freed and the driver's image stays
/// loaded (see [`Resident`]).
#[must_use = "a client that is dropped without `deregister` stays registered and keeps the driver loaded"]
pub struct ClientRegistration<C: Client, R: Resident> {
    inner: Registration<ClientRole<C>, R>,
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
        options: RegistrationOptions<<C::Npi as Npi>::ClientCharacteristics>,
        resident: R,
        passive: impl AtPassiveLevel,
    ) -> Result<Self, RegisterError> {
        for table in tables::<C>() {
            // SAFETY: a pointer to a value, or NULL.
            unsafe { npi::check::<<C::Npi as Npi>::ClientDispatch>(table) }.map_err(RegisterError::OwnStructure)?;
        }
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
        // SAFETY: the providers' tables were checked in `attach`.
        unsafe { Peers::new(self.inner.slots()) }
    }

    /// What the bindings are doing.
    #[must_use]
    pub fn bindings(&self) -> Bindings<'_, C::Binding, C::Guard> {
        Bindings::new(self.inner.header(), self.inner.slots())
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
    inner: Deregistration<ClientRole<C>, R>,
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
pub(crate) struct ClientRole<C>(PhantomData<fn(C)>);

// SAFETY: the client's functions, and callbacks that take slots of a `C`.
unsafe impl<C: Client> Role for ClientRole<C> {
    type Module = C;
    type Binding = C::Binding;
    type Guard = C::Guard;
    type Specific = <C::Npi as Npi>::ClientCharacteristics;
    type Characteristics = NPI_CLIENT_CHARACTERISTICS;

    const ROLE: u32 = ROLE_CLIENT;
    const NPI_ID: NPIID = C::Npi::ID;
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
}

/// The dispatch tables in the order in which they are tried, as NMR carries them.
fn tables<C: Client>() -> impl Iterator<Item = *const c_void> {
    iter::once(&C::DISPATCH).chain(C::OLDER_DISPATCH).map(|table| npi::pointer_to(table.table))
}

/// NPI_CLIENT_ATTACH_PROVIDER_FN.
unsafe extern "system" fn attach<C: Client>(
    handle: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: NMR passes the context of the registration.
    let block = unsafe { RegistrationBlock::<ClientRole<C>>::from_context(context) };
    if !block.header().take_place() {
        return Refusal::NO_INTERFACE.status();
    }
    // SAFETY: as NMR calls.
    let status = unsafe { propose::<C>(block, handle, instance) }.unwrap_or_else(Refusal::status);
    if status != STATUS_SUCCESS {
        block.header().free_place();
    }
    status
}

/// Asks the client, and if it accepts, the provider. The status is the client's refusal or what NmrClientAttachProvider
/// returned last (R26).
///
/// # Safety
///
/// The arguments are those of an attach callback for `block`.
unsafe fn propose<C: Client>(
    block: &RegistrationBlock<ClientRole<C>>,
    handle: HANDLE,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> Result<NTSTATUS, Refusal> {
    // SAFETY: NMR passes the provider's registration instance, which stays for the callback.
    let offer = unsafe { ProviderOffer::<C::Npi>::new(instance) }?;
    // SAFETY: the slots of the registration are of these types.
    let slot = unsafe { slab::claim::<C::Binding, C::Guard>(block.header()) }.ok_or(Refusal::INSUFFICIENT_RESOURCES)?;
    // SAFETY: slots stay as long as the registration, and that as long as its callbacks run.
    let claimed = unsafe { slot.as_ref() };
    let binding = block.module.attach(&offer).inspect_err(|_| claimed.unclaim())?;
    offer.record(&claimed.header);
    // The provider may call in from the moment it agrees (R28), so the binding is in place before it is asked.
    // SAFETY: claimed above.
    unsafe { claimed.fill(handle, binding) };
    let mut status = STATUS_NOINTERFACE;
    let mut provider_context: *mut c_void = ptr::null_mut();
    let mut provider_dispatch: *const c_void = ptr::null();
    for table in tables::<C>() {
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
        return Ok(status);
    }
    if status != STATUS_SUCCESS {
        // Neither agreed nor refused. What NMR makes of that is not documented; the binding stays to be on the safe
        // side. SAFETY: filled above.
        unsafe { claimed.publish(provider_context, None) };
        return Ok(status);
    }
    // Too late to refuse (M12): a provider whose table is not as the interface says is attached and never called.
    // SAFETY: the interface says what the provider's dispatch table is.
    let table = unsafe { npi::check::<<C::Npi as Npi>::ProviderDispatch>(provider_dispatch) };
    // SAFETY: filled above; the table was checked.
    unsafe { claimed.publish(provider_context, table.ok().map(|table| table.as_ptr().cast_const().cast())) };
    // SAFETY: slots stay as long as the registration.
    if let Some(provider) = unsafe { Peer::of(claimed) } {
        block.module.attached(&provider);
    }
    Ok(STATUS_SUCCESS)
}

/// NPI_CLIENT_DETACH_PROVIDER_FN.
unsafe extern "system" fn detach<C: Client>(context: *mut c_void) -> NTSTATUS {
    // SAFETY: NMR passes the context of a binding of `C` that is not over.
    let slot = unsafe { &*context.cast::<Slot<C::Binding, C::Guard>>() };
    // SAFETY: the slot is one of a client `C`.
    let block = unsafe { RegistrationBlock::<ClientRole<C>>::of(slot) };
    // SAFETY: this is the detach callback.
    let done = unsafe { slot.detach(|binding| block.module.detaching(binding)) };
    if done { STATUS_SUCCESS } else { STATUS_PENDING }
}

/// NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN.
unsafe extern "system" fn cleanup<C: Client>(context: *mut c_void) {
    // SAFETY: NMR passes the context of a binding of `C` that both sides have detached.
    let slot = unsafe { &*context.cast::<Slot<C::Binding, C::Guard>>() };
    // SAFETY: the slot is one of a client `C`.
    let block = unsafe { RegistrationBlock::<ClientRole<C>>::of(slot) };
    // SAFETY: the binding stays until `cleanup`.
    block.module.detached(unsafe { slot.binding() });
    // SAFETY: this is the cleanup callback.
    unsafe { slot.cleanup() };
}
