//! What makes a registration one of a provider or of a client.

use core::ffi::c_void;

use wdk_nmr_sys::{HANDLE, NPI_REGISTRATION_INSTANCE, NPIID, NTSTATUS};

use crate::guard::Guard;
use crate::part::Part;
use crate::slot::Slot;

/// One of the two roles of a module, as far as its registration is concerned.
///
/// # Safety
///
/// The functions are those of one role, and the callbacks in the characteristics take slots of `Binding` and `Guard`.
pub(crate) unsafe trait Role: Sized + 'static {
    type Module: Send + Sync + 'static;
    type Binding: Send + Sync + 'static;
    type Guard: Guard;
    /// The NPI-specific characteristics of this side.
    type Specific: Part;
    /// The dispatch table of this side.
    type Dispatch: Part;
    /// NPI_CLIENT_CHARACTERISTICS or NPI_PROVIDER_CHARACTERISTICS.
    type Characteristics;

    const ROLE: u32;
    const NPI_ID: NPIID;
    /// How many dispatch tables a registration has.
    const TABLES: usize;
    const COMPLETE: unsafe extern "system" fn(HANDLE);
    const REGISTER: unsafe extern "system" fn(*const Self::Characteristics, *mut c_void, *mut HANDLE) -> NTSTATUS;
    const DEREGISTER: unsafe extern "system" fn(HANDLE) -> NTSTATUS;
    const WAIT: unsafe extern "system" fn(HANDLE) -> NTSTATUS;

    fn characteristics(instance: NPI_REGISTRATION_INSTANCE) -> Self::Characteristics;
    fn instance(characteristics: &mut Self::Characteristics) -> &mut NPI_REGISTRATION_INSTANCE;
    /// One of the tables that a module hands out. `index` is less than `TABLES`.
    fn dispatch(module: &Self::Module, index: usize) -> OwnDispatch<Self>;
}

/// What a module of a role hands out as a dispatch table.
pub(crate) type OwnDispatch<L> = <<L as Role>::Dispatch as Part>::Own;
/// What a module of a role hands out as NPI-specific characteristics.
pub(crate) type OwnSpecific<L> = <<L as Role>::Specific as Part>::Own;
/// The slots of a role.
pub(crate) type RoleSlot<L> = Slot<<L as Role>::Binding, <L as Role>::Guard>;
