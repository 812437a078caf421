//! Dispatch tables of modules: from the context of a call to the module and its binding.
//!
//! An entry of a table is a function pointer in C's terms; a handler is a function in Rust's. Between them is a
//! function that turns the context into a call, generated for each pair: [`Entry`]. A handler is a function or a
//! closure without captures, so it has no size, and the generated function can make it from nothing.

use core::ffi::c_void;
use core::ptr::NonNull;

/// A side of a binding, as its dispatch table sees it.
#[doc(hidden)]
pub trait Side: 'static {
    /// What a function of the table makes of its context.
    type Call<'a>;

    /// # Safety
    ///
    /// The context is that of a binding of the side's module, and a call of the peer with it is in progress for `'a`.
    unsafe fn call<'a>(context: *mut c_void) -> Self::Call<'a>;
}

/// A value that a dispatch table may carry as it is, and that can be read from a peer's memory: a number, or a
/// structure of numbers.
///
/// # Safety
///
/// The type holds no function and no pointer. Any bytes are a value of it.
#[diagnostic::on_unimplemented(
    message = "a table cannot take a `{Self}` unchecked",
    label = "expected a number, or a structure of numbers that is `Plain`",
    note = "a handler stands behind `fn`: `name: fn Self::handler`",
    note = "an entry without a function is `name: null`",
    note = "a function that you have written yourself, or a pointer, is `name: unsafe {{ by_hand(value) }}`"
)]
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty)*) => {
        $(
            // SAFETY: a number.
            unsafe impl Plain for $type {}
        )*
    };
}
plain!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

// SAFETY: two numbers.
unsafe impl Plain for crate::VersionAndSize {}

// SAFETY: numbers.
unsafe impl Plain for wdk_nmr_sys::GUID {}

// SAFETY: no more than its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// A value of a table for which its author vouches. See [`by_hand`].
#[derive(Clone, Copy, Debug)]
pub struct ByHand<T>(T);

/// Puts a function or a pointer into a table as it is: `name: unsafe { by_hand(value) }`.
///
/// # Safety
///
/// The value may stand in this place of this table, for as long as the module is registered. A function makes of its
/// context what the interface says: if that is the binding context, with
/// [`ProviderCall::new`](crate::ProviderCall::new) or [`ClientCall::new`](crate::ClientCall::new) of the module whose
/// table it is.
pub const unsafe fn by_hand<T>(value: T) -> ByHand<T> {
    ByHand(value)
}

/// What may stand behind the name of a field without `fn`.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a table cannot take a `{Self}` for a field of type `{T}` unchecked",
    label = "expected a number, or a structure of numbers that is `Plain`",
    note = "a handler stands behind `fn`: `name: fn Self::handler`",
    note = "an entry without a function is `name: null`",
    note = "a function that you have written yourself, or a pointer, is `name: unsafe {{ by_hand(value) }}`"
)]
pub trait Value<T> {
    fn get(self) -> T;
}

impl<T: Plain> Value<T> for T {
    fn get(self) -> T {
        self
    }
}

impl<T> Value<T> for ByHand<T> {
    fn get(self) -> T {
        self.0
    }
}

/// A field that can be NULL.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a field of type `{Self}` cannot be NULL",
    label = "expected an `Option` of a function, or a raw pointer",
    note = "a bare function pointer is never NULL in Rust: declare the field as \
            `Option<unsafe extern \"system\" fn(..)>`"
)]
pub trait Nullable {
    const NULL: Self;
}

impl<T> Nullable for Option<T> {
    const NULL: Self = None;
}

impl<T> Nullable for *const T {
    const NULL: Self = core::ptr::null();
}

impl<T> Nullable for *mut T {
    const NULL: Self = core::ptr::null_mut();
}

/// An entry of a table, which the handler `F` of side `S` can serve.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the handler does not fit the entry, which is `{Self}`",
    label = "expected an entry `unsafe extern \"system\" fn(*mut Context, ..) -> ..`, or an `Option` of one",
    note = "a handler is a function, or a closure that captures nothing; it takes \
            `ProviderCall<'_, Self>` or `ClientCall<'_, Self>`, then what the entry takes after its context, and \
            returns what the entry returns",
    note = "an entry is `unsafe`, `extern \"system\"` or `extern \"C\"`, and its first argument is a raw \
            pointer: the binding context",
    note = "a function that gets something else is written by hand: `name: unsafe {{ by_hand(function) }}`"
)]
pub trait Entry<S, F> {
    fn of(handler: F) -> Self;
}

/// What can be a handler, apart from its signature.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a handler",
    label = "expected a function, or a closure without captures"
)]
pub trait Handler: Copy + Send + Sync + 'static {}

impl<F: Copy + Send + Sync + 'static> Handler for F {}

