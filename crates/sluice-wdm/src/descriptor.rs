//! Who may open what the drivers make: SYSTEM and administrators, nobody else.

/// The security descriptor `O:BAD:P(A;;GA;;;SY)(A;;GA;;;BA)` in self-relative form ([MS-DTYP] 2.4.6): owned by the
/// Administrators alias, with a protected DACL of two entries that grant all access to SYSTEM and to that alias.
///
/// An owner may change the DACL. Without one here a new file belongs to whom the caller's token says: the account that
/// has loaded a policy, which may lose its rights later.
#[rustfmt::skip]
pub(crate) static ADMINISTRATORS_ONLY: Descriptor<88> = Descriptor([
    // SECURITY_DESCRIPTOR: revision 1, SE_DACL_PRESENT | SE_DACL_PROTECTED | SE_SELF_RELATIVE, owner at 72, DACL at 20
    1, 0, 0x04, 0x90,  72, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,  20, 0, 0, 0,
    // ACL: revision 2, 52 bytes, 2 entries
    2, 0, 52, 0,  2, 0, 0, 0,
    // ACCESS_ALLOWED_ACE, 20 bytes, GENERIC_ALL, S-1-5-18
    0, 0, 20, 0,  0, 0, 0, 0x10,  1, 1, 0, 0, 0, 0, 0, 5,  18, 0, 0, 0,
    // ACCESS_ALLOWED_ACE, 24 bytes, GENERIC_ALL, S-1-5-32-544
    0, 0, 24, 0,  0, 0, 0, 0x10,  1, 2, 0, 0, 0, 0, 0, 5,  32, 0, 0, 0,  0x20, 2, 0, 0,
    // Owner: S-1-5-32-544
    1, 2, 0, 0, 0, 0, 0, 5,  32, 0, 0, 0,  0x20, 2, 0, 0,
]);

/// A security descriptor has to be aligned like its integers.
#[repr(C, align(4))]
pub(crate) struct Descriptor<const SIZE: usize>(pub(crate) [u8; SIZE]);

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use core::fmt::Write;

    use super::*;

    fn u16_at(bytes: &[u8], offset: usize) -> u16 {
        u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
    }

    fn u32_at(bytes: &[u8], offset: usize) -> u32 {
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    /// A SID as text ([MS-DTYP] 2.4.2).
    fn sid(bytes: &[u8]) -> String {
        let mut text = String::from("S-1-5");
        assert_eq!((bytes[0], &bytes[2..8]), (1, &[0, 0, 0, 0, 0, 5][..]), "revision and authority");
        assert_eq!(bytes.len(), 8 + 4 * usize::from(bytes[1]), "the entry ends with its SID");
        (0..usize::from(bytes[1])).for_each(|i| write!(text, "-{}", u32_at(bytes, 8 + 4 * i)).unwrap());
        text
    }

    #[test]
    fn the_descriptor_grants_everything_to_two_groups_one_of_which_is_the_owner_and_nothing_to_others() {
        const SE_DACL_PRESENT: u16 = 0x0004;
        const SE_DACL_PROTECTED: u16 = 0x1000;
        const SE_SELF_RELATIVE: u16 = 0x8000;
        const GENERIC_ALL: u32 = 0x1000_0000;
        let bytes = &ADMINISTRATORS_ONLY.0;
        assert_eq!((bytes[0], bytes[1]), (1, 0));
        assert_eq!(u16_at(bytes, 2), SE_DACL_PRESENT | SE_DACL_PROTECTED | SE_SELF_RELATIVE);
        let [owner, group, sacl, dacl] = [4, 8, 12, 16].map(|offset| u32_at(bytes, offset) as usize);
        assert_eq!((group, sacl), (0, 0));
        assert_eq!(sid(&bytes[owner..]), "S-1-5-32-544", "the owner ends the descriptor");
        let acl = &bytes[dacl..owner];
        assert_eq!((acl[0], usize::from(u16_at(acl, 2))), (2, acl.len()), "the DACL ends where the owner begins");
        let mut entries = &acl[8..];
        let mut admitted = alloc::vec::Vec::new();
        for _ in 0..u16_at(acl, 4) {
            let (entry, rest) = entries.split_at(u16_at(entries, 2).into());
            assert_eq!((entry[0], entry[1], u32_at(entry, 4)), (0, 0, GENERIC_ALL), "access allowed, not inherited");
            admitted.push(sid(&entry[8..]));
            entries = rest;
        }
        assert_eq!((admitted.as_slice(), entries), (&["S-1-5-18".into(), "S-1-5-32-544".into()][..], &[][..]));
    }
}
