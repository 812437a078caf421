//! The nine functions under their C names.

use core::ffi::c_void;

use wdk_nmr_sys::{HANDLE, NTSTATUS, PNPI_CLIENT_CHARACTERISTICS, PNPI_PROVIDER_CHARACTERISTICS};

use super::registrar;

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
unsafe extern "system" fn NmrRegisterClient(
    characteristics: PNPI_CLIENT_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut HANDLE,
) -> NTSTATUS {
    // SAFETY: the function's contract is the method's.
    unsafe { registrar().register_client(characteristics, context, handle) }
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
extern "system" fn NmrDeregisterClient(handle: HANDLE) -> NTSTATUS {
    registrar().deregister_client(handle)
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
extern "system" fn NmrWaitForClientDeregisterComplete(handle: HANDLE) -> NTSTATUS {
    registrar().wait_for_client_deregister_complete(handle)
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
unsafe extern "system" fn NmrClientAttachProvider(
    handle: HANDLE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    provider_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    let registrar = registrar();
    // SAFETY: the function's contract is the method's.
    unsafe {
        registrar.client_attach_provider(handle, client_context, client_dispatch, provider_context, provider_dispatch)
    }
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
extern "system" fn NmrClientDetachProviderComplete(handle: HANDLE) {
    registrar().client_detach_provider_complete(handle);
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
unsafe extern "system" fn NmrRegisterProvider(
    characteristics: PNPI_PROVIDER_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut HANDLE,
) -> NTSTATUS {
    // SAFETY: the function's contract is the method's.
    unsafe { registrar().register_provider(characteristics, context, handle) }
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
extern "system" fn NmrDeregisterProvider(handle: HANDLE) -> NTSTATUS {
    registrar().deregister_provider(handle)
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
extern "system" fn NmrWaitForProviderDeregisterComplete(handle: HANDLE) -> NTSTATUS {
    registrar().wait_for_provider_deregister_complete(handle)
}

// SAFETY: no other definition of this name is linked into a host test.
#[unsafe(no_mangle)]
extern "system" fn NmrProviderDetachClientComplete(handle: HANDLE) {
    registrar().provider_detach_client_complete(handle);
}
