//! What provider and client registrations have in common: the block of memory that NMR keeps pointers to, and its end.

use core::alloc::Layout;
use core::ffi::c_void;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use wdk_nmr_sys::{
    HANDLE, NPI_MODULEID, NPI_REGISTRATION_INSTANCE, NPIID, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::diagnosis::Bindings;
use crate::guard::Guard;
use crate::header::RegistrationHeader;
use crate::identity::ModuleId;
use crate::irql::{AtPassiveLevel, Passive};
use crate::memory::Memory;
use crate::npi::{self, NpiStructure, StructureError};
use crate::slab::{self, Slots};
use crate::slot::Slot;

/// A promise that outlives a mistake: the driver's image and its heap stay as long as a value of the type exists.
///
/// A registration owns such a value and drops it as the last thing of [`deregister`](crate::ProviderRegistration::deregister).
/// A registration that is leaked or dropped without that leaks the value too. NMR then goes on calling into an image that
/// is still there: the driver cannot be unloaded, which is the worst that can come of it (M6).
///
/// In a WDM driver the value holds a reference to the DRIVER_OBJECT: `ObReferenceObject` when it is made, in DriverEntry,
/// and `ObDereferenceObject` when it is dropped.
///
/// # Safety
///
/// As long as a value of the type exists,
///
/// * the code and the statics of the image that makes the registration stay mapped, even if DriverUnload has returned;
/// * the global allocator hands out memory that is not paged (R10), aligned to at least 16 bytes or as asked for.
pub unsafe trait Resident: Send + Sync + 'static {}

/// What a module tells NMR about itself. `C` is the type of its NPI-specific characteristics.
#[derive(Clone, Debug)]
#[must_use]
pub struct Identity<C> {
    pub(crate) module_id: ModuleId,
    pub(crate) number: u32,
    pub(crate) characteristics: C,
    pub(crate) one_peer: bool,
    pub(crate) clock: Option<fn() -> u64>,
}

impl<C: NpiStructure> Identity<C> {
    /// A module with these characteristics; `()` if the interface has none.
    pub const fn new(module_id: ModuleId, characteristics: C) -> Self {
        Self { module_id, number: 0, characteristics, one_peer: false, clock: None }
    }

    /// Says which of the module's implementations of the interface this is. 0 if it is not said.
    pub const fn number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Refuses further peers with STATUS_NOINTERFACE while one is attached or being attached. The attach function is not
    /// called for them, and the first one does not notice (M16). A peer that is on its way out does not count.
    ///
    /// NMR does not offer a refused peer again (R32).
    pub const fn one_peer(mut self) -> Self {
        self.one_peer = true;
        self
    }

    /// Gives the library a clock, from which a diagnosis says how long a detach has been pending. It is read at up to
    /// DISPATCH_LEVEL; `KeQueryInterruptTime` will do. The unit is the clock's.
    pub const fn clock(mut self, clock: fn() -> u64) -> Self {
        self.clock = Some(clock);
        self
    }
}

/// Why there is no registration. Nothing is left of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The driver's own heap has no memory for the registration.
    OutOfMemory,
    /// NMR returned STATUS_INSUFFICIENT_RESOURCES.
    InsufficientResources,
    /// NMR returned another status.
    Status(NTSTATUS),
    /// A structure that the module itself wants to hand out does not have the form that its interface demands.
    OwnStructure(StructureError),
}

impl RegisterError {
    /// What DriverEntry returns: a failure, always.
    #[must_use]
    pub const fn status(&self) -> NTSTATUS {
        /// STATUS_UNSUCCESSFUL
        const UNSUCCESSFUL: NTSTATUS = 0xC000_0001_u32.cast_signed();
        match self {
            Self::OutOfMemory | Self::InsufficientResources => STATUS_INSUFFICIENT_RESOURCES,
            Self::Status(status) if *status < 0 => *status,
            Self::Status(_) => UNSUCCESSFUL,
            Self::OwnStructure(_) => STATUS_INVALID_PARAMETER,
        }
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => f.write_str("no memory for the registration"),
            Self::InsufficientResources => f.write_str("NMR has no resources for the registration"),
            Self::Status(status) => write!(f, "NMR refused the registration with status {status:#010x}"),
            Self::OwnStructure(error) => write!(f, "the module hands out {error}"),
        }
    }
}

impl core::error::Error for RegisterError {}

/// NMR did not end a registration as it should. The registration has been leaked, and with it the driver's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaked {
    /// What NMR returned.
    pub status: NTSTATUS,
}

impl fmt::Display for Leaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NMR did not end the registration (status {:#010x}); the driver stays loaded", self.status)
    }
}

impl core::error::Error for Leaked {}

