//! Providers: modules that offer an interface.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use wdk_nmr_sys::{
    HANDLE, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE, NPIID, NTSTATUS, NmrDeregisterProvider,
    NmrProviderDetachClientComplete, NmrRegisterProvider, NmrWaitForProviderDeregisterComplete, STATUS_PENDING,
    STATUS_SUCCESS,
};

use crate::diagnosis::Bindings;
use crate::guard::{AtDispatch, DispatchGuard, Guard};
use crate::header::ROLE_PROVIDER;
use crate::header::RegistrationHeader;
use crate::irql::{AtPassiveLevel, Dispatch, Passive};
use crate::module_id::ModuleId;
use crate::npi::Npi;
use crate::offer::{Offer, Refusal};
use crate::part::{Absent, Part};
use crate::peer::{HeldPeer, Peer, Peers};
use crate::registration::{
    Deregistration, Leaked, RegisterError, Registration, RegistrationBlock, RegistrationOptions, Resident, Role,
    RoleSlot,
};
use crate::slab;
use crate::slot::Slot;
use crate::table::Side;

/// A client that a provider may accept or refuse.
pub type ClientOffer<'a, N> = Offer<'a, <N as Npi>::ClientCharacteristics, <N as Npi>::ClientDispatch>;
/// A client that is attached to the provider `P`.
pub type AttachedClient<'a, P> =
    Peer<'a, <P as Provider>::Binding, <<P as Provider>::Npi as Npi>::ClientDispatch, <P as Provider>::Guard>;
/// A client that is attached to the provider `P`, as it is called at DISPATCH_LEVEL.
pub type AttachedClientAtDispatch<'a, P> = Peer<
    'a,
    <P as Provider>::Binding,
    <<P as Provider>::Npi as Npi>::ClientDispatch,
    AtDispatch<<P as Provider>::Guard>,
>;
/// A client that is attached to the provider `P`, without a borrow.
pub type HeldClient<P> =
    HeldPeer<<P as Provider>::Binding, <<P as Provider>::Npi as Npi>::ClientDispatch, <P as Provider>::Guard>;
/// The clients that are attached to the provider `P`.
pub type AttachedClients<'a, P> =
    Peers<'a, <P as Provider>::Binding, <<P as Provider>::Npi as Npi>::ClientDispatch, <P as Provider>::Guard>;

/// A module that offers an interface to clients. One value serves all of them; what belongs to one client is in
/// [`Provider::Binding`].
///
/// The functions are called on any thread, also at the same time for different clients (R31), and before the
/// registration of the provider has returned (R7).
pub trait Provider: Send + Sync + Sized + 'static {
    /// The interface.
    type Npi: Npi;
    /// What the provider keeps for one client. It is dropped when both sides have detached, at up to DISPATCH_LEVEL:
    /// its drop must not wait or touch paged memory.
    type Binding: Send + Sync + 'static;
    /// How calls into clients are counted: [`Single`](crate::Single); [`Sharded`](crate::Sharded) if one client is
    /// called from many processors at once; [`PerProcessor`](crate::PerProcessor) if that happens at DISPATCH_LEVEL. If
    /// calls are made below DISPATCH_LEVEL on threads that can be suspended, any of them within
    /// [`InCriticalRegion`](crate::InCriticalRegion).
    type Guard: Guard;

    /// What clients get to call: [`provider_table!`](crate::provider_table) writes it, and
    /// [`ProviderTable::none`] is for an interface without.
    ///
    /// Called once for each registration, at PASSIVE_LEVEL, before NMR knows of it. The table is kept in the memory of
    /// the registration and is the same for all clients. The provider has its final place by then, so a table may point
    /// to what is in it.
    fn dispatch(&self) -> ProviderTable<Self>;

    /// Accepts or refuses a client, at PASSIVE_LEVEL. A client can be called when this has returned, not before (M15).
    ///
    /// # Errors
    ///
    /// What the client gets to see.
    fn attach(&self, client: &ClientOffer<'_, Self::Npi>) -> Result<Self::Binding, Refusal>;

    /// A client was refused, at PASSIVE_LEVEL: by [`Provider::attach`], or by the library before that because what the
    /// client showed is not what the interface says. `client` is `None` if it does not say which module it is.
    fn refused(&self, client: Option<ModuleId>, refusal: Refusal) {
        let _ = (client, refusal);
    }

    /// The binding is about to end, and no new call into the client can start. Calls that the client has taken and not
    /// ended yet may be told to hurry. Called once, at up to DISPATCH_LEVEL: it must not wait or touch paged memory.
    /// The client may still call in until the binding is dropped (R51).
    fn detaching(&self, binding: &Self::Binding) {
        let _ = binding;
    }

    /// Both sides have detached, and the binding is dropped next (R55). Called once, at up to DISPATCH_LEVEL, as
    /// [`Provider::detaching`].
    fn detached(&self, binding: &Self::Binding) {
        let _ = binding;
    }
}

