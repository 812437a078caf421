//! A network programming interface (NPI) in types: its identifier and the structures that the two sides hand each
//! other.

use wdk_nmr_sys::{GUID, NPIID};

use crate::part::Part;

/// A network programming interface.
///
/// An interface has four places for structures, two for each side: the dispatch table, and the NPI-specific
/// characteristics, which the other side can read before it decides about an attachment. What stands in such a place is
/// a [`Part`]:
///
/// | the interface says | the type |
/// | --- | --- |
/// | a structure of type `T` | `T`, which is an [`NpiStructure`](crate::NpiStructure) |
/// | a structure, or NULL | [`Optional<T>`](crate::Optional) |
/// | a structure that other versions made longer or shorter, or that data follows | [`Extensible<T>`](crate::Extensible) |
/// | nothing: NULL | `()` |
/// | nothing, and yet peers hand something over | [`Ignored`](crate::Ignored) |
///
/// ```
/// use wdk_nmr::{GUID, NPIID, Npi, NpiStructure, Optional, StructureError, VersionAndSize};
///
/// #[repr(C)]
/// struct Limits {
///     header: VersionAndSize,
///     largest: u32,
/// }
///
/// // SAFETY: `repr(C)`, starts with its header, plain data.
/// unsafe impl NpiStructure for Limits {
///     type Header = VersionAndSize;
///
///     fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
///         header.check(1..=1)
///     }
/// }
///
/// struct Presence;
///
/// // SAFETY: modules that register the identifier keep to the types.
/// unsafe impl Npi for Presence {
///     const ID: NPIID = GUID::from_u128(0x4be3f14a_8b5f_4c7e_9d2a_0f1e2d3c4b5a);
///     type ProviderDispatch = ();
///     type ClientDispatch = ();
///     type ProviderCharacteristics = Optional<Limits>;
///     type ClientCharacteristics = ();
/// }
/// ```
///
/// # Safety
///
/// Modules that register [`Npi::ID`] hand out structures of these types, valid and unchanged as long as R10 says, and
/// call the functions of the dispatch tables as the interface's documentation says: with the binding context that
/// belongs to the table as it came, and only between attach and the end of their own part of the detach.
pub unsafe trait Npi: 'static {
    /// The identifier; NMR brings together modules that register equal ones (R2). [`ID_AT_RUN_TIME`] if the interface
    /// has one identifier for each of many things, which only the module knows.
    const ID: NPIID;
    /// What clients call.
    type ProviderDispatch: Part;
    /// What providers call.
    type ClientDispatch: Part;
    /// What clients can learn of a provider.
    type ProviderCharacteristics: Part;
    /// What providers can learn of a client.
    type ClientCharacteristics: Part;
}

/// The [`Npi::ID`] of an interface without an identifier of its own: each registration says which it is, with
/// [`RegistrationOptions::npi_id`](crate::RegistrationOptions::npi_id). One that does not is refused.
pub const ID_AT_RUN_TIME: NPIID = GUID { Data1: 0, Data2: 0, Data3: 0, Data4: [0; 8] };
