//! `NmrIsEqualNpiModuleId`, an inline function of `netiodef.h`.

use crate::{MIT_GUID, MIT_IF_LUID, NPI_MODULEID};

/// Whether two module identifiers are of the same type and the member that this type makes valid is equal. Identifiers
/// of an unknown type equal nothing.
#[must_use]
pub fn NmrIsEqualNpiModuleId(left: &NPI_MODULEID, right: &NPI_MODULEID) -> bool {
    if left.Type != right.Type {
        return false;
    }
    match left.Type {
        MIT_GUID => {
            // SAFETY: `Type` says that `Guid` was written; any 16 bytes are a GUID.
            let left = unsafe { left.Id.Guid };
            // SAFETY: `Type`, which is equal in both, says that `Guid` was written.
            let right = unsafe { right.Id.Guid };
            left == right
        }
        MIT_IF_LUID => {
            // SAFETY: `Type` says that `IfLuid` was written; any 8 bytes are a LUID.
            let left = unsafe { left.Id.IfLuid };
            // SAFETY: `Type`, which is equal in both, says that `IfLuid` was written.
            let right = unsafe { right.Id.IfLuid };
            left == right
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GUID, LUID, NPI_MODULEID_ID, NPI_MODULEID_TYPE};

    fn guid(kind: NPI_MODULEID_TYPE, last: u8) -> NPI_MODULEID {
        let Id = NPI_MODULEID_ID { Guid: GUID { Data4: [0, 0, 0, 0, 0, 0, 0, last], ..GUID::default() } };
        NPI_MODULEID { Length: 24, Type: kind, Id }
    }

    fn luid(low: u32) -> NPI_MODULEID {
        let mut id = guid(MIT_IF_LUID, low as u8);
        id.Id.IfLuid = LUID { LowPart: low, HighPart: 0 };
        id
    }

    #[test]
    fn digits_are_those_that_are_written() {
        let guid = GUID::from_u128(0x6c6f23f6_1a1b_4a3e_8e01_020304050607);
        let expected = GUID { Data1: 0x6c6f23f6, Data2: 0x1a1b, Data3: 0x4a3e, Data4: [0x8e, 1, 2, 3, 4, 5, 6, 7] };
        assert_eq!(guid, expected);
    }

    #[test]
    fn guids_are_compared_whole() {
        assert!(NmrIsEqualNpiModuleId(&guid(MIT_GUID, 1), &guid(MIT_GUID, 1)));
        assert!(!NmrIsEqualNpiModuleId(&guid(MIT_GUID, 1), &guid(MIT_GUID, 2)));
    }

    #[test]
    fn luids_are_compared_without_the_rest_of_the_union() {
        let mut left = luid(7);
        left.Id = NPI_MODULEID_ID { Guid: GUID { Data4: [9; 8], ..GUID::default() } };
        left.Id.IfLuid = LUID { LowPart: 7, HighPart: 0 };
        assert!(NmrIsEqualNpiModuleId(&left, &luid(7)));
        assert!(!NmrIsEqualNpiModuleId(&left, &luid(8)));
    }

    #[test]
    fn types_have_to_be_equal_and_known() {
        assert!(!NmrIsEqualNpiModuleId(&guid(MIT_GUID, 0), &luid(0)));
        assert!(!NmrIsEqualNpiModuleId(&guid(0, 1), &guid(0, 1)));
    }
}
