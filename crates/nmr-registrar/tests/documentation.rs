//! The examples in Rust of docs/registrar.md and docs/testing-nmr.md, with the driver and the peer that they test. A
//! file to copy: it needs `nmr-registrar` and `wdk-nmr-sys`, and nothing else of this package.

use std::ffi::c_void;
use std::ptr::without_provenance_mut;

use nmr_registrar::{Side, registrar};
use wdk_nmr_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};

use nmr_registrar::{DISPATCH_LEVEL, Function, Session, irql};

#[test]
fn the_driver_comes_and_goes() {
    let session = Session::adversary();

    // Memory runs out in the driver's registration: it has to pass that on, and leave nothing behind.
    session.fail(Function::RegisterClient, 0, STATUS_INSUFFICIENT_RESOURCES);
    assert_eq!(driver::entry(), STATUS_INSUFFICIENT_RESOURCES);
    assert!(session.report().is_empty());

    // It attaches to a provider, which goes away at DISPATCH_LEVEL.
    assert_eq!(driver::entry(), STATUS_SUCCESS);
    let provider = peer::register();
    assert_eq!(session.report().bindings.len(), 1);
    session.at_irql(DISPATCH_LEVEL, || peer::deregister(provider));
    assert_eq!((session.report().bindings.len(), irql::current()), (0, 0));
    peer::wait(provider);
    driver::unload();

    // A mistake, on purpose. Without the last line the session would fail the test and say what was wrong.
    peer::deregister(provider);
    session.expect_violation(66);
}

/// A function of the peer's dispatch table. Its context is the binding handle, to keep this short.
extern "system" fn classify(context: *mut c_void) -> NTSTATUS {
    // The client is in the provider now. After STATUS_PENDING it would be until `call_completes`.
    registrar().calling(context, Side::Client, || STATUS_SUCCESS)
}

#[test]
fn a_call_after_the_end_of_its_binding_is_noticed() {
    let session = Session::adversary();
    assert_eq!(driver::entry(), STATUS_SUCCESS);
    let provider = peer::register();
    let binding = without_provenance_mut(session.report().bindings[0].handle);
    assert_eq!(classify(binding), STATUS_SUCCESS);
    peer::deregister(provider);
    peer::wait(provider);
    driver::unload();
    assert_eq!(session.violations(), []);
    classify(binding);
    session.expect_violation(43);
}

#[test]
fn the_driver_and_its_peer_come_and_go_at_the_same_time() {
    let session = Session::adversary();
    let mut threads = session.threads();
    threads.add("driver", || {
        assert_eq!(driver::entry(), STATUS_SUCCESS);
        driver::unload();
    });
    threads.add("peer", || {
        let provider = peer::register();
        peer::deregister(provider);
        peer::wait(provider);
    });
    threads.run().iter().for_each(|step| println!("{step}"));
}

/// What both sides of the example register.
mod structures {
    use std::ptr::null;
    use wdk_nmr_sys::*;

    /// Shared by any thread, since nobody writes it.
    pub(crate) struct Shared<T>(pub(crate) T);
    // SAFETY: it is never written.
    unsafe impl<T> Sync for Shared<T> {}

    static NPI: NPIID = GUID { Data1: 0xD0C5, Data2: 1, Data3: 1, Data4: *b"document" };
    static ID: Shared<NPI_MODULEID> = Shared(NPI_MODULEID {
        Length: size_of::<NPI_MODULEID>() as u16,
        Type: MIT_GUID,
        Id: NPI_MODULEID_ID { Guid: NPI },
    });
    pub(crate) const INSTANCE: NPI_REGISTRATION_INSTANCE = NPI_REGISTRATION_INSTANCE {
        Version: 0,
        Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
        NpiId: &raw const NPI,
        ModuleId: &raw const ID.0,
        Number: 0,
        NpiSpecificCharacteristics: null(),
    };
}

