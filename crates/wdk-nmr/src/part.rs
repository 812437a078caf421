//! What an interface may have in each of its four places, and how a module sees what a peer has there.

use core::ffi::c_void;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::slice;

use crate::structure::{NpiStructure, StructureError};
use crate::table::Plain;

mod sealed {
    pub trait Sealed {}
    pub trait Absent {}
}

/// What stands in one of the four places of an [`Npi`](crate::Npi): a structure `T`, [`Optional<T>`],
/// [`Extensible<T>`], [`Ignored`], or `()` for nothing.
#[diagnostic::on_unimplemented(
    message = "an interface cannot have `{Self}` in this place",
    label = "expected `T: NpiStructure`, `Optional<T>`, `Extensible<T>`, `Ignored` or `()`",
    note = "implement `NpiStructure` for `{Self}` (its documentation shows how), or write `()` where the interface has \
            nothing"
)]
pub trait Part: sealed::Sealed + 'static {
    /// What a module of one's own hands out.
    type Own: 'static;
    /// What a module sees of a peer's.
    type Ref<'a>: Copy;

    /// Checks what a peer handed over.
    ///
    /// # Safety
    ///
    /// The pointer is what a module of the interface handed over in this place.
    #[doc(hidden)]
    unsafe fn accept(pointer: *const c_void) -> Result<(), StructureError>;

    /// What the module sees of it.
    ///
    /// # Safety
    ///
    /// `accept` has accepted the pointer, and the structure stays for `'a`.
    #[doc(hidden)]
    unsafe fn view<'a>(pointer: *const c_void) -> Self::Ref<'a>;

    /// The address that peers get to see.
    #[doc(hidden)]
    fn address_of(own: &Self::Own) -> *const c_void;

    /// Checks what the module itself wants to hand out.
    #[doc(hidden)]
    fn check_own(own: &Self::Own) -> Result<(), StructureError>;
}

/// How many bytes a structure has that a peer, or the module itself, hands over as `pointer`.
///
/// # Safety
///
/// Unless it is NULL or misaligned, the pointer is one to a `T` in the sense of [`NpiStructure`].
unsafe fn extent<T: NpiStructure>(pointer: *const T) -> Result<usize, StructureError> {
    const {
        assert!(size_of::<T::Header>() <= size_of::<T>(), "a structure is at least as large as its header");
        assert!(align_of::<T::Header>() <= align_of::<T>(), "a structure is aligned as its header has to be");
    }
    if pointer.is_null() {
        return Err(StructureError::Null);
    }
    if !pointer.is_aligned() {
        return Err(StructureError::Misaligned);
    }
    // SAFETY: neither NULL nor misaligned, so the structure's author says that it may be read as a header.
    let header = unsafe { pointer.cast::<T::Header>().read() };
    T::check(&header)
}

/// As [`extent`], which has to be at least `least`.
///
/// # Safety
///
/// As [`extent`].
unsafe fn at_least<T: NpiStructure>(pointer: *const T, least: usize) -> Result<(), StructureError> {
    // SAFETY: as the caller promises.
    let found = unsafe { extent(pointer) }?;
    if found < least { Err(StructureError::Size { found, least }) } else { Ok(()) }
}

/// Checks a structure of one's own: whole, and not larger than it says.
fn own<T: NpiStructure>(structure: &T) -> Result<(), StructureError> {
    // SAFETY: a value of the type.
    let found = unsafe { extent::<T>(structure) }?;
    if found > size_of::<T>() { Err(StructureError::TooLarge { found, most: size_of::<T>() }) } else { Ok(()) }
}

impl sealed::Sealed for () {}

impl Part for () {
    type Own = ();
    type Ref<'a> = ();

    unsafe fn accept(pointer: *const c_void) -> Result<(), StructureError> {
        if pointer.is_null() { Ok(()) } else { Err(StructureError::NotNull) }
    }

    unsafe fn view<'a>(_: *const c_void) -> Self::Ref<'a> {}

    fn address_of((): &()) -> *const c_void {
        ptr::null()
    }

    fn check_own((): &()) -> Result<(), StructureError> {
        Ok(())
    }
}

impl<T: NpiStructure> sealed::Sealed for T {}

impl<T: NpiStructure> Part for T {
    type Own = T;
    type Ref<'a> = &'a T;

