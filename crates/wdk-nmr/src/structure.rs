//! Structures that one side of an interface gets from the other as a pointer, and how they are recognized.

use core::fmt;
use core::ops::RangeInclusive;

/// A structure of an interface.
///
/// What a peer hands over is an address. Before anything at that address is used, the library looks at whether it is
/// NULL and whether it is aligned; then it reads the [`Header`](Self::Header), the few fields by which the interface
/// tells versions and sizes apart, and asks [`check`](Self::check).
///
/// Most structures of Windows start with two `u16`, a version and a size. For those:
///
/// ```
/// use wdk_nmr::{NpiStructure, StructureError, VersionAndSize};
///
/// #[repr(C)]
/// struct Table {
///     header: VersionAndSize,
///     add: unsafe extern "system" fn(context: *mut core::ffi::c_void, number: u32) -> u32,
/// }
///
/// // SAFETY: `repr(C)`, starts with its header; a pointer to a function.
/// unsafe impl NpiStructure for Table {
///     type Header = VersionAndSize;
///
///     fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
///         header.check(1..=2)
///     }
/// }
/// ```
///
/// A structure may start with anything else:
///
/// ```
/// use wdk_nmr::{NpiStructure, StructureError};
///
/// /// A number of functions, and the functions.
/// #[repr(C)]
/// struct Functions {
///     version: u16,
///     count: u16,
///     functions: [Option<unsafe extern "C" fn()>; 2],
/// }
///
/// #[repr(C)]
/// #[derive(Clone, Copy)]
/// struct VersionAndCount {
///     version: u16,
///     count: u16,
/// }
///
/// // SAFETY: `repr(C)`, starts with its header; pointers to functions.
/// unsafe impl NpiStructure for Functions {
///     type Header = VersionAndCount;
///
///     fn check(header: &VersionAndCount) -> Result<usize, StructureError> {
///         StructureError::unless_version(header.version, 1..=1)?;
///         Ok(8 + 8 * usize::from(header.count))
///     }
/// }
/// ```
///
/// One that carries nothing to recognize it by has the header `()`, and `check` returns `Ok(size_of::<Self>())`.
///
/// # Safety
///
/// * The type is `repr(C)` and starts with a `Header`.
/// * Any number of threads may read a value at the same time, and it does not change while others hold a pointer to it.
///   Raw pointers in it are addresses, which this is true of.
/// * If a peer hands over a pointer that is neither NULL nor misaligned, it may be read as a `Header`.
/// * If `check` then returns a number of bytes, as many may be read. As far as they reach, the fields of this type in
///   them have valid values.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a structure of an interface",
    label = "expected `T: NpiStructure`, `Optional<T>`, `Extensible<T>`, `Ignored` or `()`",
    note = "implement `NpiStructure` for `{Self}` (its documentation shows how), or write `()` where the interface has \
            nothing"
)]
pub unsafe trait NpiStructure: Sized + 'static {
    /// What the structure starts with and is recognized by. Any value of it can be read from a structure.
    type Header: Copy + 'static;

    /// Says of a structure with this header how many bytes it has, or what is wrong with it.
    ///
    /// The library compares the number with what the type needs: all of it, or for [`Extensible`](crate::Extensible)
    /// the header. Interfaces that state a size without the padding at the end of the structure have to add it here.
    ///
    /// # Errors
    ///
    /// A version that is not known, a size that is too small for its version, or whatever else the interface rules out.
    fn check(header: &Self::Header) -> Result<usize, StructureError>;
}

/// Two `u16`, a version and a size in bytes: what most structures start with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionAndSize {
    /// The version of the structure.
    pub version: u16,
    /// Its size in bytes.
    pub size: u16,
}

impl VersionAndSize {
    /// The header of a `T`.
    ///
    /// A `T` of 64 KiB or more does not compile.
    #[must_use]
    pub const fn of<T>(version: u16) -> Self {
        const { assert!(size_of::<T>() <= u16::MAX as usize, "the size of the structure does not fit its header") };
        Self { version, size: size_of::<T>() as u16 }
    }

    /// For [`NpiStructure::check`]: one of these versions, of any size.
    ///
    /// # Errors
    ///
    /// Another version.
    pub fn check(&self, versions: RangeInclusive<u16>) -> Result<usize, StructureError> {
        StructureError::unless_version(self.version, versions)?;
        Ok(usize::from(self.size))
    }