/// The driver under test: a client that has no state of its own.
mod driver {
    use super::structures::{INSTANCE, Shared};
    use std::ffi::c_void;
    use std::ptr::{null, null_mut};
    use std::sync::atomic::{AtomicPtr, Ordering};
    use wdk_nmr_sys::*;

    static HANDLE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
    static CHARACTERISTICS: Shared<NPI_CLIENT_CHARACTERISTICS> = Shared(NPI_CLIENT_CHARACTERISTICS {
        Version: 0,
        Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
        ClientAttachProvider: Some(attach),
        ClientDetachProvider: Some(detach),
        ClientCleanupBindingContext: None,
        ClientRegistrationInstance: INSTANCE,
    });

    unsafe extern "system" fn attach(handle: HANDLE, _: *mut c_void, _: *const NPI_REGISTRATION_INSTANCE) -> NTSTATUS {
        let (mut context, mut dispatch) = (null_mut(), null());
        // SAFETY: the handle of this callback and two variables of ours.
        unsafe { NmrClientAttachProvider(handle, null_mut(), null(), &raw mut context, &raw mut dispatch) }
    }

    unsafe extern "system" fn detach(_: *mut c_void) -> NTSTATUS {
        STATUS_SUCCESS
    }

    pub(crate) fn entry() -> NTSTATUS {
        let mut handle = null_mut();
        // SAFETY: the characteristics are static, the handle variable is ours.
        let status = unsafe { NmrRegisterClient(&raw const CHARACTERISTICS.0, null_mut(), &raw mut handle) };
        HANDLE.store(handle, Ordering::SeqCst);
        status
    }

    pub(crate) fn unload() {
        let handle = HANDLE.load(Ordering::SeqCst);
        // SAFETY: the handle of a registration that succeeded.
        assert_eq!(unsafe { NmrDeregisterClient(handle) }, STATUS_PENDING);
        // SAFETY: the handle of a registration that succeeded.
        assert_eq!(unsafe { NmrWaitForClientDeregisterComplete(handle) }, STATUS_SUCCESS);
    }
}

/// A provider for the driver to attach to.
mod peer {
    use super::structures::{INSTANCE, Shared};
    use std::ffi::c_void;
    use std::ptr::null_mut;
    use wdk_nmr_sys::*;

    static TABLE: u64 = 0;
    static CHARACTERISTICS: Shared<NPI_PROVIDER_CHARACTERISTICS> = Shared(NPI_PROVIDER_CHARACTERISTICS {
        Version: 0,
        Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
        ProviderAttachClient: Some(attach),
        ProviderDetachClient: Some(detach),
        ProviderCleanupBindingContext: None,
        ProviderRegistrationInstance: INSTANCE,
    });

    unsafe extern "system" fn attach(
        _: HANDLE,
        _: *mut c_void,
        _: *const NPI_REGISTRATION_INSTANCE,
        _: *mut c_void,
        _: *const c_void,
        context: *mut *mut c_void,
        dispatch: *mut *const c_void,
    ) -> NTSTATUS {
        // SAFETY: the registrar's variable.
        unsafe { context.write(null_mut()) };
        // SAFETY: the registrar's variable.
        unsafe { dispatch.write((&raw const TABLE).cast()) };
        STATUS_SUCCESS
    }

    unsafe extern "system" fn detach(_: *mut c_void) -> NTSTATUS {
        STATUS_SUCCESS
    }

    pub(crate) fn register() -> HANDLE {
        let mut handle = null_mut();
        // SAFETY: the characteristics are static, the handle variable is ours.
        let status = unsafe { NmrRegisterProvider(&raw const CHARACTERISTICS.0, null_mut(), &raw mut handle) };
        assert_eq!(status, STATUS_SUCCESS);
        handle
    }

    pub(crate) fn deregister(handle: HANDLE) {
        // SAFETY: the registrar recognises every handle, good or bad.
        unsafe { NmrDeregisterProvider(handle) };
    }

    pub(crate) fn wait(handle: HANDLE) {
        // SAFETY: the registrar recognises every handle, good or bad.
        unsafe { NmrWaitForProviderDeregisterComplete(handle) };
    }
}
