//! Who the peer is: what its registration instance says, checked before it is believed.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use wdk_nmr_sys::{
    GUID, LUID, MIT_GUID, MIT_IF_LUID, NPI_MODULEID, NPI_MODULEID_ID, NPI_MODULEID_TYPE, NPI_REGISTRATION_INSTANCE,
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE,
};

use crate::header::SlotHeader;
use crate::irql::InAttach;
use crate::npi::{self, NpiStructure, StructureError};

/// The name of a network module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModuleId {
    /// A GUID.
    Guid(GUID),
    /// The locally unique identifier of a network interface.
    IfLuid(u64),
}

impl ModuleId {
    /// In the form of `netiodef.h`.
    pub(crate) const fn to_raw(self) -> NPI_MODULEID {
        let mut id = NPI_MODULEID_ID { Guid: GUID { Data1: 0, Data2: 0, Data3: 0, Data4: [0; 8] } };
        let kind = match self {
            Self::Guid(guid) => {
                id.Guid = guid;
                MIT_GUID
            }
            Self::IfLuid(luid) => {
                id.IfLuid = LUID { LowPart: luid as u32, HighPart: (luid >> 32) as i32 };
                MIT_IF_LUID
            }
        };
        NPI_MODULEID { Length: size_of::<NPI_MODULEID>() as u16, Type: kind, Id: id }
    }

    /// Reads one that a peer handed over.
    ///
    /// # Safety
    ///
    /// Unless it is NULL or misaligned, `pointer` is what a registration instance names its module by.
    unsafe fn from_raw(pointer: *const NPI_MODULEID) -> Result<Self, StructureError> {
        if pointer.is_null() {
            return Err(StructureError::Null);
        }
        if !pointer.is_aligned() {
            return Err(StructureError::Misaligned);
        }
        // SAFETY: a module identifier starts with its length.
        let length = unsafe { pointer.cast::<u16>().read() };
        if usize::from(length) < size_of::<NPI_MODULEID>() {
            return Err(StructureError::Size { found: length, least: size_of::<NPI_MODULEID>() });
        }
        // SAFETY: it is as long as the type.
        let id = unsafe { pointer.read() };
        match id.Type {
            MIT_GUID => {
                // SAFETY: the type says that this member was written, and any 16 bytes are a GUID.
                Ok(Self::Guid(unsafe { id.Id.Guid }))
            }
            MIT_IF_LUID => {
                // SAFETY: the type says that this member was written, and any 8 bytes are a LUID.
                let luid = unsafe { id.Id.IfLuid };
                Ok(Self::IfLuid(u64::from(luid.HighPart.cast_unsigned()) << 32 | u64::from(luid.LowPart)))
            }
            found => Err(StructureError::ModuleIdType { found }),
        }
    }

    /// In the form of [`SlotHeader::peer_module`]: the type, then the bytes.
    fn to_words(self) -> [u64; 3] {
        match self {
            Self::Guid(guid) => {
                let [a, b, c, d, e, f, g, h] = guid.Data4;
                let data = u64::from(guid.Data3) << 48 | u64::from(guid.Data2) << 32 | u64::from(guid.Data1);
                [MIT_GUID as u64, data, u64::from_le_bytes([a, b, c, d, e, f, g, h])]
            }
            Self::IfLuid(luid) => [MIT_IF_LUID as u64, luid, 0],
        }
    }

    /// Reads what `to_words` wrote.
    pub(crate) fn from_words([kind, data, rest]: [u64; 3]) -> Option<Self> {
        match kind as NPI_MODULEID_TYPE {
            MIT_GUID => Some(Self::Guid(GUID {
                Data1: data as u32,
                Data2: (data >> 32) as u16,
                Data3: (data >> 48) as u16,
                Data4: rest.to_le_bytes(),
            })),
            MIT_IF_LUID => Some(Self::IfLuid(data)),
            _ => None,
        }
    }
}

/// Why a module does not attach to a peer. Always a failure: a status that NMR could take for success cannot be put into
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(NTSTATUS);