    unsafe fn accept(pointer: *const c_void) -> Result<(), StructureError> {
        // SAFETY: as the caller promises.
        unsafe { at_least::<T>(pointer.cast(), size_of::<T>()) }
    }

    #[inline]
    unsafe fn view<'a>(pointer: *const c_void) -> &'a T {
        // SAFETY: `accept` found a whole `T` there, and the caller promises that it stays.
        unsafe { &*pointer.cast::<T>() }
    }

    fn address_of(own: &T) -> *const c_void {
        ptr::from_ref(own).cast()
    }

    fn check_own(structure: &T) -> Result<(), StructureError> {
        own(structure)?;
        // SAFETY: a value of the type.
        unsafe { at_least::<T>(structure, size_of::<T>()) }
    }
}

/// A structure that a peer may leave out: the pointer is NULL then. A module hands out an `Option<T>` and sees an
/// `Option<&T>`.
pub struct Optional<T>(PhantomData<fn() -> T>);

impl<T> sealed::Sealed for Optional<T> {}

impl<T: NpiStructure> Part for Optional<T> {
    type Own = Option<T>;
    type Ref<'a> = Option<&'a T>;

    unsafe fn accept(pointer: *const c_void) -> Result<(), StructureError> {
        if pointer.is_null() {
            return Ok(());
        }
        // SAFETY: as the caller promises.
        unsafe { T::accept(pointer) }
    }

    #[inline]
    unsafe fn view<'a>(pointer: *const c_void) -> Option<&'a T> {
        if pointer.is_null() {
            return None;
        }
        // SAFETY: as the caller promises.
        Some(unsafe { T::view(pointer) })
    }

    fn address_of(own: &Option<T>) -> *const c_void {
        own.as_ref().map_or(ptr::null(), T::address_of)
    }

    fn check_own(own: &Option<T>) -> Result<(), StructureError> {
        own.as_ref().map_or(Ok(()), T::check_own)
    }
}

/// A structure of which a peer may have more or less than this module knows: an older peer has only the first fields, a
/// newer one has further fields, and data may follow. `T` is all that this module knows. A module hands out a `T` and
/// sees a [`StructureRef<T>`], which says of each field whether it is there.
///
/// The least that a structure of each version has to have is for [`NpiStructure::check`] to say. The library itself
/// insists on the header.
pub struct Extensible<T>(PhantomData<fn() -> T>);

impl<T> sealed::Sealed for Extensible<T> {}

impl<T: NpiStructure> Part for Extensible<T> {
    type Own = T;
    type Ref<'a> = StructureRef<'a, T>;

    unsafe fn accept(pointer: *const c_void) -> Result<(), StructureError> {
        // SAFETY: as the caller promises.
        unsafe { at_least::<T>(pointer.cast(), size_of::<T::Header>()) }
    }

    #[inline]
    unsafe fn view<'a>(pointer: *const c_void) -> StructureRef<'a, T> {
        let pointer = pointer.cast::<T>();
        // SAFETY: `accept` has seen the pointer. A structure does not change; if it did, it would have no fields.
        let size = unsafe { extent(pointer) }.unwrap_or(0);
        // SAFETY: `accept` has not accepted NULL.
        let start = unsafe { NonNull::new_unchecked(pointer.cast_mut()) };
        StructureRef { start, size, structure: PhantomData }
    }

    fn address_of(own: &T) -> *const c_void {
        T::address_of(own)
    }

    fn check_own(structure: &T) -> Result<(), StructureError> {
        own(structure)
    }
}

/// Nothing as far as the interface goes, and yet peers hand something over. The library does not look at it; a module
/// sees the address. A module of one's own hands out NULL.
pub struct Ignored(());

impl sealed::Sealed for Ignored {}

impl Part for Ignored {
    type Own = ();
    type Ref<'a> = *const c_void;

    unsafe fn accept(_: *const c_void) -> Result<(), StructureError> {
        Ok(())
    }

    #[inline]
    unsafe fn view<'a>(pointer: *const c_void) -> Self::Ref<'a> {
        pointer
    }

    fn address_of((): &()) -> *const c_void {
        ptr::null()
    }

    fn check_own((): &()) -> Result<(), StructureError> {
        Ok(())
    }
}

