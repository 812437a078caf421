//! The functions of a dispatch table, from a binding's context to the module and its binding.

/// A value that a dispatch table may carry beside its functions: a header, a number.
///
/// # Safety
///
/// The type holds no function and no pointer.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty)*) => {
        $(
            // SAFETY: a number.
            unsafe impl Plain for $type {}
        )*
    };
}
plain!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize bool);

// SAFETY: no more than its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Lets a value pass that a table may carry.
#[doc(hidden)]
#[must_use]
pub const fn plain<T: Plain>(value: T) -> T {
    value
}

/// Writes a provider's dispatch table, with a function for each entry that turns the context into `&Provider,
/// &Binding`.
///
/// An entry is `name: fn(arguments) -> result = function`, where `function` takes the provider, the binding and the
/// arguments, or `name: value`, where the value is [`Plain`].
///
/// ```
/// # use core::ffi::c_void;
/// # use wdk_nmr::*;
/// # struct Adding;
/// #[repr(C)]
/// struct AddingDispatch {
///     version: u16,
///     size: u16,
///     add: unsafe extern "system" fn(context: *mut c_void, number: u32) -> u32,
/// }
/// # unsafe impl NpiStructure for AddingDispatch { const FORM: Form = Form::Versioned { oldest: 1, newest: 1 }; }
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
///     fn add(&self, already: &u32, number: u32) -> u32 {
///         self.0 + already + number
///     }
/// }
///
/// impl Provider for Adder {
///     type Npi = Adding;
///     type Binding = u32;
///     type Guard = Single;
///     const DISPATCH: ProviderTable<Self> = provider_table!(Adder, AddingDispatch {
///         version: 1,
///         size: size_of::<AddingDispatch>() as u16,
///         add: fn(number: u32) -> u32 = Adder::add,
///     });
///
///     fn attach(&self, _: &ClientOffer<'_, Adding>) -> Result<u32, Refusal> {
///         Ok(0)
///     }
/// }
/// ```
#[macro_export]
macro_rules! provider_table {
    ($provider:ty, $table:ident { $($entries:tt)* }) => {{
        const TABLE: &$table = &$crate::__table!(@entries provider $provider, $table, {}, $($entries)*);
        // SAFETY: every function of the table was written by the macro, for contexts of bindings of this provider; the
        // other entries hold no functions.
        unsafe { $crate::ProviderTable::<$provider>::new(TABLE) }
    }};
}

/// Writes a client's dispatch table: as [`provider_table!`](crate::provider_table), with functions that take the
/// client, the binding and the arguments.
#[macro_export]
macro_rules! client_table {
    ($client:ty, $table:ident { $($entries:tt)* }) => {{
        const TABLE: &$table = &$crate::__table!(@entries client $client, $table, {}, $($entries)*);
        // SAFETY: every function of the table was written by the macro, for contexts of bindings of this client; the
        // other entries hold no functions.
        unsafe { $crate::ClientTable::<$client>::new(TABLE) }
    }};
}

/// Goes through the entries of a table from first to last.
#[doc(hidden)]
#[macro_export]
macro_rules! __table {
    (@entries $role:ident $module:ty, $table:ident, { $($done:tt)* } $(,)?) => { $table { $($done)* } };
    (
        @entries $role:ident $module:ty, $table:ident, { $($done:tt)* },
        $name:ident: fn($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $function:expr
        $(, $($rest:tt)*)?
    ) => {
        $crate::__table!(@entries $role $module, $table, { $($done)* $name: {
            /// # Safety
            ///
            /// The context is that of a binding of the module, and a call of its peer is in progress.
            unsafe extern "system" fn $name(context: *mut ::core::ffi::c_void $(, $argument: $type)*) $(-> $result)? {
                // SAFETY: peers call with the context that came with the table.
                let call = unsafe { $crate::__table!(@call $role $module)(context) };
                $function(call.$role(), call.binding() $(, $argument)*)
            }
            $name
        }, }, $($($rest)*)?)
    };
    (
        @entries $role:ident $module:ty, $table:ident, { $($done:tt)* },
        $name:ident: $value:expr $(, $($rest:tt)*)?
    ) => {
        $crate::__table!(@entries $role $module, $table, { $($done)* $name: $crate::__plain($value), }, $($($rest)*)?)
    };
    (@call provider $module:ty) => { $crate::ProviderCall::<$module>::new };
    (@call client $module:ty) => { $crate::ClientCall::<$module>::new };
}