/// The dispatch table of a provider: a table whose functions know what to do with a binding of `P`.
pub struct ProviderTable<P: Provider>(<<P::Npi as Npi>::ProviderDispatch as Part>::Own);

impl<P: Provider> ProviderTable<P> {
    /// A table of functions that each make a [`ProviderCall`] of `P` from their context.
    /// [`provider_table!`](crate::provider_table) writes both. By hand it is
    ///
    /// ```
    /// # use core::ffi::c_void;
    /// # use wdk_nmr::*;
    /// # mod interface { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/adding/interface.rs")); }
    /// # use interface::*;
    /// struct Adder;
    ///
    /// /// # Safety
    /// ///
    /// /// The context is that of a binding of `Adder`, and a call of its client is in progress.
    /// unsafe extern "system" fn add(context: *mut c_void, number: u32) -> u32 {
    ///     // SAFETY: clients call with the context that came with the table.
    ///     let call = unsafe { ProviderCall::<Adder>::new(context) };
    ///     call.binding().wrapping_add(number)
    /// }
    ///
    /// impl Provider for Adder {
    ///     type Npi = Adding;
    ///     type Binding = u32;
    ///     type Guard = Single;
    ///
    ///     fn dispatch(&self) -> ProviderTable<Self> {
    ///         let table = AddingDispatch { header: VersionAndSize::of::<AddingDispatch>(1), add };
    ///         // SAFETY: its one function takes contexts of bindings of `Adder`.
    ///         unsafe { ProviderTable::new(table) }
    ///     }
    ///
    ///     fn attach(&self, _: &ClientOffer<'_, Adding>) -> Result<u32, Refusal> {
    ///         Ok(7)
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    ///
    /// # Safety
    ///
    /// As long as a registration of the provider exists, the functions of the table may be called, as the interface
    /// says, with the context of any of its bindings, and what the table points to is what the interface says.
    #[must_use]
    pub const unsafe fn new(table: <<P::Npi as Npi>::ProviderDispatch as Part>::Own) -> Self {
        Self(table)
    }

    /// No table, for an interface that has none or in which it is optional.
    #[must_use]
    pub const fn none() -> Self
    where
        <<P::Npi as Npi>::ProviderDispatch as Part>::Own: Absent,
    {
        Self(Absent::ABSENT)
    }
}

/// A client's call into the provider `P`: what a function of the dispatch table makes of its context. `'a` is the time
/// for which the call is in progress.
///
/// It costs nothing: no count, no lock. The client sees to it that the binding outlives its own calls (R44).
///
/// A function that returns STATUS_PENDING and ends the call later, by calling back, takes hold of the client while it
/// is still called: [`client`](Self::client), then [`Peer::hold`]. What is held leads to the binding and to the
/// client's table until it is dropped.
pub struct ProviderCall<'a, P: Provider> {
    slot: &'a Slot<P::Binding, P::Guard>,
}

