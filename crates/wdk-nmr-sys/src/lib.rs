//! Rust declarations of the Network Module Registrar (NMR), the part of Windows that brings network drivers together.
//!
//! These are the types, callbacks, constants and nine functions of `netioddk.h` and `netiodef.h`, under their C names
//! and with their C signatures. Nothing here is safe to call by itself: `wdk-nmr` is the library to write drivers with.
//!
//! On Windows targets the functions are imported from NETIO.SYS without any import library. On every other target, and
//! with the feature `unlinked`, they stay unresolved symbols, so that a test can link a registrar of its own.
//!
//! Sizes and offsets are asserted at compile time and hold for the 64-bit targets of Windows, x64 and ARM64.
#![no_std]
#![allow(non_camel_case_types, non_snake_case, reason = "the names are those of the C headers")]

use core::ffi::c_void;

mod layout;
mod module_id;

pub use module_id::NmrIsEqualNpiModuleId;

/// A handle of the kernel. NMR hands out three kinds that C cannot tell apart: client registrations, provider
/// registrations and bindings.
pub type HANDLE = *mut c_void;

/// The result of a kernel function. Negative values are failures.
pub type NTSTATUS = i32;

/// The operation is done.
pub const STATUS_SUCCESS: NTSTATUS = 0;
/// The operation goes on and its end is reported by another call. A success code as far as `NT_SUCCESS` goes.
pub const STATUS_PENDING: NTSTATUS = 0x0000_0103;
/// An argument is wrong.
pub const STATUS_INVALID_PARAMETER: NTSTATUS = 0xC000_000D_u32 as NTSTATUS;
/// There is not enough memory.
pub const STATUS_INSUFFICIENT_RESOURCES: NTSTATUS = 0xC000_009A_u32 as NTSTATUS;
/// One module does not want to be attached to the other.
pub const STATUS_NOINTERFACE: NTSTATUS = 0xC000_02B9_u32 as NTSTATUS;

/// A globally unique identifier, in the layout of the Windows headers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GUID {
    /// The first 8 hexadecimal digits.
    pub Data1: u32,
    /// The first group of 4 digits.
    pub Data2: u16,
    /// The second group of 4 digits.
    pub Data3: u16,
    /// The remaining 16 digits.
    pub Data4: [u8; 8],
}

impl GUID {
    /// The identifier that is written with these digits: `GUID::from_u128(0x6c6f23f6_1a1b_4a3e_8e01_020304050607)` is
    /// {6c6f23f6-1a1b-4a3e-8e01-020304050607}.
    #[must_use]
    pub const fn from_u128(digits: u128) -> Self {
        Self {
            Data1: (digits >> 96) as u32,
            Data2: (digits >> 80) as u16,
            Data3: (digits >> 64) as u16,
            Data4: (digits as u64).to_be_bytes(),
        }
    }
}

/// The [`GUID`] that equals one of another crate's type, for constants too: that of wdk-sys, or of what bindgen makes
/// of a header. The type has the fields `Data1` to `Data4`.
///
/// ```
/// # mod wdk_sys {
/// #     pub struct GUID { pub Data1: u32, pub Data2: u16, pub Data3: u16, pub Data4: [u8; 8] }
/// # }
/// use wdk_nmr_sys::{NPIID, guid};
///
/// // As a header of the interface has it.
/// const ADDING_ID: wdk_sys::GUID =
///     wdk_sys::GUID { Data1: 0x6c6f23f6, Data2: 0x1a1b, Data3: 0x4a3e, Data4: [0x8e, 1, 2, 3, 4, 5, 6, 7] };
///
/// const ID: NPIID = guid!(ADDING_ID);
/// assert_eq!(ID, NPIID::from_u128(0x6c6f23f6_1a1b_4a3e_8e01_020304050607));
/// ```
#[macro_export]
macro_rules! guid {
    ($guid:expr) => {{
        let guid = $guid;
        $crate::GUID { Data1: guid.Data1, Data2: guid.Data2, Data3: guid.Data3, Data4: guid.Data4 }
    }};
}

/// The identifier of a Network Programming Interface. NMR offers modules to each other whose identifiers are equal
/// (R2).
pub type NPIID = GUID;
/// A pointer to an [`NPIID`].
pub type PNPIID = *const NPIID;

/// A locally unique identifier.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LUID {
    /// The low half.
    pub LowPart: u32,
    /// The high half.
    pub HighPart: i32,
}

/// Which member of [`NPI_MODULEID_ID`] is valid. A C enumeration, so any 32-bit value can arrive.
pub type NPI_MODULEID_TYPE = i32;
/// `NPI_MODULEID.Id.Guid` is valid.
pub const MIT_GUID: NPI_MODULEID_TYPE = 1;
/// `NPI_MODULEID.Id.IfLuid` is valid.
pub const MIT_IF_LUID: NPI_MODULEID_TYPE = 2;

/// The anonymous union of [`NPI_MODULEID`].
#[repr(C)]
#[derive(Clone, Copy)]
pub union NPI_MODULEID_ID {
    /// Valid when `Type` is [`MIT_GUID`].
    pub Guid: GUID,
    /// Valid when `Type` is [`MIT_IF_LUID`].
    pub IfLuid: LUID,
}