/// The two roles of a module, as far as the registration is concerned.
///
/// # Safety
///
/// The functions are those of one role, and the callbacks in the characteristics take slots of `Binding` and `Guard`.
pub(crate) unsafe trait Role: 'static {
    type Module: Send + Sync + 'static;
    type Binding: Send + Sync + 'static;
    type Guard: Guard;
    /// The NPI-specific characteristics of this side.
    type Specific: NpiStructure;
    /// NPI_CLIENT_CHARACTERISTICS or NPI_PROVIDER_CHARACTERISTICS.
    type Characteristics;

    const ROLE: u32;
    const NPI_ID: NPIID;
    const COMPLETE: unsafe extern "system" fn(HANDLE);
    const REGISTER: unsafe extern "system" fn(*const Self::Characteristics, *mut c_void, *mut HANDLE) -> NTSTATUS;
    const DEREGISTER: unsafe extern "system" fn(HANDLE) -> NTSTATUS;
    const WAIT: unsafe extern "system" fn(HANDLE) -> NTSTATUS;

    fn characteristics(instance: NPI_REGISTRATION_INSTANCE) -> Self::Characteristics;
}

/// The slots of a role.
pub(crate) type RoleSlot<L> = Slot<<L as Role>::Binding, <L as Role>::Guard>;

/// Everything that NMR keeps a pointer to, except for the slots. In place until the registration's wait has returned.
#[repr(C)]
pub(crate) struct Block<L: Role> {
    /// First, so that a slot's pointer to it is a pointer to the block.
    header: RegistrationHeader,
    characteristics: L::Characteristics,
    npi_id: NPIID,
    module_id: NPI_MODULEID,
    specific: L::Specific,
    pub(crate) module: L::Module,
    memory: Memory,
}

impl<L: Role> Block<L> {
    /// The block that a slot belongs to.
    ///
    /// # Safety
    ///
    /// The slot is one of a registration of role `L`, and is not freed for `'a`.
    #[inline]
    pub(crate) unsafe fn of<'a>(slot: &Slot<L::Binding, L::Guard>) -> &'a Self {
        let block = slot.header.registration.cast::<Self>();
        // SAFETY: the header is the first field of the block, and the block outlives its slots.
        unsafe { &*block }
    }

    /// The block that NMR was given as the registration's context.
    ///
    /// # Safety
    ///
    /// `context` is the context of a registration of role `L` that is not over for `'a`.
    pub(crate) unsafe fn from_context<'a>(context: *mut c_void) -> &'a Self {
        // SAFETY: the context is a pointer to the block, which stays as long as the registration.
        unsafe { &*context.cast::<Self>() }
    }

    pub(crate) fn header(&self) -> &RegistrationHeader {
        &self.header
    }
}

/// A registration of either role. Not dropped by itself: what is not deregistered is leaked.
pub(crate) struct Registration<L: Role, R> {
    block: NonNull<Block<L>>,
    /// Only of a registration that succeeded, and not NULL.
    handle: NonNull<c_void>,
    resident: ManuallyDrop<R>,
    role: PhantomData<L>,
}

// SAFETY: NMR's functions may be called from any thread; the module, the bindings and the rest are Send and Sync.
unsafe impl<L: Role, R: Send> Send for Registration<L, R> {}
// SAFETY: as above.
unsafe impl<L: Role, R: Sync> Sync for Registration<L, R> {}

impl<L: Role, R: Resident> Registration<L, R> {
    pub(crate) fn register(
        module: L::Module,
        identity: Identity<L::Specific>,
        resident: R,
        _: impl AtPassiveLevel,
    ) -> Result<Self, RegisterError> {
        let specific = npi::pointer_to(&raw const identity.characteristics);
        // SAFETY: a pointer to a value, or NULL.
        unsafe { npi::check::<L::Specific>(specific) }.map_err(RegisterError::OwnStructure)?;
        // Holds on to the image from before NMR learns of it.
        let resident = ManuallyDrop::new(resident);
        let Some(block) = allocate::<L>(module, identity) else {
            drop(ManuallyDrop::into_inner(resident));
            return Err(RegisterError::OutOfMemory);
        };
        let mut handle: HANDLE = ptr::null_mut();
        let place = block.as_ptr();
        // SAFETY: the block is initialized.
        let characteristics = unsafe { &raw const (*place).characteristics };
        // SAFETY: at PASSIVE_LEVEL (the token). The characteristics and all that they point to stay in place until the
        // registration is over (R10). The callbacks fit the context.
        let status = unsafe { (L::REGISTER)(characteristics, place.cast(), &raw mut handle) };
        match (status, NonNull::new(handle)) {
            (STATUS_SUCCESS, Some(handle)) => {
                // SAFETY: the block is initialized.
                let header = unsafe { &raw const (*place).header };
                // SAFETY: as above; NMR's callbacks have no more than shared references either.
                unsafe { &*header }.handle.store(handle.as_ptr(), Ordering::Relaxed);
                Ok(Self { block, handle, resident, role: PhantomData })
            }
            (failure, _) if failure < 0 => {
                // SAFETY: NMR does not know the block, since registering failed.
                unsafe { free(block) };
                drop(ManuallyDrop::into_inner(resident));
                Err(match failure {
                    STATUS_INSUFFICIENT_RESOURCES => RegisterError::InsufficientResources,
                    status => RegisterError::Status(status),
                })
            }
            // Neither a success nor a failure: whether NMR knows the block cannot be said. It is leaked, and the image
            // with it.
            (status, _) => Err(RegisterError::Status(status)),
        }
    }