impl<'a, P: Provider> ProviderCall<'a, P> {
    /// Takes the context with which a client has called.
    ///
    /// # Safety
    ///
    /// `context` is the context of a binding of `P`, and a client's call with it is in progress for `'a`.
    #[inline]
    #[must_use]
    pub const unsafe fn new(context: *mut c_void) -> Self {
        // SAFETY: contexts are pointers to slots, which stay while the client's call is in progress.
        Self { slot: unsafe { &*context.cast::<Slot<P::Binding, P::Guard>>() } }
    }

    /// The provider.
    #[inline]
    #[must_use]
    pub fn provider(&self) -> &'a P {
        // SAFETY: the slot is one of a provider `P`.
        let block = unsafe { RegistrationBlock::<ProviderSide<P>>::of(self.slot) };
        &block.module
    }

    /// What the provider keeps for the client that calls. It is there even if the client has not yet returned from its
    /// attach callback (R28).
    #[inline]
    #[must_use]
    pub fn binding(&self) -> &'a P::Binding {
        // SAFETY: the client's call is in progress, so the binding is attached and not cleaned up.
        unsafe { self.slot.binding() }
    }

    /// The client, to call it back. `None`: the binding is on its way out.
    #[inline]
    #[must_use]
    pub fn client(&self) -> Option<AttachedClient<'a, P>> {
        // SAFETY: the slot stays while the client's call is in progress; the table was accepted in `attach`.
        unsafe { Peer::of(self.slot) }
    }

    /// As [`ProviderCall::client`], at DISPATCH_LEVEL, without a locked instruction.
    #[inline]
    #[must_use]
    pub fn client_at_dispatch(&self, dispatch: Dispatch<'a>) -> Option<AttachedClientAtDispatch<'a, P>>
    where
        P::Guard: DispatchGuard,
    {
        // SAFETY: the slot stays while the client's call is in progress; the table was accepted in `attach`.
        unsafe { Peer::of(self.slot.at_dispatch(dispatch)) }
    }
}

/// A provider that is registered. Clients come and go until it is deregistered.
///
/// Dropped or leaked without that it stays registered for good: its memory is never freed and the driver's image stays
/// loaded (see [`Resident`]).
#[must_use = "a provider that is dropped without `deregister` stays registered and keeps the driver loaded"]
pub struct ProviderRegistration<P: Provider, R: Resident> {
    inner: Registration<ProviderSide<P>, R>,
}

impl<P: Provider, R: Resident> ProviderRegistration<P, R> {
    /// Registers a provider. Clients that are there already have been offered to it when this returns (R6), so it is
    /// the last thing that DriverEntry does.
    ///
    /// # Errors
    ///
    /// There is no registration, and `provider` and `resident` have been dropped.
    pub fn register(
        provider: P,
        options: RegistrationOptions<<<P::Npi as Npi>::ProviderCharacteristics as Part>::Own>,
        resident: R,
        passive: impl AtPassiveLevel,
    ) -> Result<Self, RegisterError> {
        Registration::register(provider, options, resident, passive).map(|inner| Self { inner })
    }

    /// The provider.
    #[must_use]
    pub fn provider(&self) -> &P {
        &self.inner.block().module
    }

    /// The clients that are attached, ready to be called. Works at up to DISPATCH_LEVEL, without a lock.
    #[inline]
    #[must_use]
    pub fn clients(&self) -> AttachedClients<'_, P> {
        // SAFETY: the clients' tables were accepted in `attach`.
        unsafe { Peers::new(self.inner.slots()) }
    }

    /// What the bindings are doing.
    #[must_use]
    pub fn bindings(&self) -> Bindings<'_, P::Binding, P::Guard> {
        Bindings::new(self.inner.header(), self.inner.slots())
    }

    /// The beginning of the registration's memory, for what shows it to people: a debugger, or what a driver adds to a
    /// crash dump.
    #[must_use]
    pub fn header(&self) -> &RegistrationHeader {
        self.inner.header()
    }

    /// Detaches all clients, waits until they and the provider are done, and drops the provider. DriverUnload calls
    /// this before it returns (R65), and DriverEntry when something fails after the registration (R73).
    ///
    /// It waits for all calls into clients to end, for the clients' calls into the provider, and as long as a client
    /// takes for its own part (R70).
    ///
    /// # Errors
    ///
    /// NMR did not do it: the registration is leaked and the image stays.
    pub fn deregister(self, passive: Passive<'_>) -> Result<(), Leaked> {
        self.start_deregistering().wait(passive)
    }

    /// The first half of [`ProviderRegistration::deregister`], at up to DISPATCH_LEVEL. What comes of it shows which
    /// bindings the other half will wait for.
    pub fn start_deregistering(self) -> DeregisteringProvider<P, R> {
        DeregisteringProvider { inner: self.inner.deregister() }
    }
}