/// Makes a handler from nothing.
///
/// # Safety
///
/// There has been a value of the type. (It is `Copy`, so any number of others may be made of that; it is `Sync` and
/// `'static`, so on any thread and at any time; and it has no size, so there is nothing to read.)
#[inline]
unsafe fn conjure<F: Handler>() -> F {
    const { assert!(size_of::<F>() == 0, "expected a function or a closure without captures as a handler") };
    // SAFETY: a value without a size is read from any aligned address; the caller promises that there may be one.
    unsafe { NonNull::dangling().read() }
}

macro_rules! entries {
    ($abi:literal: $($argument:ident $type:ident),*) => {
        #[diagnostic::do_not_recommend]
        impl<S, F, X, R $(, $type)*> Entry<S, F> for unsafe extern $abi fn(*mut X $(, $type)*) -> R
        where
            S: Side,
            F: for<'a> Fn(S::Call<'a> $(, $type)*) -> R + Handler,
        {
            #[inline]
            fn of(_: F) -> Self {
                /// # Safety
                ///
                /// The context is that of a binding of the side's module, a call of the peer is in progress, and there
                /// has been a value of the handler's type.
                unsafe extern $abi fn entry<S, F, X, R $(, $type)*>(context: *mut X $(, $argument: $type)*) -> R
                where
                    S: Side,
                    F: for<'a> Fn(S::Call<'a> $(, $type)*) -> R + Handler,
                {
                    // SAFETY: as the caller promises.
                    let handler = unsafe { conjure::<F>() };
                    // SAFETY: as the caller promises.
                    handler(unsafe { S::call(context.cast()) } $(, $argument)*)
                }
                entry::<S, F, X, R $(, $type)*>
            }
        }

        #[diagnostic::do_not_recommend]
        impl<S, F, X, R $(, $type)*> Entry<S, F> for unsafe extern $abi fn(*const X $(, $type)*) -> R
        where
            S: Side,
            F: for<'a> Fn(S::Call<'a> $(, $type)*) -> R + Handler,
        {
            #[inline]
            fn of(_: F) -> Self {
                /// # Safety
                ///
                /// As of an entry that takes a `*mut`.
                unsafe extern $abi fn entry<S, F, X, R $(, $type)*>(context: *const X $(, $argument: $type)*) -> R
                where
                    S: Side,
                    F: for<'a> Fn(S::Call<'a> $(, $type)*) -> R + Handler,
                {
                    // SAFETY: as the caller promises.
                    let handler = unsafe { conjure::<F>() };
                    // SAFETY: as the caller promises.
                    handler(unsafe { S::call(context.cast_mut().cast()) } $(, $argument)*)
                }
                entry::<S, F, X, R $(, $type)*>
            }
        }
    };
}

/// Entries with up to so many arguments, in both calling conventions.
macro_rules! up_to {
    ($($argument:ident $type:ident),*) => {
        entries!("system": $($argument $type),*);
        entries!("C": $($argument $type),*);
        up_to!(@less $($argument $type),*);
    };
    (@less) => {};
    (@less $first:ident $first_type:ident $(, $argument:ident $type:ident)*) => {
        up_to!($($argument $type),*);
    };
}
up_to!(a A, b B, c C, d D, e E, f G, g H, h I, i J, j K, k L, l M);

impl<S, F, E: Entry<S, F>> Entry<S, F> for Option<E> {
    #[inline]
    fn of(handler: F) -> Self {
        Some(E::of(handler))
    }
}

/// A dispatch table of a module, as its interface has it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{T}` is not the dispatch table of the interface, which is `{Self}`",
    label = "expected the type that `Npi::ProviderDispatch` names for a provider, `Npi::ClientDispatch` for a client",
    note = "where that is `()` or `Ignored` there is no table: `ProviderTable::none()` or `ClientTable::none()`"
)]
pub trait Table<T> {
    fn of(table: T) -> Self;
}

impl<T> Table<T> for T {
    fn of(table: T) -> Self {
        table
    }
}

impl<T> Table<T> for Option<T> {
    fn of(table: T) -> Self {
        Some(table)
    }
}

/// The table of a module.
#[doc(hidden)]
#[inline]
#[must_use]
pub fn table<T, Own: Table<T>>(table: T) -> Own {
    Own::of(table)
}

/// The function of a table that calls `handler`.
#[doc(hidden)]
#[inline]
#[must_use]
pub fn entry<S, F, E: Entry<S, F>>(handler: F) -> E {
    E::of(handler)
}

/// A value of a table.
#[doc(hidden)]
#[inline]
#[must_use]
pub fn value<T>(value: impl Value<T>) -> T {
    value.get()
}

/// An empty entry of a table.
#[doc(hidden)]
#[inline]
#[must_use]
pub const fn null<T: Nullable>() -> T {
    T::NULL
}