    pub(crate) fn header(&self) -> &RegistrationHeader {
        &self.block().header
    }

    pub(crate) fn block(&self) -> &Block<L> {
        // SAFETY: the block stays until `Deregistration::wait`, which consumes what the registration becomes.
        unsafe { self.block.as_ref() }
    }

    pub(crate) fn slots(&self) -> Slots<'_, L::Binding, L::Guard> {
        // SAFETY: the slots are of the role's types and stay as long as the block.
        unsafe { Slots::of(self.header()) }
    }

    pub(crate) fn deregister(self) -> Deregistration<L, R> {
        // SAFETY: the handle of a registration that succeeded (R68), once: `self` is consumed.
        let status = unsafe { (L::DEREGISTER)(self.handle.as_ptr()) };
        Deregistration { registration: self, status }
    }
}

/// A registration that is on its way out.
pub(crate) struct Deregistration<L: Role, R> {
    registration: Registration<L, R>,
    /// What NmrDeregister* returned.
    status: NTSTATUS,
}

impl<L: Role, R: Resident> Deregistration<L, R> {
    pub(crate) fn bindings(&self) -> Bindings<'_, L::Binding, L::Guard> {
        Bindings::new(self.registration.header(), self.registration.slots())
    }

    pub(crate) fn wait(self, _: Passive<'_>) -> Result<(), Leaked> {
        // STATUS_PENDING is the one success there is (R61). The pages on unloading leave room for STATUS_SUCCESS with
        // nothing to wait for.
        let status = match self.status {
            STATUS_PENDING => {
                let handle = self.registration.handle.as_ptr();
                // SAFETY: at PASSIVE_LEVEL and in no callback (the token); the handle has been deregistered (R62).
                unsafe { (L::WAIT)(handle) }
            }
            other => other,
        };
        if status != STATUS_SUCCESS {
            return Err(Leaked { status });
        }
        let Registration { block, resident, .. } = self.registration;
        // SAFETY: the wait has returned, so NMR knows the block no more and no callback runs (R63); the registration is
        // consumed, so nobody borrows from it.
        unsafe { free(block) };
        drop(ManuallyDrop::into_inner(resident));
        Ok(())
    }
}

/// Makes the block, with every pointer in it at its final place (M19).
fn allocate<L: Role>(module: L::Module, identity: Identity<L::Specific>) -> Option<NonNull<Block<L>>> {
    let (memory, place) = Memory::allocate(Layout::new::<Block<L>>())?;
    let block = place.cast::<Block<L>>();
    let at = block.as_ptr();
    // SAFETY: a field of a valid place.
    let npi_id = unsafe { &raw const (*at).npi_id };
    // SAFETY: as above.
    let module_id = unsafe { &raw const (*at).module_id };
    // SAFETY: as above.
    let specific = unsafe { &raw const (*at).specific };
    let instance = NPI_REGISTRATION_INSTANCE {
        Version: 0,
        Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
        NpiId: npi_id,
        ModuleId: module_id,
        Number: identity.number,
        NpiSpecificCharacteristics: npi::pointer_to(specific),
    };
    let slot_size = size_of::<Slot<L::Binding, L::Guard>>();
    let value = Block {
        header: RegistrationHeader::new(L::ROLE, slot_size, L::COMPLETE, identity.clock, identity.one_peer),
        characteristics: L::characteristics(instance),
        npi_id: L::NPI_ID,
        module_id: identity.module_id.to_raw(),
        specific: identity.characteristics,
        module,
        memory,
    };
    // SAFETY: the memory was allocated for a block.
    unsafe { block.write(value) };
    Some(block)
}

/// Drops what is in the block and frees it and its slots.
///
/// # Safety
///
/// NMR does not know the block any more, and nobody else uses it.
unsafe fn free<L: Role>(block: NonNull<Block<L>>) {
    // SAFETY: the block is initialized.
    let header = unsafe { &(*block.as_ptr()).header };
    // SAFETY: the slots are of the role's types; they are freed below.
    for slot in unsafe { Slots::<L::Binding, L::Guard>::of(header) } {
        if slot.is_filled() {
            // SAFETY: a binding that NMR never cleaned up (`client::attach`), and nobody uses it any more.
            unsafe { slot.cleanup() };
        }
    }
    // SAFETY: no slot is filled, and the caller promises that nobody else uses them.
    unsafe { slab::free(header) };
    // SAFETY: the block is initialized.
    let memory = unsafe { (*block.as_ptr()).memory };
    // SAFETY: the caller promises that nobody else uses it.
    unsafe { block.drop_in_place() };
    // SAFETY: allocated by `allocate`, and dropped above.
    unsafe { memory.free() };
}