/// A provider that is on its way out. Dropped without a wait it is leaked like a registration.
#[must_use = "a provider that is not waited for keeps the driver loaded"]
pub struct DeregisteringProvider<P: Provider, R: Resident> {
    inner: Deregistration<ProviderSide<P>, R>,
}

impl<P: Provider, R: Resident> DeregisteringProvider<P, R> {
    /// The bindings that are not gone yet.
    #[must_use]
    pub fn bindings(&self) -> Bindings<'_, P::Binding, P::Guard> {
        self.inner.bindings()
    }

    /// Waits until the registration is over and drops the provider.
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
pub struct ProviderSide<P>(PhantomData<fn(P)>);

impl<P: Provider> Side for ProviderSide<P> {
    type Call<'a> = ProviderCall<'a, P>;

    #[inline]
    unsafe fn call<'a>(context: *mut c_void) -> ProviderCall<'a, P> {
        // SAFETY: as the caller promises.
        unsafe { ProviderCall::new(context) }
    }
}

// SAFETY: the provider's functions, and callbacks that take slots of a `P`.
unsafe impl<P: Provider> Role for ProviderSide<P> {
    type Module = P;
    type Binding = P::Binding;
    type Guard = P::Guard;
    type Specific = <P::Npi as Npi>::ProviderCharacteristics;
    type Dispatch = <P::Npi as Npi>::ProviderDispatch;
    type Characteristics = NPI_PROVIDER_CHARACTERISTICS;

    const ROLE: u32 = ROLE_PROVIDER;
    const NPI_ID: NPIID = P::Npi::ID;
    const TABLES: usize = 1;
    const COMPLETE: unsafe extern "system" fn(HANDLE) = NmrProviderDetachClientComplete;
    const REGISTER: unsafe extern "system" fn(
        *const NPI_PROVIDER_CHARACTERISTICS,
        *mut c_void,
        *mut HANDLE,
    ) -> NTSTATUS = NmrRegisterProvider;
    const DEREGISTER: unsafe extern "system" fn(HANDLE) -> NTSTATUS = NmrDeregisterProvider;
    const WAIT: unsafe extern "system" fn(HANDLE) -> NTSTATUS = NmrWaitForProviderDeregisterComplete;

    fn characteristics(instance: NPI_REGISTRATION_INSTANCE) -> NPI_PROVIDER_CHARACTERISTICS {
        NPI_PROVIDER_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
            ProviderAttachClient: Some(attach::<P>),
            ProviderDetachClient: Some(detach::<P>),
            // Always there: without it nobody says when a binding is over (R59).
            ProviderCleanupBindingContext: Some(cleanup::<P>),
            ProviderRegistrationInstance: instance,
        }
    }

    fn instance(characteristics: &mut NPI_PROVIDER_CHARACTERISTICS) -> &mut NPI_REGISTRATION_INSTANCE {
        &mut characteristics.ProviderRegistrationInstance
    }

    fn dispatch(provider: &P, _: usize) -> <<P::Npi as Npi>::ProviderDispatch as Part>::Own {
        provider.dispatch().0
    }
}