impl Refusal {
    /// The module does not want this peer: STATUS_NOINTERFACE. A client may try again with another dispatch table (R25).
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

/// A peer that NMR has brought along and that the module accepts or refuses. `C` is the type of the peer's NPI-specific
/// characteristics.
///
/// NMR matches modules by the interface alone (R3): which module, number and version is acceptable is for the attach
/// callback to say.
pub struct Offer<'a, C> {
    instance: &'a NPI_REGISTRATION_INSTANCE,
    characteristics: PhantomData<&'a C>,
}

impl<'a, C: NpiStructure> Offer<'a, C> {
    /// Reads a registration instance that NMR handed over.
    ///
    /// # Safety
    ///
    /// Unless it is NULL or misaligned, `instance` is a registration instance that stays as it is for `'a`, which ends
    /// with the attach callback.
    pub(crate) unsafe fn new(instance: *const NPI_REGISTRATION_INSTANCE) -> Result<Self, StructureError> {
        if instance.is_null() {
            return Err(StructureError::Null);
        }
        if !instance.is_aligned() {
            return Err(StructureError::Misaligned);
        }
        // SAFETY: the caller promises an instance, which starts with a version and a size.
        let [_, size] = unsafe { instance.cast::<[u16; 2]>().read() };
        if usize::from(size) < size_of::<NPI_REGISTRATION_INSTANCE>() {
            return Err(StructureError::Size { found: size, least: size_of::<NPI_REGISTRATION_INSTANCE>() });
        }
        // SAFETY: not NULL, aligned and large enough; the caller promises the lifetime.
        let instance = unsafe { &*instance };
        Ok(Self { instance, characteristics: PhantomData })
    }

    /// Which module the peer is. An error if it does not say or says nonsense: NMR does not check (R12).
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
    pub fn characteristics(&self) -> Result<&'a C, StructureError> {
        let pointer: *const c_void = self.instance.NpiSpecificCharacteristics;
        // SAFETY: the interface says what characteristics are, and the peer registered for the interface.
        let checked = unsafe { npi::check::<C>(pointer) }?;
        // SAFETY: it has the form of a `C`, and characteristics stay as long as their module is registered (R10), which
        // is longer than an attach callback of it runs (R40).
        Ok(unsafe { checked.as_ref() })
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

impl<C: NpiStructure> core::fmt::Debug for Offer<'_, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Offer").field("module_id", &self.module_id()).field("number", &self.number()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m21_misaligned_pointers_are_not_read() {
        let near = core::ptr::without_provenance::<NPI_MODULEID>(2);
        // SAFETY: misaligned.
        assert_eq!(unsafe { ModuleId::from_raw(near) }, Err(StructureError::Misaligned));
        let near = core::ptr::without_provenance::<NPI_REGISTRATION_INSTANCE>(4);
        // SAFETY: misaligned.
        let offer = unsafe { Offer::<()>::new(near) };
        assert_eq!(offer.err(), Some(StructureError::Misaligned));
        // SAFETY: NULL.
        let offer = unsafe { Offer::<()>::new(core::ptr::null()) };
        assert_eq!(offer.err(), Some(StructureError::Null));
    }

    #[test]
    fn module_ids_survive_both_forms() {
        let guid = GUID { Data1: 0x8123_4567, Data2: 0x89ab, Data3: 0xcdef, Data4: [1, 2, 3, 4, 5, 6, 7, 0xf8] };
        for id in [ModuleId::Guid(guid), ModuleId::IfLuid(0xfedc_ba98_7654_3210), ModuleId::IfLuid(0)] {
            let raw = id.to_raw();
            // SAFETY: a module identifier.
            assert_eq!(unsafe { ModuleId::from_raw(&raw const raw) }, Ok(id));
            assert_eq!(ModuleId::from_words(id.to_words()), Some(id));
        }
        assert_eq!(ModuleId::from_words([0; 3]), None);
    }
}
