//! The name of a network module, checked before it is believed.

use wdk_nmr_sys::{GUID, LUID, MIT_GUID, MIT_IF_LUID, NPI_MODULEID, NPI_MODULEID_ID, NPI_MODULEID_TYPE};

use crate::structure::StructureError;

/// The name of a network module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
    pub(crate) unsafe fn from_raw(pointer: *const NPI_MODULEID) -> Result<Self, StructureError> {
        if pointer.is_null() {
            return Err(StructureError::Null);
        }
        if !pointer.is_aligned() {
            return Err(StructureError::Misaligned);
        }
        // SAFETY: a module identifier starts with its length.
        let length = unsafe { pointer.cast::<u16>().read() };
        let (found, least) = (usize::from(length), size_of::<NPI_MODULEID>());
        if found < least {
            return Err(StructureError::Size { found, least });
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
    pub(crate) fn to_words(self) -> [u64; 3] {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m21_a_misaligned_module_id_is_not_read() {
        let near = core::ptr::without_provenance::<NPI_MODULEID>(2);
        // SAFETY: misaligned.
        assert_eq!(unsafe { ModuleId::from_raw(near) }, Err(StructureError::Misaligned));
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