/// NPI_PROVIDER_ATTACH_CLIENT_FN.
unsafe extern "system" fn attach<P: Provider>(
    handle: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    binding_context: *mut *mut c_void,
    dispatch: *mut *const c_void,
) -> NTSTATUS {
    // SAFETY: NMR passes the context of the registration.
    let block = unsafe { RegistrationBlock::<ProviderSide<P>>::from_context(context) };
    if !block.header().take_place() {
        return Refusal::NO_INTERFACE.status();
    }
    // SAFETY: as NMR calls.
    match unsafe { accept::<P>(block, handle, instance, client_context, client_dispatch) } {
        Ok(slot) => {
            // SAFETY: NMR passes a place for the result (R21), which is written on success only (M17).
            unsafe { binding_context.write(slot.as_ptr().cast()) };
            // SAFETY: NMR passes a place for the result (R21).
            unsafe { dispatch.write(block.dispatches().next().unwrap_or(ptr::null())) };
            STATUS_SUCCESS
        }
        Err(refusal) => {
            block.header().free_place();
            // SAFETY: NMR passes the client's registration instance, which stays for the callback.
            let client = unsafe { Offer::<(), ()>::new(instance, ()) };
            block.module.refused(client.and_then(|client| client.module_id()).ok(), refusal);
            refusal.status()
        }
    }
}

/// Asks the provider, and if it accepts makes a binding that clients can be called through.
///
/// # Safety
///
/// The arguments are those of an attach callback for `block`.
unsafe fn accept<P: Provider>(
    block: &RegistrationBlock<ProviderSide<P>>,
    handle: HANDLE,
    instance: *const NPI_REGISTRATION_INSTANCE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
) -> Result<NonNull<RoleSlot<ProviderSide<P>>>, Refusal> {
    // SAFETY: the interface says what the client's dispatch table is.
    unsafe { <P::Npi as Npi>::ClientDispatch::accept(client_dispatch) }?;
    // SAFETY: accepted, and it stays as long as the client may attach.
    let table = unsafe { <P::Npi as Npi>::ClientDispatch::view(client_dispatch) };
    // SAFETY: NMR passes the client's registration instance, which stays for the callback.
    let offer = unsafe { ClientOffer::<P::Npi>::new(instance, table) }?;
    // SAFETY: the slots of the registration are of these types.
    let slot = unsafe { slab::claim::<P::Binding, P::Guard>(block.header()) }.ok_or(Refusal::INSUFFICIENT_RESOURCES)?;
    // SAFETY: slots stay as long as the registration, and that as long as its callbacks run.
    let claimed = unsafe { slot.as_ref() };
    let binding = block.module.attach(&offer).inspect_err(|_| claimed.unclaim())?;
    offer.record(&claimed.header);
    // SAFETY: claimed above.
    unsafe { claimed.fill(handle, binding) };
    // SAFETY: filled; the table was accepted. From here on the provider cannot refuse any more, so the client may be
    // called (R28, R29).
    unsafe { claimed.publish(client_context, Some(client_dispatch)) };
    Ok(slot)
}

/// NPI_PROVIDER_DETACH_CLIENT_FN.
unsafe extern "system" fn detach<P: Provider>(context: *mut c_void) -> NTSTATUS {
    // SAFETY: NMR passes the context of a binding of `P` that is not over.
    let slot = unsafe { &*context.cast::<Slot<P::Binding, P::Guard>>() };
    // SAFETY: the slot is one of a provider `P`.
    let block = unsafe { RegistrationBlock::<ProviderSide<P>>::of(slot) };
    // SAFETY: this is the detach callback.
    let done = unsafe { slot.detach(|binding| block.module.detaching(binding)) };
    if done { STATUS_SUCCESS } else { STATUS_PENDING }
}

/// NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN.
unsafe extern "system" fn cleanup<P: Provider>(context: *mut c_void) {
    // SAFETY: NMR passes the context of a binding of `P` that both sides have detached.
    let slot = unsafe { &*context.cast::<Slot<P::Binding, P::Guard>>() };
    // SAFETY: the slot is one of a provider `P`.
    let block = unsafe { RegistrationBlock::<ProviderSide<P>>::of(slot) };
    // SAFETY: the binding stays until `cleanup`.
    block.module.detached(unsafe { slot.binding() });
    // SAFETY: this is the cleanup callback.
    unsafe { slot.cleanup() };
}
