//! What provider and client registrations have in common.
//!
//! # Role, block, slot, header
//!
//! To NMR a module is a structure of callbacks and a `void *`. To its author it is a value with an `attach` function.
//! What lies between the two is the same for providers and clients but for the names, so it is written once, in four
//! parts:
//!
//! * A [`Role`] is the adapter. [`Provider`](crate::Provider) and [`Client`](crate::Client) are traits for people;
//!   `Role` is the trait for the library, which names the four NMR functions of a side and the types that its callbacks
//!   deal with. Each role has one set of callbacks, generic over the module: `attach`, `detach` and `cleanup` in
//!   `provider.rs` and `client.rs`. They turn NMR's pointers into references and call the module. No module ever sees a
//!   handle, which is why none can use one of the wrong kind.
//! * A [`RegistrationBlock`] is the memory. NMR keeps the addresses of the characteristics, the registration instance,
//!   the identifiers and the context until the registration's wait has returned (R10). They are fields of one non-paged
//!   allocation, and the module lies beside them, so that the context which comes back in an attach callback is the way
//!   to all of it.
//! * A [`Slot`](crate::slot::Slot) is one binding: the guard that counts calls into the peer, how to call the peer, and
//!   what the module keeps for it. Its address is the binding context. Slots come in chunks (`slab.rs`), and a slot
//!   that is free again serves the next binding; its memory stays until the registration is over. So whoever comes late
//!   with the address of a binding that has ended finds a guard that refuses, and not freed memory.
//! * A header, of the registration, of a chunk or of a slot, is what the parts have that does not depend on a type:
//!   [`header`](crate::header). The library walks from one to the next by these, and so does a debugger.
//!
//! A [`Registration`] is the handle on all of it that a driver owns. It exists only while NMR knows the block: making
//! one is registering, and [`deregister`](Registration::deregister) and [`wait`](Deregistration::wait) consume it. That
//! is what a C driver keeps in a global handle and a habit, as a type.
//!
//! Dropping a registration does not end it. The end waits for others, at PASSIVE_LEVEL, and a drop can happen anywhere;
//! so the end is a function that takes a token, and a registration that is dropped without it is leaked, together with
//! the [`Resident`] that keeps the image loaded.

mod block;
mod error;
mod options;
mod resident;
mod role;

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use wdk_nmr_sys::{HANDLE, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_PENDING, STATUS_SUCCESS};

use crate::diagnosis::Bindings;
use crate::header::RegistrationHeader;
use crate::irql::{AtPassiveLevel, Passive};
use crate::npi::ID_AT_RUN_TIME;
use crate::slab::Slots;

pub(crate) use block::RegistrationBlock;
pub use error::{Leaked, RegisterError};
pub use options::RegistrationOptions;
pub use resident::Resident;
use role::OwnSpecific;
pub(crate) use role::{Role, RoleSlot};

/// A registration of either role. Not dropped by itself: what is not deregistered is leaked.
pub(crate) struct Registration<L: Role, R> {
    block: NonNull<RegistrationBlock<L>>,
    /// Only of a registration that succeeded, and not NULL.
    handle: NonNull<c_void>,
    resident: ManuallyDrop<R>,
    role: PhantomData<L>,
}

// SAFETY: NMR's functions may be called from any thread; the module, the bindings and the rest are Send and Sync.
unsafe impl<L: Role, R: Send> Send for Registration<L, R> {}
// SAFETY: NMR's functions may be called from any thread; the module, the bindings and the rest are Send and Sync.
unsafe impl<L: Role, R: Sync> Sync for Registration<L, R> {}

