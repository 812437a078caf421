//! The layouts of the C headers, asserted for every 64-bit target.

use crate::*;

/// Fails the build unless a type has this size and alignment and its fields lie at these offsets.
macro_rules! assert_layout {
    ($type:ty: size $size:literal, align $align:literal $(, $field:ident @ $offset:literal)* $(,)?) => {
        const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align);
        $(const _: () = assert!(core::mem::offset_of!($type, $field) == $offset);)*
    };
}

assert_layout!(GUID: size 16, align 4, Data1 @ 0, Data2 @ 4, Data3 @ 6, Data4 @ 8);
assert_layout!(LUID: size 8, align 4, LowPart @ 0, HighPart @ 4);
assert_layout!(NPI_MODULEID: size 24, align 4, Length @ 0, Type @ 4, Id @ 8);

#[cfg(target_pointer_width = "64")]
mod pointers {
    use super::*;

    assert_layout!(NPI_REGISTRATION_INSTANCE: size 40, align 8,
        Version @ 0, Size @ 2, NpiId @ 8, ModuleId @ 16, Number @ 24, NpiSpecificCharacteristics @ 32);
    assert_layout!(NPI_CLIENT_CHARACTERISTICS: size 72, align 8,
        Version @ 0, Length @ 2, ClientAttachProvider @ 8, ClientDetachProvider @ 16,
        ClientCleanupBindingContext @ 24, ClientRegistrationInstance @ 32);
    assert_layout!(NPI_PROVIDER_CHARACTERISTICS: size 72, align 8,
        Version @ 0, Length @ 2, ProviderAttachClient @ 8, ProviderDetachClient @ 16,
        ProviderCleanupBindingContext @ 24, ProviderRegistrationInstance @ 32);
}
