//! A network programming interface (NPI) in types: its identifier and the structures that the two sides hand each
//! other.

use core::ffi::c_void;
use core::fmt;
use core::ptr::NonNull;

use wdk_nmr_sys::NPIID;

/// A network programming interface.
///
/// An interface has up to four structures, two for each side: the dispatch table, and the NPI-specific characteristics,
/// which the other side can read before it decides about an attachment. `()` stands for one that the interface does not
/// have; NMR then carries a NULL pointer.
///
/// # Safety
///
/// Modules that register [`Npi::ID`] hand out structures of these types, valid and unchanged as long as R10 says, and
/// call the functions of the dispatch tables as the interface's documentation says: with the binding context that
/// belongs to the table as it came, and only between attach and the end of their own part of the detach.
pub unsafe trait Npi: 'static {
    /// The identifier; NMR brings together modules that register equal ones (R2).
    const ID: NPIID;
    /// What clients call.
    type ProviderDispatch: NpiStructure;
    /// What providers call.
    type ClientDispatch: NpiStructure;
    /// What clients can learn of a provider.
    type ProviderCharacteristics: NpiStructure;
    /// What providers can learn of a client.
    type ClientCharacteristics: NpiStructure;
}

/// How a structure is recognized before anything of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The interface has no such structure: the pointer has to be NULL.
    Absent,
    /// The structure carries nothing to recognize it by: the pointer has to be aligned and not NULL.
    Bare,
    /// The structure starts with two `u16`, its version and its size in bytes. The size is at least that of the Rust
    /// type: later versions add fields at the end.
    Versioned {
        /// The oldest version that will do.
        oldest: u16,
        /// The newest version that will do.
        newest: u16,
    },
}

/// A structure of an interface that one side gets from the other as a pointer.
///
/// # Safety
///
/// * The type is `repr(C)` and does not change while others hold a pointer to it.
/// * A pointer from a peer that passes [`NpiStructure::FORM`] points to a valid value of this type.
/// * `Absent` is for types of size zero alone.
/// * A `Versioned` type is at least 4 bytes large and aligned to at least 2, and starts as [`Form::Versioned`] says.
pub unsafe trait NpiStructure: Sync + Sized + 'static {
    /// How the structure is recognized.
    const FORM: Form;
}

// SAFETY: a type without a value to read.
unsafe impl NpiStructure for () {
    const FORM: Form = Form::Absent;
}

/// What is wrong with a pointer that a peer handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StructureError {
    /// It is NULL, but the structure is needed.
    Null,
    /// It is not NULL, but the interface has no such structure.
    NotNull,
    /// It is not aligned as the structure has to be.
    Misaligned,
    /// The structure is of a version that will not do.
    Version {
        /// The version found.
        found: u16,
        /// The oldest that will do.
        oldest: u16,
        /// The newest that will do.
        newest: u16,
    },
    /// The structure is too small.
    Size {
        /// The size found.
        found: u16,
        /// The smallest size that will do.
        least: usize,
    },
    /// The type of a module identifier is neither GUID (1) nor LUID (2).
    ModuleIdType {
        /// The type found.
        found: i32,
    },
}

impl fmt::Display for StructureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("expected a structure, found a NULL pointer"),
            Self::NotNull => f.write_str("expected a NULL pointer, since the interface has no such structure"),
            Self::Misaligned => f.write_str("expected an aligned pointer, found a misaligned one"),
            Self::Version { found, oldest, newest } => {
                write!(f, "expected a structure of version {oldest} to {newest}, found version {found}")
            }
            Self::Size { found, least } => write!(f, "expected a structure of at least {least} bytes, found {found}"),
            Self::ModuleIdType { found } => {
                write!(f, "expected a module identifier of type 1 (GUID) or 2 (LUID), found type {found}")
            }
        }
    }
}

impl core::error::Error for StructureError {}

