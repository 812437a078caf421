//! An offer: the peer that NMR has brought along, as its registration instance describes it, and what a module may say
//! to that.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use wdk_nmr_sys::{
    NPI_REGISTRATION_INSTANCE, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE,
};

use crate::header::SlotHeader;
use crate::irql::InAttach;
use crate::module_id::ModuleId;
use crate::part::Part;
use crate::structure::StructureError;

/// Why a module does not attach to a peer. Always a failure: a status that NMR could take for success cannot be put
/// into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(NTSTATUS);

impl Refusal {
    /// The module does not want this peer: STATUS_NOINTERFACE. A client may try again with another dispatch table
    /// (R25).
    pub const NO_INTERFACE: Self = Self(STATUS_NOINTERFACE);
    /// Something that the peer handed over is wrong: STATUS_INVALID_PARAMETER.
    pub const INVALID_PARAMETER: Self = Self(STATUS_INVALID_PARAMETER);
    /// There is not enough memory for another peer: STATUS_INSUFFICIENT_RESOURCES.
    pub const INSUFFICIENT_RESOURCES: Self = Self(STATUS_INSUFFICIENT_RESOURCES);

    /// Any other failure; `None` if `status` is not negative and so no failure.
    #[must_use]
    pub const fn from_status(status: NTSTATUS) -> Option<Self> {
        if status < 0 { Some(Self(status)) } else { None }
    }

    /// The status that NMR gets to see.
    #[must_use]
    pub const fn status(self) -> NTSTATUS {
        self.0
    }
}

impl From<StructureError> for Refusal {
    /// STATUS_NOINTERFACE for a version that will not do, which a client may better (R25); otherwise
    /// STATUS_INVALID_PARAMETER.
    fn from(error: StructureError) -> Self {
        match error {
            StructureError::Version { .. } => Self::NO_INTERFACE,
            _ => Self::INVALID_PARAMETER,
        }
    }
}

/// A peer that NMR offers, and that the module accepts or refuses. `C` is what the interface says of the peer's
/// NPI-specific characteristics, `D` of its dispatch table as far as it is known at that time.
///
/// NMR matches modules by the interface alone (R3): which module, number and version is acceptable is for the attach
/// callback to say.
pub struct Offer<'a, C: Part, D: Part = ()> {
    instance: &'a NPI_REGISTRATION_INSTANCE,
    dispatch: D::Ref<'a>,
    characteristics: PhantomData<fn() -> C>,
}

impl<'a, C: Part, D: Part> Offer<'a, C, D> {
    /// Reads a registration instance that NMR handed over.
    ///
    /// # Safety
    ///
    /// Unless it is NULL or misaligned, `instance` is a registration instance that stays as it is for `'a`, which ends
    /// with the attach callback.
    pub(crate) unsafe fn new(
        instance: *const NPI_REGISTRATION_INSTANCE,
        dispatch: D::Ref<'a>,
    ) -> Result<Self, StructureError> {
        if instance.is_null() {
            return Err(StructureError::Null);
        }
        if !instance.is_aligned() {
            return Err(StructureError::Misaligned);
        }
        // SAFETY: the caller promises an instance, which starts with a version and a size.
        let [_, size] = unsafe { instance.cast::<[u16; 2]>().read() };
        let (found, least) = (usize::from(size), size_of::<NPI_REGISTRATION_INSTANCE>());
        if found < least {
            return Err(StructureError::Size { found, least });
        }
        // SAFETY: not NULL, aligned and large enough; the caller promises the lifetime.
        let instance = unsafe { &*instance };
        Ok(Self { instance, dispatch, characteristics: PhantomData })
    }

    /// Which module the peer is.
    ///
    /// # Errors
    ///
    /// It names none, or in a form that is not known. NMR does not check that (R12).
    pub fn module_id(&self) -> Result<ModuleId, StructureError> {
        // SAFETY: the pointer comes from the peer's registration instance.
        unsafe { ModuleId::from_raw(self.instance.ModuleId) }
    }

    /// Which of the module's implementations of the interface the peer is; 0 if it has only one.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.instance.Number
    }

    /// The version of the registration instance. 0 in most drivers; some use it as a version of their protocol (R12).
    #[must_use]
    pub fn version(&self) -> u16 {
        self.instance.Version
    }

    /// What the peer says about itself in the terms of the interface.
    ///
    /// # Errors
    ///
    /// The structure, or its absence, is not what the interface says.
    pub fn characteristics(&self) -> Result<C::Ref<'a>, StructureError> {
        let pointer: *const c_void = self.instance.NpiSpecificCharacteristics;
        // SAFETY: the interface says what characteristics are, and the peer registered for the interface.
        unsafe { C::accept(pointer) }?;
        // SAFETY: accepted, and characteristics stay as long as their module is registered (R10), which is longer than
        // an attach callback of it runs (R40).
        Ok(unsafe { C::view(pointer) })
    }

    /// What the provider is shown of the dispatch table of a client: to look at versions, sizes, entries that are NULL.
    /// The library has checked it. It cannot be called yet, since there is no context to call with (M15); after
    /// `attach` it can, as a [`Peer`](crate::Peer).
    ///
    /// A client is not shown the table of a provider, so it finds `()` here.
    #[must_use]
    pub fn dispatch(&self) -> D::Ref<'a> {
        self.dispatch
    }

    /// Notes in a slot who the peer is, for a diagnosis.
    pub(crate) fn record(&self, header: &SlotHeader) {
        let words = self.module_id().map_or([0; 3], ModuleId::to_words);
        for (place, word) in header.peer_module.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// The callback runs at PASSIVE_LEVEL.
    #[must_use]
    pub fn passive(&self) -> InAttach<'_> {
        // SAFETY: an offer exists in an attach callback only.
        unsafe { InAttach::new() }
    }
}

impl<C: Part, D: Part> core::fmt::Debug for Offer<'_, C, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Offer").field("module_id", &self.module_id()).field("number", &self.number()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m21_a_misaligned_or_missing_instance_is_not_read() {
        let near = core::ptr::without_provenance::<NPI_REGISTRATION_INSTANCE>(4);
        // SAFETY: misaligned.
        let offer = unsafe { Offer::<(), ()>::new(near, ()) };
        assert_eq!(offer.err(), Some(StructureError::Misaligned));
        // SAFETY: NULL.
        let offer = unsafe { Offer::<(), ()>::new(core::ptr::null(), ()) };
        assert_eq!(offer.err(), Some(StructureError::Null));
    }
}
