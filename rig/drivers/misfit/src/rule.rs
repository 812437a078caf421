//! The misfit as a network module that breaks one rule of docs/nmr-rules.md: the one that its service is named after.
//!
//! It registers as a provider and as a client of an interface of its own, so it is attached to itself (R14) and no
//! other driver takes part.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wdk_nmr_sys::*;

use crate::locks;
use crate::wdm::{STATUS_UNSUCCESSFUL, raise_to_dispatch_level};

/// The ways to break a rule, by the name of the service.
const NAMES: [&str; 14] = [
    "r10-change",
    "r12-length",
    "r12-callback",
    "r15-level",
    "r19-late",
    "r21-unset",
    "r26-status",
    "r45-twice",
    "r46-success",
    "r52-kind",
    "r66-stale",
    "r68-null",
    "r74-inside",
    "wait-inside",
];

/// What the callbacks are to do wrong: an index into [`NAMES`].
static MISTAKE: AtomicU32 = AtomicU32::new(0);

fn makes(name: &str) -> bool {
    NAMES.get(MISTAKE.load(Ordering::Relaxed) as usize).is_some_and(|mistake| *mistake == name)
}

static NPI: NPIID = GUID { Data1: 0x6D69_7366, Data2: 0x6974, Data3: 1, Data4: [0; 8] };

/// Written by DriverEntry alone, before it is registered, and once after that, which is a mistake on purpose.
struct Own<T>(UnsafeCell<T>);

// SAFETY: written by one thread, before it is registered. The later write is the mistake that the rig has to notice.
unsafe impl<T> Sync for Own<T> {}

/// A structure that is never written to.
struct Shared<T>(T);

// SAFETY: it is never written to.
unsafe impl<T> Sync for Shared<T> {}

static MODULE: Shared<NPI_MODULEID> = Shared(NPI_MODULEID {
    Length: size_of::<NPI_MODULEID>() as u16,
    Type: MIT_GUID,
    Id: NPI_MODULEID_ID { Guid: GUID { Data1: 0x6D69_7366, Data2: 0x6974, Data3: 2, Data4: [0; 8] } },
});

const INSTANCE: NPI_REGISTRATION_INSTANCE = NPI_REGISTRATION_INSTANCE {
    Version: 0,
    Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
    NpiId: &raw const NPI,
    ModuleId: &raw const MODULE.0,
    Number: 0,
    NpiSpecificCharacteristics: null(),
};

static CLIENT: Own<NPI_CLIENT_CHARACTERISTICS> = Own(UnsafeCell::new(NPI_CLIENT_CHARACTERISTICS {
    Version: 0,
    Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
    ClientAttachProvider: Some(client_attach),
    ClientDetachProvider: Some(client_detach),
    ClientCleanupBindingContext: Some(cleanup),
    ClientRegistrationInstance: INSTANCE,
}));

static PROVIDER: Own<NPI_PROVIDER_CHARACTERISTICS> = Own(UnsafeCell::new(NPI_PROVIDER_CHARACTERISTICS {
    Version: 0,
    Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
    ProviderAttachClient: Some(provider_attach),
    ProviderDetachClient: Some(provider_detach),
    ProviderCleanupBindingContext: Some(cleanup),
    ProviderRegistrationInstance: INSTANCE,
}));

static CLIENT_HANDLE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static BINDING: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Breaks the rule that the service is named after; `None` if it is named after none. Returns only if the mistake goes
/// unnoticed.
pub(crate) fn start(is: impl Fn(&str) -> bool) -> Option<NTSTATUS> {
    let mistake = NAMES.iter().position(|name| is(name))?;
    MISTAKE.store(mistake as u32, Ordering::Relaxed);
    let (client, provider) = (CLIENT.0.get(), PROVIDER.0.get());
    if makes("r12-length") {
        // SAFETY: nothing is registered yet, and no other thread is here.
        unsafe { (*client).Length -= 1 };
    }
    if makes("r12-callback") {
        // SAFETY: nothing is registered yet, and no other thread is here.
        unsafe { (*client).ClientDetachProvider = None };
    }
    if makes("r15-level") {
        raise_to_dispatch_level();
    }
    let mut handle = null_mut();
    // SAFETY: static characteristics.
    let status = unsafe { NmrRegisterProvider(provider, null_mut(), &mut handle) };
    if status != STATUS_SUCCESS {
        return Some(status);
    }
    // SAFETY: static characteristics.
    let status = unsafe { NmrRegisterClient(client, null_mut(), &mut handle) };
    if status != STATUS_SUCCESS {
        return Some(status);
    }
    CLIENT_HANDLE.store(handle, Ordering::Relaxed);
    if makes("r19-late") {
        propose(BINDING.load(Ordering::Relaxed));
    }
    if makes("r10-change") {
        // SAFETY: broken on purpose: the structure is registered.
        unsafe { (*client).Version = 1 };
    }
    if makes("r52-kind") {
        // SAFETY: broken on purpose: the handle is that of a client.
        unsafe { NmrDeregisterProvider(handle) };
    }
    if makes("r68-null") {
        // SAFETY: broken on purpose: there is no handle.
        unsafe { NmrDeregisterClient(null_mut()) };
    }
    // SAFETY: the handle of the client.
    unsafe { NmrDeregisterClient(handle) };
    // SAFETY: the handle of the client, which is deregistering.
    unsafe { NmrWaitForClientDeregisterComplete(handle) };
    if makes("r66-stale") {
        // SAFETY: broken on purpose: the handle has been waited for.
        unsafe { NmrDeregisterClient(handle) };
    }
    Some(STATUS_SUCCESS)
}

fn propose(binding: HANDLE) -> NTSTATUS {
    let (mut context, mut dispatch) = (null_mut(), null());
    // SAFETY: two variables of ours; the handle is one that the attach callback was given.
    unsafe { NmrClientAttachProvider(binding, null_mut(), null(), &mut context, &mut dispatch) }
}

unsafe extern "system" fn client_attach(
    binding: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    BINDING.store(binding, Ordering::Relaxed);
    let status = propose(binding);
    if makes("r26-status") { STATUS_UNSUCCESSFUL } else { status }
}

unsafe extern "system" fn provider_attach(
    _: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
    _: *mut c_void,
    _: *const c_void,
    context: *mut *mut c_void,
    dispatch: *mut *const c_void,
) -> NTSTATUS {
    if !makes("r21-unset") {
        // SAFETY: NMR passes two variables to write to.
        unsafe { context.write(null_mut()) };
        // SAFETY: the second of the two.
        unsafe { dispatch.write(null()) };
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn client_detach(_: *mut c_void) -> NTSTATUS {
    let binding = BINDING.load(Ordering::Relaxed);
    if makes("r45-twice") || makes("r46-success") {
        // SAFETY: the handle of this binding, which is being detached.
        unsafe { NmrClientDetachProviderComplete(binding) };
    }
    if makes("r45-twice") {
        // SAFETY: broken on purpose: once is enough.
        unsafe { NmrClientDetachProviderComplete(binding) };
        return STATUS_PENDING;
    }
    if makes("wait-inside") {
        locks::wait_for_ever();
    }
    if makes("r74-inside") {
        // SAFETY: broken on purpose: this is a callback of that registration.
        unsafe { NmrWaitForClientDeregisterComplete(CLIENT_HANDLE.load(Ordering::Relaxed)) };
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn provider_detach(_: *mut c_void) -> NTSTATUS {
    STATUS_SUCCESS
}

unsafe extern "system" fn cleanup(_: *mut c_void) {}