/// Checks what a peer handed over as a `T`. For an absent structure the result is a pointer without meaning to a type
/// of size zero.
///
/// # Safety
///
/// Unless it is NULL or misaligned, `pointer` may be read for the 4 bytes of a header if `T` is versioned.
pub(crate) unsafe fn check<T: NpiStructure>(pointer: *const c_void) -> Result<NonNull<T>, StructureError> {
    const {
        match T::FORM {
            Form::Absent => assert!(size_of::<T>() == 0, "an absent structure is a type of size zero"),
            Form::Bare => {}
            Form::Versioned { .. } => {
                assert!(size_of::<T>() >= 4 && align_of::<T>() >= 2, "a versioned structure starts with two u16");
            }
        }
    }
    let found = NonNull::new(pointer.cast_mut().cast::<T>());
    let (pointer, oldest, newest) = match (T::FORM, found) {
        (Form::Absent, None) => return Ok(NonNull::dangling()),
        (Form::Absent, Some(_)) => return Err(StructureError::NotNull),
        (_, None) => return Err(StructureError::Null),
        (_, Some(pointer)) if !pointer.is_aligned() => return Err(StructureError::Misaligned),
        (Form::Bare, Some(pointer)) => return Ok(pointer),
        (Form::Versioned { oldest, newest }, Some(pointer)) => (pointer, oldest, newest),
    };
    // SAFETY: not NULL and aligned to at least 2, so the caller promises that the header can be read.
    let [version, size] = unsafe { pointer.cast::<[u16; 2]>().read() };
    if !(oldest..=newest).contains(&version) {
        return Err(StructureError::Version { found: version, oldest, newest });
    }
    if usize::from(size) < size_of::<T>() {
        return Err(StructureError::Size { found: size, least: size_of::<T>() });
    }
    Ok(pointer)
}

/// The pointer that NMR carries for a structure of our own: NULL if the interface has none.
pub(crate) fn pointer_to<T: NpiStructure>(structure: *const T) -> *const c_void {
    match T::FORM {
        Form::Absent => core::ptr::null(),
        _ => structure.cast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C, align(8))]
    struct Table {
        version: u16,
        size: u16,
        value: u32,
    }

    // SAFETY: starts with version and size.
    unsafe impl NpiStructure for Table {
        const FORM: Form = Form::Versioned { oldest: 2, newest: 3 };
    }

    fn checked(table: &Table) -> Result<(), StructureError> {
        // SAFETY: a table.
        unsafe { check::<Table>((&raw const *table).cast()) }.map(|_| ())
    }

    #[test]
    fn m21_a_header_is_checked_before_the_rest() {
        let table = |version, size| Table { version, size, value: 0 };
        assert_eq!(checked(&table(2, 8)), Ok(()));
        assert_eq!(checked(&table(3, 800)), Ok(()));
        assert_eq!(checked(&table(1, 8)), Err(StructureError::Version { found: 1, oldest: 2, newest: 3 }));
        assert_eq!(checked(&table(4, 8)), Err(StructureError::Version { found: 4, oldest: 2, newest: 3 }));
        assert_eq!(checked(&table(2, 7)), Err(StructureError::Size { found: 7, least: 8 }));
        // SAFETY: NULL.
        assert_eq!(unsafe { check::<Table>(core::ptr::null()) }.err(), Some(StructureError::Null));
        // SAFETY: misaligned.
        let misaligned = unsafe { check::<Table>(core::ptr::without_provenance(12)) };
        assert_eq!(misaligned.err(), Some(StructureError::Misaligned));
    }

    #[test]
    fn r33_an_absent_structure_has_to_be_null() {
        // SAFETY: NULL.
        assert!(unsafe { check::<()>(core::ptr::null()) }.is_ok());
        // SAFETY: never read.
        let something = unsafe { check::<()>(core::ptr::without_provenance(16)) };
        assert_eq!(something.err(), Some(StructureError::NotNull));
        assert!(pointer_to(&()).is_null());
    }
}