/// Names a network module. Opaque to NMR (R3).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_MODULEID {
    /// The size of this structure in bytes.
    pub Length: u16,
    /// Which member of the union is valid.
    pub Type: NPI_MODULEID_TYPE,
    /// The identifier. In C a union without a name.
    pub Id: NPI_MODULEID_ID,
}
/// A pointer to an [`NPI_MODULEID`].
pub type PNPI_MODULEID = *const NPI_MODULEID;

/// What a module tells its peers about one registration. NMR hands the peer a pointer to the module's own copy, so it
/// has to stay in place as long as the module is registered (R10).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_REGISTRATION_INSTANCE {
    /// Should be 0.
    pub Version: u16,
    /// The size of this structure in bytes.
    pub Size: u16,
    /// The interface.
    pub NpiId: PNPIID,
    /// The module. NULL is not ruled out by the documentation.
    pub ModuleId: PNPI_MODULEID,
    /// The implementation of the interface; 0 if the module has only one.
    pub Number: u32,
    /// A structure that the interface defines, or NULL where it defines none.
    pub NpiSpecificCharacteristics: *const c_void,
}
/// A pointer to an [`NPI_REGISTRATION_INSTANCE`].
pub type PNPI_REGISTRATION_INSTANCE = *const NPI_REGISTRATION_INSTANCE;

/// Called at PASSIVE_LEVEL, once for each provider of the client's interface. The client refuses with
/// [`STATUS_NOINTERFACE`] or calls [`NmrClientAttachProvider`] and returns its status (R17, R18, R26).
pub type NPI_CLIENT_ATTACH_PROVIDER_FN = unsafe extern "system" fn(
    NmrBindingHandle: HANDLE,
    ClientContext: *mut c_void,
    ProviderRegistrationInstance: PNPI_REGISTRATION_INSTANCE,
) -> NTSTATUS;
/// Called at up to DISPATCH_LEVEL when a binding ends; returns [`STATUS_SUCCESS`], or [`STATUS_PENDING`] when calls
/// into the provider are in progress (R44, R45).
pub type NPI_CLIENT_DETACH_PROVIDER_FN = unsafe extern "system" fn(ClientBindingContext: *mut c_void) -> NTSTATUS;
/// Called at up to DISPATCH_LEVEL when both sides have detached: the place to free the binding context (R55, R59).
pub type NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN = unsafe extern "system" fn(ClientBindingContext: *mut c_void);
/// Called at PASSIVE_LEVEL, inside the client's call of [`NmrClientAttachProvider`] (R20). On success the provider has
/// set both out parameters (R21).
pub type NPI_PROVIDER_ATTACH_CLIENT_FN = unsafe extern "system" fn(
    NmrBindingHandle: HANDLE,
    ProviderContext: *mut c_void,
    ClientRegistrationInstance: PNPI_REGISTRATION_INSTANCE,
    ClientBindingContext: *mut c_void,
    ClientDispatch: *const c_void,
    ProviderBindingContext: *mut *mut c_void,
    ProviderDispatch: *mut *const c_void,
) -> NTSTATUS;
/// The provider's counterpart of [`NPI_CLIENT_DETACH_PROVIDER_FN`].
pub type NPI_PROVIDER_DETACH_CLIENT_FN = unsafe extern "system" fn(ProviderBindingContext: *mut c_void) -> NTSTATUS;
/// The provider's counterpart of [`NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN`].
pub type NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN = unsafe extern "system" fn(ProviderBindingContext: *mut c_void);

/// A pointer to an [`NPI_CLIENT_ATTACH_PROVIDER_FN`]; `None` is NULL.
pub type PNPI_CLIENT_ATTACH_PROVIDER_FN = Option<NPI_CLIENT_ATTACH_PROVIDER_FN>;
/// A pointer to an [`NPI_CLIENT_DETACH_PROVIDER_FN`]; `None` is NULL.
pub type PNPI_CLIENT_DETACH_PROVIDER_FN = Option<NPI_CLIENT_DETACH_PROVIDER_FN>;
/// A pointer to an [`NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN`]; `None` is NULL.
pub type PNPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN = Option<NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN>;
/// A pointer to an [`NPI_PROVIDER_ATTACH_CLIENT_FN`]; `None` is NULL.
pub type PNPI_PROVIDER_ATTACH_CLIENT_FN = Option<NPI_PROVIDER_ATTACH_CLIENT_FN>;
/// A pointer to an [`NPI_PROVIDER_DETACH_CLIENT_FN`]; `None` is NULL.
pub type PNPI_PROVIDER_DETACH_CLIENT_FN = Option<NPI_PROVIDER_DETACH_CLIENT_FN>;
/// A pointer to an [`NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN`]; `None` is NULL.
pub type PNPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN = Option<NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN>;