    /// For [`NpiStructure::check`]: one of these versions, each with the least size that it has to have. They are in
    /// ascending order.
    ///
    /// ```
    /// # use wdk_nmr::{StructureError, VersionAndSize};
    /// let versions = [(1, 16), (2, 24)];
    /// assert_eq!(VersionAndSize { version: 1, size: 16 }.check_each(&versions), Ok(16));
    /// let short = VersionAndSize { version: 2, size: 16 };
    /// assert_eq!(short.check_each(&versions), Err(StructureError::Size { found: 16, least: 24 }));
    /// ```
    ///
    /// # Errors
    ///
    /// Another version, or one of these with a smaller size.
    pub fn check_each(&self, versions: &[(u16, usize)]) -> Result<usize, StructureError> {
        let found = usize::from(self.size);
        match versions.iter().find(|(version, _)| *version == self.version) {
            Some(&(_, least)) if found < least => Err(StructureError::Size { found, least }),
            Some(_) => Ok(found),
            None => {
                let oldest = versions.first().map_or(0, |(version, _)| u32::from(*version));
                let newest = versions.last().map_or(0, |(version, _)| u32::from(*version));
                Err(StructureError::Version { found: self.version.into(), oldest, newest })
            }
        }
    }
}

/// What is wrong with a structure, or with the pointer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StructureError {
    /// The pointer is NULL, but the structure is needed.
    Null,
    /// The pointer is not NULL, but the interface has no such structure.
    NotNull,
    /// The pointer is not aligned as the structure has to be.
    Misaligned,
    /// The structure is of a version that is not accepted.
    Version {
        /// The version found.
        found: u32,
        /// The oldest that is accepted.
        oldest: u32,
        /// The newest that is accepted.
        newest: u32,
    },
    /// The structure is too small.
    Size {
        /// The size found.
        found: usize,
        /// The smallest size that is accepted.
        least: usize,
    },
    /// A structure of the module's own says that it is larger than its type. Peers would read what lies behind it.
    TooLarge {
        /// The size that it states.
        found: usize,
        /// The size that it has.
        most: usize,
    },
    /// The type of a module identifier is neither GUID (1) nor LUID (2).
    ModuleIdType {
        /// The type found.
        found: i32,
    },
    /// What the interface's own check found.
    Other {
        /// What was expected: "a ring size that is a power of two".
        expected: &'static str,
    },
}

impl StructureError {
    /// For [`NpiStructure::check`]: an error unless `found` is one of `versions`.
    ///
    /// # Errors
    ///
    /// [`StructureError::Version`].
    pub fn unless_version<V: Copy + PartialOrd + Into<u32>>(
        found: V,
        versions: RangeInclusive<V>,
    ) -> Result<(), StructureError> {
        if versions.contains(&found) {
            return Ok(());
        }
        let (oldest, newest) = versions.into_inner();
        Err(Self::Version { found: found.into(), oldest: oldest.into(), newest: newest.into() })
    }
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
            Self::TooLarge { found, most } => {
                write!(f, "expected a structure that states at most its size of {most} bytes, found {found}")
            }
            Self::ModuleIdType { found } => {
                write!(f, "expected a module identifier of type 1 (GUID) or 2 (LUID), found type {found}")
            }
            Self::Other { expected } => write!(f, "expected {expected}"),
        }
    }
}

impl core::error::Error for StructureError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn errors_say_what_was_expected_and_what_was_found() {
        let error = StructureError::unless_version(3_u16, 1..=2).unwrap_err();
        assert_eq!(error, StructureError::Version { found: 3, oldest: 1, newest: 2 });
        assert_eq!(error.to_string(), "expected a structure of version 1 to 2, found version 3");
        assert_eq!(StructureError::Other { expected: "a revision" }.to_string(), "expected a revision");
    }

    #[test]
    fn each_version_has_a_size_of_its_own() {
        let versions = [(2, 16), (4, 24)];
        let check = |version, size| VersionAndSize { version, size }.check_each(&versions);
        assert_eq!((check(2, 16), check(2, 900), check(4, 24)), (Ok(16), Ok(900), Ok(24)));
        assert_eq!(check(2, 15), Err(StructureError::Size { found: 15, least: 16 }));
        assert_eq!(check(4, 23), Err(StructureError::Size { found: 23, least: 24 }));
        for found in [1, 3, 5] {
            let expected = StructureError::Version { found, oldest: 2, newest: 4 };
            assert_eq!(check(found as u16, 99), Err(expected), "neither below, nor between, nor above");
        }
        assert_eq!(VersionAndSize::of::<[u8; 40]>(7), VersionAndSize { version: 7, size: 40 });
    }
}