impl<L: Role, R: Resident> Registration<L, R> {
    pub(crate) fn register(
        module: L::Module,
        options: RegistrationOptions<OwnSpecific<L>>,
        resident: R,
        _: impl AtPassiveLevel,
    ) -> Result<Self, RegisterError> {
        let npi_id = options.npi_id.unwrap_or(L::NPI_ID);
        if npi_id == ID_AT_RUN_TIME {
            return Err(RegisterError::NoNpiId);
        }
        let block = RegistrationBlock::<L>::allocate(module, npi_id, options).ok_or(RegisterError::OutOfMemory)?;
        // SAFETY: BLOCK.
        let shared = unsafe { block.as_ref() };
        if let Err(error) = shared.check() {
            // SAFETY: NMR does not know the block.
            unsafe { RegistrationBlock::free(block) };
            return Err(RegisterError::OwnStructure(error));
        }
        // Holds on to the image from before NMR learns of it.
        let resident = ManuallyDrop::new(resident);
        let mut handle: HANDLE = ptr::null_mut();
        // SAFETY: at PASSIVE_LEVEL (the token). The characteristics and all that they point to stay in place until the
        // registration is over (R10). The callbacks fit the context.
        let status =
            unsafe { (L::REGISTER)(&raw const shared.characteristics, block.as_ptr().cast(), &raw mut handle) };
        match (status, NonNull::new(handle)) {
            (STATUS_SUCCESS, Some(handle)) => {
                shared.header().handle.store(handle.as_ptr(), Ordering::Relaxed);
                Ok(Self { block, handle, resident, role: PhantomData })
            }
            (failure, _) if failure < 0 => {
                // SAFETY: NMR does not know the block, since registering failed.
                unsafe { RegistrationBlock::free(block) };
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
        self.block().header()
    }

    pub(crate) fn block(&self) -> &RegistrationBlock<L> {
        // SAFETY: BLOCK. `Deregistration::wait`, which frees it, consumes what the registration becomes.
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
        // SAFETY: the wait has returned, so NMR does not know the block any more and no callback runs (R63); the
        // registration is consumed, so nobody borrows from it.
        unsafe { RegistrationBlock::free(block) };
        drop(ManuallyDrop::into_inner(resident));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use wdk_nmr_sys::{GUID, NPI_CLIENT_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE, NPIID, STATUS_INVALID_PARAMETER};

    use super::*;
    use crate::guard::Single;
    use crate::module_id::ModuleId;

    /// A client of an NMR that answers every registration with this status, and gives no handle.
    struct Answered<const STATUS: NTSTATUS>;

    unsafe extern "system" fn answer<const STATUS: NTSTATUS>(
        _: *const NPI_CLIENT_CHARACTERISTICS,
        _: *mut c_void,
        _: *mut HANDLE,
    ) -> NTSTATUS {
        STATUS
    }

    unsafe extern "system" fn complete(_: HANDLE) {}

    unsafe extern "system" fn refuse(_: HANDLE) -> NTSTATUS {
        STATUS_INVALID_PARAMETER
    }

    // SAFETY: nobody is ever attached.
    unsafe impl<const STATUS: NTSTATUS> Role for Answered<STATUS> {
        type Module = Arc<()>;
        type Binding = ();
        type Guard = Single;
        type Specific = ();
        type Dispatch = ();
        type Characteristics = NPI_CLIENT_CHARACTERISTICS;

        const ROLE: u32 = crate::header::ROLE_CLIENT;
        const NPI_ID: NPIID = GUID::from_u128(1);
        const TABLES: usize = 1;
        const COMPLETE: unsafe extern "system" fn(HANDLE) = complete;
        const REGISTER: unsafe extern "system" fn(
            *const NPI_CLIENT_CHARACTERISTICS,
            *mut c_void,
            *mut HANDLE,
        ) -> NTSTATUS = answer::<STATUS>;
        const DEREGISTER: unsafe extern "system" fn(HANDLE) -> NTSTATUS = refuse;
        const WAIT: unsafe extern "system" fn(HANDLE) -> NTSTATUS = refuse;

        fn characteristics(instance: NPI_REGISTRATION_INSTANCE) -> NPI_CLIENT_CHARACTERISTICS {
            NPI_CLIENT_CHARACTERISTICS {
                Version: 0,
                Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
                ClientAttachProvider: None,
                ClientDetachProvider: None,
                ClientCleanupBindingContext: None,
                ClientRegistrationInstance: instance,
            }
        }

        fn instance(characteristics: &mut NPI_CLIENT_CHARACTERISTICS) -> &mut NPI_REGISTRATION_INSTANCE {
            &mut characteristics.ClientRegistrationInstance
        }

        fn dispatch(_: &Arc<()>, _: usize) {}
    }

    struct Image(#[expect(dead_code, reason = "it is counted")] Arc<()>);

    // SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
    unsafe impl Resident for Image {}

    /// The error, and whether module and image are still there.
    fn register<const STATUS: NTSTATUS>() -> (Option<RegisterError>, bool, bool) {
        let (module, image) = (Arc::new(()), Arc::new(()));
        let options = RegistrationOptions::new(ModuleId::IfLuid(1), ());
        // SAFETY: the thread of a test.
        let passive = unsafe { Passive::new() };
        let result =
            Registration::<Answered<STATUS>, _>::register(module.clone(), options, Image(image.clone()), passive);
        (result.err(), Arc::strong_count(&module) == 2, Arc::strong_count(&image) == 2)
    }

    #[test]
    fn what_nmr_may_know_of_stays_and_what_it_refused_goes() {
        assert_eq!(register::<-7>(), (Some(RegisterError::Status(-7)), false, false));
        let refused = register::<STATUS_INSUFFICIENT_RESOURCES>();
        assert_eq!(refused, (Some(RegisterError::InsufficientResources), false, false));
        for unclear in [register::<STATUS_SUCCESS>(), register::<STATUS_PENDING>()] {
            assert!(matches!(unclear, (Some(RegisterError::Status(0..)), true, true)), "{unclear:?}");
        }
    }
}