/// What a client registers. It and all that it points to must stay valid, in place and resident until
/// [`NmrWaitForClientDeregisterComplete`] has returned (R10).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_CLIENT_CHARACTERISTICS {
    /// Should be 0.
    pub Version: u16,
    /// The size of this structure in bytes.
    pub Length: u16,
    /// Required. `None` is NULL.
    pub ClientAttachProvider: PNPI_CLIENT_ATTACH_PROVIDER_FN,
    /// Required. `None` is NULL.
    pub ClientDetachProvider: PNPI_CLIENT_DETACH_PROVIDER_FN,
    /// May be NULL.
    pub ClientCleanupBindingContext: PNPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN,
    /// What providers see.
    pub ClientRegistrationInstance: NPI_REGISTRATION_INSTANCE,
}
/// A pointer to [`NPI_CLIENT_CHARACTERISTICS`].
pub type PNPI_CLIENT_CHARACTERISTICS = *const NPI_CLIENT_CHARACTERISTICS;

/// What a provider registers. It and all that it points to must stay valid, in place and resident until
/// [`NmrWaitForProviderDeregisterComplete`] has returned (R10).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_PROVIDER_CHARACTERISTICS {
    /// Should be 0.
    pub Version: u16,
    /// The size of this structure in bytes.
    pub Length: u16,
    /// Required. `None` is NULL.
    pub ProviderAttachClient: PNPI_PROVIDER_ATTACH_CLIENT_FN,
    /// Required. `None` is NULL.
    pub ProviderDetachClient: PNPI_PROVIDER_DETACH_CLIENT_FN,
    /// May be NULL.
    pub ProviderCleanupBindingContext: PNPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN,
    /// What clients see.
    pub ProviderRegistrationInstance: NPI_REGISTRATION_INSTANCE,
}
/// A pointer to [`NPI_PROVIDER_CHARACTERISTICS`].
pub type PNPI_PROVIDER_CHARACTERISTICS = *const NPI_PROVIDER_CHARACTERISTICS;

#[cfg_attr(
    all(windows, not(feature = "unlinked")),
    link(name = "NETIO.SYS", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Registers a client and offers it every registered provider of its interface before it returns (R4, R6).
    /// PASSIVE_LEVEL. `NmrClientHandle` has no meaning unless the result is [`STATUS_SUCCESS`] (R9).
    pub fn NmrRegisterClient(
        ClientCharacteristics: PNPI_CLIENT_CHARACTERISTICS,
        ClientContext: *mut c_void,
        NmrClientHandle: *mut HANDLE,
    ) -> NTSTATUS;
    /// Starts the end of a client registration. [`STATUS_PENDING`] when that worked, always (R61). Up to
    /// DISPATCH_LEVEL.
    pub fn NmrDeregisterClient(NmrClientHandle: HANDLE) -> NTSTATUS;
    /// Waits, without a limit, until nothing of the registration is left; only after [`NmrDeregisterClient`] (R62).
    /// Below DISPATCH_LEVEL.
    pub fn NmrWaitForClientDeregisterComplete(NmrClientHandle: HANDLE) -> NTSTATUS;
    /// Called by a client in its attach callback, with the binding handle given there: attaches to the provider, whose
    /// status it returns (R19, R20). PASSIVE_LEVEL.
    pub fn NmrClientAttachProvider(
        NmrBindingHandle: HANDLE,
        ClientBindingContext: *mut c_void,
        ClientDispatch: *const c_void,
        ProviderBindingContext: *mut *mut c_void,
        ProviderDispatch: *mut *const c_void,
    ) -> NTSTATUS;
    /// Ends a detach that the client has answered with [`STATUS_PENDING`]. Nothing of the binding may be touched
    /// afterwards (R45, R53). Up to DISPATCH_LEVEL.
    pub fn NmrClientDetachProviderComplete(NmrBindingHandle: HANDLE);
    /// Registers a provider and offers it to every registered client of its interface before it returns (R4, R6).
    /// PASSIVE_LEVEL. `NmrProviderHandle` has no meaning unless the result is [`STATUS_SUCCESS`] (R9).
    pub fn NmrRegisterProvider(
        ProviderCharacteristics: PNPI_PROVIDER_CHARACTERISTICS,
        ProviderContext: *mut c_void,
        NmrProviderHandle: *mut HANDLE,
    ) -> NTSTATUS;
    /// Starts the end of a provider registration. [`STATUS_PENDING`] when that worked, always (R61). Up to
    /// DISPATCH_LEVEL.
    pub fn NmrDeregisterProvider(NmrProviderHandle: HANDLE) -> NTSTATUS;
    /// Waits, without a limit, until nothing of the registration is left; only after [`NmrDeregisterProvider`] (R62).
    /// Below DISPATCH_LEVEL.
    pub fn NmrWaitForProviderDeregisterComplete(NmrProviderHandle: HANDLE) -> NTSTATUS;
    /// Ends a detach that the provider has answered with [`STATUS_PENDING`]. Nothing of the binding may be touched
    /// afterwards (R45, R53). Up to DISPATCH_LEVEL.
    pub fn NmrProviderDetachClientComplete(NmrBindingHandle: HANDLE);
}