/// A peer's structure, as much of it as there is.
///
/// ```
/// # use core::ffi::c_void;
/// # use wdk_nmr::{NpiStructure, StructureError, StructureRef, VersionAndSize, field};
/// # type Function = unsafe extern "system" fn(context: *mut c_void);
/// /// Version 1 ended with `start`; version 2 has `stop`, too.
/// #[repr(C)]
/// struct Engine {
///     header: VersionAndSize,
///     start: Function,
///     stop: Option<Function>,
/// }
///
/// # // SAFETY: `repr(C)`, starts with its header; pointers to functions.
/// unsafe impl NpiStructure for Engine {
///     type Header = VersionAndSize;
///     fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
///         header.check_each(&[(1, 16), (2, 24)])
///     }
/// }
///
/// fn stop_of(engine: StructureRef<'_, Engine>) -> Option<Function> {
///     *engine.get(field!(Engine, stop))?
/// }
/// ```
pub struct StructureRef<'a, T> {
    start: NonNull<T>,
    /// As many bytes may be read for `'a`.
    size: usize,
    structure: PhantomData<&'a T>,
}

impl<T> Clone for StructureRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for StructureRef<'_, T> {}

impl<'a, T: NpiStructure> StructureRef<'a, T> {
    /// How many bytes there are, as [`NpiStructure::check`] found out.
    #[must_use]
    pub const fn size(self) -> usize {
        self.size
    }

    /// The address, for what types cannot say.
    #[must_use]
    pub const fn as_ptr(self) -> *const T {
        self.start.as_ptr()
    }

    /// All of it, if there is all of it.
    #[inline]
    #[must_use]
    pub fn whole(self) -> Option<&'a T> {
        if self.size < size_of::<T>() {
            return None;
        }
        // SAFETY: the bytes may be read for `'a`, and are those of a `T`.
        Some(unsafe { self.start.as_ref() })
    }

    /// One field, if it is there: `structure.get(field!(Type, name))`.
    #[inline]
    #[must_use]
    pub fn get<F>(self, field: Field<T, F>) -> Option<&'a F> {
        if self.size < field.offset.checked_add(size_of::<F>())? {
            return None;
        }
        // SAFETY: the field ends within the bytes that may be read.
        let place = unsafe { self.start.byte_add(field.offset) };
        // SAFETY: a field of `T` lies there, aligned since the structure is, with a valid value.
        Some(unsafe { place.cast::<F>().as_ref() })
    }

    /// Data that lies in or behind the structure: `count` values from `offset` on. `None` if they are not all there, or
    /// not aligned.
    #[must_use]
    pub fn slice<E: Plain>(self, offset: usize, count: usize) -> Option<&'a [E]> {
        let end = count.checked_mul(size_of::<E>())?.checked_add(offset)?;
        if end > self.size {
            return None;
        }
        // SAFETY: within the bytes that may be read.
        let first = unsafe { self.start.byte_add(offset) }.cast::<E>();
        if !first.is_aligned() {
            return None;
        }
        // SAFETY: `count` values lie there for `'a`, aligned. Any bytes are a value of a plain type.
        Some(unsafe { slice::from_raw_parts(first.as_ptr(), count) })
    }
}

impl<T> fmt::Debug for StructureRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StructureRef").field("start", &self.start).field("size", &self.size).finish()
    }
}

/// Where in a structure `T` a field of type `F` lies. [`field!`](crate::field) makes one.
pub struct Field<T, F> {
    offset: usize,
    types: PhantomData<fn(&T) -> &F>,
}

impl<T, F> Field<T, F> {
    /// # Safety
    ///
    /// `T` has a field of type `F` at this offset.
    #[doc(hidden)]
    #[must_use]
    pub const unsafe fn new(offset: usize, _: fn(&T) -> &F) -> Self {
        Self { offset, types: PhantomData }
    }
}

/// What says that there is no structure.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the interface has a dispatch table, and it is not optional",
    label = "expected `provider_table!` or `client_table!`, found no table"
)]
pub trait Absent: sealed::Absent {
    const ABSENT: Self;
}

impl sealed::Absent for () {}

impl Absent for () {
    const ABSENT: Self = ();
}

impl<T: NpiStructure> sealed::Absent for Option<T> {}