/// Writes a provider's dispatch table. Safe: every function in it was generated for this provider.
///
/// | an entry | what it is |
/// | --- | --- |
/// | `name: fn handler` | a function or a closure without captures, which takes a [`ProviderCall`](crate::ProviderCall) and then what the entry takes after its context. The field is `unsafe extern "system" fn(*mut X, ..) -> ..`, the same with `"C"` or `*const X`, or an `Option` of it, with up to 12 arguments after the context |
/// | `name: null` | NULL, in an `Option` or a raw pointer |
/// | `name: value` | a number, or a structure of numbers that is [`Plain`](crate::Plain) |
/// | `name: unsafe { by_hand(value) }` | anything else, for which its author vouches: see [`by_hand`](crate::by_hand) |
///
/// A closure that captures something does not compile: what belongs to the provider is in the provider, and what
/// belongs to a client in its binding.
///
/// ```
/// # use core::ffi::c_void;
/// # use wdk_nmr::*;
/// # struct Adding;
/// #[repr(C)]
/// struct AddingDispatch {
///     header: VersionAndSize,
///     add: unsafe extern "system" fn(context: *mut c_void, number: u32) -> u32,
///     reset: Option<unsafe extern "C" fn(context: *mut c_void)>,
///     reserved: *const c_void,
/// }
/// # unsafe impl NpiStructure for AddingDispatch {
/// #     type Header = VersionAndSize;
/// #     fn check(header: &VersionAndSize) -> Result<usize, StructureError> { header.check(1..=1) }
/// # }
/// # unsafe impl Npi for Adding {
/// #     const ID: NPIID = NPIID { Data1: 1, Data2: 0, Data3: 0, Data4: [0; 8] };
/// #     type ProviderDispatch = AddingDispatch;
/// #     type ClientDispatch = ();
/// #     type ProviderCharacteristics = ();
/// #     type ClientCharacteristics = ();
/// # }
///
/// struct Adder(u32);
///
/// impl Adder {
///     fn add(call: ProviderCall<'_, Self>, number: u32) -> u32 {
///         call.provider().0 + call.binding() + number
///     }
/// }
///
/// impl Provider for Adder {
///     type Npi = Adding;
///     type Binding = u32;
///     type Guard = Single;
///
///     fn dispatch(&self) -> ProviderTable<Self> {
///         provider_table!(Self, AddingDispatch {
///             header: VersionAndSize::of::<AddingDispatch>(1),
///             add: fn Self::add,
///             reset: fn |_: ProviderCall<'_, Self>| (),
///             reserved: null,
///         })
///     }
///
///     fn attach(&self, _: &ClientOffer<'_, Adding>) -> Result<u32, Refusal> {
///         Ok(0)
///     }
/// }
/// ```
#[macro_export]
macro_rules! provider_table {
    ($provider:ty, $($table:ident)::+ $(<$($generic:ty),+ $(,)?>)? { $($entries:tt)* }) => {{
        let table = $crate::__table!(
            @entries ($crate::__ProviderSide<$provider>) ($($table)::+ $(::<$($generic),+>)?), {}, $($entries)*
        );
        // SAFETY: every function of the table was generated for contexts of bindings of this provider, and the other
        // entries are plain values, NULL, or vouched for by whoever wrote `by_hand`.
        unsafe { $crate::ProviderTable::<$provider>::new($crate::__own_table(table)) }
    }};
}

/// Writes a client's dispatch table: as [`provider_table!`](crate::provider_table), with handlers that take a
/// [`ClientCall`](crate::ClientCall).
#[macro_export]
macro_rules! client_table {
    ($client:ty, $($table:ident)::+ $(<$($generic:ty),+ $(,)?>)? { $($entries:tt)* }) => {{
        let table = $crate::__table!(
            @entries ($crate::__ClientSide<$client>) ($($table)::+ $(::<$($generic),+>)?), {}, $($entries)*
        );
        // SAFETY: every function of the table was generated for contexts of bindings of this client, and the other
        // entries are plain values, NULL, or vouched for by whoever wrote `by_hand`.
        unsafe { $crate::ClientTable::<$client>::new($crate::__own_table(table)) }
    }};
}

/// Goes through the entries of a table from first to last.
#[doc(hidden)]
#[macro_export]
macro_rules! __table {
    (@entries ($side:ty) ($($table:tt)+), { $($done:tt)* } $(,)?) => { $($table)+ { $($done)* } };
    (@entries ($side:ty) $table:tt, { $($done:tt)* }, $name:ident: fn $handler:expr $(, $($rest:tt)*)?) => {
        $crate::__table!(
            @entries ($side) $table,
            { $($done)* $name: $crate::__entry::<$side, _, _>($handler), },
            $($($rest)*)?
        )
    };
    (@entries ($side:ty) $table:tt, { $($done:tt)* }, $name:ident: null $(, $($rest:tt)*)?) => {
        $crate::__table!(@entries ($side) $table, { $($done)* $name: $crate::__null(), }, $($($rest)*)?)
    };
    (@entries ($side:ty) $table:tt, { $($done:tt)* }, $name:ident: $value:expr $(, $($rest:tt)*)?) => {
        $crate::__table!(@entries ($side) $table, { $($done)* $name: $crate::__value($value), }, $($($rest)*)?)
    };
}