impl<T: NpiStructure> Absent for Option<T> {
    const ABSENT: Self = None;
}

/// Names a field of a structure: `field!(Type, name)`, for [`StructureRef::get`](crate::StructureRef::get).
#[macro_export]
macro_rules! field {
    ($structure:ty, $field:ident) => {
        // SAFETY: the offset and the type are those of the field.
        unsafe {
            $crate::Field::<$structure, _>::new(
                ::core::mem::offset_of!($structure, $field),
                |structure: &$structure| &structure.$field,
            )
        }
    };
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::structure::VersionAndSize;

    type Function = unsafe extern "system" fn(*mut c_void) -> u32;

    unsafe extern "system" fn function(_: *mut c_void) -> u32 {
        7
    }

    /// Version 2 added the last field, version 3 nothing that is known here.
    #[repr(C, align(8))]
    struct Table {
        header: VersionAndSize,
        value: u32,
        later: Option<Function>,
    }

    // SAFETY: starts with its header; a number, and a pointer to a function that may be NULL.
    unsafe impl NpiStructure for Table {
        type Header = VersionAndSize;

        fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
            header.check_each(&[(2, 8), (3, 16)])
        }
    }

    fn table(version: u16, size: u16) -> Table {
        Table { header: VersionAndSize { version, size }, value: 5, later: Some(function) }
    }

    fn accept<P: Part>(structure: &Table) -> Result<(), StructureError> {
        // SAFETY: a table, of which as much is there as its header says.
        unsafe { P::accept(ptr::from_ref(structure).cast()) }
    }

    #[test]
    fn m21_a_header_is_checked_before_the_rest() {
        assert_eq!(accept::<Table>(&table(3, 16)), Ok(()));
        let unknown = |found| Err(StructureError::Version { found, oldest: 2, newest: 3 });
        assert_eq!((accept::<Table>(&table(1, 16)), accept::<Table>(&table(4, 16))), (unknown(1), unknown(4)));
        assert_eq!(accept::<Table>(&table(3, 8)), Err(StructureError::Size { found: 8, least: 16 }));
        assert_eq!(accept::<Table>(&table(2, 8)), Err(StructureError::Size { found: 8, least: 16 }), "not whole");
        // SAFETY: NULL.
        assert_eq!(unsafe { Table::accept(ptr::null()) }, Err(StructureError::Null));
        // SAFETY: misaligned.
        let misaligned = unsafe { Table::accept(ptr::without_provenance(12)) };
        assert_eq!(misaligned, Err(StructureError::Misaligned));
    }

    #[test]
    fn r33_an_absent_structure_has_to_be_null() {
        // SAFETY: NULL.
        assert_eq!(unsafe { <()>::accept(ptr::null()) }, Ok(()));
        // SAFETY: never read.
        assert_eq!(unsafe { <()>::accept(ptr::without_provenance(16)) }, Err(StructureError::NotNull));
        assert!(<()>::address_of(&()).is_null());
    }

    #[test]
    fn a_structure_is_handed_out_where_it_is() {
        let own = table(3, 16);
        let place = ptr::from_ref(&own).cast();
        assert_eq!([Table::address_of(&own), Extensible::address_of(&own)], [place; 2]);
    }

    #[test]
    fn r33_an_optional_structure_may_be_null_and_nothing_else_that_is_wrong() {
        type Part = Optional<Table>;
        // SAFETY: NULL.
        assert_eq!(unsafe { Part::accept(ptr::null()) }, Ok(()));
        // SAFETY: accepted.
        assert!(unsafe { Part::view(ptr::null()) }.is_none());
        let good = table(3, 16);
        assert_eq!(accept::<Part>(&good), Ok(()));
        // SAFETY: accepted.
        assert_eq!(unsafe { Part::view(ptr::from_ref(&good).cast()) }.map(|table| table.value), Some(5));
        assert_eq!(accept::<Part>(&table(3, 8)), Err(StructureError::Size { found: 8, least: 16 }));
        assert!(Part::address_of(&None).is_null() && Part::check_own(&None).is_ok());
        let own = Some(good);
        assert_eq!(Part::address_of(&own), ptr::from_ref(own.as_ref().unwrap()).cast());
        assert!(Part::check_own(&Some(table(9, 16))).is_err());
    }

    #[test]
    fn an_ignored_structure_may_be_anything() {
        for address in [0, 1, usize::MAX] {
            let pointer = ptr::without_provenance(address);
            // SAFETY: never read.
            assert_eq!(unsafe { Ignored::accept(pointer) }, Ok(()));
            // SAFETY: accepted.
            assert_eq!(unsafe { Ignored::view(pointer) }, pointer);
        }
        assert!(Ignored::address_of(&()).is_null());
    }

    fn view(table: &Table) -> StructureRef<'_, Table> {
        assert_eq!(accept::<Extensible<Table>>(table), Ok(()));
        // SAFETY: accepted, and as much is there.
        unsafe { <Extensible<Table> as Part>::view(ptr::from_ref(table).cast()) }
    }

    #[test]
    fn an_extensible_structure_has_the_fields_that_its_size_says() {
        let (old, new) = (table(2, 8), table(3, 16));
        let whole = ptr::from_ref(&new);
        let (old, new) = (view(&old), view(&new));
        assert_eq!((old.size(), new.size(), new.as_ptr()), (8, 16, whole));
        assert_eq!(format!("{old:?}"), format!("StructureRef {{ start: {:?}, size: 8 }}", old.start));
        assert_eq!((old.get(crate::field!(Table, value)), new.get(crate::field!(Table, value))), (Some(&5), Some(&5)));
        assert!(old.get(crate::field!(Table, later)).is_none() && old.whole().is_none());
        let later = new.get(crate::field!(Table, later)).copied().flatten().expect("it is there");
        assert_eq!(later as usize, function as *const () as usize);
        assert_eq!(new.whole().map(|table| table.value), Some(5));
        assert_eq!(accept::<Extensible<Table>>(&table(2, 7)), Err(StructureError::Size { found: 7, least: 8 }));
        let half = table(2, 11);
        assert!(view(&half).get(crate::field!(Table, later)).is_none(), "half of a field is none");
    }

    #[test]
    fn data_may_follow_an_extensible_structure() {
        #[repr(C)]
        struct Listed {
            count: u32,
            offset: u32,
        }
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct CountAndOffset {
            count: u32,
            offset: u32,
        }
        // SAFETY: starts with its header; numbers.
        unsafe impl NpiStructure for Listed {
            type Header = CountAndOffset;

            fn check(header: &CountAndOffset) -> Result<usize, StructureError> {
                if header.offset < 8 {
                    return Err(StructureError::Other { expected: "a list behind the structure" });
                }
                Ok(header.offset as usize + header.count as usize * 4)
            }
        }
        let words = [3_u32, 8, 10, 20, 30];
        // SAFETY: a structure with what its header says.
        assert_eq!(unsafe { <Extensible<Listed> as Part>::accept(words.as_ptr().cast()) }, Ok(()));
        // SAFETY: accepted.
        let view = unsafe { <Extensible<Listed> as Part>::view(words.as_ptr().cast()) };
        let listed = view.whole().unwrap();
        let (offset, count) = (listed.offset as usize, listed.count as usize);
        assert_eq!(view.slice::<u32>(offset, count), Some(&[10, 20, 30][..]));
        assert_eq!(view.slice::<u32>(offset, count + 1), None, "more than there is");
        assert_eq!((view.slice::<u32>(usize::MAX, 1), view.slice::<u32>(0, usize::MAX)), (None, None));
        assert_eq!(view.slice::<u32>(9, 1), None, "not aligned");
        assert_eq!(view.slice::<u8>(9, 1), Some(&[0][..]));
        let own = Listed { count: 0, offset: 4 };
        let expected = StructureError::Other { expected: "a list behind the structure" };
        assert_eq!(<Extensible<Listed> as Part>::check_own(&own), Err(expected));
    }

    #[test]
    fn a_structure_of_ones_own_is_not_smaller_than_it_says() {
        assert_eq!(Table::check_own(&table(3, 16)), Ok(()));
        let expected = Err(StructureError::TooLarge { found: 24, most: 16 });
        assert_eq!(Table::check_own(&table(3, 24)), expected);
        assert_eq!(<Extensible<Table> as Part>::check_own(&table(3, 24)), expected);
        assert_eq!(<Extensible<Table> as Part>::check_own(&table(2, 8)), Ok(()), "an older one may be handed out");
    }
}
